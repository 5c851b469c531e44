//! The rules of the token cache: one mint at a time, refresh ahead, stale rather than down.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapWeak};
use tracing::Instrument;
use valet_clock::SharedClock;
use valet_pacing::{Quota, RateBudget};

use super::{
    Failure, Kind, LiveToken, Metrics, Minted, Upstream,
    exchange::{self, Obtained, Want},
    slot::{Join, Lead, Live, Slot},
};
use crate::{
    config::{Lifetime, Sharing},
    policy::UpstreamUse,
    shared_redis::{Place, Shared},
};

type TokenSlot = Slot<Minted, Failure>;
type Slots = moka::sync::Cache<Key, Arc<TokenSlot>>;

/// How often an app may have a token replaced because the upstream refused it.
const REJECTION_INTERVAL: Duration = Duration::from_secs(10);
const REJECTION_BURST: u32 = 6;

/// Which token: typed, so that no two are mistaken for one another.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    upstream: Arc<str>,
    app: Arc<str>,
    class: Lifetime,
}

/// All cached upstream tokens.
///
/// moka bounds them in number; single flight and time are the slots' own.
#[derive(Debug)]
pub struct Cache {
    slots: ArcSwap<Slots>,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    /// What other replicas know, if there are any.
    shared: Option<Arc<Shared>>,
}

/// The tokens of one app: its places in the cache, and its caps.
#[derive(Debug)]
pub struct AppTokens {
    app: Arc<str>,
    /// A hash of what they are granted under: other replicas' tokens are of use only if it is the same.
    terms: [u8; 32],
    /// A place for each class of lifetime that the app may have.
    slots: Vec<ArcSwapWeak<TokenSlot>>,
    caps: Arc<Caps>,
}

/// How much of an app's caps is used.
#[derive(Debug)]
struct Caps {
    mints: RateBudget,
    rejections: RateBudget,
}

impl AppTokens {
    /// The tokens of an app with so many classes of lifetime; none yet. `terms` is a hash of what they are granted
    /// under.
    #[must_use]
    pub fn new(app: Arc<str>, classes: usize, terms: [u8; 32], now: Instant) -> Self {
        let caps = Caps { mints: RateBudget::new(now), rejections: RateBudget::new(now) };
        Self::with_caps(app, classes, terms, Arc::new(caps))
    }

    /// The tokens of the same app under another policy, and its caps as they are. What is cached is found again, if
    /// it was granted under an edition that is still good.
    #[must_use]
    pub fn anew(&self, classes: usize, terms: [u8; 32]) -> Self {
        Self::with_caps(self.app.clone(), classes, terms, self.caps.clone())
    }

    fn with_caps(app: Arc<str>, classes: usize, terms: [u8; 32], caps: Arc<Caps>) -> Self {
        let slots = (0..classes).map(|_| ArcSwapWeak::default()).collect();
        Self { app, terms, slots, caps }
    }
}

/// Where a token is taken from: the app's places, and the upstream that mints.
#[derive(Clone, Copy, Debug)]
pub struct Source<'s> {
    /// The app's tokens.
    pub tokens: &'s AppTokens,
    /// The upstream that the use is for.
    pub upstream: &'s Arc<Upstream>,
    /// Whether the token leaves the broker: then its holder draws on the account's queries.
    pub is_direct: bool,
}

impl Cache {
    /// An empty cache of at most `max` tokens.
    #[must_use]
    pub fn new(max: u64, clock: SharedClock, metrics: Arc<Metrics>) -> Self {
        Self { slots: ArcSwap::from_pointee(Slots::new(max)), clock, metrics, shared: None }
    }

    /// Keeps at most `max` tokens from now on. Those in hand stay, as far as there is room; one that is asked for
    /// for the first time just now may be minted once more.
    pub fn resize(&self, max: u64) {
        let resized = Slots::new(max);
        for (key, slot) in &**self.slots.load() {
            resized.insert(Key::clone(&key), slot);
        }
        self.slots.store(Arc::new(resized));
    }

    /// The same, with tokens that other replicas know as well.
    #[must_use]
    pub fn shared_by(self, shared: Option<Arc<Shared>>) -> Self {
        Self { shared, ..self }
    }

    /// The token in hand, if it serves `upstream_use`: the whole of a hit, without a wait. One that
    /// is due starts its refresh, and is handed out all the same.
    #[must_use]
    pub fn peek(&self, source: Source<'_>, upstream_use: &UpstreamUse, now: Instant) -> Option<LiveToken> {
        if upstream_use.sharing == Sharing::None || upstream_use.rejected.is_some() {
            return None;
        }
        let slot = self.slot(source, upstream_use);
        let live = slot.last().filter(|live| serves(live, upstream_use, now))?;
        Some(self.hit(&slot, live, source, upstream_use, now))
    }

