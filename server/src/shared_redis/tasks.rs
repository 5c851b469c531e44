//! The relay's tasks, as all replicas know them: one sealed record each, and an index in the order in which they last
//! changed, so that whoever reads on from where it was reads each task once, as it is now.
//!
//! A record goes forward only: what a replica knows of an earlier time replaces nothing. Knows nothing of what a record
//! says.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use data_encoding::HEXLOWER;
use redis::Script;
use secrecy::zeroize::Zeroizing;

use super::{
    Away,
    link::{Link, millis},
    prelude::script,
    seal::Seals,
    seconds::{ASIDE, MOST as MOST_SECONDS},
};

/// The most tasks that are known; beyond it those that changed the longest ago are forgotten.
const MOST: u32 = 200_000;
/// How long an index remembers.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// For how long what the upstream said of a task is there: whoever waits for it reads it at once.
const TOLD: Duration = Duration::from_secs(600);
/// What the upstream said of a task is told if it is no longer than this: a hundred recordings have some fifty
/// kilobytes.
const LONGEST_TOLD: usize = 1 << 20;
/// So many are written or read with one call.
pub(super) const AT_ONCE: usize = 50;
/// The clocks of servers that take over from one another differ by less than this.
const SKEW: u64 = 60_000_000;

/// Writes records, unless what is there is further on. What a task used is counted with the step that first tells what was
/// submitted, and once: all that it used or has set aside, if that was not counted before it was told; what it used
/// otherwise than was set aside, when it ends.
const NOTE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local today = math.floor(time[1] / 86400)
local epoch = redis.call('GET', KEYS[3]) or ''
if ARGV[2] ~= '' and redis.call('GET', KEYS[4]) ~= ARGV[2] then return 'fenced' end
local last = number(redis.call('GET', of('string', KEYS[2])), now + ARGV[4] * 1000)
local index, whole, ended = of('zset', KEYS[1]), tonumber(ARGV[7]), tonumber(ARGV[8])
local function is_counted(known)
  if known == epoch then return true end
  local aside = string.match(known, '^%?(%x+)$')
  return aside and not redis.call('SET', ARGV[3] .. 'aside:' .. aside, '1', 'NX', 'PX', ARGV[9])
end
local key, arg = 4, 10
while arg < #ARGV do
  local name, rank, sealed, told, life = ARGV[arg + 1], tonumber(ARGV[arg + 2]), ARGV[arg + 3], ARGV[arg + 4], ARGV[arg + 5]
  local day, aside, used, counts = tonumber(ARGV[arg + 6]), tonumber(ARGV[arg + 7]), tonumber(ARGV[arg + 8]), tonumber(ARGV[arg + 9])
  arg = arg + 9
  local there = number(redis.call('HGET', of('hash', KEYS[key + 1]), 'rank'), ended)
  if rank >= there then
    last = math.max(last + 1, now)
    redis.call('HSET', KEYS[key + 1], 'rank', rank, 'sealed', sealed)
    redis.call('PEXPIRE', KEYS[key + 1], life)
    if told ~= '' then redis.call('SET', KEYS[key + 2], told, 'PX', ARGV[5]) end
    redis.call('ZADD', index, string.format('%.0f', last), name)
  end
  for at = 1, counts do
    local more = 0
    if rank >= whole and there < whole then
      more = used
      if is_counted(ARGV[arg + at]) then more = used - aside end
    elseif rank >= ended and there < ended then
      more = used - aside
    end
    if more ~= 0 and day == today then
      local known = redis.call('HMGET', of('hash', KEYS[key + 2 + at]), 'day', 'used')
      local sum = 0
      if number(known[1], today) == today then sum = number(known[2], tonumber(ARGV[10])) end
      redis.call('HSET', KEYS[key + 2 + at], 'day', today, 'used', string.format('%.0f', math.max(sum + more, 0)))
      redis.call('PEXPIRE', KEYS[key + 2 + at], 90000000)
    end
  end
  key, arg = key + 2 + counts, arg + counts
