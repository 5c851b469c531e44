//! Relay tokens: what they say, and everything that ends them.

use data_encoding::BASE64URL_NOPAD;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use valet_clock::Clock;
use valet_demo::{APP, StackSettings};
use valet_server::secret::AppSecret;

use crate::{
    harness::{Answer, SECOND, Stage, UNHURRIED, answered},
    jose::Signer,
    reload::reload,
};

const ISSUER: &str = "https://valet.example.com";

/// A stage whose app gets relay tokens, and whose users sign in at an issuer.
struct Relayed {
    stage: Stage,
    login: Signer,
    /// The broker's state, which outlives it.
    state: TempDir,
}

impl Relayed {
    async fn new() -> Self {
        Self::beside("").await
    }

    /// With more apps.
    async fn beside(others: &str) -> Self {
        Self::with(Signer::eddsa("login"), TempDir::new().unwrap(), others).await
    }

    async fn with(login: Signer, state: TempDir, others: &str) -> Self {
        let app = format!(
            "{UNHURRIED}\nmay_name_subject = true\nmodels = [\"fun-asr\"]\n\
             file_hosts = [\"files.example.com\", \"*.media.example.com\"]\nurls_per_task = 5\n\
             [[apps.{APP}.subject_tokens]]\nissuer = \"https://login.example.com\"\naudience = \"page\"\n\
             single_tenant = true\njwks = {{ keys = [{}] }}\n{others}",
            login.toml()
        );
        let config = format!("public_url = \"{ISSUER}\"");
        let relay = Some(state.path().to_owned());
        let settings = StackSettings { app, config, relay, follow: true, ..StackSettings::default() };
        Self { stage: Stage::with(settings).await, login, state }
    }

    fn id_token(&self, seconds: u64) -> String {
        let exp = self.stage.clock.unix().as_secs() + seconds;
        let claims = json!({ "iss": "https://login.example.com", "aud": "page", "sub": "alice", "exp": exp });
        self.login.sign(&claims)
    }

    async fn ask_as_user(&self, seconds: u64) -> Answer {
        let token = self.id_token(seconds);
        answered(self.stage.request(Method::POST, "/v1/tokens").bearer_auth(token)).await
    }

    async fn revoke(&self, token: &str) -> Answer {
        let request = self.stage.request(Method::POST, "/oauth/revoke").form(&[("token", token)]);
        answered(request.basic_auth(APP, Some(self.stage.stack.secret.expose()))).await
    }
}

/// Header or claims of a token.
fn part(token: &str, place: usize) -> Value {
    let part = token.split('.').nth(place).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_relay_token_says_what_its_app_may_do() {
    let relayed = Relayed::new().await;
    let stage = &relayed.stage;
    let answer = stage.ask_for(&json!({ "subject": "bob" })).await.json();
    let relay = format!("{ISSUER}/api/v1");
    let named = |name: &str| answer[name].clone();
    assert_eq!(
        (named("mode"), named("base_url"), named("expires_in")),
        (json!("relay"), json!(relay), json!(60))
    );
    assert_eq!(named("queries_per_second"), Value::Null);
    let token = answer["token"].as_str().unwrap();
    let now = stage.clock.unix().as_secs();
    let mut claims = part(token, 1);
    assert!(claims["jti"].as_str().unwrap().len() > 20 && claims["proof"].is_string());
    (claims["jti"], claims["proof"]) = (Value::Null, Value::Null);
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER, "sub": "demo/bob", "aud": relay, "client_id": APP, "iat": now, "exp": now + 60, "jti": null,
            "scope": "transcribe", "subject": { "name": "bob" }, "proof": null, "models": ["fun-asr"],
            "file_hosts": ["files.example.com", "*.media.example.com"], "urls": 5,
        })
    );
    // The key that signed it is published (RFC 9068 §2.1, §4).
    let header = part(token, 0);
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("EdDSA")));
    let keys = stage.page("/.well-known/jwks.json").await.json();
    assert_eq!((&keys["keys"][0]["kid"], &keys["keys"][0]["kty"]), (&header["kid"], &json!("OKP")));
    let own = stage.ask().await.json();
    let own = part(own["token"].as_str().unwrap(), 1);
    assert_eq!((&own["sub"], &own["subject"]), (&json!(APP), &Value::Null));
    assert_eq!(stage.mints(), 0, "nothing was minted");
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_relay_token_never_outlives_the_identity_that_it_was_granted_on() {
    let relayed = Relayed::new().await;
    assert_eq!(relayed.ask_as_user(600).await.expires_in(), 60);
    let short = relayed.ask_as_user(20).await;
    assert_eq!(short.expires_in(), 20);
    let claims = part(short.json()["token"].as_str().unwrap(), 1);
    assert_eq!(claims["subject"], json!({ "issuer": "https://login.example.com", "name": "alice" }));
    // Within the leeway of the issuer's clock the identity is good, and nothing is left of it.
    let token = relayed.id_token(0);
    let ended = answered(relayed.stage.request(Method::POST, "/v1/tokens").bearer_auth(&token)).await;
    assert_eq!(ended.expires_in(), 0);
    let request = relayed.stage.request(Method::POST, "/v1/tokens").bearer_auth(relayed.id_token(20));
    let long = answered(request.json(&json!({ "min_ttl": 30 }))).await;
    assert_eq!(long.refusal().1, "min_ttl_too_long");
    relayed.stage.stop().await;
}

