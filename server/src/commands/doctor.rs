//! `valet-server doctor`: findings as they come, and how many are problems.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    sync::Arc,
};

use clap::Args;
use valet_clock::{SharedClock, SystemClock};
use valet_server::{
    config::{Config, Environment, FirstTry, Source},
    doctor::{self, Finding, Mark, Progress},
};

use super::{Done, FAILED, failed, invalid, runtime};

/// Examine what a broker would run with: configuration, machine, certificate, upstreams and every key.
///
/// Each key mints a token of one second, which is dropped. The exit code is 0 if there is no problem,
/// whatever warnings there are, and 1 otherwise.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// The configuration file; without one, what `serve` would do without one.
    #[arg(long, value_name = "FILE", env = "VALET_SERVER_CONFIG")]
    config: Option<PathBuf>,
    /// Print one JSON document instead of lines.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> Done {
        let environment = Environment::of_process();
        let (json, clock): (_, SharedClock) = (self.json, Arc::new(SystemClock));
        let findings = match self.config {
            Some(path) => match (Source { path, environment }).read() {
                Ok(config) => examine(&config, &clock, json)?,
                Err(unusable) => {
                    let findings = doctor::mistakes(&unusable);
                    findings.iter().for_each(|finding| show(Progress::Found(finding), json));
                    findings
                }
            },
            None => {
                let first_try = FirstTry::new(None, None, &environment).map_err(|error| invalid(&error))?;
                examine(&first_try.config, &clock, json)?
            }
        };
        let count = |mark| findings.iter().filter(|finding| finding.mark == mark).count();
        let (problems, warnings) = (count(Mark::Problem), count(Mark::Warning));
        if json {
            let report = serde_json::json!({
                "problems": problems,
                "warnings": warnings,
                "findings": findings,
            });
            println!("{report:#}");
        }
        let summary = format!("{}, {}", counted(problems, "problem"), counted(warnings, "warning"));
        if problems > 0 {
            return Err((FAILED, summary));
        }
        if !json {
            println!("{summary}");
        }
        Ok(())
    }
}

fn examine(config: &Config, clock: &SharedClock, json: bool) -> Result<Vec<Finding>, (u8, String)> {
    let runtime = runtime().map_err(failed)?;
    Ok(runtime.block_on(doctor::examine(config, clock, &mut |progress| show(progress, json))))
}

/// Findings go to standard output, or wait for the document; steps go to a terminal, on one line that the next
/// one replaces.
fn show(progress: Progress<'_>, json: bool) {
    const CLEARED: &str = "\r\x1b[K";
    let mut terminal = std::io::stderr();
    let cleared = if terminal.is_terminal() { CLEARED } else { "" };
    // What cannot be shown of the progress is lost to nobody.
    let _ = match progress {
        Progress::Begins(step) if cleared.is_empty() => writeln!(terminal, "… {step}"),
        Progress::Begins(step) => write!(terminal, "{cleared}… {step}"),
        Progress::Found(_) => write!(terminal, "{cleared}"),
    };
    if let Progress::Found(finding) = progress
        && !json
    {
        println!("{finding}");
    }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
