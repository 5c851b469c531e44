//! What a configuration says, checked: plain values, and what follows from them.

use std::{io, net::SocketAddr, num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use url::Url;
use valet_pacing::Quota;

use super::{Shared, Tls};
use crate::{
    jwt::KeySet,
    keyring::Keyring,
    secret::{AuditKey, Bearer, SecretHash},
};

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the broker listens.
    pub listen: SocketAddr,
    /// Where metrics are served, apart from everything else; not at all if `None`.
    pub metrics_listen: Option<SocketAddr>,
    /// How the outside reaches the broker; problem types point there.
    pub public_url: Option<Url>,
    /// What a connection may cost.
    pub bounds: Bounds,
    /// The certificate that the broker serves with; plain HTTP without one.
    pub tls: Option<Tls>,
    /// How many proxies in front of the broker add to `X-Forwarded-For`.
    pub trusted_proxies: usize,
    /// How often requests of an address may fail to prove anybody.
    pub failures_per_address: Quota,
    /// Where decisions are recorded.
    pub audit: Audit,
    /// The most upstream tokens kept at once.
    pub max_cached_tokens: u64,
    /// The upstreams; at least one.
    pub upstreams: Vec<Upstream>,
    /// What the relay needs; `None` if there is none.
    pub relay: Option<Relay>,
    /// The page to try the relay with; `None` if it is not served.
    pub playground: Option<Playground>,
    /// Where several replicas keep what they share; each keeps its own, if `None`.
    pub shared: Option<Shared>,
    /// The registered apps.
    pub apps: Vec<App>,
    /// The files that secrets were read from.
    pub secret_files: Vec<SecretFile>,
}

/// A file that holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// The setting that names it, as `upstreams.beijing.keys[0].file`.
    pub setting: String,
    /// The file.
    pub path: PathBuf,
}

/// What a connection may cost in size and time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Open connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// How long a request's head may take, and how long a connection may idle.
    pub header_time: Duration,
    /// How long a request's body may take.
    pub body_time: Duration,
    /// How long the broker still accepts requests after a stop was asked for, while `/readyz` says no.
    pub lame_duck_time: Duration,
    /// How long requests in hand may take after that.
    pub drain_time: Duration,
}

/// The audit trail.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Audit {
    /// The file it is appended to; standard output if `None`.
    pub path: Option<PathBuf>,
    /// What it is signed with.
    pub key: Option<AuditKey>,
    /// Whether no token is handed out while it cannot be written.
    pub refuse: bool,
    /// When a new file is begun.
    pub rotation: Rotation,
}

/// When a new file is begun, if at all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rotation {
    /// Once the file has so many bytes.
    pub bytes: Option<u64>,
    /// Once it is so old.
    pub time: Option<Duration>,
}

/// An upstream: DashScope, one region or workspace of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The base URL up to and with `/api/v1`, without a final slash.
    pub base_url: Arc<str>,
    /// The vendor account behind it.
    pub account: Arc<str>,
    /// Its long-lived keys, in order of preference; at least one.
    pub keys: Vec<Bearer>,
    /// Status queries the account may make in a second, all keys together.
    pub queries_per_second: u32,
    /// How many tasks the relay asks for on a page of the account's list; 0 if it never asks for the list.
    pub list_page: u32,
}

/// A registered app.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// Its id: what OAuth calls `client_id`.
    pub id: Arc<str>,
    /// Whether it gets tokens at all.
    pub enabled: bool,
    /// Hashes of its secrets; one or, while it rotates, two.
    pub secrets: Vec<SecretHash>,
    /// The public keys that it signs its assertions with.
    pub keys: Option<KeySource>,
    /// Whether its assertions may name the token endpoint's URL as audience.
    pub assertions_for_endpoint: bool,
    /// The tokens of its users that it accepts.
    pub subject_tokens: Vec<SubjectTokens>,
    /// What kind of token it gets.
    pub mode: Mode,
    /// What it may do at the relay.
    pub scope: Scope,
    /// Whether its results at the relay are for those alone who show their owner's token.
    pub results_need_bearer: bool,
    /// Which of [`Config::upstreams`] its tokens are for.
    pub upstream: usize,
    /// The classes of lifetime it may have, shortest first; the first is its usual one.
    pub lifetimes: Vec<Lifetime>,
    /// Whether its callers share a token.
    pub sharing: Sharing,
    /// Whether it may name the subject it fetches a token for.
    pub may_name_subject: bool,
    /// The web origins that its requests come from; any, and none, if empty.
    pub origins: Vec<String>,
    /// How much it and its subjects may ask for.
    pub quotas: Quotas,
    /// How fast tokens are minted for it.
    pub mints: Quota,
}

