//! What is wanted of a transcription: every parameter of the submit call, checked before it is sent.
//!
//! Source: *Fun-ASR recording, RESTful API*.

mod filter;
mod format;
mod idempotency_key;
mod model;

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use url::{ParseError, Url};

pub use self::{filter::WordFilter, format::FORMATS, idempotency_key::IdempotencyKey, model::Model};
use crate::{Error, Uploaded, error::invalid};

/// The most URLs in one task (*Fun-ASR recording*).
pub const MAX_URLS: usize = 100;

/// A transcription to be done: the URLs of recordings, and how to transcribe them.
#[derive(Clone, Debug)]
pub struct TranscriptionRequest {
    urls: Vec<String>,
    model: Model,
    parameters: Parameters,
    extra: Map<String, Value>,
    max_urls: usize,
    audio_length: Option<Duration>,
    /// The model that may read the uploads among the URLs, if there are any.
    uploads: Option<Model>,
    allows_unknown: bool,
    key: Option<IdempotencyKey>,
}

/// The documented parameters; what is not set is left to the service.
#[derive(Clone, Debug, Default, Serialize)]
struct Parameters {
    #[serde(skip_serializing_if = "Option::is_none")]
    vocabulary_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_id: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    special_word_filter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diarization_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speaker_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language_hints: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speech_noise_threshold: Option<f32>,
}

