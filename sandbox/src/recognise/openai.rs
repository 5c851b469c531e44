//! A recogniser that hears: any server that speaks OpenAI's transcription API.
//!
//! Source: OpenAI, *API reference*, create transcription: `POST {base}/audio/transcriptions` as a form with
//! `file`, `model`, `response_format=verbose_json` and `timestamp_granularities[]`.

use std::time::Duration;

use futures_util::{FutureExt, future::BoxFuture};
use reqwest::{
    Body, Client, Response,
    multipart::{Form, Part},
    redirect::Policy,
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::{Host, Url};
use valet_clock::{ClockExt, SharedClock};

use super::{
    Channel, Recogniser, Recording, Sentence,
    timeline::{Timed, Timeline},
};
use crate::{failure::Failure, settings::SettingError};

/// The words and times of twelve hours of speech are smaller.
const ANSWER_MAX: usize = 32 << 20;

/// Takes the words from a server that speaks OpenAI's transcription API, such as one that runs Whisper on this
/// machine. It is sent one channel at a time, as a WAV file.
///
/// What it fails at fails the subtask: with `Sandbox.RecogniserUnreachable`, `Sandbox.RecogniserRefused` or
/// `Sandbox.RecogniserAnswer`.
#[derive(Debug)]
pub struct OpenAi {
    client: Client,
    clock: SharedClock,
    url: Url,
    key: Option<SecretString>,
    model: String,
    time: Duration,
}

/// The documented answer; `words` may also stand in the segments, where some servers put them.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    text: String,
    #[serde(default)]
    segments: Option<Vec<Segment>>,
    #[serde(default)]
    words: Option<Vec<Word>>,
}

#[derive(Debug, Deserialize)]
struct Segment {
    /// In seconds, as all times here.
    start: f64,
    end: f64,
    text: String,
    #[serde(default)]
    words: Option<Vec<Word>>,
}

#[derive(Debug, Deserialize)]
struct Word {
    start: f64,
    end: f64,
    word: String,
}

impl OpenAi {
    /// The server whose API is at `base`, as `http://127.0.0.1:8000/v1`; with the key that it asks for, if any. Its
    /// time is `clock`'s.
    ///
    /// # Errors
    /// If `base` cannot be the base of a URL, or the key would be sent over the network in the clear.
    pub fn new(base: &Url, key: Option<SecretString>, clock: SharedClock) -> Result<Self, SettingError> {
        let refuse = |rule| SettingError::new("openai_url", rule);
        let mut url = base.clone();
        let is_local = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        match url.scheme() {
            "https" => {}
            "http" if is_local || key.is_none() => {}
            "http" => return Err(refuse("must be https beyond this machine, for a key is sent there")),
            _ => return Err(refuse("must be an http or https URL")),
        }
        url.path_segments_mut()
            .map_err(|()| refuse("must be an http or https URL"))?
            .pop_if_empty()
            .extend(["audio", "transcriptions"]);
        let client = Client::builder().no_proxy().redirect(Policy::none()).build();
        let client = client.map_err(|_| refuse("cannot be asked: this machine cannot make HTTP requests"))?;
        Ok(Self { client, clock, url, key, model: "whisper-1".to_owned(), time: Duration::from_hours(1) })
    }

