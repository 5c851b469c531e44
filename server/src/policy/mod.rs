//! Caller → Grant: what this caller gets this time. Pure: no clock, no I/O, no state.

mod denial;
mod edition;
mod grant;

use std::{sync::Arc, time::Duration};

use valet_pacing::Quota;

pub use self::{
    denial::Denial,
    edition::{Edition, Editions},
    grant::{Grant, Granted, Permit, RelayGrant, UpstreamUse},
};
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
