//! Random identifiers and secrets, and fingerprints that name a secret without giving it away.

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};
use data_encoding::HEXLOWER;

/// A short name for a key or token: the first 16 hexadecimal digits of its SHA-256.
#[must_use]
pub fn fingerprint(secret: &str) -> String {
    HEXLOWER.encode(&hash(secret)[..8])
}

/// The SHA-256 of a secret, by which it is looked up: no comparison then depends on the secret itself.
pub(crate) fn hash(secret: &str) -> [u8; 32] {
    digest(&SHA256, secret.as_bytes()).as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

/// 256 random bits behind a prefix, in hexadecimal.
pub(crate) fn secret(prefix: &str) -> String {
    format!("{prefix}{}", HEXLOWER.encode(&random::<32>()))
}

/// A random UUID (RFC 9562, version 4): request ids and task ids look like one.
pub(crate) fn uuid() -> String {
    let mut bytes = random::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = HEXLOWER.encode(&bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system's source of randomness does not fail once it is seeded");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_looks_like_a_uuid() {
        let id = uuid();
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&id[14..15], "4");
        assert_ne!(id, uuid());
    }

    #[test]
    fn a_fingerprint_is_stable_and_hides_the_secret() {
        // The SHA-256 of "abc" (FIPS 180-2, appendix B.1) begins with these digits.
        assert_eq!(fingerprint("abc"), "ba7816bf8f01cfea");
    }
}
