use std::time::Duration;

use reqwest::Method;

use crate::harness::{KEY, Stage, send};

/// Model Studio, *Generate a temporary API key*: `{token, expires_at}`, 60 s unless asked otherwise.
#[tokio::test]
async fn a_token_works_for_its_minute_and_not_longer() {
    let stage = Stage::new().await;
    let minted = stage.post("/api/v1/tokens").await.ok();
    let token = minted["token"].as_str().unwrap();
    assert!(token.starts_with("st-"));
    assert_eq!(minted["expires_at"], 1_744_076_769 + 60);
    assert_eq!(minted.as_object().unwrap().len(), 2);

    let query = || send(stage.anonymous(Method::GET, "/api/v1/tasks/none").bearer_auth(token));
    stage.clock.advance(Duration::from_millis(59_999));
    query().await.ok();
    stage.clock.advance(Duration::from_millis(1));
    query().await.refused(401, "InvalidApiKey");
}

/// The same page: `expire_in_seconds` from 1 to 1800.
#[tokio::test]
async fn a_life_is_from_1_to_1800_seconds() {
    let stage = Stage::new().await;
    for life in [1, 1800] {
        let minted = stage.post(&format!("/api/v1/tokens?expire_in_seconds={life}")).await.ok();
        assert_eq!(minted["expires_at"], 1_744_076_769 + life);
    }
    for life in ["0", "1801", "-1", "60.5", "", "minute", "60&expire_in_seconds=60"] {
        let answer = stage.post(&format!("/api/v1/tokens?expire_in_seconds={life}")).await;
        answer.refused_parameter("expire_in_seconds");
    }
    stage.post("/api/v1/tokens?expires_in=60").await.refused_parameter("expires_in");
}

/// The same page: `InvalidApiKey`, "Invalid API-key provided."
#[tokio::test]
async fn only_known_keys_are_taken() {
    let stage = Stage::new().await;
    stage.post("/api/v1/tokens").await.ok();
    let unknown = stage.anonymous(Method::POST, "/api/v1/tokens").bearer_auth("sk-other");
    assert_eq!(send(unknown).await.refused(401, "InvalidApiKey"), "Invalid API-key provided.");
    let none = stage.anonymous(Method::POST, "/api/v1/tokens");
    send(none).await.refused(401, "InvalidApiKey");
    let basic = stage.anonymous(Method::POST, "/api/v1/tokens").basic_auth(KEY, Some(KEY));
    send(basic).await.refused(401, "InvalidApiKey");
}

/// Not documented; the sandbox takes "use your permanent key to generate" at its word.
#[tokio::test]
async fn a_token_cannot_mint_another() {
    let stage = Stage::new().await;
    let token = stage.token().await;
    let again = stage.anonymous(Method::POST, "/api/v1/tokens").bearer_auth(token);
    send(again).await.refused(403, "AccessDenied");
}

/// *Fun-ASR recording*: "In code, replace the API key with the token."
#[tokio::test]
async fn a_new_token_sees_the_task_of_an_old_one() {
    let stage = Stage::new().await;
    let (first, second) = (stage.token().await, stage.token().await);
    let submit = stage
        .anonymous(Method::POST, "/api/v1/services/audio/asr/transcription")
        .bearer_auth(&first)
        .header("X-DashScope-Async", "enable")
        .json(&serde_json::json!({
            "model": "fun-asr", "input": { "file_urls": ["http://example.com/a.wav"] }, "parameters": {}
        }));
    let id = send(submit).await.ok()["output"]["task_id"].as_str().unwrap().to_owned();
    assert!(stage.handle.expire_token(&first));
    let query = |token| send(stage.anonymous(Method::GET, &format!("/api/v1/tasks/{id}")).bearer_auth(token));
    query(&first).await.refused(401, "InvalidApiKey");
    assert_eq!(query(&second).await.ok()["output"]["task_status"], "PENDING");
}

#[tokio::test]
async fn a_withdrawn_key_is_refused_and_an_added_one_taken() {
    let stage = Stage::new().await;
    assert!(stage.handle.revoke_key(KEY));
    stage.post("/api/v1/tokens").await.refused(401, "InvalidApiKey");
    stage.handle.add_key("default", KEY);
    stage.post("/api/v1/tokens").await.ok();
}
