//! Works tasks off: fetches, decodes and recognises each URL, and keeps the results.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tempfile::NamedTempFile;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;
use valet_clock::SharedClock;

use super::{
    Results, Task, Tasks,
    document::{Document, Transcript},
    task::{Subtask, Success},
};
use crate::{
    contract::{Parameters, Transcription},
    failure::Failure,
    media::{Decoded, Downloader, Segment, decode},
    recognise::{Channel, Recogniser, Recording, Sentence, filter, tell_apart},
    settings::Settings,
    storage::{Owner, Storage},
};

/// What working a task off needs.
#[derive(Debug)]
pub(crate) struct Work {
    clock: SharedClock,
    downloader: Downloader,
    storage: Arc<Storage>,
    recogniser: Arc<dyn Recogniser>,
    tasks: Arc<Tasks>,
    results: Arc<Results>,
    /// What result URLs begin with.
    results_url: String,
    workspace_host: bool,
    longest: Duration,
    ttl: Duration,
    /// Bounds the files that are fetched or decoded at once, over all tasks.
    slots: Semaphore,
    running: TaskTracker,
    stop: CancellationToken,
}

const AT_ONCE: usize = 16;

impl Work {
    pub(crate) fn new(
        settings: &Settings,
        clock: SharedClock,
        (downloader, storage, recogniser): (Downloader, Arc<Storage>, Arc<dyn Recogniser>),
        (tasks, results): (Arc<Tasks>, Arc<Results>),
        results_url: String,
        stop: CancellationToken,
    ) -> Self {
        Self {
            clock,
            downloader,
            storage,
            recogniser,
            tasks,
            results,
            results_url,
            workspace_host: settings.workspace_host,
            longest: settings.download.audio,
            ttl: settings.results_ttl,
            slots: Semaphore::new(AT_ONCE),
            running: TaskTracker::new(),
            stop,
        }
    }

    /// Starts working off `task`: waits for its time, then does it.
    pub(crate) fn start(self: &Arc<Self>, task: Arc<Task>) {
        let work = self.clone();
        self.running.spawn(async move {
            tokio::select! {
                () = work.stop.cancelled() => {}
                () = task.given_up.cancelled() => {}
                () = work.do_task(&task) => work.tasks.note_worked(),
            }
        });
    }

    async fn do_task(&self, task: &Task) {
        self.clock.sleep_until(task.scheduled()).await;
        let _at_work = self.tasks.begin_work();
        let urls = task.order.file_urls.iter().enumerate();
        stream::iter(urls)
            .for_each_concurrent(AT_ONCE, |(place, url)| async move {
                let outcome = self.subtask(task, url).await;
                if let Err(failure) = &outcome {
                    tracing::info!(task = task.id, place, code = %failure.code, "a subtask failed");
                }
                task.add_subtask(Subtask { place, outcome });
            })
            .await;
        task.set_worked(self.clock.now());
        tracing::info!(task = task.id, "the work of a task is done");
    }

    async fn subtask(&self, task: &Task, url: &str) -> Result<Success, Failure> {
        let _slot = self.slots.acquire().await.map_err(|_| internal())?;
        let parameters = self.parameters(&task.order)?;
        let file = self.fetched(task, url).await?;
        let audio = self.decoded(&file, url).await?;
        let channels = channels(&audio, &parameters)?;
        let recording = Recording {
            url: url.to_owned(),
            file,
            extension: extension(url),
            duration: audio.duration,
            channel_count: audio.channels.len(),
        };
        let mut transcripts = Vec::with_capacity(channels.len());
        let mut is_silent = true;
        for channel in &channels {
            let sentences = self.sentences(&recording, channel, &parameters).await?;
            is_silent &= sentences.is_empty();
            transcripts.push(Transcript::new(channel.id, &channel.speech, sentences));
        }
        if is_silent {
            let code = "ASR_RESPONSE_HAVE_NO_WORDS";
            return Err(Failure::new(code, code));
        }
        Ok(self.keep(task, &Document::new(url, &audio, transcripts)))
    }

