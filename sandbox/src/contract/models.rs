//! The Fun-ASR models and the languages each understands.
//!
//! Source: Qwen Cloud, *Fun-ASR recording, RESTful API* (model table, `language_hints`).

/// A model of the Fun-ASR recording service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Model {
    name: &'static str,
    languages: &'static [&'static str],
}

const MODELS: [Model; 5] = [
    Model { name: "fun-asr", languages: &["zh", "en", "ja"] },
    Model { name: "fun-asr-2025-11-07", languages: &["zh", "en", "ja"] },
    Model { name: "fun-asr-2025-08-25", languages: &["zh", "en"] },
    Model { name: "fun-asr-mtl", languages: MULTILINGUAL },
    Model { name: "fun-asr-mtl-2025-08-25", languages: MULTILINGUAL },
];

const MULTILINGUAL: &[&str] = &[
    "zh", "en", "ja", "ko", "vi", "id", "th", "ms", "tl", "ar", "hi", "bg", "hr", "cs", "da", "nl", "et",
    "fi", "el", "hu", "ga", "lv", "lt", "mt", "pl", "pt", "ro", "sk", "sl", "sv",
];

impl Model {
    /// The model called `name`, if there is one.
    pub(crate) fn named(name: &str) -> Option<Self> {
        MODELS.into_iter().find(|model| model.name == name)
    }

    pub(crate) fn name(self) -> &'static str {
        self.name
    }

    pub(crate) fn understands(self, language: &str) -> bool {
        self.languages.contains(&language)
    }

    pub(crate) fn languages(self) -> &'static [&'static str] {
        self.languages
    }
}
