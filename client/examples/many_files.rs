//! Transcribes any number of recordings, two a task, and prints each as it is done.
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{env, time::Duration};

use futures_util::StreamExt;
use valet_client::{AppCredential, Client, Transcript, TranscriptionRequest};

#[tokio::main]
async fn main() -> Result<(), valet_client::Error> {
    let request = TranscriptionRequest::new(env::args().skip(1)).max_urls(2);
    let many = client()?.transcribe_many(request).in_flight(10).deadline(Duration::from_secs(3600));
    let mut files = many.stream()?;
    while let Some(file) = files.next().await {
        let said = file.transcript().map_or_else(ToString::to_string, Transcript::text);
        println!("{:>4}  {}\n      {said}", file.index() + 1, file.url());
    }
    Ok(())
}

/// A client of the broker that the environment names.
fn client() -> Result<Client, valet_client::Error> {
    let variable = |name| env::var(name).unwrap_or_default();
    let credential = AppCredential::new(variable("VALET_APP"), variable("VALET_SECRET"));
    Client::builder().broker(&variable("VALET_URL"), credential)?.build()
}
