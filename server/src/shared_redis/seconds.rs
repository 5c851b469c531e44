//! Seconds of audio of a day that all replicas count together. They are set aside in one step, all or none, and what was
//! set aside is replaced by what was used: by what is noted of its task, or here, if there is none.

use std::{sync::Arc, time::Duration};

use redis::Script;

use super::{
    Away, SETTLE,
    link::{Link, millis},
};

/// Sets seconds aside, if there are so many left of the server's day; or tells how long that day still is.
const SET_ASIDE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local day = math.floor(time[1] / 86400)
local epoch = redis.call('GET', KEYS[2]) or ''
local since = tonumber(string.match(epoch, ':(%d+)$') or now)
if now - since < tonumber(ARGV[3]) then return {'unsettled', 0, day, epoch} end
local there = redis.call('HMGET', KEYS[1], 'day', 'used')
local used = 0
if there[1] and tonumber(there[1]) == day then used = tonumber(there[2]) end
if used + ARGV[1] > tonumber(ARGV[2]) then return {'reached', (day + 1) * 86400000 - now, day, epoch} end
redis.call('HSET', KEYS[1], 'day', day, 'used', string.format('%.0f', used + ARGV[1]))
redis.call('PEXPIRE', KEYS[1], 90000000)
return {'taken', 0, day, epoch}
";

/// Gives back what was set aside in an epoch, if its day is not over.
const GIVE_BACK: &str = r"
local there = redis.call('HMGET', KEYS[1], 'day', 'used')
if redis.call('GET', KEYS[2]) ~= ARGV[3] or not there[1] or there[1] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'used', string.format('%.0f', math.max(there[2] - ARGV[1], 0)))
return 0
";

/// What becomes of seconds that were to be set aside.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SetAside {
    /// They are.
    Taken {
        /// The day of UTC, by the server.
        day: u64,
        /// The epoch in which that is known.
        epoch: String,
    },
    /// There are not so many left, for so long.
    Reached(Duration),
}

/// The counts of all limits.
pub(super) struct Seconds {
    link: Arc<Link>,
    set_aside: Script,
    give_back: Script,
}

impl Seconds {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, set_aside: Script::new(SET_ASIDE), give_back: Script::new(GIVE_BACK) }
    }

    /// Sets seconds aside, of `most` a day. [`Away`] also for a few seconds after everything was lost.
    pub(super) async fn set_aside(&self, count: &str, seconds: u64, most: u64) -> Result<SetAside, Away> {
        let mut script = self.set_aside.prepare_invoke();
        script.key(self.link.key(count)).key(self.link.key("epoch"));
        script.arg(seconds).arg(most).arg(millis(SETTLE));
        let (outcome, wait, day, epoch): (String, u64, u64, String) =
            self.link.run("set_aside", &script).await?;
        match outcome.as_str() {
            "taken" => Ok(SetAside::Taken { day, epoch }),
            "reached" => Ok(SetAside::Reached(Duration::from_millis(wait))),
            _ => Err(Away),
        }
    }

    /// Gives seconds back that were set aside on a day and in an epoch.
    pub(super) async fn give_back(
        &self,
        count: &str,
        seconds: u64,
        day: u64,
        epoch: &str,
    ) -> Result<(), Away> {
        let mut script = self.give_back.prepare_invoke();
        script.key(self.link.key(count)).key(self.link.key("epoch")).arg(seconds).arg(day).arg(epoch);
        let _: u64 = self.link.run("give_back", &script).await?;
        Ok(())
    }
}
