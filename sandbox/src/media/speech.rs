//! Tells speech from silence by the energy of the signal, channel by channel.

use serde::Serialize;

/// A stretch of speech, in milliseconds from the beginning of the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Where it begins.
    pub begin: u64,
    /// Where it ends.
    pub end: u64,
}

impl Segment {
    /// Its length in milliseconds.
    #[must_use]
    pub fn length(self) -> u64 {
        self.end - self.begin
    }
}

/// The energy of one channel, in frames of ten milliseconds.
#[derive(Debug)]
pub(crate) struct Energy {
    frame_length: usize,
    sum: f64,
    count: usize,
    /// The mean power of each frame in decibels, 0 dB being full scale.
    frames: Vec<f32>,
}

const FRAMES_A_SECOND: usize = 100;
const FRAME_MS: u64 = 10;
/// Softer than this is silence, whatever the rest of the recording is like.
const SILENCE_DB: f32 = -50.0;
/// Speech spans some 30 dB; what is softer than its loud parts by more is background.
const SPEECH_RANGE_DB: f32 = 30.0;
/// A pause shorter than this lies within a phrase.
const PAUSE_MS: u64 = 200;
/// A sound shorter than this is a click.
const CLICK_MS: u64 = 60;

impl Energy {
    pub(crate) fn new(sampling_rate: u32) -> Self {
        let frame_length = (sampling_rate as usize / FRAMES_A_SECOND).max(1);
        Self { frame_length, sum: 0.0, count: 0, frames: Vec::new() }
    }

    /// Takes the next samples, each from -1 to 1.
    pub(crate) fn add(&mut self, samples: &[f32]) {
        for &sample in samples {
            self.sum += f64::from(sample) * f64::from(sample);
            self.count += 1;
            if self.count == self.frame_length {
                self.end_frame();
            }
        }
    }

    /// The speech in what was taken, which lasts `duration` milliseconds: in order, apart from one another.
    pub(crate) fn speech(mut self, duration: u64) -> Vec<Segment> {
        if self.count > 0 {
            self.end_frame();
        }
        let threshold = threshold(&self.frames);
        let mut segments: Vec<Segment> = Vec::new();
        for (at, _) in self.frames.iter().enumerate().filter(|(_, level)| **level >= threshold) {
            let begin = at as u64 * FRAME_MS;
            let end = begin + FRAME_MS;
            match segments.last_mut() {
                Some(last) if begin - last.end < PAUSE_MS => last.end = end,
                _ => segments.push(Segment { begin, end }),
            }
        }
        for segment in &mut segments {
            // A frame is not exactly ten milliseconds long at every sampling rate.
            segment.end = segment.end.min(duration);
            segment.begin = segment.begin.min(segment.end);
        }
        segments.retain(|segment| segment.length() >= CLICK_MS);
        segments
    }

    fn end_frame(&mut self) {
        let power = self.sum / self.count as f64;
        #[expect(clippy::cast_possible_truncation, reason = "a level needs no more precision")]
        self.frames.push((10.0 * (power + 1e-12).log10()) as f32);
        self.sum = 0.0;
        self.count = 0;
    }
}

/// The level from which on a frame counts as speech: well above the background, and within the range of
/// speech below the loud parts; a recording that is equally loud throughout is all speech.
fn threshold(frames: &[f32]) -> f32 {
    let mut sorted = frames.to_vec();
    sorted.sort_by(f32::total_cmp);
    let percentile = |percent: usize| {
        sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or(SILENCE_DB)
    };
    let (background, loud) = (percentile(10), percentile(95));
    let above_background = (background + 6.0).min(loud - 12.0);
    SILENCE_DB.max(loud - SPEECH_RANGE_DB).max(above_background)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 16_000;

    /// A tone at a quarter of the sampling rate, `level` loud, `ms` long.
    fn tone(level: f32, ms: u32) -> Vec<f32> {
        (0..RATE / 1000 * ms).map(|at| level * [0.0, 1.0, 0.0, -1.0][at as usize % 4]).collect()
    }

    fn speech(parts: &[(f32, u32)]) -> Vec<(u64, u64)> {
        let mut energy = Energy::new(RATE);
        for &(level, ms) in parts {
            energy.add(&tone(level, ms));
        }
        let duration = parts.iter().map(|(_, ms)| u64::from(*ms)).sum();
        energy.speech(duration).iter().map(|segment| (segment.begin, segment.end)).collect()
    }

    #[test]
    fn speech_is_where_the_signal_is_loud() {
        assert_eq!(
            speech(&[(0.0, 500), (0.5, 1000), (0.0, 500), (0.3, 700), (0.0, 300)]),
            [(500, 1500), (2000, 2700)]
        );
    }

    #[test]
    fn background_noise_is_no_speech() {
        assert_eq!(speech(&[(0.004, 1000), (0.5, 1000), (0.004, 1000)]), [(1000, 2000)]);
    }

    #[test]
    fn a_short_pause_does_not_part_a_phrase_and_a_click_is_none() {
        assert_eq!(
            speech(&[(0.5, 500), (0.0, 150), (0.5, 500), (0.0, 400), (0.5, 30), (0.0, 400)]),
            [(0, 1150)]
        );
    }

    #[test]
    fn silence_has_no_speech_and_a_steady_sound_is_all_speech() {
        assert_eq!(speech(&[(0.0, 2000)]), []);
        assert_eq!(speech(&[(0.001, 2000)]), []);
        assert_eq!(speech(&[(0.4, 2000)]), [(0, 2000)]);
        assert_eq!(Energy::new(8000).speech(0), []);
    }
}
