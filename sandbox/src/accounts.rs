//! Who a bearer key or token stands for, and what its account has used up; knows no task.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hyper::{HeaderMap, header::AUTHORIZATION};
use secrecy::ExposeSecret;

use crate::{contract::Refusal, ids, rate::Window, settings::Settings};

/// The keys, tokens and accounts of a sandbox.
#[derive(Debug)]
pub(crate) struct Accounts {
    inner: Mutex<Inner>,
    queries_per_second: u32,
    submits_per_minute: u32,
}

#[derive(Debug, Default)]
struct Inner {
    keys: HashMap<[u8; 32], Arc<Account>>,
    tokens: HashMap<[u8; 32], Token>,
    accounts: HashMap<String, Arc<Account>>,
}

/// A vendor account: tasks and limits are per account, whichever of its keys is used.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    queries: Mutex<Window>,
    /// By model, as the documented limits are.
    submits: Mutex<HashMap<&'static str, Window>>,
    policies: Mutex<HashMap<&'static str, Window>>,
}

#[derive(Debug)]
struct Token {
    account: Arc<Account>,
    expires: Instant,
}

/// Who makes a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) account: Arc<Account>,
    pub(crate) fingerprint: String,
    /// A temporary token instead of an API key.
    pub(crate) by_token: bool,
}

/// Policies for uploads (*Upload a file for a temporary URL*).
const POLICIES_PER_SECOND: u32 = 100;
/// More live tokens than any test or demonstration has; a bound on memory, not a documented limit.
const TOKENS_MAX: usize = 100_000;

impl Accounts {
    pub(crate) fn new(settings: &Settings) -> Self {
        let mut inner = Inner::default();
        for (account, key) in &settings.keys {
            inner.add_key(account, key.expose_secret());
        }
        Self {
            inner: Mutex::new(inner),
            queries_per_second: settings.queries_per_second,
            submits_per_minute: settings.submits_per_minute,
        }
    }

    /// The caller that the `Authorization` header proves.
    ///
    /// # Errors
    /// 401 `InvalidApiKey` for no key, an unknown one, or a token past its life.
    pub(crate) fn caller(&self, headers: &HeaderMap, now: Instant) -> Result<Caller, Refusal> {
        let secret = bearer(headers).ok_or_else(|| Refusal::key("No API-key provided."))?;
        let (inner, hash) = (self.lock(), ids::hash(secret));
        let token = inner.tokens.get(&hash).filter(|token| now < token.expires);
        let account = inner.keys.get(&hash).or(token.map(|token| &token.account));
        account
            .map(|account| Caller {
                account: account.clone(),
                fingerprint: ids::fingerprint(secret),
                by_token: token.is_some(),
            })
            .ok_or_else(|| Refusal::key("Invalid API-key provided."))
    }

    /// A new token of `caller`'s account that works until `expires`.
    ///
    /// # Errors
    /// 503 if the sandbox holds too many live tokens.
    pub(crate) fn mint(&self, caller: &Caller, now: Instant, expires: Instant) -> Result<String, Refusal> {
        let mut inner = self.lock();
        if inner.tokens.len() >= TOKENS_MAX {
            inner.tokens.retain(|_, token| now < token.expires);
            if inner.tokens.len() >= TOKENS_MAX {
                return Err(Refusal::exhausted("The sandbox holds too many live tokens."));
            }
        }
        let token = ids::secret("st-");
        inner.tokens.insert(ids::hash(&token), Token { account: caller.account.clone(), expires });
        Ok(token)
    }

    /// Ends the life of one token; whether there was such a one.
    pub(crate) fn expire_token(&self, token: &str) -> bool {
        self.lock().tokens.remove(&ids::hash(token)).is_some()
    }

    /// Ends the life of all tokens.
    pub(crate) fn expire_all_tokens(&self) {
        self.lock().tokens.clear();
    }

    /// Knows `key` as one of `account` from now on.
    pub(crate) fn add_key(&self, account: &str, key: &str) {
        self.lock().add_key(account, key);
    }

    /// Knows `key` no more; its tokens live on. Whether there was such a one.
    pub(crate) fn revoke_key(&self, key: &str) -> bool {
        self.lock().keys.remove(&ids::hash(key)).is_some()
    }

    /// Takes one query, list or cancel out of the account's second.
    ///
    /// Source: *Manage asynchronous tasks*, 20 a second for each account; that the three share one bucket is
    /// the stricter of two readings.
    ///
    /// # Errors
    /// 429 `Throttling.RateQuota`.
    pub(crate) fn take_query(&self, account: &Account, now: Instant) -> Result<(), Refusal> {
        let taken = lock(&account.queries).take(now, self.queries_per_second, Duration::from_secs(1));
        if taken { Ok(()) } else { Err(Refusal::throttled()) }
    }

    /// Takes one submit of `model` out of the account's minute (*Rate limits*).
    ///
    /// # Errors
    /// 429 `Throttling.RateQuota`.
    pub(crate) fn take_submit(
        &self,
        account: &Account,
        model: &'static str,
        now: Instant,
    ) -> Result<(), Refusal> {
        let mut submits = lock(&account.submits);
        let taken =
            submits.entry(model).or_default().take(now, self.submits_per_minute, Duration::from_mins(1));
        if taken { Ok(()) } else { Err(Refusal::throttled()) }
    }

    /// Takes one policy for `model` out of the account's second.
    ///
    /// # Errors
    /// 429 `Throttling.RateQuota`.
    pub(crate) fn take_policy(
        &self,
        account: &Account,
        model: &'static str,
        now: Instant,
    ) -> Result<(), Refusal> {
        let mut policies = lock(&account.policies);
        let taken = policies.entry(model).or_default().take(now, POLICIES_PER_SECOND, Duration::from_secs(1));
        if taken { Ok(()) } else { Err(Refusal::throttled()) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Inner {
    fn add_key(&mut self, account: &str, key: &str) {
        let account = self.accounts.entry(account.to_owned()).or_insert_with(|| {
            Arc::new(Account {
                name: account.to_owned(),
                queries: Mutex::default(),
                submits: Mutex::default(),
                policies: Mutex::default(),
            })
        });
        self.keys.insert(ids::hash(key), account.clone());
    }
}

/// The secret in `Authorization: Bearer …`, if there is one.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(secret.trim()).filter(|secret| scheme.eq_ignore_ascii_case("bearer") && !secret.is_empty())
}

/// No code panics while it holds one of these locks half way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
