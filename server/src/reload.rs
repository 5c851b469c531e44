//! Reload: what the file says now becomes a site, checked and swapped in whole, or nothing changes.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::sync::Notify;
use valet_clock::{ClockExt, SharedClock};

use crate::{
    audit::{self, Event},
    config::{self, Config, Source, Unusable},
    issue::Issue,
    ledger::{self, Ledger},
    relay::Relay,
    site::Site,
    token,
};

/// How often the files are looked at. A change is applied once it has stood for two looks: a file that
/// is being written may well read as a configuration that lacks half of its apps.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// And no more often than this for each app: a look takes about a hundredth of it, and so of a core.
const FOR_EACH_APP: Duration = Duration::from_millis(1);

/// Follows a configuration.
#[derive(Debug)]
pub struct Reload {
    source: Source,
    /// What is in force.
    applied: Config,
    /// The relay as it was when its ledger was opened, if it was.
    opened: Option<config::Relay>,
    sight: Sight,
    parts: Parts,
    asked: Asked,
}

/// What a reload acts on.
#[derive(Debug)]
pub struct Parts {
    /// Where the site is in force.
    pub issue: Arc<Issue>,
    /// The relay, which has a ledger once the configuration has a relay.
    pub relay: Arc<Relay>,
    /// What that is opened by.
    pub ledgers: ledger::Opener,
    /// What new upstreams count.
    pub token_metrics: Arc<token::Metrics>,
    /// The time.
    pub clock: SharedClock,
    /// What is counted of reloads.
    pub metrics: Metrics,
}

/// Asks for a reload now; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Asked(Arc<Notify>);

impl Asked {
    /// Reloads at once, without waiting for the files to stand still.
    pub fn now(&self) {
        self.0.notify_one();
    }
}

/// What is counted of reloads.
#[derive(Debug)]
pub struct Metrics {
    reloads: Family<Reloaded, Counter>,
    applied_at: Gauge,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Reloaded {
    outcome: &'static str,
}

impl Metrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self { reloads: Family::default(), applied_at: Gauge::default() };
        registry.register("config_reloads", "Reloads by outcome", metrics.reloads.clone());
        let help = "When the configuration in force was applied, in Unix seconds";
        registry.register("config_applied_timestamp_seconds", help, metrics.applied_at.clone());
        metrics
    }
}

impl Reload {
    /// Follows `source`, of which `applied` is in force.
    #[must_use]
    pub fn new(source: Source, applied: Config, parts: Parts, asked: Asked) -> Self {
        parts.applied();
        let opened = applied.relay.clone();
        Self { source, applied, opened, sight: Sight::default(), parts, asked }
    }

    /// Follows it for as long as it is polled.
    pub async fn run(mut self) {
        let clock = self.parts.clock.clone();
        loop {
            let asked = tokio::select! {
                () = self.asked.0.notified() => true,
                () = clock.sleep(interval(self.applied.apps.len())) => false,
            };
            let source = self.source.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || source.read()).await else { continue };
            match self.sight.look(read, &self.applied, asked) {
                Some(Ok(config)) => self.apply(config).await,
                Some(Err(error)) => self.parts.failed(&error),
                None => {}
            }
        }
    }

    #[tracing::instrument(name = "reload", skip_all)]
    async fn apply(&mut self, mut config: Config) {
        let with_open_folder = self.with_open_folder(&config);
        if with_open_folder.is_none()
            && let Err(error) = config.make_keys(Some(&self.applied), self.parts.clock.unix())
        {
            return self.parts.failed(&error);
        }
        let issue = &self.parts.issue;
        let turn = match self.target(&config).await {
            Ok(turn) => turn,
            Err(error) => return self.parts.failed(&error),
        };
        let ledger = match self.ledger(&config).await {
            Ok(ledger) => ledger,
            Err(error) => return self.parts.failed(&error),
        };
        let before = issue.site.load_full();
        let shared = before.identities.shared();
        if let Some((shared, settings)) = shared.zip(config.shared.as_ref()) {
            shared.reconfigure(settings);
        }
        let in_force = with_open_folder.as_ref().unwrap_or(&config);
        let site = Site::new(in_force, &self.parts.clock, &self.parts.token_metrics, shared, Some(&before));
        let site = match site {
            Ok(site) => Arc::new(site),
            Err(error) => return self.parts.failed(&error),
        };
        if let Some((ledger, known)) = ledger {
            // Before the first request that may be written down, and counted.
            self.parts.relay.open(&site, ledger, known);
            self.opened = config.relay.clone();
        }
        if let Some((opened, relay)) = self.opened.as_mut().zip(in_force.relay.as_ref()) {
            opened.keys.clone_from(&relay.keys);
        }
        issue.site.store(site.clone());
        site.replaces(&before);
        issue.cache.sweep();
        if config.max_cached_tokens != self.applied.max_cached_tokens {
            issue.cache.resize(config.max_cached_tokens);
        }
        if let Some(target) = turn {
            issue.trail.turn(target);
        }
        let mut waits = self.applied.needs_restart(&config);
        if let Some((opened, next)) = self.opened.as_ref().zip(config.relay.as_ref()) {
            waits.extend(opened.needs_restart(next));
        }
        if !waits.is_empty() {
            tracing::warn!(settings = waits.join(", "), "these settings change at the next start");
        }
        let (apps, upstreams) = (config.apps.len(), config.upstreams.len());
        tracing::info!(apps, upstreams, "configuration reloaded");
        self.applied = config;
        self.parts.applied();
    }

    /// `config`, but with the folder whose ledger is open and the keys in force, if it names another folder: that is one
    /// for the next start. What was given out is good by the keys of this one.
    fn with_open_folder(&self, config: &Config) -> Option<Config> {
        let (opened, relay) = self.opened.as_ref().zip(config.relay.as_ref())?;
        let is_another = opened.state != relay.state;
        is_another.then(|| {
            let (state, keys) = (opened.state.clone(), opened.keys.clone());
            Config { relay: Some(config::Relay { state, keys, ..relay.clone() }), ..config.clone() }
        })
    }

    /// The relay's ledger, if this is the first configuration that has a relay.
    async fn ledger(
        &self,
        config: &Config,
    ) -> Result<Option<(Ledger, Vec<ledger::Entry>)>, ledger::Unopened> {
        let Some(relay) = config.relay.as_ref().filter(|_| self.opened.is_none()) else { return Ok(None) };
        let place = ledger::Place { state: relay.state.clone(), keep_days: relay.keep_days };
        let ledgers = self.parts.ledgers.clone();
        let opened = tokio::task::spawn_blocking(move || ledgers.open(&place)).await;
        opened.unwrap_or_else(|died| Err(std::io::Error::other(died).into())).map(Some)
    }

    /// Where the audit trail is to go on, if it is to go elsewhere.
    async fn target(&self, config: &Config) -> Result<Option<audit::Target>, audit::OpenError> {
        if config.audit == self.applied.audit {
            return Ok(None);
        }
        let (audit, now) = (config.audit.clone(), self.parts.clock.unix());
        // What is no file may keep its opener waiting.
        let opened = tokio::task::spawn_blocking(move || audit::Target::open(&audit, now)).await;
        opened.unwrap_or_else(|died| Err(std::io::Error::other(died).into())).map(Some)
    }
}

