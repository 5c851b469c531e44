//! Relay token check: the relay is asked, with a relay token that it knows, for a task that never was; so it checks the
//! token, opens the handle, and calls nobody. Against a bare axum route that returns the same bytes.

use std::time::Duration;

use clap::{Args, value_parser};

use crate::{
    Outcome,
    cached_issue::{CONNECTIONS, Door, PATIENCE, WARM_UP, answer, saturated},
    comparison::{Pair, Pairs, generate},
    generator::{Expected, Job, Load},
    printer,
    server::{Bare, Broker, Endpoint, Upstream},
    target::{Bound, Verdict},
};

/// A task of nobody's.
const PATH: &str = "/api/v1/tasks/no-such-task";
/// How the answer begins; behind it stands the name of the request.
const START: &str = "{\"output\":{\"task_id\":\"no-such-task\",\"task_status\":\"UNKNOWN\"}";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long each run is measured, in seconds, after half a second of warm-up
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many pairs of runs must count
    #[arg(long, default_value_t = 11, value_parser = value_parser!(u32).range(5..=100))]
    repetitions: u32,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    printer::line("relay token check: broker and bare axum route on core 0, load on core 1, 64 connections")?;
    let upstream = Upstream::start().await?;
    let broker = Broker::start_relay(&upstream).await?;
    let issued = broker.token_request(Door::V1.path(), Door::V1.form());
    let issued: serde_json::Value =
        serde_json::from_str(&answer(Door::V1.path(), broker.endpoint, issued).await?.body)?;
    let token = issued["token"].as_str().filter(|_| issued["mode"] == "relay").ok_or("no relay token")?;
    let host = broker.endpoint.address;
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nauthorization: Bearer {token}\r\naccept: */*\r\nhost: {host}\r\n\r\n"
    );
    let copied = answer(PATH, broker.endpoint, request.clone()).await?;
    let bare = Bare::start(&copied).await?;

    let job = |endpoint: Endpoint, start: &str| Job {
        address: endpoint.address,
        server: endpoint.pid,
        requests: vec![request.clone()],
        expected: Expected {
            status: 200,
            body_length: copied.body.len()..=copied.body.len(),
            body_start: start.to_owned(),
        },
        connections: CONNECTIONS,
        load: Load::Closed,
        warm_up: WARM_UP,
        measure: Duration::from_secs(options.seconds),
        counts_failures: false,
        slow: None,
    };
    let (theirs, ours) = (job(bare.endpoint, &copied.body), job(broker.endpoint, START));
    printer::head("closed loop: the most requests a second")?;
    let mut pairs = Pairs::default();
    for _ in 0..options.repetitions * PATIENCE {
        let bare = generate(&theirs).await?;
        printer::run("bare", &bare, "")?;
        let pair = Pair { bare, broker: generate(&ours).await? };
        let verdict = saturated(&pair);
        let counts = verdict.as_ref().map_or_else(|why| format!("no: {why}"), |()| "yes".into());
        printer::run("broker", &pair.broker, &counts)?;
        pairs.0.extend(verdict.is_ok().then_some(pair));
        if pairs.0.len() == options.repetitions as usize {
            break;
        }
    }
    printer::line(&format!("\n{} mints upstream", upstream.mints()))?;
    broker.stop().await?;
    let measured = pairs.ratio(|report| report.per_second);
    printer::verdicts(&[Verdict {
        name: "relay token check".into(),
        measured,
        bound: Bound::AtLeast(0.75),
    }])?;
    Ok(())
}
