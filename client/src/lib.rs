#![doc = include_str!("../README.md")]
//!
//! # Modules
//!
//! The modules stand in the order of a transcription: [`request`] says what is wanted, [`token`] what
//! opens the door, [`task`] what the service answers, [`transcript`] what comes out.

mod api;
#[cfg(feature = "blocking")]
pub mod blocking;
mod builder;
mod client;
mod error;
pub mod format;
mod http;
mod list;
mod long_polls;
mod many;
mod meaning;
mod pacer;
mod poller;
mod refusal;
pub mod request;
mod stamp;
mod submit;
pub mod task;
pub mod token;
pub mod transcript;
mod transcription;
mod upload;
mod wait;

/// When a task is looked at; see [`Wait::schedule`].
pub use valet_pacing::PollSchedule;

pub use self::{
    builder::ClientBuilder,
    client::Client,
    error::{Error, Kind},
    many::{Files, Many},
    request::TranscriptionRequest,
    task::{Status, Task, TaskId},
    token::{AppCredential, Token, TokenSource},
    transcript::Transcript,
    transcription::{FileFailure, FileTranscription, Transcription},
    upload::{Upload, Uploaded},
    wait::{StatusChanges, Wait},
};
