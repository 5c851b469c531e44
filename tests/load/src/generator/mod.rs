//! The load generator: one thread, one epoll, prepared bytes. Runs as a process of its own, which
//! reads a [`Job`] from its standard input and writes a [`Report`] to its standard output.

mod connection;
mod expected;
mod latency;
mod pace;

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    thread::nanosleep,
};
use serde::{Deserialize, Serialize};
use valet_clock::{Clock, SystemClock};

use self::{
    connection::Connection,
    expected::{Checker, Received},
    latency::Histogram,
    pace::Pace,
};
pub(crate) use self::{
    expected::{Expected, head_length, headers},
    latency::Latency,
    pace::Load,
};
use crate::cores::{self, Used};

/// How long responses gather in a closed loop before one wait takes them all. Without it the server
/// wakes this process for nearly every response, which costs time on both cores. The
/// requests in flight keep the server busy for several times as long.
const GATHER: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000 };

/// The longest wait of a steady load for something to do.
const SOON: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000 };

/// How long before all others the one asks that hangs up: long enough for its request to be taken up, and far
/// shorter than any upstream takes.
const AHEAD: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A turn of the generator's that takes longer was held up by others on its core.
const HELD_UP: Duration = Duration::from_millis(5);

/// The most slow responses that are reported.
const MOST_SLOW: usize = 10_000;

/// How long the last responses may take once no more requests are sent.
const PATIENCE: Duration = Duration::from_secs(5);

/// What load to lay on which server.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Job {
    /// The server's address.
    pub(crate) address: SocketAddr,
    /// The server's process, whose processor time is read.
    pub(crate) server: u32,
    /// The bytes of the requests, which are sent in turn, over and over.
    pub(crate) requests: Vec<String>,
    /// What every response must be.
    pub(crate) expected: Expected,
    /// How many connections, each with at most one request in flight.
    pub(crate) connections: usize,
    /// When requests are sent.
    pub(crate) load: Load,
    /// How long to load the server before anything is measured.
    pub(crate) warm_up: Duration,
    /// How long to measure.
    pub(crate) measure: Duration,
    /// Whether responses that are not the expected one are counted; else the first one ends the run.
    pub(crate) counts_failures: bool,
    /// The latency from which on a response is reported by itself.
    pub(crate) slow: Option<Duration>,
}

/// What a job has shown.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    /// All responses, those of the warm-up included.
    pub(crate) responses: u64,
    /// Responses a second in the time measured.
    pub(crate) per_second: f64,
    /// Their latency.
    pub(crate) latency: Latency,
    /// How many were not the expected one, if they are counted.
    pub(crate) failures: u64,
    /// The slow ones, if they are reported, but for those that the generator itself was late for.
    pub(crate) slow: Vec<Slow>,
    /// How busy the server's process was, as a share of its core.
    pub(crate) server_busy: f64,
    /// How busy the generator's process was, as a share of its core.
    pub(crate) generator_busy: f64,
    /// What everything else took of the server's core.
    pub(crate) others_on_server: f64,
    /// What everything else took of the generator's core.
    pub(crate) others_on_generator: f64,
}

/// A slow response.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Slow {
    /// When it arrived, in Unix time.
    pub(crate) at: Duration,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Does `job`.
///
/// # Errors
/// If a connection fails, or a response is late or not the expected one.
pub(crate) fn run(job: &Job) -> Result<Report, String> {
    let mut generator = Generator::connect(job).map_err(|error| format!("cannot connect: {error}"))?;
    if let Load::Once { after_one_that_hangs_up } = job.load {
        generator.be_accepted(after_one_that_hangs_up)?;
    }
    let begin = SystemClock.now() + job.warm_up;
    generator.until(begin)?;
    let (before, from) = (Usage::read(job)?, SystemClock.now());
    generator.measured = Some(Histogram::new());
    generator.until(generator.end)?;
    let (after, seconds) = (Usage::read(job)?, (SystemClock.now() - from).as_secs_f64());
    let histogram = generator.measured.take().expect("it was put there above");
    generator.drain()?;
    let share = |after: f64, before: f64| (after - before) / seconds;
    let server_busy = share(after.server.process, before.server.process);
    let generator_busy = share(after.generator.process, before.generator.process);
    Ok(Report {
        responses: generator.responses,
        per_second: histogram.count() as f64 / seconds,
        latency: histogram.latency(),
        failures: generator.failures,
        slow: generator.slow,
        server_busy,
        generator_busy,
        others_on_server: share(after.server.core, before.server.core) - server_busy,
        others_on_generator: share(after.generator.core, before.generator.core) - generator_busy,
    })
}

struct Usage {
    server: Used,
    generator: Used,
}

impl Usage {
    fn read(job: &Job) -> Result<Self, String> {
        let read = |pid, core| Used::read(pid, core).map_err(|error| format!("processor time: {error}"));
        Ok(Self {
            server: read(job.server, cores::SERVER)?,
            generator: read(std::process::id(), cores::LOAD)?,
        })
    }
}

