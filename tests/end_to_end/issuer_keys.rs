//! Keys behind a URL: fetched with guards, ahead of their age, kept through an outage.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;
use valet_clock::Clock;
use valet_demo::{APP, StackSettings};

use crate::{
    harness::{Answer, SECOND, SHARED, Stage, UNHURRIED, answered, promptly},
    issuer::{Issuer, Page, keys},
    jose::{Signer, with},
    reload::reload,
    wire::Wire,
};

/// A stage whose users sign in at an issuer with a page of keys.
struct Signin {
    stage: Stage,
    issuer: Issuer,
}

impl Signin {
    async fn new(signers: &[&Signer]) -> Self {
        let issuer = Issuer::of(signers).await;
        let url = issuer.jwks_url();
        Self::at(issuer, &format!("jwks_url = \"{url}\"\njwks_allow_private = true")).await
    }

    async fn at(issuer: Issuer, keys: &str) -> Self {
        let app = format!(
            "{UNHURRIED}\n[[apps.{APP}.subject_tokens]]\nissuer = \"{}\"\naudience = \"valet\"\n\
             single_tenant = true\n{keys}",
            issuer.name
        );
        let stage = Stage::with(StackSettings { app, follow: true, ..StackSettings::default() }).await;
        Self { stage, issuer }
    }

    fn token(&self, signer: &Signer) -> String {
        let now = self.stage.clock.unix().as_secs();
        signer.sign(&json!({ "iss": self.issuer.name, "aud": "valet", "sub": "alice", "exp": now + 600 }))
    }

    /// Asks every broker, which fetches the keys for itself; they answer alike.
    async fn ask(&self, signer: &Signer) -> Answer {
        let mut answers = Vec::new();
        for replica in 0..self.stage.brokers() {
            answers.push(self.ask_of(replica, signer).await);
            assert_eq!(answers[replica].refusal(), answers[0].refusal());
        }
        answers.remove(0)
    }

    async fn ask_of(&self, replica: usize, signer: &Signer) -> Answer {
        let request = self.stage.request_of(replica, Method::POST, "/v1/tokens");
        answered(request.bearer_auth(self.token(signer))).await
    }

    /// How often each broker asked for the keys.
    fn asked(&self) -> u64 {
        self.issuer.asked() / self.stage.each(1)
    }

    async fn refuses(&self, signer: &Signer) -> (u16, String, Option<u64>) {
        self.ask(signer).await.refusal()
    }
}

/// A set of one key.
fn set(signer: &Signer) -> Value {
    json!({ "keys": [signer.jwk()] })
}

fn unavailable() -> (u16, String, Option<u64>) {
    (503, "issuer_unavailable".into(), Some(30))
}

fn unknown() -> (u16, String, Option<u64>) {
    (401, "invalid_subject_token".into(), None)
}

#[tokio::test]
async fn keys_are_fetched_once_and_looked_for_again_when_one_is_new() {
    let (old, new) = (Signer::es256("old"), Signer::eddsa("new"));
    let signin = Signin::new(&[&old]).await;
    for _ in 0..3 {
        assert_eq!(signin.ask(&old).await.status, 200);
    }
    assert_eq!(signin.asked(), 1);
    // Keys rotate: the new one is asked for as soon as it may be, and nobody makes the broker ask more often.
    signin.issuer.answers(keys(&[&old, &new]));
    assert_eq!(signin.refuses(&new).await, unknown());
    signin.stage.clock.advance(SECOND * 30);
    assert_eq!(signin.ask(&new).await.status, 200);
    assert_eq!(signin.asked(), 2);
    let stranger = Signer::es256("stranger");
    for _ in 0..3 {
        assert_eq!(signin.refuses(&stranger).await, unknown());
    }
    assert_eq!(signin.asked(), 2, "no more than once in half a minute");
    signin.stage.clock.advance(SECOND * 30);
    assert_eq!(signin.refuses(&stranger).await, unknown());
    assert_eq!(signin.asked(), 3);
    signin.stage.stop().await;
}

#[tokio::test]
async fn a_withdrawn_key_is_void_once_its_set_is_too_old() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let signin = Signin::new(&[&old]).await;
    assert_eq!(signin.ask(&old).await.status, 200);
    signin.issuer.answers(keys(&[&new]));
    signin.stage.clock.advance(SECOND * 3600);
    assert_eq!(signin.refuses(&old).await, unknown());
    assert_eq!(signin.ask(&new).await.status, 200);
    signin.stage.stop().await;
}

