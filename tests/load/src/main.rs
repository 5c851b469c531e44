//! Benchmarks of broker and client: what they do under load, beside a baseline in the same run where there is one.

#[cfg(not(target_os = "linux"))]
compile_error!("the benchmarks pin processes to cores and read /proc: they run on Linux only");

mod cached_issue;
mod clients;
mod cold_herd;
mod comparison;
mod cores;
mod direct_clients;
mod files;
mod generator;
mod growth;
mod hot_path;
mod memory;
mod peers;
mod printer;
mod process;
mod redis_cost;
mod relay_check;
mod relay_cost;
mod replicas;
mod server;
mod steady;
mod target;
mod upstream_outage;
mod waiting;
mod warm_refresh;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};

/// The broker's, for baselines as well, so that it is not what makes the difference.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures what broker and client do under load, beside baselines in one run on the same two cores.
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
    /// Ten thousand first requests of one app at once: starts the broker on core 0, an upstream that takes 200 ms to
    /// mint and the callers on core 1, anew for each of ten herds; takes one minute.
    ColdHerd(cold_herd::Options),
    /// A steady load through refreshes: starts the broker on core 0, an upstream that takes 500 ms to mint and
    /// the load on core 1; takes ten minutes, or as long as --seconds says.
    WarmRefresh(warm_refresh::Options),
    /// A steady load through an upstream that is dead, then silent, for 36 s: starts the broker on core 0, the
    /// upstream and the load on core 1, twice; takes two and a half minutes.
    UpstreamOutage(upstream_outage::Options),
    /// What the broker itself does for a cached issue, in this process and without HTTP: starts an upstream and the
    /// audit trail's writer on core 1; takes fifteen seconds.
    HotPath(hot_path::Options),
    /// What a cached token takes above a bare moka entry, and an idle broker: starts a broker, then two processes
    /// that fill a cache each on core 0, and an upstream on core 1; takes two minutes, and half a gibibyte.
    Memory(memory::Options),
    /// Two hundred clients in processes of their own with a task each on one account: starts the broker on core 0,
    /// an upstream, a server of recordings and the clients on core 1; takes two minutes.
    DirectClients(direct_clients::Options),
    /// Valet's client beside the vendor's SDK for Python, at the same sandbox: delay between the end of a task and
    /// knowing it, queries, memory and time, for one task, a hundred and thousands. Each side is a process on
    /// core 0; takes about fifty minutes, half of them the SDK's with thousands of tasks, and installs the SDK
    /// by pip if it is not there.
    Client(clients::Options),
    /// The most relay tokens a second that the relay checks, each of them known already, against a bare axum route:
    /// the same cores and the same bytes; takes one minute on an idle machine.
    RelayCheck(relay_check::Options),
    /// What a caller pays for the relay in place of calling the service itself: a sandbox and a relay by turns on core 0,
    /// the sandbox behind the relay and the load on core 1; takes two minutes.
    RelayCost(relay_cost::Options),
    /// One, two and four brokers that share a redis-server: ten thousand cold requests at once, the loss of one broker
    /// while two hundred clients have tasks under way, and what sharing costs; brokers on core 0, all else on core 1;
    /// takes three minutes, and needs redis-server.
    Replicas(replicas::Options),
    /// What each kind of call of replicas takes of the processor of the redis-server that they share: starts one on core
    /// 0, and makes the calls on core 1; takes a minute and a quarter, and needs redis-server.
    RedisCost(redis_cost::Options),
    /// How the cost of a cached issue grows from ten apps, and ten users of an app, to a hundred thousand: brokers on
    /// core 0, upstreams and load on core 1; takes five minutes.
    Growth(growth::Options),
    /// Ten thousand clients that wait at the relay, each for a task of its own: starts the broker on core 0, or
    /// --replicas of them and the redis-server that they share; an upstream, the clients and direct ones on core 1,
    /// then a bare handler that waits on core 0; takes twenty minutes, or up to four more than --seconds says.
    WaitingClients(waiting::Options),
    /// A bare handler that waits for ever; prints its address.
    #[command(hide = true)]
    BareWait,
    /// A sandbox whose limits are in nobody's way; prints its address.
    #[command(hide = true)]
    Sandbox,
    /// The bare route: reads its answer from standard input, prints its address.
    #[command(hide = true)]
    Bare,
    /// One of many clients of one task each: reads its job from standard input, prints its report.
    #[command(hide = true)]
    DirectClient,
    /// Valet's client: reads its job from standard input, prints its report.
    #[command(hide = true)]
    Transcribe,
    /// A cache to be filled: reads its job from standard input, prints what it takes.
    #[command(hide = true)]
    Hold,
    /// An upstream that does nothing but mint; prints its address.
    #[command(hide = true)]
    Mint,
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
        Command::ColdHerd(options) => measure(cold_herd::run(&options)),
        Command::WarmRefresh(options) => measure(warm_refresh::run(&options)),
        Command::UpstreamOutage(options) => measure(upstream_outage::run(&options)),
        Command::HotPath(options) => measure(hot_path::run(&options)),
        Command::Memory(options) => measure(memory::run(&options)),
        Command::DirectClients(options) => measure(direct_clients::run(&options)),
        Command::Client(options) => on_load_core(clients::run(&options)),
        Command::Transcribe => clients::work(),
        Command::WaitingClients(options) => measure(waiting::run(&options)),
        Command::BareWait => alone(waiting::serve_bare_wait(printer::address)),
        Command::Bare => server::serve_bare(job()?, printer::address),
        Command::Generate => printer::report(&generator::run(&job()?)?),
        Command::DirectClient => printer::report(&alone(direct_clients::transcribe(job()?))?),
        Command::Hold => printer::report(&alone(memory::hold(&job()?))?),
        Command::Mint => alone(memory::serve_mint(printer::address)),
        Command::RelayCost(options) => measure(relay_cost::run(&options)),
        Command::Replicas(options) => measure(replicas::run(&options)),
        Command::RedisCost(options) => on_load_core(redis_cost::run(&options)),
        Command::Growth(options) => measure(growth::run(&options)),
        Command::Sandbox => alone(server::serve_sandbox(printer::address)),
        Command::RelayCheck(options) => measure(relay_check::run(&options)),
    }
}

/// What a process of ours is to do.
fn job<T: DeserializeOwned>() -> Outcome<T> {
    Ok(serde_json::from_reader(std::io::stdin().lock())?)
}

/// The output of `future`, on this thread alone.
fn alone<T>(future: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// Brings the broker up to date and runs a benchmark.
fn measure(benchmark: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    server::build_broker()?;
    on_load_core(benchmark)
}

/// Runs a benchmark on the core for load. Stopped by a signal, it still ends the processes it started.
fn on_load_core(benchmark: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    cores::pin_to(cores::LOAD)?;
    alone(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            measured = benchmark => measured,
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
            _ = terminate.recv() => Err("terminated".into()),
        }
    })
}
