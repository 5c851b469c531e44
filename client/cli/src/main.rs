//! The command line `valet`: arguments → client → command → exit code.

mod arguments;
mod commands;
mod connection;
mod credential;
mod durable;
mod exit;
mod journal;
mod naming;
mod output;
mod places;
mod printer;
mod progress;
mod settings;
mod source;
mod transcribe;

use std::{io, process::ExitCode, sync::Arc};

use clap::{CommandFactory, Parser};
use valet_client::TaskId;
use valet_clock::{SharedClock, SystemClock};

use crate::{
    arguments::{Arguments, Command},
    commands::{cancel, list, login, models, task, token},
    connection::Connection,
    credential::Stored,
    exit::{Exit, Failure},
    printer::Sink,
    progress::Progress,
    settings::Settings,
    transcribe::Context,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let progress = Progress::new(arguments.quiet, arguments.json_progress);
    let exit = run(arguments, &progress).await.unwrap_or_else(|failure| {
        // To whom else has read enough there is nothing to say.
        if failure.exit != Exit::Closed {
            progress.error(&failure.to_string());
        }
        failure.exit
    });
    if exit == Exit::Interrupted || exit == Exit::Files {
        tell_unsettled(&progress);
    }
    progress.end(exit);
    exit.into()
}

async fn run(mut arguments: Arguments, progress: &Progress) -> Result<Exit, Failure> {
    match &arguments.command {
        Command::Models => return models::run(),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "valet", &mut script);
            return Sink::stdout().write(|to| to.write_all(&script)).map(|()| Exit::Done);
        }
        _ => {}
    }
    let settings = Settings::read(arguments.config.as_deref())?;
    settings.complete_connection(&mut arguments.connection);
    let clock: SharedClock = Arc::new(SystemClock);
    let said = &arguments.connection;
    let connection = || Connection::resolve(said, &|name| std::env::var(name).ok(), Stored::read()?);
    match &mut arguments.command {
        Command::Transcribe(arguments) => {
            settings.complete_parameters(&mut arguments.parameters);
            settings.complete_output(&mut arguments.output);
            // Before signals are listened for: an interrupt ends a read of the terminal at once.
            let sources = source::named(&arguments.recordings, &mut io::stdin())?;
            if arguments.dry_run {
                let price = arguments.price.or(settings.price()).unwrap_or(transcribe::estimate::PRICE);
                let service = connection().ok().map(|connection| connection.service());
                return transcribe::dry_run(service, arguments, &sources, price);
            }
            let (connection, clock) = (connection()?, &clock);
            let client = &connection.client()?;
            let context = Context { client, service: connection.service(), clock, progress };
            interruptible(transcribe::transcribe(&context, arguments, &sources)).await
        }
        Command::Resume(arguments) => {
            let (connection, clock) = (connection()?, &clock);
            let client = &connection.client()?;
            let context = Context { client, service: connection.service(), clock, progress };
            interruptible(transcribe::resume(&context, arguments)).await
        }
        Command::Task(arguments) => {
            settings.complete_output(&mut arguments.output);
            interruptible(task::run(&connection()?.client()?, arguments, progress)).await
        }
        Command::Token(arguments) => token::run(&connection()?.client()?, &*clock, said, arguments).await,
        Command::List(arguments) => list::run(&connection()?.client()?, &*clock, arguments).await,
        Command::Cancel(arguments) => cancel::run(&connection()?.client()?, &arguments.ids, progress).await,
        Command::Login(arguments) => login::run(said, arguments, progress).await,
        Command::Models | Command::Completions { .. } => Ok(Exit::Done),
    }
}

async fn interruptible(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    tokio::select! {
        ended = command => ended,
        Ok(()) = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

/// What was submitted is paid for: it must not be lost.
fn tell_unsettled(progress: &Progress) {
    let tasks = progress.unsettled();
    if !tasks.is_empty() {
        let tasks: Vec<&str> = tasks.iter().map(TaskId::as_str).collect();
        progress.error(&format!(
            "these tasks go on; run the same command again, or `valet resume`, to get what they give:\n  {}",
            tasks.join("\n  ")
        ));
    }
}
