//! The relay at several brokers that share a Redis: one record of tasks, one poller.

use std::time::Duration;

use ::redis::{Value, cmd};
use reqwest::{Method, RequestBuilder};
use tokio::task::JoinHandle;
use valet_clock::Clock;
use valet_sandbox::{Fault, Operation};

use super::keys;
use crate::{
    harness::{Answer, SECOND, answered, promptly},
    relayed::{Relayed, code, status},
};

const STEP: Duration = Duration::from_millis(250);

impl Relayed {
    pub(super) fn request_of(
        &self,
        replica: usize,
        method: Method,
        path: &str,
        bearer: &str,
    ) -> RequestBuilder {
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

    pub(super) fn asked(&self) -> u64 {
        let sandbox = &self.stage.stack.sandbox;
        sandbox.count(Operation::Query) + sandbox.count(Operation::List)
    }

    /// Asks a replica, in the background, to be told once the status of a task changes.
    pub(super) fn waiting_at(&self, replica: usize, task: &str, bearer: &str) -> JoinHandle<Answer> {
        let request = self.request_of(replica, Method::GET, &format!("/tasks/{task}"), bearer);
        tokio::spawn(answered(request.header("prefer", "wait=25")))
    }

    /// Turns the time until a task has a status, as a replica has `told` it or will.
    pub(super) async fn told(&self, replica: usize, task: &str, expected: &str, told: &Answer) {
        let mut now = status(told);
        while now != expected {
            let bearer = self.token(None).await;
            now = status(&self.turned(self.waiting_at(replica, task, &bearer), STEP).await);
        }
    }

    /// Turns the time until the upstream has been asked once more.
    pub(super) async fn asks_on(&self) {
        let asked = self.asked();
        let ask = async {
            while self.asked() == asked {
                self.stage.pass(1).await;
            }
        };
        promptly(ask).await;
    }

    /// Waits until some replica polls for all.
    pub(super) async fn polled(&self) {
        promptly(async { while self.stage.metric("valet_shared_polls_for_all").await != 1 {} }).await;
    }
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
    promptly(async {
        while keys(&relayed.stage, "valet:audio:*").is_empty() {
            relayed.stage.page("/healthz").await;
        }
    })
    .await;
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
