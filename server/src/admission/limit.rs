//! One limit: kept by this process alone, or by permits that are drawn from what all replicas share.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use valet_pacing::{Quota, RateBudget};

use super::{Now, Stopped, audio::Audio, daily::Daily};
use crate::{
    config::WhenAway,
    shared_redis::{Away, Measure, Permits, SetAside, Shared, Take, name_aside},
};

/// What of a limit is shared.
#[derive(Debug)]
pub(super) struct Drawn {
    permits: Arc<Permits>,
    shared: Arc<Shared>,
}

impl Drawn {
    /// The limit that all replicas know by that name.
    pub(super) fn new(shared: &Arc<Shared>, name: &str) -> Self {
        Self { permits: Arc::new(shared.permits(name)), shared: shared.clone() }
    }

    /// Takes a permit; waits only if one has to be drawn. `None`: this process decides by itself, as one of so many.
    async fn take(
        &self,
        now: Instant,
        measure: Measure,
        spent: impl Fn() -> u32 + Clone + Send + Sync + 'static,
    ) -> Result<Option<u32>, Refused> {
        loop {
            match self.permits.take(now, measure, spent.clone()) {
                Take::Taken => return Ok(None),
                Take::Reached(wait) => return Err(Refused::Reached(wait)),
                Take::Draw => {
                    let clock = || self.shared.now();
                    if self.permits.draw(clock, measure, spent.clone()).await.is_ok() {
                        continue;
                    }
                }
                Take::Away => {}
            }
            return match self.shared.without().limits {
                WhenAway::Continue => Ok(Some(self.permits.replicas())),
                WhenAway::Refuse => Err(Refused::Away),
            };
        }
    }
}

/// Why there is no permit.
enum Refused {
    Reached(Duration),
    Away,
}

impl Refused {
    fn of(self, limit: &'static str) -> Stopped {
        match self {
            Self::Reached(retry_after) => Stopped::reached(limit, retry_after),
            Self::Away => Stopped::Away(Away),
        }
    }
}

/// A rate.
#[derive(Debug)]
pub(super) struct Rate {
    own: RateBudget,
    drawn: Option<Drawn>,
}

impl Rate {
    pub(super) fn new(now: Instant, drawn: Option<Drawn>) -> Self {
        Self { own: RateBudget::new(now), drawn }
    }

    pub(super) async fn take(&self, limit: &'static str, now: Now, quota: Quota) -> Result<(), Stopped> {
        match &self.drawn {
            None => self.take_own(limit, now, quota),
            // In a box: what replicas alone need is not to make every request's future larger.
            Some(drawn) => Box::pin(self.take_shared(drawn, limit, now, quota)).await,
        }
    }

    async fn take_shared(
        &self,
        drawn: &Drawn,
        limit: &'static str,
        now: Now,
        quota: Quota,
    ) -> Result<(), Stopped> {
        match drawn.take(now.instant, Measure::Rate(quota), || 0).await {
            Ok(None) => Ok(()),
            Ok(Some(replicas)) => {
                let own = Quota::every(quota.interval() * replicas, quota.burst() / replicas);
                self.take_own(limit, now, own)
            }
            Err(refused) => Err(refused.of(limit)),
        }
    }

    fn take_own(&self, limit: &'static str, now: Now, quota: Quota) -> Result<(), Stopped> {
        self.own.take(now.instant, quota).map_err(|wait| Stopped::reached(limit, wait))
    }
}

/// So many in a day of UTC.
#[derive(Debug)]
pub(super) struct Day {
    /// What this process has used, whoever knows of it besides.
    own: Arc<Daily>,
    drawn: Option<Drawn>,
}

impl Day {
    pub(super) fn new(drawn: Option<Drawn>) -> Self {
        Self { own: Arc::default(), drawn }
    }

    /// Counts what was taken before this process began; the others know of it.
    pub(super) fn know(&self, unix: Duration) {
        self.own.know(unix);
    }

    /// Tells the others what this process has used.
    pub(super) async fn tell(&self, unix: Duration) -> Result<(), Away> {
        match &self.drawn {
            Some(drawn) => drawn.permits.tell(|| self.own.used(unix)).await,
            None => Ok(()),
        }
    }