    /// Hands out a token in hand; one that is due starts its refresh.
    fn hit(
        &self,
        slot: &Arc<TokenSlot>,
        live: Arc<Live<Minted>>,
        source: Source<'_>,
        upstream_use: &UpstreamUse,
        now: Instant,
    ) -> LiveToken {
        self.refresh_if_due(slot, &live, source, upstream_use, now);
        self.metrics.hits.inc();
        source.upstream.hand_out(live, source.is_direct)
    }

    fn refresh_if_due(
        &self,
        slot: &Arc<TokenSlot>,
        live: &Arc<Live<Minted>>,
        source: Source<'_>,
        upstream_use: &UpstreamUse,
        now: Instant,
    ) {
        if live.is_due(now)
            && let Join::Lead(lead) = slot.join(now, Some(live))
        {
            self.mint(lead, source, upstream_use.clone(), now);
        }
    }

    /// A token for `upstream_use`: the one in hand, the one being minted, or a new one.
    ///
    /// # Errors
    /// If there is none to be had now.
    pub async fn obtain(&self, source: Source<'_>, upstream_use: UpstreamUse) -> Result<LiveToken, Failure> {
        let first = self.attempt(source, upstream_use.clone()).await;
        match first {
            // What it waited for was begun under another policy or by a key that is gone: not its fault.
            Err(failure) if failure.kind == Kind::Superseded && upstream_use.edition().is_valid() => {
                self.attempt(source, upstream_use).await
            }
            outcome => outcome,
        }
    }

    async fn attempt(&self, source: Source<'_>, upstream_use: UpstreamUse) -> Result<LiveToken, Failure> {
        let now = self.clock.now();
        if !upstream_use.edition().is_valid() {
            return Err(Failure::of(Kind::Superseded));
        }
        if upstream_use.sharing == Sharing::None {
            let replicas = self.shared.as_ref().map_or(1, |shared| shared.replicas());
            source.tokens.take_mint(shared_quota(upstream_use.mints, replicas), now)?;
            let live = Arc::new(source.upstream.pool.mint(&upstream_use).await?);
            return self.hand_out(source, live, &upstream_use);
        }
        let slot = self.slot(source, &upstream_use);
        let in_hand = slot.peek(now);
        if let Some(live) = &in_hand {
            if upstream_use.rejected == Some(live.value.sha256) {
                // It stays in hand for the others until its successor is there.
                source.tokens.take_rejection(now)?;
            } else if serves(live, &upstream_use, now) {
                return Ok(self.hit(&slot, live.clone(), source, &upstream_use, now));
            } else if may_be_handed_out(live, &upstream_use) && !live.is_due(now) {
                // The upstream grants less than was asked for: another one would live no longer.
                return Err(Failure::of(Kind::TooShort));
            }
        }
        let follow = match slot.join(now, in_hand.as_ref()) {
            Join::Landed(live) => return self.hand_out(source, live, &upstream_use),
            Join::Barred(mut failure, wait) => {
                failure.retry_after = wait;
                return Err(failure);
            }
            Join::Follow(follow) => {
                self.metrics.coalesced.inc();
                follow
            }
            Join::Lead(lead) => {
                let follow = lead.follow();
                self.mint(lead, source, upstream_use.clone(), now);
                follow
            }
        };
        let live = follow.outcome().await.unwrap_or_else(|| Err(Failure::of(Kind::Superseded)))?;
        let token = self.hand_out(source, live.clone(), &upstream_use)?;
        // Another replica may have minted it a while ago.
        self.refresh_if_due(&slot, &live, source, &upstream_use, self.clock.now());
        Ok(token)
    }

