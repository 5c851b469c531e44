//! Valet's client beside the vendor's SDK for Python: the same tasks at the same sandbox, each in a process of
//! its own. When is an end known, what does it cost in queries, memory and time?

mod job;
mod measured;
mod side;
mod stage;
mod worker;

use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};
use fastrand::Rng;

pub(crate) use self::worker::work;
use self::{
    measured::Measured,
    side::Side,
    stage::{Place, Scenario, Stage},
};
use crate::{
    Outcome, printer,
    target::{Bound, Verdict},
};

/// Of the tasks of a caller, the first ones, by which a client learns how long such tasks take.
const LEARNT_BY: usize = 4;
const LEARNT: usize = 6;
/// In a scenario of one kind of tasks, seconds of audio for each second of work.
const SPEED: f64 = 20.0;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Some of the scenarios, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "first,learnt,relay,hundred,thousands")]
    scenarios: Vec<Which>,
    /// How many tasks `thousands` has
    #[arg(long, default_value_t = 5000, value_parser = value_parser!(u32).range(2..=50_000))]
    tasks: u32,
    /// How many callers with single tasks there are
    #[arg(long, default_value_t = 40, value_parser = value_parser!(u32).range(2..=200))]
    callers: u32,
    /// How long the longest task takes, in seconds
    #[arg(long, default_value_t = 120, value_parser = value_parser!(u32).range(5..=3600))]
    longest: u32,
    /// How long a side may take for a scenario, in seconds, before what has not ended is given up
    #[arg(long, default_value_t = 2400, value_parser = value_parser!(u64).range(30..=36_000))]
    patience: u64,
}

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Which {
    /// One task by a client that knows nothing of others.
    First,
    /// One task by a client that has seen some of its kind, and is told how long its audio is.
    Learnt,
    /// One task at a broker's relay; the SDK, which cannot be there without a key of its own, at the service.
    Relay,
    /// A hundred tasks at once, of one account.
    Hundred,
    /// Thousands of tasks at once, of one account, in one process.
    Thousands,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    printer::line(&format!(
        "client and SDK, each in a process on core 0, sandbox and broker on core 1; one task: {} callers with \
         accounts of their own; many tasks: one account",
        options.callers
    ))?;
    side::install_sdk().await?;
    let wants = |which| options.scenarios.contains(&which);
    let mut verdicts = Vec::new();
    if wants(Which::First) || wants(Which::Relay) {
        printer::line("\none task, the first of its caller")?;
        let scenario = first(options);
        let theirs = measure(Side::Sdk, &scenario, Place::Service).await?;
        if wants(Which::First) {
            let ours = measure(Side::Valet, &scenario, Place::Service).await?;
            verdicts.extend(against("client, one task, the first", &ours, &theirs, 0));
        }
        if wants(Which::Relay) {
            printer::line("\nthe same at a relay")?;
            let ours = measure(Side::Valet, &scenario, Place::Relay).await?;
            verdicts.extend(against("client, one task, at a relay", &ours, &theirs, 0));
        }
    }
    if wants(Which::Learnt) {
        printer::line("\none task of a kind that its caller has seen before, of known length")?;
        let scenario = learnt(options);
        let theirs = measure(Side::Sdk, &scenario, Place::Service).await?;
        let ours = measure(Side::Valet, &scenario, Place::Service).await?;
        verdicts.extend(against("client, one task, of a known kind", &ours, &theirs, LEARNT_BY));
    }
    if wants(Which::Hundred) {
        printer::line("\na hundred tasks at once")?;
        let scenario = at_once(100, options);
        for side in [Side::Sdk, Side::Valet] {
            measure(side, &scenario, Place::Service).await?;
        }
    }
    if wants(Which::Thousands) {
        printer::line(&format!("\n{} tasks at once", options.tasks))?;
        let single = measure(Side::Valet, &at_once(1, options), Place::Service).await?;
        let scenario = at_once(options.tasks as usize, options);
        let ours = measure(Side::Valet, &scenario, Place::Service).await?;
        measure(Side::Sdk, &scenario, Place::Service).await?;
        verdicts.extend(many(&ours, &single, options.tasks));
    }
    printer::verdicts(&verdicts)?;
    Ok(())
}

