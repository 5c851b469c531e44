//! Caller → Grant: what this caller gets this time. Pure: no clock, no I/O, no state.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use valet_pacing::Quota;

use crate::{
    config::{self, Lifetime, Mode, Quotas, Scope, Sharing},
    identity::{Caller, Subject},
    relay_token::Claims,
};

/// The one scope there is.
pub const SCOPE: &str = "transcribe";

/// The share of its life after which a token is refreshed at the latest, in hundredths: a token in
/// hand normally has the rest of it left, and no request can be promised more.
const FRESH_PERCENT: u32 = 70;

/// What a caller asks for.
#[derive(Debug, Default)]
pub struct TokenRequest {
    /// The least life it needs, in seconds.
    pub min_ttl: Option<u32>,
    /// The lifetime it would like, in seconds, as DashScope's `expire_in_seconds`.
    pub lifetime: Option<u32>,
    /// The end user it asks for.
    pub subject: Option<String>,
    /// The scope it asks for.
    pub scope: Option<String>,
    /// The SHA-256 of a token that the upstream refused.
    pub rejected: Option<[u8; 32]>,
    /// A word of its own for the audit trail.
    pub client_reference_id: Option<String>,
    /// The web origin that the request says it comes from.
    pub origin: Option<String>,
}

/// What an app may have.
#[derive(Debug)]
pub struct Policy {
    mode: Mode,
    scope: Arc<Scope>,
    upstream: usize,
    lifetimes: Vec<Lifetime>,
    sharing: Sharing,
    may_name_subject: bool,
    origins: Vec<String>,
    quotas: Quotas,
    mints: Quota,
    edition: Edition,
}

/// Counts the editions of an app's policy. It outlives them all: what was granted under an edition that
/// is void is void.
#[derive(Clone, Debug, Default)]
pub struct Editions(Arc<AtomicU64>);

impl Editions {
    /// The edition that is in force.
    #[must_use]
    pub fn current(&self) -> Edition {
        Edition::of(self, self.0.load(Relaxed))
    }

    /// The one that will follow it. It can be granted under already, and voids nothing before
    /// [`Edition::take_force`].
    #[must_use]
    pub fn next(&self) -> Edition {
        Edition::of(self, self.0.load(Relaxed) + 1)
    }
}

/// One edition of an app's policy; every cached token points to one.
#[derive(Clone, Debug)]
pub struct Edition(Arc<Numbered>);

#[derive(Debug)]
struct Numbered {
    editions: Editions,
    number: u64,
}

impl Edition {
    fn of(editions: &Editions, number: u64) -> Self {
        Self(Arc::new(Numbered { editions: editions.clone(), number }))
    }

    /// Voids every edition before this one.
    pub fn take_force(&self) {
        self.0.editions.0.fetch_max(self.0.number, Relaxed);
    }

    /// Whether what was granted under it still holds.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.0.editions.0.load(Relaxed) <= self.0.number
    }

    /// Whether `other` is the same edition of the same policy.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let (own, other) = (&*self.0, &*other.0);
        own.number == other.number && Arc::ptr_eq(&own.editions.0, &other.editions.0)
    }
}

/// What this caller gets this time; only [`Policy::decide`] makes one.
#[derive(Debug)]
pub struct Grant<'s> {
    caller: Caller<'s>,
    subject: Option<Subject>,
    quotas: &'s Quotas,
    granted: Granted,
}

/// What a grant is for.
#[derive(Clone, Debug)]
pub enum Granted {
    /// A token of the upstream's own.
    Direct(UpstreamUse),
    /// A relay token.
    Relay(RelayGrant),
}

/// What a relay token may say.
#[derive(Clone, Debug)]
pub struct RelayGrant {
    /// The app.
    pub app: Arc<str>,
    /// The end user.
    pub subject: Option<Subject>,
    /// The credential that it was asked for by.
    pub proof: Arc<str>,
    /// The class of lifetime.
    pub lifetime: Lifetime,
    /// When it ends at the latest, in Unix time.
    pub until: Option<Duration>,
    /// What it opens.
    pub scope: Arc<Scope>,
}

