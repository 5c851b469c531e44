//! The use case: a credential and a request in, a token or a refusal out, and one audit record. The
//! only caller of all stages; free of HTTP.

use std::{cell::OnceCell, net::IpAddr, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tracing::Instrument;
use valet_clock::SharedClock;

use crate::{
    admission::{self, Gate, LimitReached, Subjects},
    audit::{Door, Event, Record, Trail},
    identity::{Caller, Credential, Look, Reach, Subject, Unidentified},
    policy::{Denial, TokenRequest, UpstreamUse},
    request_id::RequestId,
    site::{Entry, Form, Site, whole_seconds_left},
    telemetry::IssueMetrics,
    token::{Cache, Failure, Kind, LiveToken, Source, Upstream},
};

/// Issues tokens.
#[derive(Debug)]
pub struct Issue {
    /// What requests are decided by.
    pub site: ArcSwap<Site>,
    /// What the subjects of the apps have used of their limits.
    pub subjects: Subjects,
    /// Which addresses keep failing to prove anybody.
    pub gate: Gate,
    /// The cached upstream tokens.
    pub cache: Cache,
    /// Where decisions are recorded.
    pub trail: Trail,
    /// The time.
    pub clock: SharedClock,
    /// What is counted of decisions.
    pub metrics: IssueMetrics,
}

/// How a request came in.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Through which door.
    pub door: Door,
    /// Its id.
    pub request_id: RequestId,
    /// From where.
    pub address: IpAddr,
    /// The same as text, with the port if it is known: written once a connection, recorded many times.
    pub peer: Arc<str>,
    /// When.
    pub at: Instant,
}

/// A request as a door has read it.
#[derive(Debug)]
pub struct Ask {
    /// Who asks.
    pub credential: Credential,
    /// For what.
    pub request: TokenRequest,
}

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// The door could not read the request.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The credential proves nobody who may ask.
    #[error(transparent)]
    Unidentified(#[from] Unidentified),
    /// The policy gives less than was asked.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// A limit is reached.
    #[error(transparent)]
    Limited(#[from] LimitReached),
    /// The decision could not be recorded, and the operator wants none that is not.
    #[error("the audit trail cannot be written")]
    Unrecorded,
    /// The upstream gave none.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// What is wrong with a request before anyone looks at who sent it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unreadable {
    /// A field is not what it must be.
    #[error("{field}: {problem}")]
    Field {
        /// The field, as the door calls it.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The body as a whole cannot be read.
    #[error("{0}")]
    Body(String),
    /// The body is of a type that the door does not read.
    #[error("send the body as {accepted}")]
    MediaType {
        /// What it reads.
        accepted: &'static str,
    },
    /// There is no such grant type (RFC 6749 §4).
    #[error("grant_type: the broker has client_credentials, token-exchange and jwt-bearer")]
    GrantType,
    /// A token exchange names a target (RFC 8693 §2.1).
    #[error("resource, audience: an app has one upstream; leave them out")]
    Target,
    /// The body is too large.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The most it may be, in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {seconds} seconds")]
    TooSlow {
        /// The time it may take.
        seconds: u64,
    },
}

/// A token, on its way to the one who asked.
pub struct Issued<'s> {
    token: LiveToken,
    expires_in: u64,
    entry: &'s Entry,
    upstream: &'s Upstream,
    now: Instant,
}

/// What a success body can say.
pub struct Answer<'s> {
    /// The token itself.
    pub token: &'s str,
    /// The life it has left, in whole seconds.
    pub expires_in: u64,
    /// When it expires, in Unix seconds.
    pub expires_at: u64,
    /// Where it works.
    pub base_url: &'s str,
    /// The status queries a second that its holder may make.
    pub queries_per_second: f64,
}

impl Issued<'_> {
    /// The success body of a form; `render` is called at most once a second for each app and form.
    pub fn body(&self, form: Form, render: impl FnOnce(&Answer<'_>) -> Vec<u8>) -> Bytes {
        self.entry.prepared.body(form, &self.token, self.expires_in, || {
            render(&Answer {
                token: self.token.bearer().expose(),
                expires_in: self.expires_in,
                expires_at: self.token.expires_at(),
                base_url: self.upstream.base_url(),
                // Two decimals are enough to obey.
                queries_per_second: (self.upstream.queries_per_second(self.now) * 100.0).round() / 100.0,
            })
        })
    }
}

