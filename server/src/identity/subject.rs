//! Subject tokens: ID and access tokens by which an identity provider vouches for an app's user.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    Vouched,
    assertion::{Fault, times},
    keys::Keys,
};
use crate::{
    config::{SubjectTokens, TokenKind},
    jwt::{Claims, Signed},
};

/// The longest `sub` (OpenID Connect Core §2: 255 ASCII characters), in bytes.
const LONGEST_SUBJECT: usize = 255;

/// Why a token of another kind is not accepted.
pub(super) const OTHER_KIND: Fault = "typ: is another kind of token than this app accepts";

/// An end user.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Subject {
    /// Who vouches for it; `None` if the app itself does.
    pub issuer: Option<Arc<str>>,
    /// Its name with whoever vouches.
    pub name: Box<str>,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The tokens of one issuer that an app accepts, and the keys they are signed with.
#[derive(Debug)]
pub(super) struct Accepted {
    rules: SubjectTokens,
    pub(super) keys: Keys,
    issuer: Arc<str>,
}

impl Accepted {
    pub(super) fn new(rules: &SubjectTokens, keys: Keys) -> Self {
        Self { issuer: rules.issuer.as_str().into(), rules: rules.clone(), keys }
    }

    /// Whether a token claims to be one of these: which is to be proved yet.
    pub(super) fn is_claimed_by(&self, claims: &Claims) -> bool {
        let audiences = claims.audiences().unwrap_or_default();
        // Of several audiences the first party's counts (OpenID Connect Core §3.1.3.7).
        let is_first_party = self.rules.kind == TokenKind::Access
            || audiences.len() == 1
            || claims.text("azp") == Some(&self.rules.audience);
        claims.text("iss") == Some(&self.rules.issuer)
            && audiences.contains(&self.rules.audience.as_str())
            && is_first_party
            && self.rules.claims.iter().all(|(name, values)| claims.is_any(name, values))
    }

    /// Whether a token is of the kind that is accepted.
    pub(super) fn is_kind(&self, typ: Option<&str>) -> bool {
        match self.rules.kind {
            TokenKind::Id => matches!(typ, None | Some("jwt")),
            TokenKind::Access => typ == Some("at+jwt"),
        }
    }

    /// Checks all but the signature. Returns for whom it vouches, and until when.
    pub(super) fn check(&self, signed: &Signed, now: Duration) -> Result<Vouched, Fault> {
        let Signed { typ, claims } = signed;
        if !self.is_kind(typ.as_deref()) {
            return Err(OTHER_KIND);
        }
        // A notice that something happened, as of a logout, is signed by the same issuer for the same audience,
        // and has the user's name in it (RFC 8417 §4).
        if claims.has("events") {
            return Err("events: is a notice of an event, not the token of a user");
        }
        if !self.is_claimed_by(claims) {
            return Err("iss, aud: is not for this app");
        }
        let expires = times(claims, now)?;
        let name = claims.text("sub").filter(|name| {
            (1..=LONGEST_SUBJECT).contains(&name.len()) && !name.chars().any(char::is_control)
        });
        let name = name.ok_or("sub: is missing, empty or too long")?;
        let subject = Subject { issuer: Some(self.issuer.clone()), name: name.into() };
        Ok(Vouched { subject, until: Duration::from_secs_f64(expires) })
    }
}
