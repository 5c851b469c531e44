//! Upstream outage: an upstream that is dead, or silent, for most of a token's life, and an app that does not
//! notice.

use std::time::Duration;

use clap::{Args, value_parser};
use valet_clock::{ClockExt, SystemClock};
use valet_sandbox::{Fault, Operation};

use crate::{
    Outcome,
    comparison::generate,
    generator::Report,
    printer,
    server::{Broker, Upstream},
    steady,
    target::{Bound, Verdict},
};

/// A one-minute token is refreshed from 14.4 s of its life on at the earliest: the outage begins just before.
const BEGINS: Duration = Duration::from_secs(14);
/// How long it lasts.
const LASTS: Duration = Duration::from_secs(36);
/// How long the load goes on: beyond the end of the token that was in hand when the outage began.
const LOAD: Duration = Duration::from_secs(66);

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The requests a second
    #[arg(long, default_value_t = 1000, value_parser = value_parser!(u32).range(1..=20_000))]
    rate: u32,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    printer::line(
        "upstream outage: broker on core 0, its upstream and a steady load on core 1; the upstream is dead, then silent, \
         for 36 s of a token of 60 s",
    )?;
    let mut verdicts = Vec::new();
    for (name, fault) in
        [("dead", Fault::on(Operation::Mint).reset()), ("silent", Fault::on(Operation::Mint).hang())]
    {
        let (report, tried) = outlive(options, fault.always()).await?;
        printer::line(&format!(
            "{name}: {} requests, {} of them not answered with a token; {tried} mints were tried meanwhile",
            report.responses, report.failures
        ))?;
        // Without a mint that failed, there was no outage.
        let measured = (tried > 0).then_some(report.failures as f64);
        verdicts.push(Verdict {
            name: format!("upstream outage, failed requests while it is {name}"),
            measured,
            bound: Bound::AtMost(0.0),
        });
    }
    printer::verdicts(&verdicts)?;
    Ok(())
}

/// Loads a warm broker through an outage; says what the load saw, and how many mints met the outage.
async fn outlive(options: &Options, fault: Fault) -> Outcome<(Report, u64)> {
    let upstream = Upstream::start().await?;
    let broker = Broker::start(&upstream).await?;
    steady::warm(&broker).await?;
    let job = steady::job(&broker, options.rate, LOAD, None);
    let outage = async {
        SystemClock.sleep(BEGINS).await;
        let before = upstream.mints();
        upstream.sandbox().script(fault);
        SystemClock.sleep(LASTS).await;
        upstream.sandbox().clear_faults();
        Ok(upstream.mints() - before)
    };
    let (report, tried) = tokio::try_join!(generate(&job), outage)?;
    broker.stop().await?;
    Ok((report, tried))
}