    pub(super) async fn take(&self, limit: &'static str, now: Now, most: u32) -> Result<(), Stopped> {
        match &self.drawn {
            None => self.take_own(limit, now, most),
            // In a box, as a rate's.
            Some(drawn) => Box::pin(self.take_shared(drawn, limit, now, most)).await,
        }
    }

    async fn take_shared(
        &self,
        drawn: &Drawn,
        limit: &'static str,
        now: Now,
        most: u32,
    ) -> Result<(), Stopped> {
        let (used, unix) = (self.own.clone(), now.unix);
        match drawn.take(now.instant, Measure::Day(most), move || used.used(unix)).await {
            Ok(None) => {
                self.own.know(now.unix);
                Ok(())
            }
            Ok(Some(replicas)) => {
                self.take_own(limit, now, most.div_ceil(replicas))?;
                drawn.permits.owe();
                Ok(())
            }
            Err(refused) => Err(refused.of(limit)),
        }
    }

    fn take_own(&self, limit: &'static str, now: Now, most: u32) -> Result<(), Stopped> {
        self.own.take(now.unix, most).map_err(|wait| Stopped::reached(limit, wait))
    }
}

/// So many seconds of audio in a day of UTC.
#[derive(Debug)]
pub(super) struct Seconds {
    own: Audio,
    shared: Option<(String, Arc<Shared>)>,
}

/// Seconds of one limit that are set aside.
#[derive(Clone, Debug)]
pub(super) struct Aside {
    /// The limit, by its name among the replicas, and the epoch in which they know of it; the name of what was set aside,
    /// if they may know of it; nothing, if they do not.
    pub(super) count: Option<(String, String)>,
    /// The day of UTC that they are of.
    pub(super) day: u64,
}

impl Seconds {
    pub(super) fn new(shared: Option<(String, Arc<Shared>)>) -> Self {
        Self { own: Audio::default(), shared }
    }

    /// Sets seconds aside, of `most` a day if there is a limit.
    pub(super) async fn set_aside(
        &self,
        limit: &'static str,
        unix: Duration,
        seconds: u64,
        most: Option<u64>,
    ) -> Result<Aside, Stopped> {
        let (day, mut own, mut count) = (super::daily::day(unix), most, None);
        if let (Some(most), Some((name, shared))) = (most, &self.shared) {
            let aside = name_aside();
            match shared.set_aside(name, &aside, seconds, most.min(MOST_SECONDS)).await {
                Ok(SetAside::Taken { day, epoch }) => {
                    self.own.know(unix, seconds);
                    return Ok(Aside { count: Some((name.clone(), epoch)), day });
                }
                Ok(SetAside::Reached(wait)) => return Err(Stopped::reached(limit, wait)),
                Err(away) if shared.without().limits == WhenAway::Refuse => return Err(away.into()),
                // The others hear of it with the task; or it is counted late, by then or never.
                Err(Away) => {
                    own = Some(most / u64::from(shared.replicas()));
                    count = Some((name.clone(), aside));
                }
            }
        }
        let reserved = self.own.reserve(unix, seconds, own.unwrap_or(u64::MAX));
        reserved.map_err(|wait| Stopped::reached(limit, wait))?;
        Ok(Aside { count, day })
    }

    /// Counts what was taken before this process began.
    pub(super) fn know(&self, unix: Duration, seconds: u64) {
        self.own.know(unix, seconds);
    }

    /// Has `used` seconds in place of those that were set aside here.
    pub(super) fn settle(&self, submitted: Duration, aside: u64, used: u64) {
        self.own.settle(submitted, aside, used);
    }

    /// Gives back what was set aside, wherever it is counted.
    pub(super) async fn give_back(&self, submitted: Duration, seconds: u64, aside: &Aside) {
        self.own.settle(submitted, seconds, 0);
        if let (Some((name, known)), Some((_, shared))) = (&aside.count, &self.shared)
            && !known.is_empty()
        {
            // What cannot be given back stays set aside for its day.
            let _: Result<(), Away> = shared.give_back(name, seconds, aside.day, known).await;
        }
    }

    /// What the replicas call it, and the epoch of what they do not know of.
    pub(super) fn unknown_count(&self) -> Option<(String, String)> {
        self.shared.as_ref().map(|(name, _)| (name.clone(), String::new()))
    }
}

/// More seconds than these are counted by nobody.
const MOST_SECONDS: u64 = 1 << 50;
