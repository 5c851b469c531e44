//! Seconds of audio of a day that all replicas count together. They are set aside in one step, all or none, and what was
//! set aside is replaced by what was used: by what is noted of its task, or here, if there is none.

use std::{sync::Arc, time::Duration};

use redis::Script;

use super::{
    Away, SETTLE,
    link::{Link, millis},
    prelude::script,
    settling,
};

/// What was set aside, and what is not to be any more, is known by its name for so long: no connection brings a command
/// later than that.
pub(super) const ASIDE: Duration = Duration::from_secs(3600);

/// The most seconds that a count may have.
pub(super) const MOST: u64 = 1 << 52;

/// Sets seconds aside, if there are so many left of the server's day; or tells how long that day still is. Not if they
/// were given up meanwhile: whoever asked was not answered in time, and has told of them otherwise.
const SET_ASIDE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local day = math.floor(time[1] / 86400)
local epoch = redis.call('GET', KEYS[2]) or ''
if unsettled(KEYS[2], KEYS[4], tonumber(ARGV[3]), now) > 0 then return {'unsettled', 0, day, epoch} end
local there = redis.call('HMGET', of('hash', KEYS[1]), 'day', 'used')
local used = 0
if number(there[1], day) == day then used = number(there[2], tonumber(ARGV[5])) end
if used + ARGV[1] > tonumber(ARGV[2]) then return {'reached', (day + 1) * 86400000 - now, day, epoch} end
if not redis.call('SET', KEYS[3], '1', 'NX', 'PX', ARGV[4]) then return {'late', 0, day, epoch} end
redis.call('HSET', KEYS[1], 'day', day, 'used', string.format('%.0f', used + ARGV[1]))
redis.call('PEXPIRE', KEYS[1], 90000000)
return {'taken', 0, day, epoch}
";

/// Gives back what was set aside in an epoch, or under a name, if its day is not over.
const GIVE_BACK: &str = r"
if KEYS[3] then
  if redis.call('SET', KEYS[3], '1', 'NX', 'PX', ARGV[4]) then return 0 end
elseif redis.call('GET', KEYS[2]) ~= ARGV[3] then
  return 0
end
local there = redis.call('HMGET', of('hash', KEYS[1]), 'day', 'used')
if there[1] ~= ARGV[2] then return 0 end
local used = number(there[2], tonumber(ARGV[5]))
redis.call('HSET', KEYS[1], 'used', string.format('%.0f', math.max(used - ARGV[1], 0)))
return 0
";

/// A name for seconds that are to be set aside, which no epoch is called.
#[must_use]
pub fn name_aside() -> String {
    format!("{ASIDE_MARK}{:032x}", fastrand::u128(..))
}

const ASIDE_MARK: char = '?';

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
        Self { link, set_aside: script(SET_ASIDE), give_back: script(GIVE_BACK) }
    }

    /// Sets seconds aside, of `most` a day. [`Away`] also for a few seconds after everything was lost.
    pub(super) async fn set_aside(
        &self,
        count: &str,
        aside: &str,
        seconds: u64,
        most: u64,
    ) -> Result<SetAside, Away> {
        let mut script = self.set_aside.prepare_invoke();
        script.key(self.link.key(count)).key(self.link.key("epoch"));
        script.key(self.link.key(&mark(aside).expect("it was named so"))).key(settling::adding(&self.link));
        script.arg(seconds).arg(most).arg(millis(SETTLE)).arg(millis(ASIDE)).arg(MOST);
        let (outcome, wait, day, epoch): (String, u64, u64, String) =
            self.link.run("set_aside", &script).await?;
        match outcome.as_str() {
            "taken" => Ok(SetAside::Taken { day, epoch }),
            "reached" => Ok(SetAside::Reached(Duration::from_millis(wait))),
            _ => Err(Away),
        }
    }

    /// Gives seconds back that were set aside on a day, and in an epoch or under a name.
    pub(super) async fn give_back(
        &self,
        count: &str,
        seconds: u64,
        day: u64,
        known: &str,
    ) -> Result<(), Away> {
        let mut script = self.give_back.prepare_invoke();
        script.key(self.link.key(count)).key(self.link.key("epoch"));
        if let Some(mark) = mark(known) {
            script.key(self.link.key(&mark));
        }
        script.arg(seconds).arg(day).arg(known).arg(millis(ASIDE)).arg(MOST);
        let _: u64 = self.link.run("give_back", &script).await?;
        Ok(())
    }
}

/// The key that tells whether seconds of this name were set aside, or are not to be any more.
fn mark(aside: &str) -> Option<String> {
    aside.strip_prefix(ASIDE_MARK).map(|name| format!("aside:{name}"))
}
