//! A transcription request, checked against every documented rule before anything acts on it.
//!
//! Source of the rules: Qwen Cloud, *Fun-ASR recording, RESTful API* (parameter table and limits).

use hyper::StatusCode;
use serde_json::{Map, Value};
use url::Url;

use super::{Model, Refusal, WordFilter};

/// A request that obeys the documentation.
#[derive(Clone, Debug)]
pub(crate) struct Transcription {
    pub(crate) model: Model,
    /// As written by the caller: the answers repeat them byte for byte.
    pub(crate) file_urls: Vec<String>,
    /// Absent where the caller sent no `parameters`, which the workspace hosts do not forgive.
    pub(crate) parameters: Option<Parameters>,
}

/// The `parameters` object with its defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameters {
    pub(crate) channels: Vec<u16>,
    pub(crate) words: WordFilter,
    /// The number of speakers to tell apart, if the caller wants them told apart.
    pub(crate) diarization: Option<Diarization>,
}

/// What the caller knows of the speakers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Diarization {
    pub(crate) speaker_count: Option<u16>,
}

/// The limits that settings may change, and what a header allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) urls_max: usize,
    /// Whether files in the temporary storage may be named (*Upload a file for a temporary URL*).
    pub(crate) resolves_oss: bool,
}

/// No recording has more tracks than this, and no list in a request more entries.
const CHANNELS_MAX: usize = 64;
const TEXT_MAX: usize = 16 * 1024;

impl Default for Parameters {
    fn default() -> Self {
        Self { channels: vec![0], words: WordFilter::default(), diarization: None }
    }
}

impl Transcription {
    /// Reads and checks the body of a submit.
    ///
    /// # Errors
    /// A refusal that names the first field at fault.
    pub(crate) fn read(body: &[u8], terms: Terms) -> Result<Self, Refusal> {
        let body: Value = serde_json::from_slice(body)
            .map_err(|e| Refusal::parameter("body", format_args!("not valid JSON ({e})")))?;
        let body = body.as_object().ok_or_else(|| Refusal::parameter("body", "must be a JSON object"))?;
        known_fields("", body, &["model", "input", "parameters"])?;
        let model = model(body)?;
        let file_urls = file_urls(body, terms)?;
        let parameters = match body.get("parameters") {
            None | Some(Value::Null) => None,
            Some(Value::Object(fields)) => Some(parameters(fields, model)?),
            Some(_) => return Err(Refusal::parameter("parameters", "must be an object")),
        };
        Ok(Self { model, file_urls, parameters })
    }
}

fn model(body: &Map<String, Value>) -> Result<Model, Refusal> {
    let name = match body.get("model") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name).filter(|name| !name.is_empty()),
        Some(_) => return Err(Refusal::parameter("model", "must be a string")),
    };
    let name = name.ok_or_else(|| {
        Refusal::bad_request("BadRequest.EmptyModel", "Required parameter \"model\" missing from request.")
    })?;
    Model::named(name).ok_or_else(|| {
        Refusal::new(StatusCode::NOT_FOUND, "ModelNotFound", "The model in \"model\" does not exist.")
    })
}

fn file_urls(body: &Map<String, Value>, terms: Terms) -> Result<Vec<String>, Refusal> {
    let empty = |field: &str| {
        let message = format!("Required input parameter \"{field}\" missing from request.");
        Refusal::bad_request("BadRequest.EmptyInput", message)
    };
    let input = match body.get("input") {
        None | Some(Value::Null) => return Err(empty("input")),
        Some(Value::Object(input)) => input,
        Some(_) => return Err(Refusal::parameter("input", "must be an object")),
    };
    known_fields("input.", input, &["file_urls"])?;
    let urls = match input.get("file_urls") {
        None | Some(Value::Null) => return Err(empty("input.file_urls")),
        Some(Value::Array(urls)) if urls.is_empty() => return Err(empty("input.file_urls")),
        Some(Value::Array(urls)) => urls,
        Some(_) => return Err(Refusal::parameter("input.file_urls", "must be a list of URLs")),
    };
    if urls.len() > terms.urls_max {
        let rule = format!("at most {} URLs a request, got {}", terms.urls_max, urls.len());
        return Err(Refusal::parameter("input.file_urls", rule));
    }
    let field = |at| format!("input.file_urls[{at}]");
    urls.iter().enumerate().map(|(at, url)| file_url(&field(at), url, terms.resolves_oss)).collect()
}

/// One URL: `http` or `https` with a host, or `oss` for the temporary storage. Whether it is percent-encoded shows at the download.
fn file_url(field: &str, value: &Value, resolves_oss: bool) -> Result<String, Refusal> {
    let text = value.as_str().ok_or_else(|| Refusal::parameter(field, "must be a string"))?;
    let invalid = |why: &str| Refusal::bad_request("InvalidURL", format!("{field}: {why}"));
    let url = Url::parse(text).map_err(|e| invalid(&e.to_string()))?;
    match url.scheme() {
        "oss" if !resolves_oss => {
            Err(invalid("oss URLs are read only with the header X-DashScope-OssResourceResolve: enable"))
        }
        "http" | "https" | "oss" if url.has_host() && text.len() <= TEXT_MAX => Ok(text.to_owned()),
        "http" | "https" | "oss" => Err(invalid("no host, or too long")),
        _ => Err(invalid("only http and https URLs can be read")),
    }
}

