//! What can be said on the command line. Knows nothing of what comes of it.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::Value;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a list of URLs could not be read, or a result not be written
  2    the command line or the environment is wrong
  3    the app's credential or the token is not accepted
  4    the request is refused: it is wrong, or the task is not known
  5    at least one recording has no transcript; the others have theirs
  6    the broker or the service failed, or cannot be reached
  7    the deadline passed; the tasks go on
  130  interrupted; the tasks go on";

const EXAMPLES: &str = "\
Where tokens come from:
  A Valet broker hands out tokens that live for a minute. Its operator gives you three things:
    export VALET_URL=https://valet.example.com VALET_APP=acme VALET_SECRET=...
  Without a broker, call DashScope itself with a key of your own:
    valet --base-url https://dashscope-intl.aliyuncs.com/api/v1 --api-key-env DASHSCOPE_API_KEY ...

Examples:
  valet transcribe https://example.com/meeting.mp3
  valet transcribe --format json --out all.json @urls.txt
  valet task 7574ee8f-38a3-4b1e-9280-11c33ab46e51 --wait --transcripts
  curl -H \"Authorization: Bearer $(valet token)\" ...";

const TRANSCRIBE_EXAMPLES: &str = "\
Examples:
  valet transcribe https://example.com/meeting.mp3
  valet transcribe --diarization --speakers 3 https://example.com/interview.wav
  valet transcribe --model fun-asr-mtl --language sv https://example.com/radio.ogg
  valet transcribe --format json --out all.json @urls.txt
  list-recordings | valet transcribe --deadline 3600 -q -

The service fetches the recordings itself: URLs must be http or https, and open without a login.
Transcripts come in the order of the URLs. A recording that fails does not stop the others: it is
named on standard error, and the exit code is 5.";

/// Transcribes recordings with Fun-ASR, by temporary tokens.
#[derive(Debug, Parser)]
#[command(name = "valet", version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Arguments {
    /// Shows no progress; errors are still shown.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where tokens come from.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Where tokens come from")]
pub(crate) struct ConnectionArguments {
    /// The URL of the Valet broker, beginning with `https://`.
    #[arg(long, global = true, env = "VALET_URL")]
    pub(crate) url: Option<String>,
    /// The app's id at the broker.
    #[arg(long, global = true, env = "VALET_APP")]
    pub(crate) app: Option<String>,
    /// A file that holds the app's secret; without it, the secret is in VALET_SECRET.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Calls DashScope at this URL (up to and with /api/v1) without a broker.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// With --base-url: the environment variable that holds the API key [default: DASHSCOPE_API_KEY].
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) api_key_env: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Prints a temporary token.
    Token(TokenArguments),
    /// Transcribes recordings, and prints the transcripts.
    Transcribe(Box<TranscribeArguments>),
    /// Tells how far a task is.
    Task(TaskArguments),
}

#[derive(Args, Debug)]
pub(crate) struct TokenArguments {
    /// Prints JSON: token, base_url, expires_in (seconds), expires_at (Unix seconds), queries_per_second.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = TRANSCRIBE_EXAMPLES, after_long_help = format!("{TRANSCRIBE_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct TranscribeArguments {
    /// URLs of recordings; `@FILE` for a list of them, one a line; `-` for such a list on standard input.
    #[arg(required = true, value_name = "URL")]
    pub(crate) urls: Vec<String>,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
    /// Stops waiting after so many seconds; the tasks go on.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) deadline: Option<Duration>,
    #[command(flatten)]
    pub(crate) parameters: ParameterArguments,
}

/// How to transcribe.
#[derive(Args, Debug)]
#[command(next_help_heading = "How to transcribe")]
pub(crate) struct ParameterArguments {
    /// The model, as fun-asr or fun-asr-mtl (30 languages).
    #[arg(long, default_value = "fun-asr")]
    pub(crate) model: String,
    /// A language that is spoken, as en; repeat for several. Without it the service finds out.
    #[arg(long, value_delimiter = ',')]
    pub(crate) language: Vec<String>,
    /// A channel to transcribe, counted from 0; repeat for several. Each one is billed [default: 0].
    #[arg(long, value_delimiter = ',')]
    pub(crate) channel: Vec<u32>,
    /// Tells speakers apart; works on a single channel.
    #[arg(long)]
    pub(crate) diarization: bool,
    /// About how many speakers there are, 2 to 100; only with --diarization.
    #[arg(long, value_name = "COUNT")]
    pub(crate) speakers: Option<u32>,
    /// The id of a hotword vocabulary.
    #[arg(long, value_name = "ID")]
    pub(crate) vocabulary: Option<String>,
    /// A word to write as asterisks; repeat for several.
    #[arg(long, value_name = "WORD")]
    pub(crate) replace_word: Vec<String>,
    /// A word to leave out; repeat for several.
    #[arg(long, value_name = "WORD")]
    pub(crate) remove_word: Vec<String>,
    /// Does without the service's own list of words to filter.
    #[arg(long)]
    pub(crate) no_reserved_words: bool,
    /// Where speech ends and noise begins, from -1 to 1.
    #[arg(long, value_name = "LEVEL", allow_negative_numbers = true)]
    pub(crate) speech_noise_threshold: Option<f32>,
    /// A parameter that this version does not know, sent as it is; the value is JSON, or else text.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    pub(crate) parameter: Vec<(String, Value)>,
    /// The most URLs in one task at your endpoint; more are split into several tasks.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) max_urls: u16,
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
    /// Prints the transcripts, as `valet transcribe` does. They are kept for 24 hours.
    #[arg(long)]
    pub(crate) transcripts: bool,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// Where transcripts go, and how they look there.
#[derive(Args, Clone, Debug)]
pub(crate) struct OutputArguments {
    /// txt: what is said; json: all that the service tells, for each URL.
    #[arg(long, value_enum, default_value_t = Format::Txt)]
    pub(crate) format: Format,
    /// Writes to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    Txt,
    Json,
}

/// A time of at least a second, and at most a year.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=31_536_000) => Ok(Duration::from_secs(seconds)),
        _ => Err("must be whole seconds, 1 to 31536000".into()),
    }
}

fn parameter(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok((name.into(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
        }
        _ => Err("must be NAME=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_long_help_tells_every_exit_code() {
        let help = Arguments::command().render_long_help().to_string();
        for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "6 ", "7 ", "130 "] {
            assert!(help.lines().any(|line| line.trim_start().starts_with(code)), "{code}");
        }
    }

    #[test]
    fn no_flag_takes_a_secret() {
        for hopeful in ["--secret", "--api-key", "--token"] {
            let line = ["valet", "token", hopeful, "s3cret"];
            assert!(Arguments::try_parse_from(line).is_err(), "{hopeful}");
        }
    }

    #[test]
    fn a_deadline_is_whole_seconds_of_a_year_at_most() {
        assert_eq!(seconds("90"), Ok(Duration::from_secs(90)));
        for bad in ["0", "-1", "1.5", "1h", "31536001", "99999999999999999999"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_parameter_is_json_or_else_text() {
        assert_eq!(parameter("a=1"), Ok(("a".into(), json!(1))));
        assert_eq!(parameter("a=[true]"), Ok(("a".into(), json!([true]))));
        assert_eq!(parameter("a=b=c"), Ok(("a".into(), json!("b=c"))));
        assert!(parameter("a").is_err() && parameter("=1").is_err());
    }
}
