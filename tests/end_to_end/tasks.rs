//! The client's whole loop: tasks that take longer than their tokens live.

use std::{collections::BTreeSet, path::Path, time::Duration};

use valet_client::{Status, TranscriptionRequest};
use valet_demo::{StackSettings, recordings::Recordings};
use valet_sandbox::{Entry, Operation, Settings};

use crate::harness::{SECOND, Stage, promptly};

const LONG: Duration = Duration::from_secs(300);

async fn recordings() -> Recordings {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recordings");
    Recordings::serve(&folder).await.unwrap()
}

/// Submits a task of `LONG` with one recording, waits for it to its end, and reads what it says.
async fn transcribed(stage: &Stage) -> String {
    let (client, recordings) = (stage.stack.client(), recordings().await);
    let request = TranscriptionRequest::new([recordings.url("market.wav")]);
    let task = promptly(client.submit(&request)).await.unwrap();
    // Download and decoding take real time; from here on the task's end is a matter of the clock.
    promptly(stage.stack.sandbox.wait_for_work(1)).await;
    let waiting = {
        let (client, id) = (client.clone(), task.id().clone());
        tokio::spawn(async move { client.wait(&id).await })
    };
    let step = SECOND / 4;
    let most = (LONG + SECOND * 20).as_millis() / step.as_millis();
    for _ in 0..most {
        // While one exchange takes place on this thread, so do those of the client.
        stage.page("/healthz").await;
        stage.clock.advance(step);
    }
    assert!(waiting.is_finished(), "the end was not found in time");
    let task = waiting.await.unwrap().unwrap();
    assert_eq!(task.status(), &Status::Succeeded);
    let transcription = promptly(client.collect(task, request.urls())).await.unwrap();
    transcription.files()[0].transcript().unwrap().text()
}

async fn with_long_tasks() -> Stage {
    let sandbox = Settings::default().with_task_time(Duration::ZERO, LONG);
    Stage::with(StackSettings { sandbox, ..StackSettings::default() }).await
}

fn queries(stage: &Stage) -> Vec<Entry> {
    let journal = stage.stack.sandbox.journal().into_iter();
    journal.filter(|entry| entry.operation == Operation::Query).collect()
}

#[tokio::test]
async fn a_task_outlives_its_token_several_times_over() {
    let stage = with_long_tasks().await;
    let text = transcribed(&stage).await;
    assert_eq!(text, "The market opens at nine in the morning. Fresh bread is sold until noon.");
    let queries = queries(&stage);
    assert!((30..80).contains(&queries.len()), "{} looks at a task of five minutes", queries.len());
    assert!(queries.iter().all(|query| query.status == Some(200)), "nothing above the token source noticed");
    let tokens: BTreeSet<_> = queries.iter().map(|query| query.key.clone().unwrap()).collect();
    assert!(tokens.len() >= 5, "{} tokens of a minute in five minutes", tokens.len());
    let minted = stage.mints();
    assert!((5..=20).contains(&minted), "{minted} mints in five minutes");
    stage.stop().await;
}

#[tokio::test]
async fn a_token_that_dies_early_is_renewed_and_the_wait_goes_on() {
    let stage = with_long_tasks().await;
    let early = valet_sandbox::Fault::on(Operation::Mint).expire_early(SECOND * 5);
    stage.stack.sandbox.script(early.times(3));
    let text = transcribed(&stage).await;
    assert!(text.starts_with("The market opens"));
    let refused = queries(&stage).iter().filter(|query| query.status == Some(401)).count();
    assert_eq!(refused, 3, "each dead token was shown once");
    stage.stop().await;
}
