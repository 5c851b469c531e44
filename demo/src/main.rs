//! The demo: starts sandbox and broker, registers an app, transcribes real recordings through them,
//! and exits with 0 only if every outcome is the expected one.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what a person reads")]

mod live;
mod local;
mod show;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

/// Runs the whole of Valet on this machine: a sandbox that speaks DashScope's protocol, the broker, and
/// a client that transcribes real recordings with 60-second tokens.
#[derive(Debug, Parser)]
#[command(version, after_help = "Exits with 0 only if every transcript is the expected one.")]
struct Arguments {
    /// Transcribe with the real service instead of the sandbox. Needs DASHSCOPE_API_KEY, and costs a
    /// fraction of a cent.
    #[arg(long)]
    live: bool,
    /// The service's base URL, with --live.
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://dashscope.aliyuncs.com/api/v1",
        requires = "live"
    )]
    base_url: String,
    /// A public URL to transcribe instead of the vendor's samples, with --live; may be repeated.
    #[arg(long, value_name = "URL", requires = "live")]
    url: Vec<String>,
    /// Keep everything running afterwards, and print what to try by hand.
    #[arg(long, conflicts_with = "live")]
    serve: bool,
    /// The recordings, and what transcribing them must give.
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../recordings"))]
    recordings: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "error".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let done = if arguments.live {
        live::run(&arguments.base_url, arguments.url).await
    } else {
        local::run(&arguments.recordings, arguments.serve).await
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("valet-demo: {error}");
            ExitCode::FAILURE
        }
    }
}
