//! Two servers under the same load by turns, and the medians of what that shows.

use std::{process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    Outcome,
    generator::{Job, Latency, Report},
};

/// A median of fewer pairs is luck.
const ENOUGH: usize = 5;

/// Has a generator process of its own do `job`.
pub(crate) async fn generate(job: &Job) -> Outcome<Report> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("generate").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    // It inherits this thread's core, the one for load.
    let mut process = command.spawn()?;
    let mut input = process.stdin.take().expect("it is piped");
    input.write_all(&serde_json::to_vec(job)?).await?;
    drop(input);
    let output = process.wait_with_output().await?;
    if !output.status.success() {
        return Err("the load generator failed".into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A run of the baseline and the run of the broker that followed it.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// The bare route's.
    pub(crate) bare: Report,
    /// The broker's.
    pub(crate) broker: Report,
}

/// The pairs that count.
#[derive(Debug, Default)]
pub(crate) struct Pairs(pub(crate) Vec<Pair>);

impl Pairs {
    /// The median of the broker's figure divided by the baseline's; `None` if there are too few pairs.
    ///
    /// The runs of one pair lie next to each other in time, so whatever slows the machine for a while
    /// slows both.
    pub(crate) fn ratio(&self, figure: impl Fn(&Report) -> f64) -> Option<f64> {
        let ratios = self.0.iter().map(|pair| figure(&pair.broker) / figure(&pair.bare));
        if self.0.len() < ENOUGH { None } else { median(ratios.collect()) }
    }

    /// What a pair was like, each figure by itself; `None` if there is no pair.
    pub(crate) fn medians(&self) -> Option<Pair> {
        let side = |of: fn(&Pair) -> &Report| medians(&self.0.iter().map(of).collect::<Vec<_>>());
        Some(Pair { bare: side(|pair| &pair.bare)?, broker: side(|pair| &pair.broker)? })
    }
}

/// The medians of the figures of `reports`, and all their responses.
fn medians(reports: &[&Report]) -> Option<Report> {
    let of = |figure: fn(&Report) -> f64| median(reports.iter().map(|report| figure(report)).collect());
    let time = |figure: fn(&Report) -> Duration| {
        median(reports.iter().map(|report| figure(report).as_secs_f64()).collect())
            .map(Duration::from_secs_f64)
    };
    Some(Report {
        responses: reports.iter().map(|report| report.responses).sum(),
        per_second: of(|report| report.per_second)?,
        latency: Latency {
            p50: time(|report| report.latency.p50)?,
            p99: time(|report| report.latency.p99)?,
            p999: time(|report| report.latency.p999)?,
            most: time(|report| report.latency.most)?,
        },
        failures: reports.iter().map(|report| report.failures).sum(),
        slow: Vec::new(),
        server_busy: of(|report| report.server_busy)?,
        generator_busy: of(|report| report.generator_busy)?,
        others_on_server: of(|report| report.others_on_server)?,
        others_on_generator: of(|report| report.others_on_generator)?,
    })
}

/// The middle one of `figures`, or the mean of the two in the middle.
pub(crate) fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let (lower, upper) = (figures.len().checked_sub(1)? / 2, figures.len() / 2);
    Some(f64::midpoint(figures[lower], figures[upper]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    fn report(per_second: f64, p99: u64) -> Report {
        let time = Duration::from_micros;
        Report {
            responses: 10,
            per_second,
            latency: Latency { p50: time(p99 / 2), p99: time(p99), p999: time(p99 * 2), most: time(p99 * 3) },
            failures: 0,
            slow: Vec::new(),
            server_busy: 1.0,
            generator_busy: 0.5,
            others_on_server: 0.0,
            others_on_generator: 0.0,
        }
    }

    #[test]
    fn the_ratio_is_of_the_runs_beside_each_other() {
        // The machine halves its speed in between; the broker does four fifths of the baseline throughout.
        let speeds = [100.0, 100.0, 50.0, 50.0, 50.0];
        let pair = |speed: f64| Pair { bare: report(speed, 100), broker: report(speed * 0.8, 100) };
        let pairs = Pairs(speeds.map(pair).into());
        assert_eq!(pairs.ratio(|report| report.per_second), Some(0.8));
        assert_eq!(Pairs(pairs.0[1..].to_vec()).ratio(|report| report.per_second), None);
    }

    #[test]
    fn each_median_is_of_its_own_figure() {
        let runs = [(10.0, 900), (20.0, 100), (30.0, 200)];
        let pairs =
            Pairs(runs.map(|(speed, p99)| Pair { bare: report(speed, p99), broker: report(1.0, 1) }).into());
        let medians = pairs.medians().unwrap();
        assert_eq!((medians.bare.per_second, medians.bare.latency.p99), (20.0, Duration::from_micros(200)));
        assert_eq!((medians.broker.per_second, medians.broker.responses), (1.0, 30));
        assert!(Pairs::default().medians().is_none());
    }
}
