//! Submits at a relay, which knows each by its key: what was not answered is asked for again, there alone.

use std::{future::IntoFuture, time::Duration};

use valet_client::{Kind, TranscriptionRequest};
use valet_clock::ManualClock;

use crate::support::{
    Reply, Request, Server, client, failure, relay_token, request, service_error, submitted, token,
    turn_until,
};

/// A relay that answers submits by `replies`, one after another, and then no more.
async fn relay(clock: &ManualClock, replies: impl Into<Vec<Reply>>) -> Server {
    let mut replies = replies.into().into_iter();
    Server::start(clock, move |request| match request.is_for_token() {
        true => relay_token(request, 600),
        false => replies.next().expect("there is a reply for each submit"),
    })
    .await
}

/// The keys that submits came with, in order.
fn keys(server: &Server) -> Vec<Option<String>> {
    let key = |request: &Request| Some(request.headers.get("idempotency-key")?.to_str().unwrap().to_owned());
    server.those(Request::is_submit).iter().map(key).collect()
}

#[tokio::test]
async fn a_submit_that_is_not_answered_is_asked_for_again_under_its_key() {
    let lost = [
        Reply::HangUp,
        service_error(500, "InternalError"),
        service_error(502, "BadGateway"),
        service_error(504, "RequestTimeOut"),
        Reply::raw(408, ""),
    ];
    for reply in lost {
        let clock = ManualClock::new();
        let server = relay(&clock, [reply, Reply::HangUp, submitted("t-1"), submitted("t-2")]).await;
        let client = client(&server, &clock);
        let task = turn_until(&clock, client.submit(&request())).await.unwrap();
        assert_eq!(task.id().as_str(), "t-1");
        turn_until(&clock, client.submit(&request())).await.unwrap();
        let keys = keys(&server);
        assert!(keys[0].is_some() && keys[0] == keys[1] && keys[1] == keys[2], "{keys:?}");
        assert!(keys[3].is_some() && keys[3] != keys[0], "another submit has another key: {keys:?}");
    }
}

#[tokio::test]
async fn what_is_never_answered_is_ambiguous_whatever_its_last_try_was_answered() {
    let refused = service_error(400, "InvalidParameter");
    let throttled = service_error(429, "Throttling");
    for replies in [
        vec![Reply::HangUp; 6],
        vec![Reply::HangUp, refused.clone()],
        [vec![Reply::HangUp], vec![throttled; 5]].concat(),
        vec![Reply::raw(200, "<html>")],
        vec![submitted("t-1").padded(4 << 20)],
        // The relay's own word; it would be the same each time.
        vec![service_error(409, "SubmitOutcomeUnknown")],
    ] {
        let (clock, tries) = (ManualClock::new(), replies.len());
        let server = relay(&clock, replies).await;
        failure(turn_until(&clock, client(&server, &clock).submit(&request())).await, Kind::Ambiguous);
        assert_eq!(server.count(Request::is_submit), tries);
    }
    let clock = ManualClock::new();
    let server = relay(&clock, [refused]).await;
    failure(turn_until(&clock, client(&server, &clock).submit(&request())).await, Kind::Refused);
}

#[tokio::test]
async fn a_submit_that_a_relay_may_have_is_sent_nowhere_else() {
    let clock = ManualClock::new();
    // The app is taken from the relay while its token lives for a moment.
    let mut tokens = 0;
    let server = Server::start(&clock, move |request| {
        if !request.is_for_token() {
            return Reply::HangUp;
        }
        tokens += 1;
        if tokens == 1 { relay_token(request, 11) } else { token(request, "st-1", 600) }
    })
    .await;
    let client = client(&server, &clock);
    client.token().await.unwrap();
    clock.advance(Duration::from_secs(1));
    failure(turn_until(&clock, client.submit(&request())).await, Kind::Ambiguous);
    let submits = server.those(Request::is_submit);
    assert!(!submits.is_empty() && submits.iter().all(|submit| submit.bearer() == Some("r-1")));
}

#[tokio::test]
async fn the_service_itself_gets_no_key_and_no_submit_that_relies_on_one() {
    let clock = ManualClock::new();
    let server = Server::start(&clock, |request| match request.is_for_token() {
        true => token(request, "st-1", 600),
        false => submitted("t-1"),
    })
    .await;
    let client = client(&server, &clock);
    turn_until(&clock, client.submit(&request())).await.unwrap();
    assert_eq!(keys(&server), [None]);
    let keyed = request().idempotency_key("mine");
    let error = failure(turn_until(&clock, client.submit(&keyed)).await, Kind::InvalidRequest);
    assert!(error.to_string().starts_with("Idempotency-Key"), "{error}");
    assert_eq!(server.count(Request::is_submit), 1);
}

#[tokio::test]
async fn a_key_of_ones_own_is_that_of_the_submit_and_of_each_of_several_parts() {
    let clock = ManualClock::new();
    let server = relay(&clock, vec![service_error(400, "InvalidParameter"); 4]).await;
    let client = client(&server, &clock);
    failure(turn_until(&clock, client.submit(&request().idempotency_key("mine"))).await, Kind::Refused);
    for urls in [&["https://a", "https://b"][..], &["https://a"]] {
        let request = TranscriptionRequest::new(urls.iter().copied()).max_urls(1).idempotency_key("job");
        let many = client.transcribe_many(request).in_flight(1).into_future();
        turn_until(&clock, many).await.unwrap();
    }
    let keys: Vec<String> = keys(&server).into_iter().flatten().collect();
    assert_eq!(keys, ["mine", "job.0", "job.1", "job"]);
    for bad in ["", "a b", "也", "a\n", &"x".repeat(129)] {
        failure(client.submit(&request().idempotency_key(bad)).await, Kind::InvalidRequest);
    }
}
