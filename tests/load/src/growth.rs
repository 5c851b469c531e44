//! Growth: what a cached issue costs at a broker of many apps, and of an app with many users, beside one of few.

use std::time::Duration;

use clap::{Args, value_parser};

use crate::{
    Outcome,
    cached_issue::{CONNECTIONS, Door, WARM_UP},
    comparison::{Pair, Pairs, generate},
    generator::{Expected, Job, Load},
    printer,
    process::resident,
    server::{Broker, Upstream, config_of, hash},
};

/// How many apps there are, or users of one app, from run to run; each is compared with the first.
const SIZES: [u32; 3] = [10, 1000, 100_000];
/// How long it may take until each has been asked for once.
const ROUNDS: u32 = 60;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long each run is measured, in seconds, after half a second of warm-up
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many pairs of runs are measured of each
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(5..=100))]
    repetitions: u32,
}

/// What there is more and more of.
#[derive(Clone, Copy, Debug)]
enum Of {
    Apps,
    Subjects,
}

impl Of {
    fn name(self) -> &'static str {
        match self {
            Self::Apps => "apps",
            Self::Subjects => "subjects",
        }
    }
}

/// A broker of so many, each of whom has been served.
struct Crowd {
    broker: Broker,
    requests: Vec<String>,
    resident: u64,
    /// Ends with this value.
    _upstream: Upstream,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    printer::line(
        "growth: brokers of few and of many on core 0; on core 1 upstreams and load, 64 connections",
    )?;
    let mut said = Vec::new();
    for of in [Of::Apps, Of::Subjects] {
        let few = Crowd::start(of, SIZES[0], options).await?;
        for size in &SIZES[1..] {
            let many = Crowd::start(of, *size, options).await?;
            printer::head(&format!("closed loop: {} {}, and {size}", SIZES[0], of.name()))?;
            let mut pairs = Pairs::default();
            for _ in 0..options.repetitions {
                let bare = generate(&few.job(options.seconds)).await?;
                printer::run("few", &bare, "")?;
                let broker = generate(&many.job(options.seconds)).await?;
                printer::run("many", &broker, "")?;
                pairs.0.push(Pair { bare, broker });
            }
            let ratio = pairs.ratio(|report| report.per_second).ok_or("too few runs")?;
            let each = many.resident.saturating_sub(few.resident) as f64 / f64::from(size - SIZES[0]);
            said.push(format!(
                "growth, {size} {} against {}: measured {ratio:.3} of the requests a second; {each:.0} bytes for each",
                of.name(),
                SIZES[0]
            ));
            many.broker.stop().await?;
        }
        few.broker.stop().await?;
    }
    printer::line("")?;
    said.iter().try_for_each(|line| printer::line(line))?;
    Ok(())
}

impl Crowd {
    async fn start(of: Of, size: u32, options: &Options) -> Outcome<Self> {
        let upstream = Upstream::start().await?;
        let credential = |number: u32| {
            (format!("app-{number}"), format!("vs_a-secret-of-a-usual-length-of-app-{number:08}"))
        };
        let apps = match of {
            Of::Apps => size,
            Of::Subjects => 1,
        };
        let broker = Broker::start_of(|files| {
            let mut config = config_of("tokens.lifetimes = [1800]", upstream.base_url(), &files.join("audit.jsonl"));
            config = config
                .replace("[upstreams.bench]\n", "[upstreams.bench]\nshared_account = \"visible-to-all\"\n");
            for number in 0..apps {
                let (app, secret) = credential(number);
                config.push_str(&format!(
                    "[apps.{app}]\nsecrets = [\"{}\"]\nlifetime = 1800\nmay_name_subject = true\n\
                     rate = {{ per_second = 10000000, burst = 10000000 }}\nsubject_rate = {{ per_second = 10000000, burst = \
                     10000000 }}\n",
                    hash(&secret)
                ));
            }
            Ok(config)
        })
        .await?;
        let requests = (0..size).map(|number| match of {
            Of::Apps => broker.token_request_of(&credential(number), Door::V1.path(), "min_ttl=1"),
            Of::Subjects => {
                broker.token_request_of(&credential(0), Door::V1.path(), &format!("subject=user-{number}"))
            }
        });
        let requests = requests.collect();
        let mut crowd = Self { broker, requests, resident: 0, _upstream: upstream };
        crowd.serve_each(options).await?;
        crowd.resident = resident(crowd.broker.endpoint.pid)?;
        Ok(crowd)
    }

    /// Has everybody served once.
    async fn serve_each(&self, options: &Options) -> Outcome<()> {
        let mut answered = 0;
        for _ in 0..ROUNDS {
            // Each process begins with the first: one that does not get round in its time would begin again.
            let seconds = options.seconds.max(self.requests.len() as u64 / 3000);
            answered = generate(&self.job(seconds)).await?.responses;
            if answered >= self.requests.len() as u64 {
                return Ok(());
            }
        }
        Err(format!("of {} only {answered} were served in time", self.requests.len()).into())
    }

    fn job(&self, seconds: u64) -> Job {
        Job {
            address: self.broker.endpoint.address,
            server: self.broker.endpoint.pid,
            requests: self.requests.clone(),
            expected: Expected {
                status: 200,
                body_length: 50..=1000,
                body_start: Door::V1.token().to_owned(),
            },
            connections: CONNECTIONS,
            load: Load::Closed,
            warm_up: WARM_UP,
            measure: Duration::from_secs(seconds),
            counts_failures: false,
            slow: None,
        }
    }
}
