//! One mint for all replicas: takes over the token that another has minted, waits while one does, or mints and tells
//! the others. Without the shared state, mints alone. Knows neither Redis nor DashScope.

use std::{sync::Arc, time::Duration};

use prometheus_client::metrics::counter::Counter;
use valet_clock::{ClockExt, SharedClock};

use super::{Failure, Kind, Minted, Upstream, slot::Live};
use crate::{
    config::WhenAway,
    policy::UpstreamUse,
    shared_redis::{Claimed, Lease, Place, Shared, Told},
};

/// How often what another replica left may be passed over before this one mints alone: more often than that, somebody
/// plays with the shared state.
const ROUNDS: usize = 8;

/// What a token is obtained for, and what there is of it.
pub(super) struct Want<'w> {
    pub(super) upstream: &'w Upstream,
    pub(super) upstream_use: &'w UpstreamUse,
    pub(super) place: &'w Place,
    /// The token in hand: one that ends before it is of no use.
    pub(super) in_hand: Option<&'w Live<Minted>>,
    /// Counts a request that waits for another replica's mint.
    pub(super) coalesced: &'w Counter,
}

/// A token, and the lease that it was minted under, of which the others are still to be told.
pub(super) struct Obtained {
    pub(super) live: Live<Minted>,
    pub(super) lease: Option<Lease>,
}

/// Obtains a token. `cap` takes a mint from the app's cap.
pub(super) async fn obtain(
    shared: &Arc<Shared>,
    clock: &SharedClock,
    want: Want<'_>,
    cap: impl Fn() -> Result<(), Failure>,
) -> Result<Obtained, Failure> {
    let pool = &want.upstream.pool;
    let mut seen = want.in_hand.map_or(0, |live| live.value.fence);
    let mut has_waited = false;
    for _ in 0..ROUNDS {
        // The policy may have changed while another replica minted: a token of before is of no use.
        if !want.upstream_use.edition().is_valid() {
            return Err(Failure::of(Kind::Superseded));
        }
        let mut listening = shared.listen_at(want.place);
        let asked = clock.now();
        match shared.claim(want.place, seen).await {
            Err(_away) => break,
            Ok(Claimed::Unreadable(fence)) => seen = fence,
            Ok(Claimed::Token(taken)) => {
                seen = taken.fence;
                if let Some(live) =
                    pool.adopt(taken, asked, want.upstream_use).filter(|live| want.is_met_by(live, asked))
                {
                    shared.taken_over();
                    return Ok(Obtained { live, lease: None });
                }
            }
            Ok(Claimed::Wait(most)) => {
                // A refresh keeps no request waiting.
                if !has_waited && want.in_hand.is_none() {
                    want.coalesced.inc();
                }
                has_waited = true;
                // Its lease ends a moment later by this clock than by the server's, at most.
                let most = most + Duration::from_millis(1);
                let _: Result<(), _> = clock.timeout(most, listening.heard()).await;
            }
            Ok(Claimed::Lead(lease)) => {
                let minted = match cap() {
                    Ok(()) => pool.mint(want.upstream_use).await,
                    Err(capped) => Err(capped),
                };
                return match minted {
                    Ok(mut live) => {
                        live.value.fence = lease.fence();
                        Ok(Obtained { live, lease: Some(lease) })
                    }
                    Err(failure) => {
                        shared.publish(lease, None).await;
                        Err(failure)
                    }
                };
            }
        }
    }
    if shared.without().tokens == WhenAway::Refuse && !shared.is_there() {
        return Err(Failure::of(Kind::SharedAway));
    }
    cap()?;
    let live = pool.mint(want.upstream_use).await?;
    Ok(Obtained { live, lease: None })
}

impl Want<'_> {
    /// Whether a token that another replica minted is of use here, by what this replica knows.
    fn is_met_by(&self, live: &Live<Minted>, now: std::time::Instant) -> bool {
        let use_ = self.upstream_use;
        super::cache::serves(live, use_, now)
            && use_.rejected != Some(live.value.sha256)
            && self.in_hand.is_none_or(|in_hand| live.expires() >= in_hand.expires())
    }
}

/// Tells the other replicas of a token, or that there is none.
pub(super) async fn tell(shared: &Arc<Shared>, lease: Lease, live: Option<&Live<Minted>>) {
    let told = live.map(|live| Told {
        bearer: &live.value.bearer,
        key: live.value.key.sha256(),
        request_id: live.value.request_id.as_deref(),
        life: live.life(),
        expires: live.expires(),
    });
    shared.publish(lease, told).await;
}
