//! Replicas: brokers that share their state on a Redis. One mint for all of them, the loss of one of them, and what
//! sharing costs a cached issue.

mod killed;

use std::time::Duration;

use clap::{Args, value_parser};
use futures_util::future::try_join_all;
use valet_sandbox::{Fault, Operation};

use crate::{
    Outcome,
    cached_issue::WARM_UP,
    comparison::{Pair, Pairs, generate},
    files,
    generator::{Job, Load},
    printer,
    server::{Broker, Cluster, Upstream},
    steady,
    target::{Bound, Verdict},
};

/// How long the upstream takes to mint.
const MINT: Duration = Duration::from_millis(200);
/// How many there are, from run to run.
const SIZES: [usize; 3] = [1, 2, 4];

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How many callers ask at once, spread over the replicas
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(4..=50_000))]
    callers: u32,
    /// How many clients have a job under way when a replica is killed
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u32).range(1..=2000))]
    clients: u32,
    /// How many pairs of runs are measured
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(5..=100))]
    repetitions: u32,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    printer::line(
        "replicas: brokers on core 0; on core 1 a redis-server that they share, an upstream, and callers",
    )?;
    files::raise_limit(u64::from(options.callers) + 500)?;
    let mut verdicts = Vec::new();
    for size in SIZES {
        let herd = herd(size, options.callers).await?;
        printer::line(&format!(
            "{size} replicas: {} cold requests at once, {} of them not answered with a token; mints {}, slowest {} ms",
            options.callers,
            herd.failures,
            herd.mints,
            herd.slowest.as_millis()
        ))?;
        let verdict = |what: &str, measured: u64, most: f64| Verdict {
            name: format!("replicas, {size}, {what}"),
            measured: Some(measured as f64),
            bound: Bound::AtMost(most),
        };
        verdicts.push(verdict("mints for all cold requests", herd.mints, 1.0));
        verdicts.push(verdict("failed cold requests", herd.failures, 0.0));
    }
    let lost = killed::lost(options.clients).await?;
    verdicts.push(Verdict {
        name: "replicas, 4, client jobs lost when one is killed".into(),
        measured: Some(lost as f64),
        bound: Bound::AtMost(0.0),
    });
    let shared = sharing(options.repetitions).await?;
    printer::verdicts(&verdicts)?;
    printer::line(&format!(
        "replicas, cached issue with shared state against without: measured {:.3}",
        shared.ratio(|report| report.per_second).ok_or("too few runs")?
    ))?;
    Ok(())
}

/// What a herd was like.
struct Herd {
    mints: u64,
    failures: u64,
    slowest: Duration,
}

/// So many callers ask so many replicas at once for a token that none of them has.
async fn herd(size: usize, callers: u32) -> Outcome<Herd> {
    let upstream = Upstream::start().await?;
    upstream.sandbox().script(Fault::on(Operation::Mint).delay(MINT).always());
    let cluster = Cluster::start(&upstream, size, &format!("bounds.connections = {}", callers + 100)).await?;
    let each = callers as usize / size;
    let jobs: Vec<Job> = cluster
        .brokers()
        .iter()
        .map(|replica| Job {
            measure: Duration::from_secs(30),
            warm_up: Duration::ZERO,
            connections: each,
            counts_failures: true,
            ..job(replica, Load::Once { after_one_that_hangs_up: false })
        })
        .collect();
    let reports = try_join_all(jobs.iter().map(generate)).await?;
    cluster.stop().await?;
    let answered: u64 = reports.iter().map(|report| report.responses).sum();
    if answered != (each * size) as u64 {
        return Err(format!("{callers} callers, {answered} responses").into());
    }
    Ok(Herd {
        mints: upstream.mints(),
        failures: reports.iter().map(|report| report.failures).sum(),
        slowest: reports.iter().map(|report| report.latency.most).max().unwrap_or_default(),
    })
}

/// A cached issue by a broker without shared state, and by a replica, by turns.
async fn sharing(repetitions: u32) -> Outcome<Pairs> {
    let upstream = Upstream::start().await?;
    let alone = Broker::start(&upstream).await?;
    let cluster = Cluster::start(&upstream, 1, "").await?;
    let replica = cluster.brokers().first().ok_or("no replica")?;
    for broker in [&alone, replica] {
        steady::warm(broker).await?;
    }
    let (without, with) = (job(&alone, Load::Closed), job(replica, Load::Closed));
    printer::head("cached issue: a broker by itself, and a replica")?;
    let mut pairs = Pairs::default();
    for _ in 0..repetitions {
        let bare = generate(&without).await?;
        printer::run("alone", &bare, "")?;
        let broker = generate(&with).await?;
        printer::run("replica", &broker, "")?;
        pairs.0.push(Pair { bare, broker });
    }
    alone.stop().await?;
    cluster.stop().await?;
    Ok(pairs)
}

fn job(broker: &Broker, load: Load) -> Job {
    let time = Duration::from_secs(2);
    Job { load, warm_up: WARM_UP, counts_failures: false, ..steady::job(broker, 0, time, None) }
}
