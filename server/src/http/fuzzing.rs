//! Ways for a fuzzer to what reads requests. No part of the API.

use http::{HeaderMap, HeaderValue, header};

use super::{credential, fields::Fields, oauth, wishes};

fn headers(name: header::HeaderName, value: &[u8]) -> Option<HeaderMap> {
    Some(HeaderMap::from_iter([(name, HeaderValue::from_bytes(value).ok()?)]))
}

/// Reads the body of a token request; what it is refused with.
///
/// # Errors
/// If it is refused.
pub fn fields(content_type: &str, body: &[u8]) -> Result<(), String> {
    let headers = headers(header::CONTENT_TYPE, content_type.as_bytes()).unwrap_or_default();
    let mut fields = Fields::read(&headers, body).map_err(|refused| refused.to_string())?;
    wishes::request(&mut fields, &headers).map_err(|refused| refused.to_string())?;
    fields.finish().map_err(|refused| refused.to_string())
}

/// Reads the body of an OAuth token request.
///
/// # Errors
/// If it is refused.
pub fn parameters(body: &[u8]) -> Result<(), String> {
    let form = headers(header::CONTENT_TYPE, b"application/x-www-form-urlencoded").unwrap_or_default();
    let mut fields = Fields::parameters(&form, body).map_err(|refused| refused.to_string())?;
    oauth::credential(&HeaderMap::new(), &mut fields).map_err(|refused| refused.to_string())?;
    wishes::request(&mut fields, &form).map(drop).map_err(|refused| refused.to_string())
}

/// Reads an `Authorization` header.
///
/// # Errors
/// If it is refused.
pub fn authorization(value: &[u8]) -> Result<(), String> {
    let headers = headers(header::AUTHORIZATION, value).unwrap_or_default();
    credential::in_header(&headers).map(drop).map_err(|refused| refused.to_string())
}

/// Reads an `Authorization` header of an OAuth client.
///
/// # Errors
/// If it is refused.
pub fn client(value: &[u8]) -> Result<(), String> {
    let headers = headers(header::AUTHORIZATION, value).unwrap_or_default();
    credential::client_in_header(&headers).map(drop).map_err(|refused| refused.to_string())
}
