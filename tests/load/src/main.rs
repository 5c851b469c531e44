//! Benchmarks of broker and client: ratios of two sides, measured in one run on the same cores.

#[cfg(not(target_os = "linux"))]
compile_error!("the benchmarks pin processes to cores and read /proc: they run on Linux only");

mod cached_issue;
mod clients;
mod comparison;
mod cores;
mod generator;
mod peers;
mod printer;
mod server;
mod target;

use std::{io::Read, process::ExitCode};

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures broker and client against baselines, both in one run on the same two cores.
///
/// The broker is the binary `valet-server` beside this one. `cargo run` brings it up to date; otherwise
/// build it with the same profile first: `cargo build --profile dist -p valet-server`.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The most cached tokens a second, and their latency at a fixed rate, against a bare axum route:
    /// starts the broker and the route on core 0, an upstream that mints and a load generator on core 1;
    /// takes two minutes for each door on an idle machine, and up to ten on one that does other
    /// things.
    CachedIssue(cached_issue::Options),
    /// The same beside node oidc-provider and nginx: starts each of them on core 0, load on core 1; takes one
    /// minute, and installs oidc-provider by npm if it is not there.
    Peers(peers::Options),
    /// Valet's client beside the vendor's SDK for Python, at the same sandbox: delay between the end of a task and
    /// knowing it, queries, memory and time, for one task, a hundred and thousands. Each side is a process on
    /// core 0; takes about fifty minutes, half of them the SDK's with thousands of tasks, and installs the SDK
    /// by pip if it is not there.
    Client(clients::Options),
    /// The bare route: reads its answer from standard input, prints its address.
    #[command(hide = true)]
    Bare,
    /// Valet's client: reads its job from standard input, prints its report.
    #[command(hide = true)]
    Transcribe,
    /// The load generator: reads its job from standard input, prints its report.
    #[command(hide = true)]
    Generate,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            printer::failed(&*error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Outcome<()> {
    match command {
        Command::CachedIssue(options) => measure(cached_issue::run(&options)),
        Command::Peers(options) => measure(peers::run(&options)),
        Command::Client(options) => on_load_core(clients::run(&options)),
        Command::Transcribe => clients::work(),
        Command::Bare => {
            server::serve_bare(serde_json::from_reader(std::io::stdin().lock())?, printer::address)
        }
        Command::Generate => {
            let mut job = String::new();
            std::io::stdin().read_to_string(&mut job)?;
            printer::report(&generator::run(&serde_json::from_str(&job)?)?)
        }
    }
}

/// Brings the broker up to date and runs a benchmark.
fn measure(benchmark: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    server::build_broker()?;
    on_load_core(benchmark)
}

/// Runs a benchmark on the core for load. Stopped by a signal, it still ends the processes it started.
fn on_load_core(benchmark: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    cores::pin_to(cores::LOAD)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            measured = benchmark => measured,
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
            _ = terminate.recv() => Err("terminated".into()),
        }
    })
}
