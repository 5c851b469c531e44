//! Public keys as JWK sets have them (RFC 7517), each for its one algorithm.

use std::fmt;

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Signed, Unsigned, header, kind};

/// The most keys that a set may have.
const MOST_KEYS: usize = 64;
/// An RSA modulus has at least so many bytes (RFC 7518 §3.3: 2048 bits).
const LEAST_MODULUS: usize = 256;

/// Public keys, each with its one algorithm.
#[derive(Clone)]
pub struct KeySet(Vec<PublicKey>);

#[derive(Clone)]
struct PublicKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
    jwk: Jwk,
}

/// A set as it stands there.
#[derive(Deserialize)]
struct Listed {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a JWK set that somebody wrote down for us. Keys that cannot verify a token (of other types, for
    /// encryption) are left out.
    ///
    /// # Errors
    /// What is wrong with it, or with one of its keys.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let keys = listed(json)?.iter().map(PublicKey::of).collect::<Result<Vec<_>, _>>()?;
        Self::of(keys.into_iter().flatten().collect())
    }

    /// Reads a JWK set that an issuer publishes for everybody. A key that is not understood, or ill, is left out
    /// (RFC 7517 §5): it is not for us, and takes nothing away from those beside it.
    ///
    /// # Errors
    /// What is wrong with it, if no key is left.
    pub fn published(json: &[u8]) -> Result<Self, String> {
        let (mut keys, mut problem) = (Vec::new(), None);
        for key in listed(json)? {
            match PublicKey::of(&key) {
                Ok(key) => keys.extend(key),
                Err(ill) => problem = problem.or(Some(ill)),
            }
        }
        match problem {
            Some(problem) if keys.is_empty() => Err(problem),
            _ => Self::of(keys),
        }
    }

    fn of(keys: Vec<PublicKey>) -> Result<Self, String> {
        for (place, key) in keys.iter().enumerate() {
            let is_same = |other: &PublicKey| other.id == key.id && other.algorithm == key.algorithm;
            if let Some(id) = &key.id
                && keys[..place].iter().any(is_same)
            {
                return Err(format!("has two keys called {id:?}"));
            }
        }
        if keys.is_empty() {
            return Err("has no public key that verifies signatures".into());
        }
        Ok(Self(keys))
    }

    /// Checks the signature of `token`.
    ///
    /// # Errors
    /// Why it is not signed by a key of this set.
    pub fn verify(&self, token: &str) -> Result<Signed, Unsigned> {
        let header = header(token)?;
        let key = match &header.kid {
            Some(id) => self.called(id, header.alg)?,
            None => self.only(header.alg).ok_or(Unsigned::UnknownKey)?,
        };
        // Claims are checked by whoever knows the rules, and by another clock than the system's.
        let mut validation = Validation::new(key.algorithm);
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        let data =
            jsonwebtoken::decode(token, &key.key, &validation).map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::Json(_) => Unsigned::Malformed,
                _ => Unsigned::Signature,
            })?;
        Ok(Signed { typ: header.typ.as_deref().map(kind), claims: data.claims })
    }

    /// The key of a name; those who share one are told apart by their algorithms (RFC 7517 §4.5).
    fn called(&self, id: &str, algorithm: Algorithm) -> Result<&PublicKey, Unsigned> {
        let mut called = self.0.iter().filter(|key| key.id.as_deref() == Some(id)).peekable();
        called.peek().ok_or(Unsigned::UnknownKey)?;
        called.find(|key| key.algorithm == algorithm).ok_or(Unsigned::Algorithm)
    }

    /// The key for a token that names none: there must be no choice.
    fn only(&self, algorithm: Algorithm) -> Option<&PublicKey> {
        let mut fits = self.0.iter().filter(|key| key.algorithm == algorithm);
        let first = fits.next();
        first.filter(|_| fits.next().is_none())
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|key| &key.jwk).eq(other.0.iter().map(|key| &key.jwk))
    }
}

/// All of each key, and not its name alone: two sets look the same only if they are. They are public.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.jwk)).finish()
    }
}

impl PublicKey {
    /// `None` of a key that is for something else.
    fn of(value: &Value) -> Result<Option<Self>, String> {
        let jwk = Jwk::deserialize(value).map_err(|error| format!("has a key that is none: {error}"))?;
        let common = &jwk.common;
        let is_for_others = common.public_key_use.as_ref().is_some_and(|it| *it != PublicKeyUse::Signature)
            || common.key_operations.as_ref().is_some_and(|them| !them.contains(&KeyOperations::Verify));
        if is_for_others {
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
        if value.get("d").is_some() {
            return Err("has a private key: give its public half alone, and make another".into());
        }
        let key = DecodingKey::from_jwk(&jwk).map_err(|error| format!("has a key that is none: {error}"))?;
        Ok(Some(Self { id: common.key_id.clone(), algorithm, key, jwk }))
    }
}

fn listed(json: &[u8]) -> Result<Vec<Value>, String> {
    let Listed { keys } =
        serde_json::from_slice(json).map_err(|error| format!("is no JWK set (RFC 7517): {error}"))?;
    if keys.len() > MOST_KEYS { Err(format!("has more than {MOST_KEYS} keys")) } else { Ok(keys) }
}
