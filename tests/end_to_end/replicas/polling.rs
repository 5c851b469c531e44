//! Who asks the upstream of all replicas, and how often: within the account's limit at every hand-over.

use std::time::{Duration, Instant};

use ::redis::cmd;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;
use valet_clock::Clock;
use valet_demo::{APP, StackSettings};
use valet_sandbox::{Fault, Operation};
use valet_server::secret::AppSecret;

use super::{keys, relay::handle, replicas_with};
use crate::{
    harness::{Answer, SECOND, SHARED, UNHURRIED, answered, promptly},
    relayed::{Relayed, recordings, status},
};

const STEP: Duration = Duration::from_millis(250);

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

#[tokio::test]
async fn who_waits_where_a_task_was_not_submitted_is_told_though_the_redis_goes_away() {
    let mut relayed = Relayed::of_replicas(3, "").await;
    relayed.stage.stack.sandbox.set_task_time(Duration::ZERO, SECOND * 8);
    let secret = relayed.stage.stack.secret.expose().to_owned();
    let task = handle(&relayed.submit_at(0, &secret, None, "market.wav").await);
    relayed.polled().await;
    for replica in 0..3 {
        let path = format!("/tasks/{task}");
        while status(&relayed.get_of(replica, &path, &secret).await) != "RUNNING" {
            relayed.stage.clock.advance(STEP);
        }
    }
    let began = relayed.stage.clock.now();
    let waiting = [0, 1, 2].map(|replica| relayed.waiting_at(replica, &task, &secret));
    relayed.seated(3).await;
    relayed.stage.redis().kill();
    relayed.stage.joined(0).await;
    for waiting in waiting {
        assert_eq!(status(&relayed.turned(waiting, STEP).await), "SUCCEEDED");
    }
    assert!(relayed.stage.clock.now() < began + SECOND * 20, "each looks by itself");
    relayed.stage.stop().await;
}

/// As when whoever polls is paused beyond its lease while an answer is under way, and has the next lease again.
#[tokio::test]
async fn an_end_whose_telling_was_fenced_is_known_to_all() {
    let moment = Duration::from_millis(50);
    let relayed = Relayed::of_replicas(2, "").await;
    let sandbox = &relayed.stage.stack.sandbox;
    sandbox.set_task_time(Duration::ZERO, SECOND * 3);
    let secret = relayed.stage.stack.secret.expose().to_owned();
    let turn = async || {
        relayed.stage.clock.advance(moment);
        for _ in 0..6 {
            relayed.stage.page("/healthz").await;
        }
    };
    for round in 0..6 {
        let task = handle(&relayed.submit_at(0, &secret, None, &format!("market.wav?{round}")).await);
        relayed.polled().await;
        let submitted = relayed.stage.clock.now();
        let waiting = [0, 1].map(|replica| relayed.waiting_at(replica, &task, &secret));
        sandbox.script(Fault::on(Operation::Query).delay(moment * 6).always());
        let mut asked = sandbox.count(Operation::Query);
        // Until the look is under way that sees the end, or has been.
        for _ in 0..100 {
            turn().await;
            let now = sandbox.count(Operation::Query);
            if now > asked && relayed.stage.clock.now() > submitted + SECOND * 11 / 4 {
                break;
            }
            asked = now;
        }
        let lease = keys(&relayed.stage, "valet:poll:*:lease").remove(0);
        relayed.stage.run(cmd("SET").arg(&lease).arg("1").arg("PX").arg(400));
        for _ in 0..8 {
            turn().await;
        }
        sandbox.clear_faults();
        for waiting in waiting {
            relayed.turned(waiting, STEP).await;
        }
        for replica in [0, 1] {
            let mut now = String::new();
            for _ in 0..4 {
                if now != "SUCCEEDED" {
                    now = status(&relayed.turned(relayed.waiting_at(replica, &task, &secret), STEP).await);
                }
            }
            assert_eq!(
                now, "SUCCEEDED",
                "round {round}, replica {replica}: after a hundred seconds of waiting"
            );
        }
    }
    relayed.stage.stop().await;
}

