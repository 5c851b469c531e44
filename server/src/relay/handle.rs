//! Handles: task ids and result URLs as they leave the relay, sealed so that only their owner can use them.
//!
//! AES-256-GCM-SIV with one nonce for all: the same content has the same handle each time, which is what is
//! wanted, and that is all that anyone learns (RFC 8452 §1).

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey},
    digest::{SHA256, digest},
};
use data_encoding::BASE64URL_NOPAD;

use crate::keyring::Keyring;
use std::time::Duration;

const VERSION: u8 = 1;
/// The version, and the first bytes of the key's name.
const HEAD: usize = 5;
/// How long a task's handle is good; the upstream forgets tasks after a day.
pub(super) const TASK_LIFE: Duration = Duration::from_secs(72 * 3600);
/// How long a result's is.
const RESULT_LIFE: Duration = Duration::from_secs(600);
/// A handle is no longer than this; a result's holds a signed URL.
const LONGEST: usize = 4096;

/// What a handle is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Task = 1,
    Result = 2,
}

/// A task of the upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct TaskKey {
    /// The account that it is of.
    pub(super) account: String,
    /// Its id there.
    pub(super) id: String,
    /// When it was submitted, in Unix seconds.
    pub(super) submitted: u64,
}

/// A result of the upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ResultKey {
    /// Whose it is, as bytes.
    pub(super) owner: Vec<u8>,
    /// Where it is.
    pub(super) url: String,
    /// Until when the handle is good, in Unix seconds.
    pub(super) until: u64,
}

impl TaskKey {
    /// What it is called where replicas keep what they know of it: it tells nobody the task.
    pub(super) fn name(&self) -> [u8; 16] {
        let bytes = joined(0, &[self.account.as_bytes(), self.id.as_bytes()]);
        digest(&SHA256, &bytes).as_ref()[..16].try_into().expect("SHA-256 has 32 bytes")
    }

    /// The handle that `owner`, as bytes, knows it by.
    pub(super) fn seal(&self, keys: &Keyring, owner: &[u8], now: Duration) -> String {
        let content = joined(self.submitted, &[self.account.as_bytes(), self.id.as_bytes()]);
        seal(keys, Kind::Task, owner, content, now)
    }

    /// The task behind a handle of `owner`'s, unless it is too old.
    pub(super) fn open(keys: &Keyring, owner: &[u8], handle: &str, now: Duration) -> Option<Self> {
        let (submitted, parts) = parted(&open(keys, Kind::Task, owner, handle)?)?;
        let [account, id] = <[Vec<u8>; 2]>::try_from(parts).ok()?;
        let key =
            Self { account: String::from_utf8(account).ok()?, id: String::from_utf8(id).ok()?, submitted };
        (Duration::from_secs(submitted) + TASK_LIFE > now).then_some(key)
    }
}

impl ResultKey {
    /// A result that can be read from now on.
    pub(super) fn new(owner: &[u8], url: &str, now: Duration) -> Self {
        Self { owner: owner.to_vec(), url: url.to_owned(), until: (now + RESULT_LIFE).as_secs() }
    }

    /// Its handle; `None` if it would be longer than one may be.
    pub(super) fn seal(&self, keys: &Keyring, now: Duration) -> Option<String> {
        if self.url.len() > LONGEST {
            return None;
        }
        let content = joined(self.until, &[&self.owner, self.url.as_bytes()]);
        Some(seal(keys, Kind::Result, &[], content, now)).filter(|handle| handle.len() <= LONGEST)
    }

    /// The result behind a handle, unless its time is over.
    pub(super) fn open(keys: &Keyring, handle: &str, now: Duration) -> Option<Self> {
        let (until, parts) = parted(&open(keys, Kind::Result, &[], handle)?)?;
        let [owner, url] = <[Vec<u8>; 2]>::try_from(parts).ok()?;
        let key = Self { owner, url: String::from_utf8(url).ok()?, until };
        (Duration::from_secs(until) > now).then_some(key)
    }
}

fn seal(keys: &Keyring, kind: Kind, owner: &[u8], mut content: Vec<u8>, now: Duration) -> String {
    let (id, key) = keys.sealing(now);
    let head = [&[VERSION][..], &id].concat();
    let aad = Aad::from([&head[..], &[kind as u8], owner].concat());
    cipher(key).seal_in_place_append_tag(nonce(), aad, &mut content).expect("a handle is short");
    BASE64URL_NOPAD.encode(&[head, content].concat())
}

