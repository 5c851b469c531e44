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
    seal::Seals,
};

/// A replica that has not told that it lives for so long does not send what it has claimed: one that is only slow is not
/// taken for dead.
const DEAD: Duration = Duration::from_secs(10);

/// Claims a submit for a replica, or tells what there is of it. One that is under way by a replica that lives no more has
/// an outcome that nobody knows.
const CLAIM: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local there = redis.call('HMGET', KEYS[1], 'by', 'sealed')
if there[1] and there[2] then
  if there[1] == '' then return {'ended', there[2], 0} end
  local seen = tonumber(redis.call('ZSCORE', KEYS[4], there[1]) or '0')
  if now - seen <= tonumber(ARGV[6]) then return {'under_way', there[2], 0} end
  return {'dead', there[2], 0}
end
local since = tonumber(string.match(redis.call('GET', KEYS[3]) or '', ':(%d+)$') or now)
if now - since < tonumber(ARGV[5]) then return {'unsettled', '', ARGV[5] - (now - since)} end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then
  local first = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return {'full', '', tonumber(first[2]) - now}
end
redis.call('HSET', KEYS[1], 'by', ARGV[1], 'sealed', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[7])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return {'first', '', 0}
";

/// Writes down what became of a submit, or that nothing did; unless another replica has it by now.
const END: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local by = redis.call('HGET', KEYS[1], 'by')
if not by or by == ARGV[1] then
  if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
    redis.call('ZREM', KEYS[2], ARGV[4])
  else
    redis.call('HSET', KEYS[1], 'by', ARGV[6], 'sealed', ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[4])
    redis.call('PEXPIRE', KEYS[2], 86400000)
  end
end
redis.call('PUBLISH', ARGV[5], 'ended ' .. ARGV[4])
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

/// What is to be known of a submit.
#[derive(Clone, Copy, Debug)]
pub enum Fate<'f> {
    /// Nothing came of it: it may be claimed again.
    Nothing,
    /// This replica sends it.
    UnderWay(&'f [u8]),
    /// This came of it.
    Ended(&'f [u8]),
}

/// The submits.
pub(super) struct Submits {
    link: Arc<Link>,
    seals: Arc<ArcSwap<Seals>>,
    claim: Script,
    end: Script,
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
        Self { link, seals, claim: Script::new(CLAIM), end: Script::new(END) }
    }

    pub(super) fn listen(&self, name: SubmitName) -> SubmitListening {
        SubmitListening { name, said: self.link.listen() }
    }

    /// Claims a submit of an app, which may have `most` at a time; `content` is what the others see of it.
    pub(super) async fn claim(
        &self,
        (app, name): (&str, &SubmitName),
        content: &[u8],
        life: Duration,
        most: usize,
    ) -> Result<Submit, Away> {
        let mut script = self.claim.prepare_invoke();
        script
            .key(self.key(name))
            .key(self.of_app(app))
            .key(self.link.key("epoch"))
            .key(self.link.key("replicas"));
        script.arg(self.link.instance()).arg(self.seals.load().seal(&bound(name), content));
        script.arg(millis(life)).arg(most).arg(millis(SETTLE)).arg(millis(DEAD)).arg(HEXLOWER.encode(name));
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

    /// Tells what became of a submit, or that it is under way still.
    pub(super) async fn tell(
        &self,
        (app, name): (&str, &SubmitName),
        fate: Fate<'_>,
        life: Duration,
    ) -> Result<(), Away> {
        let (content, by) = match fate {
            Fate::Nothing => (None, ""),
            Fate::UnderWay(content) => (Some(content), self.link.instance()),
            Fate::Ended(content) => (Some(content), ""),
        };
        let mut script = self.end.prepare_invoke();
        script.key(self.key(name)).key(self.of_app(app));
        let sealed = content.map(|content| self.seals.load().seal(&bound(name), content));
        script.arg(self.link.instance()).arg(sealed.unwrap_or_default()).arg(millis(life).max(1));
        script.arg(HEXLOWER.encode(name)).arg(self.link.channel()).arg(by);
        let _: u64 = self.link.run("end_submit", &script).await?;
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
