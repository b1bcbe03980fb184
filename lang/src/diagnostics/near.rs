//! Names that were probably meant.

/// How many letters a name may be off, for each three of its letters.
const OFF_FOR_EACH: usize = 3;

/// The name most like `name`, if one is like it.
pub fn near<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = name.len() / OFF_FOR_EACH + 1;
    names
        .into_iter()
        .filter(|n| *n != name)
        .map(|n| (strsim::damerau_levenshtein(name, n), n))
        .filter(|(distance, n)| *distance <= allowed && *distance < n.len().max(name.len()))
        .min()
        .map(|(_, n)| n)
}
