//! Request ids: a random word for this process, and a counter.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Names every request of this process.
#[derive(Debug)]
pub struct RequestIds {
    process: u32,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids of a new process, unlike those of any other.
    #[must_use]
    pub fn new() -> Self {
        Self { process: fastrand::u32(..), next: AtomicU64::new(1) }
    }

    /// What they all begin with: the name of this process.
    #[must_use]
    pub fn instance(&self) -> String {
        format!("{:08x}", self.process)
    }

    /// The next id.
    pub fn next(&self) -> RequestId {
        RequestId { process: self.process, number: self.next.fetch_add(1, Relaxed) }
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

/// The name of one request, as `3f9c02d1-000000000000002a`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestId {
    process: u32,
    number: u64,
}

impl RequestId {
    /// As text, without an allocation.
    #[must_use]
    pub fn text(self) -> [u8; 25] {
        let mut text = [b'-'; 25];
        digits(u64::from(self.process), &mut text[..8]);
        digits(self.number, &mut text[9..]);
        text
    }
}

/// Writes the last digits of `number`, as many as there is room for.
fn digits(mut number: u64, text: &mut [u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for place in text.iter_mut().rev() {
        *place = HEX[usize::from(number.to_le_bytes()[0] & 15)];
        number >>= 4;
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).expect("hexadecimal digits are UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_process_and_the_count() {
        let id = RequestId { process: 0x3f9c_02d1, number: 42 };
        assert_eq!(id.to_string(), "3f9c02d1-000000000000002a");
    }
}
