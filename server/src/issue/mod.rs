//! The use case: a credential and a request in, a token or a refusal out, and one audit record. The
//! only caller of all stages; free of HTTP.

mod issued;
mod refusal;

use std::{cell::OnceCell, net::IpAddr, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use tracing::Instrument;
use valet_clock::SharedClock;

pub use self::{
    issued::{Answer, Issued},
    refusal::{Refusal, Unreadable},
};
use crate::{
    admission::{self, Gate, Now, Subjects},
    audit::{Door, EndUser, Event, Record, Trail},
    config::{Lifetime, Mode},
    identity::{Caller, Credential, Look, Reach, Subject, Unidentified},
    policy::{Granted, TokenRequest, UpstreamUse},
    request_id::RequestId,
    site::Site,
    telemetry::IssueMetrics,
    token::{Cache, Failure, Kind, LiveToken, Source},
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
    /// The web origin that it says it comes from.
    pub origin: Option<Box<str>>,
    /// When.
    pub at: Instant,
    /// When all of it was there: its body may have taken a while.
    pub read: Instant,
}

/// A request as a door has read it.
#[derive(Debug)]
pub struct Ask {
    /// Who asks.
    pub credential: Credential,
    /// For what.
    pub request: TokenRequest,
}

impl Issue {
    /// Decides `ask`, has the door answer it, and records both.
    ///
    /// `answer` makes the door's response and says with which status; what the status means is the
    /// door's business.
    pub fn serve<R>(
        &self,
        arrival: Arrival,
        ask: &Result<Ask, Refusal>,
        answer: impl FnOnce(Result<&Issued<'_>, &Refusal>) -> (u16, R) + Send,
    ) -> impl Future<Output = R> + Send {
        let (site, replacing) = (self.site.load_full(), OnceCell::new());
        let mut noted = Noted { request_id: Some(arrival.request_id), ..Noted::default() };
        async move {
            let mut decided = match ask {
                Ok(ask) => self.decide(&site, ask, arrival.read, &mut noted).await,
                Err(refusal) => Err(refusal.clone()),
            };
            if let (Err(Refusal::Failed(failure)), Ok(ask)) = (&decided, ask)
                && failure.kind == Kind::Superseded
            {
                // The site was replaced meanwhile: what it granted is void, and what its successor grants is not.
                let site = replacing.get_or_init(|| self.site.load_full());
                decided = Box::pin(self.decide(site, ask, self.clock.now(), &mut noted)).await;
            }
            self.hold_up(&arrival, &site, &mut decided);
            let (status, response) = answer(decided.as_ref());
            self.record(arrival, status, noted, decided.as_ref());
            response
        }
    }

    /// Ends a relay token at its app's own wish (RFC 7009): one of another app's, or none at all, stays as it is,
    /// and nobody is told.
    pub async fn revoke<R>(
        &self,
        arrival: Arrival,
        asked: Result<(Credential, String), Refusal>,
        answer: impl FnOnce(Result<(), &Refusal>) -> (u16, R),
    ) -> R {
        let site = self.site.load_full();
        let (mut noted, mut ended) = (Noted::default(), None);
        let mut revoked = match asked {
            Ok((credential, token)) => {
                // Who asks comes first (RFC 7009 §2.1).
                match self.identify(&site, &credential, arrival.read, &mut noted).await {
                    Ok(_) if token.starts_with("st-") => Err(Unreadable::NotRevocable.into()),
                    Ok((caller, now)) => {
                        let revoked = site.identities.revoke(caller.app(), &token, now.unix);
                        ended = matches!(revoked, Ok((true, _))).then(|| issued::sha256(&token));
                        match revoked {
                            Ok((was, Some(told))) => {
                                Box::pin(told.tell()).await.map(|()| was).map_err(Refusal::from)
                            }
                            Ok((was, None)) => Ok(was),
                            Err(refused) => Err(refused.into()),
                        }
                    }
                    Err(nobody) => Err(nobody.into()),
                }
            }
            Err(refusal) => Err(refusal),
        };
        self.hold_up(&arrival, &site, &mut revoked);
        let (status, response) = answer(revoked.as_ref().map(|_| ()));
        let outcome = match &revoked {
            Ok(true) => "revoked",
            Ok(false) => "nothing_revoked",
            Err(refusal) => refusal.reason(),
        };
        let reason = revoked.as_ref().err().and_then(Refusal::detail);
        let line = self.line(arrival, noted.read, status, outcome);
        self.count(line.door, line.outcome, revoked.as_ref().err());
        self.metrics.took(line.latency);
        self.trail.record(Record { app: noted.app, reason, token: ended, ..line });
        response
    }

    /// Holds up an address whose requests keep proving nobody.
    pub(crate) fn hold_up<T>(&self, arrival: &Arrival, site: &Site, decided: &mut Result<T, Refusal>) {
        if let Err(Refusal::Unidentified(who)) = decided
            && who.is_nobody()
            && let Err(reached) =
                self.gate.failed(arrival.address, site.failures_per_address, self.clock.now())
        {
            *decided = Err(reached.into());
        }
    }

    /// What every line of the audit trail says of its request, of which both clocks were `read` before, if at
    /// all: each look at a clock takes as long as the limits do.
    pub(crate) fn line(
        &self,
        arrival: Arrival,
        read: Option<Now>,
        status: u16,
        outcome: &'static str,
    ) -> Record {
        let now = self.clock.now();
        let latency = now.saturating_duration_since(arrival.at);
        let since = |read: Now| read.unix + now.saturating_duration_since(read.instant);
        Record {
            time: read.map_or_else(|| self.clock.unix(), since),
            request_id: arrival.request_id,
            door: arrival.door,
            peer: arrival.peer,
            status,
            outcome,
            latency,
            app: None,
            subject: None,
            client_reference_id: None,
            reason: None,
            mode: None,
            lifetime: None,
            work: None,
            expires_in: None,
            token: None,
            upstream_key: None,
            upstream_request_id: None,
        }
    }

    /// Counts an answer, and the limit that a refusal names.
    pub(crate) fn count(&self, door: Door, outcome: &'static str, refusal: Option<&Refusal>) {
        self.metrics.decided(door, outcome);
        if let Some(Refusal::Limited(reached)) = refusal {
            self.metrics.limited(reached.limit);
        }
    }

    /// Records what happened to the broker itself.
    pub fn event(&self, event: Event) {
        self.trail.event(event, self.clock.unix());
    }

    /// The path of a request: identity, policy, admission, token. A hit never awaits.
    async fn decide<'s>(
        &self,
        site: &'s Site,
        ask: &Ask,
        at: Instant,
        noted: &mut Noted,
    ) -> Result<Issued<'s>, Refusal> {
        noted.client_reference_id.clone_from(&ask.request.client_reference_id);
        let (caller, times) = self.identify(site, &ask.credential, at, noted).await?;
        let entry = site.entry(&caller);
        let grant = entry.policy.decide(caller, &ask.request, times.unix)?;
        noted.subject = grant.subject().cloned();
        if !self.trail.accepts() {
            return Err(Refusal::Unrecorded);
        }
        let admitted = admission::admit(&grant, &entry.limits, &self.subjects, times).await?;
        let granted = admitted.granted();
        noted.granted = Some((granted.mode(), granted.lifetime()));
        let upstream_use = match granted {
            Granted::Direct(upstream_use) => upstream_use,
            Granted::Relay(grant) => return Ok(Issued::relay(grant, site, entry, times)),
        };
        let upstream = &site.upstreams[upstream_use.upstream];
        let source = Source { tokens: &entry.tokens, upstream, is_direct: true };
        let (token, now) = match self.cache.peek(source, upstream_use, times.instant) {
            Some(token) => (token, times),
            // Apart from the rest: what a wait needs is not to be carried along by every hit.
            None => (Box::pin(self.obtain(source, upstream_use.clone(), noted)).await?, self.now()),
        };
        Ok(Issued::direct(token, upstream, entry, now))
    }

    /// Who asks, and when that was seen: `at`, unless something was awaited. That happens only if keys have to be
    /// fetched, the app's own and its issuer's, or what was shown has to be recorded with all replicas.
    async fn identify<'s>(
        &self,
        site: &'s Site,
        credential: &Credential,
        at: Instant,
        noted: &mut Noted,
    ) -> Result<(Caller<'s>, Now), Unidentified> {
        let mut now = Now { instant: at, unix: self.clock.unix() };
        let mut look = Look {
            now: now.unix,
            reach: Reach::MayFetch,
            is_first: !noted.is_identified,
            is_recorded: false,
        };
        let mut identified = site.identities.identify(credential, look);
        for reach in [Reach::MayFetch, Reach::InHand] {
            let Err(Unidentified::Fetch(keys)) = &identified else { break };
            Box::pin(keys.run()).await;
            now = self.now();
            look = Look { now: now.unix, reach, ..look };
            identified = site.identities.identify(credential, look);
        }
        if let Err(Unidentified::Record(shown)) = &identified {
            let shown = shown.clone();
            identified = match Box::pin(shown.run()).await {
                Ok(()) => site.identities.identify(credential, Look { is_recorded: true, ..look }),
                Err(refused) => Err(refused),
            };
        }
        noted.read = Some(now);
        noted.app = match &identified {
            Ok(caller) => Some(caller.app().id.clone()),
            Err(Unidentified::Disabled(app)) => Some(app.clone()),
            Err(_) => None,
        };
        noted.is_identified |= identified.is_ok();
        identified.map(|caller| (caller, now))
    }

    fn now(&self) -> Now {
        Now { instant: self.clock.now(), unix: self.clock.unix() }
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
        let line = self.line(arrival, noted.read, status, decided.map_or_else(Refusal::reason, |_| "issued"));
        self.count(line.door, line.outcome, decided.err());
        self.metrics.took(line.latency);
        let (expires_in, upstream_key, upstream_request_id) = match decided {
            Ok(issued) => {
                self.metrics.handed_out(issued.remaining());
                let minted = issued.minted();
                let key = minted.map(|token| token.key_id().text());
                (Some(issued.expires_in()), key, minted.and_then(LiveToken::upstream_request_id))
            }
            Err(Refusal::Failed(failure)) => (None, None, failure.request_id.clone()),
            Err(_) => (None, None, None),
        };
        self.trail.record(Record {
            app: noted.app,
            subject: noted.subject.map(end_user),
            client_reference_id: noted.client_reference_id,
            reason: decided.err().and_then(Refusal::detail),
            mode: noted.granted.map(|(mode, _)| mode.name()),
            lifetime: noted.granted.map(|(_, lifetime)| lifetime.seconds()),
            expires_in,
            token: decided.ok().map(Issued::sha256),
            upstream_key,
            upstream_request_id,
            ..line
        });
    }
}

/// A subject, as the audit trail has it.
pub(crate) fn end_user(subject: Subject) -> Box<EndUser> {
    Box::new(EndUser { name: subject.name, issuer: subject.issuer })
}

/// What is known of a request by the time it is recorded.
#[derive(Default)]
struct Noted {
    request_id: Option<RequestId>,
    /// The clocks when its credential was looked at.
    read: Option<Now>,
    app: Option<Arc<str>>,
    subject: Option<Subject>,
    client_reference_id: Option<String>,
    granted: Option<(Mode, Lifetime)>,
    /// Whether its credential was accepted once: what is used up by that is used up.
    is_identified: bool,
}
