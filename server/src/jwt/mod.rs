//! JSON Web Tokens (RFC 7519) and the public keys that they are verified with (RFC 7517). Knows no one's
//! rules but those of signatures: one algorithm a key, and none that shares a secret.

mod claims;
mod key_set;

pub use self::{
    claims::{Claims, NoTime},
    key_set::KeySet,
};

/// The longest token that is looked at, in bytes.
pub const LONGEST: usize = 8192;

/// The algorithms that a key can be for (RFC 7518 §3.1, RFC 8037): none with a shared secret.
pub const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// A token whose signature is right: what it says of itself, and nothing else is known.
#[derive(Debug)]
pub struct Signed {
    /// The kind of token (RFC 8725 §3.11), in lower case and without `application/`.
    pub typ: Option<String>,
    /// Its claims.
    pub claims: Claims,
}

/// Why a token is not accepted as signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unsigned {
    /// It is no token, or one with features that are not understood.
    Malformed,
    /// No key of the set is the one that it names.
    UnknownKey,
    /// The key is for another algorithm.
    Algorithm,
    /// The signature is wrong.
    Signature,
}

impl Unsigned {
    /// In words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Malformed => "is no signed JSON Web Token of at most 8192 bytes",
            Self::UnknownKey => "is signed with a key that is not known",
            Self::Algorithm => "is signed by another algorithm than its key is for",
            Self::Signature => "has a wrong signature",
        }
    }
}

/// The head of a token that is no longer than it may be, and asks for nothing that is not understood.
fn header(token: &str) -> Result<jsonwebtoken::Header, Unsigned> {
    if token.len() > LONGEST {
        return Err(Unsigned::Malformed);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| Unsigned::Malformed)?;
    if header.crit.is_some() { Err(Unsigned::Malformed) } else { Ok(header) }
}

/// Whether `text` has the shape of a token; it may still be none.
#[must_use]
pub fn is_like_one(text: &str) -> bool {
    text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// What a token says, before anybody has looked at its signature: good for finding the key, no more.
#[derive(Debug)]
pub struct Unverified {
    /// The kind of token, as of [`Signed`].
    pub typ: Option<String>,
    /// Its claims.
    pub claims: Claims,
}

/// Reads a token without looking at its signature.
///
/// # Errors
/// If it is no token.
pub fn unverified(token: &str) -> Result<Unverified, Unsigned> {
    let typ = header(token)?.typ.as_deref().map(kind);
    let claims = jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| Unsigned::Malformed)?;
    Ok(Unverified { typ, claims })
}

/// A `typ` as it is compared (RFC 7515 §4.1.9).
fn kind(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/").map(str::to_owned).unwrap_or(typ)
}
