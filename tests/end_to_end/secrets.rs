//! Canaries: secrets of every kind are sent through everything that can go wrong, and nothing that is
//! written down, said in a refusal or shown in a dump may hold one. A token stands in a success body alone.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use reqwest::{Method, header::AUTHORIZATION};
use serde_json::json;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::LevelFilter;
use valet_client::{AppCredential, Client, TranscriptionRequest};
use valet_clock::ManualClock;
use valet_demo::{APP, StackSettings};
use valet_sandbox::{Fault, Operation, Settings};
use valet_server::{
    broker::Broker,
    config::{Config, Environment},
    secret::AppSecret,
};

use crate::harness::{Answer, SECOND, Stage, UNHURRIED, answered, promptly};

const KEY: &str = "sk-canary-of-a-key";
const SPARE_KEY: &str = "sk-canary-of-a-spare-key";
const WRONG_SECRET: &str = "vas_canary-of-a-wrong-secret";
/// Base64 of `demo:vas_canary-of-a-wrong-secret`.
const WRONG_BASIC: &str = "ZGVtbzp2YXNfY2FuYXJ5LW9mLWEtd3Jvbmctc2VjcmV0";

/// Everything that is logged on this thread, at every level and by every library.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn capture() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let layer = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_ansi(false);
        let subscriber = layer.with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What has been seen, and what must not be in it.
#[derive(Default)]
struct Canaries {
    secrets: Vec<String>,
    seen: Vec<(&'static str, String)>,
}

impl Canaries {
    fn saw(&mut self, place: &'static str, text: impl Into<String>) {
        self.seen.push((place, text.into()));
    }

    /// A success body holds its token, and no other secret; anything else holds none.
    fn answer(&mut self, answer: &Answer) {
        let mut text = format!("{:?} {}", answer.headers, answer.text);
        if answer.status == 200 {
            let token = answer.token();
            text = text.replacen(&token, "", 1);
            self.secrets.push(token);
        }
        self.saw("an answer", text);
    }

