//! A direct client of the same account, which asks five times a second, as its share allows.

use std::time::Duration;

use valet_client::{AppCredential, Client, TaskId};
use valet_clock::{ClockExt, SystemClock};

use crate::{Outcome, server::Direct};

/// So often.
const PAUSE: Duration = Duration::from_millis(200);

/// Asks about a task that never was, until it is dropped: a query like any other.
pub(super) async fn spend(direct: Direct) -> Outcome<()> {
    let client =
        Client::builder().broker(&direct.broker, AppCredential::new(direct.app, direct.secret))?.build()?;
    let nobody = TaskId::from("00000000-0000-0000-0000-000000000000");
    loop {
        // What it is told is of no interest; a refusal shows in the upstream's journal.
        let _ = client.fetch(&nobody).await;
        SystemClock.sleep(PAUSE).await;
    }
}
