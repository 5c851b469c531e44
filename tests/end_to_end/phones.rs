//! The guide for phone apps: its HTTP exchanges, replayed as they stand there.

use std::{collections::BTreeMap, path::Path};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use valet_clock::Clock;
use valet_demo::{APP, StackSettings, recordings::Recordings};
use valet_server::config::{Config, Environment};

use crate::{
    harness::{Answer, SECOND, Stage, UNHURRIED, answered},
    jose::Signer,
};

const GUIDE: &str = include_str!("../../docs/phones.md");
const LOGIN: &str = "https://login.example.com";
/// Fields whose values are another each time: of them the guide has examples. How many files of a task that runs are
/// done by then is one of them.
const EXAMPLES: [&str; 9] = [
    "SUCCEEDED",
    "token",
    "expires_at",
    "task_id",
    "request_id",
    "submit_time",
    "scheduled_time",
    "end_time",
    "duration",
];

/// A request and its answer, as the guide has them.
struct Exchange {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    status: u16,
    answered: Vec<(String, String)>,
    answer: String,
}

/// The blocks of a language in a page of Markdown.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let begin = format!("```{language}\n");
    page.split(&begin).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

/// A head and a body; the head's first line apart.
fn message(text: &str) -> (&str, Vec<(String, String)>, &str) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let (first, headers) = head.split_once('\n').unwrap_or((head, ""));
    let pairs = headers.lines().map(|line| line.split_once(": ").unwrap());
    (first, pairs.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(), body.trim())
}

impl Exchange {
    fn read(block: &str) -> Self {
        let (request, answer) = block.split_once("\n\nHTTP/1.1 ").unwrap();
        let (line, headers, body) = message(request);
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        assert_eq!(words.next(), Some("HTTP/1.1"), "{line}");
        let (status, answered, answer) = message(answer);
        Self {
            method: method.parse().unwrap(),
            path: path.to_owned(),
            headers,
            body: body.to_owned(),
            status: status.split(' ').next().unwrap().parse().unwrap(),
            answered,
            answer: answer.to_owned(),
        }
    }
}

/// A stage whose users sign in, and what the guide's names stand for in it.
struct Phone {
    stage: Stage,
    names: BTreeMap<String, String>,
    login: Signer,
    _state: TempDir,
}

impl Phone {
    async fn new(results: &str) -> Self {
        let (login, state) = (Signer::es256("login"), TempDir::new().unwrap());
        // As the guide's, but for its recordings: those of this machine have no host that could be named.
        let app = format!(
            "{UNHURRIED}\nresults = \"{results}\"\n[[apps.{APP}.subject_tokens]]\nissuer = \"{LOGIN}\"\n\
             audience = \"phone\"\nsingle_tenant = true\njwks = {{ keys = [{}] }}",
            login.toml()
        );
        let relay = Some(state.path().to_owned());
        let stage = Stage::with(StackSettings { app, relay, ..StackSettings::default() }).await;
        stage.stack.sandbox.set_task_time(SECOND * 2, SECOND * 20);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recordings");
        let recordings = Recordings::serve(&folder).await.unwrap();
        let names = [
            ("https://valet.example.com", stage.stack.broker_url.clone()),
            ("https://files.example.com/memo.wav", recordings.url("market.wav")),
        ];
        let names = names.map(|(name, meant)| (name.to_owned(), meant)).into();
        let mut phone = Self { stage, names, login, _state: state };
        let id_token = phone.id_token();
        phone.names.insert("ID_TOKEN".into(), id_token);
        phone
    }

    fn id_token(&self) -> String {
        let exp = self.stage.clock.unix().as_secs() + 600;
        self.login.sign(&json!({ "iss": LOGIN, "aud": "phone", "sub": "alice", "exp": exp }))
    }

    /// A text of the guide with what its names stand for.
    fn meant(&self, text: &str) -> String {
        // A longer name may hold a shorter one.
        let mut names: Vec<_> = self.names.iter().collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        names.iter().fold(text.to_owned(), |text, (name, meant)| text.replace(*name, meant))
    }

    async fn ask(&self, exchange: &Exchange) -> Answer {
        let mut request = self.stage.request(exchange.method.clone(), &self.meant(&exchange.path));
        for (name, value) in exchange.headers.iter().filter(|(name, _)| name != "host") {
            request = request.header(name, self.meant(value));
        }
        let asking = tokio::spawn(answered(request.body(self.meant(&exchange.body))));
        while !asking.is_finished() {
            // While one exchange takes place on this thread, so does the other.
            self.stage.page("/healthz").await;
            self.stage.clock.advance(SECOND / 4);
        }
        asking.await.unwrap()
    }

    /// Asks as the guide does, and holds what is answered to be what it says.
    async fn replay(&mut self, exchange: &Exchange) {
        let about = format!("{} {}", exchange.method, exchange.path);
        let documented: Option<Value> =
            (!exchange.answer.is_empty()).then(|| serde_json::from_str(&exchange.answer).unwrap());
        let status_of = |document: &Value| document["output"]["task_status"].clone();
        let mut answer = self.ask(exchange).await;
        // A wait is asked again until there is that news.
        for _ in 0..20 {
            if documented.as_ref().is_none_or(|said| status_of(said) == status_of(&answer.json())) {
                break;
            }
            answer = self.ask(exchange).await;
        }
        assert_eq!(answer.status, exchange.status, "{about}: {}", answer.text);
        for (name, value) in &exchange.answered {
            assert_eq!(answer.header(name), Some(value.as_str()), "{name} of {about}");
        }
        if let Some(documented) = documented {
            self.agree(&documented, &answer.json(), &about);
        }
    }