#[tokio::test]
async fn revocation_is_an_apps_own_affair() {
    let other = AppSecret::generate();
    let relayed = Relayed::new().await;
    let stage = &relayed.stage;
    let token = relayed.ask_as_user(600).await.token();
    let anonymous = answered(stage.request(Method::POST, "/oauth/revoke").form(&[("token", &token)])).await;
    assert_eq!((anonymous.status, &anonymous.json()["error"]), (401, &json!("invalid_client")));
    let wrong = stage.request(Method::POST, "/oauth/revoke").form(&[("token", &token)]);
    let wrong = answered(wrong.basic_auth(APP, Some(other.expose()))).await;
    assert_eq!(wrong.status, 401);
    // Who asks comes first (RFC 7009 §2.1): only then is said what can be revoked.
    let wrong = stage.request(Method::POST, "/oauth/revoke").form(&[("token", "st-0123456789")]);
    let wrong = answered(wrong.basic_auth(APP, Some(other.expose()))).await;
    assert_eq!((wrong.status, &wrong.json()["error"]), (401, &json!("invalid_client")));
    let upstream = relayed.revoke("st-0123456789").await;
    assert_eq!((upstream.status, &upstream.json()["error"]), (400, &json!("unsupported_token_type")));
    for token in ["no token", &token, &token, &relayed.id_token(60)] {
        let revoked = relayed.revoke(token).await;
        assert_eq!((revoked.status, revoked.text.as_str()), (200, "{}"), "whatever it is");
    }
    let remains = relayed.stage.stop().await;
    let outcomes: Vec<_> =
        remains.audit.iter().map(|line| line["outcome"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        outcomes,
        [
            "issued",
            "missing_credential",
            "invalid_credential",
            "invalid_credential",
            "unreadable",
            "nothing_revoked",
            "revoked",
            "nothing_revoked",
            "nothing_revoked",
        ]
    );
    let token = |line: usize| remains.audit[line].get("token").cloned();
    assert!(token(0).is_some());
    let revoked = outcomes.iter().position(|outcome| outcome == "revoked").unwrap();
    assert_eq!((token(revoked), token(revoked + 1)), (token(0), None), "which one it was");
}

#[tokio::test]
async fn the_name_of_a_subject_is_nobody_elses() {
    let relayed = Relayed::new().await;
    let mut names = Vec::new();
    for answer in [
        relayed.stage.ask().await,
        relayed.stage.ask_for(&json!({ "subject": "alice" })).await,
        relayed.stage.ask_for(&json!({ "subject": "a/b#c d:é" })).await,
        relayed.ask_as_user(60).await,
    ] {
        names.push(part(&answer.token(), 1)["sub"].as_str().unwrap().to_owned());
    }
    // Unique at this issuer, and a URI where there is a colon (RFC 7519 §4.1.2).
    assert_eq!(
        names,
        ["demo", "demo/alice", "demo/a%2Fb%23c%20d%3A%C3%A9", "https://login.example.com#alice"]
    );
    relayed.stage.stop().await;
}

#[tokio::test]
async fn another_apps_token_stays_as_it_is() {
    let other = AppSecret::generate();
    let more = format!("[apps.other]\nmode = \"relay\"\nsecrets = [\"{}\"]", other.hash());
    let relayed = Relayed::beside(&more).await;
    let stage = &relayed.stage;
    let token = stage.ask().await.token();
    let opens = || answered(stage.request(Method::GET, "/api/v1/tasks/").bearer_auth(&token));
    let revoke = |app: &str, secret: &str, more: &[(&str, &str)]| {
        let fields = [&[("token", &*token)], more].concat();
        answered(stage.request(Method::POST, "/oauth/revoke").form(&fields).basic_auth(app, Some(secret)))
    };
    let foreign = revoke("other", other.expose(), &[]).await;
    assert_eq!((foreign.status, foreign.text.as_str()), (200, "{}"), "as if it were none");
    assert_eq!(opens().await.status, 200);
    let own = revoke(APP, stage.stack.secret.expose(), &[("token_type_hint", "refresh_token")]).await;
    assert_eq!((own.status, own.text.as_str()), (200, "{}"));
    let closed = opens().await;
    assert_eq!(closed.status, 401);
    // RFC 6750 §3.1.
    assert_eq!(closed.header("www-authenticate"), Some("Bearer realm=\"valet\", error=\"invalid_token\""));
    let anonymous = answered(stage.request(Method::GET, "/api/v1/tasks/")).await;
    assert_eq!(anonymous.header("www-authenticate"), Some("Bearer realm=\"valet\""), "nothing was wrong");
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_key_that_takes_anothers_name_withdraws_what_that_one_vouched_for() {
    let relayed = Relayed::new().await;
    let stage = &relayed.stage;
    let token = relayed.ask_as_user(600).await.token();
    let opens = || answered(stage.request(Method::GET, "/api/v1/tasks/").bearer_auth(&token));
    assert_eq!(opens().await.status, 200);
    let other = Signer::eddsa(&relayed.login.id);
    reload(stage, &stage.stack.config.replace(&relayed.login.toml(), &other.toml())).await;
    assert_eq!(opens().await.status, 401);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn the_keys_outlive_the_broker_and_their_loss() {
    let relayed = Relayed::new().await;
    let keys = relayed.stage.page("/.well-known/jwks.json").await.json();
    let (stage, file) = (&relayed.stage, relayed.state.path().join("keys.json"));
    // A reload while the file is gone puts it back.
    std::fs::remove_file(&file).unwrap();
    reload(stage, &stage.stack.config.replace("urls_per_task = 5", "urls_per_task = 6")).await;
    assert_eq!(stage.page("/.well-known/jwks.json").await.json(), keys);
    assert!(file.exists());
    let Relayed { stage, login, state } = relayed;
    stage.stop().await;
    let again = Relayed::with(login, state, "").await;
    assert_eq!(again.stage.page("/.well-known/jwks.json").await.json(), keys);
    again.stage.clock.advance(SECOND);
    again.stage.stop().await;
}

#[tokio::test]
async fn another_folder_is_one_for_the_next_start() {
    let (relayed, other) = (Relayed::new().await, TempDir::new().unwrap());
    let stage = &relayed.stage;
    let token = stage.ask().await.token();
    let [old, new] = [relayed.state.path(), other.path()].map(|path| path.display().to_string());
    let keys = stage.page("/.well-known/jwks.json").await.json();
    for config in [stage.stack.config.replace(&old, &new), stage.stack.config.clone()] {
        reload(stage, &config).await;
        let opens = answered(stage.request(Method::GET, "/api/v1/tasks/").bearer_auth(&token));
        assert_eq!(opens.await.status, 200);
        assert_eq!(stage.page("/.well-known/jwks.json").await.json(), keys);
    }
    assert!(!other.path().join("keys.json").exists(), "whoever begins there makes its keys");
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_key_that_is_taken_away_takes_its_tokens_with_it() {
    let (relayed, other) = (Relayed::new().await, Relayed::new().await);
    let (stage, file) = (&relayed.stage, relayed.state.path().join("keys.json"));
    let token = stage.ask().await.token();
    let opens = || answered(stage.request(Method::GET, "/api/v1/tasks/").bearer_auth(&token));
    for _ in 0..2 {
        assert_eq!(opens().await.status, 200);
    }
    std::fs::copy(other.state.path().join("keys.json"), &file).unwrap();
    reload(stage, &stage.stack.config.replace("urls_per_task = 5", "urls_per_task = 6")).await;
    assert_eq!(opens().await.status, 401, "its signature was right under keys that are gone");
    relayed.stage.stop().await;
    other.stage.stop().await;
}
