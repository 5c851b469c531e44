//! The command line of `valet-sandbox`, and the settings it asks for.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::{Parser, ValueEnum};
use secrecy::SecretString;
use url::Url;
use valet_clock::SharedClock;
use valet_sandbox::{AllFailed, DownloadLimits, ListOrder, OpenAi, Settings};

/// A local service that speaks DashScope's token and Fun-ASR protocol.
///
/// It downloads and decodes what it is told to transcribe, and takes the words from a transcript beside the
/// audio: NAME.txt, NAME.srt or NAME.vtt beside NAME.wav (NAME.ch0.txt and so on for single channels).
/// It prints the environment to use it with; `GET /_sandbox/` explains the journal and the faults.
#[derive(Debug, Parser)]
#[command(name = "valet-sandbox", version)]
pub(crate) struct Arguments {
    /// The address to listen at; port 0 is a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8780")]
    listen: SocketAddr,

    /// What result URLs begin with, if not with the address.
    #[arg(long, value_name = "URL")]
    public_url: Option<Url>,

    /// An API key to know, `sk-…` or `ACCOUNT=sk-…`; may be repeated.
    #[arg(
        long = "key",
        value_name = "KEY",
        env = "VALET_SANDBOX_KEY",
        hide_env_values = true,
        default_value = "sk-sandbox"
    )]
    keys: Vec<String>,

    /// The bearer that the control route demands; without it the route is open, on loopback only.
    #[arg(long, value_name = "TOKEN", env = "VALET_SANDBOX_CONTROL_TOKEN", hide_env_values = true)]
    control_token: Option<SecretString>,

    /// Queries, lists and cancels that an account has in any second.
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    queries_per_second: u32,

    /// Submits of a model that an account has in any minute.
    #[arg(long, value_name = "COUNT", default_value_t = 600)]
    submits_per_minute: u32,

    /// The most tasks on a page of a list.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    page_max: u32,

    /// List the newest tasks first, instead of in no order.
    #[arg(long)]
    newest_first: bool,

    /// The most URLs in a task.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    urls_max: usize,

    /// Fail what was submitted without `parameters`, as the workspace hosts do.
    #[arg(long)]
    workspace_host: bool,

    /// End a task as SUCCEEDED even if all its subtasks failed, as one documented sample does.
    #[arg(long)]
    all_failed_succeeds: bool,

    /// How long a task is PENDING, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "0.2", value_parser = seconds)]
    pending: Duration,

    /// How long a task is RUNNING at least, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    running: Duration,

    /// How long tasks and results are kept, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = seconds)]
    results_ttl: Duration,

    /// The largest file to download, in bytes. (The service takes 2 GB.)
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    download_max: u64,

    /// The longest download, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    download_time: Duration,

    /// The longest recording, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "43200", value_parser = seconds)]
    audio_max: Duration,

    /// Where the words come from.
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Recogniser::Transcript)]
    recogniser: Recogniser,

    /// The base URL of a server that speaks OpenAI's transcription API, such as http://127.0.0.1:8000/v1.
    #[arg(long, value_name = "URL", required_if_eq("recogniser", "openai"))]
    openai_url: Option<Url>,

    /// The environment variable that holds the key for it, if it asks for one.
    #[arg(long, value_name = "NAME")]
    openai_key_env: Option<String>,

    /// The model to ask it for.
    #[arg(long, value_name = "NAME", default_value = "whisper-1")]
    openai_model: String,

    /// How long it may take for a channel, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = seconds)]
    openai_time: Duration,
}

/// Where the words come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Recogniser {
    /// From a transcript beside the audio.
    Transcript,
    /// From a server that speaks OpenAI's transcription API.
    #[value(name = "openai")]
    OpenAi,
}

impl Arguments {
    /// # Errors
    /// What is wrong with them, for people.
    pub(crate) fn settings(self, clock: SharedClock) -> Result<Settings, String> {
        let recogniser = self.openai(clock)?;
        let mut settings = Settings::default()
            .with_listen(self.listen)
            .with_queries_per_second(self.queries_per_second)
            .with_submits_per_minute(self.submits_per_minute)
            .with_page_max(self.page_max)
            .with_list_order(if self.newest_first { ListOrder::NewestFirst } else { ListOrder::Arbitrary })
            .with_urls_max(self.urls_max)
            .with_workspace_host(self.workspace_host)
            .with_all_failed(if self.all_failed_succeeds { AllFailed::Succeeded } else { AllFailed::Failed })
            .with_task_time(self.pending, self.running)
            .with_results_ttl(self.results_ttl)
            .with_download_limits(DownloadLimits {
                bytes: self.download_max,
                time: self.download_time,
                audio: self.audio_max,
            });
        if let Some(url) = self.public_url {
            settings = settings.with_public_url(url);
        }
        if let Some(token) = self.control_token {
            settings = settings.with_control_token(token);
        }
        for key in self.keys {
            settings = match key.split_once('=') {
                Some((account, key)) => settings.with_account_key(account, key),
                None => settings.with_key(key),
            };
        }
        Ok(match recogniser {
            Some(recogniser) => settings.with_recogniser(Arc::new(recogniser)),
            None => settings,
        })
    }

    fn openai(&self, clock: SharedClock) -> Result<Option<OpenAi>, String> {
        let Some(url) = self.openai_url.as_ref().filter(|_| self.recogniser == Recogniser::OpenAi) else {
            return Ok(None);
        };
        let key = self.openai_key_env.as_ref().map(|name| {
            let key = std::env::var(name).ok().filter(|key| !key.is_empty());
            key.map(SecretString::from).ok_or_else(|| format!("openai-key-env: {name} is not set"))
        });
        let openai = OpenAi::new(url, key.transpose()?, clock).map_err(|error| error.to_string())?;
        Ok(Some(openai.with_model(&self.openai_model).with_time(self.openai_time)))
    }
}

/// A time in seconds, with a fraction if need be; at most a year.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds <= 366.0 * 86400.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "must be a number of seconds, at most a year".to_owned())
}
