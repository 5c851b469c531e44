//! What all replicas must know: assertions that were shown, relay tokens that were revoked.

use redis::cmd;
use reqwest::Method;
use serde_json::json;
use valet_clock::{Clock, ManualClock};
use valet_demo::{APP, StackSettings};

use super::replicas;
use crate::{
    harness::{Answer, SECOND, SHARED, Stage, UNHURRIED, answered, promptly},
    jose::Signer,
    redis::Redis,
};

/// An app that signs, at two replicas.
async fn signing() -> (Stage, Signer) {
    let (settings, signer) = signing_app();
    (replicas(2, settings).await, signer)
}

/// An app that signs.
pub(super) fn signing_app() -> (StackSettings, Signer) {
    let signer = Signer::es256("one");
    let app = format!("[apps.signs]\njwks = {{ keys = [{}] }}\n{UNHURRIED}", signer.toml());
    let config = "public_url = \"https://valet.example.com\"".to_owned();
    (StackSettings { app, config, upstream: SHARED.into(), ..StackSettings::default() }, signer)
}

pub(super) async fn show(stage: &Stage, replica: usize, assertion: &str) -> Answer {
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion),
    ];
    answered(stage.request_of(replica, Method::POST, "/oauth/token").form(&fields)).await
}

pub(super) fn assertion(stage: &Stage, signer: &Signer, id: &str) -> String {
    let now = stage.clock.unix().as_secs();
    signer.sign(&json!({
        "iss": "signs", "sub": "signs", "aud": "https://valet.example.com", "jti": id, "iat": now, "exp": now + 60,
    }))
}

#[tokio::test]
async fn an_assertion_proves_its_app_once_whichever_replica_it_is_shown_to() {
    let (mut stage, signer) = signing().await;
    let shown = assertion(&stage, &signer, "1");
    assert_eq!(show(&stage, 0, &shown).await.status, 200);
    for replica in [0, 1] {
        let again = show(&stage, replica, &shown).await;
        assert_eq!(again.status, 401, "{}", again.text);
        assert!(again.text.contains("used before"));
    }
    // Everything is lost: nothing is accepted until the replicas have added what they know.
    stage.run(&cmd("FLUSHALL"));
    let next = assertion(&stage, &signer, "2");
    for assertion in [&shown, &next] {
        let unsettled = show(&stage, 1, assertion).await;
        assert_eq!(
            (unsettled.status, &*unsettled.json()["error"].to_string()),
            (503, "\"temporarily_unavailable\"")
        );
    }
    let restored = stage.calls("restore").await + 1;
    stage.clock.advance(SECOND);
    promptly(async { while stage.calls("restore").await < restored {} }).await;
    stage.clock.advance(SECOND * 4);
    assert_eq!(show(&stage, 1, &shown).await.status, 401, "it is known again");
    assert_eq!(show(&stage, 1, &next).await.status, 200);
    // Without the Redis nobody can know.
    stage.redis().kill();
    stage.joined(0).await;
    let unknown = show(&stage, 0, &assertion(&stage, &signer, "3")).await;
    assert_eq!(unknown.status, 503, "{}", unknown.text);
    stage.stop().await;
}

#[tokio::test]
async fn a_revoked_relay_token_is_refused_by_every_replica_also_after_an_outage() {
    let state = tempfile::tempdir().unwrap();
    let relay = Some(state.path().to_owned());
    let mut stage =
        replicas(2, StackSettings { app: UNHURRIED.into(), relay, ..StackSettings::default() }).await;
    let (one, two) = (stage.ask_of(0).await.token(), stage.ask_of(0).await.token());
    assert_eq!(list(&stage, 1, &one).await, 200);
    assert_eq!(revoke(&stage, 0, &one).await, 200);
    promptly(async { while list(&stage, 1, &one).await == 200 {} }).await;
    assert_eq!(list(&stage, 1, &one).await, 401);
    stage.redis().kill();
    stage.joined(0).await;
    assert_eq!(revoke(&stage, 0, &two).await, 200);
    assert_eq!(
        [list(&stage, 0, &two).await, list(&stage, 1, &two).await],
        [401, 200],
        "the other cannot know"
    );
    stage.redis().restart();
    stage.rejoined(2).await;
    promptly(async { while list(&stage, 1, &two).await == 200 {} }).await;
    assert_eq!([list(&stage, 1, &two).await, list(&stage, 1, &one).await], [401, 401]);
    stage.stop().await;
}

#[tokio::test]
async fn an_operator_can_have_relay_tokens_refused_that_may_be_revoked() {
    let (clock, state) = (ManualClock::new(), tempfile::tempdir().unwrap());
    let (redis, relay) = (Redis::start(&clock), Some(state.path().to_owned()));
    let settings = StackSettings { app: UNHURRIED.into(), relay, ..StackSettings::default() };
    let refuse = "[shared.without]\nrevocations = \"refuse\"\n";
    let brokers = vec![clock.handle("broker"); 2];
    let mut stage = Stage::of_brokers(settings, brokers, clock, Some(redis), refuse).await;
    let token = stage.ask_of(0).await.token();
    assert_eq!(list(&stage, 1, &token).await, 200);
    stage.redis().kill();
    stage.joined(0).await;
    for replica in [0, 1] {
        assert_eq!(list(&stage, replica, &token).await, 503);
        assert_eq!(revoke(&stage, replica, &token).await, 503, "not all would know");
    }
    stage.redis().restart();
    stage.rejoined(2).await;
    assert_eq!(list(&stage, 1, &token).await, 200, "it was not revoked");
    assert_eq!(revoke(&stage, 0, &token).await, 200);
    promptly(async { while list(&stage, 1, &token).await == 200 {} }).await;
    stage.stop().await;
}

#[tokio::test]
async fn an_operator_can_have_assertions_accepted_that_another_may_have_seen() {
    let (settings, signer) = signing_app();
    let clock = ManualClock::new();
    let redis = Redis::start(&clock);
    let accept = "[shared.without]\nassertions = \"continue\"\n";
    let brokers = vec![clock.handle("broker"); 2];
    let mut stage = Stage::of_brokers(settings, brokers, clock, Some(redis), accept).await;
    stage.redis().kill();
    stage.joined(0).await;
    let shown = assertion(&stage, &signer, "1");
    // Once at each, and no more.
    for status in [200, 401] {
        for replica in [0, 1] {
            assert_eq!(show(&stage, replica, &shown).await.status, status);
        }
    }
    stage.redis().restart();
    stage.rejoined(2).await;
    stage.pass(5).await;
    for replica in [0, 1] {
        assert_eq!(show(&stage, replica, &shown).await.status, 401);
    }
    stage.stop().await;
}

pub(super) async fn revoke(stage: &Stage, replica: usize, token: &str) -> u16 {
    let request = stage.request_of(replica, Method::POST, "/oauth/revoke").form(&[("token", token)]);
    answered(request.basic_auth(APP, Some(stage.stack.secret.expose()))).await.status
}

/// The status of the list of tasks, by a relay token.
pub(super) async fn list(stage: &Stage, replica: usize, token: &str) -> u16 {
    answered(stage.request_of(replica, Method::GET, "/api/v1/tasks/").bearer_auth(token)).await.status
}
