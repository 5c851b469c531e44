//! Where the clients work: a sandbox and a broker in this process, and recordings that say how long they take.

use std::{collections::HashMap, fs, path::Path, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tempfile::TempDir;
use valet_demo::{Stack, StackSettings, recordings::Recordings};
use valet_sandbox::{Channel, Failure, Operation, Recogniser, Recording, Sentence, Settings, TaskTime, Word};

use super::job::{Caller, Job, Planned};
use crate::Outcome;

/// What the tasks of a scenario are like.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    /// Of each caller, how long each of its tasks takes and how long its audio is said to be, in seconds.
    pub(super) callers: Vec<Vec<(f64, f64)>>,
    pub(super) at_once: bool,
    pub(super) patience: Duration,
}

/// At which door a client asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// The service's own, each caller with a key of its own account.
    Service,
    /// A broker's relay, all callers with the secret of one app.
    Relay,
}

/// What became of a task.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct End {
    /// When it ended, in seconds since the Unix epoch.
    pub(super) at: f64,
    /// How often its URL was submitted.
    pub(super) submits: usize,
    /// How often it was asked for by itself.
    pub(super) queries: u64,
}

/// Sandbox, broker and recordings of one run.
pub(super) struct Stage {
    stack: Stack,
    pub(super) job: Job,
    _folder: TempDir,
}

const RECORDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recordings");
/// Documented: 600 submits a minute.
const SUBMITS_PER_SECOND: f64 = 10.0;
/// What a task waits before it begins, of the time that it takes.
const PENDING: f64 = 0.1;

impl Stage {
    pub(super) async fn new(scenario: &Scenario, place: Place) -> Outcome<Self> {
        let folder = TempDir::new()?;
        fs::create_dir(folder.path().join("state"))?;
        let recordings = Recordings::serve(Path::new(RECORDINGS)).await?;
        let key = |caller: usize| format!("sk-caller-{caller}");
        let mut sandbox = Settings::default()
            .with_key("sk-of-the-broker")
            .with_time_of_tasks(|urls| urls.first().and_then(|url| time_of(url)))
            .with_recogniser(Arc::new(Hello));
        for caller in 0..scenario.callers.len() {
            sandbox = sandbox.with_account_key(format!("caller-{caller}"), key(caller));
        }
        let relay = (place == Place::Relay).then(|| folder.path().join("state"));
        let app = "rate = { per_second = 1000000, burst = 1000000 }".to_owned();
        let stack = Stack::start(StackSettings { sandbox, relay, app, ..StackSettings::default() }).await?;
        let url = recordings.url("market.wav");
        let planned = |caller: usize, place: usize, &(takes, audio_seconds): &(f64, f64)| Planned {
            url: format!("{url}?caller={caller}&task={place}&ms={:.0}", takes * 1000.0),
            audio_seconds,
        };
        let callers = scenario.callers.iter().enumerate().map(|(caller, tasks)| Caller {
            key: if place == Place::Relay { stack.secret.expose().to_owned() } else { key(caller) },
            at_once: scenario.at_once,
            tasks: tasks.iter().enumerate().map(|(place, task)| planned(caller, place, task)).collect(),
        });
        let job = Job {
            base_url: if place == Place::Relay { &stack.broker_url } else { &stack.sandbox_url }.clone(),
            app: (place == Place::Relay).then(|| valet_demo::APP.to_owned()),
            callers: callers.collect(),
            submits_per_second: SUBMITS_PER_SECOND,
            patience_seconds: scenario.patience.as_secs(),
        };
        Ok(Self { stack, job, _folder: folder })
    }

    /// The queries that the service was asked, in lists and one by one.
    pub(super) fn queries(&self) -> u64 {
        let sandbox = &self.stack.sandbox;
        [Operation::Query, Operation::List, Operation::Cancel].map(|asked| sandbox.count(asked)).iter().sum()
    }

    /// What became of each task that has ended, by its URL.
    pub(super) fn ends(&self) -> HashMap<String, End> {
        let mut queries: HashMap<String, u64> = HashMap::new();
        for entry in self.stack.sandbox.journal() {
            if entry.operation == Operation::Query {
                let id = entry.path.rsplit('/').next().unwrap_or_default();
                *queries.entry(id.to_owned()).or_default() += 1;
            }
        }
        let mut ends: HashMap<String, End> = HashMap::new();
        for task in self.stack.sandbox.tasks() {
            let Some(ended) = task.ended else { continue };
            let end = ends.entry(task.file_urls.into_iter().next().unwrap_or_default()).or_default();
            end.at = ended.as_secs_f64();
            end.submits += 1;
            end.queries += queries.get(&task.task_id).copied().unwrap_or_default();
        }
        ends
    }

    pub(super) async fn stop(self) -> Outcome<()> {
        self.stack.stop().await?;
        Ok(())
    }
}

/// How long a task takes, as its URL says.
fn time_of(url: &str) -> Option<TaskTime> {
    let takes: u64 = url.rsplit_once("ms=")?.1.parse().ok()?;
    let takes = Duration::from_millis(takes);
    let pending = takes.mul_f64(PENDING);
    Some(TaskTime { pending, running: takes - pending })
}

/// Hears the same in every recording.
#[derive(Debug)]
struct Hello;

impl Recogniser for Hello {
    fn recognise<'a>(
        &'a self,
        _: &'a Recording,
        channel: &'a Channel,
    ) -> BoxFuture<'a, Result<Vec<Sentence>, Failure>> {
        let (begin, end) = channel.speech.first().map_or((0, 1), |speech| (speech.begin, speech.end));
        let word = Word { begin, end, text: "Hello".into(), punctuation: ".".into() };
        async move { Ok(vec![Sentence { words: vec![word], speaker: None }]) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_how_long_its_task_takes() {
        let time = time_of("http://127.0.0.1:1/market.wav?caller=1&task=2&ms=3000").unwrap();
        assert_eq!((time.pending, time.running), (Duration::from_millis(300), Duration::from_millis(2700)));
        assert!(time_of("http://127.0.0.1:1/market.wav").is_none());
    }
}
