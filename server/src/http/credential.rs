//! `Authorization` → the credential it holds (RFC 7617, RFC 6750 §2.1).

use std::borrow::Cow;

use data_encoding::BASE64;
use http::{HeaderMap, header};
use percent_encoding::percent_decode;

use crate::{
    identity::{By, Credential, Unidentified},
    jwt,
};

/// The longest id and secret that are looked at, in bytes; an app's have some 70.
const LONGEST: usize = 512;
/// The same of a token.
const LONGEST_TOKEN: usize = jwt::LONGEST + "Bearer ".len();

/// What the `Authorization` header holds; `None` without one. A bearer is an app's secret, or a token by
/// which an identity provider vouches for a user.
pub(super) fn in_header(headers: &HeaderMap) -> Result<Option<Credential>, Unidentified> {
    let malformed = Unidentified::Malformed("Authorization: must be \"Basic …\" or \"Bearer …\"");
    let Some((scheme, rest)) = only(headers, &malformed)? else { return Ok(None) };
    if scheme.eq_ignore_ascii_case("basic") {
        let mut room = [0; LONGEST];
        let (app, secret) = basic(rest, &mut room)?;
        Ok(Some(Credential::id_and_secret(app.to_owned(), secret)))
    } else if scheme.eq_ignore_ascii_case("bearer") {
        let bearer = rest.trim();
        if jwt::is_like_one(bearer) {
            return Ok(Some(Credential::subject(By::Anyone, bearer.to_owned())));
        }
        if bearer.len() > LONGEST { Err(malformed) } else { Ok(Some(Credential::secret(bearer.as_bytes()))) }
    } else {
        Err(malformed)
    }
}

/// The bearer in the header, whatever it is; `None` without one, or with another scheme.
pub(super) fn bearer_in_header(headers: &HeaderMap) -> Result<Option<String>, Unidentified> {
    let malformed = Unidentified::Malformed("Authorization: must be \"Bearer …\"");
    let bearer = only(headers, &malformed)?.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    Ok(bearer.map(|(_, bearer)| bearer.trim().to_owned()))
}

/// The id and secret of a client as OAuth has them: Basic, each encoded as in a form (RFC 6749 §2.3.1).
pub(super) fn client_in_header(headers: &HeaderMap) -> Result<Option<Credential>, Unidentified> {
    let malformed = Unidentified::Malformed("Authorization: must be \"Basic …\"");
    let Some((scheme, rest)) = only(headers, &malformed)? else { return Ok(None) };
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed);
    }
    let mut room = [0; LONGEST];
    let (app, secret) = basic(rest, &mut room)?;
    let app = String::from_utf8(decoded(app.as_bytes()).into_owned()).map_err(|_| malformed)?;
    Ok(Some(Credential::id_and_secret(app, &decoded(secret))))
}

/// A value of a form.
fn decoded(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'+') {
        return percent_decode(value).into();
    }
    let spaced: Vec<u8> = value.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaced).collect()
}

/// The scheme of the one header, and what follows it.
fn only<'h>(
    headers: &'h HeaderMap,
    malformed: &Unidentified,
) -> Result<Option<(&'h str, &'h str)>, Unidentified> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Unidentified::TwoMethods);
    }
    let text = value.to_str().ok().filter(|text| text.len() <= LONGEST_TOKEN);
    text.and_then(|text| text.split_once(' ')).map(Some).ok_or_else(|| malformed.clone())
}

/// An id and a secret.
fn basic<'r>(encoded: &str, room: &'r mut [u8; LONGEST]) -> Result<(&'r str, &'r [u8]), Unidentified> {
    let malformed = || Unidentified::Malformed("Authorization: Basic needs base64 of \"APP:SECRET\"");
    let encoded = encoded.trim().as_bytes();
    let length = BASE64.decode_len(encoded.len()).ok().filter(|length| *length <= LONGEST);
    let room = &mut room[..length.ok_or_else(malformed)?];
    let decoded = BASE64.decode_mut(encoded, room).map_err(|_| malformed())?;
    let decoded = &room[..decoded];
    let colon = decoded.iter().position(|b| *b == b':').ok_or_else(malformed)?;
    let app = std::str::from_utf8(&decoded[..colon]).map_err(|_| malformed())?;
    Ok((app, &decoded[colon + 1..]))
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
        assert!(matches!(in_header(&headers), Err(Unidentified::TwoMethods)));
    }

    #[test]
    fn a_bearer_that_looks_like_a_token_is_one_of_a_user() {
        let token = format!("eyJ{}.e30.c2ln", "x".repeat(4000));
        assert!(matches!(read(&format!("Bearer {token}")), Ok(Some(Credential::Subject { .. }))));
        assert!(matches!(read(&format!("Bearer {}", "x".repeat(600))), Err(Unidentified::Malformed(_))));
    }

    #[test]
    fn a_client_of_oauth_encodes_its_id_and_secret_as_in_a_form() {
        let value = HeaderValue::from_str(&format!("Basic {}", BASE64.encode(b"my%2Eapp:a%3Ab+c"))).unwrap();
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        assert!(matches!(client_in_header(&headers), Ok(Some(Credential::IdAndSecret { app, secret }))
            if app == "my.app" && secret == SecretHash::of(b"a:b c")));
    }
}
