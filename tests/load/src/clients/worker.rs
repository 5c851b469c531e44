//! Valet's client does a job in a process of its own: each caller has a client, and each task is waited for.

use std::{
    fs,
    io::{self, Read},
    time::Duration,
};

use futures_util::future::join_all;
use valet_client::{AppCredential, Client, Error, TranscriptionRequest};
use valet_clock::{Clock, ClockExt, SystemClock};

use super::job::{Caller, Job, Known, Planned, Report};
use crate::{Outcome, printer};

/// Reads a job from standard input once it is ready, does it, and prints the report.
pub(crate) fn work() -> Outcome<()> {
    printer::line("ready")?;
    let mut job = String::new();
    io::stdin().read_to_string(&mut job)?;
    let job: Job = serde_json::from_str(&job)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(done(&job))?;
    Ok(printer::line(&serde_json::to_string(&report)?)?)
}

async fn done(job: &Job) -> Outcome<Report> {
    let began = SystemClock.now();
    let work = async {
        let mut clients = Vec::new();
        for caller in &job.callers {
            let builder = Client::builder();
            let builder = match &job.app {
                Some(app) => {
                    builder.broker(&job.base_url, AppCredential::new(app.as_str(), caller.key.clone()))?
                }
                None => builder.api_key(&job.base_url, caller.key.clone())?,
            };
            clients.push(builder.build()?);
        }
        let callers = clients.iter().zip(&job.callers).enumerate();
        Ok::<_, Error>(
            join_all(callers.map(|(number, (client, caller))| tasks(client, number, caller))).await,
        )
    };
    let outcomes = SystemClock.timeout(job.patience(), work).await;
    let outcomes: Vec<Result<Known, Error>> =
        outcomes.map_err(|_| "the tasks did not end in time")??.into_iter().flatten().collect();
    let mut report = Report {
        known: Vec::new(),
        refused: 0,
        failed: Vec::new(),
        seconds: (SystemClock.now() - began).as_secs_f64(),
        peak_kib: peak_kib()?,
    };
    for outcome in outcomes {
        match outcome {
            Ok(known) => report.known.push(known),
            Err(error) => {
                report.refused += u64::from(error.status() == Some(429));
                report.failed.push(error.to_string());
            }
        }
    }
    Ok(report)
}

async fn tasks(client: &Client, number: usize, caller: &Caller) -> Vec<Result<Known, Error>> {
    let places = caller.tasks.iter().enumerate();
    let task = |(place, task)| transcribed(client, number, place, task);
    if caller.at_once {
        return join_all(places.map(task)).await;
    }
    let mut outcomes = Vec::new();
    for place in places {
        outcomes.push(task(place).await);
    }
    outcomes
}

async fn transcribed(client: &Client, caller: usize, place: usize, task: &Planned) -> Result<Known, Error> {
    let length = Duration::from_secs_f64(task.audio_seconds);
    let mut request = TranscriptionRequest::new([task.url.as_str()]);
    if !length.is_zero() {
        request = request.audio_length(length);
    }
    let submitted = client.submit(&request).await?;
    let ended = client.wait(submitted.id()).await?;
    Ok(Known { caller, place, task: ended.id().to_string(), at: SystemClock.unix().as_secs_f64() })
}

/// The most memory that this process had (proc_pid_status(5)).
fn peak_kib() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    peak.ok_or_else(|| io::Error::other("/proc is not as documented"))
}
