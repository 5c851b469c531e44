//! Subject tokens: whose an identity provider's word is, and every way in which it is nobody's.

use reqwest::Method;
use serde_json::{Value, json};
use valet_clock::Clock;
use valet_demo::{APP, StackSettings};

use crate::{
    harness::{Answer, SECOND, SHARED, Stage, UNHURRIED, answered},
    jose::{Signer, encode, unsigned, with},
};

const LOGIN: &str = "https://login.example.com";

/// A stage with a confidential app and a public one whose users sign in at the same issuer.
struct Users {
    stage: Stage,
    signer: Signer,
}

impl Users {
    async fn new() -> Self {
        Self::with("").await
    }

    /// With more settings of the public app.
    async fn with(more: &str) -> Self {
        let signer = Signer::rs256("k1");
        let rules = |audience: &str, rest: &str| {
            format!(
                "issuer = \"{LOGIN}\"\naudience = \"{audience}\"\njwks = {{ keys = [{}] }}\n{rest}",
                signer.toml()
            )
        };
        let app = format!(
            "{UNHURRIED}\n[[apps.{APP}.subject_tokens]]\n{}\n[apps.phone]\nkind = \"native\"\n\
             accept_account_wide = true\n{UNHURRIED}\n{more}\n[[apps.phone.subject_tokens]]\n{}\n\
             [[apps.phone.subject_tokens]]\n{}",
            rules("web", "claims = { hd = [\"example.com\", \"example.org\"], admin = true }"),
            rules("phone", "single_tenant = true"),
            rules("api", "single_tenant = true\nkind = \"access\""),
        );
        Self {
            stage: Stage::with(StackSettings { app, upstream: SHARED.into(), ..StackSettings::default() })
                .await,
            signer,
        }
    }

    fn claims(&self, audience: &str) -> Value {
        let now = self.stage.clock.unix().as_secs();
        json!({ "iss": LOGIN, "aud": audience, "sub": "alice", "iat": now, "exp": now + 60 })
    }

    fn web(&self) -> Value {
        with(&self.claims("web"), json!({ "hd": "example.com", "admin": true }))
    }

    async fn ask(&self, token: &str) -> Answer {
        answered(self.stage.request(Method::POST, "/v1/tokens").bearer_auth(token)).await
    }

    async fn refuses(&self, what: &str, token: &str, reason: &str) {
        let answer = self.ask(token).await;
        let (status, code, _) = answer.refusal();
        assert_eq!((status, code.as_str()), (401, "invalid_subject_token"), "{what}: {}", answer.text);
        let said = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(said.contains(reason), "{what}: {said}");
    }
}

#[tokio::test]
async fn a_token_opens_the_app_that_it_is_for_until_it_ends() {
    let users = Users::new().await;
    let web = users.signer.sign(&users.web());
    let phone = users.signer.sign(&users.claims("phone"));
    let access = json!({ "alg": "RS256", "typ": "at+jwt", "kid": "k1" });
    let api = users.signer.sign_as(&access, &users.claims("api"));
    for token in [&web, &phone, &api, &web] {
        assert_eq!(users.ask(token).await.status, 200, "it may be shown again");
    }
    users.stage.clock.advance(SECOND * 65);
    users.refuses("after its end", &phone, "exp: it has expired").await;
    let remains = users.stage.stop().await;
    let of = |line: usize, name: &str| remains.audit[line][name].as_str().unwrap_or_default().to_owned();
    assert_eq!((of(0, "app"), of(1, "app")), (APP.into(), "phone".into()));
    assert_eq!((of(1, "subject"), of(1, "subject_issuer")), ("alice".into(), LOGIN.into()));
    assert_eq!(of(4, "reason"), "exp: it has expired");
}

