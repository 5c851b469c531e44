//! Recordings made for the tests: PCM of sound and silence.

use bytes::Bytes;

/// What a channel holds, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// Milliseconds of a steady sound, which counts as speech.
    Sound(u32),
    /// Milliseconds of silence.
    Silence(u32),
}

use Part::{Silence, Sound};

/// A WAV file, 16 bits a sample; every channel must be equally long.
pub(crate) fn wav(rate: u32, channels: &[&[Part]]) -> Bytes {
    let channels: Vec<Vec<i16>> = channels.iter().map(|parts| samples(rate, parts)).collect();
    let count = u16::try_from(channels.len()).unwrap();
    let frames = channels[0].len();
    assert!(channels.iter().all(|channel| channel.len() == frames));
    let size = u32::try_from(frames * channels.len() * 2).unwrap();
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((36 + size).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    file.extend(1_u16.to_le_bytes());
    file.extend(count.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend((rate * u32::from(count) * 2).to_le_bytes());
    file.extend((count * 2).to_le_bytes());
    file.extend(16_u16.to_le_bytes());
    file.extend(b"data");
    file.extend(size.to_le_bytes());
    for frame in 0..frames {
        for channel in &channels {
            file.extend(channel[frame].to_le_bytes());
        }
    }
    file.into()
}

/// One second of sound between two halves of silence, 8 kHz, one channel.
pub(crate) fn one_second() -> Bytes {
    wav(8000, &[&[Silence(500), Sound(1000), Silence(500)]])
}

fn samples(rate: u32, parts: &[Part]) -> Vec<i16> {
    let mut samples = Vec::new();
    for part in parts {
        let (level, ms) = match *part {
            Sound(ms) => (8000, ms),
            Silence(ms) => (0, ms),
        };
        samples.extend((0..rate / 1000 * ms).map(|at| if at / 8 % 2 == 0 { level } else { -level }));
    }
    samples
}
