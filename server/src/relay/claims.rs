//! Submits with an `Idempotency-Key`, once over all replicas: claimed before they are sent, and what became of them told.

use std::time::Duration;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use valet_clock::ClockExt;

use super::{
    Owner, Refused, Relay,
    submit::Named,
    submits::{Fate, KEYS_OF_APP, Name, Outcome, REMEMBERED, Untold, other_body},
};
use crate::{
    admission::LimitReached,
    config::WhenAway,
    shared_redis::{self, Away, Shared, Submit, SubmitClaim, ToldSubmit},
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
        let whose = SubmitClaim { app: &owner.app, name: named.name, nonce: named.nonce };
        let (began, mut has_waited) = (clock.now(), false);
        loop {
            let mut listening = shared.listen_for(named.name);
            let claimed = if shared.is_there() {
                self.submits.claim(named.name);
                shared.claim_submit(whose, &content, REMEMBERED, KEYS_OF_APP).await
            } else {
                Err(Away)
            };
            let claimed = match claimed {
                Ok(claimed) => claimed,
                Err(away) if has_waited || shared.without().tasks == WhenAway::Refuse => {
                    let refused = Refused::Here(away.into());
                    // The answer may be lost, and the claim lie there.
                    self.submits.settle(named.name, &Err(refused.clone()));
                    // Another replica was sending it, perhaps.
                    let doubtful = Claim::Theirs(Err(Refused::OutcomeUnknown));
                    return if has_waited { Ok(doubtful) } else { Err(refused) };
                }
                Err(Away) => {
                    self.submits.send(named.name, false);
                    return Ok(Claim::Ours);
                }
            };
            let is_late = clock.now() >= began + LONGEST;
            let known = match claimed {
                Submit::First => {
                    self.submits.send(named.name, true);
                    return Ok(Claim::Ours);
                }
                Submit::Full(retry_after) => {
                    return Err(LimitReached { limit: "idempotency_keys", retry_after }.into());
                }
                Submit::Unsettled(_) if is_late => return Err(Refused::Here(Away.into())),
                Submit::Unsettled(wait) => {
                    clock.sleep(wait).await;
                    continue;
                }
                Submit::UnderWay(content) => {
                    check(&content, &named.body)?;
                    has_waited = true;
                    if is_late {
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

    /// Tells the others what became of a submit that was claimed; once they are there again, if they are away.
    pub(super) async fn unclaim(&self, named: Named, outcome: &Outcome) {
        let Some(shared) = self.replicas.shared.as_ref().filter(|_| named.is_keyed) else { return };
        if let Some(untold) = self.submits.settle(named.name, outcome) {
            let _: Result<(), Away> = self.tell_some(shared, &[untold]).await;
        }
    }

    /// Tells the others of all submits that they may not know of.
    ///
    /// # Errors
    /// [`Away`].
    pub(super) async fn tell_submits(&self, shared: &Shared) -> Result<(), Away> {
        loop {
            let some = self.submits.untold(Shared::SUBMITS_AT_ONCE);
            if some.is_empty() {
                return Ok(());
            }
            self.tell_some(shared, &some).await?;
        }
    }

    async fn tell_some(&self, shared: &Shared, some: &[Untold]) -> Result<(), Away> {
        let now = self.issue.clock.unix();
        let told = |untold: &Untold| {
            let (fate, until) = match &untold.fate {
                Fate::Withdrawn => (shared_redis::Fate::Nothing, now),
                Fate::UnderWay(body, until) => {
                    (shared_redis::Fate::UnderWay(Known::written(body, None)), *until)
                }
                Fate::Ended(body, until, outcome) => {
                    (shared_redis::Fate::Ended(Known::written(body, Some(outcome))), *until)
                }
            };
            (fate, until.saturating_sub(now))
        };
        let told = some.iter().map(|untold| {
            let claim = SubmitClaim { app: &untold.app, name: untold.name, nonce: untold.nonce };
            let (fate, life) = told(untold);
            ToldSubmit { claim, fate, life }
        });
        shared.tell_submits(&told.collect::<Vec<_>>()).await?;
        self.submits.told(some);
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
