//! The site: apps, policies and upstreams as one value, loaded once a request and swapped whole.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use valet_clock::SharedClock;
use valet_pacing::Quota;

use crate::{
    admission::{self, Limits, Subjects},
    config::{self, Config, Playground, Seats, Tls},
    identity::{self, Caller, Subject},
    keyring::Keyring,
    policy::{Editions, Policy},
    shared_redis::{Away, Shared},
    token::{self, AppTokens, LiveToken, Share, Upstream},
};

/// Everything that a request is decided by.
#[derive(Debug)]
pub struct Site {
    /// Who may prove itself, and how.
    pub identities: identity::Apps,
    /// The upstreams, in the order of the configuration.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Where the broker is reached, without a slash at the end; empty if the configuration does not say.
    pub public_url: String,
    /// What the broker is called where standards ask for an issuer.
    pub issuer: String,
    /// The web origin of the broker's own pages.
    own_origin: String,
    /// The web origins that enabled apps list.
    origins: HashSet<String>,
    /// The page to try the relay with, if it is served.
    pub playground: Option<Playground>,
    /// What relay tokens are signed with; `None` if there is no relay.
    keyring: Option<Arc<Keyring>>,
    private_hosts: bool,
    seats: Seats,
    /// The certificate that connections are served with.
    pub tls: Option<Tls>,
    /// How many proxies in front of the broker are trusted to say where requests come from.
    pub trusted_proxies: usize,
    /// How often requests of an address may fail to prove anybody.
    pub failures_per_address: Quota,
    apps: Vec<config::App>,
    entries: Vec<Entry>,
}

/// An app, as all stages together know it.
#[derive(Debug)]
pub struct Entry {
    /// What it may have.
    pub policy: Policy,
    /// What it has used of its limits.
    pub limits: Arc<Limits>,
    /// Its tokens.
    pub tokens: Arc<AppTokens>,
    app: Arc<str>,
    /// The upstream that its tokens and tasks are of.
    pub upstream: usize,
    /// The vendor account that its tasks are of.
    pub account: Arc<str>,
    /// Whether it is enabled.
    pub is_enabled: bool,
    /// Whether its results are for those alone who show their owner's token.
    pub results_need_bearer: bool,
    /// Its last success bodies.
    pub prepared: Prepared,
    editions: Editions,
}

impl Site {
    /// The site of a configuration. Of `before`, the site that it will replace, it keeps what must
    /// survive: what is used of limits, what is known of keys, and the tokens of apps that may have them
    /// as before; what is `shared` with other replicas stays so. `before` stays as it is until [`replaces`](Self::replaces) is called.
    ///
    /// # Errors
    /// If no HTTP client can be built for an upstream or an issuer's keys.
    pub fn new(
        config: &Config,
        clock: &SharedClock,
        metrics: &Arc<token::Metrics>,
        shared: Option<&Arc<Shared>>,
        before: Option<&Self>,
    ) -> Result<Self, reqwest::Error> {
        let known = before.map_or(&[][..], |before| &before.upstreams);
        let now = clock.now();
        let mut shares: HashMap<&str, Arc<Share>> =
            known.iter().map(|upstream| (&*upstream.config().account, upstream.share().clone())).collect();
        let mut upstreams = Vec::new();
        for upstream in &config.upstreams {
            let before = known.iter().find(|known| known.config().name == upstream.name);
            upstreams.push(match before {
                Some(same) if same.config() == upstream => same.clone(),
                _ => {
                    let new = || Arc::new(Share::new(now).shared_by(shared.cloned()));
                    let share = shares.entry(&upstream.account).or_insert_with(new);
                    let before = before.map(|before| &**before);
                    Arc::new(Upstream::new(upstream, share.clone(), clock, metrics, before)?)
                }
            });
        }
        let account = |app: &config::App| config.upstreams[app.upstream].account.clone();
        let entry = |app: &config::App| match before.and_then(|before| before.find(&app.id)) {
            Some((old, entry)) => {
                let kept = keeps_tokens(old, app)
                    && before.is_some_and(|before| {
                        same_place(before.upstreams[old.upstream].config(), &config.upstreams[app.upstream])
                    });
                entry.next(app, account(app), terms(app, config), kept)
            }
            None => Entry::new(app, account(app), terms(app, config), shared, now),
        };
        let enabled = config.apps.iter().filter(|app| app.enabled);
        let public_url = config.public_url.as_ref().map_or("", |url| url.as_str().trim_end_matches('/'));
        Ok(Self {
            identities: identity::Apps::new(config, clock, before.map(|before| &before.identities))?
                .shared_by(shared.cloned()),
            upstreams,
            public_url: public_url.to_owned(),
            issuer: config.issuer(),
            own_origin: config.own_origin(),
            playground: config.playground.clone(),
            origins: enabled.flat_map(|app| app.origins.iter().cloned()).collect(),
            keyring: config.relay.as_ref().and_then(|relay| relay.keys.clone()),
            private_hosts: config.relay.as_ref().is_some_and(|relay| relay.private_hosts),
            seats: config.relay.as_ref().map(|relay| relay.seats).unwrap_or_default(),
            // A listener that has begun with one cannot do without.
            tls: config.tls.clone().or_else(|| before.and_then(|before| before.tls.clone())),
            trusted_proxies: config.trusted_proxies,
            failures_per_address: config.failures_per_address,
            entries: config.apps.iter().map(entry).collect(),
            apps: config.apps.clone(),
        })
    }

