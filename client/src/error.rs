//! What can go wrong, as one type: what kind of thing it is, and what to do about it.

use std::{fmt, sync::Arc, time::Duration};

use crate::{TaskId, meaning};

/// The most bytes of a text of the other side that an error repeats.
const LONGEST_TEXT: usize = 1000;

/// Why a call did not give what was asked. Cheap to clone; holds no secret.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: Kind,
    task: Option<TaskId>,
    message: String,
    code: Option<String>,
    status: Option<u16>,
    request_id: Option<String>,
    retry_after: Option<Duration>,
}

/// The kinds of errors, by what a caller can do about them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// The request breaks a documented rule; it was not sent.
    InvalidRequest,
    /// The client is set up wrongly.
    Configuration,
    /// The broker or the service does not accept the credential.
    Credentials,
    /// The service refuses the request for good.
    Refused,
    /// Too many requests; waiting helps.
    Throttled,
    /// The other side has a fault of its own; trying again may help.
    Unavailable,
    /// The other side was not reached: nothing was sent.
    Unreachable,
    /// No answer came in time, or the connection broke.
    Lost,
    /// A submit may or may not have arrived, so it was not repeated: it would be billed twice.
    Ambiguous,
    /// The answer is not what is documented, or too large.
    Malformed,
    /// The task is not known: it expired, or never was.
    UnknownTask,
    /// The task failed or was canceled as a whole.
    TaskFailed,
    /// The caller's own deadline passed; the task goes on.
    Deadline,
}

impl Error {
    /// An error, as a [`TokenSource`](crate::TokenSource) of one's own may give. `message` must hold no
    /// secret, and says what to do next.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let message = printable(message.into());
        let (task, code, status, request_id, retry_after) = (None, None, None, None, None);
        Self(Arc::new(Inner { kind, task, message, code, status, request_id, retry_after }))
    }

    pub(crate) fn answered(
        kind: Kind,
        message: String,
        status: u16,
        code: Option<String>,
        request_id: Option<String>,
        retry_after: Option<Duration>,
    ) -> Self {
        let (message, code) = (printable(message), code.map(printable));
        let request_id = request_id.map(printable);
        Self(Arc::new(Inner {
            kind,
            task: None,
            message,
            code,
            status: Some(status),
            request_id,
            retry_after,
        }))
    }

    /// This error, of a call for the task `id`.
    pub(crate) fn of_task(self, id: &TaskId) -> Self {
        Self(Arc::new(Inner { task: Some(id.clone()), ..Arc::unwrap_or_clone(self.0) }))
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Whether the same call may succeed later. A submit that is [`Kind::Ambiguous`] is not retryable:
    /// look for its task first.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), Kind::Throttled | Kind::Unavailable | Kind::Unreachable | Kind::Lost)
    }

    /// The task that was waited for. It was submitted, it may go on, and it is paid for: a caller who
    /// still wants its transcripts can [`wait`](crate::Client::wait) for it again.
    #[must_use]
    pub fn task_id(&self) -> Option<&TaskId> {
        self.0.task.as_ref()
    }

    /// The code that the broker or the service gave.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// What the service's code means, if it is documented.
    #[must_use]
    pub fn meaning(&self) -> Option<&'static str> {
        self.code().and_then(meaning::of).map(|found| found.meaning)
    }

    /// What to do about it, if the service's code is documented.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        self.code().and_then(meaning::of).map(|found| found.remedy)
    }

    /// The HTTP status it was answered with.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The id by which the broker or the service knows the request.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// How long the other side asks to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

/// A request that breaks a rule, by the name of its field.
pub(crate) fn invalid(field: &str, problem: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{field}: {problem}"))
}

/// Words of the other side as they may stand in an error: on one line, without control characters that
/// a terminal would obey, and of bounded length.
pub(crate) fn printable(text: String) -> String {
    if text.len() <= LONGEST_TEXT && !text.contains(char::is_control) {
        return text;
    }
    let mut short: String = text.replace(char::is_control, " ");
    if short.len() > LONGEST_TEXT {
        short.truncate(short.floor_char_boundary(LONGEST_TEXT));
        short.push('…');
    }
    short
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = &self.0.task {
            write!(f, "task {}: ", printable(id.to_string()))?;
        }
        f.write_str(&self.0.message)?;
        match (&self.0.code, &self.0.request_id) {
            (Some(code), Some(id)) => write!(f, " ({code}, request {id})"),
            (Some(code), None) => write!(f, " ({code})"),
            (None, Some(id)) => write!(f, " (request {id})"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("task", &self.0.task)
            .field("message", &self.0.message)
            .field("code", &self.0.code)
            .field("status", &self.0.status)
            .field("request_id", &self.0.request_id)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_side_says_neither_floods_nor_commands_a_terminal() {
        assert_eq!(printable("plain, 也".into()), "plain, 也");
        assert_eq!(printable("a\nb\u{1b}[31mc".into()), "a b [31mc");
        let long = printable("也".repeat(1 << 20));
        assert!(long.len() <= LONGEST_TEXT + '…'.len_utf8() && long.ends_with("也…"));
    }
}
