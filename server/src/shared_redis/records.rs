//! What must be known to all replicas at once: which single-use tokens were shown, which relay tokens were revoked.

use std::{sync::Arc, time::Duration};

use redis::Script;

use super::{
    Away, SETTLE, Said,
    link::{Link, millis},
};

/// Records one that is shown; says whether it is the first time. Not while what was lost may still come back.
const RECORD: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch = redis.call('GET', KEYS[2])
local since = epoch and string.match(epoch, ':(%d+)$')
if not since or now - tonumber(since) < tonumber(ARGV[2]) then return 'unsettled' end
if redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then return 'first' end
return 'again'
";

/// Records those that a replica accepted before everything was lost.
const RESTORE: &str = r"
for at, name in ipairs(KEYS) do redis.call('SET', name, '1', 'NX', 'PX', ARGV[at]) end
return #KEYS
";

/// Adds revoked tokens, each with the time that it has left, and tells everyone.
const REVOKE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for at = 2, #ARGV, 2 do
  redis.call('ZADD', KEYS[1], 'GT', now + ARGV[at + 1], ARGV[at])
  redis.call('PUBLISH', ARGV[1], 'revoked ' .. ARGV[at] .. ' ' .. ARGV[at + 1])
end
return 0
";

/// The tokens that are revoked, each with the time that it has left.
const REVOKED: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local listed = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf', 'WITHSCORES')
for at = 2, #listed, 2 do listed[at] = string.format('%.0f', tonumber(listed[at]) - now) end
return listed
";

/// The records.
pub(super) struct Records {
    link: Arc<Link>,
    record: Script,
    restore: Script,
    revoke: Script,
    revoked: Script,
}

/// The name of a token, and the time for which it is remembered.
pub type Remembered = ([u8; 32], Duration);

impl Records {
    pub(super) fn new(link: Arc<Link>) -> Self {
        let [record, restore, revoke, revoked] = [RECORD, RESTORE, REVOKE, REVOKED].map(Script::new);
        Self { link, record, restore, revoke, revoked }
    }

    /// Whether this is the first time that the token is shown anywhere; recorded for `life`.
    pub(super) async fn record(&self, (token, life): Remembered) -> Result<bool, Away> {
        let mut script = self.record.prepare_invoke();
        script.key(self.shown(&token)).key(self.link.key("epoch"));
        script.arg(millis(life).max(1)).arg(millis(SETTLE));
        match self.link.run::<String>("record", &script).await?.as_str() {
            "first" => Ok(true),
            "again" => Ok(false),
            _ => Err(Away),
        }
    }

    /// Adds what this replica knows to have been shown.
    pub(super) async fn restore(&self, shown: &[Remembered]) -> Result<(), Away> {
        for some in shown.chunks(500) {
            let mut script = self.restore.prepare_invoke();
            for (token, life) in some {
                script.key(self.shown(token)).arg(millis(*life).max(1));
            }
            let _: u64 = self.link.run("restore", &script).await?;
        }
        Ok(())
    }

    /// Tells everyone that these tokens are revoked.
    pub(super) async fn revoke(&self, tokens: &[Remembered]) -> Result<(), Away> {
        for some in tokens.chunks(500) {
            let mut script = self.revoke.prepare_invoke();
            script.key(self.link.key("revoked")).arg(self.link.channel());
            for (token, life) in some {
                script.arg(data_encoding::HEXLOWER.encode(token)).arg(millis(*life).max(1));
            }
            let _: u64 = self.link.run("revoke", &script).await?;
        }
        Ok(())
    }

    /// The tokens that are revoked.
    pub(super) async fn revoked(&self) -> Result<Vec<Remembered>, Away> {
        let mut script = self.revoked.prepare_invoke();
        script.key(self.link.key("revoked"));
        let listed: Vec<(String, String)> = self.link.run("revoked", &script).await?;
        Ok(listed.iter().filter_map(|(token, life)| Said::remembered(token, life)).collect())
    }

    fn shown(&self, token: &[u8; 32]) -> String {
        self.link.key(&format!("shown:{}", data_encoding::HEXLOWER.encode(token)))
    }
}