impl Granted {
    /// The class of lifetime.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        match self {
            Self::Direct(upstream_use) => upstream_use.lifetime,
            Self::Relay(grant) => grant.lifetime,
        }
    }

    /// What kind of token it is for.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self {
            Self::Direct(_) => Mode::Direct,
            Self::Relay(_) => Mode::Relay,
        }
    }
}

impl<'s> Grant<'s> {
    /// Who it is for.
    #[must_use]
    pub fn caller(&self) -> &Caller<'s> {
        &self.caller
    }

    /// The end user the app named.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// How much the app and its subjects may ask for.
    #[must_use]
    pub fn quotas(&self) -> &'s Quotas {
        self.quotas
    }

    /// What may be had. Admission alone calls this, once the limits are taken; a test of the source holds
    /// everyone else to it.
    pub(crate) fn into_granted(self) -> Granted {
        self.granted
    }
}

/// The right to take a token of an upstream from the cache.
#[derive(Clone, Debug)]
pub struct UpstreamUse {
    /// Which upstream of the site.
    pub upstream: usize,
    /// The place, among the app's classes, of the class of lifetime.
    pub class: usize,
    /// The class of lifetime.
    pub lifetime: Lifetime,
    /// Whether callers of the app share the token.
    pub sharing: Sharing,
    /// The least life the token must have left.
    pub min_ttl: Duration,
    /// The SHA-256 of a token that must not be handed out again.
    pub rejected: Option<[u8; 32]>,
    /// How fast tokens are minted for the app.
    pub mints: Quota,
    edition: Edition,
}

impl UpstreamUse {
    /// For the broker's own upkeep: a token that it asks with itself.
    #[must_use]
    pub fn upkeep(upstream: usize, edition: Edition) -> Self {
        Self {
            upstream,
            class: 0,
            lifetime: Lifetime::UPKEEP,
            sharing: Sharing::App,
            min_ttl: Duration::ZERO,
            rejected: None,
            mints: Quota::new(60, Duration::from_secs(60), 20),
            edition,
        }
    }

    /// The same use, by another token than the one of this SHA-256.
    #[must_use]
    pub fn without(self, sha256: [u8; 32]) -> Self {
        Self { rejected: Some(sha256), ..self }
    }

    /// The edition of the policy that it was granted under.
    #[must_use]
    pub fn edition(&self) -> &Edition {
        &self.edition
    }
}

/// What is submitted, as far as the policy has a say in it.
#[derive(Clone, Copy, Debug)]
pub struct Submitted<'s> {
    /// The model.
    pub model: &'s str,
    /// The host of each URL, in lower case.
    pub hosts: &'s [String],
    /// The vocabulary, if there is one.
    pub vocabulary: Option<&'s str>,
}

/// The right to call the upstream for a caller of the relay; only [`Policy::permit`] and [`Policy::access`] make
/// one.
#[derive(Debug)]
pub struct Permit(UpstreamUse);

impl Permit {
    /// What may be had of the upstream.
    #[must_use]
    pub fn into_upstream_use(self) -> UpstreamUse {
        self.0
    }
}

/// Why a caller does not get what it asked for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Denial {
    /// The app may not have so long a life.
    #[error("expire_in_seconds: this app's tokens live at most {max} seconds")]
    LifetimeTooLong {
        /// The longest it may have, in seconds.
        max: u32,
    },
    /// No class of lifetime of the app always has that much life left.
    #[error("min_ttl: this app can be promised at most {max} seconds")]
    MinTtlTooLong {
        /// The most it can be promised, in seconds.
        max: u32,
    },
    /// The app may not say for whom it asks.
    #[error("subject: this app may not name one")]
    SubjectNotAllowed,
    /// The app's requests come from certain web origins, and this one does not.
    #[error("Origin: is missing, or none of this app's")]
    OriginNotAllowed,
    /// The app has direct tokens: the relay is not for it.
    #[error("this app has direct tokens, which work at the upstream itself")]
    NotRelayed,
    /// The app may not use the model.
    #[error("model: this app may use {}", .allowed.join(", "))]
    ModelNotAllowed {
        /// What it may use.
        allowed: Vec<String>,
    },
    /// There are more URLs than the app may have in a task.
    #[error("input.file_urls: this app may have {max} in a task")]
    TooManyUrls {
        /// How many it may have.
        max: u32,
    },
    /// A recording lies elsewhere than the app's may.
    #[error("input.file_urls[{index}]: this app's recordings lie on other hosts")]
    HostNotAllowed {
        /// Which of them.
        index: usize,
    },
    /// The app may not use the vocabulary.
    #[error("parameters.vocabulary_id: is none of this app's")]
    VocabularyNotAllowed,
    /// There is one scope, and it is another.
    #[error("scope: the only scope is \"{SCOPE}\"")]
    UnknownScope,
}

