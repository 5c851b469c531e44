//! A broker by itself, or several that share a Redis.

use std::{io, path::Path, time::Duration};

use valet_clock::{ClockExt, SystemClock};

use super::{Broker, Redis, Upstream, config_of};
use crate::{Outcome, cores};

/// By then each has seen that the others are there.
const ACQUAINTED: Duration = Duration::from_secs(3);

/// Running ones, by the same configuration.
#[derive(Debug)]
pub(crate) struct Cluster {
    brokers: Vec<Broker>,
    /// Ends with this value.
    redis: Option<Redis>,
}

impl Cluster {
    /// Starts so many with one app that all of them know and a Redis on the core for load, with settings at the `top` of
    /// their configuration besides.
    pub(crate) async fn start(upstream: &Upstream, size: usize, top: &str) -> Outcome<Self> {
        let redis = Redis::start(cores::LOAD).await?;
        let config = |files: &Path| Ok(config_of(top, upstream.base_url(), &files.join("audit.jsonl")));
        Self::start_of(size, Some(redis), config).await
    }

    /// Starts so many by the configuration that is made of the folder of each one's files.
    pub(crate) async fn start_of(
        size: usize,
        redis: Option<Redis>,
        configuration: impl Fn(&Path) -> io::Result<String>,
    ) -> Outcome<Self> {
        let shared = redis.as_ref().map(Redis::section).unwrap_or_default();
        let mut brokers = Vec::new();
        for _ in 0..size {
            brokers.push(Broker::start_of(|files| Ok(configuration(files)? + &shared)).await?);
        }
        if redis.is_some() {
            SystemClock.sleep(ACQUAINTED).await;
        }
        Ok(Self { brokers, redis })
    }

    /// All of them.
    pub(crate) fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    /// What they share their state on.
    pub(crate) fn redis(&self) -> Option<&Redis> {
        self.redis.as_ref()
    }

    /// Kills one, the last.
    pub(crate) async fn kill_one(&mut self) -> Outcome<()> {
        self.brokers.pop().ok_or("there is none any more")?.kill().await
    }

    /// Stops them, as an operator would.
    pub(crate) async fn stop(self) -> Outcome<()> {
        for broker in self.brokers {
            broker.stop().await?;
        }
        Ok(())
    }
}