#[tokio::test]
async fn keys_are_renewed_ahead_and_kept_through_an_outage() {
    let signer = Signer::es256("k");
    let signin = Signin::new(&[&signer]).await;
    signin.issuer.answers(Page::Keys(set(&signer), Some(600)));
    assert_eq!(signin.ask(&signer).await.status, 200);
    // In the last fifth of its life: answered at once, renewed in the background.
    signin.issuer.answers(Page::Silent);
    signin.stage.clock.advance(SECOND * 480);
    assert_eq!(signin.ask(&signer).await.status, 200);
    signin.issuer.was_asked(signin.stage.each(2)).await;
    signin.stage.clock.advance(SECOND * 3);
    // The issuer is away for a day: its last keys do.
    signin.issuer.answers(Page::Status(503));
    for _ in 0..3 {
        signin.stage.clock.advance(SECOND * 28_000);
        assert_eq!(signin.ask(&signer).await.status, 200);
    }
    signin.stage.clock.advance(SECOND * 10_000);
    assert_eq!(signin.refuses(&signer).await, unavailable());
    signin.issuer.answers(keys(&[&signer]));
    signin.stage.clock.advance(SECOND * 30);
    assert_eq!(signin.ask(&signer).await.status, 200, "it is back");
    signin.stage.stop().await;
}

#[tokio::test]
async fn what_an_issuer_may_not_do() {
    let signer = Signer::es256("k");
    let elsewhere = Issuer::of(&[&signer]).await;
    let mut huge = set(&signer);
    huge["padding"] = json!("x".repeat(300_000));
    let secret = json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0", "kid": "k", "alg": "HS256" }] });
    for (what, page) in [
        ("redirects", Page::Redirect(elsewhere.jwks_url())),
        ("fails", Page::Status(500)),
        ("says nothing", Page::Status(204)),
        ("is huge", Page::Keys(huge, None)),
        ("is no JSON", Page::Text("<html>".into())),
        ("has no keys", Page::Keys(json!({ "keys": [] }), None)),
        ("has a shared secret", Page::Keys(secret, None)),
        ("has a key twice", Page::Keys(json!({ "keys": [signer.jwk(), signer.jwk()] }), None)),
    ] {
        let signin = Signin::new(&[&signer]).await;
        signin.issuer.answers(page);
        assert_eq!(signin.refuses(&signer).await, unavailable(), "{what}");
        assert_eq!(signin.asked(), 1, "{what}");
        assert_eq!(signin.refuses(&signer).await, unavailable(), "{what}");
        assert_eq!(signin.asked(), 1, "{what}: not asked again at once");
        signin.stage.stop().await;
    }
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test]
async fn a_silent_issuer_costs_three_seconds_once() {
    let signer = Signer::es256("k");
    let signin = Signin::new(&[&signer]).await;
    signin.issuer.answers(Page::Silent);
    let asking: Vec<_> = (0..5)
        .map(|_| {
            let request = signin.stage.request(Method::POST, "/v1/tokens").bearer_auth(signin.token(&signer));
            tokio::spawn(answered(request))
        })
        .collect();
    signin.issuer.was_asked(signin.stage.each(1)).await;
    signin.stage.clock.advance(SECOND * 3);
    for asked in asking {
        assert_eq!(promptly(asked).await.unwrap().refusal(), unavailable());
    }
    assert_eq!(signin.asked(), 1, "they waited for the same");
    signin.stage.stop().await;
}

#[tokio::test]
async fn an_issuer_that_breaks_off_costs_three_seconds() {
    let signer = Signer::es256("k");
    let signin = Signin::new(&[&signer]).await;
    signin.issuer.answers(Page::Broken(set(&signer)));
    let request = signin.stage.request(Method::POST, "/v1/tokens").bearer_auth(signin.token(&signer));
    let asking = tokio::spawn(answered(request));
    signin.issuer.was_asked(1).await;
    signin.stage.clock.advance(SECOND * 3);
    assert_eq!(promptly(asking).await.unwrap().refusal(), unavailable());
    signin.stage.stop().await;
}

