//! The sandbox over real sockets: every documented rule with a request that it takes and one that it refuses.
//!
//! Time is a manual clock; recordings come from a small file server of the tests' own.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

/// The control route over HTTP.
mod control;
/// Scripted faults and the journal.
mod faults;
/// A sandbox, a client and a clock.
mod harness;
/// The recogniser that asks a server with OpenAI's API.
mod openai;
/// A file server that can misbehave.
mod origin;
/// Downloads, decoding and what is measured.
mod recordings;
/// Result files and their lives.
mod results;
/// The rules of a submit.
mod submit;
/// Query, list, cancel and their limits.
mod tasks;
/// Minting and the lives of tokens.
mod tokens;
/// Words, sentences, speakers and filters.
mod transcripts;
/// Local files in the temporary storage.
mod uploads;
/// Recordings made for the tests.
mod wave;
