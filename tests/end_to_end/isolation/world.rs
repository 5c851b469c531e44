//! The callers of the walks, what they show, and how their answers are compared.

use std::{collections::BTreeSet, time::Duration};

use fastrand::Rng;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use valet_clock::Clock;
use valet_demo::APP;
use valet_sandbox::{Counts, Operation};
use valet_server::secret::AppSecret;

use crate::{
    harness::{Answer, SECOND, UNHURRIED, answered, promptly},
    jose::Signer,
    relayed::Relayed,
};

const ISSUERS: [&str; 2] = ["https://login.example.com", "https://login.example.org"];
/// Its results are for those alone who show their owner's token.
pub(super) const OTHER: &str = "other";

/// For whom a caller asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Subject {
    /// For the app itself.
    Nobody,
    /// For somebody whom the app names.
    Named(&'static str),
    /// For somebody for whom an issuer vouches.
    Of(usize, &'static str),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Caller {
    pub(super) app: &'static str,
    pub(super) subject: Subject,
}

/// A task, as the model knows it.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) owner: usize,
    pub(super) handle: String,
    pub(super) submitted: Duration,
    pub(super) is_slow: bool,
    pub(super) is_cancelled: bool,
    /// `Idempotency-Key`.
    pub(super) key: Option<u8>,
}

/// A handle of a result, as the model knows it.
#[derive(Clone, Debug)]
pub(super) struct OwnedResult {
    pub(super) owner: usize,
    pub(super) path: String,
    pub(super) until: Duration,
}

pub(super) struct World {
    pub(super) relayed: Relayed,
    pub(super) logins: [Signer; 2],
    pub(super) other: AppSecret,
    pub(super) random: Rng,
    pub(super) callers: Vec<Caller>,
    pub(super) tokens: Vec<Option<(Duration, String)>>,
    pub(super) tasks: Vec<Owned>,
    pub(super) results: Vec<OwnedResult>,
}

fn callers() -> Vec<Caller> {
    let subjects = [
        Subject::Nobody,
        Subject::Named("alice"),
        // What a relay token of the first issuer's calls its Alice.
        Subject::Named("https://login.example.com#alice"),
        Subject::Of(0, "alice"),
        Subject::Of(1, "alice"),
        Subject::Of(1, "other/alice"),
    ];
    [APP, OTHER].iter().flat_map(|app| subjects.map(|subject| Caller { app, subject })).collect()
}

impl World {
    pub(super) async fn new(seed: u64) -> Self {
        let (logins, other) = (["a", "b"].map(Signer::eddsa), AppSecret::generate());
        let vouched = |app: &str| {
            let rules = ISSUERS.iter().zip(&logins).map(|(issuer, login)| {
                format!(
                    "[[apps.{app}.subject_tokens]]\nissuer = \"{issuer}\"\naudience = \"{app}\"\n\
                     single_tenant = true\njwks = {{ keys = [{}] }}\n",
                    login.toml()
                )
            });
            rules.collect::<String>()
        };
        let others = format!(
            "{}[apps.{OTHER}]\nmode = \"relay\"\nresults = \"bearer\"\nmay_name_subject = true\n{UNHURRIED}\n\
             secrets = [\"{}\"]\n{}",
            vouched(APP),
            other.hash(),
            vouched(OTHER)
        );
        let relayed = Relayed::with("", &others).await;
        let callers = callers();
        let tokens = vec![None; callers.len()];
        let (tasks, results) = (Vec::new(), Vec::new());
        Self { relayed, logins, other, random: Rng::with_seed(seed), callers, tokens, tasks, results }
    }

    pub(super) fn now(&self) -> Duration {
        self.relayed.stage.clock.unix()
    }

    fn secret(&self, app: &str) -> String {
        let secret = if app == APP { &self.relayed.stage.stack.secret } else { &self.other };
        secret.expose().to_owned()
    }

    /// Something that proves a caller: now a relay token, now the app's secret where that says the same.
    async fn bearer(&mut self, caller: usize) -> String {
        let Caller { app, subject } = self.callers[caller];
        if subject == Subject::Nobody && self.random.bool() {
            return self.secret(app);
        }
        let now = self.now();
        if let Some((at, token)) = &self.tokens[caller]
            && now < *at + SECOND * 20
        {
            return token.clone();
        }
        let asked = self.relayed.stage.request(Method::POST, "/v1/tokens");
        let asked = match subject {
            Subject::Of(issuer, name) => {
                let claims = json!({
                    "iss": ISSUERS[issuer], "aud": app, "sub": name, "iat": now.as_secs(),
                    "exp": now.as_secs() + 60,
                });
                asked.bearer_auth(self.logins[issuer].sign(&claims))
            }
            Subject::Nobody => asked.basic_auth(app, Some(self.secret(app))),
            Subject::Named(name) => {
                asked.basic_auth(app, Some(self.secret(app))).json(&json!({ "subject": name }))
            }
        };
        let token = answered(asked).await.token();
        self.tokens[caller] = Some((now, token.clone()));
        token
    }

    pub(super) async fn request(&mut self, method: Method, path: &str, caller: usize) -> RequestBuilder {
        let bearer = self.bearer(caller).await;
        self.relayed.request(method, path, &bearer)
    }

    /// Sends a request that may wait for the account's query budget.
    pub(super) async fn turned(&self, request: RequestBuilder) -> Answer {
        self.relayed.turned(tokio::spawn(answered(request)), SECOND / 10).await
    }

    /// What was asked of the upstream but for submits.
    pub(super) fn asked(&self) -> [Counts; 4] {
        let operations = [Operation::Query, Operation::List, Operation::Cancel, Operation::Result];
        operations.map(|operation| self.relayed.stage.stack.sandbox.counts(operation))
    }

    /// Lets the poller do all that it may at this time.
    pub(super) async fn settle(&self) {
        promptly(async {
            loop {
                let before = self.asked();
                self.relayed.stage.settled().await;
                let is_answered = before.iter().all(|counts| counts.arrived == counts.answered);
                if is_answered && before == self.asked() {
                    return;
                }
            }
        })
        .await;
    }
}

pub(super) fn ids(list: &Value) -> BTreeSet<String> {
    let tasks = list["data"].as_array().unwrap().iter();
    tasks.map(|task| task["task_id"].as_str().unwrap().to_owned()).collect()
}

/// An answer without the name of its request and without what was asked for.
pub(super) fn masked(answer: &Answer, asked: &str) -> String {
    let id = answer.header("x-request-id").unwrap();
    let headers =
        answer.headers.iter().filter(|(name, _)| !["date", "content-length"].contains(&name.as_str()));
    let mut lines: Vec<String> = headers.map(|(name, value)| format!("{name}: {value:?}")).collect();
    lines.sort_unstable();
    let whole = format!("{}\n{}\n{}", answer.status, lines.join("\n"), answer.text);
    whole.replace(id, "[id]").replace(asked, "[asked]")
}