    async fn fetched(&self, task: &Task, url: &str) -> Result<Arc<NamedTempFile>, Failure> {
        let Some(key) = url.strip_prefix("oss://") else {
            return self.downloader.recording(url).await.map(Arc::new);
        };
        let owner = Owner { account: task.account.clone(), model: task.order.model.name() };
        self.storage.files.find(key, &owner, self.clock.now())
    }

    /// The parameters, or why there are none: a workspace host takes a submit without them and fails later
    /// (*Fun-ASR recording, HTTP API*; the code is not documented).
    fn parameters(&self, order: &Transcription) -> Result<Parameters, Failure> {
        match &order.parameters {
            Some(parameters) => Ok(parameters.clone()),
            None if self.workspace_host => {
                let message = "Required parameter \"parameters\" missing from request.";
                Err(Failure::new("BadRequest.EmptyParameters", message))
            }
            None => Ok(Parameters::default()),
        }
    }

    async fn decoded(&self, file: &NamedTempFile, url: &str) -> Result<Decoded, Failure> {
        let extension = extension(url);
        let longest = self.longest;
        let reader = file.reopen().map_err(|_| internal())?;
        let decoding = tokio::task::spawn_blocking(move || decode(reader, extension.as_deref(), longest));
        // A decoder that panics on a malicious file has not decoded it.
        decoding.await.map_err(|_| Failure::new("DECODE_ERROR", "The decoder gave up on the file."))?
    }

    async fn sentences(
        &self,
        recording: &Recording,
        channel: &Channel,
        parameters: &Parameters,
    ) -> Result<Vec<Sentence>, Failure> {
        if channel.speech.is_empty() {
            return Ok(Vec::new());
        }
        let mut sentences = self.recogniser.recognise(recording, channel).await?;
        filter(&mut sentences, &parameters.words);
        if let Some(diarization) = parameters.diarization {
            tell_apart(&mut sentences, diarization.speaker_count);
        }
        Ok(sentences)
    }

    fn keep(&self, task: &Task, document: &Document<'_>) -> Success {
        let now = self.clock.now();
        let body = serde_json::to_vec(document).expect("a document holds nothing that JSON cannot");
        let expires = task.due().max(now) + self.ttl;
        let name = self.results.keep(body.into(), now, expires);
        let transcription_url = format!("{}{name}", self.results_url);
        Success { transcription_url, speech: document.speech() }
    }
}

/// The channels that were asked for.
fn channels(audio: &Decoded, parameters: &Parameters) -> Result<Vec<Channel>, Failure> {
    if parameters.diarization.is_some() && audio.channels.len() > 1 {
        let message = "Speakers are told apart in recordings with a single channel only.";
        return Err(Failure::new("Sandbox.DiarizationNeedsOneChannel", message));
    }
    let mut channels = Vec::with_capacity(parameters.channels.len());
    for &id in &parameters.channels {
        let speech: &Vec<Segment> = audio.channels.get(usize::from(id)).ok_or_else(|| {
            let message = format!(
                "The recording has no channel {id}; the last is {}.",
                audio.channels.len().saturating_sub(1)
            );
            Failure::new("Sandbox.NoSuchChannel", message)
        })?;
        channels.push(Channel { id, speech: speech.clone() });
    }
    if channels.iter().all(|channel| channel.speech.is_empty()) {
        let code = "SUCCESS_WITH_NO_VALID_FRAGMENT";
        return Err(Failure::new(code, code));
    }
    Ok(channels)
}

/// The extension of the URL's last path segment: a hint for the decoder, which believes the content.
fn extension(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let (_, extension) = url.path().rsplit_once('/')?.1.rsplit_once('.')?;
    Some(extension.to_ascii_lowercase())
}

fn internal() -> Failure {
    Failure::new("InternalError", "The sandbox failed.")
}
