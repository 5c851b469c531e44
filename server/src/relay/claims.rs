//! Submits with an `Idempotency-Key`, once over all replicas: claimed before they are sent, and what became of them told.

use std::time::Duration;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use valet_clock::ClockExt;

use super::{
    Owner, Refused, Relay,
    submit::Named,
    submits::{KEYS_OF_APP, Keyed, Name, Outcome, REMEMBERED, other_body},
};
use crate::{
    admission::LimitReached,
    config::WhenAway,
    shared_redis::{Away, Fate, Shared, Submit},
};

/// How often whoever waits for another replica's submit looks whether that lives.
const LOOK: Duration = Duration::from_secs(1);
/// No submit takes longer.
const LONGEST: Duration = Duration::from_secs(60);

/// Whose a submit is.
pub(super) enum Claim {
    /// This replica is to send it.
    Ours,
    /// Another has sent it.
    Theirs(Outcome),
}

/// What replicas know of a submit.
#[derive(Deserialize, Serialize)]
struct Known {
    /// The SHA-256 of what is submitted, in hexadecimal.
    body: String,
    /// The handle and the id of the task that came of it; none while it is under way, or if nobody knows.
    task: Option<(String, String)>,
}

impl Known {
    fn written(body: &Name, outcome: Option<&Outcome>) -> Vec<u8> {
        let task = outcome.and_then(|outcome| outcome.as_ref().ok().cloned());
        let known = Self { body: HEXLOWER.encode(body), task };
        serde_json::to_vec(&known).expect("plain fields serialize")
    }
}

impl Relay {
    /// Claims a submit, or learns what became of it at another replica, once that is known.
    ///
    /// # Errors
    /// If it may not be sent.
    pub(super) async fn claim(&self, owner: &Owner, named: Named) -> Result<Claim, Refused> {
        let Some(shared) = self.replicas.shared.as_ref().filter(|_| named.is_keyed) else {
            return Ok(Claim::Ours);
        };
        let (clock, content) = (&self.issue.clock, Known::written(&named.body, None));
        let (began, mut has_waited) = (clock.now(), false);
        loop {
            let mut listening = shared.listen_for(named.name);
            let whose = (&*owner.app, &named.name);
            let claimed = match shared.claim_submit(whose, &content, REMEMBERED, KEYS_OF_APP).await {
                Ok(claimed) => claimed,
                // Another replica was sending it.
                Err(Away) if has_waited => return Ok(Claim::Theirs(Err(Refused::OutcomeUnknown))),
                Err(away) if shared.without().tasks == WhenAway::Refuse => {
                    return Err(Refused::Here(away.into()));
                }
                Err(Away) => return Ok(Claim::Ours),
            };
            let known = match claimed {
                Submit::First => return Ok(Claim::Ours),
                Submit::Full(retry_after) => {
                    return Err(LimitReached { limit: "idempotency_keys", retry_after }.into());
                }
                Submit::Unsettled(wait) => {
                    clock.sleep(wait).await;
                    continue;
                }
                Submit::UnderWay(content) => {
                    check(&content, &named.body)?;
                    has_waited = true;
                    if clock.now() >= began + LONGEST {
                        return Ok(Claim::Theirs(Err(Refused::OutcomeUnknown)));
                    }
                    let _: Result<(), _> = clock.timeout(LOOK, listening.heard()).await;
                    continue;
                }
                Submit::Ended(content) | Submit::Doubtful(Some(content)) => check(&content, &named.body)?,
                Submit::Doubtful(None) => None,
            };
            return Ok(Claim::Theirs(known.ok_or(Refused::OutcomeUnknown)));
        }
    }

    /// Tells the others what became of a submit that was claimed.
    pub(super) async fn unclaim(&self, owner: &Owner, named: Named, outcome: &Outcome) {
        let Some(shared) = self.replicas.shared.as_ref().filter(|_| named.is_keyed) else { return };
        let content = Known::written(&named.body, Some(outcome));
        let fate = match outcome {
            Ok(_) | Err(Refused::OutcomeUnknown) => Fate::Ended(&content),
            Err(_) => Fate::Nothing,
        };
        let told = shared.tell_submit((&owner.app, &named.name), fate, REMEMBERED).await;
        self.submits.untold(named.name, told.is_err());
    }

    /// Tells the others of submits that they may not know of; of all, if those may be lost.
    ///
    /// # Errors
    /// [`Away`].
    pub(super) async fn tell_submits(&self, shared: &Shared, all: bool) -> Result<(), Away> {
        let now = self.issue.clock.unix();
        for Keyed { app, name, body, until, outcome } in self.submits.keyed(all) {
            let content = Known::written(&body, outcome.as_ref());
            let fate = match outcome {
                Some(_) => Fate::Ended(&content),
                None => Fate::UnderWay(&content),
            };
            let life = until.saturating_sub(now);
            if !life.is_zero() {
                shared.tell_submit((&app, &name), fate, life).await?;
            }
            self.submits.untold(name, false);
        }
        Ok(())
    }
}

/// What came of a submit, if that is known and it was of this body.
fn check(content: &[u8], body: &Name) -> Result<Option<(String, String)>, Refused> {
    let known = serde_json::from_slice::<Known>(content).map_err(|_| Refused::OutcomeUnknown)?;
    if known.body != HEXLOWER.encode(body) {
        return Err(other_body());
    }
    Ok(known.task)
}