#[tokio::test]
async fn nothing_else_vouches_for_anybody() {
    let users = Users::new().await;
    let (signer, good) = (&users.signer, users.claims("phone"));
    let now = users.stage.clock.unix().as_secs();
    let header = |alg: &str| json!({ "alg": alg, "typ": "JWT", "kid": "k1" });
    let foreign = Signer::rs256("k1");
    let none = format!("{}.{}", unsigned(&header("none"), &good), encode(b""));
    let typ = |typ: &str| json!({ "alg": "RS256", "typ": typ, "kid": "k1" });
    for (what, token, reason) in [
        ("algorithm none", none, "no signed"),
        ("another algorithm of the same key", signer.sign_as(&header("RS512"), &good), "another algorithm"),
        ("another's signature", foreign.sign(&good), "wrong signature"),
        ("an access token for an ID token", signer.sign_as(&typ("at+jwt"), &good), "typ: "),
        ("a logout token", signer.sign_as(&typ("logout+jwt"), &good), "typ: "),
        ("an ID token for an access token", signer.sign(&users.claims("api")), "typ: "),
    ] {
        users.refuses(what, &token, reason).await;
    }
    for token in signer.confused(&header("HS256"), &good) {
        users.refuses("algorithm confusion", &token, "another algorithm").await;
    }
    for (what, change, reason) in [
        ("another issuer", json!({ "iss": "https://evil.example" }), "no app accepts"),
        ("an issuer with a slash", json!({ "iss": format!("{LOGIN}/") }), "no app accepts"),
        ("an issuer in capitals", json!({ "iss": "https://LOGIN.example.com" }), "no app accepts"),
        ("an issuer with a beginning", json!({ "iss": format!("{LOGIN}.evil.example") }), "no app accepts"),
        ("an issuer that looks alike", json!({ "iss": "https://l\u{43e}gin.example.com" }), "no app accepts"),
        ("no issuer", json!({ "iss": null }), "no app accepts"),
        ("a list of issuers", json!({ "iss": [LOGIN] }), "no app accepts"),
        ("another audience", json!({ "aud": "other" }), "no app accepts"),
        ("no audience", json!({ "aud": null }), "no app accepts"),
        ("several audiences and no first party", json!({ "aud": ["phone", "x"] }), "no app accepts"),
        ("another first party", json!({ "aud": ["phone", "x"], "azp": "x" }), "no app accepts"),
        ("no end", json!({ "exp": null }), "exp: "),
        ("an end in words", json!({ "exp": "soon" }), "exp: "),
        ("an end beyond all time", json!({ "exp": 1e300 }), "exp: "),
        ("the past", json!({ "exp": now - 5 }), "exp: "),
        ("not yet", json!({ "nbf": now + 11 }), "nbf: "),
        ("no subject", json!({ "sub": null }), "sub: "),
        (
            "a notice of a logout",
            json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": {} } }),
            "events: ",
        ),
        ("an empty subject", json!({ "sub": "" }), "sub: "),
        ("a subject of a kilobyte", json!({ "sub": "x".repeat(1024) }), "sub: "),
        ("a subject with a line break", json!({ "sub": "a\nb" }), "sub: "),
    ] {
        users.refuses(what, &signer.sign(&with(&good, change)), reason).await;
    }
    let several = with(&good, json!({ "aud": ["phone", "x"], "azp": "phone" }));
    assert_eq!(users.ask(&signer.sign(&several)).await.status, 200, "the first party is the app");
    users.stage.stop().await;
}

#[tokio::test]
async fn claims_must_be_exactly_the_named_ones() {
    let users = Users::new().await;
    for (what, change) in [
        ("another tenant", json!({ "hd": "evil.example" })),
        ("a longer name", json!({ "hd": "example.com.evil.example" })),
        ("no tenant", json!({ "hd": null })),
        ("an object", json!({ "hd": { "example.com": true } })),
        ("the other claim is false", json!({ "admin": false })),
    ] {
        users.refuses(what, &users.signer.sign(&with(&users.web(), change)), "no app accepts").await;
    }
    for change in
        [json!({ "hd": "example.org" }), json!({ "hd": ["x", "example.com"] }), json!({ "admin": "true" })]
    {
        assert_eq!(users.ask(&users.signer.sign(&with(&users.web(), change))).await.status, 200);
    }
    users.stage.stop().await;
}

