//! Recordings: fetched from their URL, decoded, and searched for speech; knows no task and no words.

mod decode;
mod download;
mod speech;
mod wave;

pub(crate) use decode::{Decoded, decode};
pub(crate) use download::Downloader;
pub use speech::Segment;
pub(crate) use wave::channel_wave;
