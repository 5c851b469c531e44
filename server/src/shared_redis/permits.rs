//! Permits of a limit that all replicas keep together. A replica draws a batch ahead and spends it by itself, so that
//! all of them together exceed the limit by no more than one batch each.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use redis::Script;
use valet_pacing::Quota;

use super::{
    Away, SETTLE,
    link::{Link, millis},
};

/// The most permits drawn at once: their spending takes longer than the next draw.
const LARGEST_BATCH: u32 = 1000;

/// A rate by GCRA (ITU-T I.371), in the server's time: takes as many permits of those wanted as there are, or tells
/// the microseconds until there is one.
const DRAW_RATE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local ahead = arrival - now
local free = math.floor(burst - ahead / interval + 0.000001)
if free < 1 then return {0, math.max(math.ceil(ahead - (burst - 1) * interval), 1), ''} end
local count = math.min(free, want)
arrival = arrival + count * interval
redis.call('SET', KEYS[1], string.format('%.3f', arrival), 'PX', math.ceil((arrival - now) / 1000) + 1)
return {count, 0, ''}
";

/// Permits of a day of UTC, by the server's date. What a replica spent without the server is added; all that it
/// spent, if the epoch is another than when it last drew: then what the server knew is lost. Nothing is drawn until
/// every replica has had the time to add its own.
const DRAW_DAY: &str = r"
local time = redis.call('TIME')
local day = math.floor(time[1] / 86400)
local most, want = tonumber(ARGV[1]), tonumber(ARGV[2])
local there = redis.call('HMGET', KEYS[1], 'day', 'used')
local used = 0
if there[1] and tonumber(there[1]) == day then used = tonumber(there[2]) end
local epoch = redis.call('GET', KEYS[2]) or ''
if ARGV[3] ~= '' and ARGV[3] ~= epoch then used = used + ARGV[4] else used = used + ARGV[5] end
local count = math.max(math.min(most - used, want), 0)
local since = string.match(epoch, ':(%d+)$')
local unsettled = not since or time[1] * 1000 + math.floor(time[2] / 1000) - since < tonumber(ARGV[6])
if unsettled then count = 0 end
redis.call('HSET', KEYS[1], 'day', day, 'used', used + count)
redis.call('PEXPIRE', KEYS[1], 90000000)
if unsettled then return {0, 0, epoch} end
return {count, ((day + 1) * 86400 - time[1]) * 1000000 - time[2], epoch}
";

/// How much a limit allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Measure {
    /// A rate.
    Rate(Quota),
    /// So many in a day of UTC.
    Day(u32),
}

impl Measure {
    /// How many permits are drawn ahead: few enough that a replica which draws them and stops keeps little from the
    /// others, and one, exactly what is asked for, where a limit is small.
    fn batch(self) -> u32 {
        match self {
            Self::Rate(quota) => (quota.burst() / 10).clamp(1, LARGEST_BATCH),
            Self::Day(most) => (most / 100).clamp(1, LARGEST_BATCH),
        }
    }
}

/// The scripts, which all limits share.
pub(super) struct Scripts {
    rate: Script,
    day: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self { rate: Script::new(DRAW_RATE), day: Script::new(DRAW_DAY) }
    }
}

/// The permits of one limit.
pub struct Permits {
    link: Arc<Link>,
    scripts: Arc<Scripts>,
    name: String,
    hand: Mutex<Hand>,
    /// Held by whoever draws: the others wait for the same.
    drawing: tokio::sync::Mutex<()>,
    waiting: AtomicU32,
}

#[derive(Debug)]
struct Hand {
    measure: Option<Measure>,
    left: u32,
    /// Until when what is in hand is good.
    until: Option<Instant>,
    /// Until when there is nothing to be had.
    barred: Option<Instant>,
    /// The epoch of the last draw.
    epoch: String,
    /// What was spent since, without the server.
    owed: u32,
    is_drawing_ahead: bool,
}

/// What becomes of an attempt to take a permit.
#[derive(Debug)]
pub enum Take {
    /// It is taken.
    Taken,
    /// There is none for so long.
    Reached(Duration),
    /// None is in hand: draw, and try again.
    Draw,
    /// None is in hand, and none can be drawn.
    Away,
}

impl Permits {
    pub(super) fn new(link: Arc<Link>, scripts: Arc<Scripts>, name: String) -> Self {
        let hand = Hand {
            measure: None,
            left: 0,
            until: None,
            barred: None,
            epoch: String::new(),
            owed: 0,
            is_drawing_ahead: false,
        };
        Self {
            link,
            scripts,
            name,
            hand: Mutex::new(hand),
            drawing: tokio::sync::Mutex::default(),
            waiting: AtomicU32::new(0),
        }
    }

    /// How many replicas part a limit while none of them can draw.
    #[must_use]
    pub fn replicas(&self) -> u32 {
        self.link.replicas()
    }

