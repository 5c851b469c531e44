//! Keys that sign tokens, well or ill: whatever stands in the header, these bytes are signed.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value, json};

/// A private key, and the name it is published by.
pub(crate) struct Signer {
    pub(crate) id: String,
    key: Key,
}

enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl Signer {
    pub(crate) fn es256(id: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { id: id.to_owned(), key: Key::Es256(key) }
    }

    pub(crate) fn eddsa(id: &str) -> Self {
        Self { id: id.to_owned(), key: Key::EdDsa(Ed25519KeyPair::generate().unwrap()) }
    }

    pub(crate) fn rs256(id: &str) -> Self {
        Self { id: id.to_owned(), key: Key::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()) }
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Es256(_) => "ES256",
            Key::EdDsa(_) => "EdDSA",
            Key::Rs256(_) => "RS256",
        }
    }

    /// The public key (RFC 7517).
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            Key::Es256(key) => {
                // Uncompressed: 0x04, x, y.
                let point = key.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]) })
            }
            Key::EdDsa(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref()) })
            }
            Key::Rs256(key) => {
                let public = key.public_key();
                let number = |number: &[u8]| encode(number);
                json!({
                    "kty": "RSA",
                    "n": number(public.modulus().big_endian_without_leading_zero()),
                    "e": number(public.exponent().big_endian_without_leading_zero()),
                })
            }
        };
        jwk["kid"] = json!(self.id);
        jwk["alg"] = json!(self.algorithm());
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public key as an inline table of TOML.
    pub(crate) fn toml(&self) -> String {
        let fields = self.jwk();
        let fields = fields.as_object().unwrap().iter().map(|(name, value)| format!("{name} = {value}"));
        format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
    }

    /// A token with an ordinary header.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({ "alg": self.algorithm(), "typ": "JWT", "kid": self.id }), claims)
    }

    /// A token with any header.
    pub(crate) fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let signature = self.signature(signed.as_bytes());
        format!("{signed}.{}", encode(&signature))
    }

    /// A token with a header as it is written there, which may be no JSON that anything would write.
    pub(crate) fn sign_text(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let signature = self.signature(signed.as_bytes());
        format!("{signed}.{}", encode(&signature))
    }

    /// Tokens whose HMAC is right, if what everybody knows of this key were a secret.
    pub(crate) fn confused(&self, header: &Value, claims: &Value) -> Vec<String> {
        let known = match &self.key {
            Key::Es256(key) => key.public_key().as_ref().to_vec(),
            Key::EdDsa(key) => key.public_key().as_ref().to_vec(),
            Key::Rs256(key) => key.public_key().as_ref().to_vec(),
        };
        let secrets = [known, self.jwk().to_string().into_bytes(), self.id.clone().into_bytes(), Vec::new()];
        let signed = unsigned(header, claims);
        let by = |secret: &Vec<u8>| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            format!("{signed}.{}", encode(hmac::sign(&key, signed.as_bytes()).as_ref()))
        };
        secrets.iter().map(by).collect()
    }

    fn signature(&self, text: &[u8]) -> Vec<u8> {
        match &self.key {
            Key::Es256(key) => key.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec(),
            Key::EdDsa(key) => key.sign(text).as_ref().to_vec(),
            Key::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).unwrap();
                signature
            }
        }
    }
}

/// Header and claims of a token, without a signature.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()))
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

/// Claims with others in their place; `null` takes one away.
#[expect(clippy::needless_pass_by_value, reason = "it reads as a literal where it is called")]
pub(crate) fn with(claims: &Value, others: Value) -> Value {
    let mut claims: Map<String, Value> = claims.as_object().unwrap().clone();
    for (name, value) in others.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.remove(name)),
            value => drop(claims.insert(name.clone(), value.clone())),
        }
    }
    Value::Object(claims)
}