#[tokio::test]
async fn whoever_hangs_up_ends_no_fetch() {
    let signer = Signer::es256("k");
    let signin = Signin::new(&[&signer]).await;
    let released = Arc::new(Notify::new());
    signin.issuer.answers(Page::Late(set(&signer), released.clone()));
    let mut leader = Wire::to(signin.stage.stack.replicas[0]).await;
    let token = signin.token(&signer);
    let head = format!("POST /v1/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    leader.send(head).await;
    signin.issuer.was_asked(1).await;
    drop(leader);
    // All runs on one thread: once this exchange is over, the broker has seen the connection end.
    answered(signin.stage.request_of(0, Method::GET, "/healthz")).await;
    released.notify_one();
    assert_eq!(signin.ask_of(0, &signer).await.status, 200);
    assert_eq!(signin.issuer.asked(), 1);
    signin.stage.stop().await;
}

#[tokio::test]
async fn a_key_that_is_not_understood_voids_none_beside_it() {
    let signer = Signer::es256("k");
    let good = signer.jwk();
    let other = |change: Value| with(&with(&good, json!({ "kid": "other" })), change);
    // RFC 7517 §5: keys of other types and of values out of range are ignored.
    for (what, key) in [
        ("of a later type", json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "other" })),
        ("of another curve", other(json!({ "crv": "secp256k1", "alg": "ES256K" }))),
        ("for key agreement", json!({ "kty": "OKP", "crv": "X25519", "x": "AAAA", "kid": "other" })),
        ("too short", json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "other" })),
        ("of a member of another type", other(json!({ "use": 7 }))),
        ("of a value that is no base64", other(json!({ "x": "*" }))),
        ("without a type", other(json!({ "kty": null }))),
        ("that is none", json!("key")),
        ("for encryption, of the same name", with(&good, json!({ "use": "enc" }))),
        ("for signing only", other(json!({ "use": null, "key_ops": ["sign"] }))),
    ] {
        let signin = Signin::new(&[&signer]).await;
        signin.issuer.answers(Page::Keys(json!({ "keys": [key, good] }), None));
        assert_eq!(signin.ask(&signer).await.status, 200, "a key {what}");
        signin.stage.stop().await;
    }
}

#[tokio::test]
async fn two_keys_of_one_name_are_told_apart_by_their_algorithms() {
    let (ec, ed) = (Signer::es256("k"), Signer::eddsa("k"));
    let signin = Signin::new(&[&ec, &ed]).await;
    assert_eq!((signin.ask(&ec).await.status, signin.ask(&ed).await.status), (200, 200));
    assert_eq!(signin.refuses(&Signer::rs256("k")).await, unknown());
    signin.stage.stop().await;
}

#[tokio::test]
async fn an_app_and_its_issuer_may_both_have_keys_behind_urls() {
    let (own, login) = (Signer::es256("own"), Signer::es256("login"));
    let (app, issuer) = (Issuer::of(&[&own]).await, Issuer::of(&[&login]).await);
    let keys = |of: &Issuer| format!("jwks_url = \"{}\"\njwks_allow_private = true", of.jwks_url());
    let settings = format!(
        "[apps.signs]\n{}\n[[apps.signs.subject_tokens]]\nissuer = \"{}\"\naudience = \"valet\"\n\
         single_tenant = true\n{}",
        keys(&app),
        issuer.name,
        keys(&issuer)
    );
    let config = "public_url = \"https://valet.example.com\"".to_owned();
    let settings =
        StackSettings { app: settings, config, upstream: SHARED.into(), ..StackSettings::default() };
    let stage = Stage::with(settings).await;
    let now = stage.clock.unix().as_secs();
    let subject = login.sign(&json!({ "iss": issuer.name, "aud": "valet", "sub": "alice", "exp": now + 60 }));
    let client = own.sign(&json!({
        "iss": "signs", "sub": "signs", "aud": "https://valet.example.com", "jti": "1", "exp": now + 60,
    }));
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("assertion", &*subject),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", &*client),
    ];
    let answer = answered(stage.request(Method::POST, "/oauth/token").form(&fields)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!((app.asked(), issuer.asked()), (1, 1));
    stage.stop().await;
}

#[tokio::test]
async fn a_private_address_is_not_asked() {
    let signer = Signer::es256("k");
    let issuer = Issuer::of(&[&signer]).await;
    // A name that leads to this machine: it is the address that counts, not the name.
    let url = issuer.jwks_url().replace("127.0.0.1", "localhost");
    let signin = Signin::at(issuer, &format!("jwks_url = \"{url}\"")).await;
    assert_eq!(signin.refuses(&signer).await, unavailable());
    assert_eq!(signin.asked(), 0);
    signin.stage.stop().await;
}

#[tokio::test]
async fn a_reload_keeps_the_keys() {
    let signer = Signer::es256("k");
    let signin = Signin::new(&[&signer]).await;
    assert_eq!(signin.ask(&signer).await.status, 200);
    signin.issuer.answers(Page::Silent);
    let config = &signin.stage.stack.config;
    reload(&signin.stage, &config.replace("audience = \"valet\"", "audience = \"valet\"\nkind = \"id\""))
        .await;
    assert_eq!(signin.ask(&signer).await.status, 200);
    assert_eq!(signin.asked(), 1);
    signin.stage.stop().await;
}
