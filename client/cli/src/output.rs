//! What comes of recordings, as text or JSON, written as soon as it is there.

use std::io::{self, Write};

use serde::Serialize;
use valet_client::{FileFailure, TaskId, Transcript};

use crate::{
    arguments::{Format, OutputArguments},
    exit::Failure,
    printer::{Sink, legible},
};

/// What came of one URL.
#[derive(Serialize)]
pub(crate) struct Entry<'e> {
    pub(crate) url: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task_id: Option<&'e TaskId>,
    #[serde(flatten)]
    pub(crate) outcome: Outcome<'e>,
}

/// Its transcript, as the service gave it, or why there is none.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome<'e> {
    Transcript(&'e Transcript),
    Failure { code: String, message: String },
}

impl<'e> From<Result<&'e Transcript, &FileFailure>> for Outcome<'e> {
    fn from(outcome: Result<&'e Transcript, &FileFailure>) -> Self {
        let failure = match outcome {
            Ok(transcript) => return Self::Transcript(transcript),
            Err(failure) => failure,
        };
        let (code, message) = match failure {
            FileFailure::Failed { code, message } => (code.clone(), message.clone()),
            FileFailure::Download(error) => {
                let code = error.code().map_or_else(|| format!("{:?}", error.kind()), str::to_owned);
                (code, failure.to_string())
            }
            _ => ("Missing".into(), failure.to_string()),
        };
        Self::Failure { code, message }
    }
}

impl From<&Failure> for Outcome<'_> {
    fn from(failure: &Failure) -> Self {
        Self::Failure { code: failure.code.clone(), message: failure.message.clone() }
    }
}

/// The transcripts of a run.
pub(crate) struct Output {
    format: Format,
    /// Whether text is headed by the URL it belongs to.
    headed: bool,
    sink: Sink,
    entries: usize,
}

impl Output {
    /// An output for `count` URLs.
    pub(crate) fn open(arguments: &OutputArguments, count: usize) -> Result<Self, Failure> {
        let sink = Sink::open(arguments.out.as_deref())?;
        Ok(Self { format: arguments.format, headed: count > 1, sink, entries: 0 })
    }

    /// Writes the next entry. Failures have no text; they are told elsewhere.
    pub(crate) fn write(&mut self, entry: &Entry<'_>) -> Result<(), Failure> {
        let (before, headed) = (self.entries, self.headed);
        match (self.format, &entry.outcome) {
            (Format::Json, _) => self.sink.write(|to| json(to, before, entry))?,
            (Format::Txt, Outcome::Transcript(transcript)) => {
                self.sink.write(|to| text(to, before, headed.then_some(entry.url), transcript))?;
            }
            (Format::Txt, Outcome::Failure { .. }) => return Ok(()),
        }
        self.entries += 1;
        Ok(())
    }

    /// Ends the output, after the last entry.
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        match (self.format, self.entries) {
            (Format::Txt, _) => Ok(()),
            (Format::Json, 0) => self.sink.write(|to| to.write_all(b"[]\n")),
            (Format::Json, _) => self.sink.write(|to| to.write_all(b"\n]\n")),
        }
    }
}

/// An array with an entry a line.
fn json(to: &mut dyn Write, before: usize, entry: &Entry<'_>) -> io::Result<()> {
    to.write_all(if before == 0 { b"[\n" } else { b",\n" })?;
    serde_json::to_writer(to, entry).map_err(io::Error::from)
}

/// As `head` and `tail` show several files.
fn text(to: &mut dyn Write, before: usize, url: Option<&str>, transcript: &Transcript) -> io::Result<()> {
    if let Some(url) = url {
        writeln!(to, "{}==> {url} <==", if before == 0 { "" } else { "\n" })?;
    }
    let said = transcript.text();
    said.lines().filter(|line| !line.is_empty()).try_for_each(|line| writeln!(to, "{}", legible(line)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    fn transcript(text: &str) -> Transcript {
        serde_json::from_value(json!({ "transcripts": [{ "text": text }], "newer": 1 })).unwrap()
    }

    fn written(format: Format, entries: &[Entry<'_>]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let arguments = OutputArguments { format, out: Some(path.clone()) };
        let mut output = Output::open(&arguments, entries.len()).unwrap();
        for entry in entries {
            output.write(entry).unwrap();
        }
        output.end().unwrap();
        fs::read_to_string(path).unwrap()
    }

    fn said<'e>(url: &'e str, transcript: &'e Transcript) -> Entry<'e> {
        Entry { url, task_id: None, outcome: Outcome::Transcript(transcript) }
    }

    fn failed(url: &str) -> Entry<'_> {
        let failure = FileFailure::Failed { code: "DECODE_ERROR".into(), message: "no audio".into() };
        Entry { url, task_id: None, outcome: Err(&failure).into() }
    }

    #[test]
    fn one_text_stands_alone_and_several_are_headed() {
        let (hello, bye, nothing) = (transcript("Hello."), transcript("Bye."), Transcript::default());
        assert_eq!(written(Format::Txt, &[said("https://a", &hello)]), "Hello.\n");
        assert_eq!(written(Format::Txt, &[said("https://a", &nothing)]), "");
        let several = [
            said("https://a", &hello),
            failed("https://b"),
            said("https://c", &nothing),
            said("https://d", &bye),
        ];
        assert_eq!(
            written(Format::Txt, &several),
            "==> https://a <==\nHello.\n\n==> https://c <==\n\n==> https://d <==\nBye.\n"
        );
    }

    #[test]
    fn json_is_one_array_with_the_transcript_or_the_failure_of_each_url() {
        let (hello, task) = (transcript("Hello."), TaskId::from("t-1"));
        let entries = [Entry { task_id: Some(&task), ..said("https://a", &hello) }, failed("https://b")];
        let array: Value = serde_json::from_str(&written(Format::Json, &entries)).unwrap();
        assert_eq!((&array[0]["url"], &array[0]["task_id"]), (&json!("https://a"), &json!("t-1")));
        assert_eq!(array[0]["transcript"]["transcripts"][0]["text"], "Hello.");
        assert_eq!(array[0]["transcript"]["newer"], 1, "what is unknown is kept");
        let failure = json!({ "code": "DECODE_ERROR", "message": "no audio" });
        assert_eq!(array[1], json!({ "url": "https://b", "failure": failure }));
        assert_eq!(written(Format::Json, &[]), "[]\n");
    }
}
