//! `POST /oauth/token`: the answers and refusals of RFC 6749, 7523 and 8693, with their exact status, headers
//! and body.

use insta::assert_snapshot;
use reqwest::{Method, RequestBuilder, header::CONTENT_TYPE};
use serde_json::{Value, json};
use valet_clock::Clock;
use valet_demo::{APP, StackSettings};
use valet_sandbox::{Fault, Operation};
use valet_server::secret::AppSecret;

use crate::{
    exchange::Transcript,
    harness::{Answer, Stage, UNHURRIED, answered},
    jose::Signer,
};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A stage whose users sign in at an issuer, and a token of one of them.
struct Users {
    stage: Stage,
    token: String,
}

impl Users {
    async fn new() -> Self {
        let signer = Signer::eddsa("k");
        let app = format!(
            "{UNHURRIED}\n[[apps.{APP}.subject_tokens]]\nissuer = \"https://login.example.com\"\n\
             audience = \"valet\"\nclaims = {{ hd = \"example.com\" }}\njwks = {{ keys = [{}] }}",
            signer.toml()
        );
        let config = "public_url = \"https://valet.example.com\"".to_owned();
        let stage = Stage::with(StackSettings { app, config, ..StackSettings::default() }).await;
        let now = stage.clock.unix().as_secs();
        let token = signer.sign(&json!({
            "iss": "https://login.example.com", "aud": "valet", "sub": "alice", "hd": "example.com",
            "iat": now, "exp": now + 300,
        }));
        Self { stage, token }
    }
}

fn post(stage: &Stage, fields: &[(&str, &str)]) -> RequestBuilder {
    stage.request(Method::POST, "/oauth/token").form(fields)
}

/// A client that proves itself as most libraries do.
fn basic(stage: &Stage, fields: &[(&str, &str)]) -> RequestBuilder {
    post(stage, fields).basic_auth(APP, Some(stage.stack.secret.expose()))
}