impl Denial {
    /// Its name in records.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::LifetimeTooLong { .. } => "lifetime_too_long",
            Self::MinTtlTooLong { .. } => "min_ttl_too_long",
            Self::SubjectNotAllowed => "subject_not_allowed",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::NotRelayed => "not_relayed",
            Self::ModelNotAllowed { .. } => "model_not_allowed",
            Self::TooManyUrls { .. } => "too_many_urls",
            Self::HostNotAllowed { .. } => "host_not_allowed",
            Self::VocabularyNotAllowed => "vocabulary_not_allowed",
            Self::UnknownScope => "invalid_scope",
        }
    }
}

impl Policy {
    /// An edition of an app's policy.
    #[must_use]
    pub fn new(app: &config::App, edition: Edition) -> Self {
        Self {
            mode: app.mode,
            scope: Arc::new(app.scope.clone()),
            upstream: app.upstream,
            lifetimes: app.lifetimes.clone(),
            sharing: app.sharing,
            may_name_subject: app.may_name_subject,
            origins: app.origins.clone(),
            quotas: app.quotas,
            mints: app.mints,
            edition,
        }
    }

    /// Which edition it is.
    #[must_use]
    pub fn edition(&self) -> &Edition {
        &self.edition
    }

    /// How much the app and its subjects may ask for.
    #[must_use]
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// How many classes of lifetime the app may have.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.lifetimes.len()
    }

    /// Decides what `caller` gets at `now`, in Unix time. The grant never exceeds the policy, whatever is asked.
    ///
    /// # Errors
    /// If it asks for more than it may have.
    pub fn decide<'s>(
        &'s self,
        caller: Caller<'s>,
        request: &TokenRequest,
        now: Duration,
    ) -> Result<Grant<'s>, Denial> {
        if request.scope.as_deref().is_some_and(|scope| scope != SCOPE) {
            return Err(Denial::UnknownScope);
        }
        // Whom an issuer vouches for is not for the app to say.
        if request.subject.is_some() && (!self.may_name_subject || caller.vouched().is_some()) {
            return Err(Denial::SubjectNotAllowed);
        }
        // Proves nothing, since anyone but a browser can write what it likes: a brake on leaked secrets.
        let fits = |origin: &String| self.origins.iter().any(|allowed| allowed == origin);
        if !self.origins.is_empty() && !request.origin.as_ref().is_some_and(fits) {
            return Err(Denial::OriginNotAllowed);
        }
        let named = || request.subject.as_deref().map(|name| Subject { issuer: None, name: name.into() });
        let subject = caller.vouched().map(|vouched| vouched.subject.clone()).or_else(named);
        let granted = match self.mode {
            Mode::Direct => {
                let class = self.class(request, |class| class.seconds() * FRESH_PERCENT / 100)?;
                Granted::Direct(self.upstream_use(class, request))
            }
            Mode::Relay => {
                // It is signed for this request alone: all of its life is left, unless the identity ends first.
                let until = caller.vouched().map(|vouched| vouched.until);
                let left = until.map_or(u64::MAX, |until| until.saturating_sub(now).as_secs());
                let left = u32::try_from(left).unwrap_or(u32::MAX);
                let class = self.class(request, |class| class.seconds().min(left))?;
                Granted::Relay(RelayGrant {
                    app: caller.app().id.clone(),
                    subject: subject.clone(),
                    proof: caller.proof().clone(),
                    lifetime: self.lifetimes[class],
                    until,
                    scope: self.scope.clone(),
                })
            }
        };
        Ok(Grant { caller, subject, quotas: &self.quotas, granted })
    }

    /// Whether it lists web origins.
    #[must_use]
    pub fn has_pages(&self) -> bool {
        !self.origins.is_empty()
    }

    /// Whether a page of `origin` may use the relay; if no origins are listed, only one of the broker's `own`. Like
    /// the check of token requests it is a brake, since only browsers are honest about where they are.
    ///
    /// # Errors
    /// If it may not.
    pub fn admit_page(&self, origin: &str, own: &str) -> Result<(), Denial> {
        let is_listed = self.origins.iter().any(|listed| listed == origin);
        if is_listed || (self.origins.is_empty() && origin == own) {
            return Ok(());
        }
        Err(Denial::OriginNotAllowed)
    }

    /// Decides whether a task may be submitted: both by what the policy is now and by what the `token` says, if
    /// there is one, which may be less.
    ///
    /// # Errors
    /// If it may not.
    pub fn permit(&self, token: Option<&Claims>, submitted: Submitted<'_>) -> Result<Permit, Denial> {
        self.within(&self.scope, submitted)?;
        if let Some(Claims { models, file_hosts, urls, .. }) = token {
            let scope = Scope {
                models: models.clone(),
                file_hosts: file_hosts.clone(),
                urls: *urls,
                ..Scope::clone(&self.scope)
            };
            self.within(&scope, submitted)?;
        }
        self.access()
    }

    /// The right to ask the upstream about what was submitted before.
    ///
    /// # Errors
    /// If the app has direct tokens.
    pub fn access(&self) -> Result<Permit, Denial> {
        match self.mode {
            Mode::Relay => Ok(Permit(self.upstream_use(0, &TokenRequest::default()))),
            Mode::Direct => Err(Denial::NotRelayed),
        }
    }

    fn within(
        &self,
        scope: &Scope,
        Submitted { model, hosts, vocabulary }: Submitted<'_>,
    ) -> Result<(), Denial> {
        if !scope.models.iter().any(|allowed| allowed == model) {
            return Err(Denial::ModelNotAllowed { allowed: scope.models.clone() });
        }
        if hosts.len() > scope.urls as usize {
            return Err(Denial::TooManyUrls { max: scope.urls });
        }
        if let Some(rules) = &scope.file_hosts
            && let Some(index) = hosts.iter().position(|host| !is_host_of(host, rules))
        {
            return Err(Denial::HostNotAllowed { index });
        }
        if vocabulary.is_some_and(|id| !scope.vocabularies.iter().any(|allowed| allowed == id)) {
            return Err(Denial::VocabularyNotAllowed);
        }
        Ok(())
    }

    fn upstream_use(&self, class: usize, request: &TokenRequest) -> UpstreamUse {
        UpstreamUse {
            upstream: self.upstream,
            class,
            lifetime: self.lifetimes[class],
            sharing: self.sharing,
            min_ttl: Duration::from_secs(request.min_ttl.unwrap_or(0).into()),
            rejected: request.rejected,
            mints: self.mints,
            edition: self.edition.clone(),
        }
    }

    /// The shortest class that serves the request; `promise` is the life, in seconds, that a token of a class
    /// can be promised to have left.
    fn class(&self, request: &TokenRequest, promise: impl Fn(&Lifetime) -> u32) -> Result<usize, Denial> {
        let longest = self.lifetimes.last().map_or(0, |class| class.seconds());
        let lifetime = request.lifetime.unwrap_or(0);
        let min_ttl = request.min_ttl.unwrap_or(0);
        if lifetime > longest {
            return Err(Denial::LifetimeTooLong { max: longest });
        }
        let serves = |class: &Lifetime| class.seconds() >= lifetime && promise(class) >= min_ttl;
        let max = self.lifetimes.last().map_or(0, &promise);
        self.lifetimes.iter().position(serves).ok_or(Denial::MinTtlTooLong { max })
    }
}

/// Whether a host is one of those that `rules` name: itself, or by `*.` all below it.
fn is_host_of(host: &str, rules: &[String]) -> bool {
    rules.iter().any(|rule| match rule.strip_prefix("*.") {
        Some(above) => host.strip_suffix(above).is_some_and(|below| below.len() > 1 && below.ends_with('.')),
        None => host == rule,
    })
}

#[cfg(test)]
mod tests;
