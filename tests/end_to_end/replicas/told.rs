//! What replicas come to know of one another's tasks late: under a key that they have not yet, after an outage, after a
//! restart.

use std::{fs, time::Duration};

use redis::cmd;
use valet_clock::{Clock, ManualClock};
use valet_demo::StackSettings;

use super::{keys, relay::handle, replicas_with};
use crate::{
    harness::{SECOND, SHARED, Stage, UNHURRIED, promptly},
    redis::Redis,
    relayed::{Relayed, recordings, status},
};

const STEP: Duration = Duration::from_millis(250);
const AUDIO: &str = "audio_seconds_per_day = 300\nseconds_per_file = 100";

impl Stage {
    /// Waits until the replicas have found out that the Redis takes nothing more.
    async fn fallen(&self) {
        self.clock.advance(SECOND);
        self.joined(0).await;
    }

    /// Seconds of audio that are used of the app's day, as the replicas count them.
    fn audio(&self) -> u64 {
        let count = keys(self, "valet:audio:*").remove(0);
        redis::from_redis_value(self.run(cmd("HGET").arg(count).arg("used"))).unwrap()
    }

    async fn audio_is(&self, seconds: u64) {
        promptly(async {
            while self.audio() != seconds {
                self.page("/healthz").await;
            }
        })
        .await;
    }
}

impl Relayed {
    /// Turns the time until a replica says that a task has ended.
    async fn ended_at(&self, replica: usize, task: &str) {
        let secret = self.stage.stack.secret.expose().to_owned();
        let mut now = String::new();
        while now != "SUCCEEDED" {
            now = status(&self.turned(self.waiting_at(replica, task, &secret), STEP).await);
        }
    }

    /// The models of the app's tasks, as a replica knows them.
    async fn models(&self, replica: usize) -> Vec<String> {
        let list = self.get_of(replica, "/tasks/", self.stage.stack.secret.expose()).await.json();
        let tasks = list["data"].as_array().unwrap();
        tasks.iter().map(|task| task["model_name"].as_str().unwrap_or("unknown").to_owned()).collect()
    }
}

/// Two replicas, of which the first seals by a key that the second has not yet.
async fn with_a_key_ahead() -> Relayed {
    let state = tempfile::tempdir().unwrap();
    let settings = StackSettings {
        app: UNHURRIED.into(),
        relay: Some(state.path().to_owned()),
        upstream: SHARED.into(),
        follow: true,
        ..StackSettings::default()
    };
    let stage = replicas_with(2, settings, "").await;
    fs::write(stage.stack.folder().join("second"), "another key for tests, of 32 characters").unwrap();
    rotate(&stage, "valet.toml").await;
    Relayed { stage, recordings: recordings().await, state }
}

/// Gives that key to the broker of this configuration.
async fn rotate(stage: &Stage, file: &str) {
    let folder = stage.stack.folder();
    let second = format!("keys = [{{ id = \"2\", file = {:?} }}, {{ id = \"1\"", folder.join("second"));
    let reloads = stage.metric("valet_config_reloads_total").await + 1;
    let text = fs::read_to_string(folder.join(file)).unwrap();
    fs::write(folder.join(file), text.replace("keys = [{ id = \"1\"", &second)).unwrap();
    while stage.metric("valet_config_reloads_total").await < reloads {
        stage.clock.advance(SECOND);
    }
}

#[tokio::test]
async fn a_replica_that_gets_a_key_late_knows_what_was_told_before() {
    let relayed = with_a_key_ahead().await;
    relayed.stage.stack.sandbox.set_task_time(Duration::ZERO, SECOND * 10);
    let secret = relayed.stage.stack.secret.expose().to_owned();
    let task = handle(&relayed.submit_at(0, &secret, None, "market.wav").await);
    assert_eq!(relayed.models(0).await, ["fun-asr"]);
    assert!(relayed.models(1).await.is_empty(), "it has not that key");
    rotate(&relayed.stage, "valet-1.toml").await;
    // It reads without being asked, and follows the task if it is the one that polls.
    promptly(async { while relayed.models(1).await != ["fun-asr"] {} }).await;
    for replica in [0, 1] {
        relayed.ended_at(replica, &task).await;
    }
    relayed.stage.stop().await;
}

