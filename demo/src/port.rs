//! Ports for servers that bind them later, or again.

use std::{
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// What systems give to connections that go out begins above these: no connection takes a port away between two binds of it.
const PORTS: Range<u16> = 20_000..32_000;

/// A port of this machine that is free, and most likely still is when it is bound: this process is given each of them
/// once, until it has been given all.
///
/// # Panics
/// If a thousand ports in a row are taken.
#[must_use]
pub fn free_port() -> u16 {
    // Other processes begin elsewhere.
    static NEXT: LazyLock<AtomicUsize> = LazyLock::new(|| AtomicUsize::new(fastrand::u16(..).into()));
    let count = PORTS.len();
    let next =
        || PORTS.clone().nth(NEXT.fetch_add(1, Relaxed) % count).expect("it is less than their number");
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (0..1000).map(|_| next()).find(free).expect("not every port is taken")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_free_port_is_none_that_is_taken_and_none_that_was_given_before() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).unwrap();
        let taken = taken.local_addr().unwrap().port();
        let given: BTreeSet<u16> = (0..2000).map(|_| free_port()).collect();
        assert!(given.len() == 2000 && !given.contains(&taken));
    }
}
