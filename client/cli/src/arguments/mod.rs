//! What can be said on the command line. Knows nothing of what comes of it.

mod account;
mod connection;
mod help;
mod transcribe;

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use self::help::{EVERYWHERE, EXAMPLES, EXIT_CODES};
pub(crate) use self::{
    account::{CancelArguments, ListArguments, LoginArguments, TaskArguments, TokenArguments, TokenFormat},
    connection::ConnectionArguments,
    transcribe::{
        JournalArguments, OutputArguments, ParameterArguments, ResumeArguments, TranscribeArguments,
    },
};

/// Transcribes recordings with Fun-ASR, by temporary tokens.
#[derive(Debug, Parser)]
#[command(name = "valet", version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Arguments {
    /// Shows no progress; errors are still shown.
    #[arg(short, long, global = true, help_heading = EVERYWHERE)]
    pub(crate) quiet: bool,
    /// Tells progress and errors as JSON objects, one a line, on standard error.
    #[arg(long, global = true, conflicts_with = "quiet", help_heading = EVERYWHERE)]
    pub(crate) json_progress: bool,
    /// The file of settings [default: valet/config.toml in XDG_CONFIG_HOME].
    #[arg(long, global = true, value_name = "FILE", env = "VALET_CONFIG", help_heading = EVERYWHERE)]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Transcribes recordings; takes up again what an earlier run has paid for.
    Transcribe(Box<TranscribeArguments>),
    /// Takes up runs that were interrupted, as they were begun; of all journals, or of one.
    Resume(ResumeArguments),
    /// Prints a temporary token, or runs a command with one.
    Token(TokenArguments),
    /// Tells how far a task is, and prints its transcripts.
    Task(TaskArguments),
    /// Lists the tasks of the account, of the last 24 hours.
    List(ListArguments),
    /// Cancels tasks that have not begun.
    Cancel(CancelArguments),
    /// Lists the models and their languages.
    Models,
    /// Stores the app's credential for later commands.
    Login(LoginArguments),
    /// Prints a script that completes this program's arguments in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// A time of at least a second, and at most a year.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=31_536_000) => Ok(Duration::from_secs(seconds)),
        _ => Err("must be whole seconds, 1 to 31536000".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_and_readme_tell_every_exit_code() {
        let help = Arguments::command().render_long_help().to_string();
        let readme = include_str!("../../README.md");
        for line in EXIT_CODES.lines().skip(1) {
            assert!(help.contains(line), "{line}");
            let (code, meaning) = line.trim().split_once(' ').unwrap();
            assert!(readme.contains(&format!("| {code} | {} |", meaning.trim())), "{line}");
        }
    }

    #[test]
    fn no_flag_takes_a_secret() {
        for hopeful in ["--secret", "--api-key", "--token"] {
            for command in ["token", "login"] {
                let line = ["valet", command, hopeful, "s3cret"];
                assert!(Arguments::try_parse_from(line).is_err(), "{hopeful}");
            }
        }
    }

    #[test]
    fn a_deadline_is_whole_seconds_of_a_year_at_most() {
        assert_eq!(seconds("90"), Ok(Duration::from_secs(90)));
        for bad in ["0", "-1", "1.5", "1h", "31536001", "99999999999999999999"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
