//! What several replicas share on Redis (or Valkey): upstream tokens, limits, what was shown and what was revoked; of the
//! relay, its tasks, its submits and whose turn it is to poll.
//!
//! No store of its own stands behind a trait here: each stage keeps its memory, and this beside it. A hit asks
//! nothing of it, and whatever it cannot answer, the stage decides by its own memory. Knows no stage.

mod client;
mod inspector;
mod keyrings;
mod leases;
mod link;
mod metrics;
mod mints;
mod permits;
mod prelude;
mod records;
mod said;
mod seal;
mod seconds;
mod settling;
mod submits;
mod tasks;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use tokio::sync::broadcast;
use valet_clock::{ClockExt, SharedClock};

pub use self::{
    inspector::{Inspection, Uninspected, inspect},
    leases::{Attended, Queried, Query, Right, Service, Turn},
    mints::{Claimed, Lease, Listening, Place, Taken, Told},
    permits::{Measure, Permits, Take},
    records::Remembered,
    said::Said,
    seconds::{SetAside, name_aside},
    submits::{Fate, Submit, SubmitClaim, SubmitListening, SubmitName, ToldSubmit},
    tasks::{Cursor, Note, Noted, Progress, Rank, Read, TaskName, Use},
};
use self::{
    keyrings::Keyrings, leases::Leases, link::Link, metrics::Metrics, mints::Mints, permits::Scripts,
    records::Records, seal::Seals, seconds::Seconds, settling::Settling, submits::Submits, tasks::Tasks,
};
use crate::config::{self, Without};

/// How often a replica says that it lives, looks whether what it knows is still there, and, while the server is
/// away, whether it has come back.
const INTERVAL: Duration = Duration::from_secs(1);
/// A server that goes away as soon as it has come back is looked for less often, at least so often.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);

/// After everything was lost, replicas have so long to begin to add what they know themselves before what is there counts
/// as all that there is. They look once a second.
const SETTLE: Duration = Duration::from_secs(4);

/// The server is away, or cannot do what it is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the state that the replicas share is away")]
pub struct Away;

/// The state that this replica shares with others.
pub struct Shared {
    link: Arc<Link>,
    seals: Arc<ArcSwap<Seals>>,
    mints: Mints,
    records: Records,
    tasks: Tasks,
    submits: Submits,
    seconds: Seconds,
    settling: Settling,
    leases: Leases,
    keyrings: Keyrings,
    scripts: Arc<Scripts>,
    without: ArcSwap<Without>,
    clock: SharedClock,
}

impl Shared {
    /// What a configuration says; the server is looked for by [`attend`](Self::attend) and [`run`](Self::run).
    /// `instance` names this process among the replicas.
    #[must_use]
    pub fn new(
        config: &config::Shared,
        instance: &str,
        clock: SharedClock,
        registry: &mut Registry,
    ) -> Arc<Self> {
        let link = Link::new(config, instance.to_owned(), Metrics::register(registry));
        let seals = Arc::new(ArcSwap::from_pointee(Seals::new(&config.keys)));
        Arc::new(Self {
            mints: Mints::new(link.clone(), seals.clone()),
            tasks: Tasks::new(link.clone(), seals.clone()),
            submits: Submits::new(link.clone(), seals.clone()),
            seconds: Seconds::new(link.clone()),
            settling: Settling::new(link.clone()),
            leases: Leases::new(link.clone()),
            keyrings: Keyrings::new(link.clone(), seals.clone()),
            seals,
            records: Records::new(link.clone()),
            scripts: Arc::new(Scripts::new()),
            without: ArcSwap::from_pointee(config.without),
            link,
            clock,
        })
    }

    /// Takes up what of a changed configuration can be taken up: the sealing keys, and what is done without the
    /// server.
    pub fn reconfigure(&self, config: &config::Shared) {
        self.without.store(Arc::new(config.without));
        if let Some(seals) = self.seals.load().followed_by(&config.keys) {
            self.seals.store(Arc::new(seals));
            // What could not be opened is there to be read, perhaps.
            self.link.tell(Said::Noted);
        }
    }

    /// Looks once whether the server is there.
    pub async fn attend(&self) {
        self.link.attend().await;
    }

    /// Keeps the connection, for as long as it is polled.
    pub async fn run(&self) {
        // It may fall because one answer took too long; if it does so again and again, there is more to it.
        let (mut wait, mut fell) = (INTERVAL, None);
        loop {
            self.link.attend().await;
            tokio::select! {
                () = self.clock.sleep(INTERVAL) => {}
                () = self.link.fallen.notified() => {
                    let now = self.clock.now();
                    let again = fell.is_some_and(|before| now < before + LONGEST_INTERVAL);
                    wait = if again { (wait * 2).min(LONGEST_INTERVAL) } else { INTERVAL };
                    fell = Some(now);
                    self.clock.sleep(wait).await;
                }
            }
        }
    }

