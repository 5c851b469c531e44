//! Decodes a recording and measures it: format, channels, sampling rate, duration, speech.

use std::{fs::File, io, time::Duration};

use symphonia::core::{
    codecs::audio::{AudioDecoder, AudioDecoderOptions},
    errors::Error,
    formats::{FormatOptions, FormatReader, TrackType, probe::Hint},
    io::{MediaSourceStream, MediaSourceStreamOptions},
    meta::MetadataOptions,
};

use super::speech::{Energy, Segment};
use crate::failure::Failure;

/// What decoding a recording showed. Nothing in it is taken from the container's own claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// The codec's short name, such as `pcm_s16le`.
    pub(crate) codec: &'static str,
    pub(crate) sampling_rate: u32,
    /// In milliseconds.
    pub(crate) duration: u64,
    /// The speech of each channel.
    pub(crate) channels: Vec<Vec<Segment>>,
}

/// The containers of the documented formats that the decoder can open.
const CONTAINERS: [&str; 7] = ["aac", "flac", "isomp4", "matroska", "mp3", "ogg", "wave"];
/// The beginnings of the documented formats that it cannot.
const UNSUPPORTED: [(&[u8], &str); 5] = [
    (b"#!AMR", "amr"),
    (b"FLV\x01", "flv"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "wma or wmv"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"\x00\x00\x01\xb3", "mpeg"),
];

/// Decodes the whole of `file`, and measures it; blocks while it does.
///
/// # Errors
/// The documented code for what is wrong with the recording; `Sandbox.UnsupportedFormat` where the service
/// could read it and the sandbox cannot.
pub(crate) fn decode(file: File, extension: Option<&str>, longest: Duration) -> Result<Decoded, Failure> {
    let mut meter = Meter::new(longest);
    let codec = samples(file, extension, |rate, planes| meter.add(rate, planes))?;
    meter.measured(codec)
}

/// Decodes the whole of `file`; blocks while it does. `take` is given the sampling rate and the next samples of
/// each channel. The codec's short name.
///
/// # Errors
/// As [`decode`], and whatever `take` refuses.
pub(super) fn samples(
    mut file: File,
    extension: Option<&str>,
    take: impl FnMut(u32, &[Vec<f32>]) -> Result<(), Failure>,
) -> Result<&'static str, Failure> {
    let head = head(&mut file).map_err(|e| Failure::new("FILE_CHECK_FAILED", e.to_string()))?;
    if head.is_empty() {
        return Err(no_valid_audio());
    }
    let mut format = open(file, extension, &head)?;
    let container = format.format_info().short_name;
    if !CONTAINERS.contains(&container) {
        let message = format!("{container} is none of the documented formats.");
        return Err(Failure::new("FILE_CHECK_FAILED", message));
    }
    let track = format.default_track(TrackType::Audio).ok_or_else(no_valid_audio)?;
    let parameters = track.codec_params.as_ref().and_then(|p| p.audio()).ok_or_else(no_valid_audio)?;
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(|error| match error {
            Error::Unsupported(what) => unsupported(what),
            error => Failure::new("DECODE_ERROR", error.to_string()),
        })?;
    let track = track.id;
    decode_track(format.as_mut(), track, decoder.as_mut(), take)?;
    Ok(decoder.codec_info().short_name)
}

fn open(file: File, extension: Option<&str>, head: &[u8]) -> Result<Box<dyn FormatReader>, Failure> {
    let mut hint = Hint::new();
    if let Some(extension) = extension {
        hint.with_extension(extension);
    }
    let stream = MediaSourceStream::new(Box::new(file), MediaSourceStreamOptions::default());
    let options = (FormatOptions::default(), MetadataOptions::default());
    symphonia::default::get_probe().probe(&hint, stream, options.0, options.1).map_err(|_| {
        let known = UNSUPPORTED.iter().find(|(magic, _)| head.starts_with(magic));
        let avi = head.starts_with(b"RIFF") && head.get(8..12) == Some(b"AVI ");
        match known.map(|(_, name)| *name).or(avi.then_some("avi")) {
            Some(name) => unsupported(name),
            None => Failure::new("FILE_PARSE_FAILED", "The file is in no known audio format."),
        }
    })
}