#[tokio::test]
async fn who_waits_for_what_has_long_ended_is_told_at_once() {
    let relayed = with_a_key_ahead().await;
    relayed.stage.stack.sandbox.set_task_time(Duration::ZERO, SECOND * 3);
    let secret = relayed.stage.stack.secret.expose().to_owned();
    let task = handle(&relayed.submit_at(0, &secret, None, "market.wav").await);
    relayed.ended_at(0, &task).await;
    relayed.stage.pass(2).await;
    // What the upstream said is there for ten minutes: whoever reads later knows the end alone.
    let told = keys(&relayed.stage, "valet:told:*").remove(0);
    relayed.stage.run(cmd("DEL").arg(told));
    rotate(&relayed.stage, "valet-1.toml").await;
    promptly(async { while relayed.models(1).await != ["fun-asr"] {} }).await;
    relayed.stage.pass(2).await;
    let began = relayed.stage.clock.now();
    relayed.ended_at(1, &task).await;
    assert!(relayed.stage.clock.now() < began + SECOND * 10, "it is not waited for");
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_task_of_which_a_replica_knows_but_the_name_becomes_whole_and_counts_once() {
    for first in [0, 1] {
        let relayed = Relayed::of_replicas(2, AUDIO).await;
        relayed.stage.stack.sandbox.set_task_time(Duration::ZERO, SECOND * 5);
        let secret = relayed.stage.stack.secret.expose().to_owned();
        relayed.stage.fill(true);
        relayed.stage.fallen().await;
        let task = handle(&relayed.submit_at(0, &secret, None, "market.wav").await);
        // Either may be the first to see its end, and to tell of it.
        for replica in [first, 1 - first] {
            relayed.ended_at(replica, &task).await;
        }
        assert_eq!(relayed.models(1).await, ["unknown"]);
        relayed.stage.fill(false);
        relayed.stage.rejoined(2).await;
        promptly(async { while relayed.models(1).await != ["fun-asr"] {} }).await;
        let used = relayed.stage.metric("valet_relay_audio_seconds_total").await;
        assert!((1..100).contains(&used), "{used}: whoever submitted it keeps the books");
        relayed.stage.audio_is(used).await;
        for replica in [0, 1] {
            assert_eq!(relayed.models(replica).await, ["fun-asr"]);
            relayed.ended_at(replica, &task).await;
        }
        assert_eq!(relayed.stage.audio(), used);
        relayed.stage.stop().await;
    }
}

#[tokio::test]
async fn an_end_that_was_written_down_and_not_told_is_settled_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let settings = StackSettings {
        app: format!("{UNHURRIED}\n{AUDIO}"),
        relay: Some(state.path().to_owned()),
        upstream: SHARED.into(),
        ..StackSettings::default()
    };
    let clock = ManualClock::new();
    let redis = Redis::start(&clock);
    let stage = Stage::of_replicas(settings, 1, clock, Some(redis)).await;
    let mut relayed = Relayed { stage, recordings: recordings().await, state };
    relayed.stage.stack.sandbox.set_task_time(Duration::ZERO, SECOND * 5);
    let secret = relayed.stage.stack.secret.expose().to_owned();
    let task = handle(&relayed.submit_at(0, &secret, None, "market.wav").await);
    relayed.stage.audio_is(100).await;
    relayed.stage.fill(true);
    relayed.stage.fallen().await;
    relayed.ended_at(0, &task).await;
    let used = relayed.stage.metric("valet_relay_audio_seconds_total").await;
    assert!((1..100).contains(&used), "{used}");
    relayed.stage.stack.restart_broker(true).await.unwrap();
    assert_eq!(relayed.stage.audio(), 100, "nobody could tell");
    relayed.stage.fill(false);
    relayed.stage.rejoined(1).await;
    relayed.stage.audio_is(used).await;
    relayed.stage.stop().await;
}
