//! A token request's fields, from JSON or a form; every one is checked and named when it is wrong.

use data_encoding::HEXLOWER;
use http::{HeaderMap, header};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{issue::Unreadable, policy::TokenRequest};

/// The longest subject or reference of a caller, in bytes.
const LONGEST_WORD: usize = 256;

/// The body of `POST /v1/tokens`, as JSON or as a form. No `Debug`: it may hold a secret.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fields {
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<String>,
    min_ttl: Option<u32>,
    rejected: Option<String>,
    subject: Option<String>,
    scope: Option<String>,
    client_reference_id: Option<String>,
}

impl Fields {
    /// Reads a body by its `Content-Type`; an empty one asks for nothing in particular.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Unreadable> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/json") {
            // serde takes a list of the values alone as well.
            if !body.trim_ascii_start().starts_with(b"{") {
                return Err(unreadable("", &"must be a JSON object"));
            }
            let fields: Self = parse(&mut serde_json::Deserializer::from_slice(body))?;
            // Read by serde as one value; what stands behind it is not JSON any more.
            serde_json::from_slice::<serde::de::IgnoredAny>(body).map_err(|error| unreadable("", &error))?;
            match fields.client_id.as_ref().or(fields.client_secret.as_ref()) {
                None => Ok(fields),
                Some(_) => Err(Unreadable::Body(
                    "in JSON, client_id and client_secret are not fields: use the Authorization header"
                        .into(),
                )),
            }
        } else if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            parse(serde_urlencoded::Deserializer::new(form_urlencoded::parse(body)))
        } else {
            Err(Unreadable::MediaType)
        }
    }

    /// The request they make.
    pub(super) fn request(self) -> Result<TokenRequest, Unreadable> {
        Ok(TokenRequest {
            min_ttl: self.min_ttl,
            lifetime: None,
            rejected: self.rejected.map(|text| sha256("rejected", &text)).transpose()?,
            subject: self.subject.map(|text| word("subject", text)).transpose()?,
            scope: self.scope.map(|text| word("scope", text)).transpose()?,
            client_reference_id: self
                .client_reference_id
                .map(|text| word("client_reference_id", text))
                .transpose()?,
        })
    }
}

fn parse<'de, T: DeserializeOwned, D: serde::Deserializer<'de>>(deserializer: D) -> Result<T, Unreadable>
where
    D::Error: std::fmt::Display,
{
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        unreadable(&path, error.inner())
    })
}

/// A parser's message, with the field it is about and without the whole of a hostile value.
fn unreadable(path: &str, error: &dyn std::fmt::Display) -> Unreadable {
    let message = error.to_string();
    // serde repeats a value of the wrong type, which may be a secret in the wrong place.
    let message = match message.rsplit_once(", expected ") {
        Some((what, expected)) if what.starts_with("invalid ") => {
            format!("must be {}", expected.replace("u32", "a whole number"))
        }
        _ => message,
    };
    let problem: String = message.chars().filter(|c| !c.is_control()).take(200).collect();
    match path {
        "" | "." => Unreadable::Body(format!("the body is not a token request: {problem}")),
        field => Unreadable::Field { field: field.chars().take(64).collect(), problem },
    }
}

fn word(field: &'static str, text: String) -> Result<String, Unreadable> {
    if (1..=LONGEST_WORD).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    let problem = format!("must have 1 to {LONGEST_WORD} bytes and no control characters");
    Err(Unreadable::Field { field: field.into(), problem })
}

fn sha256(field: &'static str, text: &str) -> Result<[u8; 32], Unreadable> {
    let digest = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    digest.ok_or_else(|| Unreadable::Field {
        field: field.into(),
        problem: "must be the SHA-256 of the refused token, as 64 lower-case hexadecimal digits".into(),
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const JSON: &str = "application/json; charset=utf-8";
    const FORM: &str = "application/x-www-form-urlencoded";

    fn read(content_type: &'static str, body: &str) -> Result<TokenRequest, Unreadable> {
        let value = HeaderValue::from_static(content_type);
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value)]);
        Fields::read(&headers, body.as_bytes())?.request()
    }

    #[test]
    fn json_and_form_say_the_same() {
        let json = read(JSON, r#"{"min_ttl": 30, "client_reference_id": "job 7", "scope": "transcribe"}"#);
        let form = read(FORM, "min_ttl=30&client_reference_id=job+7&scope=transcribe");
        for request in [json.unwrap(), form.unwrap()] {
            assert_eq!(request.min_ttl, Some(30));
            assert_eq!(request.client_reference_id.as_deref(), Some("job 7"));
            assert_eq!(request.scope.as_deref(), Some("transcribe"));
        }
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (content_type, body, named) in [
            (JSON, r#"{"min_ttl": "soon"}"#, "min_ttl"),
            (JSON, r#"{"min_ttl": -1}"#, "min_ttl"),
            (JSON, r#"{"min_ttl": 30.5}"#, "min_ttl"),
            (JSON, r#"{"rejected": "ab"}"#, "rejected"),
            (JSON, r#"{"subject": ""}"#, "subject"),
            (JSON, r#"{"client_reference_id": "a\nb"}"#, "client_reference_id"),
            (JSON, r#"{"ttl": 30}"#, "ttl"),
            (FORM, "min_ttl=soon", "min_ttl"),
            (FORM, "ttl=30", "ttl"),
        ] {
            let error = read(content_type, body).unwrap_err();
            assert!(error.to_string().contains(named), "{body}: {error}");
        }
    }

    #[test]
    fn what_is_no_single_object_is_refused() {
        for body in [
            "[]",
            "[null,null,30,null,null,null,null]",
            "null",
            "{",
            "{} {}",
            "\"x\"",
            r#"{"min_ttl":1,"min_ttl":2}"#,
            "\u{fffd}",
        ] {
            assert!(read(JSON, body).is_err(), "{body}");
        }
        assert!(read(FORM, "min_ttl=1&min_ttl=2").is_err());
        assert_eq!(read("text/plain", "x").unwrap_err(), Unreadable::MediaType);
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_refused_without_being_repeated() {
        for body in [
            r#"{"client_secret": "canary"}"#,
            r#"{"min_ttl": "canary"}"#,
            r#"{"min_ttl": "x, expected canary"}"#,
            r#"{"subject": ["canary"]}"#,
            r#""canary""#,
        ] {
            let error = read(JSON, body).unwrap_err();
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}
