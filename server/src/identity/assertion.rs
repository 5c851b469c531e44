//! Client assertions (RFC 7523 §3): what must be true of a token by which an app proves itself.

use std::time::Duration;

use crate::jwt::{Claims, NoTime, Signed};

/// The longest life that an assertion may have left, in seconds.
const LONGEST_LIFE: f64 = 300.0;
/// The longest `jti`, in bytes.
const LONGEST_ID: usize = 256;
/// How far an issuer's clock may be behind or ahead of ours, in seconds.
pub(super) const LATE: f64 = 5.0;
pub(super) const EARLY: f64 = 10.0;

/// Why a token of the right signature is not accepted.
pub(super) type Fault = &'static str;

/// Checks all but the signature and whether it was shown before. Returns its id, and until when it means
/// anything.
pub(super) fn check<'t>(
    signed: &'t Signed,
    app: &str,
    audiences: &[&str],
    now: Duration,
) -> Result<(&'t str, Duration), Fault> {
    let Signed { typ, claims } = signed;
    // RFC 8725 §3.11: a token of another kind is not taken for this one.
    if !matches!(typ.as_deref(), None | Some("jwt" | "client-authentication+jwt")) {
        return Err("typ: is another kind of token");
    }
    if claims.text("iss") != Some(app) || claims.text("sub") != Some(app) {
        return Err("iss, sub: both must be the app's id");
    }
    match claims.audiences().as_deref() {
        Some([one]) if audiences.contains(one) => {}
        _ => return Err("aud: must be this broker's issuer, and nothing beside it"),
    }
    let expires = times(claims, now)?;
    if expires - now.as_secs_f64() > LONGEST_LIFE + LATE {
        return Err("exp: an assertion lives at most 300 seconds");
    }
    let id = claims.text("jti").filter(|id| (1..=LONGEST_ID).contains(&id.len()));
    let id = id.ok_or("jti: is missing, empty or too long")?;
    // A second more: it is remembered for at least as long as it would be accepted.
    Ok((id, Duration::from_secs_f64(expires + LATE + 1.0)))
}

/// Checks the times of a token, and returns when it expires.
pub(super) fn times(claims: &Claims, now: Duration) -> Result<f64, Fault> {
    let now = now.as_secs_f64();
    let expires = claims.time("exp").ok().flatten().ok_or("exp: is missing, or no time")?;
    if expires + LATE <= now {
        return Err("exp: it has expired");
    }
    for (name, fault) in [
        ("iat", "iat: it was issued in the future; compare the clocks"),
        ("nbf", "nbf: it is not valid yet; compare the clocks"),
    ] {
        match claims.time(name) {
            Ok(Some(time)) if time > now + EARLY => return Err(fault),
            Ok(_) => {}
            Err(NoTime) => return Err("iat, nbf: must be times"),
        }
    }
    Ok(expires)
}