    /// Takes a permit of those in hand; draws the next ones in the background when they run low. Never waits.
    /// `spent` says how many of today's this replica has spent already.
    pub fn take(
        self: &Arc<Self>,
        now: Instant,
        measure: Measure,
        spent: impl Fn() -> u32 + Send + Sync + 'static,
    ) -> Take {
        let mut hand = self.lock();
        hand.turn(now, measure);
        if hand.left == 0 {
            return match hand.barred {
                Some(until) => Take::Reached(until - now),
                None if self.link.is_there() => Take::Draw,
                None => Take::Away,
            };
        }
        hand.left -= 1;
        let batch = measure.batch();
        let is_low =
            hand.left < batch / 2 && hand.barred.is_none() && !hand.is_drawing_ahead && self.link.is_there();
        if is_low {
            hand.is_drawing_ahead = true;
            drop(hand);
            let permits = self.clone();
            tokio::spawn(async move {
                let _: Result<(), Away> = permits.draw_now(move || now, measure, &spent, true).await;
                permits.lock().is_drawing_ahead = false;
            });
        }
        Take::Taken
    }

    /// A permit was spent that the server knows nothing of.
    pub fn owe(&self) {
        let mut hand = self.lock();
        hand.owed = hand.owed.saturating_add(1);
    }

    /// Draws permits, unless somebody else has just done so.
    ///
    /// # Errors
    /// [`Away`] if there is nobody to draw them from.
    pub async fn draw(
        &self,
        now: impl Fn() -> Instant + Send,
        measure: Measure,
        spent: impl Fn() -> u32 + Send,
    ) -> Result<(), Away> {
        self.waiting.fetch_add(1, Relaxed);
        let _waits = Waits(&self.waiting);
        self.draw_now(now, measure, &spent, false).await
    }

    async fn draw_now(
        &self,
        now: impl Fn() -> Instant + Send,
        measure: Measure,
        spent: &(impl Fn() -> u32 + Send),
        is_ahead: bool,
    ) -> Result<(), Away> {
        let _one_at_a_time = self.drawing.lock().await;
        let (epoch, owed, left) = {
            let mut hand = self.lock();
            hand.turn(now(), measure);
            let is_served = hand.left > 0 && !is_ahead;
            if is_served || hand.barred.is_some() {
                return Ok(());
            }
            (hand.epoch.clone(), hand.owed, hand.left)
        };
        // Those who wait spend theirs at once: only what is beyond them is drawn ahead.
        let want =
            self.waiting.load(Relaxed).clamp(1, LARGEST_BATCH).max(measure.batch().saturating_sub(left));
        let (kind, script) = match measure {
            Measure::Rate(_) => ("draw_rate", &self.scripts.rate),
            Measure::Day(_) => ("draw_day", &self.scripts.day),
        };
        let mut script = script.prepare_invoke();
        script.key(self.link.key(&self.name));
        match measure {
            Measure::Rate(quota) => {
                let micros = quota.interval().as_secs_f64() * 1e6;
                script.arg(format!("{micros:.6}")).arg(quota.burst()).arg(want);
            }
            Measure::Day(most) => {
                script.key(self.link.key("epoch"));
                script.arg(most).arg(want).arg(&epoch).arg(spent()).arg(owed).arg(millis(SETTLE));
            }
        }
        let (count, wait, epoch): (u32, u64, String) = self.link.run(kind, &script).await?;
        let (now, wait) = (now(), Duration::from_micros(wait));
        let mut hand = self.lock();
        if hand.measure == Some(measure) {
            hand.left += count;
            hand.until = matches!(measure, Measure::Day(_)).then(|| now + wait);
            hand.barred = (count == 0).then(|| now + wait);
        }
        hand.epoch = epoch;
        hand.owed = hand.owed.saturating_sub(owed);
        // Neither permits nor a time to wait: not settled yet.
        if count == 0 && wait.is_zero() { Err(Away) } else { Ok(()) }
    }

    /// Tells the server what this replica has spent today, if it has spent anything.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn tell(&self, spent: impl Fn() -> u32) -> Result<(), Away> {
        let _one_at_a_time = self.drawing.lock().await;
        let (measure, epoch, owed) = {
            let hand = self.lock();
            (hand.measure, hand.epoch.clone(), hand.owed)
        };
        let Some(Measure::Day(most)) = measure else { return Ok(()) };
        let mut script = self.scripts.day.prepare_invoke();
        script.key(self.link.key(&self.name)).key(self.link.key("epoch"));
        script.arg(most).arg(0).arg(&epoch).arg(spent()).arg(owed).arg(millis(SETTLE));
        let (_, _, epoch): (u32, u64, String) = self.link.run("draw_day", &script).await?;
        let mut hand = self.lock();
        (hand.epoch, hand.owed) = (epoch, hand.owed.saturating_sub(owed));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().expect("no code panics while it holds the permits")
    }
}

impl Hand {
    /// Drops what is over by `now`, and all, if the limit is another now: a changed limit acts at once.
    fn turn(&mut self, now: Instant, measure: Measure) {
        if self.measure != Some(measure) {
            (self.measure, self.left, self.until, self.barred) = (Some(measure), 0, None, None);
        }
        if self.until.is_some_and(|until| now >= until) {
            (self.left, self.until) = (0, None);
        }
        self.barred = self.barred.filter(|until| now < *until);
    }
}

struct Waits<'w>(&'w AtomicU32);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl std::fmt::Debug for Permits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permits").field("name", &self.name).field("hand", &self.hand).finish_non_exhaustive()
    }
}
