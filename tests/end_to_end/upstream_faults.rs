//! What callers are told when the upstream fails them: a fault of the broker's side, never a 401.

use insta::assert_snapshot;
use reqwest::Method;
use valet_sandbox::{Fault, Operation};

use crate::{
    exchange::{Transcript, show_answer},
    harness::{SECOND, Stage, promptly},
};

fn refused(status: u16, code: &str) -> Fault {
    Fault::on(Operation::Mint).refuse(status, code, "Words of the upstream's own.")
}

fn replaced(status: u16, content_type: &str, body: &str) -> Fault {
    Fault::on(Operation::Mint).replace(status, content_type, body)
}

#[tokio::test]
async fn an_upstream_that_fails_at_once() {
    let mut seen = Transcript::default();
    let json = "application/json";
    let faults = [
        ("500", refused(500, "InternalError")),
        ("503", refused(503, "SystemError")),
        ("504 of a proxy", replaced(504, "text/html", "<html>Gateway Time-out</html>")),
        ("429", refused(429, "Throttling.RateQuota")),
        ("429 with a wait", refused(429, "Throttling.BurstRate").retry_after(SECOND * 9)),
        ("429 with an endless wait", refused(429, "Throttling").retry_after(SECOND * 86_400)),
        ("429 that no wait mends", refused(429, "PrepaidBillOverdue")),
        ("400, the account's bills", refused(400, "Arrearage")),
        ("401", refused(401, "InvalidApiKey")),
        ("401 in the other spelling", refused(400, "invalid_api_key")),
        ("403", refused(403, "AccessDenied")),
        ("404", refused(404, "NotFound")),
        ("a code that could do harm", refused(403, "<script>\r\nX: y")),
        ("a redirect", replaced(302, "text/html", "elsewhere")),
        ("a success without a body", replaced(204, json, "")),
        ("a page in place of a token", replaced(200, "text/html", "<html>Welcome</html>")),
        ("half a JSON object", replaced(200, json, r#"{"token":"st-0123"#)),
        ("no token in it", replaced(200, json, r#"{"expires_at":1744080369}"#)),
        ("no expiry in it", replaced(200, json, r#"{"token":"st-0123"}"#)),
        ("a token that is none", replaced(200, json, r#"{"token":"sk-0123","expires_at":1744080369}"#)),
        (
            "a token that breaks headers",
            replaced(200, json, r#"{"token":"st-\r\n","expires_at":1744080369}"#),
        ),
        ("a token that has expired", replaced(200, json, r#"{"token":"st-0123","expires_at":1}"#)),
        ("an answer that breaks off", Fault::on(Operation::Mint).truncate()),
        ("an enormous answer", Fault::on(Operation::Mint).enormous(1 << 30)),
        ("a reset connection", Fault::on(Operation::Mint).reset()),
        ("a lost answer", Fault::on(Operation::Mint).lose_answer()),
    ];
    for (what, fault) in faults {
        let stage = Stage::new().await;
        stage.stack.sandbox.script(fault.always());
        // Each broker remembers what it has met itself.
        seen.add(what, stage.v1_of(0)).await;
        let secret = stage.stack.secret.expose();
        seen.add(what, stage.request_of(0, Method::POST, "/api/v1/tokens").bearer_auth(secret)).await;
        assert_eq!(stage.mints(), 1, "the second was told what the first had met");
        stage.stop().await;
    }
    assert_snapshot!(seen.text());
}

#[tokio::test]
async fn an_upstream_that_never_answers() {
    let stage = Stage::new().await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).hang());
    let asking = stage.asking();
    stage.mints_begun(1).await;
    stage.clock.advance(SECOND * 3);
    assert_snapshot!(show_answer(&promptly(asking).await.unwrap()).trim_end());
    stage.stop().await;
}

#[tokio::test]
async fn an_upstream_that_answers_bit_by_bit_has_no_longer() {
    let stage = Stage::new().await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).drip(1, SECOND));
    let asking = stage.asking();
    stage.mints_begun(1).await;
    for _ in 0..3 {
        stage.upstream_asleep().await;
        stage.clock.advance(SECOND);
    }
    let refusal = promptly(asking).await.unwrap().refusal();
    assert_eq!(refusal, (503, "upstream_unavailable".into(), Some(1)));
    stage.stop().await;
}
