//! The formats that the service takes, and what a URL's name says of its format.

use url::Url;

/// The endings of the formats that the service takes (*Fun-ASR recording*).
pub const FORMATS: [&str; 17] = [
    "aac", "amr", "avi", "flac", "flv", "m4a", "mkv", "mov", "mp3", "mp4", "mpeg", "ogg", "opus", "wav",
    "webm", "wma", "wmv",
];

/// What a URL's name says of its format.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Hint {
    Likely,
    Unlikely,
    Nothing,
}

pub(super) fn of(url: &str) -> Hint {
    let Ok(url) = url.parse::<Url>() else { return Hint::Nothing };
    let name = url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default();
    match name.rsplit_once('.') {
        Some((_, end)) if FORMATS.iter().any(|format| format.eq_ignore_ascii_case(end)) => Hint::Likely,
        // Longer ones are not endings but parts of names.
        Some((_, end)) if (1..=4).contains(&end.len()) && end.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            Hint::Unlikely
        }
        _ => Hint::Nothing,
    }
}
