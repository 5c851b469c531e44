//! Sealed, so that whoever can read or write the shared state can neither read a token nor pass it off as another.
//!
//! AES-256-GCM-SIV (RFC 8452): a nonce that is drawn twice gives away only whether the same was sealed twice.

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{SHA256, digest},
    rand,
};
use secrecy::zeroize::Zeroizing;

use crate::config::SealingKey;

const VERSION: u8 = 1;
/// The start of the hash of a key's id.
const KEY_NAME: usize = 8;
const HEAD: usize = 1 + KEY_NAME;

/// The keys: the first seals, all of them open.
pub(super) struct Seals {
    keys: Vec<([u8; KEY_NAME], LessSafeKey)>,
    of: Vec<SealingKey>,
    edition: u64,
}

impl Seals {
    pub(super) fn new(keys: &[SealingKey]) -> Self {
        let of = keys.to_vec();
        Self { keys: keys.iter().map(|key| (name(&key.id), cipher(key))).collect(), of, edition: 1 }
    }

    /// What takes the place of these; `None` if the keys are the same.
    pub(super) fn followed_by(&self, keys: &[SealingKey]) -> Option<Self> {
        (self.of != keys).then(|| Self { edition: self.edition + 1, ..Self::new(keys) })
    }

    /// Tells these from those before them; never 0.
    pub(super) fn edition(&self) -> u64 {
        self.edition
    }

    /// Seals `content` for the one place that `place` names.
    pub(super) fn seal(&self, place: &[u8], content: &[u8]) -> Vec<u8> {
        let (name, cipher) = self.keys.first().expect("the configuration has at least one key");
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).expect("the system's random source works");
        let head = [&[VERSION][..], name].concat();
        let mut sealed = content.to_vec();
        let aad = Aad::from(bound(&head, place));
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        cipher.seal_in_place_append_tag(nonce_used, aad, &mut sealed).expect("a token is short");
        [&head[..], &nonce, &sealed].concat()
    }

    /// What was sealed for this place; `None` if it was for another, or by a key that is not among these, or altered.
    pub(super) fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (head, rest) = sealed.split_at_checked(HEAD)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let name = head.strip_prefix(&[VERSION])?;
        let (_, cipher) = self.keys.iter().find(|(known, _)| known == name)?;
        let mut content = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(nonce.try_into().ok()?);
        let length = cipher.open_in_place(nonce, Aad::from(bound(head, place)), &mut content).ok()?.len();
        content.truncate(length);
        Some(content)
    }
}

fn bound(head: &[u8], place: &[u8]) -> Vec<u8> {
    [head, place].concat()
}

fn name(id: &str) -> [u8; KEY_NAME] {
    digest(&SHA256, id.as_bytes()).as_ref()[..KEY_NAME].try_into().expect("SHA-256 has 32 bytes")
}

/// The operator's secret is of any form; the cipher's key is its hash, under a label of its own.
fn cipher(key: &SealingKey) -> LessSafeKey {
    let text = Zeroizing::new(format!("valet shared tokens 1 {}", key.secret.expose()));
    let derived = digest(&SHA256, text.as_bytes());
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, derived.as_ref()).expect("it has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretText;

    fn key(id: &str, secret: &str) -> SealingKey {
        SealingKey { id: id.into(), secret: SecretText::parse(secret, &(1..=100)).unwrap() }
    }

    #[test]
    fn what_is_sealed_opens_in_its_own_place_only() {
        let seals = Seals::new(&[key("1", "a secret")]);
        let sealed = seals.seal(b"here", b"st-token");
        assert_eq!(seals.open(b"here", &sealed).unwrap().as_slice(), b"st-token");
        assert!(seals.open(b"there", &sealed).is_none());
        assert_ne!(seals.seal(b"here", b"st-token"), sealed);
        assert!(!sealed.windows(8).any(|part| part == b"st-token"));
    }

    #[test]
    fn any_altered_byte_and_any_cut_is_noticed() {
        let seals = Seals::new(&[key("1", "a secret")]);
        let sealed = seals.seal(b"here", b"st-token");
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert!(seals.open(b"here", &altered).is_none(), "byte {place}");
            assert!(seals.open(b"here", &sealed[..place]).is_none(), "cut at {place}");
        }
    }

    #[test]
    fn keys_rotate_with_an_overlap() {
        let (old, new) = (key("1", "a secret"), key("2", "another"));
        let before = Seals::new(std::slice::from_ref(&old)).seal(b"here", b"st-1");
        let both = Seals::new(&[new.clone(), old]);
        let after = both.seal(b"here", b"st-2");
        assert!(both.open(b"here", &before).is_some());
        let next = Seals::new(&[new]);
        assert!(next.open(b"here", &after).is_some() && next.open(b"here", &before).is_none());
    }

    #[test]
    fn another_secret_under_the_same_id_opens_nothing() {
        let sealed = Seals::new(&[key("1", "a secret")]).seal(b"here", b"st-1");
        assert!(Seals::new(&[key("1", "another")]).open(b"here", &sealed).is_none());
    }
}
