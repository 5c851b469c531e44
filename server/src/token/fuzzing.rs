//! A way for a fuzzer to what reads the upstream's answers. No part of the API.

use super::{Failure, dashscope};

/// Reads the answer to a mint: the token, or the code of the refusal.
///
/// # Errors
/// If it is no success.
pub fn mint(status: u16, body: &[u8]) -> Result<String, Option<String>> {
    let code = |failure: Failure| failure.code.map(|code| code.to_string());
    match status {
        200 => dashscope::success(body).map(|(token, _)| token.expose().to_owned()).map_err(code),
        status => Err(code(dashscope::refusal(status, body, None))),
    }
}
