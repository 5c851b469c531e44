//! `special_word_filter`: words to mask or to remove, given as JSON inside a JSON string.
//!
//! Source: Qwen Cloud, *Fun-ASR recording, RESTful API*, `special_word_filter`. The reference names
//! `filter_with_signed` and `filter_with_empty`; a guide's `filter_with_removal` is refused.

use serde::Deserialize;

/// The words that a transcript must not show.
///
/// The service's own list behind `system_reserved_filter` is not public: the flag is checked and has no effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WordFilter {
    filter_with_signed: WordList,
    filter_with_empty: WordList,
    system_reserved_filter: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct WordList {
    word_list: Vec<String>,
}

impl WordFilter {
    /// Reads the JSON inside the string.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let filter: Self =
            serde_json::from_str(text).map_err(|e| format!("not the documented JSON object ({e})"))?;
        let words = filter.masked().iter().chain(filter.removed());
        if words.clone().any(|word| word.trim().is_empty()) {
            return Err("a word_list holds an empty word".to_owned());
        }
        Ok(filter)
    }

    /// Words to replace by `*`, one for each character.
    pub(crate) fn masked(&self) -> &[String] {
        &self.filter_with_signed.word_list
    }

    /// Words to leave out.
    pub(crate) fn removed(&self) -> &[String] {
        &self.filter_with_empty.word_list
    }
}
