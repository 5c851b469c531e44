//! Direct clients of the same account, one at each broker, which ask five times a second in all, as their shares allow.

use std::time::Duration;

use valet_client::{AppCredential, Client, TaskId};
use valet_clock::{ClockExt, SystemClock};

use crate::{Outcome, server::Direct};

/// How long one pauses that is alone.
const PAUSE: Duration = Duration::from_millis(200);

/// One of so many, that asks about a task that never was, until it is dropped: a query like any other.
pub(super) async fn spend(direct: Direct, clients: u32) -> Outcome<()> {
    let client =
        Client::builder().broker(&direct.broker, AppCredential::new(direct.app, direct.secret))?.build()?;
    let nobody = TaskId::from("00000000-0000-0000-0000-000000000000");
    loop {
        // What it is told is of no interest; a refusal shows in the upstream's journal.
        let _ = client.fetch(&nobody).await;
        SystemClock.sleep(PAUSE * clients).await;
    }
}
