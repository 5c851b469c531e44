//! Waiting at a relay, which holds its answers back (RFC 7240, `Prefer: wait`), and nowhere else.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use valet_client::{Kind, Status, TaskId};
use valet_clock::{Clock, ManualClock, SharedClock};

use crate::support::{Reply, Request, Server, client, failure, relay_token, service_error, task, turn_until};

const MINUTE: Duration = Duration::from_secs(60);

/// A relay with tasks `0`, `1`, … that end at these times.
struct Relay {
    ends: Vec<Duration>,
    clock: ManualClock,
    start: std::time::Instant,
    /// The clock of answers that are held back: it is turned until there is something to tell.
    turns: SharedClock,
}

impl Relay {
    fn new(clock: &ManualClock, ends: impl IntoIterator<Item = Duration>) -> Self {
        let (clock, start) = (clock.clone(), clock.now());
        Self { ends: ends.into_iter().collect(), turns: clock.handle("relay"), clock, start }
    }

    fn ids(&self) -> Vec<TaskId> {
        (0..self.ends.len()).map(|number| TaskId::from(number.to_string())).collect()
    }

    fn answer(&self, request: &Request) -> Reply {
        if request.is_for_token() {
            return relay_token(request, 3600);
        }
        if !is_held(request) {
            let id = request.path.rsplit('/').next().unwrap();
            return task(id, self.status(id).as_str(), &[]);
        }
        let wait: u64 =
            request.headers["prefer"].to_str().unwrap().strip_prefix("wait=").unwrap().parse().unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
        let ids = asked_for(request);
        let next = ids.iter().map(|id| self.ends[id.parse::<usize>().unwrap()]).min().unwrap();
        let until = (request.at + Duration::from_secs(wait)).min(next);
        self.clock.advance(until.saturating_sub(self.turns.now() - self.start));
        let documents: Vec<Value> = ids
            .iter()
            .map(|id| json!({ "output": { "task_id": id, "task_status": self.status(id) } }))
            .collect();
        let body = match request.method.as_str() {
            "GET" => documents[0].clone(),
            _ => json!({ "tasks": documents, "request_id": "r" }),
        };
        Reply::json(200, &body).with_header("preference-applied", &format!("wait={wait}"))
    }

    fn status(&self, id: &str) -> Status {
        let ended = self.turns.now() - self.start >= self.ends[id.parse::<usize>().unwrap()];
        if ended { Status::Succeeded } else { Status::Running }
    }
}

fn is_held(request: &Request) -> bool {
    request.headers.contains_key("prefer")
}

/// The tasks that a request waits for.
fn asked_for(request: &Request) -> Vec<String> {
    match request.method.as_str() {
        "GET" => vec![request.path.rsplit('/').next().unwrap().to_owned()],
        _ => {
            assert_eq!(request.path, "/api/v1/tasks/wait");
            serde_json::from_value(request.body["task_ids"].clone()).unwrap()
        }
    }
}

#[tokio::test]
async fn one_task_is_asked_for_seldom_and_known_at_once() {
    let clock = ManualClock::new();
    let (start, relay) = (clock.now(), Relay::new(&clock, [MINUTE]));
    let server = Server::start(&clock, move |request| relay.answer(request)).await;
    let client = client(&server, &clock);
    turn_until(&clock, client.wait(&"0".into()).into_future()).await.unwrap();
    assert_eq!((server.count(is_held), clock.now() - start), (3, MINUTE));
    assert_eq!(server.count(Request::is_query), 3, "and never looked at in between");
}

#[tokio::test]
async fn many_tasks_wait_in_one_request() {
    let clock = ManualClock::new();
    let ends = (0..250).map(|number| MINUTE + Duration::from_secs(number / 50 * 10));
    let relay = Relay::new(&clock, ends);
    let (start, ids) = (clock.now(), relay.ids());
    let server = Server::start(&clock, move |request| relay.answer(request)).await;
    let client = client(&server, &clock);
    let waits = join_all(ids.iter().map(|id| client.wait(id).into_future()));
    assert!(turn_until(&clock, waits).await.into_iter().all(|outcome| outcome.is_ok()));
    let took = clock.now() - start;
    assert!(took <= Duration::from_secs(101), "{took:?}");
    let held = server.those(is_held);
    assert!(held.iter().all(|request| asked_for(request).len() <= 100));
    assert!(held.len() < 60, "{}: each tells of up to a hundred", held.len());
    let lists = server.count(|request| request.path.ends_with("/tasks/"));
    assert_eq!((server.journal().len(), lists), (held.len() + 1, 0), "nothing else is asked but the token");
}