/// One run of one side.
async fn measure(side: Side, scenario: &Scenario, place: Place) -> Outcome<Measured> {
    let stage = Stage::new(scenario, place).await?;
    let report = side.does(&stage.job).await?;
    let measured = Measured::new(&stage.job, report, &stage.ends(), stage.queries());
    printer::line(&measured.row(side.name()))?;
    measured.failures().iter().take(3).try_for_each(|failure| printer::line(&format!("  {failure}")))?;
    stage.stop().await?;
    Ok(measured)
}

/// Delay and queries of the client against the SDK's, but for the first tasks of each caller.
fn against(name: &str, ours: &Measured, theirs: &Measured, skipped: usize) -> [Verdict; 2] {
    let ratio = |of: fn(&Measured, usize) -> Option<f64>| Some(of(ours, skipped)? / of(theirs, skipped)?);
    [
        Verdict {
            name: format!("{name}: delay against the SDK's"),
            measured: ratio(Measured::mean_delay),
            bound: Bound::AtMost(0.5),
        },
        Verdict {
            name: format!("{name}: queries against the SDK's"),
            measured: ratio(Measured::queries_each),
            bound: Bound::AtMost(1.0),
        },
    ]
}

fn many(ours: &Measured, single: &Measured, tasks: u32) -> [Verdict; 3] {
    let name = format!("client, {tasks} tasks");
    let more = ours.peak_kib().saturating_sub(single.peak_kib()) as f64;
    [
        Verdict {
            name: format!("{name}: part that was known to have ended"),
            measured: Some(ours.part_known()),
            bound: Bound::AtLeast(1.0),
        },
        Verdict {
            name: format!("{name}: answers 429 surfaced"),
            measured: Some(ours.refused() as f64),
            bound: Bound::AtMost(0.0),
        },
        Verdict {
            name: format!("{name}: KiB a task"),
            measured: Some(more / f64::from(tasks - 1)),
            bound: Bound::AtMost(16.0),
        },
    ]
}

/// Callers with one task each, which take from two seconds to the longest, evenly by the logarithm.
fn first(options: &Options) -> Scenario {
    let callers = options.callers;
    let place = |number: u32| (f64::from(number) + 0.5) / f64::from(callers);
    let times = (0..callers).map(|number| between(2.0, options.longest.into(), place(number)));
    scenario(times.map(|takes| vec![(takes, 0.0)]).collect(), false, options)
}

/// Callers with tasks whose time goes by the length of their audio, more or less.
fn learnt(options: &Options) -> Scenario {
    let mut rng = Rng::with_seed(1);
    let mut task = || {
        let takes = between(3.0, f64::from(options.longest) / 4.0, rng.f64());
        (takes * (0.85 + 0.3 * rng.f64()), takes * SPEED)
    };
    let callers = (0..options.callers.div_ceil(4)).map(|_| (0..LEARNT_BY + LEARNT).map(|_| task()).collect());
    scenario(callers.collect(), false, options)
}

/// One caller with so many tasks at once.
fn at_once(tasks: usize, options: &Options) -> Scenario {
    let mut rng = Rng::with_seed(2);
    let mut task = || (between(f64::from(options.longest) / 4.0, options.longest.into(), rng.f64()), 0.0);
    scenario(vec![(0..tasks).map(|_| task()).collect()], true, options)
}

fn scenario(callers: Vec<Vec<(f64, f64)>>, at_once: bool, options: &Options) -> Scenario {
    Scenario { callers, at_once, patience: Duration::from_secs(options.patience) }
}

/// Between the two by the logarithm; `place` is from 0 to 1.
fn between(least: f64, most: f64, place: f64) -> f64 {
    least * (most / least).powf(place)
}
