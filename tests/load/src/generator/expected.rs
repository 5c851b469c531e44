//! What a response must be, and the least reading of HTTP/1.1 that tells.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// The response that every request must get.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Expected {
    /// The status.
    pub(crate) status: u16,
    /// How long the body may be, in bytes.
    pub(crate) body_length: RangeInclusive<usize>,
    /// How the body begins; all of it where it never changes.
    pub(crate) body_start: String,
}

/// What was received so far.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Received {
    /// Part of a response.
    Part,
    /// The expected response.
    Expected,
    /// A response, and not the expected one: its head.
    Other(String),
}

/// Checks the responses of one server.
#[derive(Debug)]
pub(super) struct Checker {
    status_line: Vec<u8>,
    expected: Expected,
    /// The lengths of the last head that was read in full and of its body: the next are most likely
    /// the same.
    last: Option<(usize, usize)>,
}

impl Checker {
    pub(super) fn new(expected: Expected) -> Self {
        let status_line = format!("HTTP/1.1 {} ", expected.status).into_bytes();
        Self { status_line, expected, last: None }
    }

    /// What `received` is, the bytes since the request.
    ///
    /// # Errors
    /// If nobody can tell where the response ends.
    pub(super) fn check(&mut self, received: &[u8]) -> Result<Received, String> {
        if let Some((head, body)) = self.last
            && received.len() == head + body
            && received[..head].ends_with(b"\r\n\r\n")
            && self.fits(received, head)
        {
            return Ok(Received::Expected);
        }
        let Some(head) = head_length(received) else { return Ok(Received::Part) };
        let said = || String::from_utf8_lossy(&received[..head]).into_owned();
        let Some(body) = content_length(&received[..head]) else {
            return Err(format!("a response without a length:\n{}", said()));
        };
        if received.len() < head + body {
            return Ok(Received::Part);
        }
        if received.len() > head + body {
            return Err(format!("more than a response:\n{}", said()));
        }
        if !self.expected.body_length.contains(&body) || !self.fits(received, head) {
            return Ok(Received::Other(said()));
        }
        self.last = Some((head, body));
        Ok(Received::Expected)
    }

    fn fits(&self, received: &[u8], head_length: usize) -> bool {
        received.starts_with(&self.status_line)
            && received[head_length..].starts_with(self.expected.body_start.as_bytes())
    }
}

/// The length of the head, with the empty line that ends it.
pub(crate) fn head_length(received: &[u8]) -> Option<usize> {
    received.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// The header lines of a head, as name and value.
pub(crate) fn headers(head: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let lines = std::str::from_utf8(head).unwrap_or_default().split("\r\n").skip(1);
    lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim()))
}

fn content_length(head: &[u8]) -> Option<usize> {
    let (_, value) = headers(head).find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checker() -> Checker {
        Checker::new(Expected { status: 200, body_length: 5..=6, body_start: "he".into() })
    }

    #[test]
    fn a_response_is_whole_only_with_its_last_byte() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\ndate: today\r\n\r\nhello";
        let mut checker = checker();
        // The second round takes the short way.
        for _ in 0..2 {
            for end in 0..whole.len() {
                assert_eq!(checker.check(&whole[..end]), Ok(Received::Part), "{end}");
            }
            assert_eq!(checker.check(whole), Ok(Received::Expected));
        }
    }

    #[test]
    fn a_length_may_change_within_its_range() {
        let mut checker = checker();
        for body in ["hello", "hellos", "hello"] {
            let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            assert_eq!(checker.check(whole.as_bytes()), Ok(Received::Expected));
        }
    }

    #[test]
    fn every_departure_is_noticed() {
        let mut checker = checker();
        checker.check(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").unwrap();
        for other in [
            "HTTP/1.1 401 No\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHello",
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhell",
        ] {
            assert!(matches!(checker.check(other.as_bytes()), Ok(Received::Other(_))), "{other}");
        }
        for endless in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloH",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ] {
            assert!(checker.check(endless.as_bytes()).is_err(), "{endless}");
        }
    }
}
