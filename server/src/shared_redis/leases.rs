//! Who of all replicas polls an upstream: whoever has the lease. Each lease has a fence, a number greater than any before
//! it; what is asked of the account is drawn from one rate, under the fence, so that a replica that was paused beyond its
//! lease asks nothing more, and whoever has taken over goes on where the other was.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use redis::Script;
use valet_pacing::Quota;

use super::{
    Away, SETTLE,
    link::{Link, millis},
    prelude::script,
};

/// How long a lease is good. It is renewed once a second.
const LEASE: Duration = Duration::from_secs(4);

/// Renews a lease, or takes one that nobody has. Not for a while after everything was lost, or after a replica came back
/// that asked by itself: others that have not come back do so still. Tells also whether there are direct callers anywhere,
/// and whether the poller has asked lately.
const HOLD: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if tonumber(ARGV[3]) > 0 then redis.call('SET', KEYS[3], '1', 'PX', ARGV[3]) end
if ARGV[5] == '1' then redis.call('SET', KEYS[6], '1', 'PX', ARGV[4]) end
local direct, asked = redis.call('EXISTS', KEYS[3]), redis.call('EXISTS', KEYS[5])
local held = redis.call('GET', of('string', KEYS[1]))
local lease = redis.call('PTTL', KEYS[1])
if held and held == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {'held', held, direct, asked}
end
-- Nobody has one that has no end, or a far one.
if held and lease >= 0 and lease <= 60000 then return {'other', string.format('%.0f', lease), direct, asked} end
local since = tonumber(string.match(redis.call('GET', KEYS[4]) or '', ':(%d+)$') or now)
local wait = math.max(ARGV[4] - (now - since), left(KEYS[6], tonumber(ARGV[4])))
if wait > 0 then return {'other', string.format('%.0f', wait), direct, asked} end
local last = number(redis.call('GET', of('string', KEYS[2])), now * 1000 + 86400000000)
local fence = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('SET', KEYS[2], fence, 'PX', 86400000)
redis.call('SET', KEYS[1], fence, 'PX', ARGV[2])
return {'held', fence, direct, asked}
";

/// Takes a query of an account by GCRA (ITU-T I.371), in the server's time: 0, or the microseconds until there is one; -1
/// if the lease is not that one any more. Who asks without a lease leaves theirs to those that may still ask by themselves:
/// all that have come back have one share together.
const QUERY: &str = r"
if ARGV[1] ~= '' and redis.call('GET', of('string', KEYS[1])) ~= ARGV[1] then return -1 end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[2]), tonumber(ARGV[3])
if ARGV[1] == '' and left(KEYS[4], tonumber(ARGV[6])) > 0 then interval = tonumber(ARGV[5]) end
local arrival = math.max(number(redis.call('GET', of('string', KEYS[2])), now + 3600000000), now)
local wait = math.ceil(arrival - now - (burst - 1) * interval - 0.5)
if wait > 0 then return wait end
arrival = arrival + interval
redis.call('SET', KEYS[2], string.format('%.3f', arrival), 'PX', math.ceil((arrival - now) / 1000) + 1)
redis.call('SET', KEYS[3], '1', 'PX', ARGV[4])
return 0
";

/// Gives a lease up.
const LEAVE: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
";

/// By what right a replica has asked an account until now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Right<'f> {
    /// The lease of that fence.
    Lease(&'f str),
    /// None: the shared state was away, and each asked by itself.
    Alone,
    /// It has not asked.
    Nothing,
}

/// Whose turn it is to poll an account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Turn {
    /// This replica's, under that fence.
    Held(String),
    /// Another's, for so long at least if it does not renew its lease.
    Others(Duration),
}

/// What is polled: an upstream, of an account. All upstreams of an account share what it may be asked.
#[derive(Clone, Copy, Debug)]
pub struct Service<'s> {
    /// The upstream, by its name.
    pub upstream: &'s str,
    /// The account.
    pub account: &'s str,
}

impl Service<'_> {
    /// The name of the key of its lease.
    pub(super) fn lease(&self) -> String {
        self.name("lease")
    }

    fn name(&self, part: &str) -> String {
        // The length keeps apart what would read the same in a row.
        name(&format!("{}:{}{}", self.upstream.len(), self.upstream, self.account), part)
    }
}

