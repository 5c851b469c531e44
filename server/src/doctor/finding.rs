//! What an examination finds, and how it is told.

use std::fmt;

use serde::Serialize;

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// How it is.
    pub mark: Mark,
    /// What was looked at.
    pub about: String,
    /// What was found.
    pub what: String,
    /// What to do about it; nothing if it is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// As it should be.
    Ok,
    /// A broker works, but not as it should; or it could not be told.
    Warning,
    /// A broker does not work, or gives what it must not.
    Problem,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

/// A line of what was found, and one of what to do about it.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8} {}: {}", self.mark, self.about, self.what)?;
        self.advice.iter().try_for_each(|advice| write!(f, "\n         → {advice}"))
    }
}

/// How an examination goes on.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'p> {
    /// A step that may take a moment begins.
    Begins(&'p str),
    /// Something was found.
    Found(&'p Finding),
}

/// Collects findings, and tells of each as it comes.
pub(super) struct Findings<'t> {
    found: Vec<Finding>,
    tell: &'t mut (dyn FnMut(Progress<'_>) + Send),
}

impl<'t> Findings<'t> {
    pub(super) fn new(tell: &'t mut (dyn FnMut(Progress<'_>) + Send)) -> Self {
        Self { found: Vec::new(), tell }
    }

    pub(super) fn begins(&mut self, step: &str) {
        (self.tell)(Progress::Begins(step));
    }

    pub(super) fn add(&mut self, finding: Finding) {
        (self.tell)(Progress::Found(&finding));
        self.found.push(finding);
    }

    pub(super) fn into_vec(self) -> Vec<Finding> {
        self.found
    }
}

pub(super) fn ok(about: &str, what: &str) -> Finding {
    Finding { mark: Mark::Ok, about: about.to_owned(), what: what.to_owned(), advice: None }
}

pub(super) fn warning(about: &str, what: &str, advice: &str) -> Finding {
    Finding { mark: Mark::Warning, advice: Some(advice.to_owned()), ..ok(about, what) }
}

pub(super) fn problem(about: &str, what: &str, advice: &str) -> Finding {
    Finding { mark: Mark::Problem, advice: Some(advice.to_owned()), ..ok(about, what) }
}
