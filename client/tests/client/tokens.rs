//! Tokens: one fetch for all who wait, renewed by name when refused, kept while a renewal fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use valet_client::{
    AppCredential, Client, Kind, TaskId, Token, TokenSource,
    token::{Need, TokenFuture},
};
use valet_clock::{Clock, ManualClock};

use crate::support::{
    ClientClock, Reply, Request, Server, client, failure, problem, request, service_error, settle, submitted,
    task, token, turn_until,
};

/// `printf st-1 | sha256sum`
const SHA256_OF_ST_1: &str = "6d1bfe75a43363b6fcb81d0cf85ca8755e002915a243200d73e17d3e6aa312db";

/// A broker that numbers its tokens, and a service that accepts those from number `least` on.
async fn accepting_from(clock: &ManualClock, least: u32) -> Server {
    let mut minted = 0;
    Server::start(clock, move |request| {
        if request.is_for_token() {
            minted += 1;
            return token(request, &format!("st-{minted}"), 60);
        }
        let number: u32 = request.bearer().unwrap().trim_start_matches("st-").parse().unwrap();
        match number >= least {
            true if request.is_submit() => submitted("t-1"),
            true => task("t-1", "RUNNING", &[]),
            false => service_error(401, "InvalidApiKey"),
        }
    })
    .await
}

#[tokio::test]
async fn a_refused_token_is_renewed_by_its_name_and_the_call_repeated() {
    let clock = ManualClock::new();
    let server = accepting_from(&clock, 2).await;
    let task = turn_until(&clock, client(&server, &clock).submit(&request())).await.unwrap();
    assert_eq!(task.id(), &TaskId::from("t-1"));
    let fetches: Vec<Value> = server.those(Request::is_for_token).into_iter().map(|r| r.body).collect();
    let wished = json!({ "min_ttl": 10 });
    assert_eq!(fetches, [wished, json!({ "min_ttl": 10, "rejected": SHA256_OF_ST_1 })]);
    let tokens: Vec<_> =
        server.those(Request::is_submit).iter().map(|r| r.bearer().unwrap().to_owned()).collect();
    assert_eq!(tokens, ["st-1", "st-2"]);
}

#[tokio::test]
async fn a_second_refusal_ends_the_call() {
    let clock = ManualClock::new();
    let server = accepting_from(&clock, u32::MAX).await;
    let client = client(&server, &clock);
    let error = failure(turn_until(&clock, client.fetch(&"t-1".into())).await, Kind::Credentials);
    assert_eq!((error.code(), error.status()), (Some("InvalidApiKey"), Some(401)));
    assert_eq!(server.count(Request::is_for_token), 2);
    assert_eq!(server.count(Request::is_query), 2);
}

#[tokio::test]
async fn a_hundred_calls_that_find_their_token_refused_renew_it_once() {
    let clock = ManualClock::new();
    let server = accepting_from(&clock, 2).await;
    let (client, request) = (client(&server, &clock), request());
    let calls = join_all((0..100).map(|_| client.submit(&request)));
    assert!(turn_until(&clock, calls).await.iter().all(Result::is_ok));
    assert_eq!(server.count(Request::is_for_token), 2);
}

#[tokio::test]
async fn a_hundred_calls_fetch_one_token() {
    let clock = ManualClock::new();
    let server = accepting_from(&clock, 1).await;
    let (client, request) = (client(&server, &clock), request());
    let calls = join_all((0..100).map(|_| client.submit(&request)));
    assert!(turn_until(&clock, calls).await.iter().all(Result::is_ok));
    assert_eq!((server.count(Request::is_for_token), server.count(Request::is_submit)), (1, 100));
}

#[tokio::test]
async fn a_fetch_that_fails_fails_for_all_who_waited_and_is_not_repeated_by_each() {
    let clock = ManualClock::new();
    let server = Server::start(&clock, |_| problem(401, "invalid_client")).await;
    let (client, request) = (client(&server, &clock), request());
    let calls = join_all((0..100).map(|_| client.submit(&request)));
    for outcome in turn_until(&clock, calls).await {
        assert_eq!(failure(outcome, Kind::Credentials).code(), Some("invalid_client"));
    }
    assert_eq!(server.journal().len(), 1);
}