    /// Holds a documented value and what was answered to be the same, and learns what examples stand for.
    fn agree(&mut self, documented: &Value, actual: &Value, at: &str) {
        match (documented, actual) {
            (Value::Object(said), Value::Object(found)) => {
                let names =
                    |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
                let (mut ours, mut theirs) = (names(said), names(found));
                ours.sort();
                theirs.sort();
                assert_eq!(ours, theirs, "{at}");
                for (name, value) in said {
                    self.agree(value, &found[name], name);
                }
            }
            (Value::Array(said), Value::Array(found)) => {
                assert_eq!(said.len(), found.len(), "{at}");
                said.iter().zip(found).for_each(|(said, found)| self.agree(said, found, at));
            }
            (Value::String(said), Value::String(found)) if at == "transcription_url" => {
                let (said, handle) = said.rsplit_once('/').unwrap();
                let (found, meant) = found.rsplit_once('/').unwrap();
                assert_eq!(self.meant(said), found, "{at}");
                self.names.insert(handle.to_owned(), meant.to_owned());
            }
            (Value::String(said), Value::String(found)) if EXAMPLES.contains(&at) => {
                self.names.insert(said.clone(), found.clone());
            }
            (Value::Number(_), Value::Number(_)) if EXAMPLES.contains(&at) => {}
            (Value::String(said), Value::String(found)) => assert_eq!(&self.meant(said), found, "{at}"),
            (said, found) => assert_eq!(said, found, "{at}"),
        }
    }
}

#[tokio::test]
async fn the_exchanges_of_the_guide_take_place_as_they_stand_there() {
    let (own, vendors) = GUIDE.split_once("## The vendor's SDKs").unwrap();
    let exchanges: Vec<_> = blocks(own, "http").into_iter().map(Exchange::read).collect();
    assert_eq!(exchanges.len(), 6);
    let mut phone = Phone::new("bearer").await;
    for exchange in &exchanges {
        if exchange.headers.iter().any(|(_, value)| value.contains("EXPIRED_TOKEN")) {
            phone.stage.clock.advance(SECOND * 61);
            let ended = phone.names["RELAY_TOKEN"].clone();
            phone.names.insert("EXPIRED_TOKEN".into(), ended);
        }
        phone.replay(exchange).await;
    }
    let (submit, wait, result) = (&exchanges[1], &exchanges[3], &exchanges[4]);
    // Sent again by the same key, as after a lost answer, the task is the same.
    let id_token = phone.id_token();
    phone.names.insert("ID_TOKEN".into(), id_token);
    phone.replay(&exchanges[0]).await;
    let before = phone.names["TASK_HANDLE"].clone();
    phone.replay(submit).await;
    assert_eq!(phone.names["TASK_HANDLE"], before);
    phone.replay(wait).await;
    let transcript = phone.ask(result).await.json();
    assert!(transcript["transcripts"][0]["sentences"][0]["begin_time"].is_u64(), "{transcript}");
    // As a vendor's SDK asks: the result without a token, which this app does not allow.
    let vendors: Vec<_> = blocks(vendors, "http").into_iter().map(Exchange::read).collect();
    assert_eq!(phone.ask(&vendors[1]).await.status, 401);
    phone.stage.stop().await;

    let mut phone = Phone::new("capability").await;
    for exchange in exchanges[..4].iter().chain(&vendors) {
        phone.replay(exchange).await;
    }
    phone.stage.stop().await;
}

#[test]
fn the_configuration_of_the_guide_is_one() {
    let state = TempDir::new().unwrap();
    let text = format!(
        "public_url = \"https://valet.example.com\"\n[relay]\nstate = {:?}\n[upstreams.beijing]\n\
         base_url = \"https://dashscope.aliyuncs.com/api/v1\"\nkeys = [{{ env = \"KEY\" }}]\n{}",
        state.path(),
        blocks(GUIDE, "toml")[0]
    );
    let environment: Environment = [("KEY", "sk-1")].into_iter().collect();
    let config = Config::read(&text, &environment).unwrap();
    assert!(config.apps[0].results_need_bearer, "a public app's results are for their owner alone");
}

#[test]
fn both_programs_do_what_the_exchanges_do() {
    let [swift, kotlin] = ["swift", "kotlin"].map(|language| blocks(GUIDE, language)[0]);
    for program in [swift, kotlin] {
        for word in [
            "v1/tokens",
            "services/audio/asr/transcription",
            "tasks/$id",
            "\"Authorization\"",
            "\"X-DashScope-Async\"",
            "\"enable\"",
            "\"Idempotency-Key\"",
            "\"Prefer\"",
            "\"wait=30\"",
            "\"Retry-After\"",
            "\"expires_in\"",
            "\"base_url\"",
            "\"transcription_url\"",
            "\"UNKNOWN\"",
        ] {
            let program = program.replace("tasks/\\(id)", "tasks/$id");
            assert!(program.contains(word), "{word} is missing: {program}");
        }
        assert!(!program.contains("UUID"), "a call that is made again keeps its key: {program}");
    }
}
