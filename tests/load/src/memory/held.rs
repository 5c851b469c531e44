//! The process whose memory is looked at: it fills a cache, and says what it took before and after.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use valet_clock::{SharedClock, SystemClock};
use valet_server::{
    admission::{self, Now, Subjects},
    config::{App, Config, Lifetime},
    identity::{Credential, Look, Reach},
    policy::{Granted, TokenRequest},
    secret::SecretHash,
    site::Site,
    token::{self, Cache, Source},
};

use crate::{Outcome, process::resident, server::environment};

/// The classes of lifetime of an app, in seconds: as many tokens as it can have at once.
const CLASSES: [u32; 8] = [15, 30, 60, 120, 300, 600, 900, 1800];

/// How many mints are under way at a time.
const MINTS: u32 = 64;

/// What to fill, and with how much.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Job {
    /// The number of entries.
    pub(super) tokens: u32,
    /// The upstream to mint at, for the broker's own cache; a bare moka, if `None`.
    pub(super) upstream: Option<String>,
}

/// What the process took, in bytes.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Held {
    before: u64,
    after: u64,
}

impl Held {
    /// What each of so many entries took.
    pub(super) fn each(&self, entries: u32) -> f64 {
        self.after.saturating_sub(self.before) as f64 / f64::from(entries)
    }
}

/// Does `job`.
pub(crate) async fn hold(job: &Job) -> Outcome<Held> {
    match &job.upstream {
        None => bare(job.tokens),
        Some(base_url) => cached(job.tokens, base_url).await,
    }
}

/// The key of the broker's cache: upstream, app and class of lifetime.
type Key = (Arc<str>, Arc<str>, Lifetime);

/// The app of a number, and its class of lifetime.
fn place(number: u32) -> (usize, u32) {
    let number = number as usize;
    (number / CLASSES.len(), CLASSES[number % CLASSES.len()])
}

/// How many apps have so many tokens.
fn apps(tokens: u32) -> usize {
    (tokens as usize).div_ceil(CLASSES.len())
}

fn bare(entries: u32) -> Outcome<Held> {
    let cache: moka::sync::Cache<Key, ()> = moka::sync::Cache::new(room(entries));
    let upstream: Arc<str> = "bench".into();
    let apps: Vec<Arc<str>> = (0..apps(entries)).map(|app| format!("app-{app}").into()).collect();
    let before = resident(std::process::id())?;
    for number in 0..entries {
        let (app, seconds) = place(number);
        let class = Lifetime::new(seconds).ok_or("no such class")?;
        cache.insert((upstream.clone(), apps[app].clone(), class), ());
    }
    cache.run_pending_tasks();
    let after = resident(std::process::id())?;
    if cache.entry_count() != u64::from(entries) {
        return Err(format!("moka has kept {} of {entries}", cache.entry_count()).into());
    }
    Ok(Held { before, after })
}

/// More than there will be: a full cache would refuse some.
fn room(entries: u32) -> u64 {
    u64::from(entries) * 2
}

async fn cached(tokens: u32, base_url: &str) -> Outcome<Held> {
    let config = config_of(apps(tokens), base_url)?;
    let clock: SharedClock = Arc::new(SystemClock);
    let metrics = Arc::new(token::Metrics::register(&mut Registry::default()));
    let site = Site::new(&config, &clock, &metrics, None, None)?;
    let (cache, subjects) = (Cache::new(room(tokens), clock.clone(), metrics), Subjects::new(None));
    // Connections and what they need are not what a token takes.
    stream::iter(0..MINTS)
        .map(|number| obtain(&site, &cache, &subjects, &clock, tokens - 1 - number))
        .buffer_unordered(MINTS as usize)
        .try_collect::<()>()
        .await?;
    let (warm, before) = (cache.len(), resident(std::process::id())?);
    stream::iter(0..tokens)
        .map(|number| obtain(&site, &cache, &subjects, &clock, number))
        .buffer_unordered(MINTS as usize)
        .try_collect::<()>()
        .await?;
    let after = resident(std::process::id())?;
    // Kept until here: what it frees would be taken for what a token takes.
    drop(config);
    if (warm, cache.len()) != (MINTS.into(), tokens.into()) {
        return Err(format!("{} of {tokens} tokens are cached", cache.len()).into());
    }
    Ok(Held { before, after })
}

/// A token by the path of every request: identity, policy, admission, cache.
async fn obtain(
    site: &Site,
    cache: &Cache,
    subjects: &Subjects,
    clock: &SharedClock,
    number: u32,
) -> Outcome<()> {
    let (app, seconds) = place(number);
    let now = Now { instant: clock.now(), unix: clock.unix() };
    let look = Look { now: now.unix, reach: Reach::InHand, is_first: true, is_recorded: false };
    let caller = site.identities.identify(&Credential::secret(secret(app).as_bytes()), look)?;
    let entry = site.entry(&caller);
    let request = TokenRequest { lifetime: Some(seconds), ..TokenRequest::default() };
    let grant = entry.policy.decide(caller, &request, now.unix)?;
    let admitted = admission::admit(&grant, &entry.limits, subjects, now).await?;
    let Granted::Direct(granted) = admitted.granted() else {
        return Err("the app is a direct one".into());
    };
    let source = Source { tokens: &entry.tokens, upstream: &site.upstreams[0], is_direct: true };
    cache.obtain(source, granted.clone()).await?;
    Ok(())
}

fn secret(app: usize) -> String {
    format!("vas_app-{app}")
}

/// A configuration of so many apps, each with every class of lifetime.
fn config_of(apps: usize, base_url: &str) -> Outcome<Config> {
    let (plenty, mints) =
        ("{ per_second = 10000000, burst = 10000000 }", "{ per_minute = 10000000, burst = 10000000 }");
    let text = format!(
        "tokens.lifetimes = {CLASSES:?}\n[upstreams.bench]\nbase_url = {base_url:?}\n\
         keys = [{{ env = \"DASHSCOPE_API_KEY\" }}]\n[apps.app]\nsecrets = [\"{}\"]\n\
         max_lifetime = {}\nrate = {plenty}\nmints = {mints}\n",
        SecretHash::of(secret(0).as_bytes()),
        Lifetime::MAX
    );
    let mut config = Config::read(&text, &environment())?;
    // Read one by one they would leave much behind that the cache could lie in unseen.
    let app = config.apps.remove(0);
    let numbered = |number| App {
        id: format!("app-{number}").into(),
        secrets: vec![SecretHash::of(secret(number).as_bytes())],
        ..app.clone()
    };
    config.apps = (0..apps).map(numbered).collect();
    Ok(config)
}