/// When requests reached the sandbox, of those that count against the account's limit.
fn queries(relayed: &Relayed) -> Vec<Instant> {
    let counts = |operation| matches!(operation, Operation::Query | Operation::List | Operation::Cancel);
    let journal = relayed.stage.stack.sandbox.journal();
    journal.iter().filter(|entry| counts(entry.operation)).map(|entry| entry.at).collect()
}

/// The most of them within a second.
fn busiest(at: &[Instant]) -> usize {
    let within = |place: usize| at[place..].iter().take_while(|time| **time < at[place] + SECOND).count();
    (0..at.len()).map(within).max().unwrap_or(0)
}

fn busiest_second(relayed: &Relayed) -> usize {
    busiest(&queries(relayed))
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
    // The brokers are slower than the clock on a busy machine.
    let taken_over = async {
        while relayed.stage.metric("valet_shared_polls_for_all").await == 0 {
            relayed.stage.clock.advance(STEP);
        }
    };
    promptly(taken_over).await;
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

/// Half of the time between two queries of whoever asks for all.
const SHORT: Duration = Duration::from_nanos(26_315_800);

/// Three replicas, at each of which somebody waits for more tasks than may be asked about, one by one.
struct Busy {
    relayed: Relayed,
    tasks: Vec<String>,
    waiting: Vec<JoinHandle<Answer>>,
}

impl Busy {
    async fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let settings = StackSettings {
            app: UNHURRIED.into(),
            relay: Some(state.path().to_owned()),
            upstream: format!("{SHARED}\nlist_page = 0"),
            ..StackSettings::default()
        };
        let stage = replicas_with(3, settings, "").await;
        let relayed = Relayed { stage, recordings: recordings().await, state };
        relayed.stage.stack.sandbox.set_task_time(Duration::ZERO, SECOND * 600);
        let secret = relayed.stage.stack.secret.expose().to_owned();
        let mut tasks = Vec::new();
        for number in 0..200 {
            let file = format!("market.wav?{number}");
            tasks.push(handle(&relayed.submit_at(number % 3, &secret, None, &file).await));
        }
        relayed.polled().await;
        let mut busy = Self { relayed, tasks, waiting: Vec::new() };
        // Until all are known to go on, which wakes whoever waits.
        busy.turn(SECOND * 10).await;
        busy
    }

    /// Turns the time.
    async fn turn(&mut self, time: Duration) {
        let began = self.relayed.stage.clock.now();
        while self.relayed.stage.clock.now() < began + time {
            self.waiting.retain(|waiting| !waiting.is_finished());
            if self.waiting.is_empty() {
                for replica in 0..3 {
                    for tasks in self.tasks.chunks(100) {
                        let path = "/api/v1/tasks/wait";
                        let request = self.relayed.stage.request_of(replica, Method::POST, path);
                        let request = request.bearer_auth(self.relayed.stage.stack.secret.expose());
                        let request = request.header("prefer", "wait=5").json(&json!({ "task_ids": tasks }));
                        self.waiting.push(tokio::spawn(answered(request)));
                    }
                }
            }
            self.relayed.stage.clock.advance(SHORT);
            self.settled().await;
        }
    }

    /// Waits until nobody asks anything more at this time.
    async fn settled(&self) {
        let (mut asked, mut same) = (self.relayed.asked(), 0);
        while same < 2 {
            self.relayed.stage.settled().await;
            let now = self.relayed.asked();
            same = if now == asked { same + 1 } else { 0 };
            asked = now;
        }
    }

    /// The most queries of a second, from that query on.
    fn busiest(&self, from: u64) -> usize {
        busiest(&queries(&self.relayed)[usize::try_from(from).unwrap()..])
    }

    async fn stop(self) {
        self.waiting.iter().for_each(JoinHandle::abort);
        self.relayed.stage.stop().await;
    }
}

