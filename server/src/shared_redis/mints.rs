//! Upstream tokens that all replicas hand out, and who of them mints the next one.
//!
//! A place is claimed in one step: whoever asks gets the token that is there, or the lease to mint one, or word that
//! another has that. Each lease has a fence, a number greater than any before it, also across a loss of everything;
//! a token replaces only one of a lesser fence. All times are the server's: a token's end lies sealed beside it, in
//! the server's time, so that the clocks of replicas need not agree.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use redis::Script;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::{
    Away, Said,
    link::{Link, millis},
    seal::Seals,
};
use crate::secret::Bearer;

/// How long a replica may mint before another may. A mint is given up after 3 s.
const LEASE: Duration = Duration::from_secs(4);

const CLAIM: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local there = redis.call('HMGET', KEYS[1], 'fence', 'sealed')
if there[1] and there[2] and tonumber(there[1]) > tonumber(ARGV[1]) then
  return {'token', there[1], there[2], now}
end
local left = redis.call('PTTL', KEYS[2])
if left > 0 then return {'wait', tostring(left), '', now} end
local last = tonumber(redis.call('GET', KEYS[3]) or '0')
local fence = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('SET', KEYS[3], fence, 'PX', 86400000)
redis.call('SET', KEYS[2], fence, 'PX', ARGV[2])
return {'lead', fence, '', now}
";

/// Puts a token there, unless one of a greater fence is; frees the lease, if it is still its own.
const PUBLISH: &str = r"
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
local there = redis.call('HGET', KEYS[1], 'fence')
if ARGV[2] ~= '' and not (there and tonumber(there) >= tonumber(ARGV[1])) then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'sealed', ARGV[2])
  redis.call('PEXPIREAT', KEYS[1], ARGV[3])
end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 0
";

/// The shared tokens.
pub(super) struct Mints {
    link: Arc<Link>,
    seals: Arc<ArcSwap<Seals>>,
    claim: Script,
    publish: Script,
}

/// Where a token lies: one for each upstream, app, class of lifetime, and the terms it is granted under.
#[derive(Clone, Debug)]
pub struct Place {
    digest: [u8; 16],
    bytes: Vec<u8>,
}

impl Place {
    /// `terms` is a hash of all that, changed, voids the app's tokens: replicas whose configurations differ have
    /// places of their own.
    #[must_use]
    pub fn new(upstream: &str, app: &str, seconds: u32, terms: &[u8; 32]) -> Self {
        let mut bytes = terms.to_vec();
        bytes.extend(seconds.to_be_bytes());
        for part in [upstream, app] {
            bytes.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        let digest = digest(&SHA256, &bytes).as_ref()[..16].try_into().expect("SHA-256 has 32 bytes");
        Self { digest, bytes }
    }

    fn name(&self) -> String {
        HEXLOWER.encode(&self.digest)
    }

    /// What a token of that fence is bound to.
    fn bound(&self, fence: &str) -> Vec<u8> {
        [&self.bytes, fence.as_bytes()].concat()
    }
}

/// What becomes of a claim.
#[derive(Debug)]
pub enum Claimed {
    /// There is a token.
    Token(Taken),
    /// There is something that cannot be opened, of this fence.
    Unreadable(u64),
    /// Mint one: nobody else does, for as long as the lease lasts.
    Lead(Lease),
    /// Another replica mints, for so long at most.
    Wait(Duration),
}

/// A token that another replica minted.
#[derive(Debug)]
pub struct Taken {
    /// The token.
    pub bearer: Bearer,
    /// The SHA-256 of the key that it was minted from.
    pub key: [u8; 32],
    /// The upstream's name of the mint.
    pub request_id: Option<String>,
    /// The life it had when it was minted.
    pub life: Duration,
    /// The life it had left when the server answered: no more than that when it was asked.
    pub remaining: Duration,
    /// Its fence.
    pub fence: u64,
}

/// The right to mint for a place.
#[derive(Debug)]
pub struct Lease {
    place: Place,
    fence: String,
    /// The server's time at some moment before `received`, in milliseconds.
    server: u64,
    received: Instant,
}

impl Lease {
    /// The fence of the token to come.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence.parse().unwrap_or(0)
    }
}

/// A token, as it is told to the others.
#[derive(Clone, Copy, Debug)]
pub struct Told<'t> {
    /// The token.
    pub bearer: &'t Bearer,
    /// The SHA-256 of the key that it was minted from.
    pub key: [u8; 32],
    /// The upstream's name of the mint.
    pub request_id: Option<&'t str>,
    /// The life it had when it was minted.
    pub life: Duration,
    /// When it expires.
    pub expires: Instant,
}

#[derive(Deserialize, Serialize)]
struct Content<'c> {
    token: std::borrow::Cow<'c, str>,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// In milliseconds.
    life: u64,
    /// In the server's time, in milliseconds.
    until: u64,
}

