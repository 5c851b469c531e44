//! Why a caller does not get what it asked for.

use super::SCOPE;

/// Why a caller does not get what it asked for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Denial {
    /// The app may not have so long a life.
    #[error("expire_in_seconds: this app's tokens live at most {max} seconds")]
    LifetimeTooLong {
        /// The longest it may have, in seconds.
        max: u32,
    },
    /// No class of lifetime of the app always has that much life left.
    #[error("min_ttl: this app can be promised at most {max} seconds")]
    MinTtlTooLong {
        /// The most it can be promised, in seconds.
        max: u32,
    },
    /// The app may not say for whom it asks.
    #[error("subject: this app may not name one")]
    SubjectNotAllowed,
    /// The app's requests come from certain web origins, and this one does not.
    #[error("Origin: is missing, or none of this app's")]
    OriginNotAllowed,
    /// The app has direct tokens: the relay is not for it.
    #[error("this app has direct tokens, which work at the upstream itself")]
    NotRelayed,
    /// The app may not use the model.
    #[error("model: this app may use {}", .allowed.join(", "))]
    ModelNotAllowed {
        /// What it may use.
        allowed: Vec<String>,
    },
    /// There are more URLs than the app may have in a task.
    #[error("input.file_urls: this app may have {max} in a task")]
    TooManyUrls {
        /// How many it may have.
        max: u32,
    },
    /// A recording lies elsewhere than the app's may.
    #[error("input.file_urls[{index}]: this app's recordings lie on other hosts")]
    HostNotAllowed {
        /// Which of them.
        index: usize,
    },
    /// The app may not use the vocabulary.
    #[error("parameters.vocabulary_id: is none of this app's")]
    VocabularyNotAllowed,
    /// There is one scope, and it is another.
    #[error("scope: the only scope is \"{SCOPE}\"")]
    UnknownScope,
}

impl Denial {
    /// Its name in records.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::LifetimeTooLong { .. } => "lifetime_too_long",
            Self::MinTtlTooLong { .. } => "min_ttl_too_long",
            Self::SubjectNotAllowed => "subject_not_allowed",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::NotRelayed => "not_relayed",
            Self::ModelNotAllowed { .. } => "model_not_allowed",
            Self::TooManyUrls { .. } => "too_many_urls",
            Self::HostNotAllowed { .. } => "host_not_allowed",
            Self::VocabularyNotAllowed => "vocabulary_not_allowed",
            Self::UnknownScope => "invalid_scope",
        }
    }
}
