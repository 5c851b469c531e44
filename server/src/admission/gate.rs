//! The gate: an address whose requests prove nobody, again and again, is held up. One that proves
//! somebody is never asked for its address.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Instant,
};

use moka::{policy::EvictionPolicy, sync::Cache};
use valet_pacing::{Quota, RateBudget};

use super::LimitReached;

/// The addresses that are known at once; beyond it those not seen for longest start afresh.
const ADDRESSES: u64 = 100_000;

/// How often addresses have failed to prove anybody.
#[derive(Debug)]
pub struct Gate(Cache<IpAddr, Arc<RateBudget>>);

impl Gate {
    /// Nobody has failed yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Cache::builder().max_capacity(ADDRESSES).eviction_policy(EvictionPolicy::lru()).build())
    }

    /// A request from `address` proved nobody.
    ///
    /// # Errors
    /// If that happens too often.
    pub fn failed(&self, address: IpAddr, quota: Quota, now: Instant) -> Result<(), LimitReached> {
        let budget = self.0.get_with(network(address), || Arc::new(RateBudget::new(now)));
        budget
            .take(now, quota)
            .map_err(|retry_after| LimitReached { limit: "failures_per_address", retry_after })
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// What one customer of a network has: an IPv4 address, or an IPv6 network of 64 bits.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_fails_too_often_is_told_when_to_come_back() {
        let (gate, now) = (Gate::new(), Instant::now());
        let quota = Quota::per_second(1, 2);
        let fails = |from: &str, at| gate.failed(address(from), quota, at);
        assert_eq!([fails("192.0.2.1", now), fails("192.0.2.1", now)], [Ok(()), Ok(())]);
        let reached = fails("192.0.2.1", now).unwrap_err();
        assert_eq!(reached.limit, "failures_per_address");
        assert_eq!(fails("192.0.2.1", now + reached.retry_after), Ok(()));
        assert_eq!(fails("192.0.2.2", now), Ok(()), "its neighbour is another");
    }

    #[test]
    fn a_network_of_64_bits_is_one_address_and_a_mapped_one_is_what_it_maps() {
        assert_eq!(network(address("2001:db8:1:2::1")), network(address("2001:db8:1:2:ffff::9")));
        assert_ne!(network(address("2001:db8:1:2::1")), network(address("2001:db8:1:3::1")));
        assert_eq!(network(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }
}
