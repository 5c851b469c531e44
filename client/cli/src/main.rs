//! The command line `valet`: arguments → client → command → exit code.

mod arguments;
mod connection;
mod exit;
mod output;
mod printer;
mod progress;
mod tally;
mod task;
mod token;
mod transcribe;
mod urls;

use std::{io, process::ExitCode};

use clap::Parser;

use crate::{
    arguments::{Arguments, Command},
    exit::{Exit, Failure},
    progress::Progress,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let progress = Progress::new(arguments.quiet);
    let exit = run(&arguments, &progress).await.unwrap_or_else(|failure| {
        progress.error(&failure.to_string());
        failure.exit
    });
    if exit == Exit::Interrupted || exit == Exit::Files {
        tell_unsettled(&progress);
    }
    progress.clear();
    exit.into()
}

async fn run(arguments: &Arguments, progress: &Progress) -> Result<Exit, Failure> {
    let connection = &arguments.connection;
    let client = connection::connect(connection, &|name| std::env::var(name).ok())?;
    match &arguments.command {
        Command::Token(arguments) => token::run(&client, connection, arguments).await,
        Command::Transcribe(arguments) => {
            // Before signals are listened for: an interrupt ends a read of the terminal at once.
            let urls = urls::named(&arguments.urls, &mut io::stdin())?;
            interruptible(transcribe::run(&client, arguments, &urls, progress)).await
        }
        Command::Task(arguments) => interruptible(task::run(&client, arguments, progress)).await,
    }
}

async fn interruptible(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    tokio::select! {
        ended = command => ended,
        Ok(()) = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

/// What was submitted is paid for: its names must not be lost.
fn tell_unsettled(progress: &Progress) {
    let tasks = progress.unsettled();
    if !tasks.is_empty() {
        progress.error("these tasks go on; wait for them with `valet task ID --wait --transcripts`:");
        progress.aside(|| tasks.iter().for_each(|id| printer::tell(&format!("  {id}"))));
    }
}
