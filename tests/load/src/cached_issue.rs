//! Cached issue: the broker hands out a token that it has, with authentication, a rate limit, the
//! audit trail and metrics on, against a bare axum route that returns the same bytes.

use std::{
    io::{Read, Write},
    net::TcpStream,
    ops::RangeInclusive,
    time::Duration,
};

use clap::{Args, value_parser};

use crate::{
    Outcome,
    comparison::{Pair, generate, ratio},
    generator::{Expected, Job, Load, Report, head_length, headers},
    printer,
    server::{Answer, Bare, Broker, Endpoint, Upstream},
    target::{Bound, Verdict},
};

const PATH: &str = "/v1/tokens";
const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_millis(500);

/// How each body of the broker's begins.
const TOKEN: &str = "{\"token\":\"st-";
/// By so many digits in all the figures in it may grow or shrink.
const DIGITS: usize = 2;

/// Below this the server was not what limited the run.
const SERVER_BUSY: f64 = 0.95;
/// Above this the generator was, and the ratio says nothing.
const GENERATOR_BUSY: f64 = 0.90;
/// Above this something else took the cores away from a run at a fixed rate.
const OTHERS: f64 = 0.05;
/// So many times the repetitions are tried in search of runs that count.
const PATIENCE: u32 = 5;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long each run is measured, in seconds, after half a second of warm-up
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many pairs of runs must count
    #[arg(long, default_value_t = 11, value_parser = value_parser!(u32).range(5..=100))]
    repetitions: u32,
    /// The fixed rate of the open loop, in requests a second
    #[arg(long, default_value_t = 50_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
}

/// The two servers, and what to load them with.
struct Bench<'o> {
    options: &'o Options,
    broker: Broker,
    bare: Bare,
    request: String,
    answer: Answer,
    /// The broker's responses up to now, each with its line in the audit trail.
    audited: u64,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    printer::line("cached issue: broker and bare axum route on core 0, load on core 1, 64 connections")?;
    let upstream = Upstream::start().await?;
    let broker = Broker::start(&upstream).await?;
    let request = broker.token_request();
    let answer = answer(broker.endpoint, request.clone()).await?;
    let bare = Bare::start(&answer).await?;
    let audited = audited(&broker, 1).await?;
    let mut bench = Bench { options, broker, bare, request, answer, audited };

    printer::head("closed loop: the most requests a second")?;
    let closed = bench.alternate(Load::Closed, saturated).await?;
    let per_second = options.rate;
    printer::head(&format!("open loop: {per_second} requests a second"))?;
    let open = bench.alternate(Load::Open { per_second }, undisturbed).await?;
    let lines = bench.audited;
    printer::line(&format!("\naudit trail: {lines} lines for as many responses of the broker"))?;
    bench.broker.stop().await?;

    let p50 = |report: &Report| report.latency.p50.as_secs_f64();
    let p99 = |report: &Report| report.latency.p99.as_secs_f64();
    printer::verdicts(&[
        Verdict {
            name: "cached issue",
            measured: ratio(&closed, |report| report.per_second),
            bound: Bound::AtLeast(0.80),
        },
        Verdict {
            name: "cached issue, open loop p50",
            measured: ratio(&open, p50),
            bound: Bound::AtMost(1.1),
        },
        Verdict {
            name: "cached issue, open loop p99",
            measured: ratio(&open, p99),
            bound: Bound::AtMost(1.5),
        },
    ])?;
    Ok(())
}

impl Bench<'_> {
    /// Loads both by turns until enough pairs count; none if too few do.
    async fn alternate(
        &mut self,
        load: Load,
        counts: impl Fn(&Report) -> Result<(), String>,
    ) -> Outcome<Vec<Pair>> {
        // The bare route's body never changes; the broker's names a token and its figures.
        let (body, length) = (&self.answer.body, self.answer.body.len());
        let bare_job = self.job(self.bare.endpoint, load, length..=length, body);
        let broker_job = self.job(self.broker.endpoint, load, length - DIGITS..=length + DIGITS, TOKEN);
        let mut pairs = Vec::new();
        for _ in 0..self.options.repetitions * PATIENCE {
            let bare = generate(&bare_job).await?;
            let bare_counts = counts(&bare);
            printer::run("bare", &bare, &bare_counts)?;
            let broker = generate(&broker_job).await?;
            let broker_counts = counts(&broker);
            printer::run("broker", &broker, &broker_counts)?;
            self.audited += audited(&self.broker, broker.responses).await?;
            if bare_counts.is_ok() && broker_counts.is_ok() {
                pairs.push(Pair { bare, broker });
            }
            if pairs.len() == self.options.repetitions as usize {
                return Ok(pairs);
            }
        }
        Ok(Vec::new())
    }

    fn job(
        &self,
        endpoint: Endpoint,
        load: Load,
        body_length: RangeInclusive<usize>,
        body_start: &str,
    ) -> Job {
        Job {
            address: endpoint.address,
            server: endpoint.pid,
            request: self.request.clone(),
            expected: Expected { status: 200, body_length, body_start: body_start.to_owned() },
            connections: CONNECTIONS,
            load,
            warm_up: WARM_UP,
            measure: Duration::from_secs(self.options.seconds),
        }
    }
}

/// Whether the server, and only the server, limited a run.
fn saturated(report: &Report) -> Result<(), String> {
    if report.server_busy < SERVER_BUSY {
        Err("server not busy".into())
    } else if report.generator_busy >= GENERATOR_BUSY {
        Err("generator too busy".into())
    } else {
        Ok(())
    }
}

/// Whether nothing else kept server or generator from a fixed rate.
fn undisturbed(report: &Report) -> Result<(), String> {
    if report.others_on_server.max(report.others_on_generator) > OTHERS {
        Err("disturbed".into())
    } else {
        Ok(())
    }
}

/// Every response has its line in the audit trail, and no line is without one.
async fn audited(broker: &Broker, responses: u64) -> Outcome<u64> {
    match broker.take_audit(responses).await? {
        lines if lines == responses => Ok(lines),
        lines => Err(format!("{responses} responses, but {lines} lines in the audit trail").into()),
    }
}

/// The broker's answer to one `request`, for the bare route to copy.
async fn answer(broker: Endpoint, request: String) -> Outcome<Answer> {
    // Off this thread: the upstream that the broker mints at runs here.
    tokio::task::spawn_blocking(move || {
        let closing = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let mut stream = TcpStream::connect(broker.address)?;
        stream.write_all(closing.as_bytes())?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response)?;
        let head = head_length(&response).ok_or("the broker's answer has no end of head")?;
        let (head, body) = response.split_at(head);
        if !head.starts_with(b"HTTP/1.1 200 ") {
            return Err(format!("the broker answered {}", String::from_utf8_lossy(&response)).into());
        }
        let own = |name: &str| !matches!(name, "content-length" | "date" | "connection");
        let headers = headers(head).filter(|(name, _)| own(name));
        Ok(Answer {
            path: PATH.to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: String::from_utf8(body.to_vec())?,
        })
    })
    .await?
}
