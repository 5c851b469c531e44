//! The chain: a signed line after each batch, over all bytes since the one before it. Whoever lacks the
//! key can neither change, drop, add nor reorder a line without breaking the next signature.

use std::{fmt, time::Duration};

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key, sign};
use data_encoding::HEXLOWER;
use serde::Deserialize;

use crate::config::AuditKey;

/// What a line is signed with, and what tokens are named by.
#[derive(Clone)]
pub(super) struct Keys {
    chain: Key,
    token: Key,
}

impl Keys {
    /// One key serves both purposes, each by a key of its own.
    pub(super) fn of(key: &AuditKey) -> Self {
        let root = Key::new(HMAC_SHA256, key.expose().as_bytes());
        let derived = |purpose: &[u8]| Key::new(HMAC_SHA256, sign(&root, purpose).as_ref());
        Self { chain: derived(b"valet audit chain"), token: derived(b"valet audit token") }
    }

    /// The name of a token in the trail: of no use to anyone who has neither the token nor the key.
    pub(super) fn token_name(&self, sha256: &[u8; 32]) -> String {
        HEXLOWER.encode(&sign(&self.token, sha256).as_ref()[..12])
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// A signature: what the next one builds on.
pub(super) type Head = [u8; 32];

/// The chain of one start of one broker.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    keys: Keys,
    instance: String,
    head: Head,
    sequence: u64,
    count: u64,
}

/// What a chain builds on when it opens.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Before {
    /// The last signature there is.
    pub(super) head: Option<Head>,
    /// Why lines may be missing between that and the opening.
    pub(super) gap: Option<String>,
}

impl Chain {
    /// Opens a chain and appends its first line.
    pub(super) fn open(
        keys: Keys,
        instance: &str,
        before: &Before,
        now: Duration,
        text: &mut Vec<u8>,
    ) -> Self {
        let mut chain = Self { keys, instance: instance.to_owned(), head: [0; 32], sequence: 0, count: 0 };
        chain.reopen(before, now, text);
        chain
    }

    /// Appends an opening line: the beginning of a file, or the end of a gap.
    pub(super) fn reopen(&mut self, before: &Before, now: Duration, text: &mut Vec<u8>) {
        let mut line = self.line("open", now);
        let previous =
            before.head.map_or("null".to_owned(), |head| format!("\"{}\"", HEXLOWER.encode(&head)));
        line.push_str(&format!(",\"previous\":{previous}"));
        if let Some(gap) = &before.gap {
            line.push_str(&format!(",\"gap\":{}", serde_json::Value::from(gap.as_str())));
        }
        self.sign(before.head.as_ref(), &line, text, text.len());
    }

    /// Signs `count` lines, the bytes of `text` from `begin` on, and appends the signature to them.
    pub(super) fn close_batch(
        &mut self,
        kind: &'static str,
        count: u64,
        now: Duration,
        text: &mut Vec<u8>,
        begin: usize,
    ) {
        self.count += count;
        let (line, head) = (self.line(kind, now), self.head);
        self.sign(Some(&head), &line, text, begin);
    }

    /// The signature that the next one builds on.
    pub(super) fn head(&self) -> Head {
        self.head
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    fn line(&mut self, kind: &str, now: Duration) -> String {
        let (seconds, millis) = (now.as_secs(), now.subsec_millis());
        let Self { instance, sequence, count, .. } = &*self;
        let line = format!(
            "{{\"time\":{seconds}.{millis:03},\"kind\":\"{kind}\",\"instance\":\"{instance}\",\
             \"sequence\":{sequence},\"count\":{count}"
        );
        self.sequence += 1;
        line
    }

    fn sign(&mut self, previous: Option<&Head>, line: &str, text: &mut Vec<u8>, begin: usize) {
        self.head = signature(&self.keys, previous, &text[begin..], line.as_bytes());
        text.extend_from_slice(line.as_bytes());
        text.extend_from_slice(HEAD);
        text.extend_from_slice(HEXLOWER.encode(&self.head).as_bytes());
        text.extend_from_slice(b"\"}\n");
    }
}

/// What stands between the signed part of a line and its signature.
const HEAD: &[u8] = b",\"head\":\"";

fn signature(keys: &Keys, previous: Option<&Head>, lines: &[u8], line: &[u8]) -> Head {
    let mut context = Context::with_key(&keys.chain);
    for part in [previous.map_or(&[][..], |head| head), lines, line] {
        // With its length, so that no byte can move from one part to the next.
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.sign().as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
}

/// A line that holds a signature.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    pub(super) time: f64,
    pub(super) kind: String,
    pub(super) previous: Option<String>,
    pub(super) gap: Option<String>,
    head: String,
}

impl Link {
    /// A line as a link of a chain; `None` if it is an ordinary one.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let link: Self = serde_json::from_slice(line).ok()?;
        matches!(&*link.kind, "open" | "chain" | "close").then_some(link)
    }

    /// Its signature, as it says.
    pub(super) fn head(&self) -> Option<Head> {
        decode(&self.head)
    }

    /// The signature that it says it builds on.
    pub(super) fn previous(&self) -> Option<Head> {
        decode(self.previous.as_deref()?)
    }

    /// Whether its signature is right for the `lines` before it.
    pub(super) fn is_right(&self, keys: &Keys, previous: Option<&Head>, lines: &[u8], line: &[u8]) -> bool {
        let end = line.windows(HEAD.len()).rposition(|window| window == HEAD);
        let signed = end.map(|end| signature(keys, previous, lines, &line[..end]));
        signed.is_some() && signed == self.head()
    }
}

fn decode(text: &str) -> Option<Head> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}