    /// Voids what `before` granted and this site would not; called once this site is in force, so that
    /// no request falls between the two.
    pub fn replaces(&self, before: &Self) {
        for (app, entry) in before.apps.iter().zip(&before.entries) {
            match self.find(&app.id) {
                Some((_, entry)) => entry.policy.edition().take_force(),
                None => entry.editions.next().take_force(),
            }
        }
        for upstream in &before.upstreams {
            let successor = self.upstreams.iter().find(|other| other.config().name == upstream.config().name);
            if successor.is_none_or(|successor| !Arc::ptr_eq(successor, upstream)) {
                upstream.retire(successor.map(|successor| &**successor));
            }
        }
    }

    /// The keys that relay tokens are signed with. A configuration with an app of the relay has them, and
    /// [`Broker::bind`](crate::broker::Broker::bind) sees to it that they are there.
    #[must_use]
    pub fn keyring(&self) -> Option<&Keyring> {
        self.keyring.as_deref()
    }

    /// Where relay tokens work.
    #[must_use]
    pub fn relay_url(&self) -> String {
        format!("{}/api/v1", self.issuer)
    }

    /// The web origin of the broker's own pages.
    #[must_use]
    pub fn own_origin(&self) -> &str {
        &self.own_origin
    }

    /// The web origins whose pages may use some app.
    #[must_use]
    pub fn origins(&self) -> &HashSet<String> {
        &self.origins
    }

    /// The hosts that recordings of enabled apps at the relay may lie on, as far as any are named.
    pub fn file_hosts(&self) -> impl Iterator<Item = &str> {
        let apps = self.apps.iter().filter(|app| app.enabled && app.mode == config::Mode::Relay);
        apps.filter_map(|app| app.scope.file_hosts.as_ref()).flatten().map(String::as_str)
    }

    fn find(&self, app: &str) -> Option<(&config::App, &Entry)> {
        let index = self.identities.index_of(app)?;
        Some((&self.apps[index], &self.entries[index]))
    }

    /// Whether recordings and results may lie on hosts that are not public.
    #[must_use]
    pub fn has_private_hosts(&self) -> bool {
        self.private_hosts
    }

    /// How many requests may wait for a task's status to change.
    #[must_use]
    pub fn seats(&self) -> Seats {
        self.seats
    }

    /// The entry of the app called `id`.
    #[must_use]
    pub fn find_entry(&self, id: &str) -> Option<&Entry> {
        self.find(id).map(|(_, entry)| entry)
    }

    /// Tells the other replicas all that this one alone knows, as after an outage, and learns what they have revoked.
    ///
    /// # Errors
    /// If what they share went away meanwhile.
    pub async fn catch_up(&self, unix: Duration) -> Result<(), Away> {
        self.identities.catch_up(unix).await?;
        for entry in &self.entries {
            entry.limits.tell(unix).await?;
        }
        Ok(())
    }

    /// The entry of an app.
    #[must_use]
    pub fn entry_of(&self, app: &identity::App) -> &Entry {
        &self.entries[app.index]
    }

    /// The entry of the caller's app.
    #[must_use]
    pub fn entry(&self, caller: &Caller<'_>) -> &Entry {
        self.entry_of(caller.app())
    }
}

