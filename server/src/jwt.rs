//! JSON Web Tokens (RFC 7519) and the public keys that they are verified with (RFC 7517). Knows no one's
//! rules but those of signatures: one algorithm a key, and none that shares a secret.

use std::fmt;

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The longest token that is looked at, in bytes.
pub const LONGEST: usize = 8192;
/// The most keys that a set may have.
const MOST_KEYS: usize = 64;
/// An RSA modulus has at least so many bytes (RFC 7518 §3.3: 2048 bits).
const LEAST_MODULUS: usize = 256;

/// The algorithms that a key can be for (RFC 7518 §3.1, RFC 8037): none with a shared secret.
pub const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// Public keys, each with its one algorithm.
#[derive(Clone)]
pub struct KeySet {
    set: JwkSet,
    keys: Vec<PublicKey>,
}

#[derive(Clone)]
struct PublicKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// A token whose signature is right: what it says of itself, and nothing else is known.
#[derive(Debug)]
pub struct Signed {
    /// The kind of token (RFC 8725 §3.11), in lower case and without `application/`.
    pub typ: Option<String>,
    /// Its claims.
    pub claims: Claims,
}

/// The claims of a token, read by name and type.
#[derive(Debug)]
pub struct Claims(Map<String, Value>);

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

impl KeySet {
    /// Reads a JWK set. Keys that cannot verify a token (of other types, for encryption) are left out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let set: JwkSet =
            serde_json::from_slice(json).map_err(|error| format!("is no JWK set (RFC 7517): {error}"))?;
        if set.keys.len() > MOST_KEYS {
            return Err(format!("has more than {MOST_KEYS} keys"));
        }
        let mut keys: Vec<PublicKey> = Vec::new();
        for jwk in &set.keys {
            let Some(key) = PublicKey::of(jwk)? else { continue };
            if key.id.is_some() && keys.iter().any(|other| other.id == key.id) {
                return Err(format!("has two keys called {:?}", key.id.unwrap_or_default()));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err("has no public key that verifies signatures".into());
        }
        Ok(Self { set, keys })
    }

    /// Checks the signature of `token`.
    ///
    /// # Errors
    /// Why it is not signed by a key of this set.
    pub fn verify(&self, token: &str) -> Result<Signed, Unsigned> {
        let header = header(token)?;
        let key = match &header.kid {
            Some(id) => self.keys.iter().find(|key| key.id.as_ref() == Some(id)),
            None => self.only(header.alg),
        };
        let key = key.ok_or(Unsigned::UnknownKey)?;
        if key.algorithm != header.alg {
            return Err(Unsigned::Algorithm);
        }
        // Claims are checked by whoever knows the rules, and by another clock than the system's.
        let mut validation = Validation::new(key.algorithm);
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        let data = jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &validation)
            .map_err(|_| Unsigned::Signature)?;
        let typ = header.typ.map(|typ| typ.to_ascii_lowercase());
        let typ = typ.map(|typ| typ.strip_prefix("application/").map_or(typ.clone(), str::to_owned));
        Ok(Signed { typ, claims: Claims(data.claims) })
    }

    /// The key for a token that names none: there must be no choice.
    fn only(&self, algorithm: Algorithm) -> Option<&PublicKey> {
        let mut fits = self.keys.iter().filter(|key| key.algorithm == algorithm);
        let first = fits.next();
        first.filter(|_| fits.next().is_none())
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.set == other.set
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| (&key.id, key.algorithm))).finish()
    }
}

impl PublicKey {
    /// `None` of a key that is for something else.
    fn of(jwk: &Jwk) -> Result<Option<Self>, String> {
        let common = &jwk.common;
        if common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
            return Ok(None);
        }
        let natural = match &jwk.algorithm {
            AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
                EllipticCurve::P256 => Algorithm::ES256,
                EllipticCurve::P384 => Algorithm::ES384,
                _ => return Ok(None),
            },
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDSA
            }
            AlgorithmParameters::RSA(rsa) => {
                // Base64 without padding: four characters for three bytes.
                if rsa.n.len() / 4 * 3 + rsa.n.len() % 4 < LEAST_MODULUS {
                    return Err("has an RSA key of less than 2048 bits".into());
                }
                Algorithm::RS256
            }
            _ => return Ok(None),
        };
        let algorithm = match common.key_algorithm {
            None => natural,
            Some(named) => match (named, natural) {
                (KeyAlgorithm::RS256, Algorithm::RS256) => Algorithm::RS256,
                (KeyAlgorithm::RS384, Algorithm::RS256) => Algorithm::RS384,
                (KeyAlgorithm::RS512, Algorithm::RS256) => Algorithm::RS512,
                (KeyAlgorithm::PS256, Algorithm::RS256) => Algorithm::PS256,
                (KeyAlgorithm::PS384, Algorithm::RS256) => Algorithm::PS384,
                (KeyAlgorithm::PS512, Algorithm::RS256) => Algorithm::PS512,
                (KeyAlgorithm::ES256, Algorithm::ES256) => Algorithm::ES256,
                (KeyAlgorithm::ES384, Algorithm::ES384) => Algorithm::ES384,
                (KeyAlgorithm::EdDSA, Algorithm::EdDSA) => Algorithm::EdDSA,
                _ => return Ok(None),
            },
        };
        let key = DecodingKey::from_jwk(jwk).map_err(|error| format!("has a key that is none: {error}"))?;
        Ok(Some(Self { id: common.key_id.clone(), algorithm, key }))
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
///
/// # Errors
/// If it is no token.
pub fn unverified(token: &str) -> Result<Claims, Unsigned> {
    header(token)?;
    jsonwebtoken::dangerous::insecure_decode_claims(token).map(Claims).map_err(|_| Unsigned::Malformed)
}

/// A claim that should be a time is none.
#[derive(Clone, Copy, Debug)]
pub struct NoTime;

impl Claims {
    /// All of them, as `T` has them.
    #[must_use]
    pub fn typed<T: DeserializeOwned>(self) -> Option<T> {
        serde_json::from_value(Value::Object(self.0)).ok()
    }

    /// A claim that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A claim that is a time, in Unix seconds (RFC 7519, *NumericDate*).
    ///
    /// # Errors
    /// If it is there and no time.
    pub fn time(&self, name: &str) -> Result<Option<f64>, NoTime> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        value.as_f64().filter(|time| time.is_finite() && *time >= 0.0).map(Some).ok_or(NoTime)
    }

    /// Whether a claim is one of `values`, or a list with one of them.
    #[must_use]
    pub fn is_any(&self, name: &str, values: &[String]) -> bool {
        let fits = |value: &Value| match value {
            Value::String(text) => values.contains(text),
            Value::Bool(truth) => values.contains(&truth.to_string()),
            Value::Number(number) => values.contains(&number.to_string()),
            _ => false,
        };
        match self.0.get(name) {
            Some(Value::Array(items)) => items.iter().any(fits),
            Some(value) => fits(value),
            None => false,
        }
    }

    /// The audiences (RFC 7519 §4.1.3): text, or a list of it; `None` if it is something else.
    #[must_use]
    pub fn audiences(&self) -> Option<Vec<&str>> {
        match self.0.get("aud")? {
            Value::String(one) => Some(vec![one]),
            Value::Array(several) => several.iter().map(Value::as_str).collect(),
            _ => None,
        }
    }
}
