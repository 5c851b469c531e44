//! Several brokers that share their state on a Redis: one mint, one limit, one memory; and each by itself where it
//! must be.

/// Who may use the Redis, and how it is spoken to.
mod access;
/// Replicas whose clocks are apart.
mod clocks;
/// Who polls, and how often an account is asked, as it lies there.
mod leases;
/// Limits of all together, and of each while it is alone.
mod limits;
/// One mint, and tokens that nobody else can use.
mod mints;
/// The record of tasks, and the count of their seconds, as they lie there.
mod notes;
/// Replicas without their Redis.
mod outages;
/// Who asks the upstream, and how often.
mod polling;
/// What was shown, and what was revoked.
mod records;
/// The relay: one record of tasks, one poller.
mod relay;
/// The relay: what somebody who can write to the Redis makes of its record.
mod sealed;
/// The relay: one submit for a key.
mod submits;
/// What replicas come to know of one another's tasks late.
mod told;

use std::time::Duration;

use redis::{Cmd, Value, cmd};
use reqwest::Method;
use valet_clock::ManualClock;
use valet_demo::StackSettings;

use crate::{
    harness::{SECOND, Stage, UNHURRIED, answered, promptly},
    redis::Redis,
};

/// As in the world, a mint takes a moment.
const MOMENT: Duration = Duration::from_millis(500);

async fn replicas(count: usize, settings: StackSettings) -> Stage {
    let clock = ManualClock::new();
    let redis = Redis::start(&clock);
    Stage::of_replicas(settings, count, clock, Some(redis)).await
}

/// So many brokers, and more settings of how they share their state.
pub(crate) async fn replicas_with(count: usize, settings: StackSettings, more: &str) -> Stage {
    let clock = ManualClock::new();
    let redis = Redis::start(&clock);
    Stage::of_brokers(settings, vec![clock.handle("broker"); count], clock, Some(redis), more).await
}

/// Has a Redis know the user of the documentation; the settings of a broker that is this user.
pub(crate) fn documented_user(redis: &mut Redis, files: &std::path::Path) -> String {
    redis.run(cmd("ACL").arg("SETUSER").arg("valet").arg(documented_rules().split(' ').collect::<Vec<_>>()));
    redis.run(cmd("ACL").arg("SETUSER").arg("default").arg("resetpass").arg(">of-the-test"));
    redis.password = Some("of-the-test".into());
    let password = files.join("password");
    std::fs::write(&password, "a-password\n").unwrap();
    format!("username = \"valet\"\npassword = {{ file = {password:?} }}\n")
}

/// What that user may do.
fn documented_rules() -> String {
    let page = include_str!("../../../docs/scale.md");
    let rules = page.lines().find_map(|line| line.strip_prefix("user valet ")).unwrap();
    rules.replace("PASSWORD", "a-password")
}

async fn three() -> Stage {
    replicas(3, StackSettings { app: UNHURRIED.into(), ..StackSettings::default() }).await
}

impl Stage {
    fn redis(&mut self) -> &mut Redis {
        self.redis.as_mut().unwrap()
    }

    fn run(&self, command: &Cmd) -> Value {
        self.redis.as_ref().unwrap().run(command)
    }

    /// How often the brokers asked the Redis for something and were answered.
    async fn calls(&self, kind: &str) -> u64 {
        self.series(&format!("valet_shared_calls_total{{kind=\"{kind}\",outcome=\"ok\"}}")).await
    }

    /// Waits until so many brokers have the Redis.
    async fn joined(&self, count: u64) {
        promptly(async { while self.metric("valet_shared_up").await != count {} }).await;
    }

    /// Turns the time until so many brokers have the Redis again.
    async fn rejoined(&self, count: u64) {
        let looks = async {
            loop {
                self.clock.advance(SECOND);
                for _ in 0..50 {
                    if self.metric("valet_shared_up").await == count {
                        return;
                    }
                }
            }
        };
        promptly(looks).await;
    }

    /// Waits until so many tokens have been told to the others.
    async fn published(&self, count: u64) {
        promptly(async { while self.calls("publish").await < count {} }).await;
    }

    /// The Redis takes nothing more, or takes all again; what it holds stays there.
    fn fill(&self, is_full: bool) {
        self.run(&set("maxmemory-policy", "noeviction"));
        self.run(&set("maxmemory", if is_full { "1" } else { "0" }));
    }

    async fn ready(&self, replica: usize) -> String {
        answered(self.request_of(replica, Method::GET, "/readyz")).await.text
    }
}

fn set(name: &str, value: &str) -> Cmd {
    let mut command = cmd("CONFIG");
    command.arg("SET").arg(name).arg(value);
    command
}

/// The keys whose names match.
fn keys(stage: &Stage, pattern: &str) -> Vec<String> {
    redis::from_redis_value(stage.run(cmd("KEYS").arg(pattern))).unwrap()
}
