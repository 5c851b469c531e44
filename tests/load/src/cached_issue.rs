//! Cached issue: the broker hands out a token that it has, with authentication, a rate limit, the
//! audit trail and metrics on, against a bare axum route that returns the same bytes.

use std::{
    io::{Read, Write},
    net::TcpStream,
    ops::RangeInclusive,
    time::Duration,
};

use clap::{Args, ValueEnum, value_parser};

use crate::{
    Outcome,
    comparison::{Pair, Pairs, generate},
    generator::{Expected, Job, Load, Report, head_length, headers},
    printer,
    server::{Answer, Bare, Broker, Endpoint, Upstream},
    target::{Bound, Verdict},
};

pub(crate) const CONNECTIONS: usize = 64;
pub(crate) const WARM_UP: Duration = Duration::from_millis(500);

/// By so many digits in all the figures in it may grow or shrink.
const DIGITS: usize = 2;

/// Below this the server was not what limited the run.
const SERVER_BUSY: f64 = 0.95;
/// Above this the generator was, and the ratio says nothing.
const GENERATOR_BUSY: f64 = 0.90;
/// So many times the repetitions are tried in search of runs that count.
pub(crate) const PATIENCE: u32 = 5;

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
    /// One door instead of both, one after the other
    #[arg(long)]
    door: Option<Door>,
}

/// A door of the broker's.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Door {
    /// `/v1/tokens`, as Valet's own client asks: without a body.
    V1,
    /// `/oauth/token`, as OAuth libraries ask: with a form.
    Oauth,
}

impl Door {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::V1 => "/v1/tokens",
            Self::Oauth => "/oauth/token",
        }
    }

    /// The body of a request.
    pub(crate) fn form(self) -> &'static str {
        match self {
            Self::V1 => "",
            Self::Oauth => "grant_type=client_credentials&scope=transcribe",
        }
    }

    /// How each body of the broker's begins.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::V1 => "{\"token\":\"st-",
            Self::Oauth => "{\"access_token\":\"st-",
        }
    }
}

/// The two servers, and what to load them with.
struct Bench<'o> {
    options: &'o Options,
    door: Door,
    broker: Broker,
    bare: Bare,
    request: String,
    answer: Answer,
    /// The broker's responses up to now, each with its line in the audit trail.
    audited: u64,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    printer::line("cached issue: broker and bare axum route on core 0, load on core 1, 64 connections")?;
    let mut verdicts = Vec::new();
    for door in options.door.map_or(vec![Door::V1, Door::Oauth], |door| vec![door]) {
        verdicts.extend(at(door, options).await?);
    }
    printer::verdicts(&verdicts)?;
    Ok(())
}

/// Measures one door.
async fn at(door: Door, options: &Options) -> Outcome<[Verdict; 3]> {
    printer::line(&format!("\nat {}", door.path()))?;
    let upstream = Upstream::start().await?;
    let broker = Broker::start(&upstream).await?;
    let request = broker.token_request(door.path(), door.form());
    let answer = answer(door.path(), broker.endpoint, request.clone()).await?;
    let bare = Bare::start(&answer).await?;
    let audited = audited(&broker, 1).await?;
    let mut bench = Bench { options, door, broker, bare, request, answer, audited };

    printer::head("closed loop: the most requests a second")?;
    let closed = bench.alternate(Load::Closed, saturated).await?;
    let per_second = options.rate;
    printer::head(&format!("open loop: {per_second} requests a second"))?;
    let open = bench.alternate(Load::Open { per_second }, |pair| kept_up(pair, options)).await?;
    let (lines, mints) = (bench.audited, upstream.mints());
    printer::line(&format!(
        "\naudit trail: {lines} lines for as many responses of the broker; {mints} mints upstream"
    ))?;
    bench.broker.stop().await?;

    let p50 = |report: &Report| report.latency.p50.as_secs_f64();
    let p99 = |report: &Report| report.latency.p99.as_secs_f64();
    let name = format!("cached issue at {}", door.path());
    let at_rate = |quantile| format!("{name}, open loop {quantile} at {per_second}/s");
    Ok([
        Verdict {
            name: name.clone(),
            measured: closed.ratio(|report| report.per_second),
            bound: Bound::AtLeast(0.80),
        },
        Verdict { name: at_rate("p50"), measured: open.ratio(p50), bound: Bound::AtMost(1.1) },
        Verdict { name: at_rate("p99"), measured: open.ratio(p99), bound: Bound::AtMost(1.5) },
    ])
}