struct Generator<'j> {
    job: &'j Job,
    requests: std::iter::Cycle<std::slice::Iter<'j, String>>,
    epoll: std::os::fd::OwnedFd,
    events: Vec<epoll::Event>,
    connections: Vec<Connection>,
    /// The connections without a request in flight, the longest idle first.
    idle: VecDeque<usize>,
    checker: Checker,
    pace: Pace,
    end: Instant,
    responses: u64,
    failures: u64,
    slow: Vec<Slow>,
    /// When this turn began, and when the last one ended that was held up.
    turn: Instant,
    held_up: Option<Instant>,
    measured: Option<Histogram>,
}

impl<'j> Generator<'j> {
    fn connect(job: &'j Job) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::new();
        for index in 0..job.connections {
            let connection = Connection::open(job.address, SystemClock.now())?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, &connection, data, epoll::EventFlags::IN)?;
            connections.push(connection);
        }
        let start = SystemClock.now();
        let end = start + job.warm_up + job.measure;
        Ok(Self {
            job,
            requests: job.requests.iter().cycle(),
            epoll,
            events: Vec::with_capacity(job.connections),
            idle: (0..connections.len()).collect(),
            connections,
            checker: Checker::new(job.expected.clone()),
            pace: Pace::new(job.load, job.connections, start, end),
            end,
            responses: 0,
            failures: 0,
            slow: Vec::new(),
            turn: start,
            held_up: None,
            measured: None,
        })
    }

    /// Waits until the server has accepted all connections; then perhaps one more caller asks, and hangs up.
    fn be_accepted(&mut self, one_hangs_up: bool) -> Result<(), String> {
        // Ends of naps that come early do no harm.
        let settle = Timespec { tv_sec: 1, tv_nsec: 0 };
        let _ = nanosleep(&settle);
        if one_hangs_up {
            let now = SystemClock.now();
            let opened = Connection::open(self.job.address, now);
            opened.map_err(|error| format!("cannot connect: {error}"))?.send(self.next()?, now)?;
            let _ = nanosleep(&AHEAD);
        }
        Ok(())
    }

    /// Sends and receives until `until`.
    fn until(&mut self, until: Instant) -> Result<(), String> {
        loop {
            let now = SystemClock.now();
            if now - self.turn > HELD_UP {
                self.held_up = Some(now);
            }
            self.turn = now;
            let is_done = self.pace.is_over() && self.idle.len() == self.connections.len();
            if now >= until || is_done {
                return Ok(());
            }
            self.send_due(now)?;
            self.receive()?;
        }
    }

    /// Receives what is still in flight.
    fn drain(&mut self) -> Result<(), String> {
        let limit = self.end + PATIENCE;
        while self.idle.len() < self.connections.len() {
            if SystemClock.now() > limit {
                let missing = self.connections.len() - self.idle.len();
                return Err(format!("{missing} requests were never answered"));
            }
            self.receive()?;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<&'j [u8], String> {
        self.requests.next().map(String::as_bytes).ok_or_else(|| "a job without requests".to_owned())
    }

    fn send_due(&mut self, now: Instant) -> Result<(), String> {
        while let Some(index) = self.idle.front().copied()
            && let Some(due) = self.pace.next(now)
        {
            self.idle.pop_front();
            let request = self.next()?;
            self.connections[index].send(request, due)?;
        }
        Ok(())
    }

    /// Waits for responses, and sends at once what is due then.
    fn receive(&mut self) -> Result<(), String> {
        let timeout = match self.job.load {
            Load::Closed => {
                // An early end of the nap does no harm.
                let _ = nanosleep(&GATHER);
                Timespec { tv_sec: 0, tv_nsec: 100_000_000 }
            }
            // A sleep would be tens of microseconds late, which is the latency to be measured.
            Load::Open { .. } | Load::Once { .. } => Timespec::default(),
            Load::Steady { .. } => SOON,
        };
        let mut events = std::mem::take(&mut self.events);
        let waited = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout));
        waited.map_err(|error| format!("epoll: {error}"))?;
        for event in events.drain(..) {
            let index = usize::try_from(event.data.u64()).expect("the index of a connection");
            match self.connections[index].receive(&mut self.checker)? {
                Received::Part => continue,
                Received::Expected => {}
                Received::Other(_) if self.job.counts_failures => self.failures += 1,
                Received::Other(head) => return Err(format!("an unexpected response:\n{head}")),
            }
            let now = SystemClock.now();
            self.responses += 1;
            self.note(self.connections[index].due(), now);
            self.idle.push_back(index);
            self.send_due(now)?;
        }
        self.events = events;
        Ok(())
    }

    fn note(&mut self, due: Instant, now: Instant) {
        let took = now.saturating_duration_since(due);
        if let Some(measured) = &mut self.measured {
            measured.record(took);
        }
        let is_ours = now - self.turn > HELD_UP || self.held_up.is_some_and(|ended| due < ended);
        let is_slow = self.job.slow.is_some_and(|slow| took >= slow);
        if is_slow && !is_ours && self.slow.len() < MOST_SLOW {
            self.slow.push(Slow { at: SystemClock.unix(), took });
        }
    }
}
