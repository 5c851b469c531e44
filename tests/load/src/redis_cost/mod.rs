//! Redis cost: how much of a processor each kind of call of the replicas takes of the redis-server that they share.

mod calls;

use std::{path::Path, sync::Arc, time::Duration};

use clap::{Args, value_parser};
use futures_util::future::try_join_all;
use prometheus_client::registry::Registry;
use valet_clock::{Clock, ClockExt, SystemClock};
use valet_server::{config::Config, shared_redis::Shared};

use self::calls::{Calls, KINDS};
use crate::{
    Outcome,
    cores::{self, Used},
    printer,
    server::{Redis, config_of, environment},
};

/// How many replicas there are: all of them hear what is said to all.
const REPLICAS: usize = 4;
/// How many calls each of them has under way.
const AT_ONCE: usize = 8;
/// How long the server may take for an answer, while so many are under way.
const PATIENCE: Duration = Duration::from_secs(10);
/// By then what is there counts as all that there is.
const SETTLED: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long each kind of call is measured, in seconds
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u64).range(1..=15))]
    seconds: u64,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    printer::line(&format!(
        "redis cost: a redis-server on core 0; on core 1 what {REPLICAS} replicas have of it, with {AT_ONCE} calls of a kind \
         under way each"
    ))?;
    let redis = Redis::start(cores::SERVER).await?;
    let replicas = replicas(&redis).await?;
    printer::line(&format!(
        "\n{:<34}{:>10}{:>22}{:>9}{:>8}",
        "", "cpu µs", "a second at one core", "calls", "busy"
    ))?;
    let calls = Calls::begin(&replicas[0]).await?;
    let used = || Used::read(redis.endpoint.pid, cores::SERVER);
    for (kind, name) in KINDS {
        let (begun, before) = (SystemClock.now(), used()?);
        let end = begun + Duration::from_secs(options.seconds);
        let drivers = (0..REPLICAS * AT_ONCE).zip(replicas.iter().cycle());
        let made = drivers.map(|(driver, replica)| calls.make(replica, kind, driver, end));
        let made = try_join_all(made).await?.iter().sum::<u64>() as f64;
        let seconds = used()?.process - before.process;
        let busy = seconds / (SystemClock.now() - begun).as_secs_f64() * 100.0;
        printer::line(&format!(
            "{name:<34}{:>10.1}{:>22.0}{made:>9.0}{busy:>7.0}%",
            seconds / made * 1e6,
            made / seconds,
        ))?;
    }
    Ok(())
}

/// What each replica has of the Redis.
async fn replicas(redis: &Redis) -> Outcome<Vec<Arc<Shared>>> {
    // Nobody is at the upstream here, and nothing is decided that would be in the trail.
    let config = config_of("", "http://127.0.0.1:1/api/v1", Path::new("audit.jsonl")) + &redis.section();
    let config = Config::read(&config, &environment())?;
    let mut settings = config.shared.ok_or("nothing is shared")?;
    settings.response_time = PATIENCE;
    let replica = |number| {
        Shared::new(&settings, &format!("{number}"), Arc::new(SystemClock), &mut Registry::default())
    };
    let replicas: Vec<_> = (0..REPLICAS).map(replica).collect();
    for replica in &replicas {
        replica.attend().await;
    }
    SystemClock.sleep(SETTLED).await;
    Ok(replicas)
}