#[tokio::test]
async fn a_broker_with_a_passing_fault_is_asked_again() {
    let clock = ManualClock::new();
    let mut faults = 3;
    let server = Server::start(&clock, move |request| {
        if faults == 0 {
            return token(request, "st-1", 60);
        }
        faults -= 1;
        problem(503, "upstream_unavailable").with_header("retry-after", "2")
    })
    .await;
    let client = client(&server, &clock);
    let token = turn_until(&clock, client.token()).await.unwrap();
    assert_eq!((token.expose(), token.life()), ("st-1", Some(Duration::from_secs(60))));
    let asked: Vec<u64> = server.journal().iter().map(|request| request.at.as_secs()).collect();
    assert_eq!(asked, [0, 2, 4, 6]);
}

#[tokio::test]
async fn a_failed_renewal_keeps_the_live_token() {
    let clock = ManualClock::new();
    let (mut minted, since) = (0, clock.handle("script"));
    let start = since.now();
    let server = Server::start(&clock, move |request| {
        // Dead from 30 s to 70 s.
        let dead = (30..70).contains(&(since.now() - start).as_secs());
        if request.is_for_token() && dead {
            return problem(502, "upstream_fault");
        }
        if request.is_for_token() {
            minted += 1;
            return token(request, &format!("st-{minted}"), 60);
        }
        submitted("t-1")
    })
    .await;
    let (client, request) = (client(&server, &clock), request());
    let used_at = async |second: u64| {
        clock.advance((start + Duration::from_secs(second)).saturating_duration_since(clock.now()));
        turn_until(&clock, client.submit(&request)).await.unwrap();
        server.those(Request::is_submit).pop().unwrap().bearer().unwrap().to_owned()
    };
    // Due from 40 s on; a renewal asks four times before it fails.
    for (second, fetches) in [(0, 1), (39, 1), (41, 5), (44, 5), (47, 9), (57, 9)] {
        assert_eq!(used_at(second).await, "st-1", "at {second} s");
        let tried = async {
            while server.count(Request::is_for_token) < fetches {
                tokio::task::yield_now().await;
            }
        };
        turn_until(&clock, tried).await;
        settle().await;
    }
    assert_eq!(used_at(70).await, "st-2");
}

#[tokio::test]
async fn a_token_in_its_last_moments_is_not_used() {
    let clock = ManualClock::new();
    let server = accepting_from(&clock, 1).await;
    let client = client(&server, &clock);
    for (second, name) in [(0, "st-1"), (59, "st-2")] {
        clock.advance(Duration::from_secs(second));
        assert_eq!(turn_until(&clock, client.token()).await.unwrap().expose(), name);
    }
}

#[tokio::test]
async fn a_token_that_is_due_is_renewed_while_calls_go_on() {
    let clock = ManualClock::new();
    let server = accepting_from(&clock, 1).await;
    let client = client(&server, &clock);
    assert_eq!(client.token().await.unwrap().expose(), "st-1");
    clock.advance(Duration::from_secs(41));
    assert_eq!(client.token().await.unwrap().expose(), "st-1", "nobody waits for the renewal");
    settle().await;
    // No time passes until the renewal is there.
    while clock.sleeping("limit") > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.token().await.unwrap().expose(), "st-2");
}

/// Gives the same token until it is told that it was refused; a renewal takes until the gate opens.
struct Stubborn {
    base_url: String,
    fetches: AtomicUsize,
    gate: Arc<Semaphore>,
}

impl TokenSource for Stubborn {
    fn fetch<'s>(&'s self, need: Need<'s>) -> TokenFuture<'s> {
        Box::pin(async move {
            if self.fetches.fetch_add(1, Relaxed) == 1 {
                self.gate.acquire().await.unwrap().forget();
            }
            let name = if need.refused.is_some() { "st-2" } else { "st-1" };
            Ok(Token::new(name, self.base_url.as_str(), Some(Duration::from_secs(60))))
        })
    }
}

