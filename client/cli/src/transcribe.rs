//! `valet transcribe`: any number of URLs, as several tasks if need be, in the order they were named.

use std::time::Instant;

use futures_util::{StreamExt, stream};
use valet_client::{Client, TranscriptionRequest, request::WordFilter};
use valet_clock::{Clock, SystemClock};

use crate::{
    arguments::{ParameterArguments, TranscribeArguments},
    exit::{Exit, Failure},
    output::Output,
    progress::Progress,
    tally::{Run, Tally},
};

/// Tasks that are under way at a time; their queries share one budget.
const TASKS: usize = 50;

pub(crate) async fn run(
    client: &Client,
    arguments: &TranscribeArguments,
    urls: &[String],
    progress: &Progress,
) -> Result<Exit, Failure> {
    let requests = requests(urls, &arguments.parameters);
    // All of them, before the first one costs money.
    for request in &requests {
        request.check()?;
    }
    let mut output = Output::open(&arguments.output, urls.len())?;
    progress.starting();
    let ends = arguments.deadline.map(|limit| SystemClock.now() + limit);
    let mut runs = stream::iter(&requests)
        .map(async |request| (request, transcribed(client, request, ends, progress).await))
        .buffered(TASKS);
    let mut tally = Tally::default();
    while let Some((request, run)) = runs.next().await {
        tally.note(progress, &mut output, request.urls(), &run)?;
    }
    output.end()?;
    Ok(tally.exit())
}

/// Submits a task, waits for it and reads its transcripts. Only the wait is bounded: what is given up
/// while it is submitted might be paid for, and nobody would know its name.
async fn transcribed(
    client: &Client,
    request: &TranscriptionRequest,
    ends: Option<Instant>,
    progress: &Progress,
) -> Run {
    let now = || SystemClock.now();
    if ends.is_some_and(|ends| now() >= ends) {
        return Run { id: None, outcome: Err(Failure::too_late()) };
    }
    let id = match client.submit(request).await {
        Ok(task) => task.id().clone(),
        Err(error) => return Run { id: None, outcome: Err(error.into()) },
    };
    progress.begun(&id, request.urls().len());
    let mut wait = client.wait(&id).on_progress(|task| progress.looked(task));
    if let Some(ends) = ends {
        wait = wait.deadline(ends.saturating_duration_since(now()));
    }
    let outcome = match wait.await {
        Ok(task) => client.collect(task, request.urls()).await,
        Err(error) => Err(error),
    };
    Run { id: Some(id), outcome: outcome.map_err(Failure::from) }
}

/// A request for each task.
fn requests(urls: &[String], parameters: &ParameterArguments) -> Vec<TranscriptionRequest> {
    let tasks = urls.chunks(usize::from(parameters.max_urls));
    tasks.map(|urls| with_parameters(TranscriptionRequest::new(urls), parameters)).collect()
}

/// What is not said is left to the service.
fn with_parameters(request: TranscriptionRequest, said: &ParameterArguments) -> TranscriptionRequest {
    let mut request = request.model(&said.model);
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
    said.parameter.iter().fold(request, |request, (name, value)| request.parameter(name, value.clone()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn said(flags: &[&str]) -> ParameterArguments {
        let line = ["valet", "transcribe", "https://example.com/a"].iter().chain(flags);
        match Arguments::try_parse_from(line).unwrap().command {
            Command::Transcribe(arguments) => arguments.parameters,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn more_urls_than_a_task_takes_are_split_in_order() {
        let urls: Vec<String> = (0..250).map(|number| format!("https://example.com/{number}")).collect();
        let tasks = requests(&urls, &said(&[]));
        assert_eq!(tasks.iter().map(|task| task.urls().len()).collect::<Vec<_>>(), [100, 100, 50]);
        assert_eq!(
            tasks.iter().flat_map(TranscriptionRequest::urls).collect::<Vec<_>>(),
            urls.iter().collect::<Vec<_>>()
        );
        assert_eq!(requests(&urls, &said(&["--max-urls", "1"])).len(), 250);
    }

    #[test]
    fn every_flag_reaches_the_request() {
        let flags = said(&[
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
        ]);
        let filter = WordFilter::new().replace(["a"]).remove(["b"]).system_reserved(false);
        let meant = TranscriptionRequest::new(["https://example.com/a"])
            .model("fun-asr-mtl")
            .language_hints(["sv", "en"])
            .channels([1])
            .diarization(true)
            .speaker_count(3)
            .vocabulary_id("v-1")
            .word_filter(&filter)
            .speech_noise_threshold(-0.5)
            .parameter("newer", vec![1]);
        let request = with_parameters(TranscriptionRequest::new(["https://example.com/a"]), &flags);
        assert_eq!(format!("{request:?}"), format!("{meant:?}"));
        assert!(request.check().is_ok());
    }

    #[test]
    fn what_is_not_said_is_not_sent() {
        let request = with_parameters(TranscriptionRequest::new(["https://example.com/a"]), &said(&[]));
        let plain = TranscriptionRequest::new(["https://example.com/a"]);
        assert_eq!(format!("{request:?}"), format!("{plain:?}"));
    }
}