    fn check(&self) {
        for (place, text) in &self.seen {
            assert!(!text.is_empty(), "{place} says nothing at all");
            for secret in &self.secrets {
                assert!(!text.contains(secret), "{place} holds {secret}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn no_secret_is_written_down_anywhere() {
    let (log, _capturing) = Log::capture();
    let sandbox = Settings::default().with_key(KEY).with_key(SPARE_KEY);
    let (spare_keys, app) = (vec![SPARE_KEY.into()], UNHURRIED.into());
    let stage = Stage::with(StackSettings { sandbox, spare_keys, app, ..StackSettings::default() }).await;
    let secret = stage.stack.secret.expose().to_owned();
    let request = stage.v1().build().unwrap();
    let basic = request.headers()[AUTHORIZATION].to_str().unwrap().strip_prefix("Basic ").unwrap();
    let secrets = [KEY, SPARE_KEY, WRONG_SECRET, WRONG_BASIC, &secret, basic].map(str::to_owned).to_vec();
    let mut canaries = Canaries { secrets, ..Canaries::default() };

    in_every_place(&stage, &mut canaries).await;
    through_every_fault(&stage, &mut canaries).await;
    through_the_client(&stage, &mut canaries).await;

    canaries.saw("the metrics", stage.metrics().await);
    canaries.saw("what the upstream saw of URLs", format!("{:?}", stage.stack.sandbox.journal()));
    canaries.saw("a secret's dump", format!("{:?}", stage.stack.secret));
    canaries.saw("the audit trail", format!("{:?}", stage.stop().await.audit));
    let log = log.text();
    for expected in ["mint failed", "quarantined=true", "works again"] {
        assert!(log.contains(expected), "the log does not tell of: {expected}");
    }
    canaries.saw("the log", log);
    canaries.check();
}

/// Right and wrong secrets, and tokens, wherever a request can carry them.
async fn in_every_place(stage: &Stage, canaries: &mut Canaries) {
    let secret = stage.stack.secret.expose();
    let good = stage.ask().await;
    canaries.answer(&good);
    canaries.answer(&answered(stage.dashscope("")).await);
    let token = good.token();
    for canary in [secret, WRONG_SECRET, &*token, KEY] {
        let post = |path: &str| stage.request(Method::POST, path);
        let form = format!("client_id={APP}&client_secret={canary}&min_ttl=x");
        let json = |body| stage.v1().json(&body);
        for request in [
            post("/v1/tokens").bearer_auth(WRONG_SECRET),
            post("/v1/tokens").basic_auth(canary, Some(WRONG_SECRET)),
            post("/v1/tokens").header(AUTHORIZATION, format!("Digest {canary}")),
            post("/v1/tokens").header(AUTHORIZATION, canary),
            post("/v1/tokens").header("content-type", "application/x-www-form-urlencoded").body(form),
            post(&format!("/v1/tokens?client_secret={canary}")),
            post(&format!("/{canary}")),
            post(&format!("/api/v1/tokens?expire_in_seconds={canary}")).bearer_auth(secret),
            json(json!({ "client_secret": canary })),
            json(json!({ "rejected": canary })),
            json(json!({ "min_ttl": canary })),
            json(json!({ "scope": canary })),
            json(json!({ "subject": [canary] })),
            stage.v1().header("content-type", "application/json").body(format!("{{\"scope\":\"{canary}")),
            stage.v1().header("content-type", format!("text/{canary}")).body(canary.to_owned()),
        ] {
            let answer = answered(request).await;
            assert!(answer.status >= 400, "{}", answer.text);
            canaries.answer(&answer);
        }
    }
}

/// An upstream that repeats its key in whatever it says.
async fn through_every_fault(stage: &Stage, canaries: &mut Canaries) {
    let words = format!("The key {KEY} is no good, and {SPARE_KEY} no better.");
    let body = json!({ "token": format!("{KEY} {SPARE_KEY}"), "expires_at": 1 }).to_string();
    for fault in [
        Fault::on(Operation::Mint).refuse(500, words.clone(), words.clone()),
        Fault::on(Operation::Mint).refuse(403, words.clone(), words.clone()),
        Fault::on(Operation::Mint).refuse(429, words.clone(), words.clone()),
        Fault::on(Operation::Mint).replace(200, "application/json", body),
        Fault::on(Operation::Mint).replace(502, "text/html", words.clone()),
        Fault::on(Operation::Mint).truncate(),
        Fault::on(Operation::Mint).reset(),
        Fault::on(Operation::Mint).refuse(401, "InvalidApiKey", words.clone()),
    ] {
        stage.stack.sandbox.script(fault.always());
        stage.clock.advance(SECOND * 60);
        let refused = stage.ask().await;
        assert!(refused.status >= 500, "{}", refused.text);
        canaries.answer(&refused);
        stage.stack.sandbox.clear_faults();
    }
    // A probe brings the keys back.
    let ended = stage.metric("valet_mints_total").await;
    stage.clock.advance(SECOND * 60);
    stage.mints_ended(ended + 2).await;
    canaries.answer(&stage.ask().await);
}

/// The client's own errors and dumps.
async fn through_the_client(stage: &Stage, canaries: &mut Canaries) {
    let client = stage.stack.client();
    let token = promptly(client.token()).await.unwrap();
    canaries.secrets.push(token.expose().to_owned());
    canaries.saw("a token's dump", format!("{token:?} {client:?}"));
    let credential = AppCredential::new(APP, WRONG_SECRET);
    canaries.saw("a credential's dump", format!("{credential:?}"));
    let builder = Client::builder().clock(stage.clock.handle("client"));
    let wrong = builder.broker(&stage.stack.broker_url, credential).unwrap().build().unwrap();
    let error = promptly(wrong.token()).await.unwrap_err();
    canaries.saw("the client's error", format!("{error} {error:?}"));
    // A service that repeats the token it refuses, whoever is asked.
    let words = format!("The token {} is no good.", token.expose());
    stage.stack.sandbox.script(Fault::on(Operation::Submit).refuse(403, words.clone(), words).always());
    let request = TranscriptionRequest::new(["http://localhost/a.wav"]);
    let error = promptly(client.submit(&request)).await.unwrap_err();
    canaries.saw("the client's error", format!("{error} {error:?}"));
}

#[tokio::test]
async fn no_dump_of_a_broker_or_its_configuration_holds_a_secret() {
    let secret = AppSecret::generate();
    let environment: Environment = [("KEY", KEY)].into_iter().collect();
    let text = format!(
        "listen = \"127.0.0.1:0\"\n[audit]\npath = \"/dev/null\"\n\
         [upstreams.u]\nbase_url = \"http://localhost/api/v1\"\nkeys = [{{ env = \"KEY\" }}]\n\
         [apps.a]\nsecrets = [\"{}\"]\n",
        secret.hash()
    );
    let config = Config::read(&text, &environment).unwrap();
    let mut canaries =
        Canaries { secrets: vec![KEY.into(), secret.hash().to_string()], ..Canaries::default() };
    canaries.saw("the environment", format!("{environment:?}"));
    canaries.saw("the configuration", format!("{config:?}"));
    let broker = Broker::bind(config, ManualClock::new().handle("broker")).await.unwrap();
    canaries.saw("the broker", format!("{broker:?}"));
    canaries.check();
}