    /// Whether the server is there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.link.is_there()
    }

    /// The epoch, while the server is there: another one than before, once everything was lost.
    #[must_use]
    pub fn epoch(&self) -> Option<String> {
        self.link.epoch()
    }

    /// Says that this replica adds what it knows: for a few seconds more, what is there counts as unsettled. One that
    /// has not itself `lost` what was there says so only while that is so anyway. Tells whether it is.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn adding(&self, lost: bool) -> Result<bool, Away> {
        self.settling.add(lost).await
    }

    /// How many replicas there are, this one among them, as far as is known.
    #[must_use]
    pub fn replicas(&self) -> u32 {
        self.link.replicas()
    }

    /// What is done while the server is away.
    #[must_use]
    pub fn without(&self) -> Without {
        **self.without.load()
    }

    /// What is said from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Said> {
        self.link.listen()
    }

    /// Hears what changes at a place.
    #[must_use]
    pub fn listen_at(&self, place: &Place) -> Listening {
        self.mints.listen(place)
    }

    /// Claims a place, whose token is wanted only if its fence is greater than `seen`.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn claim(&self, place: &Place, seen: u64) -> Result<Claimed, Away> {
        self.mints.claim(place, seen, || self.clock.now()).await
    }

    /// Ends a lease: tells the others of its token, or that there is none.
    pub async fn publish(&self, lease: Lease, told: Option<Told<'_>>) {
        self.mints.publish(lease, told).await;
    }

    /// Counts a token that was taken over.
    pub fn taken_over(&self) {
        self.mints.taken_over();
    }

    /// The permits of the limit called `name`, which is the same for all replicas.
    #[must_use]
    pub fn permits(&self, name: &str) -> Permits {
        Permits::new(self.link.clone(), self.scripts.clone(), format!("permits:{name}"))
    }

    /// Whether this is the first time that a token is shown anywhere; it is remembered for its time.
    ///
    /// # Errors
    /// [`Away`], also for a few seconds after everything was lost.
    pub async fn record(&self, token: Remembered) -> Result<bool, Away> {
        self.records.record(token).await
    }

    /// Adds what this replica knows to have been shown.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn restore(&self, shown: &[Remembered]) -> Result<(), Away> {
        self.records.restore(shown).await
    }

    /// Tells everyone that tokens are revoked.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn revoke(&self, tokens: &[Remembered]) -> Result<(), Away> {
        self.records.revoke(tokens).await
    }

    /// The tokens that are revoked.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn revoked(&self) -> Result<Vec<Remembered>, Away> {
        self.records.revoked().await
    }

    /// The most tasks that are told of at once.
    pub const NOTES_AT_ONCE: usize = tasks::AT_ONCE;

    /// Tells the others of tasks, [so many](Self::NOTES_AT_ONCE) at most; if under a lease, by what it is of and its fence.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn note(&self, notes: &[Note], lease: Option<(Service<'_>, &str)>) -> Result<Noted, Away> {
        let lease = lease.map(|(service, fence)| (service.lease(), fence));
        self.tasks.note(notes, lease.as_ref().map(|(lease, fence)| (&**lease, *fence))).await
    }

    /// Reads what has become of tasks since.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn read(&self, since: &Cursor) -> Result<Read, Away> {
        self.tasks.read(since).await
    }

    /// Hears what becomes of a submit.
    #[must_use]
    pub fn listen_for(&self, name: SubmitName) -> SubmitListening {
        self.submits.listen(name)
    }

    /// Claims a submit of an app, which may have `most` of them at a time, for `life`; `content` is what the others
    /// see of it.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn claim_submit(
        &self,
        claim: SubmitClaim<'_>,
        content: &[u8],
        life: Duration,
        most: usize,
    ) -> Result<Submit, Away> {
        self.submits.claim(claim, content, life, most).await
    }

    /// The most submits that are told of at once.
    pub const SUBMITS_AT_ONCE: usize = submits::AT_ONCE;

    /// Tells what became of submits, [so many](Self::SUBMITS_AT_ONCE) at most, or that they are under way still.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn tell_submits(&self, told: &[ToldSubmit<'_>]) -> Result<(), Away> {
        self.submits.tell(told).await
    }

    /// Sets seconds aside in the count of that name, of `most` a day; what is set aside has a [name](name_aside) of its
    /// own.
    ///
    /// # Errors
    /// [`Away`], also for a few seconds after everything was lost.
    pub async fn set_aside(
        &self,
        count: &str,
        aside: &str,
        seconds: u64,
        most: u64,
    ) -> Result<SetAside, Away> {
        self.seconds.set_aside(count, aside, seconds, most).await
    }

    /// Gives seconds back that were set aside on a day and in an epoch, or, if that is not known, under that name.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn give_back(&self, count: &str, seconds: u64, day: u64, known: &str) -> Result<(), Away> {
        self.seconds.give_back(count, seconds, day, known).await
    }

    /// Whose turn it is to poll an upstream: renews the lease that this replica has, or takes one if nobody has it. `direct`
    /// tells for how long it has direct callers.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn hold(
        &self,
        service: Service<'_>,
        right: Right<'_>,
        direct: Duration,
    ) -> Result<Attended, Away> {
        self.leases.hold(service, right, direct).await
    }

    /// Takes a query from what an account may be asked.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn query(&self, query: Query<'_>) -> Result<Queried, Away> {
        self.leases.query(query).await
    }

    /// Gives a lease up.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn leave(&self, service: Service<'_>, fence: &str) -> Result<(), Away> {
        self.leases.leave(service, fence).await
    }

    /// The names of the relay's keys that each of the other replicas has.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn other_keys(&self) -> Result<Vec<String>, Away> {
        self.keyrings.others().await
    }

    /// Tells the others the names of the relay's keys that this replica has, or that it has none any more; gives those
    /// of each of them.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn tell_keys(&self, keys: Option<&str>) -> Result<Vec<String>, Away> {
        self.keyrings.tell(keys).await
    }

    /// So many replicas have other keys of the relay.
    pub fn keys_differ(&self, replicas: usize) {
        self.link.metrics.keys_differ.set(i64::try_from(replicas).unwrap_or(i64::MAX));
    }

    /// Says something to all replicas.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn say(&self, said: &Said) -> Result<(), Away> {
        self.link.say(said).await
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("link", &self.link).finish_non_exhaustive()
    }
}
