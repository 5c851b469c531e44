//! The submits that have an `Idempotency-Key`, as all replicas know them: which are under way, by whom, and what became
//! of the others. Claimed in one step, so that of two at once one is sent. What became of it is sealed.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use data_encoding::HEXLOWER;
use redis::Script;
use secrecy::zeroize::Zeroizing;
use tokio::sync::broadcast;

use super::{
    Away, SETTLE, Said,
    link::{Link, millis},
    prelude::script,
    seal::Seals,
    settling,
};

/// So many are told of with one call.
pub(super) const AT_ONCE: usize = 50;
/// The index of an app lives as long as any of its submits may.
const INDEX_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A replica that has not told that it lives for so long does not send what it has claimed: one that is only slow is not
/// taken for dead.
const DEAD: Duration = Duration::from_secs(10);

/// Claims a submit for a replica, or tells what there is of it. One that is under way by a replica that lives no more has
/// an outcome that nobody knows. Whoever asks for what it has claimed itself has it: it knows best what became of that.
const CLAIM: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local there = redis.call('HMGET', of('hash', KEYS[1]), 'by', 'sealed')
local is_own = there[1] == ARGV[1]
if there[1] and there[2] and not is_own then
  if there[1] == '' then return {'ended', there[2], 0} end
  local seen = tonumber(redis.call('ZSCORE', KEYS[4], there[1]) or '0')
  if now - seen <= tonumber(ARGV[6]) then return {'under_way', there[2], 0} end
  return {'dead', there[2], 0}
end
local wait = unsettled(KEYS[3], KEYS[5], tonumber(ARGV[5]), now)
if wait > 0 and not is_own then return {'unsettled', '', wait} end
redis.call('ZREMRANGEBYSCORE', of('zset', KEYS[2]), '-inf', now)
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) and not is_own then
  local first = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return {'full', '', tonumber(first[2]) - now}
end
redis.call('HSET', KEYS[1], 'by', ARGV[1], 'sealed', ARGV[2], 'nonce', ARGV[8])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[7])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return {'first', '', 0}
";

/// Writes down what became of submits, or that nothing did, or that they are under way; unless another replica has them by
/// now. What is told late, because the server hung, withdraws no newer claim of the same replica. Whoever waits for one
/// is told.
const TELL: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key = 1
for arg = 4, #ARGV, 5 do
  local name, nonce, by, sealed, life = ARGV[arg], ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3], ARGV[arg + 4]
  local there = redis.call('HMGET', of('hash', KEYS[key]), 'by', 'nonce')
  local is_own, is_same = there[1] == ARGV[1], there[2] == nonce
  if sealed == '' then
    if is_own and is_same then
      redis.call('DEL', KEYS[key])
      redis.call('ZREM', of('zset', KEYS[key + 1]), name)
    end
  elseif not there[1] or is_own and (is_same or by == '') then
    redis.call('HSET', KEYS[key], 'by', by, 'sealed', sealed, 'nonce', nonce)
    redis.call('PEXPIRE', KEYS[key], life)
    redis.call('ZADD', of('zset', KEYS[key + 1]), now + life, name)
    redis.call('PEXPIRE', KEYS[key + 1], ARGV[3])
  end
  if is_own and by == '' then redis.call('PUBLISH', ARGV[2], 'ended ' .. name) end
  key = key + 2
end
return 0
";

/// The name of a submit.
pub type SubmitName = [u8; 32];

/// What becomes of a claim.
#[derive(Debug)]
pub enum Submit {
    /// Send it: nobody else does.
    First,
    /// Another replica sends it; this was claimed.
    UnderWay(Zeroizing<Vec<u8>>),
    /// It has ended; this came of it.
    Ended(Zeroizing<Vec<u8>>),
    /// It was sent, perhaps, by a replica that lives no more, or what came of it cannot be opened.
    Doubtful(Option<Zeroizing<Vec<u8>>>),
    /// What was lost may still come back, for so long.
    Unsettled(Duration),
    /// The app has as many as it may, for so long.
    Full(Duration),
}

/// A submit as a replica claims it.
#[derive(Clone, Copy, Debug)]
pub struct SubmitClaim<'c> {
    /// The app that it is of.
    pub app: &'c str,
    /// Which submit.
    pub name: SubmitName,
    /// Tells this claim from others that the same replica makes of it.
    pub nonce: u64,
}

/// What is to be known of a submit.
#[derive(Clone, Debug)]
pub enum Fate {
    /// Nothing came of it: it may be claimed again.
    Nothing,
    /// This replica sends it.
    UnderWay(Vec<u8>),
    /// This came of it.
    Ended(Vec<u8>),
}

