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
    issue::{Arrival, Refusal, Unreadable},
    relay_token::Claims,
    site::Site,
    token::{Failure, Kind},
};

/// How long a submit is known by its `Idempotency-Key`.
pub(super) const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
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
        if !self.issue.trail.accepts() {
            return Err(Refusal::Unrecorded.into());
        }
        asker.entry.allowance(asker.owner.subject.as_ref(), &self.issue.subjects).admit(self.now()).await?;
        let body = sha256(submission.body().to_string().as_bytes());
        let joined = self.submits.join(&asker.owner, ask.key.as_deref(), body, self.issue.clock.unix())?;
        let mut outcome = match joined {
            Joined::Other(outcome) => outcome,
            Joined::First { id, tell } => {
                let outcome = tell.subscribe();
                let (relay, owner, claims) = (self.clone(), asker.owner.clone(), asker.claims.clone());
                let under = ask.key.is_some().then_some((id, body));
                tokio::spawn(async move {
                    let whose = (&owner, claims.as_ref());
                    let outcome = relay.submit_once(&site, whose, (&submission, &hosts), under).await;
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

    /// Submits a task. What is `under` a key is known by it: its name, and that of its body.
    async fn submit_once(
        &self,
        site: &Site,
        (owner, claims): (&Owner, Option<&Claims>),
        (submission, hosts): (&Submission, &[String]),
        under: Option<([u8; 32], [u8; 32])>,
    ) -> Outcome {
        let entry = site.find_entry(&owner.app).ok_or(Refused::OutcomeUnknown)?;
        let permit = entry.policy.permit(claims, submission.submitted(hosts))?;
        let (quotas, began) = (entry.policy.quotas(), self.now());
        let seconds = if quotas.limit_audio() { submission.most_seconds(quotas.seconds_per_file) } else { 0 };
        entry.allowance(owner.subject.as_ref(), &self.issue.subjects).reserve(seconds, began).await?;
        let outcome = async {
            if let Some((submit, body)) = under {
                self.intend(submit, body).await?;
            }
            let (body, path) = (submission.body(), "/services/audio/asr/transcription");
            let call = Call { method: &Method::POST, path, body: Some(&body) };
            let reply = self.call(site, entry, permit, call).await?;
            // A success without a task is a task that nobody can ask for.
            let id = reply.body["output"]["task_id"].as_str().filter(|id| is_task_id(id));
            id.map(str::to_owned).ok_or(Refused::OutcomeUnknown)
        };
        let id = match outcome.await {
            Ok(id) => id,
            Err(refused) => {
                // What may have arrived may have been billed.
                if !matches!(refused, Refused::OutcomeUnknown) {
                    self.settle(owner, began.unix, seconds, 0);
                    if let Some((submit, _)) = under {
                        self.withdrawn(submit);
                    }
                }
                return Err(refused);
            }
        };
        let now = began.unix;
        let key = TaskKey { account: entry.account.to_string(), id: id.clone(), submitted: now.as_secs() };
        let keys = site.keyring().ok_or_else(|| Failure::of(Kind::Superseded))?;
        let handle = key.seal(keys, &owner.bytes(), now);
        let order = Order {
            model: submission.model.clone(),
            urls: u32::try_from(hosts.len()).unwrap_or(u32::MAX),
            reserved: seconds,
        };
        let upstream = site.upstreams[entry.upstream].config().name.clone();
        let task = Task::new(owner.clone(), key, handle.clone(), upstream, Some(order), "PENDING");
        let task = task.submitted();
        self.submitted(&task, under.map(|(submit, _)| submit)).await;
        self.keep(task);
        Ok((handle, id))
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

    /// Knows a submit again of which an earlier process told.
    pub(super) fn know(&self, id: [u8; 32], body: [u8; 32], until: Duration, outcome: Outcome) {
        let (_, outcome) = watch::channel(Some(outcome));
        self.lock().insert(id, Submit { outcome, body, until: Some(until) });
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
