//! Hostile peers: what they send and how slowly costs bounded memory and time, and never a panic.

use valet_demo::StackSettings;

use crate::{
    harness::{SECOND, Stage, promptly},
    wire::Wire,
};

async fn with_bounds(bounds: &str) -> Stage {
    let config = format!("[bounds]\n{bounds}");
    // What is bounded is the connections of one process; what stands in front of it holds ends of its own.
    Stage::of_one(StackSettings { config, ..StackSettings::default() }).await
}

/// The broker does its work after all that.
async fn is_well(stage: Stage) {
    stage.ask().await.token();
    stage.stop().await;
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test]
async fn a_head_larger_than_it_may_be_is_refused() {
    let stage = with_bounds("header_bytes = 8192").await;
    let one_header = format!("X-Bomb: {}\r\n", "x".repeat(100_000));
    let many_headers = "X-Bomb: x\r\n".repeat(10_000);
    for headers in [one_header, many_headers] {
        let mut wire = Wire::to(stage.stack.broker_addr).await;
        wire.send(format!("POST /v1/tokens HTTP/1.1\r\nHost: x\r\n{headers}\r\n")).await;
        assert_eq!(status(&wire.rest().await), "431");
    }
    let mut wire = Wire::to(stage.stack.broker_addr).await;
    wire.send(format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000))).await;
    assert!(matches!(status(&wire.rest().await), "414" | "431"));
    is_well(stage).await;
}

#[tokio::test]
async fn a_body_without_an_end_is_refused_once_it_is_too_large() {
    let stage = Stage::new().await;
    for path in ["/v1/tokens", "/api/v1/tokens"] {
        let mut wire = Wire::to(stage.stack.broker_addr).await;
        wire.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
        for _ in 0..17 {
            wire.send(format!("400\r\n{}\r\n", "x".repeat(1024))).await;
        }
        // The body goes on; the answer does not wait for its end.
        assert_eq!(status(&wire.answer().await), "413");
    }
    is_well(stage).await;
}

#[tokio::test]
async fn a_body_announced_too_large_is_refused_unread() {
    let stage = Stage::new().await;
    for (length, expected) in [(1_u64 << 40, "413"), (u64::MAX, "431")] {
        let mut wire = Wire::to(stage.stack.broker_addr).await;
        wire.send(format!("POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")).await;
        assert_eq!(status(&wire.rest().await), expected);
    }
    is_well(stage).await;
}

#[tokio::test]
async fn a_head_that_dribbles_in_has_until_its_deadline() {
    let stage = with_bounds("header_seconds = 5").await;
    let mut wire = Wire::to(stage.stack.broker_addr).await;
    // The probe's wait, and the head's deadline.
    promptly(stage.clock.asleep("broker", 2)).await;
    for byte in ["G", "E", "T", " "] {
        wire.send(byte).await;
        stage.clock.advance(SECOND);
        stage.page("/healthz").await;
        assert!(wire.is_silent());
    }
    stage.clock.advance(SECOND);
    assert!(matches!(status(&wire.rest().await), "408" | "none"));
    is_well(stage).await;
}

#[tokio::test]
async fn a_connection_that_idles_is_closed_at_the_same_deadline() {
    let stage = with_bounds("header_seconds = 5").await;
    let mut wire = Wire::to(stage.stack.broker_addr).await;
    for _ in 0..3 {
        wire.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(status(&wire.answer().await), "200");
        promptly(stage.clock.asleep("broker", 2)).await;
        stage.clock.advance(SECOND * 4);
    }
    stage.clock.advance(SECOND);
    assert_eq!(wire.rest().await, "");
    is_well(stage).await;
}