/// A submit, to be told of.
#[derive(Clone, Debug)]
pub struct ToldSubmit<'t> {
    /// Which, and as who has claimed it.
    pub claim: SubmitClaim<'t>,
    /// What is to be known of it.
    pub fate: Fate,
    /// How long it is to be known.
    pub life: Duration,
}

/// The submits.
pub(super) struct Submits {
    link: Arc<Link>,
    seals: Arc<ArcSwap<Seals>>,
    claim: Script,
    tell: Script,
}

/// Hears when something becomes of a submit. Made before the claim, it misses nothing that follows it.
#[derive(Debug)]
pub struct SubmitListening {
    name: SubmitName,
    said: broadcast::Receiver<Said>,
}

impl SubmitListening {
    /// Completes when something may have become of it.
    pub async fn heard(&mut self) {
        loop {
            match self.said.recv().await {
                Ok(Said::Ended(name)) if name == self.name => return,
                Ok(Said::Fell) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

impl Submits {
    pub(super) fn new(link: Arc<Link>, seals: Arc<ArcSwap<Seals>>) -> Self {
        Self { link, seals, claim: script(CLAIM), tell: script(TELL) }
    }

    pub(super) fn listen(&self, name: SubmitName) -> SubmitListening {
        SubmitListening { name, said: self.link.listen() }
    }

    /// Claims a submit of an app, which may have `most` at a time; `content` is what the others see of it.
    pub(super) async fn claim(
        &self,
        SubmitClaim { app, name, nonce }: SubmitClaim<'_>,
        content: &[u8],
        life: Duration,
        most: usize,
    ) -> Result<Submit, Away> {
        let name = &name;
        let mut script = self.claim.prepare_invoke();
        script
            .key(self.key(name))
            .key(self.of_app(app))
            .key(self.link.key("epoch"))
            .key(self.link.key("replicas"))
            .key(settling::adding(&self.link));
        script.arg(self.link.instance()).arg(self.seals.load().seal(&bound(name), content));
        script.arg(millis(life)).arg(most).arg(millis(SETTLE)).arg(millis(DEAD)).arg(HEXLOWER.encode(name));
        script.arg(word(nonce));
        let (outcome, sealed, wait): (String, Vec<u8>, u64) = self.link.run("claim_submit", &script).await?;
        let content = || {
            let content = self.seals.load().open(&bound(name), &sealed);
            if content.is_none() {
                self.link.metrics.unreadable.inc();
            }
            content
        };
        let wait = Duration::from_millis(wait);
        Ok(match outcome.as_str() {
            "first" => Submit::First,
            "unsettled" => Submit::Unsettled(wait),
            "full" => Submit::Full(wait),
            "under_way" => content().map_or(Submit::Doubtful(None), Submit::UnderWay),
            "ended" => content().map_or(Submit::Doubtful(None), Submit::Ended),
            _ => Submit::Doubtful(content()),
        })
    }

    /// Tells what became of submits, or that they are under way still.
    pub(super) async fn tell(&self, told: &[ToldSubmit<'_>]) -> Result<(), Away> {
        let mut script = self.tell.prepare_invoke();
        script.arg(self.link.instance()).arg(self.link.channel()).arg(millis(INDEX_LIFE));
        let seals = self.seals.load();
        for ToldSubmit { claim: SubmitClaim { app, name, nonce }, fate, life } in told {
            let (content, by) = match fate {
                Fate::Nothing => (None, ""),
                Fate::UnderWay(content) => (Some(content), self.link.instance()),
                Fate::Ended(content) => (Some(content), ""),
            };
            let sealed = content.map(|content| seals.seal(&bound(name), content)).unwrap_or_default();
            script.key(self.key(name)).key(self.of_app(app));
            script.arg(HEXLOWER.encode(name)).arg(word(*nonce)).arg(by).arg(sealed).arg(millis(*life).max(1));
        }
        let _: u64 = self.link.run("tell_submits", &script).await?;
        Ok(())
    }

    fn key(&self, name: &SubmitName) -> String {
        self.link.key(&format!("submit:{}", HEXLOWER.encode(name)))
    }

    fn of_app(&self, app: &str) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, app.as_bytes());
        self.link.key(&format!("submits:{}", HEXLOWER.encode(&digest.as_ref()[..16])))
    }
}

/// What an outcome is bound to: the key that it lies under.
fn bound(name: &SubmitName) -> Vec<u8> {
    [b"valet relay 1 submit ", &name[..]].concat()
}

/// A nonce as it lies with a claim.
fn word(nonce: u64) -> String {
    format!("{nonce:016x}")
}
