//! The quick start without async; needs the feature `blocking`.
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::env;

use valet_client::{AppCredential, TranscriptionRequest, blocking::Client};

fn main() -> Result<(), valet_client::Error> {
    let client = client()?;
    let task = client.submit(&TranscriptionRequest::new(env::args().skip(1)))?;
    client.follow(task.id(), |task| println!("{}", task.status()))?;
    for file in client.fetch(task.id())?.results() {
        if let Some(url) = &file.transcription_url {
            println!("{}", client.download(url)?.text());
        }
    }
    Ok(())
}

/// A client of the broker that the environment names.
fn client() -> Result<Client, valet_client::Error> {
    let variable = |name| env::var(name).unwrap_or_default();
    let credential = AppCredential::new(variable("VALET_APP"), variable("VALET_SECRET"));
    Client::new(valet_client::Client::builder().broker(&variable("VALET_URL"), credential)?.build()?)
}