/// Feeds every packet of the track through the decoder.
fn decode_track(
    format: &mut dyn FormatReader,
    track: u32,
    decoder: &mut dyn AudioDecoder,
    mut take: impl FnMut(u32, &[Vec<f32>]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut planes = Vec::new();
    let mut broken = 0_u64;
    let mut decoded = 0_u64;
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            // A file cut off at its end is as long as what is there.
            Err(Error::IoError(e)) if e.kind() == io::ErrorKind::UnexpectedEof && decoded > 0 => break,
            Err(error) => return Err(Failure::new("DECODE_ERROR", error.to_string())),
        };
        if packet.track_id != track {
            continue;
        }
        match decoder.decode(&packet) {
            Ok(audio) => {
                decoded += 1;
                audio.copy_to_vecs_planar(&mut planes);
                take(audio.spec().rate(), &planes)?;
            }
            Err(Error::DecodeError(_)) => broken += 1,
            Err(Error::Unsupported(what)) => return Err(unsupported(what)),
            Err(error) => return Err(Failure::new("DECODE_ERROR", error.to_string())),
        }
    }
    // A player steps over a broken packet now and then; a recording that is mostly broken was not decoded.
    if broken > decoded {
        return Err(Failure::new("DECODE_ERROR", format!("{broken} packets could not be decoded.")));
    }
    Ok(())
}

/// Measures decoded audio as it comes, keeping none of it.
struct Meter {
    longest: Duration,
    sampling_rate: u32,
    frames: u64,
    channels: Vec<Energy>,
}

impl Meter {
    fn new(longest: Duration) -> Self {
        Self { longest, sampling_rate: 0, frames: 0, channels: Vec::new() }
    }

    fn add(&mut self, rate: u32, planes: &[Vec<f32>]) -> Result<(), Failure> {
        if self.channels.is_empty() {
            self.sampling_rate = rate;
            self.channels = planes.iter().map(|_| Energy::new(rate)).collect();
        }
        if rate == 0 || rate != self.sampling_rate || planes.len() != self.channels.len() {
            return Err(Failure::new("DECODE_ERROR", "The sampling rate or the channels change midway."));
        }
        for (energy, samples) in self.channels.iter_mut().zip(planes) {
            energy.add(samples);
        }
        self.frames += planes.first().map_or(0, Vec::len) as u64;
        if Duration::from_millis(self.milliseconds()) > self.longest {
            let message = format!("The audio is longer than {} s.", self.longest.as_secs());
            return Err(Failure::new("AUDIO_DURATION_TOO_LONG", message));
        }
        Ok(())
    }

    /// The duration so far, rounded.
    fn milliseconds(&self) -> u64 {
        let rate = u64::from(self.sampling_rate.max(1));
        (self.frames * 1000 + rate / 2) / rate
    }

    fn measured(self, codec: &'static str) -> Result<Decoded, Failure> {
        let duration = self.milliseconds();
        if duration == 0 {
            return Err(no_valid_audio());
        }
        let sampling_rate = self.sampling_rate;
        let channels = self.channels.into_iter().map(|energy| energy.speech(duration)).collect();
        Ok(Decoded { codec, sampling_rate, duration, channels })
    }
}

/// The first bytes, leaving the file as it was.
fn head(file: &mut File) -> io::Result<Vec<u8>> {
    use io::{Read, Seek};
    let mut head = Vec::new();
    Read::by_ref(file).take(16).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(head)
}

fn no_valid_audio() -> Failure {
    Failure::new("NO_VALID_AUDIO_ERROR", "The file holds no audio.")
}

fn unsupported(what: &str) -> Failure {
    let message = format!("The sandbox's decoder does not support this file ({what}); the service may.");
    Failure::new("Sandbox.UnsupportedFormat", message)
}
