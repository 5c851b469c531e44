//! Every refusal that a caller can bring about, at both doors, with its exact status, headers and body.

use insta::assert_snapshot;
use reqwest::{
    Method, RequestBuilder,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::json;
use valet_demo::{APP, StackSettings};
use valet_server::secret::AppSecret;

use crate::{
    exchange::{Transcript, show_answer},
    harness::{SECOND, Stage, answered},
};

/// A stage with a second app, which is switched off, and the secret of that one.
async fn with_disabled_app() -> (Stage, AppSecret) {
    let secret = AppSecret::generate();
    let app = format!("[apps.retired]\nenabled = false\nsecrets = [\"{}\"]", secret.hash());
    (Stage::with(StackSettings { app, ..StackSettings::default() }).await, secret)
}

#[tokio::test]
async fn credentials_at_v1() {
    let (stage, retired) = with_disabled_app().await;
    let secret = stage.stack.secret.expose();
    let bare = || stage.request(Method::POST, "/v1/tokens");
    let header = |value: &str| bare().header(AUTHORIZATION, value);
    let form = |fields: &'static str| form(bare(), fields);
    let mut seen = Transcript::default();
    seen.add("no credential", bare()).await;
    seen.add("a scheme that is not read", header("Digest username=\"demo\"")).await;
    seen.add("a scheme alone", header("Bearer")).await;
    seen.add("Basic without base64", header("Basic !")).await;
    seen.add("Basic without a colon", header("Basic ZGVtbw==")).await;
    seen.add("a credential longer than any is", header(&format!("Bearer {}", "x".repeat(600)))).await;
    seen.add("two Authorization headers", stage.v1().bearer_auth(secret)).await;
    let wrong = seen.add("a wrong secret", bare().basic_auth(APP, Some("vas_wrong"))).await;
    let unknown = seen.add("an app that is not known", bare().basic_auth("nobody", Some(secret))).await;
    assert_eq!(show_answer(&wrong), show_answer(&unknown), "nobody learns which apps there are");
    seen.add("an empty secret", bare().basic_auth(APP, Some(""))).await;
    seen.add("a wrong secret as bearer", bare().bearer_auth("vas_wrong")).await;
    seen.add("a disabled app", bare().basic_auth("retired", Some(retired.expose()))).await;
    seen.add("a disabled app's wrong secret", bare().basic_auth("retired", Some("vas_wrong"))).await;
    seen.add("an id without a secret, in a form", form("client_id=demo")).await;
    seen.add("a secret without an id, in a form", form("client_secret=vas_wrong")).await;
    seen.add("a wrong secret in a form", form("client_id=demo&client_secret=vas_wrong")).await;
    let both = form("client_id=demo&client_secret=vas_wrong").basic_auth(APP, Some(secret));
    seen.add("one credential in the header and one in the form", both).await;
    seen.add("a secret in JSON", bare().json(&json!({ "client_secret": "vas_wrong" }))).await;
    assert_snapshot!(seen.text());
    assert_eq!(stage.mints(), 0);
    stage.stop().await;
}

fn form(request: RequestBuilder, fields: &'static str) -> RequestBuilder {
    request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(fields)
}

#[tokio::test]
async fn requests_at_v1() {
    let stage = Stage::new().await;
    let json = |body: &'static str| stage.v1().header(CONTENT_TYPE, "application/json").body(body);
    let form = |fields: &'static str| form(stage.v1(), fields);
    let mut seen = Transcript::default();
    seen.add("a field that is not known", json(r#"{"ttl":30}"#)).await;
    seen.add("a field of another door", json(r#"{"expire_in_seconds":60}"#)).await;
    seen.add("a string for a number", json(r#"{"min_ttl":"soon"}"#)).await;
    seen.add("a negative number", json(r#"{"min_ttl":-1}"#)).await;
    seen.add("a fraction", json(r#"{"min_ttl":30.5}"#)).await;
    seen.add("a number beyond all", json(r#"{"min_ttl":4294967296}"#)).await;
    seen.add("a number for a string", json(r#"{"subject":7}"#)).await;
    seen.add("an empty string", json(r#"{"subject":""}"#)).await;
    seen.add("a string with a line break", json(r#"{"client_reference_id":"a\nb"}"#)).await;
    let long = json!({ "client_reference_id": "x".repeat(257) });
    seen.add("a string longer than it may be", stage.v1().json(&long)).await;
    seen.add("a rejected that is no SHA-256", json(r#"{"rejected":"st-0123"}"#)).await;
    seen.add("a field twice", json(r#"{"min_ttl":1,"min_ttl":2}"#)).await;
    seen.add("half a body", json(r#"{"min_ttl":"#)).await;
    seen.add("two bodies", json("{} {}")).await;
    seen.add("a list", json("[]")).await;
    seen.add("a list of the values alone", json(r"[null,null,30,null,null,null,null]")).await;
    seen.add("no JSON", json("min_ttl=30")).await;
    seen.add(
        "JSON that is not UTF-8",
        stage.v1().header(CONTENT_TYPE, "application/json").body(&b"{\"subject\":\"\xff\"}"[..]),
    )
    .await;
    seen.add("a form field that is not known", form("ttl=30")).await;
    seen.add("a form field that is no number", form("min_ttl=soon")).await;
    seen.add("a form field twice", form("min_ttl=1&min_ttl=2")).await;
    seen.add("another type of body", stage.v1().header(CONTENT_TYPE, "text/plain").body("min_ttl=30")).await;
    seen.add("a body without a type", stage.v1().body("min_ttl=30")).await;
    seen.add("a query", stage.v1().query(&[("min_ttl", "30")])).await;
    seen.add("a body larger than it may be", stage.v1().json(&json!({ "subject": "x".repeat(20_000) })))
        .await;
    seen.add("a least life that cannot be promised", json(r#"{"min_ttl":43}"#)).await;
    seen.add("a subject that the app may not name", json(r#"{"subject":"alice"}"#)).await;
    seen.add("a scope that there is not", json(r#"{"scope":"admin"}"#)).await;
    assert_snapshot!(seen.text());
    assert_eq!(stage.mints(), 0);
    stage.stop().await;
}

#[tokio::test]
async fn requests_at_the_dashscope_door() {
    let (stage, retired) = with_disabled_app().await;
    let bare = || stage.request(Method::POST, "/api/v1/tokens");
    let mut seen = Transcript::default();
    seen.add("no credential", bare()).await;
    seen.add("a credential that cannot be read", bare().header(AUTHORIZATION, "Digest x")).await;
    let wrong = seen.add("a wrong key", bare().bearer_auth("vas_wrong")).await;
    let unknown = seen.add("an app that is not known", bare().basic_auth("nobody", Some("vas_wrong"))).await;
    assert_eq!(show_answer(&wrong), show_answer(&unknown), "nobody learns which apps there are");
    seen.add("a disabled app", bare().bearer_auth(retired.expose())).await;
    seen.add("no life", stage.dashscope("?expire_in_seconds=0")).await;
    seen.add("a life beyond all", stage.dashscope("?expire_in_seconds=1801")).await;
    seen.add("a life longer than the app may have", stage.dashscope("?expire_in_seconds=61")).await;
    seen.add("a life in words", stage.dashscope("?expire_in_seconds=abc")).await;
    seen.add("a life that is empty", stage.dashscope("?expire_in_seconds=")).await;
    seen.add("two lives", stage.dashscope("?expire_in_seconds=60&expire_in_seconds=60")).await;
    seen.add("a parameter that is not known", stage.dashscope("?min_ttl=30")).await;
    seen.add("a hostile parameter", stage.dashscope("?%3Cscript%3E%0a%22=1")).await;
    seen.add("a body larger than it may be", stage.dashscope("").body("x".repeat(20_000))).await;
    assert_snapshot!(seen.text());
    assert_eq!(stage.mints(), 0);
    stage.stop().await;
}

#[tokio::test]
async fn paths_and_methods() {
    let stage = Stage::new().await;
    let mut seen = Transcript::default();
    for (method, path) in [
        (Method::GET, "/v1/tokens"),
        (Method::PUT, "/v1/tokens"),
        (Method::DELETE, "/api/v1/tokens"),
        (Method::OPTIONS, "/v1/tokens"),
        (Method::POST, "/readyz"),
        (Method::GET, "/"),
        (Method::POST, "/v1/tokens/"),
        (Method::GET, "/v1/../metrics"),
        (Method::GET, "/api/v1/tasks/7/8"),
    ] {
        seen.add("a path or method that is not there", stage.request(method, path)).await;
    }
    assert_snapshot!(seen.text());
    stage.stop().await;
}

#[tokio::test]
async fn limits_at_both_doors() {
    let limits =
        "rate = { per_second = 2, burst = 2 }\nmints = { per_minute = 1, burst = 1 }\nsharing = \"none\"";
    // Brokers part the cap on mints, and each has a wait of its own.
    let stage = Stage::of_one(StackSettings { app: limits.into(), ..StackSettings::default() }).await;
    let mut seen = Transcript::default();
    answered(stage.v1()).await.token();
    seen.add("more tokens than the cap", stage.v1()).await;
    seen.add("faster than the rate", stage.v1()).await;
    seen.add("faster than the rate", stage.dashscope("")).await;
    stage.clock.advance(SECOND * 17 + SECOND / 2);
    seen.add("the exact wait, rounded up", stage.v1()).await;
    seen.add("more tokens than the cap", stage.dashscope("")).await;
    assert_snapshot!(seen.text());
    stage.clock.advance(SECOND * 43);
    answered(stage.dashscope("")).await.token();
    stage.stop().await;
}
