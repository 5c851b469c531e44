//! The commands that transcribe.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde_json::Value;

use super::{
    help::{EXIT_CODES, TRANSCRIBE},
    seconds,
};
use crate::{
    naming::Template,
    output::{Format, Look},
};

#[derive(Args, Debug)]
#[command(after_help = TRANSCRIBE, after_long_help = format!("{TRANSCRIBE}\n\n{EXIT_CODES}"))]
pub(crate) struct TranscribeArguments {
    /// Recordings: URLs or local files; `@FILE` for a list, one a line; `-` for a list on standard input.
    #[arg(required = true, value_name = "RECORDING")]
    pub(crate) recordings: Vec<String>,
    /// Stops waiting after so many seconds; the tasks go on.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) deadline: Option<Duration>,
    /// Prints the requests that would be made, and what they cost, and makes none.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// About how long each recording is, in seconds: for --dry-run, and to look for the end in time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) audio_length: Option<Duration>,
    /// With --dry-run: what a second of speech costs, in USD [default: 0.000035].
    #[arg(long, value_name = "USD", env = "VALET_PRICE", value_parser = price)]
    pub(crate) price: Option<f64>,
    #[command(flatten)]
    pub(crate) parameters: ParameterArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
    #[command(flatten)]
    pub(crate) journal: JournalArguments,
    /// Does recordings again that are done, and pays for them again.
    #[arg(long)]
    pub(crate) again: bool,
}

#[derive(Args, Debug)]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct ResumeArguments {
    /// Stops waiting after so many seconds; the tasks go on.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) deadline: Option<Duration>,
    #[command(flatten)]
    pub(crate) journal: JournalArguments,
}

/// What was submitted before.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What was paid for is not lost")]
pub(crate) struct JournalArguments {
    /// The journal of what was submitted [default: one in XDG_STATE_HOME for each service and set of parameters].
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// Submits again what may or may not have been submitted and cannot be found; it may be billed twice.
    #[arg(long)]
    pub(crate) submit_again: bool,
}

/// How to transcribe.
#[derive(Args, Debug)]
#[command(next_help_heading = "How to transcribe")]
pub(crate) struct ParameterArguments {
    /// The model, as fun-asr or fun-asr-mtl (30 languages) [default: fun-asr].
    #[arg(long, env = "VALET_MODEL")]
    pub(crate) model: Option<String>,
    /// A language that is spoken, as en; repeat for several. Without it the service finds out.
    #[arg(long, value_delimiter = ',', env = "VALET_LANGUAGE")]
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
    /// Sends languages that this version does not know of the model.
    #[arg(long)]
    pub(crate) allow_unknown: bool,
    /// The most URLs in one task at your endpoint [default: 100]; more are split into several tasks.
    #[arg(long, value_name = "COUNT", env = "VALET_MAX_URLS", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) max_urls: Option<u16>,
}

/// Where transcripts go, and how they look there.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Transcripts")]
pub(crate) struct OutputArguments {
    /// The formats; several are separated by commas [default: txt].
    #[arg(long, value_enum, value_delimiter = ',', env = "VALET_FORMAT")]
    pub(crate) format: Vec<Format>,
    /// Writes files into this folder, one for each recording and format, instead of to standard output.
    #[arg(long, value_name = "DIR", env = "VALET_OUT")]
    pub(crate) out: Option<PathBuf>,
    /// Names of these files: {stem} of the recording, {index} from 1, {ext} [default: {stem}.{ext}].
    #[arg(long, value_name = "TEMPLATE", env = "VALET_NAME", value_parser = Template::parse)]
    pub(crate) name: Option<Template>,
    #[command(flatten)]
    pub(crate) look: Look,
}

fn parameter(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok((name.into(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
        }
        _ => Err("must be NAME=VALUE".into()),
    }
}

fn price(text: &str) -> Result<f64, String> {
    let price = text.parse().ok().filter(|price: &f64| price.is_finite() && *price >= 0.0);
    price.ok_or_else(|| "must be a number, 0 or more".into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_parameter_is_json_or_else_text() {
        assert_eq!(parameter("a=1"), Ok(("a".into(), json!(1))));
        assert_eq!(parameter("a=[true]"), Ok(("a".into(), json!([true]))));
        assert_eq!(parameter("a=b=c"), Ok(("a".into(), json!("b=c"))));
        assert!(parameter("a").is_err() && parameter("=1").is_err());
    }

    #[test]
    fn a_price_is_a_number() {
        assert!(price("0.000035").is_ok() && price("0").is_ok());
        assert!(price("-1").is_err() && price("NaN").is_err() && price("inf").is_err() && price("").is_err());
    }
}