#[tokio::test]
async fn a_body_that_dribbles_in_has_until_its_deadline() {
    let stage = with_bounds("body_seconds = 5").await;
    for (path, code) in [("/v1/tokens", "body_too_slow"), ("/api/v1/tokens", "RequestTimeOut")] {
        let mut wire = Wire::to(stage.stack.broker_addr).await;
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n");
        wire.send(head).await;
        // Said once the body is waited for.
        assert_eq!(wire.line().await, "HTTP/1.1 100 Continue");
        assert_eq!(wire.line().await, "");
        for byte in ["{", "\"", "m", "i"] {
            wire.send(byte).await;
            stage.clock.advance(SECOND);
            stage.page("/healthz").await;
            assert!(wire.is_silent());
        }
        stage.clock.advance(SECOND);
        let answer = wire.rest().await;
        assert!(status(&answer) == "408" && answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
    }
    is_well(stage).await;
}

#[tokio::test]
async fn a_peer_that_asks_and_never_reads_holds_its_connection_no_longer_than_an_idle_one() {
    let stage = with_bounds("connections = 1\nheader_seconds = 5").await;
    let mut hog = Wire::to(stage.stack.broker_addr).await;
    // Far more than the system's buffers take, in answers; the broker stops reading at some point.
    let requests = "GET /errors HTTP/1.1\r\nHost: x\r\n\r\n".repeat(4000);
    let hogging = tokio::spawn(async move {
        hog.send(requests).await;
        hog
    });
    let mut next = Wire::to(stage.stack.broker_addr).await;
    next.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    promptly(async {
        while next.is_silent() {
            stage.clock.advance(SECOND);
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(status(&next.answer().await), "200");
    let mut hog = promptly(hogging).await.unwrap();
    assert!(hog.rest().await.len() < 4000 * 1000, "it was cut off");
    drop(next);
    is_well(stage).await;
}

#[tokio::test]
async fn a_request_that_names_no_host_or_two_is_refused() {
    let stage = Stage::new().await;
    for (request, expected) in [
        ("POST /v1/tokens HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "400"),
        ("GET /healthz HTTP/1.1\r\n\r\n", "400"),
        ("GET /healthz HTTP/1.0\r\n\r\n", "200"),
        ("GET /healthz HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", "400"),
        ("GET /healthz HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", "400"),
    ] {
        let mut wire = Wire::to(stage.stack.broker_addr).await;
        wire.send(request).await;
        assert_eq!(status(&wire.answer().await), expected, "{request}");
    }
    is_well(stage).await;
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused_like_any_other() {
    let stage = Stage::new().await;
    for path in ["/api/v1/tasks/%ff", "/api/v1/tasks/%ff/cancel", "/api/v1/results/%c3%28", "/%ff"] {
        let mut wire = Wire::to(stage.stack.broker_addr).await;
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let answer = wire.answer().await;
        assert_eq!(status(&answer), "404", "{path}: {answer}");
        assert!(answer.contains("x-request-id: ") && answer.contains("\"request_id\":"), "{answer}");
    }
    is_well(stage).await;
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_their_turn() {
    let stage = with_bounds("connections = 2").await;
    let healthz = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut first = Wire::to(stage.stack.broker_addr).await;
    let mut second = Wire::to(stage.stack.broker_addr).await;
    for wire in [&mut first, &mut second] {
        wire.send(healthz).await;
        assert_eq!(status(&wire.answer().await), "200");
    }
    let mut third = Wire::to(stage.stack.broker_addr).await;
    third.send(healthz).await;
    for _ in 0..10 {
        second.send(healthz).await;
        assert_eq!(status(&second.answer().await), "200");
        assert!(third.is_silent());
    }
    drop(first);
    assert_eq!(status(&third.answer().await), "200");
    drop((second, third));
    is_well(stage).await;
}

#[tokio::test]
async fn what_is_no_http_harms_nobody() {
    let stage = Stage::new().await;
    let huge = [b"\x16\x03\x01\x02\x00".repeat(1000), vec![0; 100_000], vec![0xff; 100_000]];
    let mangled = [
        "\r\n\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\n: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n folded: x\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\n",
        "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx",
        "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "CONNECT upstream:443 HTTP/1.1\r\nHost: upstream\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http://elsewhere/v1/tokens HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    for bytes in mangled.iter().map(|text| text.as_bytes().to_vec()).chain(huge) {
        let mut wire = Wire::to(stage.stack.broker_addr).await;
        wire.send(&bytes).await;
        wire.end().await;
        let answer = wire.rest().await;
        let status = status(&answer);
        assert!(
            status == "none" || status.starts_with('4'),
            "{:?}: {answer}",
            String::from_utf8_lossy(&bytes)
        );
    }
    is_well(stage).await;
}

#[tokio::test]
async fn requests_sent_in_one_breath_are_answered_in_order() {
    let stage = Stage::new().await;
    let mut wire = Wire::to(stage.stack.broker_addr).await;
    let requests =
        ["/healthz", "/nothing", "/readyz"].map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    wire.send(requests.concat()).await;
    for (status, said) in [("200", "ok"), ("404", "not_found"), ("200", "ready")] {
        let answer = wire.answer().await;
        assert!(self::status(&answer) == status && answer.contains(said), "{answer}");
    }
    is_well(stage).await;
}