/// What the relay needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Relay {
    /// The folder of what must outlive the process.
    pub state: PathBuf,
    /// The keys that lie there; `None` before the first start.
    pub keys: Option<Arc<Keyring>>,
    /// Whether recordings and results may lie on hosts that are not public: with the sandbox, that is.
    pub private_hosts: bool,
    /// How many requests may wait for a task's status to change.
    pub seats: Seats,
    /// How many days the ledger of tasks is kept.
    pub keep_days: u32,
    /// What a second of audio costs.
    pub price: Price,
}

impl Relay {
    /// The settings that `next` has otherwise and that are taken up at a start only, once a ledger is open.
    #[must_use]
    pub fn needs_restart(&self, next: &Self) -> Vec<&'static str> {
        let settings = [
            ("relay.state", self.state == next.state),
            ("relay.keep_days", self.keep_days == next.keep_days),
        ];
        settings.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}

/// What a second of audio costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// For a second.
    pub per_second: f64,
    /// Of which currency, as `USD`.
    pub currency: String,
}

/// How many requests may wait at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seats {
    /// Of one owner.
    pub owner: u32,
    /// Of one app.
    pub app: u32,
    /// From one address.
    pub address: u32,
    /// In all.
    pub total: u32,
}

impl Default for Seats {
    fn default() -> Self {
        Self { owner: 50, app: 10_000, address: 500, total: 20_000 }
    }
}

/// The page to try the relay with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Playground {
    /// The apps that it signs in whoever sits at this machine.
    pub sign_in: Vec<Arc<str>>,
}

/// What kind of token an app gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// The upstream's own, which may do all that its parent key may.
    Direct,
    /// Valet's own, which opens the relay.
    Relay,
}

impl Mode {
    /// Its name in the configuration, in answers and in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "relay",
        }
    }
}

/// What an app may do at the relay.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scope {
    /// The models that it may use.
    pub models: Vec<String>,
    /// The hosts that its recordings lie on, `*.` before one for all below it; any public host, if `None`.
    pub file_hosts: Option<Vec<String>>,
    /// The most URLs of one task.
    pub urls: u32,
    /// The vocabularies that it may use.
    pub vocabularies: Vec<String>,
}

/// Where public keys are.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// In the configuration itself.
    Given(Arc<KeySet>),
    /// Behind a URL.
    Url(JwksUrl),
}

/// The URL of a JWK set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JwksUrl {
    /// HTTPS, or HTTP on this machine.
    pub url: Url,
    /// Whether its host may have an address that is not public.
    pub allow_private: bool,
}

/// Tokens of one issuer that an app accepts for its users.
#[derive(Clone, Debug, PartialEq)]
pub struct SubjectTokens {
    /// `iss`, exactly.
    pub issuer: String,
    /// `aud`, or one of several.
    pub audience: String,
    /// What they are signed with.
    pub keys: KeySource,
    /// Claims, each with the values that it may have.
    pub claims: Vec<(String, Vec<String>)>,
    /// What kind they are.
    pub kind: TokenKind,
}

/// Kinds of subject tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenKind {
    /// ID tokens (OpenID Connect), and other tokens without a kind of their own.
    Id,
    /// Access tokens (RFC 9068).
    Access,
}

/// How much an app and its subjects may ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quotas {
    /// How fast the app may ask.
    pub rate: Quota,
    /// The most tokens it may ask for in a day of UTC.
    pub tokens_per_day: Option<u32>,
    /// How fast each of its subjects may ask.
    pub subject_rate: Option<Quota>,
    /// The most tokens each of its subjects may ask for in a day of UTC.
    pub subject_tokens_per_day: Option<u32>,
    /// How fast it may ask at the relay for anything but a submit.
    pub relay_rate: Option<Quota>,
    /// The most tasks the app may submit at the relay in a day of UTC.
    pub tasks_per_day: Option<u32>,
    /// The most tasks each of its subjects may submit.
    pub subject_tasks_per_day: Option<u32>,
    /// The most seconds of audio the app may have transcribed in a day of UTC.
    pub audio_seconds_per_day: Option<u64>,
    /// The most seconds each of its subjects may.
    pub subject_audio_seconds_per_day: Option<u64>,
    /// The most seconds that a recording is taken to have: so much is set aside until its task has ended.
    pub seconds_per_file: u64,
}