impl Entry {
    /// What the app and its `subject` may do at the relay.
    #[must_use]
    pub fn allowance<'a>(
        &'a self,
        subject: Option<&'a Subject>,
        subjects: &'a Subjects,
    ) -> admission::Allowance<'a> {
        let quotas = self.policy.quotas();
        admission::Allowance { app: &self.app, subject, quotas, limits: &self.limits, subjects }
    }

    fn new(
        app: &config::App,
        account: Arc<str>,
        terms: [u8; 32],
        shared: Option<&Arc<Shared>>,
        now: Instant,
    ) -> Self {
        let editions = Editions::default();
        let policy = Policy::new(app, editions.current());
        let tokens = AppTokens::new(app.id.clone(), policy.classes(), terms, now);
        let (limits, tokens) = (Arc::new(Limits::new(&app.id, None, shared, now)), Arc::new(tokens));
        Self::of(app, account, policy, limits, tokens, editions)
    }

    /// The entry of the same app from the next site on. A limit takes its quota at each check, so what is
    /// used of it stays used.
    fn next(&self, app: &config::App, account: Arc<str>, terms: [u8; 32], keeps_tokens: bool) -> Self {
        let (limits, editions) = (self.limits.clone(), self.editions.clone());
        let edition = if keeps_tokens { self.policy.edition().clone() } else { editions.next() };
        let policy = Policy::new(app, edition);
        let tokens = Arc::new(self.tokens.anew(policy.classes(), terms));
        Self::of(app, account, policy, limits, tokens, editions)
    }

    fn of(
        app: &config::App,
        account: Arc<str>,
        policy: Policy,
        limits: Arc<Limits>,
        tokens: Arc<AppTokens>,
        editions: Editions,
    ) -> Self {
        let (is_enabled, results_need_bearer) = (app.enabled, app.results_need_bearer);
        let prepared = Prepared::default();
        let upstream = app.upstream;
        Self {
            app: app.id.clone(),
            policy,
            limits,
            tokens,
            upstream,
            account,
            is_enabled,
            results_need_bearer,
            prepared,
            editions,
        }
    }
}

/// Whether every token that an app has under `old` could have been granted under `new`, to a credential
/// that is still good.
fn keeps_tokens(old: &config::App, new: &config::App) -> bool {
    new.enabled == old.enabled
        && new.lifetimes == old.lifetimes
        && new.sharing == old.sharing
        && new.mode == old.mode
        && (new.may_name_subject || !old.may_name_subject)
        && old.secrets.iter().all(|secret| new.secrets.contains(secret))
        && (old.keys.is_none() || new.keys == old.keys)
        && (new.assertions_for_endpoint || !old.assertions_for_endpoint)
        && old.subject_tokens.iter().all(|rules| new.subject_tokens.contains(rules))
}

/// A hash of all that an app's tokens are granted under: what of it changes, [`keeps_tokens`] looks at, and more.
/// Replicas whose configurations say the same have the same.
fn terms(app: &config::App, config: &Config) -> [u8; 32] {
    let upstream = &config.upstreams[app.upstream];
    let secrets: Vec<String> = app.secrets.iter().map(ToString::to_string).collect();
    let text = format!(
        "valet terms 1 {:?} {:?} {:?} {:?} {:?} {} {secrets:?} {:?} {} {:?} {:?} {:?} {:?}",
        app.id,
        app.enabled,
        app.lifetimes,
        app.sharing,
        app.mode,
        app.may_name_subject,
        app.keys,
        app.assertions_for_endpoint,
        app.subject_tokens,
        upstream.name,
        upstream.base_url,
        upstream.account,
    );
    digest(&SHA256, text.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Whether tokens of `old` are tokens of `new`.
fn same_place(old: &config::Upstream, new: &config::Upstream) -> bool {
    old.name == new.name && old.base_url == new.base_url && old.account == new.account
}

/// What tells an app's success bodies apart, all else being equal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// That of `/v1/tokens`.
    V1,
    /// DashScope's.
    DashScope,
    /// That of RFC 6749.
    OAuth,
    /// The same with what RFC 8693 adds.
    Exchange,
}

/// Success bodies by their form, each kept as bytes for as long as it says the same: one token in one
/// second.
#[derive(Debug, Default)]
pub struct Prepared([ArcSwapOption<PreparedBody>; 4]);

#[derive(Debug)]
struct PreparedBody {
    token: LiveToken,
    expires_in: u64,
    body: Bytes,
}

impl Prepared {
    /// The body for `token` with `expires_in` seconds left, rendered if it is not the one kept.
    pub fn body(
        &self,
        form: Form,
        token: &LiveToken,
        expires_in: u64,
        render: impl FnOnce() -> Vec<u8>,
    ) -> Bytes {
        let place = &self.0[form as usize];
        let kept = place.load();
        if let Some(kept) = kept.as_ref().filter(|kept| kept.expires_in == expires_in && kept.token.is(token))
        {
            return kept.body.clone();
        }
        let body = Bytes::from(render());
        let prepared = PreparedBody { token: token.clone(), expires_in, body: body.clone() };
        place.store(Some(Arc::new(prepared)));
        body
    }
}

/// The life of a token in whole seconds, rounded down: never more than there is.
#[must_use]
pub fn whole_seconds_left(token: &LiveToken, now: Instant) -> u64 {
    token.remaining(now).as_secs()
}
