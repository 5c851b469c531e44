//! What a caller may ask for, in the fields of a body: the same at `/v1/tokens` and `/oauth/token`.

use std::borrow::Cow;

use data_encoding::HEXLOWER;
use http::HeaderMap;

use super::{
    Doors,
    fields::{Fields, wrong},
};
use crate::{issue::Unreadable, policy::TokenRequest};

/// The longest subject or reference of a caller, in bytes.
const LONGEST_WORD: usize = 256;

/// Takes what a caller asks for; all of it may be left out.
pub(super) fn request(fields: &mut Fields<'_>, headers: &HeaderMap) -> Result<TokenRequest, Unreadable> {
    Ok(TokenRequest {
        min_ttl: fields.number("min_ttl")?,
        lifetime: None,
        rejected: fields.text("rejected")?.map(|text| sha256("rejected", &text)).transpose()?,
        subject: word(fields, "subject")?,
        // Of any content: whatever is not the one scope is none (RFC 6749 §5.2, *invalid_scope*).
        scope: fields.text("scope")?.map(Cow::into_owned),
        client_reference_id: word(fields, "client_reference_id")?,
        origin: Doors::origin(headers),
    })
}

/// A short text of the caller's own choice.
fn word(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<String>, Unreadable> {
    let text = fields.text(name)?.map(Cow::into_owned);
    let fits =
        |text: &String| (1..=LONGEST_WORD).contains(&text.len()) && !text.chars().any(char::is_control);
    if text.as_ref().is_none_or(fits) {
        return Ok(text);
    }
    Err(wrong(name, &format!("must have 1 to {LONGEST_WORD} bytes and no control characters")))
}

fn sha256(name: &'static str, text: &str) -> Result<[u8; 32], Unreadable> {
    let digest = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    let problem = "must be the SHA-256 of the refused token, as 64 lower-case hexadecimal digits";
    digest.ok_or_else(|| wrong(name, problem))
}
