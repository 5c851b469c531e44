//! `valet-sandbox`: arguments, logs, and the sandbox until it is interrupted.

mod arguments;

use std::{io::IsTerminal, process::ExitCode, sync::Arc};

use clap::Parser;
use secrecy::ExposeSecret;
use tokio::signal;
use tracing_subscriber::EnvFilter;
use valet_clock::SystemClock;
use valet_sandbox::Sandbox;

use crate::arguments::Arguments;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let clock = Arc::new(SystemClock);
    let settings = match arguments.settings(clock.clone()) {
        Ok(settings) => settings,
        Err(problem) => {
            tracing::error!("{problem}");
            return ExitCode::FAILURE;
        }
    };
    match Sandbox::bind(settings, clock).await {
        Ok(sandbox) => {
            print_environment(&sandbox);
            sandbox.run(interrupted()).await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What to export, so that a shell can evaluate it and an SDK of the vendor's finds it.
#[expect(clippy::print_stdout, reason = "this is what the command says")]
fn print_environment(sandbox: &Sandbox) {
    println!("export DASHSCOPE_API_KEY={}", sandbox.api_key().expose_secret());
    println!("export DASHSCOPE_HTTP_BASE_URL={}", sandbox.base_url());
    println!("# journal and faults: http://{}/_sandbox/", sandbox.local_addr());
}

/// Completes on SIGINT or SIGTERM.
async fn interrupted() {
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())
        .expect("the runtime has signal handling enabled");
    tokio::select! {
        _ = signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