impl Quotas {
    /// Whether audio is limited at all.
    #[must_use]
    pub fn limit_audio(&self) -> bool {
        self.audio_seconds_per_day.is_some() || self.subject_audio_seconds_per_day.is_some()
    }

    /// Whether there is a limit for each subject.
    #[must_use]
    pub fn limit_subjects(&self) -> bool {
        self.subject_rate.is_some()
            || self.subject_tokens_per_day.is_some()
            || self.subject_tasks_per_day.is_some()
            || self.subject_audio_seconds_per_day.is_some()
    }
}

/// A class of token lifetime: 15 to 1800 whole seconds.
///
/// DashScope takes 1 to 1800 (Model Studio, *Generate a temporary API key*). Below 15 s a token
/// would be stale before the next one can be had: a mint may take 3 s, and 2 s before its end a
/// token is no longer handed out.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Lifetime(NonZeroU32);

impl Lifetime {
    /// The shortest, in seconds.
    pub const MIN: u32 = 15;
    /// The longest, in seconds.
    pub const MAX: u32 = 1800;

    /// That of the tokens that the broker itself asks with: as brief as the upstream's usual one.
    pub const UPKEEP: Self = Self(NonZeroU32::new(60).unwrap());

    /// `None` outside of [`MIN`](Self::MIN) to [`MAX`](Self::MAX).
    #[must_use]
    pub fn new(seconds: u32) -> Option<Self> {
        (Self::MIN..=Self::MAX).contains(&seconds).then(|| NonZeroU32::new(seconds).map(Self)).flatten()
    }

    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> u32 {
        self.0.get()
    }

    /// As a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.seconds()))
    }
}

/// Whether the callers of an app share a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sharing {
    /// One cached token for all of them: one mint serves any number.
    App,
    /// A token of its own for each request, under the cap on mints.
    None,
}

impl Config {
    /// What the broker is called where standards ask for an issuer: its public URL, without a slash at the
    /// end.
    #[must_use]
    pub fn issuer(&self) -> String {
        match &self.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.listen),
        }
    }

    /// Whether the playground signs its user in as the app called `id`.
    #[must_use]
    pub fn signs_in(&self, id: &str) -> bool {
        self.playground.as_ref().is_some_and(|page| page.sign_in.iter().any(|app| **app == *id))
    }

    /// Whether the playground signs anyone in at all.
    #[must_use]
    pub fn signs_anyone_in(&self) -> bool {
        self.playground.as_ref().is_some_and(|page| !page.sign_in.is_empty())
    }

    /// The web origin (RFC 6454) of what the broker itself serves.
    #[must_use]
    pub fn own_origin(&self) -> String {
        let listen = || format!("http://{}", self.listen);
        self.public_url.as_ref().map_or_else(listen, |url| url.origin().ascii_serialization())
    }

    /// Makes the relay's keys, if there is a relay and they are not there yet; the ones of `before` are put
    /// back, if they lay in the same folder.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn make_keys(&mut self, before: Option<&Self>, now: Duration) -> io::Result<()> {
        let Some(relay) = self.relay.as_mut().filter(|relay| relay.keys.is_none()) else { return Ok(()) };
        let before = before.and_then(|before| before.relay.as_ref());
        let same = before.filter(|before| before.state == relay.state);
        relay.keys = Some(match same.and_then(|before| before.keys.clone()) {
            Some(keys) => {
                keys.write(&relay.state)?;
                keys
            }
            None => Keyring::of_folder(&relay.state, now)?,
        });
        Ok(())
    }

    /// The settings that `next` has otherwise and that are taken up at a start only: those of the
    /// listeners, and where state is shared. What of the relay is, [`Relay`] says.
    #[must_use]
    pub fn needs_restart(&self, next: &Self) -> Vec<&'static str> {
        let settings = [
            ("listen", self.listen == next.listen),
            ("metrics_listen", self.metrics_listen == next.metrics_listen),
            ("tls", self.tls.is_some() == next.tls.is_some()),
            ("bounds", self.bounds == next.bounds),
            ("shared", Shared::same_place(self.shared.as_ref(), next.shared.as_ref())),
        ];
        settings.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}
