use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
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

/// How long exchanges take that nothing but the machine holds up: as late may arrive what a replica sends.
struct Exchanges(Vec<Exchanging>);

/// Those with one replica, one after another.
struct Exchanging {
    running: JoinHandle<()>,
    made: Arc<Mutex<Vec<Exchange>>>,
}

/// When it began, and when it ended, if it has.
type Exchange = (Instant, Option<Instant>);

impl Exchanges {
    /// That replica is killed now, or held up on purpose.
    fn leave_out(&self, replica: usize) {
        let Exchanging { running, made } = &self.0[replica];
        running.abort();
        made.lock().unwrap().retain(|(_, ended)| ended.is_some());
    }

    /// The longest of those that were under way within a second from then on.
    fn longest(&self, from: Instant) -> Duration {
        let now = SystemClock.now();
        let longest = |exchanges: &[Exchange]| {
            let ended = exchanges.iter().map(|(began, ended)| (*began, ended.unwrap_or(now)));
            let during = ended.filter(|(began, ended)| *ended > from && *began < from + WHILE);
            during.map(|(began, ended)| ended - began).max().unwrap_or_default()
        };
        self.0.iter().map(|replica| longest(&replica.made.lock().unwrap())).max().unwrap_or_default()
    }
}

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
            // Another replica is to be asked soon, but not what became of a submit that is on its way here.
            let patience = WHILE * if task.is_none() { 30 } else { 5 };
            let Some(answer) = answered_within(patience, request).await else { continue };
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

/// An answer; none if there is none in time.
async fn answered_within(patience: Duration, request: RequestBuilder) -> Option<Value> {
    let asked = async { request.send().await.ok()?.json().await.ok() };
    SystemClock.timeout(patience, asked).await.ok()?
}

/// An answer; none if whoever was asked is gone.
async fn answered(request: RequestBuilder) -> Option<Value> {
    answered_within(WHILE * 30, request).await
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

    /// When queries reached the account, from a moment on.
    fn queries(&self, from: Instant) -> Vec<Instant> {
        let counts = |operation| matches!(operation, Operation::Query | Operation::List | Operation::Cancel);
        let journal = self.sandbox.journal();
        let queries = journal.iter().filter(|entry| counts(entry.operation) && entry.at >= from);
        queries.map(|entry| entry.at).collect()
    }

    /// Whoever has taken over asks as often as it may, and never did all ask more often than that.
    fn keeps_to_the_limit(&self, began: Instant, taken_over: Instant, exchanges: &Exchanges) {
        let within = |at: &[Instant]| at.iter().take_while(|time| **time < at[0] + WHILE).count();
        let (at, after) = (self.queries(began), self.queries(taken_over));
        let asked = (0..after.len()).map(|place| within(&after[place..])).max().unwrap_or(0);
        assert!(asked >= DEMANDED, "{asked} in a second: these jobs do not demand all that there is");
        for place in 0..at.len() {
            let (asked, late) = (within(&at[place..]), exchanges.longest(at[place]));
            // What was drawn before that second and held up by the machine until then.
            let held_up = LIMIT * usize::try_from(late.as_millis()).unwrap() / 1000;
            let after = at[place..place + asked].iter().map(|time| (*time - at[place]).as_millis());
            assert!(
                asked <= LIMIT + LATE + held_up,
                "{asked} in a second, in which exchanges took up to {late:?}: at {:?} ms",
                after.collect::<Vec<_>>()
            );
        }
    }

    /// Exchanges with these replicas, one after another.
    fn exchanges(&self) -> Exchanges {
        let exchanging = self.replicas.iter().map(|replica| {
            let url = format!("http://{}/healthz", replica.address());
            let (http, made) = (self.http.clone(), Arc::<Mutex<Vec<Exchange>>>::default());
            let noted = made.clone();
            let running = tokio::spawn(async move {
                loop {
                    noted.lock().unwrap().push((SystemClock.now(), None));
                    // One that fails took its time as well.
                    let _ = http.get(&url).send().await;
                    noted.lock().unwrap().last_mut().unwrap().1 = Some(SystemClock.now());
                    SystemClock.sleep(WHILE / 50).await;
                }
            });
            Exchanging { running, made }
        });
        Exchanges(exchanging.collect())
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
    let exchanges = cluster.exchanges();
    let mut jobs: JoinSet<_> = (0..JOBS).map(|number| caller.clone().job(number)).collect();
    let poller = cluster.poller(&[0, 1, 2]).await;
    // Many wait.
    until(async || caller.submitted.load(Relaxed) == JOBS).await;
    SystemClock.sleep(WHILE / 2).await;
    exchanges.leave_out(poller);
    cluster.replicas[poller].kill();
    let others: Vec<_> = [0, 1, 2].into_iter().filter(|replica| *replica != poller).collect();
    cluster.poller(&others).await;
    let taken_over = SystemClock.now();
    let mut tasks = std::collections::BTreeSet::new();
    while let Some(task) = jobs.join_next().await {
        tasks.insert(task.unwrap());
    }
    assert_eq!((tasks.len(), cluster.submits()), (JOBS, JOBS as u64));
    cluster.keeps_to_the_limit(began, taken_over, &exchanges);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_polls_is_paused_beyond_its_lease_and_stops_when_it_goes_on() {
    let cluster = Cluster::impatient_with_relay(2).await;
    cluster.sandbox.set_task_time(Duration::ZERO, WHILE * 10);
    let (caller, began) = (Caller::of(&cluster).await, SystemClock.now());
    let exchanges = cluster.exchanges();
    let mut jobs: JoinSet<_> = (0..JOBS).map(|number| caller.clone().job(number)).collect();
    let poller = cluster.poller(&[0, 1]).await;
    until(async || caller.submitted.load(Relaxed) == JOBS).await;
    // While it waits for an answer of the Redis's, which may seem to be away when it goes on.
    cluster.redis.pause();
    SystemClock.sleep(WHILE / 10).await;
    exchanges.leave_out(poller);
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
    cluster.keeps_to_the_limit(began, gone_on, &exchanges);
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