/// Hears when something changes at a place. Made before the claim, it misses nothing that follows it.
#[derive(Debug)]
pub struct Listening {
    digest: [u8; 16],
    said: broadcast::Receiver<Said>,
}

impl Listening {
    /// Completes when the place may have changed.
    pub async fn heard(&mut self) {
        loop {
            match self.said.recv().await {
                Ok(Said::Minted(digest)) if digest == self.digest => return,
                // Without the server, or with so much said that some of it was lost, another look is due.
                Ok(Said::Fell) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

impl Mints {
    pub(super) fn new(link: Arc<Link>, seals: Arc<ArcSwap<Seals>>) -> Self {
        let (claim, publish) = (Script::new(CLAIM), Script::new(PUBLISH));
        Self { link, seals, claim, publish }
    }

    pub(super) fn listen(&self, place: &Place) -> Listening {
        Listening { digest: place.digest, said: self.link.listen() }
    }

    /// Claims a place, whose token is wanted only if its fence is greater than `seen`. `now` tells the time of the
    /// answer.
    pub(super) async fn claim(
        &self,
        place: &Place,
        seen: u64,
        now: impl Fn() -> Instant,
    ) -> Result<Claimed, Away> {
        let mut script = self.claim.prepare_invoke();
        self.keys(&mut script, place);
        script.arg(seen).arg(millis(LEASE));
        let (outcome, number, sealed, server): (String, String, Vec<u8>, u64) =
            self.link.run("claim", &script).await?;
        let fence = number.parse().unwrap_or(0);
        Ok(match outcome.as_str() {
            "token" => match self.open(place, &number, &sealed, server) {
                Some(taken) => Claimed::Token(taken),
                None => {
                    self.link.metrics.unreadable.inc();
                    Claimed::Unreadable(fence)
                }
            },
            "lead" => Claimed::Lead(Lease { place: place.clone(), fence: number, server, received: now() }),
            _ => Claimed::Wait(Duration::from_millis(fence)),
        })
    }

    fn open(&self, place: &Place, fence: &str, sealed: &[u8], server: u64) -> Option<Taken> {
        let plain = self.seals.load().open(&place.bound(fence), sealed)?;
        let content: Content<'_> = serde_json::from_slice(&plain).ok()?;
        let life = Duration::from_millis(content.life);
        Some(Taken {
            bearer: Bearer::parse(&content.token)?,
            key: HEXLOWER.decode(content.key.as_bytes()).ok()?.try_into().ok()?,
            request_id: content.request_id,
            life,
            remaining: Duration::from_millis(content.until.saturating_sub(server)).min(life),
            fence: fence.parse().ok()?,
        })
    }

    /// Tells the others of the token that a lease was for, or that there is none.
    ///
    /// However late the server reads this, the token has its true end: that is counted from the time at which the
    /// server gave the lease.
    pub(super) async fn publish(&self, lease: Lease, told: Option<Told<'_>>) {
        let (sealed, until) = match told {
            None => (Vec::new(), 0),
            Some(told) => {
                let left = told.expires.saturating_duration_since(lease.received);
                let content = Content {
                    token: told.bearer.expose().into(),
                    key: HEXLOWER.encode(&told.key),
                    request_id: told.request_id.map(str::to_owned),
                    life: millis(told.life),
                    until: lease.server + millis(left),
                };
                let plain = secrecy::zeroize::Zeroizing::new(
                    serde_json::to_vec(&content).expect("plain fields serialize"),
                );
                (self.seals.load().seal(&lease.place.bound(&lease.fence), &plain), content.until)
            }
        };
        let mut script = self.publish.prepare_invoke();
        self.keys(&mut script, &lease.place);
        script.arg(&lease.fence).arg(sealed).arg(until);
        script.arg(self.link.channel()).arg(Said::Minted(lease.place.digest).text());
        // Without the server the others find out by themselves.
        let _: Result<(), Away> = self.link.run("publish", &script).await;
    }

    fn keys(&self, script: &mut redis::ScriptInvocation<'_>, place: &Place) {
        let name = place.name();
        for part in ["token", "lease", "fence"] {
            script.key(self.link.key(&format!("{{{name}}}:{part}")));
        }
    }

    pub(super) fn taken_over(&self) {
        self.link.metrics.taken_over.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_places_are_mistaken_for_one_another() {
        let terms = [7; 32];
        let place = |upstream, app, seconds, terms| Place::new(upstream, app, seconds, terms).bytes;
        let one = place("beijing", "acme", 60, &terms);
        assert_eq!(place("beijing", "acme", 60, &terms), one);
        for other in [
            place("beijinga", "cme", 60, &terms),
            place("acme", "beijing", 60, &terms),
            place("beijing", "acme", 300, &terms),
            place("beijing", "acme", 60, &[8; 32]),
        ] {
            assert_ne!(other, one);
        }
    }
}