/// What is known of an account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attended {
    /// Whose turn it is.
    pub turn: Turn,
    /// Whether any replica has direct callers of it.
    pub has_direct: bool,
    /// Whether any replica has asked it lately for the relay.
    pub is_asked: bool,
}

/// A query of an account, to be taken.
#[derive(Clone, Copy, Debug)]
pub struct Query<'q> {
    /// Of what.
    pub service: Service<'q>,
    /// The fence of the lease under which it is asked; none, if it is not the poller who asks.
    pub fence: Option<&'q str>,
    /// How many queries there are.
    pub quota: Quota,
    /// How many there are for one replica, while others may still ask by themselves.
    pub share: Quota,
    /// For how long it is remembered that somebody asked.
    pub memory: Duration,
}

/// What becomes of a query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Queried {
    /// It may be sent.
    Taken,
    /// Not for so long.
    Wait(Duration),
    /// The lease is another's by now.
    Fenced,
}

/// The leases.
pub(super) struct Leases {
    link: Arc<Link>,
    hold: Script,
    query: Script,
    leave: Script,
}

impl Leases {
    pub(super) fn new(link: Arc<Link>) -> Self {
        let [hold, query, leave] = [HOLD, QUERY, LEAVE].map(script);
        Self { link, hold, query, leave }
    }

    /// Renews the lease that this replica has, or takes one if nobody has it. `direct` tells for how long there are direct
    /// callers of this replica's.
    pub(super) async fn hold(
        &self,
        service: Service<'_>,
        right: Right<'_>,
        direct: Duration,
    ) -> Result<Attended, Away> {
        let mut script = self.hold.prepare_invoke();
        script.key(self.link.key(&service.lease())).key(self.link.key(&service.name("fence")));
        script.key(self.link.key(&name(service.account, "direct"))).key(self.link.key("epoch"));
        script.key(self.link.key(&name(service.account, "asked")));
        script.key(self.link.key(&name(service.account, "alone")));
        let fence = if let Right::Lease(fence) = right { fence } else { "-" };
        script.arg(fence).arg(millis(LEASE)).arg(millis(direct)).arg(millis(SETTLE));
        script.arg(u8::from(right == Right::Alone));
        let (turn, number, direct, asked): (String, String, u64, u64) =
            self.link.run("hold", &script).await?;
        let turn = match turn.as_str() {
            "held" => Turn::Held(number),
            _ => Turn::Others(Duration::from_millis(number.parse().unwrap_or(0))),
        };
        Ok(Attended { turn, has_direct: direct > 0, is_asked: asked > 0 })
    }

    /// Takes a query from what the account may be asked.
    pub(super) async fn query(&self, query: Query<'_>) -> Result<Queried, Away> {
        let mut script = self.query.prepare_invoke();
        script.key(self.link.key(&query.service.lease()));
        for part in ["queries", "asked", "alone"] {
            script.key(self.link.key(&name(query.service.account, part)));
        }
        let micros = |quota: Quota| format!("{:.6}", quota.interval().as_secs_f64() * 1e6);
        script.arg(query.fence.unwrap_or("")).arg(micros(query.quota)).arg(query.quota.burst());
        script.arg(millis(query.memory)).arg(micros(query.share)).arg(millis(SETTLE));
        Ok(match self.link.run::<i64>("query", &script).await? {
            0 => Queried::Taken,
            wait @ 1.. => Queried::Wait(Duration::from_micros(wait.unsigned_abs())),
            _ => Queried::Fenced,
        })
    }

    /// Gives the lease of that fence up, so that another need not wait for its end.
    pub(super) async fn leave(&self, service: Service<'_>, fence: &str) -> Result<(), Away> {
        let mut script = self.leave.prepare_invoke();
        script.key(self.link.key(&service.lease())).arg(fence);
        let _: u64 = self.link.run("leave", &script).await?;
        Ok(())
    }
}

/// The name of a key of an account, which tells nobody the account.
fn name(account: &str, part: &str) -> String {
    let digest = digest(&SHA256, account.as_bytes());
    format!("poll:{}:{part}", HEXLOWER.encode(&digest.as_ref()[..16]))
}