#[tokio::test]
async fn dashscope_itself_is_never_asked_to_wait() {
    let clock = ManualClock::new();
    let relay = Relay::new(&clock, [MINUTE]);
    let server = Server::start(&clock, move |request| match request.is_for_token() {
        true => crate::support::token(request, "st-1", 3600),
        false => relay.answer(request),
    })
    .await;
    let client = client(&server, &clock);
    turn_until(&clock, client.wait(&"0".into()).into_future()).await.unwrap();
    assert_eq!(server.count(is_held), 0);
}

#[tokio::test]
async fn a_relay_that_does_not_hold_answers_back_is_asked_to_once_a_minute() {
    for says_so in [false, true] {
        let clock = ManualClock::new();
        let relay = Relay::new(&clock, [MINUTE * 3]);
        let server = Server::start(&clock, move |request| {
            if request.is_for_token() {
                return relay_token(request, 3600);
            }
            let answer = task("0", relay.status("0").as_str(), &[]);
            if says_so { answer.with_header("preference-applied", "wait=25") } else { answer }
        })
        .await;
        let client = client(&server, &clock);
        turn_until(&clock, client.wait(&"0".into()).into_future()).await.unwrap();
        let (held, looks) = (server.count(is_held), server.count(Request::is_query));
        assert!(looks < 60, "it is not flooded either: {looks}");
        assert!(says_so || (3..=4).contains(&held), "{held}");
    }
}

#[tokio::test]
async fn where_too_many_wait_already_tasks_are_looked_at_meanwhile() {
    // Valet's own relay answers at once instead of refusing.
    let told = task("0", "RUNNING", &[]);
    for crowded in [told, service_error(429, "Throttling")] {
        let clock = ManualClock::new();
        let relay = Relay::new(&clock, [MINUTE]);
        let crowded = crowded.with_header("retry-after", "20");
        let server = Server::start(&clock, move |request| match is_held(request) {
            true if relay.turns.now() - relay.start < MINUTE => crowded.clone(),
            _ => relay.answer(request),
        })
        .await;
        let client = client(&server, &clock);
        turn_until(&clock, client.wait(&"0".into()).into_future()).await.unwrap();
        let (held, looks) = (server.count(is_held), server.those(Request::is_query));
        assert!((3..=4).contains(&held), "{held}");
        let pause = looks.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap();
        assert!(pause <= Duration::from_secs(6), "nothing pauses: {pause:?}");
    }
}

#[tokio::test]
async fn a_relay_that_waits_for_single_tasks_only_is_asked_for_each() {
    let clock = ManualClock::new();
    let relay = Relay::new(&clock, [MINUTE; 3]);
    let ids = relay.ids();
    let server = Server::start(&clock, move |request| match request.path.ends_with("/tasks/wait") {
        true => service_error(404, "NotFound"),
        false => relay.answer(request),
    })
    .await;
    let client = client(&server, &clock);
    let waits = join_all(ids.iter().map(|id| client.wait(id).into_future()));
    assert!(turn_until(&clock, waits).await.into_iter().all(|outcome| outcome.is_ok()));
    let several = server.count(|request| request.path.ends_with("/tasks/wait"));
    assert!((1..=2).contains(&several), "{several}");
}

#[tokio::test]
async fn a_task_that_is_not_known_ends_its_own_wait_alone() {
    let clock = ManualClock::new();
    let relay = Relay::new(&clock, [MINUTE; 2]);
    let server = Server::start(&clock, move |request| {
        if request.is_for_token() || !is_held(request) {
            return relay.answer(request);
        }
        let known = |id: &String| if id == "gone" { "UNKNOWN".into() } else { relay.status(id).to_string() };
        let documents: Vec<Value> = asked_for(request)
            .iter()
            .map(|id| json!({ "output": { "task_id": id, "task_status": known(id) } }))
            .collect();
        let body = if request.method == "GET" { documents[0].clone() } else { json!({ "tasks": documents }) };
        Reply::json(200, &body)
    })
    .await;
    let client = client(&server, &clock);
    let waits = join_all(["0", "gone", "1"].map(|id| client.wait(&id.into()).into_future()));
    let outcomes = turn_until(&clock, waits).await;
    let statuses: Vec<Status> = outcomes.into_iter().map(|task| task.unwrap().status().clone()).collect();
    assert_eq!(statuses, [Status::Succeeded, Status::Unknown, Status::Succeeded]);
}

#[tokio::test]
async fn local_files_are_not_sent_to_a_relay() {
    let clock = ManualClock::new();
    let server = Server::start(&clock, |request| relay_token(request, 60)).await;
    let client = client(&server, &clock);
    let file = tempfile::NamedTempFile::new().unwrap();
    let error =
        failure(turn_until(&clock, client.upload(file.path()).into_future()).await, Kind::InvalidRequest);
    assert!(error.to_string().contains("name its URL"), "{error}");
    assert_eq!(server.journal().len(), 1, "nothing but the token was asked for");
}
