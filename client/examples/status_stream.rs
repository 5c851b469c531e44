//! Submits a task and tells each change of its status until it has ended.
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::env;

use futures_util::TryStreamExt;
use valet_client::{AppCredential, Client, TranscriptionRequest};

#[tokio::main]
async fn main() -> Result<(), valet_client::Error> {
    let client = client()?;
    let task = client.submit(&TranscriptionRequest::new(env::args().skip(1))).await?;
    let mut changes = client.changes(task.id());
    while let Some(task) = changes.try_next().await? {
        println!("{}: {}", task.id(), task.status());
        for file in task.results() {
            println!("  {} {}", file.subtask_status, file.file_url);
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
