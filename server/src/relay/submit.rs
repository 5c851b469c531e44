//! Submits: once each, whoever hangs up and whoever asks again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use reqwest::Method;
use serde_json::json;
use tokio::sync::watch;

use super::{
    Document, Noted, Owner, Refused, Relay, Shown,
    handle::TaskKey,
    submission::Submission,
    task::{Order, Task},
    upstream::Call,
};
use crate::{
    admission,
    issue::{Arrival, Unreadable},
    relay_token::Claims,
    site::Site,
    token::{Failure, Kind},
};

/// How long a submit is known by its `Idempotency-Key`.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// The most submits that are known at once; beyond it the broker takes none with a key.
const MOST: usize = 100_000;

/// The outcome of a submit: the task's handle, and its id at the upstream.
type Outcome = Result<(String, String), Refused>;

/// The submits under way, and those that can be asked for again.
#[derive(Debug, Default)]
pub(super) struct Submits(Mutex<HashMap<[u8; 32], Submit>>);

#[derive(Debug)]
struct Submit {
    outcome: watch::Receiver<Option<Outcome>>,
    /// What was submitted: the same key with another body is a mistake.
    body: [u8; 32],
    /// When it is forgotten, in Unix time; without a key, as soon as it has ended.
    until: Option<Duration>,
}

/// A submit as the door has read it.
#[derive(Debug)]
pub struct Ask {
    /// Who asks.
    pub shown: Shown,
    /// The body.
    pub body: bytes::Bytes,
    /// `Idempotency-Key`.
    pub key: Option<String>,
}

impl Relay {
    /// Submits a task, in the background: a caller that hangs up neither stops nor repeats it.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn submit(
        self: &Arc<Self>,
        ask: &Ask,
        arrival: &Arrival,
        noted: &mut Noted,
    ) -> Result<Document, Refused> {
        let site = self.issue.site.load_full();
        let private = site.has_private_hosts();
        let asker = self.admitted(&site, &ask.shown, arrival, noted)?;
        let (submission, hosts) = Submission::read(&ask.body, private)?;
        noted.urls = u32::try_from(hosts.len()).ok();
        asker.entry.policy.permit(asker.claims.as_ref(), submission.submitted(&hosts))?;
        let owner = &asker.owner;
        let now = admission::Now { instant: self.issue.clock.now(), unix: self.issue.clock.unix() };
        asker.entry.admit_submit(&self.issue.subjects, owner.subject.as_ref(), now)?;
        let body = sha256(submission.body().to_string().as_bytes());
        let joined = self.submits.join(&asker.owner, ask.key.as_deref(), body, self.issue.clock.unix())?;
        let mut outcome = match joined {
            Joined::Other(outcome) => outcome,
            Joined::First { id, tell } => {
                let outcome = tell.subscribe();
                let (relay, owner, claims) = (self.clone(), asker.owner.clone(), asker.claims.clone());
                tokio::spawn(async move {
                    let outcome =
                        relay.submit_once(&site, &owner, claims.as_ref(), &submission, &hosts).await;
                    relay.submits.ended(&id, &outcome);
                    tell.send_replace(Some(outcome));
                });
                outcome
            }
        };
        let ended = outcome.wait_for(Option::is_some).await;
        let ended = ended.map_or(Some(Err(Refused::OutcomeUnknown)), |outcome| outcome.clone());
        let (handle, id) = ended.unwrap_or(Err(Refused::OutcomeUnknown))?;
        noted.task = Some(id);
        Ok(Document(json!({ "output": { "task_status": "PENDING", "task_id": handle } })))
    }

    async fn submit_once(
        &self,
        site: &Site,
        owner: &Owner,
        claims: Option<&Claims>,
        submission: &Submission,
        hosts: &[String],
    ) -> Outcome {
        let entry = site.find_entry(&owner.app).ok_or(Refused::OutcomeUnknown)?;
        let permit = entry.policy.permit(claims, submission.submitted(hosts))?;
        let body = submission.body();
        let path = "/services/audio/asr/transcription";
        let reply =
            self.call(site, entry, permit, Call { method: &Method::POST, path, body: Some(&body) }).await?;
        let id = reply.body["output"]["task_id"].as_str().filter(|id| is_task_id(id));
        // A success without a task is a task that nobody can ask for.
        let id = id.ok_or(Refused::OutcomeUnknown)?;
        let now = self.issue.clock.unix();
        let key = TaskKey { account: entry.account.to_string(), id: id.to_owned(), submitted: now.as_secs() };
        let keys = site.keyring().ok_or_else(|| Failure::of(Kind::Superseded))?;
        let handle = key.seal(keys, &owner.bytes(), now);
        let order = Order {
            model: submission.model.clone(),
            urls: u32::try_from(hosts.len()).unwrap_or(u32::MAX),
            reserved: 0,
        };
        let upstream = site.upstreams[entry.upstream].config().name.clone();
        let task = Task::new(owner.clone(), key, handle.clone(), upstream, Some(order), "PENDING");
        self.keep(task.submitted());
        Ok((handle, id.to_owned()))
    }
}

enum Joined {
    /// It is under way, or was done.
    Other(watch::Receiver<Option<Outcome>>),
    First {
        id: [u8; 32],
        tell: watch::Sender<Option<Outcome>>,
    },
}

impl Submits {
    fn join(
        &self,
        owner: &Owner,
        key: Option<&str>,
        body: [u8; 32],
        now: Duration,
    ) -> Result<Joined, Refused> {
        // Without a key, the same body under way is the same submit.
        let name =
            key.map_or_else(|| [&b"body "[..], &body].concat(), |key| [b"key ", key.as_bytes()].concat());
        let id = sha256(&[&owner.bytes()[..], &name].concat());
        let mut known = self.lock();
        if known.len() >= MOST {
            known.retain(|_, submit| submit.until.is_none_or(|until| until > now));
        }
        match known.get(&id).filter(|submit| submit.until.is_none_or(|until| until > now)) {
            Some(submit) if submit.body != body => Err(Unreadable::Field {
                field: "Idempotency-Key".into(),
                problem: "was used for another submit; use a new one for each".into(),
            }
            .into()),
            Some(submit) => Ok(Joined::Other(submit.outcome.clone())),
            None if known.len() >= MOST => Err(Failure::of(Kind::Unavailable).into()),
            None => {
                let (tell, outcome) = watch::channel(None);
                let until = key.map(|_| now + REMEMBERED);
                known.insert(id, Submit { outcome, body, until });
                Ok(Joined::First { id, tell })
            }
        }
    }

    /// Forgets what nobody can ask for again, and what was refused: asked again, it is tried again. What may have
    /// arrived is not tried again.
    fn ended(&self, id: &[u8; 32], outcome: &Outcome) {
        let may_have_arrived = matches!(outcome, Ok(_) | Err(Refused::OutcomeUnknown));
        let mut known = self.lock();
        let keep = known.get(id).is_some_and(|submit| submit.until.is_some()) && may_have_arrived;
        if !keep {
            known.remove(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Submit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// An id that is safe in a path.
fn is_task_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