fn check_headers(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("pragma"), Some("no-cache"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn client_credentials_by_header_and_form() {
    let users = Users::new().await;
    let stage = &users.stage;
    let token = stage.ask().await.token();
    let secret = stage.stack.secret.expose();
    let grant = ("grant_type", "client_credentials");
    let by_form = [grant, ("client_id", APP), ("client_secret", secret)];
    // An id that is encoded as in a form (RFC 6749 §2.3.1), a parameter without a value, one nobody knows.
    let encoded = post(stage, &[grant, ("scope", ""), ("colour", "blue")]).basic_auth("%64emo", Some(secret));
    for request in [
        basic(stage, &[grant]),
        basic(stage, &[grant, ("scope", "transcribe"), ("min_ttl", "30")]),
        basic(stage, &[grant, ("client_id", APP)]),
        post(stage, &by_form),
        encoded,
    ] {
        let answer = answered(request).await;
        check_headers(&answer);
        let (body, base_url) = (answer.json(), &stage.stack.sandbox_url);
        let share = body["queries_per_second"].as_f64().unwrap();
        assert!((1.0..=20.0).contains(&share), "{share}");
        assert_eq!(
            body,
            json!({
                "access_token": token, "token_type": "Bearer", "expires_in": 60, "scope": "transcribe",
                "base_url": base_url, "mode": "direct", "queries_per_second": share,
            })
        );
    }
    assert_eq!(stage.mints(), 1, "all doors share the token");
    users.stage.stop().await;
}

#[tokio::test]
async fn a_users_token_is_exchanged_or_is_the_grant() {
    let users = Users::new().await;
    let (stage, token) = (&users.stage, users.token.as_str());
    let exchange = [("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", ID_TOKEN)];
    let wanted = [&exchange[..], &[("requested_token_type", ACCESS_TOKEN)]].concat();
    let named = [&exchange[..], &[("client_id", APP)]].concat();
    for request in
        [post(stage, &exchange), post(stage, &wanted), post(stage, &named), basic(stage, &exchange)]
    {
        let answer = answered(request).await;
        check_headers(&answer);
        assert_eq!(answer.json()["issued_token_type"], ACCESS_TOKEN);
    }
    let bearer = [("grant_type", JWT_BEARER), ("assertion", token)];
    for request in [post(stage, &bearer), basic(stage, &bearer)] {
        let answer = answered(request).await;
        check_headers(&answer);
        assert_eq!(answer.json()["issued_token_type"], Value::Null);
    }
    let at_v1 = answered(stage.request(Method::POST, "/v1/tokens").bearer_auth(token)).await;
    assert_eq!(at_v1.status, 200, "{}", at_v1.text);
    users.stage.stop().await;
}

#[tokio::test]
async fn what_the_standards_refuse() {
    let users = Users::new().await;
    let (stage, token) = (&users.stage, users.token.as_str());
    let secret = stage.stack.secret.expose();
    let cc = ("grant_type", "client_credentials");
    let mut seen = Transcript::default();
    for (what, fields) in [
        ("no grant type", &[][..]),
        ("a grant type without a value", &[("grant_type", "")]),
        ("a grant type that there is not", &[("grant_type", "password")]),
        ("a scope that there is not", &[cc, ("scope", "admin")]),
        ("a scope that is none", &[cc, ("scope", "tran\u{7}scribe")]),
        ("a repeated parameter", &[cc, ("scope", "transcribe"), ("scope", "transcribe")]),
        ("a repeated parameter that nobody knows", &[cc, ("colour", "blue"), ("colour", "red")]),
        ("another id in the form than in the header", &[cc, ("client_id", "other")]),
        ("a method in the header and one in the form", &[cc, ("client_id", APP), ("client_secret", "vas_x")]),
        ("a life that cannot be promised", &[cc, ("min_ttl", "43")]),
        ("a subject that the app may not name", &[cc, ("subject", "alice")]),
        ("an exchange without a subject token", &[("grant_type", EXCHANGE)]),
        ("an exchange without its type", &[("grant_type", EXCHANGE), ("subject_token", "x")]),
        (
            "a type of subject token that is not read",
            &[
                ("grant_type", EXCHANGE),
                ("subject_token", "x"),
                ("subject_token_type", "urn:ietf:params:oauth:token-type:saml2"),
            ],
        ),
        (
            "a bad subject token in an exchange",
            &[("grant_type", EXCHANGE), ("subject_token", "x"), ("subject_token_type", ID_TOKEN)],
        ),
        (
            "an exchange for another type of token",
            &[
                ("grant_type", EXCHANGE),
                ("subject_token", "x"),
                ("subject_token_type", ID_TOKEN),
                ("requested_token_type", ID_TOKEN),
            ],
        ),
        (
            "an exchange with an actor",
            &[
                ("grant_type", EXCHANGE),
                ("subject_token", "x"),
                ("subject_token_type", ID_TOKEN),
                ("actor_token", "y"),
            ],
        ),
        (
            "an exchange for another target",
            &[
                ("grant_type", EXCHANGE),
                ("subject_token", "x"),
                ("subject_token_type", ID_TOKEN),
                ("audience", "https://elsewhere.example.com"),
            ],
        ),
        (
            "an exchange for two targets, as RFC 8693 has them",
            &[
                ("grant_type", EXCHANGE),
                ("subject_token", "x"),
                ("subject_token_type", ID_TOKEN),
                ("resource", "https://elsewhere.example.com"),
                ("resource", "https://everywhere.example.com"),
            ],
        ),
        ("a JWT grant without its JWT", &[("grant_type", JWT_BEARER)]),
        ("a bad JWT grant", &[("grant_type", JWT_BEARER), ("assertion", "x")]),
    ] {
        seen.add(what, basic(stage, fields)).await;
    }
    for (what, fields) in [
        ("no client", &[cc][..]),
        ("a client that is named only", &[cc, ("client_id", APP)]),
        ("a wrong secret", &[cc, ("client_id", APP), ("client_secret", "vas_wrong")]),
        ("a client that is not known", &[cc, ("client_id", "nobody"), ("client_secret", "vas_wrong")]),
        ("a secret without an id", &[cc, ("client_secret", "vas_wrong")]),
        ("an assertion without its type", &[cc, ("client_assertion", "x")]),
        ("an assertion's type without it", &[cc, ("client_assertion_type", "x")]),
        (
            "an assertion of a type that is not read",
            &[cc, ("client_assertion", "x"), ("client_assertion_type", "urn:x")],
        ),
        (
            "a public client that is not known",
            &[("grant_type", JWT_BEARER), ("assertion", token), ("client_id", "no")],
        ),
    ] {
        seen.add(what, post(stage, fields)).await;
    }
    seen.add("a client by another scheme", post(stage, &[cc]).bearer_auth(secret)).await;
    seen.add("two Authorization headers", basic(stage, &[cc]).bearer_auth(secret)).await;
    seen.add("credentials in the query", post(stage, &[cc]).query(&[("client_id", APP)])).await;
    let json =
        stage.request(Method::POST, "/oauth/token").json(&json!({ "grant_type": "client_credentials" }));
    seen.add("JSON", json).await;
    seen.add("no body", stage.request(Method::POST, "/oauth/token")).await;
    let large = vec![b'x'; 20_000];
    let form = stage.request(Method::POST, "/oauth/token");
    seen.add(
        "a body larger than it may be",
        form.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(large),
    )
    .await;
    seen.add("another method", stage.request(Method::GET, "/oauth/token")).await;
    assert_snapshot!(seen.text());
    assert_eq!(stage.mints(), 0);
    users.stage.stop().await;
}

#[tokio::test]
async fn a_disabled_app_is_no_client() {
    let retired = AppSecret::generate();
    let app = format!("[apps.retired]\nenabled = false\nsecrets = [\"{}\"]", retired.hash());
    let stage = Stage::with_app(&app).await;
    let request = post(&stage, &[("grant_type", "client_credentials")]);
    let answer = answered(request.basic_auth("retired", Some(retired.expose()))).await;
    assert_eq!((answer.status, &answer.json()["error"]), (401, &json!("invalid_client")));
    assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"valet\""));
    stage.stop().await;
}

#[tokio::test]
async fn limits_are_429_and_the_upstreams_faults_503() {
    let stage = Stage::with_app("rate = { per_second = 1, burst = 1 }").await;
    let fields = [("grant_type", "client_credentials")];
    let said = |answer: &Answer| (answer.status, answer.json()["error"].as_str().unwrap().to_owned());
    stage.stack.sandbox.script(Fault::on(Operation::Mint).refuse(403, "AccessDenied", "No."));
    let refused = answered(basic(&stage, &fields)).await;
    assert_eq!(said(&refused), (503, "temporarily_unavailable".into()));
    let limited = answered(basic(&stage, &fields)).await;
    assert_eq!(said(&limited), (429, "temporarily_unavailable".into()));
    assert_eq!(limited.header("retry-after"), Some("1"));
    assert!(limited.json()["error_description"].as_str().unwrap().contains("rate"), "{}", limited.text);
    stage.stop().await;
}

#[tokio::test]
async fn the_metadata_names_what_there_is() {
    let users = Users::new().await;
    let metadata = users.stage.page("/.well-known/oauth-authorization-server").await.json();
    assert_snapshot!(serde_json::to_string_pretty(&metadata).unwrap());
    users.stage.stop().await;
}
