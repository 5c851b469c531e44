//! How a command ends: its exit code, and what to do next when it failed.

use std::{fmt, io, process::ExitCode};

use valet_client::{Error, Kind, TaskId};

/// How a command ended; its number is the process's exit code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    Done = 0,
    Files = 1,
    Usage = 2,
    Credentials = 3,
    Refused = 4,
    Partial = 5,
    Failed = 6,
    Deadline = 7,
    /// A submit of which nobody knows whether it arrived.
    Undecided = 8,
    /// 128 and the number of SIGINT, as shells have it.
    Interrupted = 130,
    /// Whoever read standard output has read enough: 128 and the number of SIGPIPE.
    Closed = 141,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Kind> for Exit {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Configuration => Self::Usage,
            Kind::Credentials => Self::Credentials,
            Kind::InvalidRequest | Kind::Refused | Kind::UnknownTask => Self::Refused,
            Kind::Deadline => Self::Deadline,
            Kind::Ambiguous => Self::Undecided,
            _ => Self::Failed,
        }
    }
}

/// Why something was not done: in words, as an exit code, and with what to do next.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// The code that the broker or the service gave, or else the kind of error.
    pub(crate) code: String,
    pub(crate) message: String,
    advice: Option<&'static str>,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, code: "Usage".into(), message: message.into(), advice: None }
    }

    pub(crate) fn files(message: impl Into<String>) -> Self {
        Self { exit: Exit::Files, code: "Files".into(), message: message.into(), advice: None }
    }

    /// Standard output cannot be written.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        let failure = Self::files(format!("standard output: {error}"));
        let exit = if error.kind() == io::ErrorKind::BrokenPipe { Exit::Closed } else { failure.exit };
        Self { exit, ..failure }
    }

    /// The deadline came before a task was even submitted.
    pub(crate) fn too_late() -> Self {
        let message = "not submitted: the deadline had passed".into();
        let advice = Some("Run the same command again, or `valet resume`.");
        Self { exit: Exit::Deadline, code: "Deadline".into(), message, advice }
    }

    /// Nobody knows whether a recording was submitted.
    pub(crate) fn undecided() -> Self {
        let message = "it may or may not have been submitted, and no such task is found".into();
        let advice = Some(
            "Look again later with the same command, or submit it again with --submit-again: if it was \
             submitted after all, it is billed twice.",
        );
        Self { exit: Exit::Undecided, code: "Undecided".into(), message, advice }
    }

    /// A recording was paid for, and its transcript is gone.
    pub(crate) fn lost(task: &TaskId) -> Self {
        let message = format!("it was submitted as task {task}, which the service does not know any more");
        let advice = Some("Tasks are kept for 24 hours. Do it again, and pay again, with --again.");
        Self { exit: Exit::Refused, code: "Lost".into(), message, advice }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = error.kind();
        let code = error.code().map_or_else(|| format!("{kind:?}"), str::to_owned);
        // Nothing of the service's is there, not even a word of its own.
        let kind_of_place =
            if code == "Refused" && error.status() == Some(404) { Kind::Malformed } else { kind };
        let advice = error.remedy().or_else(|| advice(kind_of_place));
        Self { exit: kind.into(), code, message: error.to_string(), advice }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.advice.map_or(Ok(()), |advice| write!(f, "\n  {advice}"))
    }
}

fn advice(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Configuration => "See `valet --help`, \"Where tokens come from\".",
        Kind::Credentials => {
            "Check VALET_APP and VALET_SECRET (or --secret-file, or `valet login`), or the API key; ask the \
             operator of the broker if they are right."
        }
        Kind::Throttled => "Try again in a minute, or with fewer requests at a time.",
        Kind::Unavailable | Kind::Lost => "Try again later; nothing is wrong with the request.",
        Kind::Unreachable => "Check the URL, the network and the proxy, then try again.",
        Kind::Ambiguous => "Run the same command again: it looks for the task before it submits anything.",
        Kind::Malformed => "Check that the URL is that of a Valet broker, or of DashScope up to /api/v1.",
        Kind::UnknownTask => "Check the id and the account; tasks are kept for 24 hours.",
        Kind::Deadline => {
            "Run the same command again, or `valet resume`; of one task, `valet task ID --wait`."
        }
        // What the message says is all there is to know.
        _ => return None,
    })
}
