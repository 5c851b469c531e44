//! What the commands print: rows for people, and the lines that two of our processes exchange.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the printer of these commands")]

use std::{error::Error, io, io::Write, net::SocketAddr, time::Duration};

use crate::{Outcome, generator::Report, target::Verdict};

/// A line of its own.
pub(crate) fn line(text: &str) {
    println!("{text}");
}

/// The head of a table of runs.
pub(crate) fn head(title: &str) {
    println!("\n{title}");
    println!(
        "{:<8}{:>12}{:>10}{:>10}{:>10}{:>10}{:>9}{:>11}{:>9}  counts",
        "", "requests/s", "p50 µs", "p99 µs", "p99.9 µs", "cpu µs", "server", "generator", "others"
    );
}

/// A run: its figures, the server's processor time for each request, and the server's, the generator's and everybody else's share of the cores in percent.
pub(crate) fn run(server: &str, report: &Report, counts: &Result<(), String>) {
    let micros = |latency: Duration| latency.as_secs_f64() * 1e6;
    let others = format!("{:.0}/{:.0}", report.others_on_server * 100.0, report.others_on_generator * 100.0);
    println!(
        "{server:<8}{:>12.0}{:>10.1}{:>10.1}{:>10.1}{:>10.2}{:>8.1}%{:>10.1}%{others:>9}  {}",
        report.per_second,
        micros(report.latency.p50),
        micros(report.latency.p99),
        micros(report.latency.p999),
        report.server_busy / report.per_second * 1e6,
        report.server_busy * 100.0,
        report.generator_busy * 100.0,
        counts.as_ref().map_or_else(|why| format!("no: {why}"), |()| "yes".into()),
    );
}

/// The last lines of a benchmark.
pub(crate) fn verdicts(verdicts: &[Verdict]) {
    println!();
    verdicts.iter().for_each(|verdict| println!("{verdict}"));
}

/// The command failed.
pub(crate) fn failed(error: &(dyn Error + Send + Sync)) {
    eprintln!("valet-load: {error}");
}

/// What the bare route tells the process that started it.
pub(crate) fn address(address: SocketAddr) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{address}")
}

/// What the load generator tells the process that started it.
pub(crate) fn report(report: &Report) -> Outcome<()> {
    Ok(writeln!(io::stdout().lock(), "{}", serde_json::to_string(report)?)?)
}
