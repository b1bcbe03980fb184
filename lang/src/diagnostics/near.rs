//! Names that were probably meant.

/// How many letters a name may be off, for each three of its letters.
const OFF_FOR_EACH: usize = 3;
/// Names of so many letters may be off by more than one: `row` is no slip for `col`.
const LONG: usize = 5;
/// Names of so few letters are all alike: one is meant where the other goes on.
const SHORT: usize = 2;

/// The name most like `name`, if one is like it.
pub fn near<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = if name.len() < LONG { 1 } else { name.len() / OFF_FOR_EACH + 1 };
    names
        .into_iter()
        .filter(|n| *n != name)
        .map(|n| (strsim::damerau_levenshtein(name, n), n))
        .filter(|(distance, n)| {
            *distance <= allowed && (name.len() > SHORT || n.starts_with(name) || name.starts_with(n))
        })
        .min()
        .map(|(_, n)| n)
}
