//! The relay at several brokers that share a Redis: one record of tasks, one poller.

use std::time::Duration;

use ::redis::{Value, cmd};
use reqwest::{Method, RequestBuilder};
use tokio::task::JoinHandle;
use valet_clock::Clock;
use valet_demo::{APP, StackSettings, recordings::Recordings};
use valet_sandbox::{Fault, Operation};
use valet_server::secret::AppSecret;

use super::{keys, replicas_with};
use crate::{
    harness::{Answer, SECOND, SHARED, UNHURRIED, answered, promptly},
    relayed::{Relayed, code, status},
};

const STEP: Duration = Duration::from_millis(250);

impl Relayed {
    fn request_of(&self, replica: usize, method: Method, path: &str, bearer: &str) -> RequestBuilder {
        self.stage.request_of(replica, method, &format!("/api/v1{path}")).bearer_auth(bearer)
    }

    pub(super) async fn get_of(&self, replica: usize, path: &str, bearer: &str) -> Answer {
        answered(self.request_of(replica, Method::GET, path, bearer)).await
    }

    /// Submits at a replica, under a key if there is one.
    pub(super) fn submitting_at(
        &self,
        replica: usize,
        bearer: &str,
        key: Option<&str>,
        file: &str,
    ) -> JoinHandle<Answer> {
        let path = "/services/audio/asr/transcription";
        let request =
            self.request_of(replica, Method::POST, path, bearer).header("x-dashscope-async", "enable");
        let request = request.json(&self.submission(&[&self.recordings.url(file)]));
        let keyed = |key| request.try_clone().unwrap().header("idempotency-key", key);
        tokio::spawn(answered(key.map_or_else(|| request.try_clone().unwrap(), keyed)))
    }

    pub(super) async fn submit_at(
        &self,
        replica: usize,
        bearer: &str,
        key: Option<&str>,
        file: &str,
    ) -> Answer {
        promptly(self.submitting_at(replica, bearer, key, file)).await.unwrap()
    }

    pub(super) fn submits(&self) -> u64 {
        self.stage.stack.sandbox.count(Operation::Submit)
    }

    fn asked(&self) -> u64 {
        let sandbox = &self.stage.stack.sandbox;
        sandbox.count(Operation::Query) + sandbox.count(Operation::List)
    }

    /// Asks a replica, in the background, to be told once the status of a task changes.
    pub(super) fn waiting_at(&self, replica: usize, task: &str, bearer: &str) -> JoinHandle<Answer> {
        let request = self.request_of(replica, Method::GET, &format!("/tasks/{task}"), bearer);
        tokio::spawn(answered(request.header("prefer", "wait=25")))
    }

    /// Turns the time until a task has a status, as a replica has `told` it or will.
    async fn told(&self, replica: usize, task: &str, expected: &str, told: &Answer) {
        let mut now = status(told);
        while now != expected {
            let bearer = self.token(None).await;
            now = status(&self.turned(self.waiting_at(replica, task, &bearer), STEP).await);
        }
    }

    /// Turns the time until the upstream has been asked once more.
    async fn asks_on(&self) {
        let asked = self.asked();
        let ask = async {
            while self.asked() == asked {
                self.stage.pass(1).await;
            }
        };
        promptly(ask).await;
    }

    /// Waits until some replica polls for all.
    async fn polled(&self) {
        promptly(async { while self.stage.metric("valet_shared_polls_for_all").await != 1 {} }).await;
    }
}

pub(super) async fn recordings() -> Recordings {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../recordings");
    Recordings::serve(&folder).await.unwrap()
}

