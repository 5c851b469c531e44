//! `POST /tokens`: a temporary token for an API key (Model Studio, *Generate a temporary API key*).

use std::time::Duration;

use serde::Serialize;

use super::{
    Answer,
    call::{Call, json},
};
use crate::{contract::Refusal, core::Core, fault::Effect};

const LIFE_DEFAULT: u64 = 60;
const LIFE_MAX: u64 = 1800;

#[derive(Debug, Serialize)]
struct Minted {
    token: String,
    /// Unix seconds.
    expires_at: i64,
}

pub(super) fn answer(core: &Core, call: &Call) -> Answer {
    let now = core.clock.now();
    let caller = call.caller(core, now)?;
    if caller.by_token {
        // Not documented; the vendor speaks of generating tokens from permanent keys only.
        return Err(Refusal::access("A temporary API key cannot generate another."));
    }
    let [life] = call.query(["expire_in_seconds"])?;
    let life = life.as_deref().map_or(Ok(LIFE_DEFAULT), life_asked)?;
    let expires_at = seconds(core.clock.unix()) + seconds(Duration::from_secs(life)) + call.skew().as_secs();
    let works = match call.effect {
        Effect::ExpireEarly { after_ms } => Duration::from_millis(after_ms),
        _ => Duration::from_secs(life),
    };
    let token = core.accounts.mint(&caller, now, now + works)?;
    Ok(json(&Minted { token, expires_at }))
}

fn life_asked(text: &str) -> Result<u64, Refusal> {
    text.parse()
        .ok()
        .filter(|life| (1..=LIFE_MAX).contains(life))
        .ok_or_else(|| Refusal::parameter("expire_in_seconds", "must be an integer from 1 to 1800"))
}

fn seconds(unix: Duration) -> i64 {
    i64::try_from(unix.as_secs()).unwrap_or(i64::MAX)
}