#[tokio::test]
async fn nobody_borrows_another_apps_users() {
    let users = Users::new().await;
    let (stage, phone) = (&users.stage, users.signer.sign(&users.claims("phone")));
    let fields =
        [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", phone.as_str())];
    let ask = || stage.request(Method::POST, "/oauth/token").form(&fields);
    let other = answered(ask().basic_auth(APP, Some(stage.stack.secret.expose()))).await;
    assert_eq!((other.status, &other.json()["error"]), (400, &json!("invalid_grant")));
    let wrong = answered(ask().basic_auth(APP, Some("vas_wrong"))).await;
    assert_eq!((wrong.status, &wrong.json()["error"]), (401, &json!("invalid_client")));
    // A public app has nothing to show but its users' tokens.
    let alone = [("grant_type", "client_credentials"), ("client_id", "phone")];
    let alone = answered(stage.request(Method::POST, "/oauth/token").form(&alone)).await;
    assert_eq!((alone.status, &alone.json()["error"]), (401, &json!("invalid_client")));
    users.stage.stop().await;
}

#[tokio::test]
async fn a_token_for_two_apps_is_for_the_one_that_is_named() {
    let signer = Signer::es256("k");
    let app = |id: &str, group: &str| {
        format!(
            "[apps.{id}]\n{UNHURRIED}\n[[apps.{id}.subject_tokens]]\nissuer = \"{LOGIN}\"\naudience = \"x\"\n\
             claims = {{ groups = \"{group}\" }}\njwks = {{ keys = [{}] }}\n",
            signer.toml()
        )
    };
    let app = app("reads", "readers") + &app("hears", "hearers");
    let settings = StackSettings { app, upstream: SHARED.into(), ..StackSettings::default() };
    let users = Users { stage: Stage::with(settings).await, signer };
    let of = |groups: &[&str]| users.signer.sign(&with(&users.claims("x"), json!({ "groups": groups })));
    assert_eq!(users.ask(&of(&["readers", "others"])).await.status, 200);
    // No configuration shows that somebody may be in both groups.
    let both = of(&["readers", "hearers"]);
    users.refuses("both", &both, "it is for several apps; name one by client_id").await;
    let fields = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &*both)];
    for (app, status) in [("reads", 200), ("hears", 200), (APP, 401)] {
        let fields = [&fields[..], &[("client_id", app)]].concat();
        let answer = answered(users.stage.request(Method::POST, "/oauth/token").form(&fields)).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    users.stage.stop().await;
}

#[tokio::test]
async fn an_app_may_accept_both_kinds_of_token_for_one_audience() {
    let signer = Signer::es256("k");
    let rules = |kind: &str| {
        format!(
            "[[apps.both.subject_tokens]]\nissuer = \"{LOGIN}\"\naudience = \"x\"\nkind = \"{kind}\"\n\
             single_tenant = true\njwks = {{ keys = [{}] }}\n",
            signer.toml()
        )
    };
    let app = format!("[apps.both]\n{UNHURRIED}\n{}{}", rules("id"), rules("access"));
    let settings = StackSettings { app, upstream: SHARED.into(), ..StackSettings::default() };
    let users = Users { stage: Stage::with(settings).await, signer };
    for typ in ["JWT", "at+jwt", "application/AT+JWT"] {
        let header = json!({ "alg": "ES256", "typ": typ, "kid": "k" });
        let token = users.signer.sign_as(&header, &users.claims("x"));
        assert_eq!(users.ask(&token).await.status, 200, "{typ}");
    }
    users.stage.stop().await;
}

#[tokio::test]
async fn each_vouched_subject_has_limits_of_its_own_and_cannot_change_its_name() {
    let users = Users::with("subject_rate = { per_second = 1, burst = 2 }").await;
    let of = |name: &str| users.signer.sign(&with(&users.claims("phone"), json!({ "sub": name })));
    let (alice, bob) = (of("alice"), of("bob"));
    let mut statuses = Vec::new();
    for token in [&alice, &alice, &alice, &bob] {
        statuses.push(users.ask(token).await.status);
    }
    assert_eq!(statuses, [200, 200, 429, 200]);
    let request = users.stage.request(Method::POST, "/v1/tokens").bearer_auth(&bob);
    let renamed = answered(request.json(&json!({ "subject": "carol" }))).await;
    assert_eq!(renamed.refusal().1, "subject_not_allowed");
    users.stage.stop().await;
}