pub(super) fn handle(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["output"]["task_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_task_is_known_to_every_replica_and_one_of_them_asks_for_all() {
    let relayed = Relayed::of_replicas(3, "").await;
    let sandbox = &relayed.stage.stack.sandbox;
    sandbox.set_task_time(SECOND * 10, SECOND * 20);
    let bearer = relayed.token(None).await;
    let task = handle(&relayed.submit_at(0, &bearer, None, "market.wav").await);
    relayed.polled().await;
    for replica in [1, 2, 0] {
        let list = relayed.get_of(replica, "/tasks/", &bearer).await.json();
        assert_eq!((list["total"].as_u64(), list["data"][0]["task_id"].as_str()), (Some(1), Some(&*task)));
        assert_eq!(list["data"][0]["model_name"], "fun-asr");
        assert_eq!(status(&relayed.get_of(replica, &format!("/tasks/{task}"), &bearer).await), "PENDING");
    }
    // Whoever waits, wherever that is, is told by the one that asks.
    let began = relayed.stage.clock.unix();
    for expected in ["RUNNING", "SUCCEEDED"] {
        let waiting = [0, 1, 2].map(|replica| (replica, relayed.waiting_at(replica, &task, &bearer)));
        for (replica, waiting) in waiting {
            let told = relayed.turned(waiting, STEP).await;
            relayed.told(replica, &task, expected, &told).await;
        }
    }
    let (asked, took) = (relayed.asked(), relayed.stage.clock.unix() - began);
    assert!(Duration::from_secs(asked) <= took, "{asked} queries in {took:?}, as of one that looks");
    let bearer = relayed.token(None).await;
    // Its result is there at any of them, and nobody has to ask for it again.
    for replica in [0, 1, 2] {
        let answer = relayed.get_of(replica, &format!("/tasks/{task}"), &bearer).await.json();
        let url = answer["output"]["results"][0]["transcription_url"].as_str().unwrap().to_owned();
        let path = url.split_once("/api/v1").unwrap().1;
        let result = relayed.get_of(replica, path, &bearer).await;
        assert_eq!(result.status, 200, "{}", result.text);
        let list = relayed.get_of(replica, "/tasks/", &bearer).await.json();
        assert_eq!(list["data"][0]["status"], "SUCCEEDED");
    }
    assert_eq!(relayed.asked(), asked);
    relayed.stage.stop().await;
}

/// Once it was refused, it asks in intervals of no whole number of microseconds: what is due by then is due.
#[tokio::test]
async fn a_refusal_slows_whoever_polls_down_and_stops_nobody() {
    let relayed = Relayed::of_replicas(2, "").await;
    let sandbox = &relayed.stage.stack.sandbox;
    sandbox.set_task_time(SECOND * 2, SECOND * 4);
    let bearer = relayed.token(None).await;
    let task = handle(&relayed.submit_at(0, &bearer, None, "market.wav").await);
    relayed.polled().await;
    sandbox.script(Fault::on(Operation::Query).refuse(429, "Throttling.RateQuota", "too many"));
    let told = relayed.turned(relayed.waiting_at(1, &task, &bearer), STEP).await;
    relayed.told(1, &task, "SUCCEEDED", &told).await;
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_task_is_cancelled_at_another_replica() {
    let relayed = Relayed::of_replicas(2, "").await;
    relayed.stage.stack.sandbox.set_task_time(SECOND * 100, SECOND);
    let bearer = relayed.token(None).await;
    let task = handle(&relayed.submit_at(0, &bearer, None, "market.wav").await);
    relayed.polled().await;
    let cancelled =
        answered(relayed.request_of(1, Method::POST, &format!("/tasks/{task}/cancel"), &bearer)).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    for replica in [0, 1] {
        assert_eq!(status(&relayed.get_of(replica, &format!("/tasks/{task}"), &bearer).await), "CANCELED");
        let list = relayed.get_of(replica, "/tasks/", &bearer).await.json();
        assert_eq!(list["data"][0]["status"], "CANCELED");
    }
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_replica_that_has_lost_its_lease_stops_and_another_takes_over_within_it() {
    let relayed = Relayed::of_replicas(2, "").await;
    relayed.stage.stack.sandbox.set_task_time(SECOND * 60, SECOND);
    let bearer = relayed.token(None).await;
    let task = handle(&relayed.submit_at(0, &bearer, None, "market.wav").await);
    relayed.polled().await;
    // Somebody waits at each: whoever polls asks again and again.
    let waiting = [0, 1].map(|replica| relayed.waiting_at(replica, &task, &bearer));
    relayed.seated(2).await;
    relayed.asks_on().await;
    // As if it had been paused, and another had the lease by now.
    let lease = keys(&relayed.stage, "valet:poll:*:lease").remove(0);
    relayed.stage.run(cmd("SET").arg(&lease).arg("1").arg("PX").arg(4500));
    relayed.stage.pass(1).await;
    promptly(async { while relayed.stage.metric("valet_shared_polls_for_all").await != 0 {} }).await;
    let asked = relayed.asked();
    relayed.stage.pass(3).await;
    assert_eq!(relayed.asked(), asked, "nobody asks who has no lease");
    // That one is gone, and its lease with it.
    relayed.stage.pass(2).await;
    relayed.polled().await;
    relayed.asks_on().await;
    for waiting in waiting {
        assert_eq!(status(&relayed.turned(waiting, STEP).await), "PENDING");
    }
    relayed.stage.stop().await;
}

/// The most requests that reached the sandbox within a second, of those that count against the account's limit.
fn busiest_second(relayed: &Relayed) -> usize {
    let counts = |operation| matches!(operation, Operation::Query | Operation::List | Operation::Cancel);
    let journal = relayed.stage.stack.sandbox.journal();
    let at: Vec<_> = journal.iter().filter(|entry| counts(entry.operation)).map(|entry| entry.at).collect();
    let within = |(place, first): (usize, &std::time::Instant)| {
        at[place..].iter().take_while(|at| **at < *first + SECOND).count()
    };
    at.iter().enumerate().map(within).max().unwrap_or(0)
}

#[tokio::test]
async fn without_the_redis_each_replica_polls_for_its_own_callers_within_the_limit_and_rejoins() {
    let mut relayed = Relayed::of_replicas(2, "").await;
    relayed.stage.stack.sandbox.set_task_time(Duration::ZERO, SECOND * 40);
    let bearer = relayed.token(None).await;
    let mut tasks = Vec::new();
    for number in 0..30 {
        let file = format!("market.wav?{number}");
        tasks.push(handle(&relayed.submit_at(number % 2, &bearer, None, &file).await));
    }
    relayed.polled().await;
    let token = async |relayed: &Relayed| relayed.stage.ask_of(0).await.token();
    let waits = |relayed: &Relayed, bearer: &str| {
        let waiting: Vec<_> = (0..30)
            .map(|number| {
                // Not where it was submitted.
                let path = format!("/tasks/{}", tasks[number]);
                let request = relayed.request_of((number + 1) % 2, Method::GET, &path, bearer);
                tokio::spawn(answered(request.header("prefer", "wait=20")))
            })
            .collect();
        waiting
    };
    let bearer = token(&relayed).await;
    let before = waits(&relayed, &bearer);
    for _ in 0..8 {
        relayed.stage.clock.advance(STEP);
        relayed.stage.page("/healthz").await;
    }
    relayed.stage.redis().kill();
    relayed.stage.joined(0).await;
    for waiting in before {
        assert_eq!(relayed.turned(waiting, STEP).await.status, 200);
    }
    // A task that the others cannot know of yet.
    let bearer = token(&relayed).await;
    let alone = handle(&relayed.submit_at(0, &bearer, Some("k"), "silence.wav").await);
    assert_eq!(relayed.get_of(1, "/tasks/", &bearer).await.json()["total"], 30);
    relayed.stage.redis().restart();
    relayed.stage.rejoined(2).await;
    for _ in 0..20 {
        relayed.stage.clock.advance(STEP * 2);
        relayed.stage.page("/healthz").await;
    }
    relayed.polled().await;
    let bearer = token(&relayed).await;
    for waiting in waits(&relayed, &bearer) {
        let answer = relayed.turned(waiting, STEP).await;
        assert!(["RUNNING", "SUCCEEDED"].contains(&&*status(&answer)), "{}", answer.text);
    }
    let list = relayed.get_of(1, "/tasks/?page_size=100", &bearer).await.json();
    assert_eq!(list["total"], 31, "they are at one again");
    assert_eq!(handle(&relayed.submit_at(1, &bearer, Some("k"), "silence.wav").await), alone);
    assert!(busiest_second(&relayed) <= 20, "{} in a second", busiest_second(&relayed));
    relayed.stage.stop().await;
}

#[tokio::test]
async fn seconds_of_audio_are_counted_by_all_replicas_together() {
    let more = "audio_seconds_per_day = 300\nseconds_per_file = 100";
    let relayed = Relayed::of_replicas(3, more).await;
    relayed.stage.stack.sandbox.set_task_time(Duration::ZERO, SECOND * 5);
    let bearer = relayed.token(None).await;
    // A refusal of the upstream's gives back what was set aside.
    relayed.stage.stack.sandbox.script(Fault::on(Operation::Submit).refuse(400, "InvalidParameter", "No."));
    assert_eq!(relayed.submit_at(0, &bearer, None, "market.wav").await.status, 400);
    let mut tasks = Vec::new();
    for replica in [0, 0, 1] {
        let file = format!("market.wav?{}", tasks.len());
        tasks.push(handle(&relayed.submit_at(replica, &bearer, None, &file).await));
    }
    for replica in [0, 1, 2] {
        let refused = relayed.submit_at(replica, &bearer, None, "silence.wav").await;
        assert_eq!(code(&refused).0, 429, "{}", refused.text);
    }
    // What they used instead of what was set aside is known to all once they have ended, and once.
    for task in &tasks {
        let bearer = relayed.token(None).await;
        let told = relayed.turned(relayed.waiting_at(2, task, &bearer), STEP).await;
        relayed.told(2, task, "SUCCEEDED", &told).await;
    }
    let used = || {
        let key = keys(&relayed.stage, "valet:audio:*").remove(0);
        match relayed.stage.run(cmd("HGET").arg(key).arg("used")) {
            Value::BulkString(used) => String::from_utf8(used).unwrap().parse::<u64>().unwrap(),
            other => panic!("{other:?}"),
        }
    };
    promptly(async {
        while used() >= 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let each = used() / 3;
    assert!(each > 0 && used() == each * 3, "{}", used());
    // Everything is lost: it is counted again of what the replicas know of tasks.
    relayed.stage.run(&cmd("FLUSHALL"));
    for _ in 0..6 {
        relayed.stage.clock.advance(SECOND);
        relayed.stage.page("/healthz").await;
    }
    promptly(async { while keys(&relayed.stage, "valet:audio:*").is_empty() {} }).await;
    assert_eq!(used(), each * 3);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn an_operator_can_have_refused_what_one_replica_alone_would_know() {
    let more = "tasks = \"refuse\"\npolling = \"refuse\"\n";
    let mut relayed = Relayed::of_replicas_with(2, "", &format!("[shared.without]\n{more}")).await;
    let bearer = relayed.token(None).await;
    relayed.stage.stack.sandbox.set_task_time(SECOND * 60, SECOND);
    let task = handle(&relayed.submit_at(0, &bearer, None, "market.wav").await);
    relayed.polled().await;
    // Somebody waits at each: whoever may poll asks again and again.
    let waiting = [0, 1].map(|replica| relayed.waiting_at(replica, &task, &bearer));
    relayed.seated(2).await;
    relayed.asks_on().await;
    relayed.stage.redis().kill();
    relayed.stage.joined(0).await;
    let keyed = relayed.submit_at(0, &bearer, Some("k"), "market.wav").await;
    assert_eq!(keyed.status, 503, "{}", keyed.text);
    assert_eq!(relayed.get_of(1, "/tasks/", &bearer).await.status, 503);
    handle(&relayed.submit_at(0, &bearer, None, "silence.wav").await);
    let asked = relayed.asked();
    for _ in 0..8 {
        relayed.stage.clock.advance(SECOND);
        relayed.stage.page("/healthz").await;
    }
    assert_eq!(relayed.asked(), asked, "nobody polls");
    let known = relayed.get_of(0, &format!("/tasks/{task}"), &bearer).await;
    assert_eq!(known.status, 200, "{}", known.text);
    for waiting in waiting {
        assert_eq!(status(&relayed.turned(waiting, STEP).await), "PENDING");
    }
    relayed.stage.stop().await;
}

#[tokio::test]
async fn two_upstreams_of_one_account_have_a_poller_each_and_one_limit() {
    let state = tempfile::tempdir().unwrap();
    let relay = Some(state.path().to_owned());
    let settings = StackSettings {
        app: UNHURRIED.into(),
        relay,
        upstream: SHARED.into(),
        follow: true,
        ..StackSettings::default()
    };
    let stage = replicas_with(2, settings, "").await;
    let (config, secret) = (&stage.stack.config, AppSecret::generate());
    let upstream = config.split_once("[upstreams.sandbox]").unwrap().1.split("\n[").next().unwrap();
    let more = format!(
        "\n[upstreams.second]{upstream}\naccount = \"sandbox\"\n\
         [apps.other]\nmode = \"relay\"\nupstream = \"second\"\nsecrets = [\"{}\"]\n{UNHURRIED}\n",
        secret.hash()
    );
    let config = config.replace(&format!("[apps.{APP}]"), &format!("[apps.{APP}]\nupstream = \"sandbox\""));
    stage.stack.reconfigure(&format!("{config}{more}"), true).unwrap();
    stage.metric_is("valet_config_reloads_total", 4).await;
    let relayed = Relayed { stage, recordings: recordings().await, state };
    relayed.stage.stack.sandbox.set_task_time(Duration::ZERO, SECOND * 10);
    let (one, two) = (relayed.stage.stack.secret.expose().to_owned(), secret.expose().to_owned());
    let mut tasks = Vec::new();
    for number in 0..20 {
        let (bearer, file) = (if number % 2 == 0 { &one } else { &two }, format!("market.wav?{number}"));
        tasks.push((bearer, handle(&relayed.submit_at(number % 2, bearer, None, &file).await)));
    }
    for (bearer, task) in &tasks {
        let mut now = String::new();
        while now != "SUCCEEDED" {
            now = status(&relayed.turned(relayed.waiting_at(0, task, bearer), STEP).await);
        }
    }
    assert_eq!(relayed.stage.metric("valet_shared_polls_for_all").await, 2);
    assert!(busiest_second(&relayed) <= 20, "{} in a second", busiest_second(&relayed));
    relayed.stage.stop().await;
}