/// The tokens that one submit uses, if its first is refused while it is renewed. The renewal ends
/// before the refusal is known, or after.
async fn tokens_used(renewed_before: bool) -> Vec<String> {
    let (clock, gate) = (ManualClock::new(), Arc::new(Semaphore::new(0)));
    let opened = gate.clone();
    let server = Server::start(&clock, move |request| match request.bearer() {
        Some("st-1") => {
            opened.add_permits(usize::from(renewed_before));
            service_error(401, "InvalidApiKey")
        }
        _ => submitted("t-1"),
    })
    .await;
    let base_url = format!("{}/api/v1", server.url());
    let source = Stubborn { base_url, fetches: AtomicUsize::new(0), gate: gate.clone() };
    let client = Client::builder().token_source(source).clock(Arc::new(ClientClock::new(&clock)));
    let client = client.build().unwrap();
    assert_eq!(client.token().await.unwrap().expose(), "st-1");
    clock.advance(Duration::from_secs(41));
    let request = request();
    let opening = async {
        clock.asleep("limit", 1).await;
        // The answer to the submit has come, and the call waits for the renewal.
        while clock.sleeping("limit") > 0 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
    };
    tokio::join!(client.submit(&request), opening).0.unwrap();
    server.journal().iter().map(|r| r.bearer().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_token_that_is_refused_while_it_is_renewed_does_not_come_back() {
    for renewed_before in [true, false] {
        assert_eq!(tokens_used(renewed_before).await, ["st-1", "st-2"], "{renewed_before}");
    }
}

#[tokio::test]
async fn the_broker_is_told_the_word_for_its_audit_trail_and_the_subject_that_were_set() {
    let clock = ManualClock::new();
    let server = accepting_from(&clock, 1).await;
    let builder = Client::builder().broker(&server.url(), AppCredential::new("acme", "s")).unwrap();
    let builder = builder.client_reference_id("job-7").subject("alice");
    let builder = builder.clock(Arc::new(ClientClock::new(&clock)));
    turn_until(&clock, builder.build().unwrap().token()).await.unwrap();
    assert_eq!(server.journal()[0].body, json!({ "client_reference_id": "job-7", "subject": "alice" }));
}

#[tokio::test]
async fn a_submit_gets_a_token_that_lives_long_enough_to_arrive() {
    let clock = ManualClock::new();
    let server = accepting_from(&clock, 1).await;
    let (client, request) = (client(&server, &clock), request());
    turn_until(&clock, client.submit(&request)).await.unwrap();
    clock.advance(Duration::from_secs(54));
    turn_until(&clock, client.submit(&request)).await.unwrap();
    let used = server.those(Request::is_submit).pop().unwrap();
    assert_eq!(used.bearer(), Some("st-2"), "six seconds are too few");
}

#[tokio::test]
async fn who_cannot_be_reached_is_told_of_with_the_reason() {
    let clock = ManualClock::new();
    let nobody =
        format!("http://{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let builder = Client::builder().broker(&nobody, AppCredential::new("acme", "s")).unwrap();
    let away = builder.clock(Arc::new(ClientClock::new(&clock))).build().unwrap();
    let broker = failure(turn_until(&clock, away.token()).await, Kind::Unreachable).to_string();
    assert!(broker.contains(&nobody) && broker.contains("refused"), "{broker}");

    let builder = Client::builder().api_key(&format!("{nobody}/api/v1"), "sk-canary").unwrap();
    let away = builder.clock(Arc::new(ClientClock::new(&clock))).build().unwrap();
    let service = failure(turn_until(&clock, away.submit(&request())).await, Kind::Unreachable).to_string();
    assert!(service.contains("refused") && !service.contains("canary"), "{service}");
}

#[tokio::test]
async fn a_token_that_no_header_can_carry_is_no_fault_of_the_network() {
    let own = || async { Ok(Token::new("st-canary\n", "http://127.0.0.1:1/api/v1", None)) };
    let client = Client::builder().token_source(own).build().unwrap();
    let error = failure(client.submit(&request()).await, Kind::Configuration).to_string();
    assert!(error.contains("line end") && !error.contains("canary"), "{error}");
}

#[tokio::test]
async fn somebody_else_in_the_place_of_a_broker_is_told_from_one_that_is_ill() {
    for (status, kind) in
        [(404, Kind::Malformed), (405, Kind::Malformed), (501, Kind::Malformed), (502, Kind::Unavailable)]
    {
        let clock = ManualClock::new();
        let server = Server::start(&clock, move |_| Reply::raw(status, "<html>")).await;
        let error = failure(turn_until(&clock, client(&server, &clock).token()).await, kind).to_string();
        assert!(error.contains(&server.url()) && error.contains(&format!("status {status}")), "{error}");
    }
}
