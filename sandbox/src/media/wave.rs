//! One channel of a recording as a file of its own: WAV, 16 bits a sample.
//!
//! Source: *Multimedia Programming Interface and Data Specifications 1.0*, Waveform Audio File Format.

use std::{
    fs::File,
    io::{self, BufWriter, Seek, SeekFrom, Write},
};

use tempfile::NamedTempFile;

use super::decode::samples;
use crate::failure::Failure;

const HEAD_LENGTH: u32 = 44;
const SAMPLE_LENGTH: u16 = 2;

/// Decodes `file`, and writes what is on `channel`; blocks while it does.
///
/// # Errors
/// As decoding it; and if there is no such channel, or no room.
pub(crate) fn channel_wave(
    file: File,
    extension: Option<&str>,
    channel: usize,
) -> Result<NamedTempFile, Failure> {
    let no_space = |error: io::Error| {
        Failure::new("Sandbox.TemporaryFile", format!("The sandbox cannot keep the file: {error}."))
    };
    let mut wave = NamedTempFile::new().map_err(no_space)?;
    let mut out = BufWriter::new(wave.as_file_mut());
    out.write_all(&[0; HEAD_LENGTH as usize]).map_err(no_space)?;
    let (mut rate, mut length) = (0, 0_u64);
    samples(file, extension, |current, planes| {
        rate = current;
        let samples = planes.get(channel).map(Vec::as_slice).unwrap_or_default();
        length += samples.len() as u64 * u64::from(SAMPLE_LENGTH);
        samples
            .iter()
            .try_for_each(|sample| out.write_all(&quantized(*sample).to_le_bytes()))
            .map_err(no_space)
    })?;
    let length = u32::try_from(length).ok().filter(|length| *length <= u32::MAX - HEAD_LENGTH);
    let length = length
        .ok_or_else(|| Failure::new("Sandbox.TemporaryFile", "The samples fill more than a WAV file."))?;
    out.seek(SeekFrom::Start(0)).and_then(|_| out.write_all(&head(rate, length))).map_err(no_space)?;
    out.flush().map_err(no_space)?;
    drop(out);
    Ok(wave)
}

/// A sample from -1 to 1 as 16 bits; what is beyond is cut off.
fn quantized(sample: f32) -> i16 {
    #[expect(clippy::cast_possible_truncation, reason = "it is within the range of 16 bits")]
    let quantized = (sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)).round() as i16;
    quantized
}

fn head(rate: u32, length: u32) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_LENGTH as usize);
    head.extend(b"RIFF");
    head.extend((HEAD_LENGTH - 8 + length).to_le_bytes());
    head.extend(b"WAVEfmt ");
    head.extend(16_u32.to_le_bytes());
    // PCM, one channel.
    head.extend(1_u16.to_le_bytes());
    head.extend(1_u16.to_le_bytes());
    head.extend(rate.to_le_bytes());
    head.extend(rate.saturating_mul(u32::from(SAMPLE_LENGTH)).to_le_bytes());
    head.extend(SAMPLE_LENGTH.to_le_bytes());
    head.extend((SAMPLE_LENGTH * 8).to_le_bytes());
    head.extend(b"data");
    head.extend(length.to_le_bytes());
    head
}
