//! Whatever callers write, the audit trail and the log keep the lines that the broker wrote.

use data_encoding::BASE64;
use reqwest::Method;
use serde_json::json;
use valet_demo::{APP, StackSettings};
use valet_sandbox::{Fault, Operation};

use crate::{
    harness::{Stage, UNHURRIED, answered},
    secrets::Log,
    wire::Wire,
};

/// Would be a line of its own, and would colour the terminal of whoever reads it.
const FORGED: &str = "x\r\n{\"outcome\":\"forged\"}\n\u{1b}[31m\u{85}\u{2028}\0";

#[tokio::test]
async fn nothing_that_a_caller_writes_becomes_a_line_of_its_own() {
    let (log, _guard) = Log::capture();
    let state = tempfile::tempdir().unwrap();
    let app = format!("may_name_subject = true\norigins = [\"https://app.example.com\"]\n{UNHURRIED}");
    let (config, relay) = ("trusted_proxies = 1\n".into(), Some(state.path().to_owned()));
    let stage = Stage::with(StackSettings { config, app, relay, ..StackSettings::default() }).await;
    let (secret, own) = (stage.stack.secret.expose().to_owned(), "https://app.example.com");
    let mut decisions = 0;

    // In the fields of a body.
    for field in ["subject", "client_reference_id", "scope", "rejected", FORGED] {
        answered(stage.v1().header("origin", own).json(&json!({ (field): FORGED }))).await;
        decisions += 1;
    }
    for form in
        [[("client_id", FORGED), ("client_secret", FORGED)], [("grant_type", FORGED), ("scope", FORGED)]]
    {
        answered(stage.request(Method::POST, "/oauth/token").form(&form)).await;
        decisions += 1;
    }
    // In the credential.
    answered(stage.request(Method::POST, "/v1/tokens").basic_auth(FORGED, Some(FORGED))).await;
    // In the query and the path, where it is encoded.
    answered(stage.dashscope("").query(&[(FORGED, FORGED)])).await;
    decisions += 2;
    for path in ["/v1/%0d%0aFORGED%1b", "/errors/%0AFORGED", "/api/v1/tasks/%0d%0aFORGED%1b%5b31m"] {
        stage.page(path).await;
    }
    // In a submit, whose words the upstream may repeat in its refusal.
    let submit = |body: serde_json::Value, key: &str| {
        let request =
            stage.request(Method::POST, "/api/v1/services/audio/asr/transcription").bearer_auth(&secret);
        answered(request.header("x-dashscope-async", "enable").header("idempotency-key", key).json(&body))
    };
    let body = |model: &str, url: &str| json!({ "model": model, "input": { "file_urls": [url] } });
    submit(body(FORGED, FORGED), "1").await;
    stage.stack.sandbox.script(Fault::on(Operation::Submit).refuse(400, FORGED, FORGED));
    submit(body("fun-asr", "https://files.example.com/a.wav"), "\"2\t'").await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).refuse(403, FORGED, FORGED));
    submit(body("fun-asr", "https://files.example.com/b.wav"), "3").await;
    decisions += 3;
    // In headers, as bytes that no client library sends.
    let credential = BASE64.encode(format!("{APP}:{secret}").as_bytes());
    for header in ["X-Forwarded-For", "Origin", "User-Agent", "Content-Type", "Authorization", "X-Request-Id"]
    {
        for value in ["\x1b[31m", "\u{85}forged", "\"},{\"outcome\":\"forged\"", "\r forged"] {
            let mut wire = Wire::to(stage.stack.broker_addr).await;
            let own = if header == "Authorization" {
                "X-None: x".into()
            } else {
                format!("Authorization: Basic {credential}")
            };
            wire.send(format!(
                "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n{own}\r\n{header}: {value}\r\n\r\n"
            ))
            .await;
            wire.rest().await;
        }
    }

    let audit = stage.stack.audit_path();
    let kept = tempfile::tempdir().unwrap();
    let copy = kept.path().join("audit.jsonl");
    std::fs::hard_link(&audit, &copy).unwrap();
    // Each line of it is read as JSON.
    let remains = stage.stop().await;
    assert!(remains.audit.len() > decisions, "{} lines", remains.audit.len());
    assert!(remains.audit.iter().all(|line| line["outcome"] != "forged"), "{:?}", remains.audit);
    for text in [std::fs::read_to_string(copy).unwrap(), log.text()] {
        let controls: Vec<_> = text.chars().filter(|c| c.is_control() && !matches!(c, '\n' | '\t')).collect();
        assert!(controls.is_empty(), "{controls:?} in {}", text.escape_debug());
        let forged = text.lines().find(|line| line.starts_with("{\"outcome\"") || line.starts_with("FORGED"));
        assert_eq!(forged, None);
    }
}