impl Issue {
    /// Decides `ask`, has the door answer it, and records both.
    ///
    /// `answer` makes the door's response and says with which status; what the status means is the
    /// door's business.
    pub async fn serve<R>(
        &self,
        arrival: Arrival,
        ask: Result<Ask, Refusal>,
        answer: impl FnOnce(Result<&Issued<'_>, &Refusal>) -> (u16, R),
    ) -> R {
        let (site, replacing) = (self.site.load_full(), OnceCell::new());
        let mut noted = Noted { request_id: Some(arrival.request_id), ..Noted::default() };
        let mut decided = match &ask {
            Ok(ask) => self.decide(&site, ask, &mut noted).await,
            Err(refusal) => Err(refusal.clone()),
        };
        if let (Err(Refusal::Failed(failure)), Ok(ask)) = (&decided, &ask)
            && failure.kind == Kind::Superseded
        {
            // The site was replaced meanwhile: what it granted is void, and what its successor grants is not.
            let site = replacing.get_or_init(|| self.site.load_full());
            decided = self.decide(site, ask, &mut noted).await;
        }
        if let Err(Refusal::Unidentified(who)) = &decided
            && who.is_nobody()
            && let Err(reached) =
                self.gate.failed(arrival.address, site.failures_per_address, self.clock.now())
        {
            decided = Err(reached.into());
        }
        let (status, response) = answer(decided.as_ref());
        self.record(arrival, status, noted, decided.as_ref());
        response
    }

    /// Records what happened to the broker itself.
    pub fn event(&self, event: Event) {
        self.trail.event(event, self.clock.unix());
    }

    /// The path of a request: identity, policy, admission, token. A hit never awaits.
    async fn decide<'s>(&self, site: &'s Site, ask: &Ask, noted: &mut Noted) -> Result<Issued<'s>, Refusal> {
        noted.client_reference_id.clone_from(&ask.request.client_reference_id);
        let caller = self.identify(site, &ask.credential, noted).await?;
        // Not the time of the arrival: the body may have taken its while.
        let now = self.clock.now();
        let entry = site.entry(&caller);
        let grant = entry.policy.decide(caller, &ask.request)?;
        noted.subject = grant.subject().cloned();
        if !self.trail.accepts() {
            return Err(Refusal::Unrecorded);
        }
        let times = admission::Now { instant: now, unix: self.clock.unix() };
        let admitted = admission::admit(grant, &entry.limits, &self.subjects, times)?;
        let upstream_use = admitted.into_upstream_use();
        noted.lifetime = Some(upstream_use.lifetime.seconds());
        let upstream = &site.upstreams[upstream_use.upstream];
        let source = Source { tokens: &entry.tokens, upstream };
        let (token, now) = match self.cache.peek(source, &upstream_use, now) {
            Some(token) => (token, now),
            None => (self.obtain(source, upstream_use, noted).await?, self.clock.now()),
        };
        let expires_in = whole_seconds_left(&token, now);
        Ok(Issued { token, expires_in, entry, upstream, now })
    }

    /// Who asks. Awaits only if an issuer's keys have to be fetched: then once.
    async fn identify<'s>(
        &self,
        site: &'s Site,
        credential: &Credential,
        noted: &mut Noted,
    ) -> Result<Caller<'s>, Unidentified> {
        let look = Look { now: self.clock.unix(), reach: Reach::MayFetch, is_first: !noted.is_identified };
        let mut identified = site.identities.identify(credential, look);
        if let Err(Unidentified::Fetch(keys)) = &identified {
            keys.run().await;
            let look = Look { now: self.clock.unix(), reach: Reach::InHand, ..look };
            identified = site.identities.identify(credential, look);
        }
        noted.app = match &identified {
            Ok(caller) => Some(caller.app().id.clone()),
            Err(Unidentified::Disabled(app)) => Some(app.clone()),
            Err(_) => None,
        };
        noted.is_identified |= identified.is_ok();
        identified
    }

    /// A token that has to be waited for.
    async fn obtain(
        &self,
        source: Source<'_>,
        upstream_use: UpstreamUse,
        noted: &Noted,
    ) -> Result<LiveToken, Failure> {
        let span = tracing::info_span!(
            "obtain",
            app = noted.app.as_deref(),
            request_id = noted.request_id.map(tracing::field::display),
            outcome = tracing::field::Empty,
        );
        let obtained = self.cache.obtain(source, upstream_use).instrument(span.clone()).await;
        span.record("outcome", obtained.as_ref().map_or_else(|failure| failure.kind.name(), |_| "ok"));
        obtained
    }

    fn record(&self, arrival: Arrival, status: u16, noted: Noted, decided: Result<&Issued<'_>, &Refusal>) {
        let latency = self.clock.now().saturating_duration_since(arrival.at);
        let outcome = decided.map_or_else(Refusal::reason, |_| "issued");
        self.metrics.decided(arrival.door, outcome, latency);
        let (expires_in, upstream_key, upstream_request_id) = match decided {
            Ok(issued) => {
                let token = &issued.token;
                self.metrics.handed_out(token.remaining(issued.now));
                (Some(issued.expires_in), Some(token.key_id().text()), token.upstream_request_id())
            }
            Err(Refusal::Failed(failure)) => (None, None, failure.request_id.clone()),
            Err(refusal) => {
                if let Refusal::Limited(reached) = refusal {
                    self.metrics.limited(reached.limit);
                }
                (None, None, None)
            }
        };
        self.trail.record(Record {
            time: self.clock.unix(),
            request_id: arrival.request_id,
            door: arrival.door,
            peer: arrival.peer,
            status,
            outcome,
            latency,
            app: noted.app,
            subject_issuer: noted.subject.as_ref().and_then(|subject| subject.issuer.clone()),
            subject: noted.subject.map(|subject| subject.name),
            client_reference_id: noted.client_reference_id,
            reason: decided.err().and_then(Refusal::detail),
            lifetime: noted.lifetime,
            expires_in,
            token: decided.ok().map(|issued| issued.token.sha256()),
            upstream_key,
            upstream_request_id,
        });
    }
}

