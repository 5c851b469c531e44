//! Submits: each costs money, so one is sent again only when it certainly was not accepted.

use std::{pin::pin, sync::Arc, time::Duration};

use serde_json::json;
use tokio::net::TcpSocket;
use valet_client::{
    AppCredential, Client, Kind, Token, TokenSource,
    token::{Need, TokenFuture},
};
use valet_clock::ManualClock;

use crate::support::{
    ClientClock, Reply, Request, Server, client, failure, problem, request, service_error, submitted, token,
    turn_until,
};

/// A service that answers submits by `replies`, one after another, and then no more.
async fn answering(clock: &ManualClock, replies: impl Into<Vec<Reply>>) -> Server {
    let mut replies = replies.into().into_iter();
    Server::start(clock, move |request| match request.is_for_token() {
        true => token(request, "st-1", 600),
        false => replies.next().expect("there is a reply for each submit"),
    })
    .await
}

async fn submits_until(clock: &ManualClock, server: &Server, kind: Kind) -> usize {
    let client = client(server, clock);
    failure(turn_until(clock, client.submit(&request())).await, kind);
    server.count(Request::is_submit)
}

#[tokio::test]
async fn what_is_sent_is_the_documented_submit() {
    let clock = ManualClock::new();
    let server = answering(&clock, [submitted("t-1")]).await;
    turn_until(&clock, client(&server, &clock).submit(&request())).await.unwrap();
    let submit = server.those(Request::is_submit).remove(0);
    assert_eq!(submit.path, "/api/v1/services/audio/asr/transcription");
    assert_eq!(submit.headers["x-dashscope-async"], "enable");
    assert_eq!(submit.headers["content-type"], "application/json");
    let body = json!({
        "model": "fun-asr", "input": { "file_urls": ["https://example.com/a.mp3"] }, "parameters": {},
    });
    assert_eq!(submit.body, body);
}

#[tokio::test]
async fn a_submit_whose_answer_tells_nothing_is_ambiguous_and_sent_once() {
    let hostile = [
        Reply::HangUp,
        service_error(500, "InternalError"),
        service_error(502, "BadGateway"),
        service_error(504, "RequestTimeOut"),
        // A relay's words.
        service_error(409, "SubmitOutcomeUnknown"),
        Reply::raw(408, ""),
        Reply::raw(200, "<html>"),
        Reply::raw(200, "{}"),
        submitted("t-1").padded(4 << 20),
    ];
    for reply in hostile {
        let clock = ManualClock::new();
        let server = answering(&clock, [reply]).await;
        assert_eq!(submits_until(&clock, &server, Kind::Ambiguous).await, 1);
    }
}

#[tokio::test]
async fn a_lost_answer_on_a_connection_that_was_used_before_is_ambiguous_too() {
    let clock = ManualClock::new();
    let server = answering(&clock, [submitted("t-1"), Reply::HangUp]).await;
    let client = client(&server, &clock);
    turn_until(&clock, client.submit(&request())).await.unwrap();
    failure(turn_until(&clock, client.submit(&request())).await, Kind::Ambiguous);
    assert_eq!(server.count(Request::is_submit), 2);
}

#[tokio::test]
async fn a_submit_that_is_never_answered_is_ambiguous_and_sent_once() {
    let clock = ManualClock::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/api/v1", listener.local_addr().unwrap());
    let client = Client::builder().api_key(&base_url, "sk-1").unwrap();
    let client = client.clock(Arc::new(ClientClock::new(&clock))).build().unwrap();
    let silence = async {
        let (_open, _) = listener.accept().await.unwrap();
        clock.asleep("limit", 1).await;
        clock.advance(Duration::from_secs(30));
        turn_until(&clock, listener.accept()).await
    };
    let request = request();
    tokio::select! {
        outcome = client.submit(&request) => { failure(outcome, Kind::Ambiguous); }
        second = silence => panic!("it was sent again: {second:?}"),
    }
}

#[tokio::test]
async fn a_submit_that_was_refused_for_now_is_sent_again() {
    let clock = ManualClock::new();
    let throttled = service_error(429, "Throttling.RateQuota").with_header("retry-after", "7");
    let replies = [throttled, service_error(503, "ModelUnavailable"), submitted("t-1")];
    let server = answering(&clock, replies).await;
    let client = client(&server, &clock);
    turn_until(&clock, client.submit(&request())).await.unwrap();
    let at: Vec<_> = server.those(Request::is_submit).iter().map(|r| r.at).collect();
    assert!((7..8).contains(&(at[1] - at[0]).as_secs()), "{at:?}");
    assert!(at[2] - at[1] >= Duration::from_millis(500), "{at:?}");
}