#[tokio::test]
async fn a_replica_that_was_cut_off_asks_nothing_by_itself_once_it_is_back() {
    let mut busy = Busy::new().await;
    assert!((15..=20).contains(&busy.busiest(0)), "there is enough to ask: {}", busy.busiest(0));
    let list = busy.relayed.stage.run(cmd("CLIENT").arg("LIST").arg("TYPE").arg("PUBSUB"));
    let list: String = ::redis::from_redis_value(list).unwrap();
    let ids: Vec<_> = list.lines().map(|line| line.split(' ').next().unwrap().replace("id=", "")).collect();
    assert_eq!(ids.len(), 3);
    // Whoever polls, and the two that do not.
    for id in ids {
        busy.relayed.stage.run(cmd("CLIENT").arg("KILL").arg("ID").arg(id));
        busy.relayed.stage.joined(2).await;
        while busy.relayed.stage.metric("valet_shared_up").await < 3 {
            busy.turn(SHORT).await;
        }
        let asked = busy.relayed.asked();
        busy.turn(SECOND * 6).await;
        assert!((15..=20).contains(&busy.busiest(asked)), "{} in a second", busy.busiest(asked));
    }
    busy.stop().await;
}

#[tokio::test]
async fn a_cancel_that_finds_the_redis_away_waits_for_the_first_of_its_share() {
    let mut relayed = Relayed::of_replicas(2, "").await;
    relayed.stage.stack.sandbox.set_task_time(SECOND * 100, SECOND);
    let secret = relayed.stage.stack.secret.expose().to_owned();
    let mut tasks = Vec::new();
    for replica in [0, 1] {
        let file = format!("market.wav?{replica}");
        tasks.push(handle(&relayed.submit_at(replica, &secret, None, &file).await));
    }
    relayed.polled().await;
    relayed.stage.pass(2).await;
    relayed.stage.settled().await;
    relayed.stage.redis().kill();
    relayed.stage.joined(0).await;
    let cancels: Vec<_> = [0, 1]
        .map(|replica| {
            let path = format!("/tasks/{}/cancel", tasks[replica]);
            tokio::spawn(answered(relayed.request_of(replica, Method::POST, &path, &secret)))
        })
        .into();
    for _ in 0..20 {
        relayed.stage.page("/healthz").await;
    }
    let sandbox = &relayed.stage.stack.sandbox;
    assert_eq!(sandbox.count(Operation::Cancel), 0, "all together may have asked as often as they may");
    for cancel in cancels {
        let cancelled = relayed.turned(cancel, SECOND / 20).await;
        assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    }
    relayed.stage.stop().await;
}

#[tokio::test]
async fn replicas_that_come_back_one_after_another_keep_to_the_limit_together() {
    let mut busy = Busy::new().await;
    let secret = busy.relayed.stage.stack.secret.expose().to_owned();
    busy.relayed.stage.fill(true);
    // Each finds out at a time of its own, and looks once a second whether it is back.
    for replica in 0..3 {
        handle(&busy.relayed.submit_at(replica, &secret, None, &format!("train.mp3?{replica}")).await);
        busy.turn(SECOND * 3 / 10).await;
    }
    busy.turn(SECOND).await;
    busy.relayed.stage.joined(0).await;
    let asked = busy.relayed.asked();
    busy.turn(SECOND * 4).await;
    assert!(busy.relayed.asked() - asked > 30, "they ask by themselves: {}", busy.relayed.asked() - asked);
    busy.relayed.stage.fill(false);
    busy.turn(SHORT * 2).await;
    assert!(busy.relayed.stage.metric("valet_shared_up").await < 3, "not all at once");
    busy.turn(SECOND * 8).await;
    busy.relayed.polled().await;
    assert!(busy.busiest(0) <= 20, "{} in a second", busy.busiest(0));
    busy.stop().await;
}
