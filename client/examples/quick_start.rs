//! Transcribes the recordings whose URLs are named, and prints what is said.
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::env;

use valet_client::{AppCredential, Client, TranscriptionRequest};

#[tokio::main]
async fn main() -> Result<(), valet_client::Error> {
    let request = TranscriptionRequest::new(env::args().skip(1)).language_hints(["en"]);
    for file in client()?.transcribe(&request).await?.files() {
        match file.transcript() {
            Ok(transcript) => println!("{}\n  {}", file.url(), transcript.text()),
            Err(failure) => println!("{}\n  {failure}: {}", file.url(), failure.remedy().unwrap_or_default()),
        }
    }
    Ok(())
}

/// A client of the broker that the environment names.
fn client() -> Result<Client, valet_client::Error> {
    let variable = |name| env::var(name).unwrap_or_default();
    let credential = AppCredential::new(variable("VALET_APP"), variable("VALET_SECRET"));
    Client::builder().broker(&variable("VALET_URL"), credential)?.build()
}
