//! Small changes to inputs, the same ones each time.

use fastrand::Rng;

/// What often means something.
const WORDS: &[&[u8]] = &[
    b"\0",
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b"=",
    b"&",
    b"%",
    b"%00",
    b"\\u0000",
    b".",
    b"..",
    b" ",
    b"\r\n",
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"eyJ",
    b"none",
    b"kid",
    b"alg",
    b"\xff",
    "\u{2028}".as_bytes(),
];

/// One of `seeds`, changed in a few places.
pub fn mutated(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut data = rng.choice(seeds).cloned().unwrap_or_default();
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(0..=data.len());
        match rng.u8(0..6) {
            0 => data.insert(at, rng.u8(..)),
            1 => drop(data.splice(at..at, rng.choice(WORDS).copied().unwrap_or_default().iter().copied())),
            2 if at < data.len() => data[at] ^= 1 << rng.u8(0..8),
            3 => drop(data.drain(at..rng.usize(at..=data.len()))),
            4 => {
                let part = data[at..rng.usize(at..=data.len())].to_vec();
                data.splice(at..at, part);
            }
            _ => {
                let other = rng.choice(seeds).map_or(&[][..], Vec::as_slice);
                data.truncate(at);
                data.extend_from_slice(&other[rng.usize(0..=other.len())..]);
            }
        }
    }
    data
}
