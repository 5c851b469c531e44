//! Words for speech: the seam behind which a recogniser stands, and the one that reads transcripts.

mod filter;
mod openai;
mod speakers;
mod spread;
mod subtitles;
mod timeline;
mod transcript;
mod words;

use std::{fmt, path::Path, sync::Arc};

use futures_util::future::BoxFuture;
use tempfile::NamedTempFile;

pub use self::openai::OpenAi;
pub use crate::media::Segment;
use crate::{failure::Failure, media::channel_wave};
pub(crate) use {filter::filter, speakers::tell_apart, transcript::TranscriptBeside};

/// Says what is spoken on a channel of a recording.
///
/// The sandbox's own takes the words from a transcript that lies beside the audio; a test, or a real
/// recogniser, may stand in its place.
pub trait Recogniser: fmt::Debug + Send + Sync + 'static {
    /// The sentences on `channel`: in order, each within the recording, the words within their sentence.
    ///
    /// # Errors
    /// With a [`Failure`] the subtask fails.
    fn recognise<'a>(
        &'a self,
        recording: &'a Recording,
        channel: &'a Channel,
    ) -> BoxFuture<'a, Result<Vec<Sentence>, Failure>>;
}

/// A recording that was fetched and decoded.
#[derive(Debug)]
pub struct Recording {
    pub(crate) url: String,
    pub(crate) file: Arc<NamedTempFile>,
    pub(crate) extension: Option<String>,
    pub(crate) duration: u64,
    pub(crate) channel_count: usize,
}

impl Recording {
    /// Where it came from.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file as it was fetched, there as long as the recording.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// One of its channels as a file of its own: WAV, 16 bits a sample, at the sampling rate of the recording.
    ///
    /// # Errors
    /// If there is no room for it.
    pub async fn wave(&self, channel: &Channel) -> Result<NamedTempFile, Failure> {
        let failed = || Failure::new("InternalError", "The sandbox failed.");
        let file = self.file.reopen().map_err(|_| failed())?;
        let (extension, channel) = (self.extension.clone(), usize::from(channel.id));
        let writing = tokio::task::spawn_blocking(move || channel_wave(file, extension.as_deref(), channel));
        writing.await.map_err(|_| failed())?
    }

    /// Its length in milliseconds.
    #[must_use]
    pub fn duration(&self) -> u64 {
        self.duration
    }

    /// How many channels it has.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.channel_count
    }
}

/// A channel that was asked for and has speech.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its number, from 0 on.
    pub id: u16,
    /// Where its speech is; never empty.
    pub speech: Vec<Segment>,
}

/// A sentence and when it is spoken, in milliseconds from the beginning of the recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sentence {
    /// Its words, in order; the sentence lasts from the first to the last.
    pub words: Vec<Word>,
    /// Who speaks, if that was asked for.
    pub speaker: Option<u16>,
}

/// A word, its punctuation, and when it is spoken, in milliseconds from the beginning of the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// When it begins.
    pub begin: u64,
    /// When it ends.
    pub end: u64,
    /// The word, with the space behind it if nothing else follows: `Hello `.
    pub text: String,
    /// What follows it up to the next word: `, ` or `.` or nothing.
    pub punctuation: String,
}

impl Sentence {
    /// The words and their punctuation.
    #[must_use]
    pub fn text(&self) -> String {
        self.words.iter().flat_map(|word| [word.text.as_str(), &word.punctuation]).collect()
    }

    /// When its first word begins.
    #[must_use]
    pub fn begin(&self) -> u64 {
        self.words.first().map_or(0, |word| word.begin)
    }

    /// When its last word ends.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.words.last().map_or(0, |word| word.end)
    }
}

/// The text of a whole channel: its sentences, with a space between two unless the script writes none.
pub(crate) fn full_text(sentences: &[Sentence]) -> String {
    let mut text = String::new();
    for sentence in sentences {
        if text.chars().last().is_some_and(|last| !words::is_ideographic(last)) {
            text.push(' ');
        }
        text.push_str(&sentence.text());
    }
    text
}
