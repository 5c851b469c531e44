//! The query budget: however many wait, the account's share is kept, and nobody is left out.

use std::{pin::pin, time::Duration};

use futures_util::future::join_all;
use serde_json::json;
use valet_client::{Client, TaskId};
use valet_clock::{Clock, ManualClock};

use crate::support::{Reply, Request, Server, client, task, turn_until};

/// A broker that gives this share of the queries with each token.
fn sharing(request: &Request, share: f64) -> Reply {
    let body = json!({
        "token": "st-1", "expires_in": 60, "base_url": request.base_url(), "queries_per_second": share,
    });
    Reply::json(200, &body)
}

/// When each query came, of 50 waits for tasks that end at `end`; the share at each time is `share`.
async fn queries_of_50_waits(end: Duration, share: fn(Duration) -> f64) -> Vec<Duration> {
    let clock = ManualClock::new();
    let (now, start) = (clock.handle("script"), clock.now());
    let server = Server::start(&clock, move |request| {
        let at = now.now() - start;
        let id = request.path.rsplit('/').next().unwrap();
        match request.is_for_token() {
            true => sharing(request, share(at)),
            false if at >= end => task(id, "SUCCEEDED", &[]),
            false => task(id, "RUNNING", &[]),
        }
    })
    .await;
    let client = client(&server, &clock);
    let ids: Vec<TaskId> = (0..50).map(|number| TaskId::from(format!("t-{number}"))).collect();
    let waits = join_all(ids.iter().map(|id| client.wait(id).into_future()));
    for (outcome, id) in turn_until(&clock, waits).await.into_iter().zip(&ids) {
        assert_eq!(outcome.unwrap().id(), id);
    }
    server.those(Request::is_query).iter().map(|r| r.at).collect()
}

fn least_gap(times: &[Duration]) -> Duration {
    times.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap()
}

#[tokio::test]
async fn many_waits_keep_one_budget() {
    let times = queries_of_50_waits(Duration::from_secs(30), |_| 5.0).await;
    assert!(times.len() > 150, "it is used: {}", times.len());
    assert!(least_gap(&times) >= Duration::from_millis(200), "{times:?}");
    let last = times.last().unwrap();
    assert!(*last <= Duration::from_secs(41), "nobody is left out: {last:?}");
}

#[tokio::test]
async fn who_stands_in_line_is_served_in_turn_and_only_the_first_sleeps() {
    let clock = ManualClock::new();
    let server = Server::start(&clock, |request| match request.is_for_token() {
        true => sharing(request, 1.0),
        false => task("t", "RUNNING", &[]),
    })
    .await;
    let client = client(&server, &clock);
    let ids: Vec<TaskId> = (0..30).map(|number| TaskId::from(format!("t-{number}"))).collect();
    let mut fetches = pin!(join_all(ids.iter().map(|id| client.fetch(id))));
    tokio::select! {
        _ = &mut fetches => panic!("they take half a minute"),
        () = clock.asleep("pause", 1) => {}
    }
    assert_eq!(clock.sleeping("pause"), 1);
    assert!(turn_until(&clock, fetches).await.iter().all(Result::is_ok));
    let served: Vec<_> = server.those(Request::is_query).into_iter().map(|r| r.path).collect();
    let named: Vec<_> = ids.iter().map(|id| format!("/api/v1/tasks/{id}")).collect();
    assert_eq!(served, named);
}

#[tokio::test]
async fn a_new_share_is_obeyed_from_its_token_on() {
    let shrinking = |at| if at < Duration::from_secs(30) { 10.0 } else { 2.0 };
    let times = queries_of_50_waits(Duration::from_secs(80), shrinking).await;
    assert!(least_gap(&times) >= Duration::from_millis(100));
    // The first renewal is due after 40 of 60 seconds.
    let later: Vec<_> = times.into_iter().skip_while(|at| *at < Duration::from_secs(42)).collect();
    assert!(later.len() > 50 && least_gap(&later) >= Duration::from_millis(500), "{later:?}");
}

#[tokio::test]
async fn a_share_too_small_for_its_decimals_is_no_free_hand() {
    let clock = ManualClock::new();
    let server = Server::start(&clock, |request| match request.is_for_token() {
        true => sharing(request, 0.0),
        false => task("t-1", "RUNNING", &[]),
    })
    .await;
    let (client, id) = (client(&server, &clock), TaskId::from("t-1"));
    let three = async |client: &Client| {
        for _ in 0..3 {
            client.fetch(&id).await.unwrap();
        }
    };
    turn_until(&clock, three(&client)).await;
    let times: Vec<_> = server.those(Request::is_query).iter().map(|r| r.at).collect();
    assert!(least_gap(&times) >= Duration::from_secs(30), "{times:?}");
}
