//! The relay: the upstream's task calls, for callers who see their own tasks alone. Stands beside
//! [`issue`](crate::issue), and like it is free of HTTP's ways of asking and answering.

mod books;
mod claims;
mod file_url;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handle;
mod metrics;
mod owner;
mod poller;
mod records;
mod replicas;
mod results;
mod submission;
mod submit;
mod submits;
mod task;
mod tasks;
mod told;
mod upstream;
mod wait;

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::sync::SetOnce;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    metrics::Metrics,
    owner::Owner,
    results::{Part, Stream},
    submit::Ask,
    tasks::Page,
    wait::LONGEST as LONGEST_WAIT,
};
use self::{
    poller::Poller,
    records::Records,
    replicas::Replicas,
    submits::Submits,
    upstream::{Http, Reply, Trouble},
    wait::Waiting,
};
use crate::{
    admission::Now,
    audit::{Door, Record, Work},
    config::Mode,
    identity::{Credential, Look, Reach, Unidentified},
    issue::{Arrival, Issue, Refusal, end_user},
    ledger::Ledger,
    policy::{Permit, UpstreamUse},
    relay_token::Claims,
    shared_redis::Shared,
    site::{Entry, Site},
    token::{Failure, Kind, Source, Upstream},
};

/// The relay.
#[derive(Debug)]
pub struct Relay {
    issue: Arc<Issue>,
    http: Http,
    records: Records,
    replicas: Replicas,
    submits: Submits,
    /// Submits go on when their callers hang up.
    submitting: TaskTracker,
    poller: Poller,
    waiting: Waiting,
    metrics: Metrics,
    /// What is written down; nothing, until there is an app of the relay.
    ledger: SetOnce<Ledger>,
    stopping: CancellationToken,
}

/// What a caller shows at the relay.
#[derive(Debug)]
pub enum Shown {
    /// A bearer: a relay token, or the secret of a confidential app.
    Bearer(String),
    /// An app's id and secret.
    Credential(Credential),
}

/// Who asks, and as what.
struct Asker<'s> {
    owner: Owner,
    entry: &'s Entry,
    claims: Option<Arc<Claims>>,
}

impl Asker<'_> {
    /// The upstream of its app.
    fn upstream<'s>(&self, site: &'s Site) -> &'s Arc<Upstream> {
        &site.upstreams[self.entry.upstream]
    }
}

/// What is told of tasks.
#[derive(Debug)]
pub struct Told {
    /// Of each.
    pub documents: Vec<Document>,
    /// How long the caller was allowed to wait, if it did.
    pub waited: Option<Duration>,
    /// When to ask again, in seconds, if there was no place to wait.
    pub retry_after: Option<u64>,
}

/// What is known of a request by the time it is recorded.
#[derive(Debug, Default)]
pub struct Noted {
    owner: Option<Owner>,
    task: Option<String>,
    urls: Option<u32>,
}

/// Why the relay refuses.
#[derive(Clone, Debug)]
pub enum Refused {
    /// For a reason of the broker's own.
    Here(Refusal),
    /// The upstream refused, for a reason of the request's.
    Upstream {
        /// Its status.
        status: u16,
        /// Its code.
        code: String,
        /// Its words.
        message: String,
        /// The seconds to wait, if it named any.
        retry_after: Option<u64>,
    },
    /// A submit was sent, and what became of it nobody knows.
    OutcomeUnknown,
    /// There is no such result, or not any more, or it is another's: which of them is not said.
    NoResult,
}

impl Refused {
    /// One word for the audit trail, and which of several reasons it has.
    fn told(&self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Here(refusal) => (refusal.reason(), refusal.detail()),
            Self::Upstream { .. } => ("upstream_refused", None),
            Self::OutcomeUnknown => ("outcome_unknown", None),
            Self::NoResult => ("no_result", None),
        }
    }
}

impl<R: Into<Refusal>> From<R> for Refused {
    fn from(refusal: R) -> Self {
        Self::Here(refusal.into())
    }
}

/// An answer in the upstream's own words.
#[derive(Clone, Debug)]
pub struct Document(pub Value);

