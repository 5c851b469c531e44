//! Hot path: what the broker itself does for a cached issue, without HTTP: from an app's id and secret to the body
//! of the answer, its audit record and its metrics. Counted in processor time of the one thread that does it.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use clap::{Args, value_parser};
use futures_util::FutureExt;
use prometheus_client::registry::Registry;
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use valet_clock::{ClockExt, SharedClock, SystemClock};
use valet_server::{
    admission::{Gate, Subjects},
    audit::{self, Door, Trail},
    config::Config,
    identity::Credential,
    issue::{Answer, Arrival, Ask, Issue, Issued, Refusal},
    policy::TokenRequest,
    request_id::RequestIds,
    site::{Form, Site},
    telemetry::IssueMetrics,
    token::{self, Cache},
};

use crate::{
    Outcome,
    comparison::median,
    cores, printer,
    server::{Broker, Upstream, config_of, environment, line_count},
    target::{Bound, Verdict},
};

/// Issues in a batch: as many as a busy broker's audit trail gathers before it writes.
/// None is lost that way, and none is spared its record.
const BATCH: u32 = 4_000;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How many batches are measured, of which the median counts
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u32).range(5..=10_000))]
    batches: u32,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    printer::line(&format!(
        "hot path: {} batches of {BATCH} cached issues, without HTTP, on core 0; an upstream and the audit trail's writer \
         on core 1",
        options.batches
    ))?;
    let upstream = Upstream::start().await?;
    let files = TempDir::new_in(std::env::current_exe()?.parent().ok_or("the binary lies nowhere")?)?;
    let audit = files.path().join("audit.jsonl");
    let (issue, writer) = issue(&upstream, &audit)?;
    let (ids, clock, peer) = (RequestIds::new(), &issue.clock, Arc::from("127.0.0.1:40000"));
    let arrival = || {
        let at = clock.now();
        Arrival {
            door: Door::V1,
            request_id: ids.next(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            peer: Arc::clone(&peer),
            origin: None,
            at,
            read: at,
        }
    };
    let (app, secret) = Broker::credential();
    // As a door has read it: the secret is hashed here.
    let ask = || Ask {
        credential: Credential::id_and_secret(app.clone(), secret.as_bytes()),
        request: TokenRequest::default(),
    };
    let warmed = issue.serve(arrival(), &Ok(ask()), answer).await;
    let mut nanoseconds = Vec::new();
    let mut issued = u32::from(warmed);
    for _ in 0..options.batches {
        cores::pin_to(cores::SERVER)?;
        let begun = used()?;
        for _ in 0..BATCH {
            // A hit never waits.
            let served = pin!(issue.serve(arrival(), &Ok(ask()), answer)).now_or_never();
            issued += u32::from(served.unwrap_or(false));
        }
        let took = used()?.saturating_sub(begun);
        cores::pin_to(cores::LOAD)?;
        nanoseconds.push(took.as_secs_f64() * 1e9 / f64::from(BATCH));
        // The writer catches up, and a refresh that came due is done.
        clock.sleep(Duration::from_millis(100)).await;
    }
    drop(issue);
    tokio::task::spawn_blocking(|| writer.close()).await?;
    let (wanted, lines) = (options.batches * BATCH + 1, line_count(&audit)?);
    if issued != wanted || lines != u64::from(wanted) {
        return Err(
            format!("of {wanted} issues {issued} gave a token, and {lines} have an audit line").into()
        );
    }
    printer::line(&format!("{wanted} tokens and as many audit lines; {} mints upstream", upstream.mints()))?;
    printer::verdicts(&[Verdict {
        name: "hot path, ns for a cached issue".into(),
        measured: median(nanoseconds),
        bound: Bound::AtMost(400.0),
    }])?;
    Ok(())
}

/// The processor time that this thread has used: what others do on its core is none of it.
fn used() -> Outcome<Duration> {
    Ok(clock_gettime(ClockId::ThreadCPUTime).try_into()?)
}

/// The use case with everything on, as the broker puts it together.
fn issue(upstream: &Upstream, audit: &Path) -> Outcome<(Issue, audit::Writer)> {
    let config = Config::read(&config_of("", upstream.base_url(), audit), &environment())?;
    let clock: SharedClock = Arc::new(SystemClock);
    let mut registry = Registry::default();
    let token_metrics = Arc::new(token::Metrics::register(&mut registry));
    let site = Site::new(&config, &clock, &token_metrics, None, None)?;
    let metrics = audit::Metrics::register(&mut registry);
    let (trail, writer) = Trail::open(&config.audit, "hot-path", clock.clone(), metrics)?;
    let issue = Issue {
        site: ArcSwap::from_pointee(site),
        subjects: Subjects::new(None),
        gate: Gate::new(),
        cache: Cache::new(config.max_cached_tokens, clock.clone(), token_metrics),
        trail,
        clock,
        metrics: IssueMetrics::register(&mut registry),
    };
    Ok((issue, writer))
}

/// What a door makes of a decision, and whether it was a token.
fn answer(decided: Result<&Issued<'_>, &Refusal>) -> (u16, bool) {
    match decided {
        Ok(issued) => (200, !issued.body(Form::V1, render).is_empty()),
        Err(_) => (503, false),
    }
}

/// A body as the door's; made once a second.
fn render(answer: &Answer<'_>) -> Vec<u8> {
    let Answer { token, expires_in, expires_at, base_url, .. } = answer;
    serde_json::json!({ "token": token, "expires_in": expires_in, "expires_at": expires_at, "base_url": base_url })
        .to_string()
        .into_bytes()
}
