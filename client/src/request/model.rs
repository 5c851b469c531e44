//! The models of Fun-ASR file transcription, and the languages they know.

use std::{borrow::Cow, fmt};

/// A model (*Fun-ASR recording*, as of November 2025).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Model {
    /// `fun-asr`: the stable one, now the same as `fun-asr-2025-11-07`.
    FunAsr,
    /// `fun-asr-2025-11-07`.
    FunAsr20251107,
    /// `fun-asr-2025-08-25`.
    FunAsr20250825,
    /// `fun-asr-mtl`: many languages, now the same as `fun-asr-mtl-2025-08-25`.
    FunAsrMtl,
    /// `fun-asr-mtl-2025-08-25`.
    FunAsrMtl20250825,
    /// One that this version does not know; its languages are not checked.
    Other(String),
}

const MTL_LANGUAGES: &[&str] = &[
    "zh", "en", "ja", "ko", "vi", "id", "th", "ms", "tl", "ar", "hi", "bg", "hr", "cs", "da", "nl", "et",
    "fi", "el", "hu", "ga", "lv", "lt", "mt", "pl", "pt", "ro", "sk", "sl", "sv",
];

impl Model {
    /// Every model that this version knows.
    pub const KNOWN: [Self; 5] =
        [Self::FunAsr, Self::FunAsr20251107, Self::FunAsr20250825, Self::FunAsrMtl, Self::FunAsrMtl20250825];

    /// Its name in requests.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::FunAsr => "fun-asr",
            Self::FunAsr20251107 => "fun-asr-2025-11-07",
            Self::FunAsr20250825 => "fun-asr-2025-08-25",
            Self::FunAsrMtl => "fun-asr-mtl",
            Self::FunAsrMtl20250825 => "fun-asr-mtl-2025-08-25",
            Self::Other(name) => name,
        }
    }

    /// The languages it knows; `None` if this version does not know the model.
    #[must_use]
    pub fn languages(&self) -> Option<&'static [&'static str]> {
        match self {
            Self::FunAsr | Self::FunAsr20251107 => Some(&["zh", "en", "ja"]),
            Self::FunAsr20250825 => Some(&["zh", "en"]),
            Self::FunAsrMtl | Self::FunAsrMtl20250825 => Some(MTL_LANGUAGES),
            Self::Other(_) => None,
        }
    }
}

impl<'n, N: Into<Cow<'n, str>>> From<N> for Model {
    fn from(name: N) -> Self {
        let name = name.into();
        let known = Self::KNOWN.into_iter().find(|model| model.name() == name);
        known.unwrap_or_else(|| Self::Other(name.into_owned()))
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
