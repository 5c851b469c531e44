//! Submits: once each, whoever hangs up and whoever asks again.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use reqwest::Method;
use serde_json::json;

use super::{
    Asker, Document, Noted, Owner, Refused, Relay, Shown, admit_page,
    claims::Claim,
    handle::TaskKey,
    submission::Submission,
    submits::{Joined, Name, Outcome, UnderWay},
    task::{Order, Task},
    upstream::Call,
};
use crate::{
    identity::Unidentified,
    issue::{Arrival, Refusal},
    policy::Permit,
    site::Site,
    token::{Failure, Kind},
};

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

/// A submit by its name and that of its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) name: Name,
    pub(super) body: Name,
    /// Tells its claim from others of the same name.
    pub(super) nonce: u64,
    /// It has a key, and can be asked for again.
    pub(super) is_keyed: bool,
}

impl Relay {
    /// Submits a task, in the background: a caller that hangs up neither stops nor repeats it.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn submit(
        self: &Arc<Self>,
        ask: Ask,
        arrival: &Arrival,
        noted: &mut Noted,
    ) -> Result<Document, Refused> {
        let (ask, mut is_counted) = (Arc::new(ask), false);
        loop {
            let site = self.issue.site.load_full();
            let asker = self.admitted(&site, &ask.shown, arrival, noted)?;
            let (submission, hosts) = Submission::read(&ask.body, site.has_private_hosts())?;
            noted.urls = u32::try_from(hosts.len()).ok();
            self.permitted(&asker, &submission, &hosts)?;
            if !is_counted {
                asker
                    .entry
                    .allowance(asker.owner.subject.as_ref(), &self.issue.subjects)
                    .admit(self.now())
                    .await?;
                is_counted = true;
            }
            let body = sha256(submission.body().to_string().as_bytes());
            let joined =
                self.submits.join(&asker.owner, ask.key.as_deref(), body, self.issue.clock.unix())?;
            let (mut outcome, is_first) = match joined {
                Joined::Other(outcome) => (outcome, false),
                Joined::First(under_way) => {
                    let outcome = under_way.outcome();
                    let origin = arrival.origin.clone();
                    self.submit_detached(ask.clone(), asker.owner.clone(), origin, body, under_way);
                    (outcome, true)
                }
            };
            let ended = outcome.wait_for(Option::is_some).await;
            let ended = ended.map_or(Some(Err(Refused::OutcomeUnknown)), |outcome| outcome.clone());
            match ended.unwrap_or(Err(Refused::OutcomeUnknown)) {
                Ok((handle, id)) => {
                    noted.task = Some(id);
                    return Ok(Document(
                        json!({ "output": { "task_status": "PENDING", "task_id": handle } }),
                    ));
                }
                // It was sent by nobody: whoever came first may do so no more, which says nothing of this one.
                Err(refused) if !is_first && is_of_who_asks(&refused) => {}
                Err(refused) => return Err(refused),
            }
        }
    }

    /// Sends a submit, or learns what became of it elsewhere, whoever waits for that.
    fn submit_detached(
        self: &Arc<Self>,
        ask: Arc<Ask>,
        owner: Owner,
        origin: Option<Box<str>>,
        body: Name,
        under_way: UnderWay,
    ) {
        let (relay, is_keyed) = (self.clone(), ask.key.is_some());
        let named = Named { name: under_way.name(), body, nonce: under_way.nonce(), is_keyed };
        self.submitting.spawn(async move {
            match relay.claim(&owner, named).await {
                Ok(Claim::Ours) => {
                    let outcome = relay.judge_and_submit(&ask, &owner, origin.as_deref(), named).await;
                    relay.unclaim(named, &outcome).await;
                    under_way.end(outcome);
                }
                Ok(Claim::Theirs(outcome)) => under_way.end_elsewhere(outcome),
                Err(refused) => under_way.end_elsewhere(Err(refused)),
            }
        });
    }

    /// Returns once no submit is under way. None may begin any more.
    pub async fn submits_ended(&self) {
        self.submitting.close();
        self.submitting.wait().await;
    }

    /// What `asker` may submit, if it can be recorded.
    fn permitted(
        &self,
        asker: &Asker<'_>,
        submission: &Submission,
        hosts: &[String],
    ) -> Result<Permit, Refused> {
        let permit = asker.entry.policy.permit(asker.claims.as_deref(), submission.submitted(hosts))?;
        if self.issue.trail.accepts() { Ok(permit) } else { Err(Refusal::Unrecorded.into()) }
    }

    /// Submits a task, if it may be by now: a claim may have been waited for.
    async fn judge_and_submit(
        &self,
        ask: &Ask,
        owner: &Owner,
        origin: Option<&str>,
        named: Named,
    ) -> Outcome {
        let site = self.issue.site.load_full();
        let asker = self.asker(&site, &ask.shown)?;
        if asker.owner != *owner {
            return Err(Unidentified::Wrong.into());
        }
        admit_page(&site, asker.entry, origin)?;
        let (submission, hosts) = Submission::read(&ask.body, site.has_private_hosts())?;
        self.submit_once(&site, &asker, (&submission, &hosts), named).await
    }

    /// Submits a task.
    async fn submit_once(
        &self,
        site: &Site,
        asker: &Asker<'_>,
        (submission, hosts): (&Submission, &[String]),
        named: Named,
    ) -> Outcome {
        let permit = self.permitted(asker, submission, hosts)?;
        let Asker { owner, entry, .. } = asker;
        let (quotas, began) = (entry.policy.quotas(), self.now());
        let seconds = if quotas.limit_audio() { submission.most_seconds(quotas.seconds_per_file) } else { 0 };
        let allowance = entry.allowance(owner.subject.as_ref(), &self.issue.subjects);
        let order = Order {
            model: submission.model.clone(),
            urls: u32::try_from(hosts.len()).unwrap_or(u32::MAX),
            reserved: allowance.reserve(seconds, began).await?,
            is_own: true,
        };
        let outcome = async {
            if named.is_keyed {
                self.intend(owner, &order, named).await?;
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
            // What may have arrived may have been billed.
            Err(Refused::OutcomeUnknown) => {
                self.lost(owner, &order, named).await;
                return Err(Refused::OutcomeUnknown);
            }
            Err(refused) => {
                order.reserved.give_back().await;
                if named.is_keyed {
                    self.withdrawn(named.name);
                }
                return Err(refused);
            }
        };
        let now = began.unix;
        let key = TaskKey { account: entry.account.to_string(), id: id.clone(), submitted: now.as_secs() };
        let keys = site.keyring().ok_or_else(|| Failure::of(Kind::Superseded))?;
        let handle = key.seal(keys, &owner.bytes(), now);
        let upstream = site.upstreams[entry.upstream].config().name.clone();
        let task = Task::new(owner.clone(), key, handle.clone(), upstream, Some(order), "PENDING");
        let task = task.submitted();
        self.submitted(&task, named.is_keyed.then_some(named.name)).await;
        let task = self.keep(task);
        self.share(&task).await;
        Ok((handle, id))
    }
}

/// Whether a submit is refused for what its caller has shown, rather than for what it is.
fn is_of_who_asks(refused: &Refused) -> bool {
    matches!(refused, Refused::Here(Refusal::Unidentified(_) | Refusal::Denied(_)))
}

pub(super) fn sha256(bytes: &[u8]) -> Name {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// An id that is safe in a path.
fn is_task_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
