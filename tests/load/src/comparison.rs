//! Two servers under the same load by turns, and the medians of what that shows.

use std::process::Stdio;

use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    Outcome,
    generator::{Job, Report},
};

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

/// The median over `pairs` of the broker's figure divided by the baseline's; `None` without any.
///
/// The runs of one pair lie next to each other in time, so whatever slows the machine for a while
/// slows both.
pub(crate) fn ratio(pairs: &[Pair], figure: impl Fn(&Report) -> f64) -> Option<f64> {
    median(pairs.iter().map(|pair| figure(&pair.broker) / figure(&pair.bare)).collect())
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
}
