//! Ways for a fuzzer to what the relay reads. No part of the API.

use serde_json::Value;

use super::{submission::Submission, tasks};

/// Reads the body of a submit: what goes upstream of it, and the hosts of its recordings.
///
/// # Errors
/// What it is refused with.
pub fn submit(body: &[u8]) -> Result<(Value, Vec<String>), String> {
    let (submission, hosts) = Submission::read(body, false).map_err(|refused| refused.to_string())?;
    Ok((submission.body(), hosts))
}

/// What a caller is told of what the upstream says of a task; `sealed` stands for all handles.
#[must_use]
pub fn told(mut document: Value, sealed: &str) -> Value {
    tasks::seal_places(&mut document, &|_| Some(sealed.to_owned()));
    document
}
