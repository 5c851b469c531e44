//! Relay cost: what a caller pays for the relay in place of calling the service itself. The same requests at a
//! sandbox, and at a relay before another sandbox.

use std::time::Duration;

use clap::{Args, value_parser};

use crate::{
    Outcome,
    cached_issue::{CONNECTIONS, WARM_UP},
    comparison::{Pair, Pairs, generate},
    generator::{Expected, Job, Load, Report},
    printer,
    server::{Endpoint, KEY, Relay, Sandbox, Upstream},
    waiting::{Connection, submission, task},
};

/// Queries a second where latency is looked at: few enough that nothing waits for anything else.
const QUERIES: u32 = 500;
/// Submits a second, likewise.
const SUBMITS: u32 = 100;
/// A recording that nobody fetches: tasks do not begin.
const RECORDING: &str = "https://recordings.example.com/weather.flac";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long each run is measured, in seconds, after half a second of warm-up
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many pairs of runs are measured of each
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(5..=100))]
    repetitions: u32,
}

/// A server, and by what it is asked.
struct Side {
    endpoint: Endpoint,
    bearer: &'static str,
    /// A task that has not begun.
    task: String,
}

impl Side {
    async fn new(endpoint: Endpoint, bearer: &'static str) -> Outcome<Self> {
        let task = Connection::open(endpoint.address).await?.submit(bearer, RECORDING, 0).await?;
        Ok(Self { endpoint, bearer, task })
    }

    fn query(&self) -> String {
        let Self { task, bearer, .. } = self;
        format!("GET /api/v1/tasks/{task} HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {bearer}\r\n\r\n")
    }

    fn job(&self, request: String, load: Load, seconds: u64) -> Job {
        Job {
            address: self.endpoint.address,
            server: self.endpoint.pid,
            requests: vec![request],
            expected: Expected { status: 200, body_length: 50..=1000, body_start: "{".into() },
            connections: CONNECTIONS,
            load,
            warm_up: WARM_UP,
            measure: Duration::from_secs(seconds),
            counts_failures: false,
            slow: None,
        }
    }
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    printer::line(
        "relay cost: a sandbox, and a relay, by turns on core 0; on core 1 the load, 64 connections, and the sandbox \
         behind the relay",
    )?;
    let sandbox = Sandbox::start().await?;
    let upstream = Upstream::start_with(Sandbox::settings()).await?;
    let relay = Relay::start(&upstream, 100, 1).await?;
    let direct = Side::new(sandbox.endpoint, KEY).await?;
    let relayed = Side::new(relay.endpoint(), relay.secret()).await?;
    let query = |side: &Side| side.query();
    let submit = |side: &Side| submission(side.bearer, &task(RECORDING));

    let most =
        by_turns("queries, as many as it can", &direct, &relayed, query, Load::Closed, options).await?;
    let steady = Load::Open { per_second: QUERIES };
    let title = format!("queries, {QUERIES} a second");
    let queries = by_turns(&title, &direct, &relayed, query, steady, options).await?;
    let steady = Load::Open { per_second: SUBMITS };
    let title = format!("submits, {SUBMITS} a second");
    let submits = by_turns(&title, &direct, &relayed, submit, steady, options).await?;
    relay.stop().await?;

    printer::line("")?;
    let ratio = most.ratio(|report| report.per_second).ok_or("too few runs")?;
    printer::line(&format!("relay cost, queries a second against the sandbox itself: measured {ratio:.3}"))?;
    for (what, pairs) in [("query", queries), ("submit", submits)] {
        let Pair { bare, broker } = pairs.medians().ok_or("too few runs")?;
        let added = |figure: fn(&Report) -> Duration| {
            (figure(&broker).as_secs_f64() - figure(&bare).as_secs_f64()) * 1e6
        };
        printer::line(&format!(
            "relay cost, added latency of a {what} in µs: measured {:.0} (median), {:.0} (p99)",
            added(|report| report.latency.p50),
            added(|report| report.latency.p99)
        ))?;
    }
    Ok(())
}

/// Loads both by turns.
async fn by_turns(
    title: &str,
    direct: &Side,
    relayed: &Side,
    request: impl Fn(&Side) -> String,
    load: Load,
    options: &Options,
) -> Outcome<Pairs> {
    printer::head(title)?;
    let mut pairs = Pairs::default();
    for _ in 0..options.repetitions {
        let bare = generate(&direct.job(request(direct), load, options.seconds)).await?;
        printer::run("sandbox", &bare, "")?;
        let broker = generate(&relayed.job(request(relayed), load, options.seconds)).await?;
        printer::run("relay", &broker, "")?;
        pairs.0.push(Pair { bare, broker });
    }
    Ok(pairs)
}