impl Relay {
    /// The relay of a broker, which knows what other replicas do of what is `shared` with them.
    ///
    /// # Errors
    /// If no HTTP client can be built.
    pub fn new(
        issue: Arc<Issue>,
        metrics: Metrics,
        shared: Option<Arc<Shared>>,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            issue,
            http: Http::new()?,
            records: Records::default(),
            replicas: Replicas::new(shared),
            submits: Submits::default(),
            submitting: TaskTracker::new(),
            poller: Poller::default(),
            waiting: Waiting::default(),
            metrics,
            ledger: SetOnce::new(),
            stopping: CancellationToken::new(),
        })
    }

    fn now(&self) -> Now {
        Now { instant: self.issue.clock.now(), unix: self.issue.clock.unix() }
    }

    /// Has all that was written down on disk.
    pub async fn flush(&self) {
        if let Some(ledger) = self.ledger.get() {
            ledger.flush().await;
        }
    }

    /// Lets nobody wait any longer: everyone is told how far it is, and no more.
    pub fn stop_waiting(&self) {
        self.stopping.cancel();
    }

    /// Counts what became of a request.
    pub fn count<T>(&self, door: Door, outcome: Result<&T, &Refused>) {
        let word = outcome.map_or_else(|refused| refused.told().0, |_| "done");
        let refusal = match outcome {
            Err(Refused::Here(refusal)) => Some(refusal),
            _ => None,
        };
        self.issue.count(door, word, refusal);
    }

    /// Records what became of a request, which was answered with `status`, and counts it.
    pub fn record<T>(&self, arrival: Arrival, status: u16, noted: Noted, answered: Result<&T, &Refused>) {
        let (outcome, reason) = match answered {
            Ok(_) => ("done", None),
            Err(refused) => refused.told(),
        };
        let line = self.issue.line(arrival, None, status, outcome);
        self.count(line.door, answered);
        let subject = noted.owner.as_ref().and_then(|owner| owner.subject.clone());
        self.issue.trail.record(Record {
            app: noted.owner.map(|owner| owner.app),
            subject: subject.map(end_user),
            reason,
            mode: Some(Mode::Relay.name()),
            work: Some(Box::new(Work { task: noted.task.map(Into::into), urls: noted.urls })),
            ..line
        });
    }

    /// Whether the caller is anybody: asked before a body is waited for, which nobody's should not be.
    ///
    /// # Errors
    /// If it is not.
    pub fn know(&self, shown: &Shown, arrival: &Arrival, noted: &mut Noted) -> Result<(), Refused> {
        self.admitted(&self.issue.site.load_full(), shown, arrival, noted).map(drop)
    }

    /// Who asks, held up if its address keeps proving nobody; noted.
    fn admitted<'s>(
        &self,
        site: &'s Site,
        shown: &Shown,
        arrival: &Arrival,
        noted: &mut Noted,
    ) -> Result<Asker<'s>, Refused> {
        let mut asker = self.asker(site, shown);
        if let Err(Refused::Here(refusal)) = &asker {
            let mut refused: Result<(), Refusal> = Err(refusal.clone());
            self.issue.hold_up(arrival, site, &mut refused);
            asker = asker.map_err(|_| refused.expect_err("it was refused").into());
        }
        let asker = asker?;
        admit_page(site, asker.entry, arrival.origin.as_deref())?;
        noted.owner = Some(asker.owner.clone());
        Ok(asker)
    }

    /// Takes a request that is no submit from the rate of its app: whatever it asks for, it costs the broker something.
    async fn admit_request(&self, entry: &Entry) -> Result<(), Refused> {
        Ok(entry.allowance(None, &self.issue.subjects).admit_request(self.now()).await?)
    }

    /// Who asks. Looked at anew for each request: a token that was revoked, and one whose app was disabled,
    /// opens nothing from that moment on.
    fn asker<'s>(&self, site: &'s Site, shown: &Shown) -> Result<Asker<'s>, Refused> {
        let now = self.issue.clock.unix();
        let identities = &site.identities;
        let bearer = match shown {
            Shown::Bearer(bearer) => bearer,
            Shown::Credential(credential) => return self.app(site, credential),
        };
        if bearer.starts_with("st-") {
            let elsewhere = "Authorization: this is a token of DashScope's own, which works at DashScope itself, \
                             at the base_url that came with it";
            return Err(Refused::Here(Unidentified::Malformed(elsewhere).into()));
        }
        if !bearer.starts_with("eyJ") {
            return self.app(site, &Credential::secret(bearer.as_bytes()));
        }
        let holder = identities.holder(bearer, now)?;
        let owner = Owner { app: holder.app().id.clone(), subject: holder.subject() };
        Ok(Asker { owner, entry: site.entry_of(holder.app()), claims: Some(holder.claims().clone()) })
    }

    /// A confidential app itself: software that holds one key for a whole wait has no other.
    fn app<'s>(&self, site: &'s Site, credential: &Credential) -> Result<Asker<'s>, Refused> {
        let look =
            Look { now: self.issue.clock.unix(), reach: Reach::InHand, is_first: true, is_recorded: false };
        let caller = site.identities.identify(credential, look)?;
        let owner = Owner { app: caller.app().id.clone(), subject: None };
        Ok(Asker { owner, entry: site.entry(&caller), claims: None })
    }

    /// Calls the upstream of an app.
    async fn call(
        &self,
        site: &Site,
        entry: &Entry,
        permit: Permit,
        call: upstream::Call<'_>,
    ) -> Result<Reply, Refused> {
        let upstream_use = permit.into_upstream_use();
        let upstream = upstream(site, &upstream_use);
        let source = Source { tokens: &entry.tokens, upstream, is_direct: false };
        self.send(source, upstream_use, call).await
    }

    async fn send(
        &self,
        source: Source<'_>,
        upstream_use: UpstreamUse,
        call: upstream::Call<'_>,
    ) -> Result<Reply, Refused> {
        let called = self.http.call((&self.issue.cache, &self.issue.clock), source, upstream_use, call).await;
        match called {
            Ok(reply) if reply.status == 200 => Ok(reply),
            Ok(reply) if call.body.is_some() && !is_refusal(reply.status) => Err(Refused::OutcomeUnknown),
            Ok(reply) => Err(refused(&reply)),
            Err(Trouble::NoToken(failure)) => Err(failure.into()),
            Err(Trouble::NotSent) => Err(Failure::of(Kind::Unreachable).into()),
            Err(Trouble::Unknown) if call.body.is_some() => Err(Refused::OutcomeUnknown),
            Err(Trouble::Unknown) => Err(Failure::of(Kind::Unavailable).into()),
        }
    }
}

