//! What the vendor's documentation demands of a request, and how it words a refusal; no state, no I/O.

mod filter;
mod models;
mod refusal;
mod transcription;

pub(crate) use filter::WordFilter;
pub(crate) use models::Model;
pub(crate) use refusal::Refusal;
pub(crate) use transcription::{Parameters, Terms, Transcription};
