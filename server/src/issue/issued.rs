//! A token on its way to the one who asked.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    admission::Now,
    config::Mode,
    identity::Subject,
    policy::{RelayGrant, SCOPE},
    relay_token::{self, Claims},
    site::{Entry, Form, Site, whole_seconds_left},
    token::{LiveToken, Upstream},
};
/// A token, on its way to the one who asked.
pub struct Issued<'s> {
    token: Token<'s>,
    expires_in: u64,
    entry: &'s Entry,
    now: Now,
}

/// What is handed out.
enum Token<'s> {
    Direct { token: LiveToken, upstream: &'s Upstream },
    Relay { token: SecretString, expires_at: u64, base_url: String },
}

/// What a success body can say.
pub struct Answer<'s> {
    /// The token itself.
    pub token: &'s str,
    /// The life it has left, in whole seconds.
    pub expires_in: u64,
    /// When it expires, in Unix seconds.
    pub expires_at: u64,
    /// Where it works.
    pub base_url: &'s str,
    /// What kind of token it is.
    pub mode: Mode,
    /// The status queries a second that its holder may make; the relay itself says when it is too much.
    pub queries_per_second: Option<f64>,
}

impl<'s> Issued<'s> {
    /// A token of the upstream's.
    pub(super) fn direct(token: LiveToken, upstream: &'s Upstream, entry: &'s Entry, now: Now) -> Self {
        let expires_in = whole_seconds_left(&token, now.instant);
        Self { token: Token::Direct { token, upstream }, expires_in, entry, now }
    }

    /// A relay token, signed now.
    pub(super) fn relay(grant: &RelayGrant, site: &Site, entry: &'s Entry, now: Now) -> Self {
        let keys = site.keyring().expect("a site with an app of the relay has keys");
        let claims = claims(grant, site, now.unix);
        let token =
            Token::Relay { token: claims.sign(keys, now.unix), expires_at: claims.exp, base_url: claims.aud };
        Self { token, expires_in: claims.exp - claims.iat, entry, now }
    }

    /// The success body of a form; `render` is called at most once a second for each app and form.
    pub fn body(&self, form: Form, render: impl FnOnce(&Answer<'_>) -> Vec<u8>) -> Bytes {
        let expires_in = self.expires_in;
        match &self.token {
            Token::Direct { token, upstream } => self.entry.prepared.body(form, token, expires_in, || {
                // Two decimals are enough to obey.
                let share = (upstream.queries_per_second(self.now.instant) * 100.0).round() / 100.0;
                render(&Answer {
                    token: token.bearer().expose(),
                    expires_in,
                    expires_at: (self.now.unix + token.remaining(self.now.instant)).as_secs(),
                    base_url: upstream.base_url(),
                    mode: Mode::Direct,
                    queries_per_second: Some(share),
                })
            }),
            Token::Relay { token, expires_at, base_url } => Bytes::from(render(&Answer {
                token: token.expose_secret(),
                expires_in,
                expires_at: *expires_at,
                base_url,
                mode: Mode::Relay,
                queries_per_second: None,
            })),
        }
    }

    /// Whether its app has pages that may read it.
    #[must_use]
    pub fn is_for_pages(&self) -> bool {
        self.entry.policy.has_pages()
    }

    /// The life that is left, in whole seconds.
    pub(super) fn expires_in(&self) -> u64 {
        self.expires_in
    }

    /// The life that is left.
    pub(super) fn remaining(&self) -> Duration {
        match &self.token {
            Token::Direct { token, .. } => token.remaining(self.now.instant),
            Token::Relay { .. } => Duration::from_secs(self.expires_in),
        }
    }

    /// The upstream token, if it is one.
    pub(super) fn minted(&self) -> Option<&LiveToken> {
        match &self.token {
            Token::Direct { token, .. } => Some(token),
            Token::Relay { .. } => None,
        }
    }

    /// The SHA-256 of the token.
    pub(super) fn sha256(&self) -> [u8; 32] {
        match &self.token {
            Token::Direct { token, .. } => token.sha256(),
            Token::Relay { token, .. } => sha256(token.expose_secret()),
        }
    }
}

/// The SHA-256 of a token, by which the audit trail knows it.
pub(super) fn sha256(token: &str) -> [u8; 32] {
    digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// What a relay token says: no more than was granted, and no longer than the identity lasts.
fn claims(grant: &RelayGrant, site: &Site, now: Duration) -> Claims {
    let end = now + grant.lifetime.duration();
    let end = grant.until.map_or(end, |until| until.min(end));
    let (iat, exp) = (now.as_secs(), end.as_secs());
    Claims {
        iss: site.issuer.clone(),
        sub: sub(&grant.app, grant.subject.as_ref()),
        aud: site.relay_url(),
        client_id: grant.app.to_string(),
        iat,
        // Of an identity that has ended within the leeway of its own clock there is nothing left.
        exp: exp.max(iat),
        jti: relay_token::new_id(),
        scope: SCOPE.to_owned(),
        subject: grant.subject.as_ref().map(|subject| relay_token::Subject {
            issuer: subject.issuer.as_deref().map(str::to_owned),
            name: subject.name.to_string(),
        }),
        proof: grant.proof.to_string(),
        models: grant.scope.models.clone(),
        file_hosts: grant.scope.file_hosts.clone(),
        urls: grant.scope.urls,
    }
}

/// A name of whom a token is for. The encoded name of a user has neither `/` nor `#`, an app's id neither: so no
/// two are the same.
fn sub(app: &str, subject: Option<&Subject>) -> String {
    let Some(Subject { issuer, name }) = subject else { return app.to_owned() };
    let name = utf8_percent_encode(name, UNRESERVED);
    issuer.as_deref().map_or_else(|| format!("{app}/{name}"), |issuer| format!("{issuer}#{name}"))
}

/// All but the unreserved characters of a URI (RFC 3986 §2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
