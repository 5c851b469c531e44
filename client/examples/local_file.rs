//! Uploads a local file to the service's temporary storage, and transcribes it. For trying things out.
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::env;

use valet_client::{AppCredential, Client, Transcript, TranscriptionRequest};

#[tokio::main]
async fn main() -> Result<(), valet_client::Error> {
    let client = client()?;
    let path = env::args().nth(1).unwrap_or_default();
    let upload = client.upload(path).on_progress(|sent, size| println!("{} %", sent * 100 / size));
    let request = TranscriptionRequest::default().uploads([&upload.await?]);
    for file in client.transcribe(&request).await?.files() {
        println!("{}", file.transcript().map_or_else(ToString::to_string, Transcript::text));
    }
    Ok(())
}

/// A client of the broker that the environment names.
fn client() -> Result<Client, valet_client::Error> {
    let variable = |name| env::var(name).unwrap_or_default();
    let credential = AppCredential::new(variable("VALET_APP"), variable("VALET_SECRET"));
    Client::builder().broker(&variable("VALET_URL"), credential)?.build()
}
