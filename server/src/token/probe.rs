//! Brings keys back from quarantine: a mint of the shortest token, now and then.

use std::time::Duration;

use super::pool::Pool;
use crate::config::Lifetime;

/// How long a key stays in quarantine before it is tried again.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(3);

/// Tries the quarantined keys of `pool` once. The probe's token is of the shortest class, and dropped.
pub(super) async fn probe(pool: &Pool) {
    let shortest = Lifetime::new(Lifetime::MIN).expect("the shortest lifetime is one");
    for key in pool.quarantined() {
        // The outcome is noted on the key's health, which is all that is wanted of it.
        let _outcome = pool.mint_with(key, shortest, LIMIT).await;
    }
}
