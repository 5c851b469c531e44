//! From what was said to requests.

use valet_client::{Error, TranscriptionRequest, Uploaded, request::WordFilter};

use crate::{arguments::ParameterArguments, journal::Subject};

pub(super) const DEFAULT_MODEL: &str = "fun-asr";
const DEFAULT_MAX_URLS: u16 = 100;

/// The most URLs in a task.
pub(super) fn max_urls(said: &ParameterArguments) -> usize {
    usize::from(said.max_urls.unwrap_or(DEFAULT_MAX_URLS))
}

/// What all requests to `service` have in common, checked.
pub(super) fn subject(service: String, said: &ParameterArguments) -> Result<Subject, Error> {
    // Any URL will do: those that are meant are checked by themselves.
    let body = with_parameters(TranscriptionRequest::new(["https://example.com"]), said).body()?;
    let model = body["model"].as_str().unwrap_or_default().to_owned();
    let parameters = body["parameters"].as_object().cloned().unwrap_or_default();
    Ok(Subject { service, model, parameters })
}

/// A request for these URLs and uploads, of which one is empty. What it says was checked before.
pub(super) fn request(subject: &Subject, urls: &[String], uploads: &[Uploaded]) -> TranscriptionRequest {
    let request = TranscriptionRequest::new(urls).uploads(uploads).model(subject.model.as_str());
    let parameters = subject.parameters.iter();
    parameters.fold(request, |request, (name, value)| request.parameter(name, value.clone()))
}

/// What is not said is left to the service.
fn with_parameters(request: TranscriptionRequest, said: &ParameterArguments) -> TranscriptionRequest {
    let mut request = request.model(said.model.as_deref().unwrap_or(DEFAULT_MODEL));
    if !said.language.is_empty() {
        request = request.language_hints(&said.language);
    }
    if !said.channel.is_empty() {
        request = request.channels(said.channel.iter().copied());
    }
    if said.diarization {
        request = request.diarization(true);
    }
    if let Some(count) = said.speakers {
        request = request.speaker_count(count);
    }
    if let Some(id) = &said.vocabulary {
        request = request.vocabulary_id(id);
    }
    if !said.replace_word.is_empty() || !said.remove_word.is_empty() || said.no_reserved_words {
        let filter = WordFilter::new().replace(&said.replace_word).remove(&said.remove_word);
        request = request.word_filter(&filter.system_reserved(!said.no_reserved_words));
    }
    if let Some(threshold) = said.speech_noise_threshold {
        request = request.speech_noise_threshold(threshold);
    }
    if said.allow_unknown {
        request = request.allow_unknown();
    }
    said.parameter.iter().fold(request, |request, (name, value)| request.parameter(name, value.clone()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    const URL: &str = "https://example.com/a";

    fn said(flags: &[&str]) -> ParameterArguments {
        let line = ["valet", "transcribe", URL].iter().chain(flags);
        match Arguments::try_parse_from(line).unwrap().command {
            Command::Transcribe(arguments) => arguments.parameters,
            other => panic!("{other:?}"),
        }
    }

    fn body(flags: &[&str]) -> serde_json::Value {
        let subject = subject(String::new(), &said(flags)).unwrap();
        request(&subject, &[URL.to_owned()], &[]).body().unwrap()
    }

    #[test]
    fn every_flag_reaches_the_request() {
        let flags = [
            "--model=fun-asr-mtl",
            "--language=sv,en",
            "--channel=1",
            "--diarization",
            "--speakers=3",
            "--vocabulary=v-1",
            "--replace-word=a",
            "--remove-word=b",
            "--no-reserved-words",
            "--speech-noise-threshold=-0.5",
            "--parameter=newer=[1]",
        ];
        let filter = WordFilter::new().replace(["a"]).remove(["b"]).system_reserved(false);
        let meant = TranscriptionRequest::new([URL])
            .model("fun-asr-mtl")
            .language_hints(["sv", "en"])
            .channels([1])
            .diarization(true)
            .speaker_count(3)
            .vocabulary_id("v-1")
            .word_filter(&filter)
            .speech_noise_threshold(-0.5)
            .parameter("newer", vec![1]);
        assert_eq!(body(&flags), meant.body().unwrap());
    }

    #[test]
    fn what_is_not_said_is_not_sent() {
        assert_eq!(body(&[]), TranscriptionRequest::new([URL]).body().unwrap());
    }

    #[test]
    fn a_language_that_the_model_does_not_know_is_refused_unless_it_is_meant() {
        assert!(subject(String::new(), &said(&["--language=sv"])).is_err());
        assert!(subject(String::new(), &said(&["--language=sv", "--allow-unknown"])).is_ok());
    }
}