#[tokio::test]
async fn a_submit_that_was_refused_for_good_is_not_sent_again() {
    for (status, code) in [
        (400, "InvalidParameter"),
        (403, "AccessDenied"),
        (404, "ModelNotFound"),
        (429, "PostpaidBillOverdue"),
        (307, "Moved"),
    ] {
        let clock = ManualClock::new();
        let server = answering(&clock, [service_error(status, code)]).await;
        assert_eq!(submits_until(&clock, &server, Kind::Refused).await, 1, "{code}");
    }
}

#[tokio::test]
async fn throttling_that_does_not_end_is_told_after_a_few_tries() {
    let clock = ManualClock::new();
    let server = answering(&clock, vec![service_error(429, "Throttling"); 10]).await;
    assert_eq!(submits_until(&clock, &server, Kind::Throttled).await, 6);
}

#[tokio::test]
async fn a_wait_that_is_asked_for_and_too_long_is_told_at_once() {
    let clock = ManualClock::new();
    let throttled = service_error(429, "Throttling").with_header("retry-after", "99999999999999999999");
    let long = service_error(429, "Throttling").with_header("retry-after", "3600");
    let server = answering(&clock, [throttled, long]).await;
    assert_eq!(submits_until(&clock, &server, Kind::Throttled).await, 2);
}

#[tokio::test]
async fn a_request_that_breaks_a_rule_is_not_sent_at_all() {
    let clock = ManualClock::new();
    let server = answering(&clock, []).await;
    let client = client(&server, &clock);
    let error = failure(client.submit(&request().speaker_count(2)).await, Kind::InvalidRequest);
    assert!(error.to_string().starts_with("speaker_count"), "{error}");
    assert!(server.journal().is_empty());
}

#[tokio::test]
async fn a_submit_that_found_no_token_is_not_ambiguous() {
    for (reply, kind) in [
        (Reply::HangUp, Kind::Lost),
        (problem(502, "upstream_fault"), Kind::Unavailable),
        (Reply::raw(200, "<html>"), Kind::Malformed),
    ] {
        let clock = ManualClock::new();
        let server = Server::start(&clock, move |_| reply.clone()).await;
        assert_eq!(submits_until(&clock, &server, kind).await, 0);
    }
}

/// Tokens for a service at this address.
struct At(String);

impl TokenSource for At {
    fn fetch<'s>(&'s self, _: Need<'s>) -> TokenFuture<'s> {
        Box::pin(async { Ok(Token::new("st-1", self.0.as_str(), None)) })
    }
}

#[tokio::test]
async fn a_submit_that_reached_nobody_is_sent_again() {
    let clock = ManualClock::new();
    // Bound, and not yet listening: connections are refused.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let base_url = format!("http://{}/api/v1", socket.local_addr().unwrap());
    let client = Client::builder().token_source(At(base_url));
    let client = client.clock(Arc::new(ClientClock::new(&clock))).build().unwrap();
    let request = request();
    let mut submit = pin!(client.submit(&request));
    tokio::select! {
        outcome = &mut submit => panic!("it is not tried again: {outcome:?}"),
        () = clock.asleep("pause", 1) => {}
    }
    let server = Server::start_on(socket.listen(16).unwrap(), &clock, |_| submitted("t-1"));
    assert_eq!(turn_until(&clock, submit).await.unwrap().id().as_str(), "t-1");
    assert_eq!(server.count(Request::is_submit), 1);
}

#[tokio::test]
async fn a_broker_that_cannot_be_reached_is_named() {
    let clock = ManualClock::new();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let client = Client::builder().broker(&url, AppCredential::new("acme", "s")).unwrap();
    let client = client.clock(Arc::new(ClientClock::new(&clock))).build().unwrap();
    let error = failure(turn_until(&clock, client.token()).await, Kind::Unreachable);
    assert!(error.to_string().contains(&url), "{error}");
}

/// A host that takes connections and never speaks: the encrypted one is never made.
#[tokio::test]
async fn a_connection_that_hangs_does_not_make_a_submit_ambiguous() {
    let clock = ManualClock::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("https://{}/api/v1", listener.local_addr().unwrap());
    let http = reqwest::Client::builder().connect_timeout(Duration::from_millis(50)).build().unwrap();
    let client = Client::builder().api_key(&base_url, "sk-1").unwrap().http(http);
    let client = client.clock(Arc::new(ClientClock::new(&clock))).build().unwrap();
    let error = failure(turn_until(&clock, client.submit(&request())).await, Kind::Unreachable);
    assert!(error.is_retryable());
}
