//! Which keys of the relay each replica has: those that do not have the same know neither one another's tokens nor
//! handles. What is told are names of keys, sealed, so that nobody else can say anything.

use std::sync::Arc;

use arc_swap::ArcSwap;
use redis::Script;

use super::{
    Away,
    link::{Link, REPLICA_LIFE, millis},
    seal::Seals,
};

/// Tells what one replica has, if it is one, or that it is none any more; gives what the others have that live.
pub(super) const TELL: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[1] ~= '' and ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[1], 86400000)
elseif ARGV[1] ~= '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
end
local told = redis.call('HGETALL', KEYS[1])
local others = {}
for at = 1, #told, 2 do
  local seen = tonumber(redis.call('ZSCORE', KEYS[2], told[at]) or '0')
  local lives = now - seen <= tonumber(ARGV[3])
  if lives and told[at] ~= ARGV[1] then others[#others + 1] = {told[at], told[at + 1]} end
  if not lives and ARGV[1] ~= '' and told[at] ~= ARGV[1] then redis.call('HDEL', KEYS[1], told[at]) end
end
return others
";

/// The keys that replicas have.
pub(super) struct Keyrings {
    link: Arc<Link>,
    seals: Arc<ArcSwap<Seals>>,
    tell: Script,
}

impl Keyrings {
    pub(super) fn new(link: Arc<Link>, seals: Arc<ArcSwap<Seals>>) -> Self {
        Self { link, seals, tell: Script::new(TELL) }
    }

    /// What each of the others has.
    pub(super) async fn others(&self) -> Result<Vec<String>, Away> {
        self.run("", Vec::new()).await
    }

    /// Tells the others what this replica has, or nothing any more; gives what each of them has.
    pub(super) async fn tell(&self, keys: Option<&str>) -> Result<Vec<String>, Away> {
        let instance = self.link.instance();
        let sealed = keys.map(|keys| self.seals.load().seal(&bound(instance), keys.as_bytes()));
        self.run(instance, sealed.unwrap_or_default()).await
    }

    async fn run(&self, instance: &str, sealed: Vec<u8>) -> Result<Vec<String>, Away> {
        let mut script = self.tell.prepare_invoke();
        script.key(self.link.key("keys")).key(self.link.key("replicas"));
        script.arg(instance).arg(sealed).arg(millis(REPLICA_LIFE));
        let others = self.link.run("tell_keys", &script).await?;
        Ok(opened(&self.seals.load(), others))
    }
}

/// What replicas have; without what cannot be opened.
pub(super) fn opened(seals: &Seals, others: Vec<(String, Vec<u8>)>) -> Vec<String> {
    let open = |(instance, sealed): (String, Vec<u8>)| {
        String::from_utf8(seals.open(&bound(&instance), &sealed)?.to_vec()).ok()
    };
    others.into_iter().filter_map(open).collect()
}

/// What the names are bound to: the place that they lie in.
fn bound(instance: &str) -> Vec<u8> {
    [b"valet relay 1 keys ", instance.as_bytes()].concat()
}
