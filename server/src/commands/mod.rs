//! The commands of `valet-server`, and all that it prints itself.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what a person reads")]

mod app;
mod audit;
mod check;
mod doctor;
mod healthcheck;
mod keys;
mod serve;
mod usage;

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};
use valet_server::{
    config::{Config, Invalid, Source},
    http,
};

/// Exchanges your apps' own credentials for DashScope tokens that live a minute.
///
/// The broker keeps the long-lived API key; nobody else ever sees it.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C.
    Serve(serve::Serve),
    /// Check a configuration and report every mistake in it.
    Check(check::Check),
    /// Ask a running broker whether it takes requests: exit code 0 if it does.
    Healthcheck(healthcheck::Healthcheck),
    Doctor(doctor::Doctor),
    /// Register apps.
    #[command(subcommand)]
    App(app::App),
    /// Look at the relay's keys, and rotate them.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Check audit trails.
    #[command(subcommand)]
    Audit(audit::Audit),
    Usage(usage::Report),
    /// Print the catalogue of errors, as Markdown.
    Errors,
    /// Print the OpenAPI document, as a broker serves it at /openapi.json.
    Openapi,
}

/// The command could not do what it was asked: the message says why.
const FAILED: u8 = 1;
/// The configuration is invalid, as wrong arguments are.
const INVALID: u8 = 2;

impl Arguments {
    pub(crate) fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Check(check) => check.run(),
            Command::Healthcheck(healthcheck) => healthcheck.run(),
            Command::Doctor(doctor) => doctor.run(),
            Command::App(app) => app.run(),
            Command::Keys(keys) => keys.run(),
            Command::Audit(audit) => audit.run(),
            Command::Usage(report) => report.run(),
            Command::Errors => print(http::catalogue_markdown().as_bytes()),
            Command::Openapi => print(&http::document("")),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err((code, message)) => {
                eprintln!("valet-server: {message}");
                ExitCode::from(code)
            }
        }
    }
}

type Done = Result<(), (u8, String)>;

/// What a program reads: a pipe that was closed is an error and no panic.
fn print(text: &[u8]) -> Done {
    std::io::stdout().write_all(text).map_err(failed)
}

fn failed(error: impl Into<Box<dyn std::error::Error>>) -> (u8, String) {
    (FAILED, error.into().to_string())
}

fn invalid(error: &Invalid) -> (u8, String) {
    (INVALID, error.to_string())
}

fn read_config(source: &Source) -> Result<Config, (u8, String)> {
    source.read().map_err(|unusable| (INVALID, unusable.to_string()))
}

/// One worker a core; on one core no second thread that would only take turns with the first.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = match cores {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}
