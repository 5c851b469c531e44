//! Traces, as a collector gets them: what a miss waits for, and nothing of a hit.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message;
use tokio::net::TcpListener;
use tracing_subscriber::layer::SubscriberExt;
use valet_sandbox::{Fault, Operation};
use valet_server::telemetry::Traces;

use crate::harness::{SECOND, Stage, promptly};

type Bodies = Arc<Mutex<Vec<Bytes>>>;

/// A collector, and what it is sent.
async fn collector() -> (String, Bodies) {
    let bodies = Bodies::default();
    let take = |State(bodies): State<Bodies>, body: Bytes| async move { bodies.lock().unwrap().push(body) };
    let routes = Router::new().route("/v1/traces", post(take)).with_state(bodies.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (url, bodies)
}

fn word(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|found| found.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => panic!("{name} of {}: {other:?}", span.name),
    }
}

#[tokio::test]
async fn a_miss_is_traced_to_the_call_upstream_and_a_hit_is_not() {
    let (url, bodies) = collector().await;
    let exporter = SpanExporter::builder().with_http().with_endpoint(url).build().unwrap();
    let traces = Traces::to(exporter);
    let taken = tracing::subscriber::set_default(tracing_subscriber::registry().with(traces.layer()));

    let stage = Stage::new().await;
    // What one broker has in hand is a miss to another.
    stage.stack.sandbox.script(Fault::on(Operation::Mint).refuse(503, "SystemError", "Try again."));
    assert_eq!(stage.ask_of(0).await.status, 503);
    stage.clock.advance(SECOND);
    let answer = stage.ask_of(0).await;
    let (token, request_id) = (answer.token(), answer.header("x-request-id").unwrap().to_owned());
    for _ in 0..3 {
        assert_eq!(stage.ask_of(0).await.token(), token);
    }
    let (secret, key) = (stage.stack.secret.expose().to_owned(), stage.stack.sandbox_key.clone());
    stage.stop().await;
    drop(taken);
    // It blocks, and the collector is served by this thread.
    promptly(tokio::task::spawn_blocking(|| traces.close())).await.unwrap();

    let bodies = std::mem::take(&mut *bodies.lock().unwrap());
    for secret in [token, secret, key] {
        let canary = secret.as_bytes();
        assert!(!bodies.iter().any(|body| body.windows(canary.len()).any(|window| window == canary)));
    }
    let requests = bodies.into_iter().map(|body| ExportTraceServiceRequest::decode(body).unwrap());
    let resources = requests.flat_map(|request| request.resource_spans);
    let spans: Vec<Span> =
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let outcomes = |name: &str| named(name).iter().map(|span| word(span, "outcome")).collect::<Vec<_>>();
    assert_eq!(outcomes("obtain"), ["unavailable", "ok"]);
    assert_eq!(outcomes("mint_call"), ["unavailable", "ok"]);
    let (obtain, mint, call) = (named("obtain")[1], named("mint")[1], named("mint_call")[1]);
    assert_eq!(word(obtain, "request_id"), request_id);
    assert_eq!((word(mint, "app"), word(mint, "refresh")), ("demo".into(), "false".into()));
    assert_eq!((&mint.parent_span_id, &call.parent_span_id), (&obtain.span_id, &mint.span_id));
    assert!(obtain.trace_id == mint.trace_id && mint.trace_id == call.trace_id);
    assert!(!word(call, "upstream_request_id").is_empty());
}
