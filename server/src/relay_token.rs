//! Relay tokens: access tokens of Valet's own (RFC 9068), which open its relay and nothing else.

use std::time::Duration;

use aws_lc_rs::rand;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, Header};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{jwt::Claims as Signed, keyring::Keyring};

/// Their type (RFC 9068 §2.1).
pub const TYPE: &str = "at+jwt";

/// What a relay token says.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Claims {
    /// The broker.
    pub iss: String,
    /// A name of whom it is for, which is nobody else's at this broker (RFC 7519 §4.1.2, RFC 9068 §2.2):
    /// `APP`, `APP/NAME` of one whom the app names, `ISSUER#NAME` of one whom an issuer vouches for.
    pub sub: String,
    /// The relay.
    pub aud: String,
    /// The app.
    pub client_id: String,
    /// When it was signed, in Unix seconds.
    pub iat: u64,
    /// When it expires, in Unix seconds.
    pub exp: u64,
    /// Its own name.
    pub jti: String,
    /// The one scope there is.
    pub scope: String,
    /// The end user, if it is for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// By which of the app's credentials it was asked for: withdrawn, it withdraws the token.
    pub proof: String,
    /// The models that may be used.
    pub models: Vec<String>,
    /// The hosts that recordings may lie on; any public one, if it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_hosts: Option<Vec<String>>,
    /// The most URLs of one task.
    pub urls: u32,
}

/// The end user of a token.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Subject {
    /// Who vouches for it; the app itself, if nobody else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Its name with whoever vouches.
    pub name: String,
}

impl Claims {
    /// Signs them.
    #[must_use]
    pub fn sign(&self, keys: &Keyring, now: Duration) -> SecretString {
        let key = keys.signing(now);
        let mut header = Header::new(Algorithm::EdDSA);
        (header.typ, header.kid) = (Some(TYPE.to_owned()), Some(key.id.to_owned()));
        jsonwebtoken::encode(&header, self, key.key).expect("plain fields are signed").into()
    }

    /// The claims of `token`, if it is a relay token that these keys have signed, of the broker `issuer` for its
    /// relay `audience` (RFC 9068 §4), and that has not expired. Its own clock made it, so it has not a second
    /// more.
    #[must_use]
    pub fn verify(token: &str, keys: &Keyring, [issuer, audience]: [&str; 2], now: Duration) -> Option<Self> {
        let signed = keys.public().verify(token).ok()?;
        let claims: Self = Signed::typed(signed.claims)?;
        let fits = signed.typ.as_deref() == Some(TYPE)
            && claims.iss == issuer
            && claims.aud == audience
            && Duration::from_secs(claims.exp) > now;
        fits.then_some(claims)
    }
}

/// A name that no other token has.
#[must_use]
pub fn new_id() -> String {
    let mut random = [0; 16];
    rand::fill(&mut random).expect("the system's random source works");
    BASE64URL_NOPAD.encode(&random)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const ISSUER: &str = "https://valet.example.com";
    const RELAY: &str = "https://valet.example.com/api/v1";

    fn claims() -> Claims {
        Claims {
            iss: "https://valet.example.com".into(),
            sub: "alice".into(),
            aud: RELAY.into(),
            client_id: "page".into(),
            iat: NOW.as_secs(),
            exp: NOW.as_secs() + 60,
            jti: new_id(),
            scope: "transcribe".into(),
            subject: Some(Subject { issuer: Some("https://login.example.com".into()), name: "alice".into() }),
            proof: "0123".into(),
            models: vec!["fun-asr".into()],
            file_hosts: None,
            urls: 10,
        }
    }

    #[test]
    fn a_token_says_what_was_signed_until_it_expires() {
        let keys = Keyring::generate(NOW);
        let token = claims().sign(&keys, NOW);
        let read = |keys: &Keyring, seconds| {
            Claims::verify(token.expose_secret(), keys, [ISSUER, RELAY], NOW + Duration::from_secs(seconds))
        };
        let said = read(&keys, 59).unwrap();
        assert_eq!(Claims { jti: String::new(), ..said }, Claims { jti: String::new(), ..claims() });
        assert_eq!(read(&keys, 60), None);
        assert!(read(&keys.rotated(NOW), 0).is_some(), "a rotation withdraws nothing");
        assert_eq!(read(&Keyring::generate(NOW), 0), None, "keys of another broker");
        let other = "https://other.example.com";
        for from_or_for_others in [[other, RELAY], [ISSUER, &format!("{other}/api/v1")]] {
            assert_eq!(Claims::verify(token.expose_secret(), &keys, from_or_for_others, NOW), None);
        }
    }
}
