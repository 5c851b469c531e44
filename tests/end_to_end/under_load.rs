//! What goes wrong while many ask at once costs nobody an answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use reqwest::{Client, RequestBuilder};
use tokio::task::JoinSet;
use valet_demo::{APP, StackSettings};
use valet_sandbox::{Fault, Operation, Settings, fingerprint};

use crate::harness::{Answer, SECOND, Stage, UNHURRIED, answered, promptly};

const CALLERS: usize = 64;

/// Asks for a token on each of many connections at once.
async fn wave(stage: &Stage) -> Vec<Answer> {
    let mut asking: JoinSet<_> = (0..CALLERS).map(|_| answered(stage.v1())).collect();
    let mut answers = Vec::new();
    while let Some(answer) = asking.join_next().await {
        answers.push(answer.unwrap());
    }
    answers
}

/// Waits until every mint that has begun has ended.
async fn settle(stage: &Stage) {
    promptly(async { while stage.metric("valet_mints_total").await != stage.mints() {} }).await;
}

#[tokio::test]
async fn a_key_that_dies_costs_no_request() {
    let (first, second) = ("sk-first", "sk-second");
    let sandbox = Settings::default().with_key(first).with_key(second);
    let (spare_keys, app) = (vec![second.to_owned()], UNHURRIED.into());
    let stage = Stage::with(StackSettings { sandbox, spare_keys, app, ..StackSettings::default() }).await;
    let tried = |key: &str| {
        let journal = stage.stack.sandbox.journal().into_iter();
        let mints = journal.filter(|entry| entry.operation == Operation::Mint);
        mints.filter(|entry| entry.key == Some(fingerprint(key))).count()
    };
    for second in 0..120 {
        if second == 10 {
            stage.stack.sandbox.revoke_key(first);
        }
        for answer in wave(&stage).await {
            assert!((2..=60).contains(&answer.expires_in()), "at {second} s: {}", answer.text);
        }
        settle(&stage).await;
        stage.clock.advance(SECOND);
    }
    // One by request, and of each broker one that found it dead and a probe a minute.
    let most = 1 + 3 * stage.brokers();
    assert!((2..=most).contains(&tried(first)), "{}", tried(first));
    assert!((3..=8).contains(&tried(second)), "{}", tried(second));
    stage.stop().await;
}

#[tokio::test]
async fn reloads_make_no_herd_and_reset_no_limit() {
    let (burst, waves) = (500, 10);
    let app = format!("rate = {{ per_second = 1, burst = {burst} }}");
    let settings = StackSettings { app, follow: true, ..StackSettings::default() };
    let stage = Stage::with(settings).await;
    let mut issued = 0;
    for number in 0..waves {
        let config = format!("# {number}\nmax_cached_tokens_is_no_setting = 1\n{}", stage.stack.config);
        let config = if number % 2 == 0 { format!("# {number}\n{}", stage.stack.config) } else { config };
        let before = stage.metric("valet_config_reloads_total").await;
        let reload = async {
            stage.stack.reconfigure(&config, true).unwrap();
            promptly(async { while stage.metric("valet_config_reloads_total").await == before {} }).await;
        };
        let (answers, ()) = tokio::join!(wave(&stage), reload);
        for answer in answers {
            match answer.status {
                200 => issued += 1,
                _ => assert_eq!(answer.refusal(), (429, "rate_limited".into(), Some(1))),
            }
        }
    }
    assert!(CALLERS * waves > burst);
    assert_eq!(issued, burst, "as many as without any reload");
    assert_eq!(stage.mints(), 1);
    stage.stop().await;
}

/// A request on a connection that is kept.
fn kept(client: &Client, stage: &Stage) -> RequestBuilder {
    let url = format!("{}/v1/tokens", stage.stack.broker_url);
    client.post(url).basic_auth(APP, Some(stage.stack.secret.expose()))
}

#[tokio::test]
async fn a_stop_loses_no_request_and_answers_none_wrongly() {
    let stage = Stage::new().await;
    stage.ask().await.token();
    let (busy, gone) = (Arc::new(AtomicBool::new(false)), Duration::from_secs(60));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, busy) = (Client::builder().no_proxy().timeout(gone).build().unwrap(), busy.clone());
        let request = kept(&client, &stage);
        callers.spawn(async move {
            let mut issued = 0;
            // Until nobody listens any more: an answer that has begun must come whole.
            while let Ok(response) = request.try_clone().unwrap().send().await {
                assert_eq!(response.status(), 200);
                let body: serde_json::Value = response.json().await.unwrap();
                assert!(body["token"].as_str().is_some_and(|token| token.starts_with("st-")));
                issued += 1;
                busy.store(true, Relaxed);
            }
            issued
        });
    }
    promptly(async {
        while !busy.load(Relaxed) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    stage.stack.shut_down();
    let mut issued = 1;
    while let Some(count) = promptly(callers.join_next()).await {
        issued += count.unwrap();
    }
    let remains = stage.stop().await;
    assert_eq!(remains.issued(), issued, "what was decided was answered, and the other way round");
}

#[tokio::test]
async fn an_upstream_that_comes_and_goes_costs_no_request_of_a_warm_app() {
    let stage = Stage::new().await;
    wave(&stage).await;
    // Dead from just before the refresh on, for 36 s of the token's 60.
    stage.clock.advance(SECOND * 14);
    stage.stack.sandbox.script(Fault::on(Operation::Mint).refuse(500, "InternalError", "No.").always());
    for _ in 0..36 {
        for answer in wave(&stage).await {
            assert!(answer.expires_in() >= 2);
        }
        settle(&stage).await;
        stage.clock.advance(SECOND);
    }
    stage.stack.sandbox.clear_faults();
    for answer in wave(&stage).await {
        assert!(answer.expires_in() >= 2);
    }
    stage.stop().await;
}
