//! What several replicas share on Redis (or Valkey): upstream tokens, limits, what was shown and what was revoked.
//!
//! No store of its own stands behind a trait here: each stage keeps its memory, and this beside it. A hit asks
//! nothing of it, and whatever it cannot answer, the stage decides by its own memory. Knows no stage.

mod client;
mod link;
mod metrics;
mod mints;
mod permits;
mod records;
mod seal;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use data_encoding::HEXLOWER;
use prometheus_client::registry::Registry;
use tokio::sync::broadcast;
use valet_clock::{ClockExt, SharedClock};

use self::{link::Link, metrics::Metrics, mints::Mints, permits::Scripts, records::Records, seal::Seals};
pub use self::{
    mints::{Claimed, Lease, Listening, Place, Taken, Told},
    permits::{Measure, Permits, Take},
    records::Remembered,
};
use crate::config::{self, Without};

/// How often a replica says that it lives, looks whether what it knows is still there, and, while the server is
/// away, whether it has come back.
const INTERVAL: Duration = Duration::from_secs(1);
/// A server that goes away as soon as it has come back is looked for less often, at least so often.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);

/// After everything was lost, replicas have so long to add what they know themselves before what is there counts as
/// all that there is. They look once a second.
const SETTLE: Duration = Duration::from_secs(4);

/// The server is away, or cannot do what it is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the state that the replicas share is away")]
pub struct Away;

/// Something that replicas tell one another, or that happened to the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Said {
    /// Something changed at the place of that digest.
    Minted([u8; 16]),
    /// A token was revoked.
    Revoked(Remembered),
    /// The connection is there, or there is nothing left behind it: what this replica knows is to be added.
    Joined,
    /// The connection is away.
    Fell,
}

/// The state that this replica shares with others.
pub struct Shared {
    link: Arc<Link>,
    mints: Mints,
    records: Records,
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
        Arc::new(Self {
            mints: Mints::new(link.clone(), Seals::new(&config.keys)),
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
        self.mints.seals.store(Arc::new(Seals::new(&config.keys)));
        self.without.store(Arc::new(config.without));
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

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl Said {
    /// As it is told on the channel.
    fn text(&self) -> String {
        match self {
            Self::Minted(digest) => format!("minted {}", HEXLOWER.encode(digest)),
            Self::Revoked((token, life)) => {
                format!("revoked {} {}", HEXLOWER.encode(token), life.as_millis())
            }
            Self::Joined | Self::Fell => String::new(),
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        match *text.split(' ').collect::<Vec<_>>() {
            ["minted", digest] => {
                Some(Self::Minted(HEXLOWER.decode(digest.as_bytes()).ok()?.try_into().ok()?))
            }
            ["revoked", token, life] => Self::remembered(token, life).map(Self::Revoked),
            _ => None,
        }
    }

    fn remembered(token: &str, life: &str) -> Option<Remembered> {
        let token = HEXLOWER.decode(token.as_bytes()).ok()?.try_into().ok()?;
        // Nothing that is remembered matters for longer than a day, whatever a writer says.
        let life = Duration::from_millis(life.parse().ok()?).min(Duration::from_secs(86_400));
        Some((token, life))
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("link", &self.link).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_and_what_is_not_ours_is_not() {
        for said in [Said::Minted([7; 16]), Said::Revoked(([9; 32], Duration::from_millis(1500)))] {
            assert_eq!(Said::parse(said.text().as_bytes()), Some(said));
        }
        let long = format!("revoked {} 1", "00".repeat(33));
        for other in ["", "minted", "minted xyz", "minted 00", "revoked 00 1", long.as_str(), "hello"] {
            assert_eq!(Said::parse(other.as_bytes()), None, "{other}");
        }
        assert_eq!(Said::parse(b"\xff"), None);
    }
}
