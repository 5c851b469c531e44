//! The commands about tokens and tasks of the account.

use std::{ffi::OsString, time::Duration};

use clap::{Args, ValueEnum};

use super::{OutputArguments, help::EXIT_CODES, seconds};

#[derive(Args, Debug)]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct TokenArguments {
    /// How the token is printed.
    #[arg(long, value_enum, default_value_t = TokenFormat::Token, conflicts_with = "exec")]
    pub(crate) format: TokenFormat,
    /// Runs this command, with all that follows, with the token in DASHSCOPE_API_KEY and where it works in
    /// DASHSCOPE_HTTP_BASE_URL; prints nothing.
    #[arg(long, value_name = "COMMAND", num_args = 1.., allow_hyphen_values = true)]
    pub(crate) exec: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum TokenFormat {
    /// The token alone.
    Token,
    /// Lines for a shell to evaluate: DASHSCOPE_API_KEY and DASHSCOPE_HTTP_BASE_URL.
    Env,
    /// token, base_url, expires_in (seconds), expires_at (Unix seconds), queries_per_second, mode.
    Json,
    /// A header line for curl's `-H @-`.
    Header,
}

#[derive(Args, Debug)]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct TaskArguments {
    /// The task's id.
    pub(crate) id: String,
    /// Prints the service's answer, as JSON.
    #[arg(long, conflicts_with = "transcripts")]
    pub(crate) json: bool,
    /// Waits until the task has ended.
    #[arg(long)]
    pub(crate) wait: bool,
    /// With --wait: stops waiting after so many seconds; the task goes on.
    #[arg(long, value_name = "SECONDS", requires = "wait", value_parser = seconds)]
    pub(crate) deadline: Option<Duration>,
    /// Writes the transcripts, as `valet transcribe` does. They are kept for 24 hours.
    #[arg(long)]
    pub(crate) transcripts: bool,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

#[derive(Args, Debug)]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct ListArguments {
    /// Only tasks that are so far: pending, running, succeeded, failed, canceled.
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Only tasks of this model.
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Only tasks that were submitted in the last so many seconds, at most 86400.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) since: Option<Duration>,
    /// The most tasks to list.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub(crate) limit: usize,
    /// Prints what the service tells, a JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct CancelArguments {
    /// The tasks' ids.
    #[arg(required = true)]
    pub(crate) ids: Vec<String>,
}

/// The secret is asked for on the terminal, or read from standard input.
#[derive(Args, Debug)]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct LoginArguments {
    /// Stores the credential without trying it.
    #[arg(long)]
    pub(crate) untried: bool,
}
