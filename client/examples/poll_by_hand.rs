//! Submits a task, looks at it by hand every other second, and reads its results once it has ended.
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{env, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use valet_client::{AppCredential, Client, Transcript, TranscriptionRequest};

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "an example of how anyone may look by a timer of their own")]
async fn main() -> Result<(), valet_client::Error> {
    let (client, request) = (client()?, TranscriptionRequest::new(env::args().skip(1)));
    let mut task = client.submit(&request).await?;
    println!("{}: it goes on even if this program ends", task.id());
    let mut looks = interval(Duration::from_secs(2));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !task.status().is_final() {
        looks.tick().await;
        task = client.fetch(task.id()).await?;
        println!("{}", task.status());
    }
    for file in client.collect(task, request.urls()).await?.files() {
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
