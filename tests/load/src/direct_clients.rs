//! Direct clients: two hundred clients, each a process of its own with a task of its own, share one account's
//! queries; all of them finish, and none is told of a 429.

use std::{process::Stdio, time::Duration};

use clap::{Args, value_parser};
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncWriteExt, process::Command, task::JoinSet};
use valet_client::{AppCredential, Client, Kind, TranscriptionRequest};
use valet_clock::{Clock, ClockExt, SystemClock};
use valet_demo::recordings::Recordings;
use valet_sandbox::{Operation, Settings};

use crate::{
    Outcome, printer,
    server::{Broker, Upstream},
    target::{Bound, Verdict},
};

pub(crate) const RECORDING: &str = "weather.flac";
pub(crate) const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recordings");

/// What a client may take in all: far more than it needs.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How many clients there are, each with one task
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u32).range(1..=2000))]
    clients: u32,
    /// How long a task takes, in seconds
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u64).range(0..=3600))]
    task_seconds: u64,
}

/// What one client has to do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Job {
    pub(crate) broker: String,
    pub(crate) app: String,
    pub(crate) secret: String,
    pub(crate) recording: String,
}

/// What became of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) took: Duration,
    /// What its caller was told, if not a transcript.
    pub(crate) error: Option<String>,
    /// Whether that was a 429.
    is_throttled: bool,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let Options { clients, task_seconds } = *options;
    printer::line(&format!(
        "direct clients: broker on core 0; on core 1 an upstream that allows 20 queries a second, and {clients} \
         processes with a client each, all begun at once; a task takes {task_seconds} s"
    ))?;
    let upstream = Upstream::start_with(
        Settings::default().with_task_time(Duration::ZERO, Duration::from_secs(task_seconds)),
    )
    .await?;
    let broker = Broker::start(&upstream).await?;
    let recordings = Recordings::serve(FOLDER.as_ref()).await?;
    let (app, secret) = Broker::credential();
    let url = format!("http://{}", broker.endpoint.address);
    let job = Job { broker: url, app, secret, recording: recordings.url(RECORDING) };
    let mut running = JoinSet::new();
    for _ in 0..clients {
        running.spawn(client(job.clone()));
    }
    let mut reports = Vec::new();
    while let Some(report) = running.join_next().await {
        reports.push(report??);
    }
    broker.stop().await?;
    told(&reports, &upstream)?;
    let finished = reports.iter().filter(|report| report.error.is_none()).count();
    let throttled = reports.iter().filter(|report| report.is_throttled).count();
    printer::verdicts(&[
        Verdict {
            name: "direct clients, tasks that finished".into(),
            measured: Some(finished as f64),
            bound: Bound::AtLeast(f64::from(clients)),
        },
        Verdict {
            name: "direct clients, 429 surfaced".into(),
            measured: Some(throttled as f64),
            bound: Bound::AtMost(0.0),
        },
    ])?;
    Ok(())
}

/// How it went, beside what is required.
fn told(reports: &[Report], upstream: &Upstream) -> Outcome<()> {
    let asked = upstream.sandbox().journal();
    let of = |operations: &[Operation], status: Option<u16>| {
        let fits = |status_of: Option<u16>| status.is_none() || status_of == status;
        asked.iter().filter(|entry| operations.contains(&entry.operation) && fits(entry.status)).count()
    };
    let (queries, submits) = ([Operation::Query, Operation::List], [Operation::Submit]);
    let mut times: Vec<_> = reports.iter().map(|report| report.took).collect();
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).map_or(0.0, Duration::as_secs_f64);
    printer::line(&format!(
        "upstream: {} mints, {} submits, {} queries, of which {} were answered with 429; a client took {:.1} s (median), \
         {:.1} s (p99)",
        upstream.mints(),
        of(&submits, None),
        of(&queries, None),
        of(&queries, Some(429)),
        at(50),
        at(99)
    ))?;
    reports.iter().filter_map(|report| report.error.as_deref()).take(5).try_for_each(printer::line)?;
    Ok(())
}

/// Has a client in a process of its own do `job`.
pub(crate) async fn client(job: Job) -> Outcome<Report> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("direct-client").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut process = command.spawn()?;
    let mut input = process.stdin.take().ok_or("the client has no input")?;
    input.write_all(&serde_json::to_vec(&job)?).await?;
    drop(input);
    let output = SystemClock.timeout(PATIENCE, process.wait_with_output()).await;
    let output = output.map_err(|_| "a client hangs")??;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The process itself.
pub(crate) async fn transcribe(job: Job) -> Outcome<Report> {
    let credential = AppCredential::new(job.app, job.secret);
    let client = Client::builder().broker(&job.broker, credential)?.build()?;
    let begun = SystemClock.now();
    let request = TranscriptionRequest::new([job.recording]);
    let error = match client.transcribe(&request).await {
        Ok(transcription) => {
            let failed = transcription.files().iter().find_map(|file| file.transcript().err());
            failed.map(|failure| (failure.to_string(), false))
        }
        Err(error) => {
            let is_throttled = error.kind() == Kind::Throttled || error.status() == Some(429);
            Some((error.to_string(), is_throttled))
        }
    };
    let is_throttled = error.as_ref().is_some_and(|(_, is_throttled)| *is_throttled);
    Ok(Report { took: SystemClock.now() - begun, error: error.map(|(text, _)| text), is_throttled })
}
