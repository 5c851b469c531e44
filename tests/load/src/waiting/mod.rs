//! Waiting clients: ten thousand wait at the relay, each for a task of its own, while one account's queries are
//! all that anyone may ask with, and a direct client spends five a second of them.

mod bare;
mod direct;
mod journal;
mod waiter;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{Args, value_parser};
use tokio::task::JoinSet;
use valet_clock::{Clock, ClockExt, SystemClock};
use valet_demo::recordings::Recordings;
use valet_sandbox::{Settings, TaskTime};

use self::{bare::Bare, waiter::Waiter};
pub(crate) use self::{
    bare::serve as serve_bare_wait,
    waiter::{Connection, submission, task},
};
use crate::{
    Outcome, files, printer,
    process::resident,
    server::{Relay, Upstream, Usage},
    target::{Bound, Verdict},
};

/// What the account may be asked in a second (*Manage asynchronous tasks*).
const LIMIT: u32 = 20;
/// How long after the submits the first task ends.
const AHEAD: Duration = Duration::from_secs(20);
/// How long a submit may take, with all that are made at once.
const SUBMIT: Duration = Duration::from_millis(15);
/// Submits at a time.
const AT_ONCE: u32 = 32;
/// How long all may take to be seated before memory is looked at.
const SETTLED: Duration = Duration::from_secs(5);
const RECORDING: &str = "library.ogg";
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recordings");

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How many clients wait, each for a task of its own
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(2..=50_000))]
    clients: u32,
    /// In how many seconds the tasks end, one after another
    #[arg(long, default_value_t = 900, value_parser = value_parser!(u64).range(10..=7200))]
    seconds: u64,
    /// How many tasks the account's list has on a page at the most; 0 turns the list off
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(0..=1000))]
    page: u32,
    /// How many brokers share a Redis and the clients; one has none
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u8).range(1..=16))]
    replicas: u8,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let Options { clients, seconds, page, replicas } = *options;
    let pages = if page == 0 { "the list off".to_owned() } else { format!("pages of {page}") };
    let (setting, brokers) = match replicas {
        1 => (pages, "broker".to_owned()),
        _ => (format!("{replicas} replicas, {pages}"), format!("{replicas} brokers and their Redis")),
    };
    printer::line(&format!(
        "waiting clients, {setting}: {brokers} on core 0; on core 1 an upstream that allows {LIMIT} queries a second, \
         {clients} clients with a task each, and a direct client at each broker, which ask five times a second in all; the \
         tasks end within {seconds} s"
    ))?;
    // A connection is a file of each of the two processes.
    files::raise_limit(u64::from(clients) + 500)?;
    let begun = SystemClock.now();
    let first = begun + AHEAD + SUBMIT * clients;
    let ends = Ends { first, span: Duration::from_secs(seconds), clients };
    let settings = Settings::default()
        .with_time_of_tasks(move |urls| ends.time(urls))
        .with_queries_per_second(LIMIT)
        .with_submits_per_minute(10_000_000)
        .with_page_max(page.max(1))
        .with_journal_capacity(1_000_000);
    let upstream = Upstream::start_with(settings).await?;
    let recordings = Recordings::serve(FOLDER.as_ref()).await?;
    let relay = Relay::start(&upstream, page, replicas.into()).await?;
    let url = recordings.url(RECORDING);
    let waiters = submit(&relay, &url, ends).await?;
    let took = (SystemClock.now() - begun).as_secs_f64();
    printer::line(&format!("{clients} tasks were submitted in {took:.0} s"))?;
    let before = memory(&relay)?;
    let from = upstream.sandbox().journal().last().map_or(0, |entry| entry.sequence);
    // Each has its broker's part of what is left to direct callers.
    let mut direct: JoinSet<_> =
        relay.directs().map(|direct| direct::spend(direct, replicas.into())).collect();
    let mut waiting = JoinSet::new();
    for (waiter, broker) in waiters.into_iter().zip(relay.endpoints().cycle()) {
        // One after another: who connects and then says nothing for long would be taken for somebody that never will.
        waiting.spawn(waiter.sit_down(broker.address).await?.wait());
    }
    SystemClock.sleep(SETTLED).await;
    let seated = memory(&relay)?;
    let (since, shared) = (SystemClock.now(), relay.shared_use().await?);
    let mut delays = Vec::new();
    while let Some(told) = waiting.join_next().await {
        delays.push(told??);
    }
    direct.abort_all();
    let shared = shared.zip(relay.shared_use().await?);
    let waited = (SystemClock.now() - since).as_secs_f64();
    let journal = upstream.sandbox().journal();
    let asked: Vec<_> = journal.into_iter().filter(|entry| entry.sequence > from).collect();
    relay.stop().await?;
    let each = seated.saturating_sub(before) as f64 / f64::from(clients);
    let bare = Bare::start().await?.each(clients).await?;
    printer::line(&format!(
        "a waiting client takes {each:.0} bytes of the broker; of a bare axum handler {bare:.0}"
    ))?;
    if let Some((before, after)) = shared {
        tell_shared(before, after, waited)?;
    }
    journal::tell(&asked)?;
    delays.sort_unstable();
    let at = |percent: usize| delays.get(delays.len() * percent / 100).map(Duration::as_secs_f64);
    let verdict = |what: &str, measured, bound| Verdict {
        name: format!("waiting clients, {setting}, {what}"),
        measured,
        bound,
    };
    printer::verdicts(&[
        verdict("seconds from the end to knowing, median", at(50), Bound::AtMost(2.0)),
        verdict("seconds from the end to knowing, p99", at(99), Bound::AtMost(5.0)),
        verdict(
            "most queries in any second",
            Some(journal::most_in_a_second(&asked)),
            Bound::AtMost(LIMIT.into()),
        ),
        verdict("memory against a bare handler that waits", Some(each / bare), Bound::AtMost(1.3)),
    ])?;
    Ok(())
}