impl TranscriptionRequest {
    /// Transcribes the recordings at `urls`: `http` or `https`, and open to the service without a
    /// login. At most 100 a task.
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            model: Model::FunAsr,
            parameters: Parameters::default(),
            extra: Map::new(),
            max_urls: MAX_URLS,
            audio_length: None,
            uploads: None,
            allows_unknown: false,
            key: None,
        }
    }

    /// Transcribes these local files, which were put into the service's temporary storage, by the model
    /// that may read them.
    #[must_use]
    pub fn uploads<'u>(mut self, files: impl IntoIterator<Item = &'u Uploaded>) -> Self {
        for file in files {
            self.urls.push(file.url.clone());
            self.model = file.model.clone();
            self.uploads = Some(file.model.clone());
        }
        self
    }

    /// The model; `fun-asr` unless set.
    #[must_use]
    pub fn model(mut self, model: impl Into<Model>) -> Self {
        self.model = model.into();
        self
    }

    /// The hotword vocabulary to use.
    #[must_use]
    pub fn vocabulary_id(mut self, id: impl Into<String>) -> Self {
        self.parameters.vocabulary_id = Some(id.into());
        self
    }

    /// The channels to transcribe, counted from 0; the service takes the first unless set. Each one is
    /// billed.
    #[must_use]
    pub fn channels(mut self, channels: impl IntoIterator<Item = u32>) -> Self {
        self.parameters.channel_id = Some(channels.into_iter().collect());
        self
    }

    /// Words to replace or remove.
    #[must_use]
    pub fn word_filter(mut self, filter: &WordFilter) -> Self {
        self.parameters.special_word_filter = Some(filter.to_json());
        self
    }

    /// Tells speakers apart; with a single channel only.
    #[must_use]
    pub fn diarization(mut self, enabled: bool) -> Self {
        self.parameters.diarization_enabled = Some(enabled);
        self
    }

    /// About how many speakers there are, 2 to 100; only with diarization.
    #[must_use]
    pub fn speaker_count(mut self, count: u32) -> Self {
        self.parameters.speaker_count = Some(count);
        self
    }

    /// The languages spoken, as `en`; the service finds out unless set.
    #[must_use]
    pub fn language_hints(mut self, languages: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.parameters.language_hints = Some(languages.into_iter().map(Into::into).collect());
        self
    }

    /// Where speech ends and noise begins, from -1 to 1.
    #[must_use]
    pub fn speech_noise_threshold(mut self, threshold: f32) -> Self {
        self.parameters.speech_noise_threshold = Some(threshold);
        self
    }

    /// A parameter that this version does not know; sent as it is.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(name.into(), value.into());
        self
    }

    /// Sends values that this version does not know, such as a language that a model has learnt since.
    #[must_use]
    pub fn allow_unknown(mut self) -> Self {
        self.allows_unknown = true;
        self
    }

    /// How many URLs a task takes at the endpoint in use. The guide says 100, a newer text 1.
    #[must_use]
    pub fn max_urls(mut self, count: usize) -> Self {
        self.max_urls = count;
        self
    }

    /// How long the longest recording is, if that is known. Not sent: it tells the client when to look.
    #[must_use]
    pub fn audio_length(mut self, length: Duration) -> Self {
        self.audio_length = Some(length);
        self
    }

    /// The name of this submit at a broker's relay: the same request submitted again under the same key, within 24
    /// hours, gives the same task and is billed once.
    ///
    /// With a key of your own the request is submitted at a relay alone: DashScope itself knows no such keys, and would
    /// do twice what is asked for twice. Without one, each submit has a key of its own wherever it goes.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<IdempotencyKey>) -> Self {
        self.key = Some(key.into());
        self
    }

    pub(crate) fn key(&self) -> Option<&IdempotencyKey> {
        self.key.as_ref()
    }

    pub(crate) fn chosen_model(&self) -> &Model {
        &self.model
    }

    /// Whether it names files in the service's own storage.
    pub(crate) fn needs_resolving(&self) -> bool {
        self.uploads.is_some()
    }

    /// Requests of at most as many URLs as a task takes, each with the place of its first one. Checks all
    /// of them.
    pub(crate) fn split(self) -> Result<Vec<(usize, Self)>, Error> {
        let size = self.max_urls.max(1);
        Self { max_urls: usize::MAX, ..self.clone() }.check()?;
        let is_one = self.urls.len() <= size;
        let part = |(first, urls): (usize, &[String])| {
            let key = self.key.as_ref().map(|key| if is_one { key.clone() } else { key.part(first) });
            (first, Self { urls: urls.to_vec(), max_urls: size, key, ..self.without_urls() })
        };
        Ok((0..).step_by(size).zip(self.urls.chunks(size)).map(part).collect())
    }

    fn without_urls(&self) -> Self {
        let (parameters, extra) = (self.parameters.clone(), self.extra.clone());
        let (model, uploads) = (self.model.clone(), self.uploads.clone());
        Self { urls: Vec::new(), model, parameters, extra, uploads, key: None, ..*self }
    }

    pub(crate) fn known_length(&self) -> Option<Duration> {
        self.audio_length
    }

    /// The URLs whose names end as no format does that the service takes. Only a hint: a name proves
    /// nothing.
    pub fn unlikely_formats(&self) -> impl Iterator<Item = &str> {
        self.urls.iter().map(String::as_str).filter(|url| format::of(url) == format::Hint::Unlikely)
    }

    /// The URLs, in order.
    #[must_use]
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Checks every documented rule, without sending anything.
    ///
    /// # Errors
    /// [`Kind::InvalidRequest`](crate::Kind::InvalidRequest), naming the field.
    pub fn check(&self) -> Result<(), Error> {
        self.body().map(|_| ())
    }

    /// Checks every documented rule, and gives the body that is sent.
    ///
    /// `parameters` is always there, even empty: without it the workspace hosts accept the submit and
    /// fail the task later (*Fun-ASR recording, RESTful API*).
    ///
    /// # Errors
    /// [`Kind::InvalidRequest`](crate::Kind::InvalidRequest), naming the field.
    pub fn body(&self) -> Result<Value, Error> {
        let urls = self.checked_urls()?;
        self.check_parameters()?;
        self.key.as_ref().map_or(Ok(()), IdempotencyKey::check)?;
        let Ok(Value::Object(mut parameters)) = serde_json::to_value(&self.parameters) else {
            return Err(invalid("parameters", "cannot be written as JSON"));
        };
        parameters.extend(self.extra.clone());
        Ok(json!({
            "model": self.model.name(),
            "input": { "file_urls": urls },
            "parameters": parameters,
        }))
    }

    fn checked_urls(&self) -> Result<Vec<String>, Error> {
        match self.urls.len() {
            0 => return Err(invalid("file_urls", "name at least one URL")),
            count if count > self.max_urls => {
                let problem = format!("a task takes at most {}, these are {count}", self.max_urls);
                return Err(invalid("file_urls", &problem));
            }
            _ => {}
        }
        if self.uploads.as_ref().is_some_and(|model| *model != self.model) {
            return Err(invalid(
                "model",
                "a file that was uploaded can be read by the model it was uploaded for",
            ));
        }
        let is_upload = |url: &String| self.uploads.is_some() && url.starts_with("oss://");
        let checked = |(index, url)| if is_upload(url) { Ok(url.clone()) } else { checked_url(index, url) };
        self.urls.iter().enumerate().map(checked).collect()
    }

    fn check_parameters(&self) -> Result<(), Error> {
        let Parameters {
            vocabulary_id,
            channel_id,
            speaker_count,
            language_hints,
            speech_noise_threshold,
            ..
        } = &self.parameters;
        if self.model.name().trim().is_empty() {
            return Err(invalid("model", "must not be empty"));
        }
        let diarization = self.parameters.diarization_enabled == Some(true);
        if let Some(channels) = channel_id {
            if channels.is_empty() {
                return Err(invalid("channel_id", "name at least one channel"));
            }
            if diarization && channels.len() > 1 {
                return Err(invalid("channel_id", "diarization works on a single channel"));
            }
        }
        if let Some(count) = speaker_count {
            if !diarization {
                return Err(invalid("speaker_count", "only with diarization"));
            }
            if !(2..=100).contains(count) {
                return Err(invalid("speaker_count", "must be 2 to 100"));
            }
        }
        if vocabulary_id.as_ref().is_some_and(String::is_empty) {
            return Err(invalid("vocabulary_id", "must not be empty"));
        }
        if language_hints.as_ref().is_some_and(Vec::is_empty) {
            return Err(invalid("language_hints", "name a language, or leave them to the service"));
        }
        let languages = self.model.languages().filter(|_| !self.allows_unknown);
        if let (Some(known), Some(hints)) = (languages, language_hints)
            && let Some(unknown) = hints.iter().find(|hint| !known.contains(&hint.as_str()))
        {
            let problem =
                format!("{} does not know {unknown:?}; it knows {}", self.model.name(), known.join(", "));
            return Err(invalid("language_hints", &problem));
        }
        if speech_noise_threshold.is_some_and(|threshold| !(-1.0..=1.0).contains(&threshold)) {
            return Err(invalid("speech_noise_threshold", "must be -1 to 1"));
        }
        Ok(())
    }
}

/// A URL as the service wants it: what is not plain ASCII is percent-encoded, since it answers
/// `InvalidFile.DownloadFailed` otherwise; what is, is left as it was signed.
fn checked_url(index: usize, text: &str) -> Result<String, Error> {
    let field = format!("file_urls[{index}]");
    let url = match text.parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url,
        Ok(_) | Err(ParseError::RelativeUrlWithoutBase) => {
            let rule = "must begin with http:// or https://; the service reads no local files";
            return Err(invalid(&field, &format!("{rule}: {text:?}")));
        }
        Err(error) => return Err(invalid(&field, &format!("is not a URL, {error}: {text:?}"))),
    };
    let plain = text.bytes().all(|b| b.is_ascii_graphic());
    Ok(if plain { text.to_owned() } else { url.into() })
}

/// A request without URLs: for [`uploads`](TranscriptionRequest::uploads) and
/// [`Client::transcribe_file`](crate::Client::transcribe_file).
impl Default for TranscriptionRequest {
    fn default() -> Self {
        Self::new([] as [String; 0])
    }
}

#[cfg(test)]
mod tests;
