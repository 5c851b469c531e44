//! Cold herd: ten thousand callers of one app ask at once, on open connections, for a token that nobody has
//! yet; and once more with the first of them hanging up.

use std::time::Duration;

use clap::{Args, value_parser};
use valet_sandbox::{Fault, Operation};

use crate::{
    Outcome,
    cached_issue::Door,
    comparison::generate,
    files,
    generator::{Expected, Job, Load, Report},
    printer,
    server::{Broker, Upstream},
    target::{Bound, Verdict},
};

/// How long the upstream takes to mint.
const MINT: Duration = Duration::from_millis(200);
/// How much longer the slowest caller may wait.
const ABOVE: Duration = Duration::from_millis(300);

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How many callers ask at once, each on a connection of its own
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(2..=100_000))]
    callers: u32,
    /// How often each of the two is repeated; the worst counts
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=100))]
    repetitions: u32,
}

/// What the worst of several herds was like.
#[derive(Default)]
struct Worst {
    mints: u64,
    failures: u64,
    slowest: Duration,
}

impl Worst {
    fn add(&mut self, report: &Report, mints: u64) {
        self.mints = self.mints.max(mints);
        self.failures = self.failures.max(report.failures);
        self.slowest = self.slowest.max(report.latency.most);
    }
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let callers = options.callers;
    printer::line(&format!(
        "cold herd: broker on core 0; an upstream that mints in {} ms, and {callers} callers, on core 1",
        MINT.as_millis()
    ))?;
    // A connection is a file of each of the two processes.
    files::raise_limit(u64::from(callers) + 200)?;
    let mut worst = [Worst::default(), Worst::default()];
    for repetition in 1..=options.repetitions {
        for (one_hangs_up, worst) in [false, true].into_iter().zip(&mut worst) {
            let (report, mints) = herd(callers, one_hangs_up).await?;
            let most = report.latency.most.as_millis();
            let what = if one_hangs_up { ", after one that hung up" } else { "" };
            printer::line(&format!(
                "{repetition}: {} answered{what}, {} of them not with a token; mints {mints}, slowest {most} ms",
                report.responses, report.failures
            ))?;
            worst.add(&report, mints);
        }
    }
    let [all_wait, one_left] = worst;
    let count = |name: &str, measured: u64, most: f64| Verdict {
        name: format!("cold herd, {name}"),
        measured: Some(measured as f64),
        bound: Bound::AtMost(most),
    };
    printer::verdicts(&[
        count("mints", all_wait.mints, 1.0),
        count("failed requests", all_wait.failures, 0.0),
        Verdict {
            name: "cold herd, slowest answer in ms".into(),
            measured: Some(all_wait.slowest.as_secs_f64() * 1e3),
            bound: Bound::AtMost((MINT + ABOVE).as_secs_f64() * 1e3),
        },
        count("mints though the first caller hung up", one_left.mints, 1.0),
        count("failed requests though the first caller hung up", one_left.failures, 0.0),
    ])?;
    Ok(())
}

/// One herd at a broker that has just started; what it was like, and the mints that it cost.
async fn herd(callers: u32, after_one_that_hangs_up: bool) -> Outcome<(Report, u64)> {
    let upstream = Upstream::start().await?;
    upstream.sandbox().script(Fault::on(Operation::Mint).delay(MINT).always());
    let broker = Broker::start_with(&upstream, &format!("bounds.connections = {}", callers + 100)).await?;
    let door = Door::V1;
    let report = generate(&Job {
        address: broker.endpoint.address,
        server: broker.endpoint.pid,
        requests: vec![broker.token_request(door.path(), door.form())],
        expected: Expected { status: 200, body_length: 50..=1000, body_start: door.token().to_owned() },
        connections: callers as usize,
        load: Load::Once { after_one_that_hangs_up },
        warm_up: Duration::ZERO,
        measure: Duration::from_secs(30),
        counts_failures: true,
        slow: None,
    })
    .await?;
    let answered = broker.take_audit(report.responses).await?;
    broker.stop().await?;
    // Whoever hung up may have its line as well.
    if answered < report.responses || report.responses != u64::from(callers) {
        return Err(
            format!("{callers} callers, {} responses, {answered} audit lines", report.responses).into()
        );
    }
    Ok((report, upstream.mints()))
}