/// Whether a page that asks is one of the app's.
fn admit_page(site: &Site, entry: &Entry, origin: Option<&str>) -> Result<(), Refused> {
    match origin {
        Some(origin) => Ok(entry.policy.admit_page(origin, site.own_origin())?),
        None => Ok(()),
    }
}

fn upstream<'s>(site: &'s Site, upstream_use: &UpstreamUse) -> &'s Arc<Upstream> {
    &site.upstreams[upstream_use.upstream]
}

/// Whether a submit that is answered so did nothing: the request is at fault, or the service takes none. After any
/// other answer the task may run, and be billed.
fn is_refusal(status: u16) -> bool {
    matches!(status, 400 | 401 | 403 | 404 | 429 | 503)
}

/// What the upstream's refusal is to a caller: what the request is at fault for is told as it is; what the broker
/// is at fault for is not the caller's 401.
fn refused(reply: &Reply) -> Refused {
    let text =
        |name: &str| reply.body[name].as_str().unwrap_or_default().chars().take(1000).collect::<String>();
    match reply.status {
        400 | 403 | 404 | 429 => Refused::Upstream {
            status: reply.status,
            code: text("code"),
            message: text("message"),
            retry_after: reply.retry_after,
        },
        401 => Failure::of(Kind::InvalidKey).into(),
        _ => Failure::of(Kind::Unavailable).into(),
    }
}