/// The resident memory of all brokers, in bytes.
fn memory(relay: &Relay) -> Outcome<u64> {
    Ok(relay.endpoints().map(|broker| resident(broker.pid)).sum::<Result<_, _>>()?)
}

/// A line about what the brokers' Redis was used for in so many seconds.
fn tell_shared(before: Usage, after: Usage, seconds: f64) -> Outcome<()> {
    let per_second = |count: fn(Usage) -> u64| (count(after) - count(before)) as f64 / seconds;
    printer::line(&format!(
        "the Redis executed {:.1} commands a second while they waited, in {:.1} scripts, and took {:.1} MiB in the end",
        per_second(|usage| usage.commands),
        per_second(|usage| usage.scripts),
        after.memory as f64 / f64::from(1 << 20)
    ))?;
    Ok(())
}

/// When the tasks end, one after another.
#[derive(Clone, Copy, Debug)]
struct Ends {
    first: Instant,
    span: Duration,
    clients: u32,
}

impl Ends {
    /// Of the task of a client: in an order that has nothing to do with that of the submits.
    fn of(self, client: u32) -> Instant {
        let place = u64::from(client) * 7919 % u64::from(self.clients);
        self.first + self.span.mul_f64(place as f64 / f64::from(self.clients))
    }

    /// How long a task takes that is submitted now.
    fn time(self, urls: &[String]) -> Option<TaskTime> {
        let client = urls.first()?.rsplit_once('?')?.1.parse().ok()?;
        let running = self.of(client).saturating_duration_since(SystemClock.now());
        Some(TaskTime { pending: Duration::ZERO, running })
    }
}

/// Submits a task for each client.
async fn submit(relay: &Relay, url: &str, ends: Ends) -> Outcome<Vec<Waiter>> {
    let secret: Arc<str> = relay.secret().into();
    let mut submitting = JoinSet::new();
    for (first, broker) in (0..AT_ONCE.min(ends.clients)).zip(relay.endpoints().cycle()) {
        let (secret, url) = (secret.clone(), url.to_owned());
        submitting.spawn(async move {
            let mut connection = Connection::open(broker.address).await?;
            let mut waiters = Vec::new();
            for client in (first..ends.clients).step_by(AT_ONCE as usize) {
                let handle = connection.submit(&secret, &url, client).await?;
                waiters.push(Waiter { handle, secret: secret.clone(), ends: ends.of(client) });
            }
            Outcome::Ok(waiters)
        });
    }
    let mut waiters = Vec::new();
    while let Some(submitted) = submitting.join_next().await {
        waiters.extend(submitted??);
    }
    if SystemClock.now() + AHEAD / 2 > ends.first {
        return Err("the submits took too long: tasks would have ended before anybody waits".into());
    }
    Ok(waiters)
}
