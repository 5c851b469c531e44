//! `valet cancel ID…`: tasks that have not begun.

use valet_client::{Client, TaskId};

use crate::{
    exit::{Exit, Failure},
    printer::Sink,
    progress::Progress,
};

pub(crate) async fn run(client: &Client, ids: &[String], progress: &Progress) -> Result<Exit, Failure> {
    let (mut sink, mut exit) = (Sink::stdout(), Exit::Done);
    for id in ids.iter().map(|id| TaskId::from(id.as_str())) {
        match client.cancel(&id).await {
            Ok(()) => sink.write(|to| writeln!(to, "{id} canceled"))?,
            Err(error) => {
                let remedy = error.remedy().map(|remedy| format!("\n  {remedy}")).unwrap_or_default();
                progress.error(&format!("{id}: {error}{remedy}"));
                exit = Failure::from(error).exit;
            }
        }
    }
    Ok(exit)
}