fn parameters(fields: &Map<String, Value>, model: Model) -> Result<Parameters, Refusal> {
    known_fields(
        "parameters.",
        fields,
        &[
            "vocabulary_id",
            "channel_id",
            "special_word_filter",
            "diarization_enabled",
            "speaker_count",
            "language_hints",
            "speech_noise_threshold",
        ],
    )?;
    vocabulary_id(fields.get("vocabulary_id"))?;
    language_hints(fields.get("language_hints"), model)?;
    speech_noise_threshold(fields.get("speech_noise_threshold"))?;
    let channels = channel_id(fields.get("channel_id"))?;
    let words = special_word_filter(fields.get("special_word_filter"))?;
    let diarization = diarization(fields)?;
    if diarization.is_some() && channels.len() > 1 {
        let rule = "speakers are told apart on a single channel only: give one channel_id";
        return Err(Refusal::parameter("parameters.diarization_enabled", rule));
    }
    Ok(Parameters { channels, words, diarization })
}

fn vocabulary_id(value: Option<&Value>) -> Result<(), Refusal> {
    match value {
        None => Ok(()),
        Some(Value::String(id)) if !id.is_empty() && id.len() <= 256 => Ok(()),
        Some(_) => Err(Refusal::parameter("parameters.vocabulary_id", "must be the id of a vocabulary")),
    }
}

/// A list of languages that the model understands; the service reads the first only.
fn language_hints(value: Option<&Value>, model: Model) -> Result<(), Refusal> {
    let Some(value) = value else { return Ok(()) };
    let field = "parameters.language_hints";
    let hints = value.as_array().ok_or_else(|| Refusal::parameter(field, "must be a list of languages"))?;
    match hints.iter().find(|hint| !hint.as_str().is_some_and(|hint| model.understands(hint))) {
        None => Ok(()),
        Some(hint) => {
            let known = model.languages().join(", ");
            let rule = format!("{hint} is no language of {}, which understands {known}", model.name());
            Err(Refusal::parameter(field, rule))
        }
    }
}

fn speech_noise_threshold(value: Option<&Value>) -> Result<(), Refusal> {
    match value {
        None | Some(Value::Number(_)) => Ok(()),
        Some(_) => Err(Refusal::parameter("parameters.speech_noise_threshold", "must be a number")),
    }
}

fn channel_id(value: Option<&Value>) -> Result<Vec<u16>, Refusal> {
    let Some(value) = value else { return Ok(vec![0]) };
    let field = "parameters.channel_id";
    let refused = || Refusal::parameter(field, "must be a list of different track numbers from 0 on");
    let list =
        value.as_array().filter(|list| (1..=CHANNELS_MAX).contains(&list.len())).ok_or_else(refused)?;
    let mut channels = Vec::with_capacity(list.len());
    for channel in list {
        let channel = channel.as_u64().and_then(|c| u16::try_from(c).ok()).ok_or_else(refused)?;
        if channels.contains(&channel) {
            return Err(refused());
        }
        channels.push(channel);
    }
    Ok(channels)
}

fn special_word_filter(value: Option<&Value>) -> Result<WordFilter, Refusal> {
    let Some(value) = value else { return Ok(WordFilter::default()) };
    let field = "parameters.special_word_filter";
    let text = value
        .as_str()
        .filter(|text| text.len() <= TEXT_MAX)
        .ok_or_else(|| Refusal::parameter(field, "must be a string that holds JSON"))?;
    WordFilter::read(text).map_err(|rule| Refusal::parameter(field, rule))
}

fn diarization(fields: &Map<String, Value>) -> Result<Option<Diarization>, Refusal> {
    let enabled = match fields.get("diarization_enabled") {
        None => false,
        Some(Value::Bool(enabled)) => *enabled,
        Some(_) => return Err(Refusal::parameter("parameters.diarization_enabled", "must be true or false")),
    };
    let field = "parameters.speaker_count";
    let speaker_count = match fields.get("speaker_count") {
        None => None,
        Some(_) if !enabled => {
            return Err(Refusal::parameter(field, "has a meaning with diarization_enabled only"));
        }
        Some(count) => Some(
            count
                .as_u64()
                .and_then(|count| u16::try_from(count).ok())
                .filter(|count| (2..=100).contains(count))
                .ok_or_else(|| Refusal::parameter(field, "must be an integer from 2 to 100"))?,
        ),
    };
    Ok(enabled.then_some(Diarization { speaker_count }))
}

/// Refuses a field the documentation does not know: a misspelt one must not pass for an absent one.
fn known_fields(prefix: &str, object: &Map<String, Value>, known: &[&str]) -> Result<(), Refusal> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let name: String = name.chars().take(64).collect();
            Err(Refusal::parameter(&format!("{prefix}{name}"), "is no documented field"))
        }
    }
}
