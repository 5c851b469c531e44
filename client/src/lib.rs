//! Transcribes recordings with Fun-ASR on DashScope, by temporary tokens.
//!
//! A [`Client`] gets a token from a Valet broker, submits a task with it, waits while tokens expire
//! and are renewed underneath, and returns transcripts:
//!
//! ```no_run
//! use valet_client::{AppCredential, Client, TranscriptionRequest};
//!
//! # async fn example() -> Result<(), valet_client::Error> {
//! let credential = AppCredential::new("acme", std::env::var("VALET_SECRET").unwrap_or_default());
//! let client = Client::builder().broker("https://valet.example.com", credential)?.build()?;
//!
//! let request = TranscriptionRequest::new(["https://example.com/meeting.mp3"]);
//! let transcription = client.transcribe(&request).await?;
//! for file in transcription.files() {
//!     match file.transcript() {
//!         Ok(transcript) => println!("{}: {}", file.url(), transcript.text()),
//!         Err(failure) => println!("{}: {failure}", file.url()),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The modules stand in the order of a transcription: [`request`] says what is wanted, [`token`] what
//! opens the door, [`task`] what the service answers, [`transcript`] what comes out.

mod api;
mod builder;
mod client;
mod error;
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
pub mod task;
pub mod token;
pub mod transcript;
mod transcription;
mod wait;

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
    wait::{StatusChanges, Wait},
};