/// What is known of a request by the time it is recorded.
#[derive(Default)]
struct Noted {
    request_id: Option<RequestId>,
    app: Option<Arc<str>>,
    subject: Option<Subject>,
    client_reference_id: Option<String>,
    lifetime: Option<u32>,
    /// Whether its credential was accepted once: what is used up by that is used up.
    is_identified: bool,
}

impl Refusal {
    /// One word for the audit trail and the metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::Unidentified(Unidentified::Missing) => "missing_credential",
            Self::Unidentified(Unidentified::Malformed(_) | Unidentified::TwoMethods) => {
                "malformed_credential"
            }
            Self::Unidentified(Unidentified::Wrong) => "invalid_credential",
            Self::Unidentified(Unidentified::Assertion(_)) => "invalid_assertion",
            Self::Unidentified(Unidentified::Subject(_)) => "invalid_subject_token",
            Self::Unidentified(Unidentified::NoKeys | Unidentified::Fetch(_)) => "issuer_unavailable",
            Self::Unidentified(Unidentified::Crowded) => "too_many_assertions",
            Self::Unidentified(Unidentified::Disabled(_)) => "app_disabled",
            Self::Denied(_) => "denied",
            Self::Limited(_) => "rate_limited",
            Self::Unrecorded => "unrecorded",
            Self::Failed(failure) => failure.kind.name(),
        }
    }

    /// Which of several reasons, where the word alone does not say.
    fn detail(&self) -> Option<&'static str> {
        match self {
            Self::Denied(denial) => Some(denial.name()),
            Self::Limited(reached) => Some(reached.limit),
            Self::Unidentified(Unidentified::Assertion(fault) | Unidentified::Subject(fault)) => Some(fault),
            _ => None,
        }
    }
}