/// How often the files of so many apps are looked at.
fn interval(apps: usize) -> Duration {
    INTERVAL.max(FOR_EACH_APP * u32::try_from(apps).unwrap_or(u32::MAX))
}

impl Parts {
    fn applied(&self) {
        self.issue.event(Event::Reload { applied: true });
        self.metrics.reloads.get_or_create(&Reloaded { outcome: "applied" }).inc();
        self.metrics.applied_at.set(self.clock.unix().as_secs().try_into().unwrap_or(i64::MAX));
    }

    fn failed(&self, error: &dyn std::error::Error) {
        self.issue.event(Event::Reload { applied: false });
        self.metrics.reloads.get_or_create(&Reloaded { outcome: "failed" }).inc();
        tracing::error!(%error, "the configuration cannot be reloaded; the one in force stays");
    }
}

/// What was seen of the files, look by look.
#[derive(Debug, Default)]
struct Sight {
    /// What the last look found, if that was not what is in force.
    found: Option<Result<Config, Unusable>>,
    /// What was last said of a configuration that cannot be used.
    refused: Option<Unusable>,
}

impl Sight {
    /// What to do about what the files say now: what stood there at the last look as well, or was asked
    /// for, is taken up; what is wrong with it is said once, and whenever somebody asks.
    fn look(
        &mut self,
        read: Result<Config, Unusable>,
        applied: &Config,
        asked: bool,
    ) -> Option<Result<Config, Unusable>> {
        if !asked && read.as_ref() == Ok(applied) {
            *self = Self::default();
            return None;
        }
        if !asked && self.found.as_ref() != Some(&read) {
            self.found = Some(read);
            return None;
        }
        match read {
            Ok(config) => {
                *self = Self::default();
                Some(Ok(config))
            }
            Err(error) if !asked && self.refused.as_ref() == Some(&error) => None,
            Err(error) => {
                self.refused = Some(error.clone());
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(port: u16) -> Config {
        let text = format!(
            "listen = \"127.0.0.1:{port}\"\n[upstreams.u]\nbase_url = \"http://localhost/api/v1\"\n\
             keys = [{{ env = \"K\" }}]\n[apps.a]\nsecrets = [\"sha256:{:064}\"]\n",
            1
        );
        Config::read(&text, &[("K", "sk-1")].into_iter().collect()).unwrap()
    }

    fn unusable(why: &str) -> Unusable {
        Unusable::Unreadable { path: "valet.toml".into(), why: why.into() }
    }

    #[test]
    fn many_apps_are_looked_at_less_often() {
        assert_eq!([0, 5000, 100_000].map(|apps| interval(apps).as_secs()), [5, 5, 100]);
    }

    #[test]
    fn a_change_is_taken_up_once_it_has_stood_for_a_look() {
        let (mut sight, old) = (Sight::default(), config(1));
        assert_eq!(sight.look(Ok(old.clone()), &old, false), None);
        assert_eq!(sight.look(Ok(config(2)), &old, false), None);
        assert_eq!(sight.look(Ok(config(3)), &old, false), None, "it is still being written");
        assert_eq!(sight.look(Ok(config(3)), &old, false), Some(Ok(config(3))));
    }

    #[test]
    fn what_was_asked_for_is_taken_up_at_once() {
        let (mut sight, old) = (Sight::default(), config(1));
        assert_eq!(sight.look(Ok(config(2)), &old, true), Some(Ok(config(2))));
        assert_eq!(sight.look(Ok(old.clone()), &old, true), Some(Ok(old.clone())));
        assert_eq!(sight.look(Err(unusable("x")), &old, true), Some(Err(unusable("x"))));
    }

    #[test]
    fn a_mistake_is_said_once_until_it_is_another_or_somebody_asks() {
        let (mut sight, old) = (Sight::default(), config(1));
        let mut look = |why: &str, asked| sight.look(Err(unusable(why)), &old, asked).is_some();
        let said = [look("x", false), look("x", false), look("x", false), look("x", true), look("x", false)];
        assert_eq!(said, [false, true, false, true, false]);
        assert_eq!([look("y", false), look("y", false), look("y", false)], [false, true, false]);
    }
}