end
redis.call('SET', KEYS[2], string.format('%.0f', last), 'PX', ARGV[4])
redis.call('PEXPIRE', index, ARGV[4])
redis.call('ZREMRANGEBYSCORE', index, '-inf', string.format('%.0f', now - ARGV[4] * 1000))
local over = redis.call('ZCARD', index) - tonumber(ARGV[6])
if over > 0 then
  local oldest = redis.call('ZRANGEBYSCORE', index, '-inf', '+inf', 'LIMIT', 0, over)
  for _, name in ipairs(oldest) do
    redis.call('DEL', ARGV[3] .. 'task:' .. name, ARGV[3] .. 'told:' .. name)
    redis.call('ZREM', index, name)
  end
end
redis.call('PUBLISH', ARGV[1], 'noted')
return 'noted'
";

/// Records that changed after one that was read, in the order in which they did.
const READ: &str = r"
local last = redis.call('TIME')[1] * 1000000 + ARGV[4] * 1000
local listed = redis.call('ZRANGEBYSCORE', of('zset', KEYS[1]), '(' .. ARGV[1], string.format('%.0f', last), 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local read = {}
for at = 1, #listed, 2 do
  read[#read + 1] = {
    listed[at], string.format('%.0f', tonumber(listed[at + 1])),
    redis.call('HGET', of('hash', ARGV[3] .. 'task:' .. listed[at]), 'sealed') or '',
    redis.call('GET', of('string', ARGV[3] .. 'told:' .. listed[at])) or '',
  }
end
return read
";

/// A task's name among the replicas.
pub type TaskName = [u8; 16];

/// A record of a task, to be told to the others.
#[derive(Debug)]
pub struct Note {
    /// Which task.
    pub name: TaskName,
    /// How far it is.
    pub rank: Rank,
    /// What is to be known of it.
    pub content: Vec<u8>,
    /// What the upstream said of it.
    pub told: Option<Arc<str>>,
    /// How long it is to be known.
    pub life: Duration,
    /// What it used, or has set aside.
    pub use_: Use,
}

/// What a record tells: one that tells what was submitted goes before any that does not, and of two alike the one whose
/// task is further.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Rank {
    /// Whether it tells what was submitted; else it has but the task's name.
    pub is_whole: bool,
    /// How far the task is.
    pub progress: Progress,
}

/// How far a task is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Progress {
    /// It waits.
    Pending = 1,
    /// It goes on.
    Unfinished = 2,
    /// It has ended.
    Ended = 3,
}

impl Rank {
    /// The least of a record that tells what was submitted.
    const WHOLE: Self = Self { is_whole: true, progress: Progress::Pending };
    /// The greatest.
    const ENDED: Self = Self { is_whole: true, progress: Progress::Ended };

    /// As a number, from 1 on.
    const fn number(self) -> u8 {
        self.progress as u8 + if self.is_whole { Progress::Ended as u8 } else { 0 }
    }
}

/// Seconds of audio that a task used, and where they are counted.
#[derive(Clone, Debug, Default)]
pub struct Use {
    /// The day of UTC that they are of.
    pub day: u64,
    /// What was set aside.
    pub aside: u64,
    /// What it used; if it has not ended, what was set aside.
    pub used: u64,
    /// The counts, each with the epoch in which it knows of what was set aside, or with the [name](super::name_aside) of
    /// that.
    pub counts: Vec<(String, String)>,
}

/// What becomes of notes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Noted {
    /// They are known to all.
    Done,
    /// The lease is another's by now: nothing was written.
    Fenced,
}

/// A record that was read.
#[derive(Debug)]
pub struct Found {
    /// Which task it is of.
    pub name: TaskName,
    /// What is to be known of it.
    pub content: Zeroizing<Vec<u8>>,
    /// What the upstream said of it.
    pub told: Option<Zeroizing<Vec<u8>>>,
}

/// Records that were read.
#[derive(Debug)]
pub struct Read {
    /// The tasks, without what cannot be opened.
    pub tasks: Vec<Found>,
    /// Where to read on.
    pub next: Cursor,
    /// Whether there is more.
    pub is_more: bool,
}

/// Up to where records were read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cursor {
    /// The server's time of the last change, or a later number.
    last: u64,
    /// The edition of the keys that it was read with.
    seals: u64,
}

