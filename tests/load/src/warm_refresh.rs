//! Warm refresh: a steady load on a warm app, whose upstream takes half a second to mint; nobody waits for it.

use std::time::Duration;

use clap::{Args, value_parser};
use valet_sandbox::{Fault, Operation, SandboxHandle};

use crate::{
    Outcome,
    comparison::generate,
    generator::Slow,
    printer,
    server::{Broker, Upstream},
    steady,
    target::{Bound, Verdict},
};

/// How long the upstream takes to mint.
const MINT: Duration = Duration::from_millis(500);
/// What no request takes longer than because of a refresh.
const SLOW: Duration = Duration::from_millis(20);
/// A one-minute token is refreshed after 18 s of its life at the latest, and then half a second later.
const BETWEEN: Duration = Duration::from_secs(19);

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long the load lasts, in seconds
    #[arg(long, default_value_t = 600, value_parser = value_parser!(u64).range(40..=86_400))]
    seconds: u64,
    /// The requests a second
    #[arg(long, default_value_t = 1000, value_parser = value_parser!(u32).range(1..=20_000))]
    rate: u32,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let time = Duration::from_secs(options.seconds);
    printer::line(&format!(
        "warm refresh: broker on core 0; an upstream that mints in {} ms, and a steady load of {} requests a second \
         for {} s, on core 1",
        MINT.as_millis(),
        options.rate,
        options.seconds
    ))?;
    let upstream = Upstream::start().await?;
    upstream.sandbox().script(Fault::on(Operation::Mint).delay(MINT).always());
    let broker = Broker::start(&upstream).await?;
    steady::warm(&broker).await?;
    let report = generate(&steady::job(&broker, options.rate, time, Some(SLOW))).await?;
    broker.stop().await?;

    let refreshes = refreshes(upstream.sandbox());
    let is_during = |slow: &&Slow| refreshes.iter().any(|sent| overlaps(slow, *sent));
    let during = report.slow.iter().filter(is_during).count();
    printer::line(&format!(
        "{} requests, {} of them not answered with a token; {} refreshes; above {} ms: {} during a refresh, {} apart \
         from any; slowest {:.1} ms",
        report.responses,
        report.failures,
        refreshes.len(),
        SLOW.as_millis(),
        during,
        report.slow.len() - during,
        report.latency.most.as_secs_f64() * 1e3
    ))?;
    // Fewer refreshes than there must be would be another thing that was measured.
    let due = options.seconds / BETWEEN.as_secs();
    let is_whole = refreshes.len() as u64 >= due;
    let verdict = |name: &str, measured: usize| Verdict {
        name: format!("warm refresh, {name}"),
        measured: is_whole.then_some(measured as f64),
        bound: Bound::AtMost(0.0),
    };
    let failures = usize::try_from(report.failures)?;
    printer::verdicts(&[
        verdict("requests above 20 ms during a refresh", during),
        verdict("failed requests", failures),
    ])?;
    Ok(())
}

/// When each mint but the first, which the warming cost, arrived at the upstream, in Unix time.
fn refreshes(sandbox: &SandboxHandle) -> Vec<Duration> {
    let mints = sandbox.journal().into_iter().filter(|entry| entry.operation == Operation::Mint);
    mints.skip(1).map(|entry| entry.unix).collect()
}

/// Whether a slow response was under way while a mint was, which arrived at the upstream at `sent`.
fn overlaps(slow: &Slow, sent: Duration) -> bool {
    // The mint began a little before it arrived, and ended a little after it was answered.
    let around = Duration::from_millis(20);
    let (begin, end) = (sent.saturating_sub(around), sent + MINT + around);
    slow.at >= begin && slow.at.saturating_sub(slow.took) <= end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_response_is_laid_to_the_refresh_that_it_overlaps() {
        let sent = Duration::from_secs(100);
        let slow =
            |at: u64, took: u64| Slow { at: Duration::from_millis(at), took: Duration::from_millis(took) };
        assert!(overlaps(&slow(100_500, 480), sent), "it waited for the mint");
        assert!(overlaps(&slow(100_530, 25), sent), "it stood behind those that did");
        assert!(!overlaps(&slow(99_900, 30), sent));
        assert!(!overlaps(&slow(101_000, 30), sent));
    }
}
