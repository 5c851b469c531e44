//! Against a sandbox whose time passes only while the lookup pauses.

use std::future::{self, Future};

use valet_client::TranscriptionRequest;
use valet_clock::ManualClock;
use valet_sandbox::{Sandbox, SandboxHandle, Settings};

use super::*;
use crate::journal::Intent;

/// Nothing answers there, so that such tasks end at once; a failed task tells its URLs too.
const URLS: [&str; 2] = ["http://127.0.0.1:1/b.wav", "http://127.0.0.1:1/a b.wav"];

struct Stage {
    clock: ManualClock,
    sandbox: SandboxHandle,
    client: Client,
    attempt: Attempt,
}

impl Stage {
    /// An intent of this moment.
    async fn new() -> Self {
        let clock = ManualClock::new();
        let settings = Settings::default().with_key("sk-test").with_task_time(Duration::ZERO, Duration::ZERO);
        let sandbox = Sandbox::bind(settings, clock.handle("sandbox")).await.unwrap();
        let (base_url, handle) = (sandbox.base_url(), sandbox.handle());
        tokio::spawn(sandbox.run(future::pending()));
        let client = Client::builder().api_key(&base_url, "sk-test").unwrap().build().unwrap();
        let sources = URLS.map(str::to_owned).to_vec();
        let at = Timestamp::UNIX_EPOCH + jiff::SignedDuration::try_from(clock.unix()).unwrap();
        let attempt = Attempt {
            at,
            intent: Intent { intent: 0, sources, uploads: Vec::new(), key: None },
            task: None,
            may_arrive: true,
        };
        Self { clock, sandbox: handle, client, attempt }
    }

    async fn submit(&self, urls: &[&str]) -> TaskId {
        self.client.submit(&TranscriptionRequest::new(urls.iter().copied())).await.unwrap().id().clone()
    }

    async fn look(&self, claimed: &[&TaskId]) -> Option<TaskId> {
        let claimed = claimed.iter().map(|&task| task.clone()).collect();
        let clock = self.clock.handle("lookup");
        task_of(&self.client, &*clock, "fun-asr", &self.attempt, &claimed).await.unwrap()
    }

    /// The output of `future`, with time passing whenever the lookup pauses.
    async fn turn_until<F: Future>(&self, future: F) -> F::Output {
        let turn = async {
            loop {
                self.clock.asleep("lookup", 1).await;
                self.clock.advance(PAUSE);
            }
        };
        tokio::select! {
            output = future => output,
            () = turn => unreachable!("it turns for ever"),
        }
    }
}

#[tokio::test]
async fn it_is_the_nearest_task_of_the_same_urls_that_is_not_claimed() {
    let stage = Stage::new().await;
    let earlier = stage.submit(&URLS).await;
    stage.submit(&URLS[..1]).await;
    stage.clock.advance(Duration::from_secs(1));
    let later = stage.submit(&[URLS[1], URLS[0]]).await;
    assert_eq!(stage.look(&[&earlier]).await, Some(later.clone()));
    assert_eq!(stage.look(&[&later]).await, Some(earlier.clone()));
    assert_eq!(stage.turn_until(stage.look(&[&earlier, &later])).await, None);
}

#[tokio::test]
async fn a_task_that_arrives_meanwhile_is_waited_for() {
    let stage = Stage::new().await;
    // However long the submit had been tried.
    stage.clock.advance(Duration::from_secs(20 * 60));
    let arrival = async {
        stage.clock.asleep("lookup", 1).await;
        let task = stage.submit(&URLS).await;
        stage.clock.advance(PAUSE);
        (task, stage.sandbox.tasks().len())
    };
    let (found, (task, tasks)) = tokio::join!(stage.look(&[]), arrival);
    assert_eq!((found, tasks), (Some(task), 1));
}

#[tokio::test]
async fn what_was_looked_for_to_the_end_is_not_waited_for_again() {
    let mut stage = Stage::new().await;
    stage.attempt.may_arrive = false;
    assert_eq!(stage.look(&[]).await, None);
    let task = stage.submit(&URLS).await;
    assert_eq!(stage.look(&[]).await, Some(task), "and yet it is looked for");
}

#[tokio::test]
async fn what_was_sent_long_ago_is_not_waited_for() {
    let stage = Stage::new().await;
    stage.clock.advance(LONGEST_SUBMIT);
    assert_eq!(stage.look(&[]).await, None);
}
