use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use valet_clock::{Clock, ClockExt, SystemClock};
use valet_sandbox::{Fault, Operation};
use valet_server::secret::AppSecret;

use crate::{
    WHILE,
    cluster::{Cluster, Replica, until},
};

const POLLS: &str = "valet_shared_polls_for_all{upstream=\"sandbox\"}";

/// So many jobs that not each can be looked at when its time has come: one poller alone has no query left.
const JOBS: usize = 80;
/// The queries that an account may be asked in a second. Whoever polls asks one less; what was drawn before a pause and
/// is sent after it makes up for that.
const LIMIT: usize = 20;
/// So many of the second before may arrive late on a busy machine. Two that poll at once would ask 38.
const LATE: usize = 10;
/// So many arrive in some second, even there, if all that may be asked is.
const DEMANDED: usize = 16;

/// A client of the relay, which goes to the next replica when one is gone or does not answer.
#[derive(Clone)]
struct Caller {
    http: Client,
    secret: Arc<AppSecret>,
    replicas: Arc<[SocketAddr]>,
    recording: String,
    /// How many submits were answered.
    submitted: Arc<AtomicUsize>,
}

impl Caller {
    async fn of(cluster: &Cluster) -> Self {
        let replicas = cluster.replicas.iter().map(Replica::address).collect();
        let recording = recordings().await;
        Self {
            http: cluster.http.clone(),
            secret: cluster.secret.clone(),
            replicas,
            recording,
            submitted: Arc::default(),
        }
    }

    fn request(&self, replica: usize, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}/api/v1{path}", self.replicas[replica % self.replicas.len()]);
        self.http.request(method, url).bearer_auth(self.secret.expose())
    }

    fn submit(&self, replica: usize, key: &str) -> RequestBuilder {
        let body =
            json!({ "model": "fun-asr", "input": { "file_urls": [format!("{}?{key}", self.recording)] } });
        let request = self.request(replica, Method::POST, "/services/audio/asr/transcription");
        request.header("x-dashscope-async", "enable").header("idempotency-key", key).json(&body)
    }

    /// Submits, and waits to the task's end. Whatever replica it is, it is asked again until it answers.
    async fn job(self, number: usize) -> String {
        let key = format!("job-{number}");
        let (mut place, mut task) = (number, None);
        loop {
            place += 1;
            let request = match &task {
                None => self.submit(place, &key),
                Some(task) => {
                    let request = self.request(place, Method::GET, &format!("/tasks/{task}"));
                    request.header("prefer", "wait=2")
                }
            };
            let Some(answer) = answered(request).await else { continue };
            let output = &answer["output"];
            match output["task_status"].as_str() {
                Some("PENDING" | "RUNNING") => {
                    self.submitted.fetch_add(usize::from(task.is_none()), Relaxed);
                    task = output["task_id"].as_str().map(str::to_owned);
                }
                Some("SUCCEEDED") => return task.unwrap(),
                // Nobody could look just now, or whoever submits may have died.
                _ => {
                    assert!(answer["code"] != "SubmitOutcomeUnknown", "{answer}");
                    SystemClock.sleep(WHILE / 20).await;
                }
            }
        }
    }
}

/// An answer; none if there is none within a while.
async fn answered(request: RequestBuilder) -> Option<Value> {
    let asked = async { request.send().await.ok()?.json().await.ok() };
    SystemClock.timeout(WHILE * 5, asked).await.ok()?
}

/// Serves a recording; its URL.
async fn recordings() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recordings/market.wav");
    let bytes = std::fs::read(path).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/market.wav", listener.local_addr().unwrap());
    let routes = Router::new().route("/market.wav", get(move || async move { bytes }));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    url
}

