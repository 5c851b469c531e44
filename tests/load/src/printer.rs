//! What the commands print: rows for people, and the lines that two of our processes exchange.

use std::{error::Error, io, io::Write, net::SocketAddr, time::Duration};

use serde::Serialize;

use crate::{Outcome, generator::Report, target::Verdict};

/// A line of its own.
pub(crate) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// The head of a table of runs.
pub(crate) fn head(title: &str) -> io::Result<()> {
    line(&format!(
        "\n{title}\n{:<8}{:>12}{:>10}{:>10}{:>10}{:>10}{:>9}{:>11}{:>9}  counts",
        "", "requests/s", "p50 µs", "p99 µs", "p99.9 µs", "cpu µs", "server", "generator", "others"
    ))
}

/// A run: the server's processor time for each request, then how busy the server, the generator and,
/// beside either, everything else kept the two cores, in percent; `counts` says whether it counts.
pub(crate) fn run(server: &str, report: &Report, counts: &str) -> io::Result<()> {
    let micros = |latency: Duration| latency.as_secs_f64() * 1e6;
    let others = format!("{:.0}/{:.0}", report.others_on_server * 100.0, report.others_on_generator * 100.0);
    line(&format!(
        "{server:<8}{:>12.0}{:>10.1}{:>10.1}{:>10.1}{:>10.2}{:>8.1}%{:>10.1}%{others:>9}  {}",
        report.per_second,
        micros(report.latency.p50),
        micros(report.latency.p99),
        micros(report.latency.p999),
        report.server_busy / report.per_second * 1e6,
        report.server_busy * 100.0,
        report.generator_busy * 100.0,
        counts,
    ))
}

/// The last lines of a benchmark.
pub(crate) fn verdicts(verdicts: &[Verdict]) -> io::Result<()> {
    line("")?;
    verdicts.iter().try_for_each(|verdict| line(&verdict.to_string()))
}

/// The command failed.
pub(crate) fn failed(error: &(dyn Error + Send + Sync)) {
    // There is nobody left to tell if this fails too.
    let _ = writeln!(io::stderr().lock(), "valet-load: {error}");
}

/// What the bare route tells the process that started it.
pub(crate) fn address(address: SocketAddr) -> io::Result<()> {
    line(&address.to_string())
}

/// What a process of ours tells the one that started it.
pub(crate) fn report(report: &impl Serialize) -> Outcome<()> {
    Ok(line(&serde_json::to_string(report)?)?)
}
