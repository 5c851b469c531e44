//! Brokers that share a Redis.

use std::time::Duration;

use valet_clock::{ClockExt, SystemClock};

use crate::{
    Outcome,
    server::{Broker, Redis, Upstream, config_of},
};

/// By then each has seen that the others are there.
const ACQUAINTED: Duration = Duration::from_secs(3);

/// Running ones, with one app that all of them know.
pub(super) struct Cluster {
    replicas: Vec<Broker>,
    /// Ends with this value.
    _redis: Redis,
}

impl Cluster {
    /// Starts so many, with settings at the `top` of their configuration besides.
    pub(super) async fn start(upstream: &Upstream, size: usize, top: &str) -> Outcome<Self> {
        let redis = Redis::start().await?;
        let mut replicas = Vec::new();
        for _ in 0..size {
            let config = |files: &std::path::Path| {
                let audit = files.join("audit.jsonl");
                Ok(format!("{}{}", config_of(top, upstream.base_url(), &audit), redis.section()))
            };
            replicas.push(Broker::start_of(config).await?);
        }
        SystemClock.sleep(ACQUAINTED).await;
        Ok(Self { replicas, _redis: redis })
    }

    /// All of them.
    pub(super) fn replicas(&self) -> impl Iterator<Item = &Broker> {
        self.replicas.iter()
    }

    /// Kills one, the last.
    pub(super) async fn kill_one(&mut self) -> Outcome<()> {
        self.replicas.pop().ok_or("there is none any more")?.kill().await
    }

    /// Stops them, as an operator would.
    pub(super) async fn stop(self) -> Outcome<()> {
        for replica in self.replicas {
            replica.stop().await?;
        }
        Ok(())
    }
}
