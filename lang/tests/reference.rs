//! Every block of the language's reference, and of the README, is a program that checks.

const PAGES: [(&str, &str, usize); 2] = [
    ("docs/language.md", include_str!("../../docs/language.md"), 10),
    ("README.md", include_str!("../../README.md"), 1),
];

#[test]
fn every_block_of_the_documents_checks() {
    for (name, text, least) in PAGES {
        let blocks: Vec<&str> = text.split("```gate\n").skip(1).filter_map(|b| b.split("```").next()).collect();
        for program in &blocks {
            let (found, diagnostics) = gatec_lang::check_text(name, program, &[]);
            assert!(found.is_some() && diagnostics.list.is_empty(), "{program}\n{}", diagnostics.render(false));
        }
        assert!(blocks.len() >= least, "{name} has {} blocks", blocks.len());
    }
}