impl Cluster {
    /// The replica that polls.
    async fn poller(&self, among: &[usize]) -> usize {
        let mut found = None;
        until(async || {
            for replica in among {
                if self.metric(*replica, POLLS).await == 1 {
                    found = Some(*replica);
                }
            }
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// The most queries that reached the account within a second, from a moment on.
    fn busiest_second(&self, from: Instant) -> usize {
        let counts = |operation| matches!(operation, Operation::Query | Operation::List | Operation::Cancel);
        let journal = self.sandbox.journal();
        let queries = journal.iter().filter(|entry| counts(entry.operation) && entry.at >= from);
        let at: Vec<_> = queries.map(|entry| entry.at).collect();
        let within = |place: usize| at[place..].iter().take_while(|time| **time < at[place] + WHILE).count();
        (0..at.len()).map(within).max().unwrap_or(0)
    }

    /// Whoever has taken over asks as often as it may, and never did all ask more often than that.
    fn keeps_to_the_limit(&self, began: Instant, taken_over: Instant) {
        let (asked, most) = (self.busiest_second(taken_over), self.busiest_second(began));
        assert!(asked >= DEMANDED, "{asked} in a second: these jobs do not demand all that there is");
        assert!(most <= LIMIT + LATE, "{most} in a second");
    }

    fn submits(&self) -> u64 {
        self.sandbox.count(Operation::Submit)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_polls_is_killed_under_load_and_no_job_is_lost() {
    let mut cluster = Cluster::with_relay(3).await;
    cluster.sandbox.set_task_time(WHILE, WHILE * 8);
    let (caller, began) = (Caller::of(&cluster).await, SystemClock.now());
    let mut jobs: JoinSet<_> = (0..JOBS).map(|number| caller.clone().job(number)).collect();
    let poller = cluster.poller(&[0, 1, 2]).await;
    // Many wait.
    until(async || caller.submitted.load(Relaxed) == JOBS).await;
    SystemClock.sleep(WHILE / 2).await;
    cluster.replicas[poller].kill();
    let others: Vec<_> = [0, 1, 2].into_iter().filter(|replica| *replica != poller).collect();
    cluster.poller(&others).await;
    let taken_over = SystemClock.now();
    let mut tasks = std::collections::BTreeSet::new();
    while let Some(task) = jobs.join_next().await {
        tasks.insert(task.unwrap());
    }
    assert_eq!((tasks.len(), cluster.submits()), (JOBS, JOBS as u64));
    cluster.keeps_to_the_limit(began, taken_over);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_polls_is_paused_beyond_its_lease_and_stops_when_it_goes_on() {
    let cluster = Cluster::with_relay(2).await;
    cluster.sandbox.set_task_time(Duration::ZERO, WHILE * 10);
    let (caller, began) = (Caller::of(&cluster).await, SystemClock.now());
    let mut jobs: JoinSet<_> = (0..JOBS).map(|number| caller.clone().job(number)).collect();
    let poller = cluster.poller(&[0, 1]).await;
    until(async || caller.submitted.load(Relaxed) == JOBS).await;
    // While it waits for an answer of the Redis's, which may seem to be away when it goes on.
    cluster.redis.pause();
    SystemClock.sleep(WHILE / 10).await;
    cluster.replicas[poller].pause();
    cluster.redis.resume();
    let other = cluster.poller(&[1 - poller]).await;
    cluster.replicas[poller].resume();
    let gone_on = SystemClock.now();
    until(async || cluster.metric(poller, POLLS).await == 0).await;
    assert_eq!(cluster.metric(other, POLLS).await, 1, "it is the other's turn still");
    while let Some(task) = jobs.join_next().await {
        task.unwrap();
    }
    assert_eq!(cluster.submits(), JOBS as u64);
    cluster.keeps_to_the_limit(began, gone_on);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_while_it_submits_leaves_an_outcome_that_nobody_knows() {
    let mut cluster = Cluster::with_relay(2).await;
    let caller = Caller::of(&cluster).await;
    cluster.sandbox.script(Fault::on(Operation::Submit).delay(WHILE * 60));
    let lost = tokio::spawn(answered(caller.submit(0, "k")));
    cluster.sandbox.wait_for(Operation::Submit, 1).await;
    cluster.replicas[0].kill();
    lost.await.unwrap();
    let answer = caller.submit(1, "k").send().await.unwrap();
    assert_eq!(answer.status(), 409);
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "SubmitOutcomeUnknown");
    assert_eq!(cluster.submits(), 1);
    let next = answered(caller.submit(1, "l")).await.unwrap();
    assert_eq!(next["output"]["task_status"], "PENDING", "{next}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_other_keys_of_the_relay_does_not_start() {
    let cluster = Cluster::with_relay(1).await;
    let log = cluster.stranger();
    assert!(log.contains("are not those of the replicas") && log.contains("copy keys.json"), "{log}");
    // Those that run are not stopped by it.
    let listed = answered(Caller::of(&cluster).await.request(0, Method::GET, "/tasks/")).await.unwrap();
    assert_eq!(listed["total"], 0);
}
