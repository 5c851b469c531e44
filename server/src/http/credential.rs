//! `Authorization` → the credential it holds (RFC 7617, RFC 6750 §2.1).

use data_encoding::BASE64;
use http::{HeaderMap, header};

use crate::identity::{Credential, Unidentified};

/// The longest credential that is looked at, in bytes; an app's has some 70.
const LONGEST: usize = 512;

/// What the `Authorization` header holds; `None` without one.
pub(super) fn in_header(headers: &HeaderMap) -> Result<Option<Credential>, Unidentified> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Unidentified::Malformed("Authorization: there is more than one"));
    }
    let malformed = Unidentified::Malformed("Authorization: must be \"Basic …\" or \"Bearer …\"");
    let text = value.to_str().ok().filter(|text| text.len() <= LONGEST).ok_or(malformed.clone())?;
    let (scheme, rest) = text.split_once(' ').ok_or(malformed.clone())?;
    if scheme.eq_ignore_ascii_case("basic") {
        basic(rest.trim_start()).map(Some)
    } else if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Some(Credential::secret(rest.trim().as_bytes())))
    } else {
        Err(malformed)
    }
}

fn basic(encoded: &str) -> Result<Credential, Unidentified> {
    let malformed = || Unidentified::Malformed("Authorization: Basic needs base64 of \"APP:SECRET\"");
    let encoded = encoded.trim_end().as_bytes();
    let mut room = [0; LONGEST];
    let length = BASE64.decode_len(encoded.len()).map_err(|_| malformed())?;
    let decoded = BASE64.decode_mut(encoded, &mut room[..length]).map_err(|_| malformed())?;
    let decoded = &room[..decoded];
    let colon = decoded.iter().position(|b| *b == b':').ok_or_else(malformed)?;
    let app = std::str::from_utf8(&decoded[..colon]).map_err(|_| malformed())?;
    Ok(Credential::id_and_secret(app.to_owned(), &decoded[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::secret::SecretHash;

    fn read(value: &str) -> Result<Option<Credential>, Unidentified> {
        let value = HeaderValue::from_str(value).unwrap();
        in_header(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
    }

    #[test]
    fn basic_and_bearer_are_read_in_any_case() {
        let id_and_secret = read("bAsIc YWNtZTp2YXM6eA==").unwrap().unwrap();
        assert!(matches!(id_and_secret, Credential::IdAndSecret { app, secret }
            if app == "acme" && secret == SecretHash::of(b"vas:x")));
        let secret = read("BEARER vas_x").unwrap().unwrap();
        assert!(matches!(secret, Credential::Secret(hash) if hash == SecretHash::of(b"vas_x")));
    }

    #[test]
    fn what_is_neither_is_malformed() {
        for bad in
            ["", "Basic", "Basic !", "Basic YWNtZQ==", "Digest x", &format!("Bearer {}", "x".repeat(2000))]
        {
            assert!(matches!(read(bad), Err(Unidentified::Malformed(_))), "{bad}");
        }
        let two = [HeaderValue::from_static("Bearer a"), HeaderValue::from_static("Bearer b")];
        let mut headers = HeaderMap::new();
        for value in two {
            headers.append(header::AUTHORIZATION, value);
        }
        assert!(matches!(in_header(&headers), Err(Unidentified::Malformed(_))));
    }
}
