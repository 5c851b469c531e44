//! A steady load on a warm broker, while something happens to its upstream.

use std::time::Duration;

use crate::{
    Outcome,
    cached_issue::Door,
    generator::{Expected, Job, Load},
    server::Broker,
};

/// The connections that the load comes by.
const CONNECTIONS: usize = 64;

/// The job of asking at `/v1/tokens` at a fixed rate for so long; what is not answered with a token is counted.
pub(crate) fn job(broker: &Broker, per_second: u32, time: Duration, slow: Option<Duration>) -> Job {
    let door = Door::V1;
    Job {
        address: broker.endpoint.address,
        server: broker.endpoint.pid,
        requests: vec![broker.token_request(door.path(), door.form())],
        expected: Expected { status: 200, body_length: 50..=1000, body_start: door.token().to_owned() },
        connections: CONNECTIONS,
        load: Load::Steady { per_second },
        warm_up: Duration::ZERO,
        measure: time,
        counts_failures: true,
        slow,
    }
}

/// Has the broker mint the token that it will hand out.
pub(crate) async fn warm(broker: &Broker) -> Outcome<()> {
    let door = Door::V1;
    let request = broker.token_request(door.path(), door.form());
    crate::cached_issue::answer(door.path(), broker.endpoint, request).await.map(drop)
}