    /// The model to ask for; `whisper-1` unless set.
    #[must_use]
    pub fn with_model(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// How long the server may take for a channel; an hour unless set.
    #[must_use]
    pub fn with_time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    async fn sentences(&self, recording: &Recording, channel: &Channel) -> Result<Vec<Sentence>, Failure> {
        let wave = recording.wave(channel).await?;
        let asking = async { read(self.ask(wave.as_file()).await?).await };
        let answer = self.clock.timeout(self.time, asking).await;
        let answer = answer.unwrap_or_else(|_| Err(unreachable("it took too long")))?;
        answer.timeline(recording.duration()).map(|timeline| timeline.sentences(recording.duration()))
    }

    async fn ask(&self, wave: &std::fs::File) -> Result<Response, Failure> {
        let file = wave.try_clone().and_then(|mut file| {
            std::io::Seek::rewind(&mut file)?;
            Ok((file.metadata()?.len(), tokio::fs::File::from_std(file)))
        });
        let (length, file) =
            file.map_err(|error| Failure::new("Sandbox.TemporaryFile", error.to_string()))?;
        let part = Part::stream_with_length(Body::from(file), length).file_name("channel.wav");
        let part = part.mime_str("audio/wav").expect("it is a media type");
        let form = Form::new()
            .text("model", self.model.clone())
            .text("response_format", "verbose_json")
            .text("timestamp_granularities[]", "word")
            .text("timestamp_granularities[]", "segment")
            .part("file", part);
        let mut request = self.client.post(self.url.clone()).multipart(form);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose_secret());
        }
        let response = request.send().await.map_err(|error| {
            tracing::debug!(
                error = &error.without_url() as &dyn std::error::Error,
                "the recogniser gave no answer"
            );
            unreachable("no answer")
        })?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => {
                let message = format!("The recogniser answered {}.", status.as_u16());
                Err(Failure::new("Sandbox.RecogniserRefused", message))
            }
        }
    }
}

impl Recogniser for OpenAi {
    fn recognise<'a>(
        &'a self,
        recording: &'a Recording,
        channel: &'a Channel,
    ) -> BoxFuture<'a, Result<Vec<Sentence>, Failure>> {
        self.sentences(recording, channel).boxed()
    }
}

async fn read(mut response: Response) -> Result<Answer, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| unreachable("its answer was cut short"))? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_MAX {
            return Err(unusable("more than 32 MiB"));
        }
    }
    serde_json::from_slice(&body).map_err(|error| unusable(&format!("not as documented ({error})")))
}

impl Answer {
    /// Its text, with times; evenly over `duration` milliseconds where it has none.
    fn timeline(self, duration: u64) -> Result<Timeline, Failure> {
        let words = timed(self.words)?;
        let mut timeline = Timeline::default();
        let segments = self.segments.unwrap_or_default();
        if segments.is_empty() {
            timeline.add(&Timed { begin: 0, end: duration, text: self.text }, &words);
        }
        let mut words = words.as_slice();
        for (at, segment) in segments.iter().enumerate() {
            // Those that begin before the next segment does.
            let next = segments.get(at + 1).map_or(Ok(u64::MAX), |next| milliseconds(next.start))?;
            let (own, later) =
                words.split_at(words.iter().position(|word| word.begin >= next).unwrap_or(words.len()));
            words = later;
            let within = timed(segment.words.as_deref())?;
            let piece = Timed {
                begin: milliseconds(segment.start)?,
                end: milliseconds(segment.end)?,
                text: segment.text.trim().to_owned(),
            };
            timeline.add(&piece, if within.is_empty() { own } else { &within });
        }
        Ok(timeline)
    }
}

fn timed(words: Option<impl AsRef<[Word]>>) -> Result<Vec<Timed>, Failure> {
    let Some(words) = words else { return Ok(Vec::new()) };
    let timed = |word: &Word| {
        Ok(Timed { begin: milliseconds(word.start)?, end: milliseconds(word.end)?, text: word.word.clone() })
    };
    words.as_ref().iter().map(timed).collect()
}

fn milliseconds(seconds: f64) -> Result<u64, Failure> {
    // A day; a recording is shorter.
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= Duration::from_hours(24));
    let time = time.ok_or_else(|| unusable(&format!("{seconds} s is no time in a recording")))?;
    Ok(u64::try_from((time + Duration::from_micros(500)).as_millis()).unwrap_or(u64::MAX))
}

fn unreachable(why: &str) -> Failure {
    Failure::new("Sandbox.RecogniserUnreachable", format!("The recogniser cannot be asked: {why}."))
}

fn unusable(why: &str) -> Failure {
    Failure::new("Sandbox.RecogniserAnswer", format!("The recogniser's answer cannot be used: {why}."))
}