fn open(keys: &Keyring, kind: Kind, owner: &[u8], handle: &str) -> Option<Vec<u8>> {
    if handle.len() > LONGEST {
        return None;
    }
    let bytes = BASE64URL_NOPAD.decode(handle.as_bytes()).ok()?;
    let (head, sealed) = bytes.split_at_checked(HEAD)?;
    let key = keys.sealing_by(head.strip_prefix(&[VERSION])?)?;
    let aad = Aad::from([head, &[kind as u8], owner].concat());
    let mut content = sealed.to_vec();
    let length = cipher(key).open_in_place(nonce(), aad, &mut content).ok()?.len();
    content.truncate(length);
    Some(content)
}

fn cipher(key: [u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &key).expect("it has 32 bytes"))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// A time, and parts, each behind its length.
fn joined(time: u64, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = time.to_be_bytes().to_vec();
    for part in parts {
        bytes.extend(u16::try_from(part.len()).expect("what is sealed is short").to_be_bytes());
        bytes.extend(*part);
    }
    bytes
}

fn parted(bytes: &[u8]) -> Option<(u64, Vec<Vec<u8>>)> {
    let (time, mut rest) = bytes.split_first_chunk::<8>()?;
    let mut parts = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (part, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
        parts.push(part.to_vec());
        rest = after;
    }
    Some((u64::from_be_bytes(*time), parts))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn task() -> TaskKey {
        TaskKey {
            account: "beijing".into(),
            id: "a8532587-fa8c-4ef8-82be-0c46b17950d1".into(),
            submitted: NOW.as_secs(),
        }
    }

    #[test]
    fn a_handle_is_the_same_each_time_and_opens_for_its_owner_alone() {
        let keys = Keyring::generate(NOW);
        let handle = task().seal(&keys, b"alice", NOW);
        assert_eq!(handle, task().seal(&keys, b"alice", NOW));
        assert!(handle.len() <= 256, "{}", handle.len());
        assert_eq!(TaskKey::open(&keys, b"alice", &handle, NOW), Some(task()));
        assert_eq!(TaskKey::open(&keys, b"bob", &handle, NOW), None);
        assert_eq!(ResultKey::open(&keys, &handle, NOW), None, "of another kind");
        assert_eq!(TaskKey::open(&Keyring::generate(NOW), b"alice", &handle, NOW), None);
    }

    #[test]
    fn a_handle_outlives_a_rotation_and_not_its_time() {
        let keys = Keyring::generate(NOW);
        let handle = task().seal(&keys, b"alice", NOW);
        let later = NOW + Duration::from_secs(71 * 3600);
        assert_eq!(TaskKey::open(&keys.rotated(NOW), b"alice", &handle, later), Some(task()));
        assert_eq!(TaskKey::open(&keys, b"alice", &handle, NOW + TASK_LIFE), None);
        let result = ResultKey::new(b"alice", "https://example.com/1.json?Signature=x", NOW);
        let handle = result.seal(&keys, NOW).unwrap();
        assert_eq!(ResultKey::open(&keys, &handle, NOW + Duration::from_secs(599)), Some(result));
        let endless = ResultKey::new(b"alice", &format!("https://example.com/{}", "x".repeat(3100)), NOW);
        assert_eq!(endless.seal(&keys, NOW), None, "nobody could open it");
        assert_eq!(ResultKey::open(&keys, &handle, NOW + RESULT_LIFE), None);
    }

    proptest! {
        #[test]
        fn an_altered_handle_opens_nothing(at in 0_usize..80, flip in 1_u8..=255) {
            let keys = Keyring::generate(NOW);
            let handle = task().seal(&keys, b"alice", NOW);
            let mut bytes = BASE64URL_NOPAD.decode(handle.as_bytes()).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            prop_assert_eq!(TaskKey::open(&keys, b"alice", &BASE64URL_NOPAD.encode(&bytes), NOW), None);
        }

        #[test]
        fn noise_opens_nothing(noise in "[A-Za-z0-9_-]{0,200}|.{0,50}") {
            let keys = Keyring::generate(NOW);
            prop_assert_eq!(TaskKey::open(&keys, b"alice", &noise, NOW), None);
            prop_assert_eq!(ResultKey::open(&keys, &noise, NOW), None);
        }
    }
}
