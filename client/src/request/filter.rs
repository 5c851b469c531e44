//! `special_word_filter`: words to replace or to remove.

use serde_json::json;

/// Words that are not to appear in transcripts.
#[derive(Clone, Debug)]
pub struct WordFilter {
    replaced: Vec<String>,
    removed: Vec<String>,
    system_reserved: bool,
}

impl WordFilter {
    /// The service's own list of sensitive words, and none beside it.
    #[must_use]
    pub fn new() -> Self {
        Self { replaced: Vec::new(), removed: Vec::new(), system_reserved: true }
    }

    /// Writes `*` for each character of these words.
    #[must_use]
    pub fn replace(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.replaced.extend(words.into_iter().map(Into::into));
        self
    }

    /// Leaves these words out.
    #[must_use]
    pub fn remove(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.removed.extend(words.into_iter().map(Into::into));
        self
    }

    /// Whether the service's own list applies too.
    #[must_use]
    pub fn system_reserved(mut self, applies: bool) -> Self {
        self.system_reserved = applies;
        self
    }

    /// The parameter's value: a JSON *string*. The reference calls removal `filter_with_empty`; one
    /// guide says `filter_with_removal`, which the service does not read.
    pub(super) fn to_json(&self) -> String {
        json!({
            "filter_with_signed": { "word_list": self.replaced },
            "filter_with_empty": { "word_list": self.removed },
            "system_reserved_filter": self.system_reserved,
        })
        .to_string()
    }
}

impl Default for WordFilter {
    fn default() -> Self {
        Self::new()
    }
}
