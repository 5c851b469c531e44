//! Scripted faults: what shall go wrong, with which requests, how often; carried out by the HTTP part.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{ids, journal::Operation};

/// One thing to go wrong. Built by [`on`](Fault::on) or [`on_any`](Fault::on_any) and one effect:
///
/// ```
/// use valet_sandbox::{Fault, Operation};
///
/// let fault = Fault::on(Operation::Mint).refuse(429, "Throttling.RateQuota", "Slow down.").times(3);
/// ```
///
/// A fault meets one request unless told otherwise. Of several faults that could meet a request, the one
/// scripted first does, until it is used up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operation: Option<Operation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default = "once")]
    times: Option<u32>,
    #[serde(rename = "delay_ms", default, with = "crate::millis", skip_serializing_if = "Duration::is_zero")]
    delay: Duration,
    #[serde(default)]
    effect: Effect,
}

/// How a request fares that a fault meets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Effect {
    /// As usual (after the delay).
    #[default]
    None,
    /// Never answered.
    Hang,
    /// Not carried out; the connection is reset.
    Reset,
    /// Carried out; then the connection is reset instead of an answer.
    LoseAnswer,
    /// Not carried out; the documented error body with this status.
    Refuse { status: u16, code: String, message: String, retry_after_s: Option<u64> },
    /// Not carried out; this body, such as a proxy's page.
    Replace { status: u16, content_type: String, body: String },
    /// Carried out; half of the body, then the connection ends.
    Truncate,
    /// Carried out; a success with a body of so many bytes that never becomes valid JSON.
    Enormous { bytes: u64 },
    /// A mint: the token stops working so long after it was minted, whatever `expires_at` says.
    ExpireEarly { after_ms: u64 },
    /// `Date` and `expires_at` are off by so many seconds.
    Skew { seconds: i64 },
    /// Carried out; the body in pieces of so many bytes with a pause after each.
    Drip { bytes: usize, pause_ms: u64 },
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the type of the field")]
fn once() -> Option<u32> {
    Some(1)
}

impl Fault {
    /// A fault for requests of `operation`.
    #[must_use]
    pub fn on(operation: Operation) -> Self {
        Self { operation: Some(operation), ..Self::on_any() }
    }

    /// A fault for requests of any operation.
    #[must_use]
    pub fn on_any() -> Self {
        Self { operation: None, key: None, times: once(), delay: Duration::ZERO, effect: Effect::None }
    }

    /// Only requests that show this key or token.
    #[must_use]
    pub fn for_key(mut self, secret: &str) -> Self {
        self.key = Some(ids::fingerprint(secret));
        self
    }

    /// The next `count` requests; none if 0.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.times = Some(count);
        self
    }

    /// All requests until the faults are cleared.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// Waits so long, by the sandbox's clock, before anything else; alone or with any effect.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Never answers.
    #[must_use]
    pub fn hang(self) -> Self {
        self.effect(Effect::Hang)
    }

    /// Resets the connection; the request is not carried out.
    #[must_use]
    pub fn reset(self) -> Self {
        self.effect(Effect::Reset)
    }

    /// Carries out the request, then resets the connection instead of answering.
    #[must_use]
    pub fn lose_answer(self) -> Self {
        self.effect(Effect::LoseAnswer)
    }

    /// Answers with the documented error body instead of carrying out the request.
    #[must_use]
    pub fn refuse(self, status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        let (code, message) = (code.into(), message.into());
        self.effect(Effect::Refuse { status, code, message, retry_after_s: None })
    }

    /// Adds a `Retry-After` of whole seconds to [`refuse`](Fault::refuse).
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        if let Effect::Refuse { retry_after_s, .. } = &mut self.effect {
            *retry_after_s = Some(wait.as_secs());
        }
        self
    }

    /// Answers with a body of any content type, such as a proxy's page, instead of carrying out the request.
    #[must_use]
    pub fn replace(self, status: u16, content_type: impl Into<String>, body: impl Into<String>) -> Self {
        self.effect(Effect::Replace { status, content_type: content_type.into(), body: body.into() })
    }

    /// Carries out the request and sends half of the answer's body.
    #[must_use]
    pub fn truncate(self) -> Self {
        self.effect(Effect::Truncate)
    }

    /// Carries out the request and answers with a body of so many bytes, not JSON but like it.
    #[must_use]
    pub fn enormous(self, bytes: u64) -> Self {
        self.effect(Effect::Enormous { bytes })
    }

    /// Lets a minted token stop working after `life` though `expires_at` promises the usual one.
    #[must_use]
    pub fn expire_early(self, life: Duration) -> Self {
        self.effect(Effect::ExpireEarly { after_ms: crate::millis::of(life) })
    }

    /// Answers as if the wall clock were so many seconds ahead (or behind): `Date` and `expires_at`.
    #[must_use]
    pub fn skew(self, seconds: i64) -> Self {
        self.effect(Effect::Skew { seconds })
    }

    /// Sends the answer's body in pieces of `bytes` with a pause, by the sandbox's clock, after each.
    #[must_use]
    pub fn drip(self, bytes: usize, pause: Duration) -> Self {
        self.effect(Effect::Drip { bytes, pause_ms: crate::millis::of(pause) })
    }

    fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    fn meets(&self, operation: Operation, key: Option<&str>) -> bool {
        self.operation.is_none_or(|wanted| wanted == operation)
            && self.key.as_deref().is_none_or(|wanted| key == Some(wanted))
    }

    /// Whether the fault can be carried out; it may come from the control route.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match &self.effect {
            Effect::Refuse { status, .. } | Effect::Replace { status, .. }
                if !(200..=599).contains(status) =>
            {
                Err("effect.status: must be from 200 to 599")
            }
            Effect::Replace { content_type, .. } if !content_type.bytes().all(|b| (32..127).contains(&b)) => {
                Err("effect.content_type: must be visible ASCII")
            }
            Effect::Drip { bytes: 0, .. } => Err("effect.bytes: must be at least 1"),
            _ => Ok(()),
        }
    }
}

/// The faults still to come, in the order in which they were scripted.
#[derive(Debug, Default)]
pub(crate) struct Script(Mutex<Vec<Fault>>);

impl Script {
    pub(crate) fn add(&self, fault: Fault) {
        if fault.times != Some(0) {
            self.lock().push(fault);
        }
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn pending(&self) -> Vec<Fault> {
        self.lock().clone()
    }

    /// The delay and effect for a request that arrived.
    pub(crate) fn take(&self, operation: Operation, key: Option<&str>) -> (Duration, Effect) {
        let mut faults = self.lock();
        let Some(at) = faults.iter().position(|fault| fault.meets(operation, key)) else {
            return Default::default();
        };
        let fault = &mut faults[at];
        let taken = (fault.delay, fault.effect.clone());
        if let Some(left) = &mut fault.times {
            *left -= 1;
            if *left == 0 {
                faults.remove(at);
            }
        }
        taken
    }

    /// Changes are single pushes and removals, so a poisoned lock guards nothing broken.
    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
