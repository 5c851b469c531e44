//! Secrets as types: parsed, redacted in `Debug`, zeroed on drop, exposed by one named method each.

use std::fmt;

use aws_lc_rs::{constant_time, digest, rand};
use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretString};

/// What every app secret begins with, so that people and secret scanners recognise one.
const APP_SECRET_PREFIX: &str = "vas_";
/// 43 characters of base 62 hold 256 bits.
const APP_SECRET_RANDOM: usize = 43;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// An app's own secret: `vas_`, 43 random characters, and 6 that check them.
///
/// It has 256 bits of entropy, so a plain SHA-256 is a safe way to keep it: there is no dictionary
/// to try, and a slow hash would only let callers make the broker work.
pub struct AppSecret(SecretString);

impl AppSecret {
    /// A new secret from the system's random source.
    #[must_use]
    pub fn generate() -> Self {
        let mut text = String::with_capacity(64);
        text.push_str(APP_SECRET_PREFIX);
        while text.len() < APP_SECRET_PREFIX.len() + APP_SECRET_RANDOM {
            let mut bytes = [0; 64];
            rand::fill(&mut bytes).expect("the system's random source works");
            let wanted = APP_SECRET_PREFIX.len() + APP_SECRET_RANDOM - text.len();
            // 248 is the largest multiple of 62 in a byte: beyond it some characters would be likelier.
            text.extend(bytes.iter().filter(|b| **b < 248).take(wanted).map(|b| base62(u64::from(*b))));
        }
        let check = checksum(&text);
        text.push_str(&check);
        Self(text.into())
    }

    /// The secret itself, to be shown once to the one who asked for it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What the configuration keeps of it.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(self.expose().as_bytes())
    }
}

impl fmt::Debug for AppSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppSecret(…)")
    }
}

/// Six characters of base 62 over the SHA-256 of what stands before them: a scanner that finds a
/// candidate can tell a secret from a look-alike without asking anyone.
fn checksum(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let mut number = u64::from_be_bytes(digest.as_ref()[..8].try_into().expect("SHA-256 has 32 bytes"));
    (0..6)
        .map(|_| {
            let digit = base62(number);
            number /= 62;
            digit
        })
        .collect()
}

fn base62(number: u64) -> char {
    let index = usize::try_from(number % 62).expect("below 62");
    char::from(BASE62[index])
}

/// The SHA-256 of an app secret, all that the broker keeps of it.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash of no known secret: something to compare with where there is no hash.
    pub const NONE: Self = Self([0; 32]);

    /// The hash of a secret as it was presented.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        Self(sha256(secret))
    }

    /// A hash as it stands in the configuration: `sha256:` and 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(text.strip_prefix("sha256:")?.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Whether the two are equal, in a time that does not depend on where they differ.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        #[cfg(test)]
        COMPARISONS.with(|count| count.set(count.get() + 1));
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}…", HEXLOWER.encode(&self.0[..4]))
    }
}

/// The key that an audit trail is signed with.
#[derive(Clone)]
pub struct AuditKey(SecretString);

impl AuditKey {
    /// The fewest and the most characters it may have.
    pub const LENGTHS: std::ops::RangeInclusive<usize> = 32..=1024;

    /// A new key from the system's random source.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).expect("the system's random source works");
        Self(HEXLOWER.encode(&bytes).into())
    }

    /// `None` if it is too short to be random enough, or too long to be a key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::LENGTHS.contains(&text.len()).then(|| Self(text.into()))
    }

    /// The key itself, for whoever signs.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for AuditKey {
    fn eq(&self, other: &Self) -> bool {
        sha256(self.expose().as_bytes()) == sha256(other.expose().as_bytes())
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditKey(…)")
    }
}

/// A secret of the operator's whose form is his own: a password, or what a key is made of.
#[derive(Clone)]
pub struct SecretText(SecretString);

impl SecretText {
    /// `None` unless it has as many characters as `lengths` allows.
    #[must_use]
    pub fn parse(text: &str, lengths: &std::ops::RangeInclusive<usize>) -> Option<Self> {
        lengths.contains(&text.len()).then(|| Self(text.into()))
    }

    /// The secret itself, for the one place that it is meant for.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for SecretText {
    fn eq(&self, other: &Self) -> bool {
        sha256(self.expose().as_bytes()) == sha256(other.expose().as_bytes())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// The secret of an upstream key (`sk-…`) or of an upstream token (`st-…`): a bearer for DashScope.
#[derive(Clone)]
pub struct Bearer(SecretString);

impl Bearer {
    /// `None` unless it could stand in an `Authorization` header: 1 to 1024 visible ASCII characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=1024).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.into()))
    }

    /// The secret itself, for the `Authorization` header or the token response it belongs in.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Its SHA-256.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        sha256(self.expose().as_bytes())
    }
}

impl PartialEq for Bearer {
    fn eq(&self, other: &Self) -> bool {
        self.sha256() == other.sha256()
    }
}

impl Eq for Bearer {}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(…)")
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
thread_local! {
    static COMPARISONS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// How many hashes this thread has compared: work is counted, not timed.
#[cfg(test)]
pub(crate) fn comparisons() -> u32 {
    COMPARISONS.with(std::cell::Cell::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_secret_checks_itself_and_never_repeats() {
        let (one, two) = (AppSecret::generate(), AppSecret::generate());
        assert_ne!(one.expose(), two.expose());
        let (body, check) = one.expose().split_at(APP_SECRET_PREFIX.len() + APP_SECRET_RANDOM);
        assert!(body.starts_with("vas_"));
        assert_eq!(checksum(body), check);
        assert_eq!(one.expose().len(), 53);
    }

    #[test]
    fn a_hash_survives_the_configuration_and_matches_only_its_secret() {
        let secret = AppSecret::generate();
        let kept = SecretHash::parse(&secret.hash().to_string()).unwrap();
        assert!(kept.matches(&SecretHash::of(secret.expose().as_bytes())));
        assert!(!kept.matches(&SecretHash::of(b"vas_other")));
        assert_eq!(SecretHash::parse("sha256:ab"), None);
    }

    #[test]
    fn no_debug_output_holds_a_secret() {
        let secret = AppSecret::generate();
        let bearer = Bearer::parse("sk-canary").unwrap();
        let shown = format!("{secret:?} {bearer:?} {:?}", secret.hash());
        assert!(!shown.contains(secret.expose()) && !shown.contains("canary"), "{shown}");
    }

    #[test]
    fn a_bearer_that_could_break_a_header_is_refused() {
        for bad in ["", "sk-a b", "sk-\r\nx: y", "sk-é", &"x".repeat(1025)] {
            assert!(Bearer::parse(bad).is_none(), "{bad:?}");
        }
    }
}
