//! Every block of the language's reference is a program that checks.

#[test]
fn every_block_of_the_reference_checks() {
    let text = include_str!("../../docs/language.md");
    let mut seen = 0;
    for block in text.split("```gate\n").skip(1) {
        let program = block.split("```").next().unwrap_or_default();
        let (found, diagnostics) = gatec_lang::check_text("language.md", program, &[]);
        assert!(found.is_some() && diagnostics.list.is_empty(), "{program}\n{}", diagnostics.render(false));
        seen += 1;
    }
    assert!(seen > 8);
}
