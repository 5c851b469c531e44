//! Where a request comes from if proxies stand in between: `X-Forwarded-For`, to which each proxy adds
//! the address that it was called from. What a caller wrote into it himself stands furthest to the left.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use super::Peer;

/// The address that the outermost of `proxies` trusted proxies was called from; the peer's own without
/// any, or if the header is too short or no list of addresses.
pub(super) fn caller(peer: &Peer, headers: &HeaderMap, proxies: usize) -> Peer {
    let Some(hop) = proxies.checked_sub(1) else { return peer.clone() };
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let addresses = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    match addresses.map(|text| address(text.trim())).nth(hop).flatten() {
        Some(address) => Peer { address, text: address.to_string().into() },
        None => peer.clone(),
    }
}

/// An address, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse().ok().map(|with_port: SocketAddr| with_port.ip()))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn seen(lines: &[&'static str], proxies: usize) -> String {
        let peer = Peer { address: "10.0.0.1".parse().unwrap(), text: "10.0.0.1:4711".into() };
        let name = HeaderName::from_static("x-forwarded-for");
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_static(line));
        }
        caller(&peer, &headers, proxies).text.to_string()
    }

    #[test]
    fn the_header_is_read_from_the_right_by_trusted_hop() {
        let forged = ["203.0.113.9, 198.51.100.7", "192.0.2.2"];
        assert_eq!(seen(&forged, 0), "10.0.0.1:4711", "nobody is trusted");
        assert_eq!(seen(&forged, 1), "192.0.2.2");
        assert_eq!(seen(&forged, 2), "198.51.100.7");
        assert_eq!(seen(&["2001:db8::1"], 1), "2001:db8::1");
        assert_eq!(seen(&["192.0.2.2:80"], 1), "192.0.2.2");
        assert_eq!(seen(&["[2001:db8::1]:80"], 1), "2001:db8::1");
    }

    #[test]
    fn a_header_that_says_nothing_leaves_the_peer() {
        for lines in [&[][..], &["192.0.2.2"], &["unknown, 192.0.2.2"], &["192.0.2.2,,"]] {
            assert_eq!(seen(lines, 2), "10.0.0.1:4711", "{lines:?}");
        }
    }
}
