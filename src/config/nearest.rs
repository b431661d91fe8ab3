//! Which known word a mistyped one may have meant.

/// The nearest of `known`, if it is near enough to be meant.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // A third of the letters: `shel` means `shell`, but `memory` means no key that there is.
    let most = (word.chars().count() / 3).max(1);
    known
        .map(|known| (strsim::damerau_levenshtein(word, known), known))
        .filter(|(distance, _known)| *distance <= most)
        .min_by_key(|(distance, _known)| *distance)
        .map(|(_distance, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_finds_what_was_meant_and_a_foreign_one_nothing() {
        let known = || ["shell", "home", "hostname", "linger"].into_iter();
        assert_eq!(nearest("shel", known()), Some("shell"));
        assert_eq!(nearest("hotsname", known()), Some("hostname"));
        assert_eq!(nearest("memory", known()), None);
    }
}
