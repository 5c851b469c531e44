//! How a command ends: its exit code, and what to do next when it failed.

use std::{fmt, process::ExitCode};

use valet_client::{Error, Kind};

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
    /// 128 and the number of SIGINT, as shells have it.
    Interrupted = 130,
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
            _ => Self::Failed,
        }
    }
}

/// Why a command gave nothing: in words, and as an exit code.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    pub(crate) fn files(message: impl Into<String>) -> Self {
        Self { exit: Exit::Files, message: message.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { exit: error.kind().into(), message: explained(&error) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What went wrong, and what to do next.
pub(crate) fn explained(error: &Error) -> String {
    match advice(error.kind()) {
        Some(advice) => format!("{error}\n  {advice}"),
        None => error.to_string(),
    }
}

fn advice(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Configuration => "See `valet --help`, \"Where tokens come from\".",
        Kind::Credentials => {
            "Check VALET_APP and VALET_SECRET (or --secret-file), or the API key; ask the operator of the \
             broker if they are right."
        }
        Kind::Throttled => "Try again in a minute, or with fewer requests at a time.",
        Kind::Unavailable | Kind::Lost => "Try again later; nothing is wrong with the request.",
        Kind::Unreachable => "Check the URL, the network and the proxy, then try again.",
        Kind::Ambiguous => "Look at the service's console before you send it again.",
        Kind::Malformed => "Check that the URL is that of a Valet broker, or of DashScope up to /api/v1.",
        Kind::UnknownTask => "Check the id and the account; tasks are kept for 24 hours.",
        Kind::Deadline => "Wait for it again with `valet task ID --wait --transcripts`.",
        // What the message says is all there is to know.
        _ => return None,
    })
}
