//! Cached issue beside what others would put in its place: node oidc-provider, and nginx with a password, a
//! rate limit and a cache.

use std::time::Duration;

use clap::{Args, value_parser};

use crate::{
    Outcome,
    cached_issue::{Door, answer},
    comparison::{Pair, Pairs, generate},
    generator::{Expected, Job, Load},
    printer,
    server::{Broker, Endpoint, Peer, Upstream},
    target::{Bound, Verdict},
};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long each run is measured, in seconds, after half a second of warm-up
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many pairs of runs are measured of each
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(5..=100))]
    repetitions: u32,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    printer::line("cached issue beside its peers: each server on core 0, load on core 1, 64 connections")?;
    let upstream = Upstream::start().await?;
    let broker = Broker::start(&upstream).await?;
    let oauth = Door::Oauth;
    let request = broker.token_request(oauth.path(), oauth.form());
    let body = answer(oauth.path(), broker.endpoint, request.clone()).await?.body;
    let ours = job(broker.endpoint, request.clone(), body.len(), oauth.token(), options);
    let mut verdicts = Vec::new();

    let node = Peer::oidc_provider(&Broker::credential()).await?;
    let theirs = job(
        node.endpoint,
        broker.token_request("/token", oauth.form()),
        body.len(),
        "{\"access_token\":",
        options,
    );
    let pairs = alternate("node oidc-provider", &theirs, &ours, options).await?;
    verdicts.push(verdict("node oidc-provider", &pairs, 20.0));
    drop(node);

    let nginx = Peer::nginx(&Broker::credential(), &body).await?;
    let theirs = job(nginx.endpoint, request, body.len(), &body, options);
    let pairs = alternate("nginx with a password, a limit and a cache", &theirs, &ours, options).await?;
    verdicts.push(verdict("nginx", &pairs, 1.3));
    drop(nginx);

    broker.stop().await?;
    printer::verdicts(&verdicts)?;
    Ok(())
}

fn verdict(peer: &str, pairs: &Pairs, target: f64) -> Verdict {
    let measured = pairs.ratio(|report| report.per_second);
    Verdict { name: format!("cached issue, times {peer}"), measured, bound: Bound::AtLeast(target) }
}

/// Loads the peer and the broker by turns.
async fn alternate(name: &str, theirs: &Job, ours: &Job, options: &Options) -> Outcome<Pairs> {
    printer::head(&format!("closed loop: {name}"))?;
    let mut pairs = Pairs::default();
    for _ in 0..options.repetitions {
        let bare = generate(theirs).await?;
        printer::run("peer", &bare, "")?;
        let broker = generate(ours).await?;
        printer::run("broker", &broker, "")?;
        pairs.0.push(Pair { bare, broker });
    }
    Ok(pairs)
}

fn job(endpoint: Endpoint, request: String, length: usize, body_start: &str, options: &Options) -> Job {
    Job {
        address: endpoint.address,
        server: endpoint.pid,
        requests: vec![request],
        // A token of theirs is shorter, and there is less beside it.
        expected: Expected { status: 200, body_length: 20..=length + 2, body_start: body_start.to_owned() },
        connections: 64,
        load: Load::Closed,
        warm_up: Duration::from_millis(500),
        measure: Duration::from_secs(options.seconds),
        counts_failures: false,
        slow: None,
    }
}
