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

    /// Whether `received` is the whole response; `false` if part of it has yet to come.
    ///
    /// # Errors
    /// If it is not the expected one.
    pub(super) fn is_whole(&mut self, received: &[u8]) -> Result<bool, String> {
        if let Some((head, body)) = self.last
            && received.len() == head + body
            && received[..head].ends_with(b"\r\n\r\n")
            && self.fits(received, head)
        {
            return Ok(true);
        }
        let Some(head) = head_length(received) else { return Ok(false) };
        let wrong = |what: &str| {
            let head = String::from_utf8_lossy(&received[..head]);
            Err(format!("an unexpected response ({what}):\n{head}"))
        };
        let Some(body) = content_length(&received[..head]).filter(|n| self.expected.body_length.contains(n))
        else {
            return wrong("content-length");
        };
        if received.len() < head + body {
            return Ok(false);
        }
        if received.len() > head + body || !self.fits(received, head) {
            return wrong("status or body");
        }
        self.last = Some((head, body));
        Ok(true)
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
                assert_eq!(checker.is_whole(&whole[..end]), Ok(false), "{end}");
            }
            assert_eq!(checker.is_whole(whole), Ok(true));
        }
    }

    #[test]
    fn a_length_may_change_within_its_range() {
        let mut checker = checker();
        for body in ["hello", "hellos", "hello"] {
            let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            assert_eq!(checker.is_whole(whole.as_bytes()), Ok(true));
        }
    }

    #[test]
    fn every_departure_is_an_error() {
        let mut checker = checker();
        checker.is_whole(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").unwrap();
        for wrong in [
            "HTTP/1.1 401 No\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHello",
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloH",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ] {
            assert!(checker.is_whole(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
