//! The names nearest to one that does not exist.

/// How many are named.
const SHOWN: usize = 5;

/// The names that come nearest to `wrong`, nearest first.
pub(super) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> =
        names.map(|name| (strsim::normalized_damerau_levenshtein(wrong, name), name)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(SHOWN).map(|(_, name)| name.to_owned()).collect()
}
