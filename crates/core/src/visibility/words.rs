//! What a word of a `Text` attribute is. Defined once: filters and indexes must agree.

use alloc::string::String;

/// The words of a text: the longest runs of letters and digits (of any script), in lower case, in order, with
/// repetitions. Everything else only separates.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    raw_words(text).map(|word| word.chars().flat_map(char::to_lowercase).collect())
}

/// As [`words`], as they are written.
pub(super) fn raw_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn words_are_lower_case_letters_and_digits() {
        let of = |text| words(text).collect::<Vec<_>>();
        assert_eq!(of("Hello, World-wide 42x"), ["hello", "world", "wide", "42x"]);
        assert_eq!(of("ÄRGER über_alles"), ["ärger", "über", "alles"]);
        assert_eq!(of(" -- "), [""; 0]);
    }
}