impl Cursor {
    /// Where to begin after an interruption: what was written while a server took over from another may have an
    /// earlier time.
    #[must_use]
    pub fn rewound(self) -> Self {
        Self { last: self.last.saturating_sub(SKEW), ..self }
    }
}

/// The records.
pub(super) struct Tasks {
    link: Arc<Link>,
    seals: Arc<ArcSwap<Seals>>,
    note: Script,
    read: Script,
}

impl Tasks {
    pub(super) fn new(link: Arc<Link>, seals: Arc<ArcSwap<Seals>>) -> Self {
        Self { link, seals, note: script(NOTE), read: script(READ) }
    }

    /// Tells the others of tasks; under a lease of that `fence`, if one is needed to know it.
    pub(super) async fn note(&self, notes: &[Note], fence: Option<(&str, &str)>) -> Result<Noted, Away> {
        let mut script = self.note.prepare_invoke();
        let (lease, fence) = fence.unwrap_or(("", ""));
        script.key(self.link.key("tasks")).key(self.link.key("tasks-last")).key(self.link.key("epoch"));
        script.key(self.link.key(lease));
        script.arg(self.link.channel()).arg(fence).arg(self.link.key("")).arg(millis(LIFE));
        script.arg(millis(TOLD)).arg(MOST).arg(Rank::WHOLE.number()).arg(Rank::ENDED.number());
        script.arg(millis(ASIDE)).arg(MOST_SECONDS);
        let seals = self.seals.load();
        for note in notes {
            let name = HEXLOWER.encode(&note.name);
            script.key(self.link.key(&format!("task:{name}"))).key(self.link.key(&format!("told:{name}")));
            let told = note.told.as_ref().filter(|told| told.len() <= LONGEST_TOLD);
            let told = told.map(|told| seals.seal(&bound("told", &note.name), told.as_bytes()));
            script
                .arg(name)
                .arg(note.rank.number())
                .arg(seals.seal(&bound("task", &note.name), &note.content));
            script.arg(told.unwrap_or_default()).arg(millis(note.life).max(1));
            script.arg(note.use_.day).arg(note.use_.aside).arg(note.use_.used).arg(note.use_.counts.len());
            for (count, epoch) in &note.use_.counts {
                // Of no epoch is what no count knows of.
                script.key(self.link.key(count)).arg(if epoch.is_empty() { "-" } else { epoch });
            }
        }
        let noted: String = self.link.run("note", &script).await?;
        Ok(if noted == "fenced" { Noted::Fenced } else { Noted::Done })
    }

    /// Reads what has changed since; all of it, if there are other keys by now, which may open more.
    pub(super) async fn read(&self, since: &Cursor) -> Result<Read, Away> {
        let seals = self.seals.load_full();
        let since = if since.seals == seals.edition() { since.last } else { 0 };
        let mut script = self.read.prepare_invoke();
        script.key(self.link.key("tasks"));
        script.arg(since).arg(AT_ONCE).arg(self.link.key("")).arg(millis(LIFE));
        type Listed = (String, u64, Vec<u8>, Vec<u8>);
        let listed: Vec<Listed> = self.link.run("read", &script).await?;
        let is_more = listed.len() == AT_ONCE;
        let last = listed.last().map_or(since, |(_, last, ..)| *last);
        let open = |(name, _, sealed, told): &Listed| {
            let name: TaskName = HEXLOWER.decode(name.as_bytes()).ok()?.try_into().ok()?;
            // Forgotten meanwhile.
            (!sealed.is_empty()).then_some(())?;
            let Some(content) = seals.open(&bound("task", &name), sealed) else {
                self.link.metrics.unreadable.inc();
                return None;
            };
            Some(Found { name, content, told: seals.open(&bound("told", &name), told) })
        };
        let tasks = listed.iter().filter_map(open).collect();
        Ok(Read { tasks, next: Cursor { last, seals: seals.edition() }, is_more })
    }
}

/// What a record is bound to: the key that it lies under.
fn bound(kind: &str, name: &TaskName) -> Vec<u8> {
    [b"valet relay 1 ", kind.as_bytes(), b" ", name].concat()
}
