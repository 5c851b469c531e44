//! Why one subtask failed, in the vendor's codes.

use std::borrow::Cow;

/// Why a recording was not transcribed: `code` and `message` of a failed subtask.
///
/// Codes: Model Studio, *Error messages*. Codes that begin with `Sandbox.` are the sandbox's own, for
/// what only a sandbox cannot do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// The code.
    pub code: Cow<'static, str>,
    /// The message, for people.
    pub message: String,
}

impl Failure {
    /// A failure with this code and message.
    #[must_use]
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}