impl Bench<'_> {
    /// Loads both by turns until enough pairs count.
    async fn alternate(
        &mut self,
        load: Load,
        counts: impl Fn(&Pair) -> Result<(), String>,
    ) -> Outcome<Pairs> {
        // The bare route's body never changes; the broker's names a token and its figures.
        let (body, length) = (&self.answer.body, self.answer.body.len());
        let bare_job = self.job(self.bare.endpoint, load, length..=length, body);
        let broker_job =
            self.job(self.broker.endpoint, load, length - DIGITS..=length + DIGITS, self.door.token());
        let mut pairs = Pairs::default();
        for _ in 0..self.options.repetitions * PATIENCE {
            let bare = generate(&bare_job).await?;
            printer::run("bare", &bare, "")?;
            let broker = generate(&broker_job).await?;
            self.audited += audited(&self.broker, broker.responses).await?;
            let pair = Pair { bare, broker };
            let verdict = counts(&pair);
            printer::run(
                "broker",
                &pair.broker,
                &verdict.as_ref().map_or_else(|why| format!("no: {why}"), |()| "yes".into()),
            )?;
            pairs.0.extend(verdict.is_ok().then_some(pair));
            if pairs.0.len() == self.options.repetitions as usize {
                break;
            }
        }
        if let Some(medians) = pairs.medians() {
            let of = format!("median of {}", pairs.0.len());
            printer::run("bare", &medians.bare, &of)?;
            printer::run("broker", &medians.broker, &of)?;
        }
        Ok(pairs)
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
            requests: vec![self.request.clone()],
            expected: Expected { status: 200, body_length, body_start: body_start.to_owned() },
            connections: CONNECTIONS,
            load,
            warm_up: WARM_UP,
            measure: Duration::from_secs(self.options.seconds),
            counts_failures: false,
            slow: None,
        }
    }
}

/// Whether the server, and only the server, limited both runs of a pair.
pub(crate) fn saturated(pair: &Pair) -> Result<(), String> {
    for (server, report) in [("bare", &pair.bare), ("broker", &pair.broker)] {
        if report.server_busy < SERVER_BUSY {
            return Err(format!("{server} was not busy"));
        }
        if report.generator_busy >= GENERATOR_BUSY {
            return Err(format!("the generator was too busy for {server}"));
        }
    }
    Ok(())
}

/// Whether the bare route kept the rate, so that the machine can: if the broker does not, that counts.
///
/// Fewer responses than were due show that it fell behind; more, that it caught up with a backlog from the
/// warm-up, and their latency is the backlog's. Only those in flight at the beginning or the end may differ.
fn kept_up(pair: &Pair, options: &Options) -> Result<(), String> {
    let astray = (pair.bare.per_second - f64::from(options.rate)).abs() * options.seconds as f64;
    if astray > CONNECTIONS as f64 {
        return Err("bare did not keep the rate".into());
    }
    Ok(())
}

/// Every response has its line in the audit trail, and no line is without one.
async fn audited(broker: &Broker, responses: u64) -> Outcome<u64> {
    match broker.take_audit(responses).await? {
        lines if lines == responses => Ok(lines),
        lines => Err(format!("{responses} responses, but {lines} lines in the audit trail").into()),
    }
}

/// The broker's answer to one `request`, for the bare route to copy.
pub(crate) async fn answer(path: &'static str, broker: Endpoint, request: String) -> Outcome<Answer> {
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
            path: path.to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: String::from_utf8(body.to_vec())?,
        })
    })
    .await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::Latency;

    fn pair(bare_per_second: f64) -> Pair {
        let time = Duration::from_micros(50);
        let report = |per_second| Report {
            responses: 1,
            per_second,
            latency: Latency { p50: time, p99: time, p999: time, most: time },
            failures: 0,
            slow: Vec::new(),
            server_busy: 0.97,
            generator_busy: 0.8,
            others_on_server: 0.0,
            others_on_generator: 0.0,
        };
        Pair { bare: report(bare_per_second), broker: report(40_000.0) }
    }

    #[test]
    fn a_rate_is_kept_neither_by_falling_behind_nor_by_catching_up() {
        let options = Options { seconds: 2, repetitions: 5, rate: 50_000, door: None };
        for (per_second, kept) in [(50_000.0, true), (49_980.0, true), (49_900.0, false), (51_000.0, false)] {
            assert_eq!(kept_up(&pair(per_second), &options).is_ok(), kept, "{per_second}");
        }
    }

    #[test]
    fn a_closed_loop_counts_only_if_the_server_was_busy_and_the_generator_was_not() {
        assert_eq!(saturated(&pair(50_000.0)), Ok(()));
        let mut idle = pair(50_000.0);
        idle.bare.server_busy = 0.94;
        assert!(saturated(&idle).is_err());
        let mut choked = pair(50_000.0);
        choked.broker.generator_busy = 0.90;
        assert!(saturated(&choked).is_err());
    }
}
