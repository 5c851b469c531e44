//! Ports for servers that bind them later, or again.

use std::{
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

/// What systems give to connections that go out begins above these: no connection takes a port away between two binds of it.
const PORTS: Range<u16> = 20_000..32_000;

/// A port of this machine that is free, and most likely still is when it is bound.
///
/// # Panics
/// If a thousand ports in a row are taken.
#[must_use]
pub fn free_port() -> u16 {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (0..1000).map(|_| fastrand::u16(PORTS)).find(free).expect("not every port is taken")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_none_that_is_taken() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).unwrap();
        let taken = taken.local_addr().unwrap().port();
        assert!((0..2000).all(|_| free_port() != taken));
    }
}