    /// Mints for everyone who waits. Detached: a caller that hangs up strands nobody.
    fn mint(&self, lead: Lead<Minted, Failure>, source: Source<'_>, upstream_use: UpstreamUse, now: Instant) {
        if self.shared.is_none()
            && let Err(capped) = source.tokens.take_mint(upstream_use.mints, now)
        {
            let until = now + capped.memory();
            return lead.fail(capped, until);
        }
        let (upstream, clock, metrics) = (source.upstream.clone(), self.clock.clone(), self.metrics.clone());
        let span = tracing::info_span!(
            "mint",
            upstream = &**upstream.pool.name(),
            app = &*source.tokens.app,
            lifetime = upstream_use.lifetime.seconds(),
            refresh = lead.has_live(now),
        );
        let (shared, tokens) = (self.shared.clone(), source.tokens);
        let place = shared.as_ref().map(|_| tokens.place(upstream.pool.name(), &upstream_use));
        let caps = tokens.caps.clone();
        let mint = async move {
            let obtained = match shared.as_ref().zip(place.as_ref()) {
                None => upstream.pool.mint(&upstream_use).await.map(|live| Obtained { live, lease: None }),
                Some((shared, place)) => {
                    let last = lead.last();
                    let in_hand = last.as_deref().filter(|live| live.is_servable(clock.now()));
                    let coalesced = &metrics.coalesced;
                    let want =
                        Want { upstream: &upstream, upstream_use: &upstream_use, place, in_hand, coalesced };
                    // Only who mints takes from the cap, and each replica has its share of it.
                    let quota = shared_quota(upstream_use.mints, shared.replicas());
                    let cap = || capped(caps.mints.take(clock.now(), quota));
                    exchange::obtain(shared, &clock, want, cap).await
                }
            };
            match obtained {
                Ok(Obtained { live, lease }) => {
                    let live = may_be_handed_out(&live, &upstream_use).then_some(live);
                    let live = match live {
                        Some(live) => Some(lead.succeed(live)),
                        None => {
                            lead.fail(Failure::of(Kind::Superseded), clock.now());
                            None
                        }
                    };
                    if let Some((shared, lease)) = shared.zip(lease) {
                        exchange::tell(&shared, lease, live.as_deref()).await;
                    }
                }
                Err(failure) => {
                    metrics.mint_failed(lead.has_live(clock.now()));
                    let until = clock.now() + failure.memory();
                    lead.fail(failure, until);
                }
            }
        };
        tokio::spawn(mint.instrument(span));
    }

    fn hand_out(
        &self,
        source: Source<'_>,
        live: Arc<Live<Minted>>,
        upstream_use: &UpstreamUse,
    ) -> Result<LiveToken, Failure> {
        // The policy or the key may have changed while the mint was under way.
        if serves(&live, upstream_use, self.clock.now()) {
            Ok(source.upstream.hand_out(live, source.is_direct))
        } else if may_be_handed_out(&live, upstream_use) {
            Err(Failure::of(Kind::TooShort))
        } else {
            Err(Failure::of(Kind::Superseded))
        }
    }

    /// Drops every token that may not be handed out any more, to whoever asks.
    pub fn sweep(&self) {
        let slots = self.slots.load();
        for (key, slot) in &**slots {
            let void =
                |live: &Live<Minted>| !live.value.edition.is_valid() || live.value.key.health.is_withdrawn();
            if slot.peek(self.clock.now()).is_some_and(|live| void(&live)) {
                slots.invalidate(&*key);
            }
        }
    }

    /// How many tokens there is room for and use of.
    #[must_use]
    pub fn len(&self) -> u64 {
        let slots = self.slots.load();
        slots.run_pending_tasks();
        slots.entry_count()
    }

    /// Whether no token is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The place of the token. The app knows it without a look-up, for as long as the cache keeps it.
    fn slot(&self, source: Source<'_>, upstream_use: &UpstreamUse) -> Arc<TokenSlot> {
        let place = &source.tokens.slots[upstream_use.class];
        if let Some(slot) = place.load().upgrade() {
            return slot;
        }
        let key = Key {
            upstream: source.upstream.pool.name().clone(),
            app: source.tokens.app.clone(),
            class: upstream_use.lifetime,
        };
        let slot = self.slots.load().get_with(key, || Arc::new(Slot::new()));
        place.store(Arc::downgrade(&slot));
        slot
    }
}

impl AppTokens {
    /// Where the replicas know its token.
    fn place(&self, upstream: &str, upstream_use: &UpstreamUse) -> Place {
        Place::new(upstream, &self.app, upstream_use.lifetime.seconds(), &self.terms)
    }

    fn take_mint(&self, quota: Quota, now: Instant) -> Result<(), Failure> {
        capped(self.caps.mints.take(now, quota))
    }

    fn take_rejection(&self, now: Instant) -> Result<(), Failure> {
        let quota = Quota::every(REJECTION_INTERVAL, REJECTION_BURST);
        capped(self.caps.rejections.take(now, quota))
    }
}

/// A replica's share of a quota: all of them together have no more than the quota, but for what rounding adds.
fn shared_quota(quota: Quota, replicas: u32) -> Quota {
    Quota::every(quota.interval() * replicas, quota.burst() / replicas)
}

fn capped(taken: Result<(), Duration>) -> Result<(), Failure> {
    taken.map_err(|retry_after| Failure { retry_after, ..Failure::of(Kind::MintCap) })
}

/// Whether the policy and the key that a token came from are still in force.
fn may_be_handed_out(live: &Live<Minted>, upstream_use: &UpstreamUse) -> bool {
    let minted = &live.value;
    minted.edition.is(upstream_use.edition())
        && minted.edition.is_valid()
        && !minted.key.health.is_withdrawn()
}

pub(super) fn serves(live: &Live<Minted>, upstream_use: &UpstreamUse, now: Instant) -> bool {
    live.lasts(upstream_use.min_ttl, now) && may_be_handed_out(live, upstream_use)
}
