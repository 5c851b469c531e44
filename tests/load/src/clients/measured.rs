//! What came of a run: delays between ends and knowing, and what they cost.

use std::collections::HashMap;

use super::job::{Job, Report};

#[derive(Debug)]
pub(super) struct Measured {
    /// By caller and place, how long after its end a task was known to have ended, in seconds.
    delays: Vec<(usize, f64)>,
    report: Report,
    tasks: usize,
    queries: u64,
    /// How many tasks there were beyond those that were asked for.
    doubled: usize,
}

impl Measured {
    /// `ends` says of each URL when its task ended, in seconds since the Unix epoch, and how many there were.
    pub(super) fn new(job: &Job, report: Report, ends: &HashMap<String, (f64, usize)>, queries: u64) -> Self {
        let known = report.known.iter();
        let delays = known.filter_map(|known| {
            let task = job.callers.get(known.caller)?.tasks.get(known.place)?;
            let (ended, _) = ends.get(&task.url)?;
            Some((known.place, (known.at - ended).max(0.0)))
        });
        let doubled = ends.values().map(|(_, count)| count - 1).sum();
        Self { delays: delays.collect(), tasks: job.tasks(), report, queries, doubled }
    }

    /// Of all tasks but the first of each caller.
    pub(super) fn mean_delay(&self, skipped: usize) -> Option<f64> {
        let delays: Vec<f64> =
            self.delays.iter().filter(|(place, _)| *place >= skipped).map(|(_, delay)| *delay).collect();
        (!delays.is_empty()).then(|| delays.iter().sum::<f64>() / delays.len() as f64)
    }

    pub(super) fn queries_each(&self) -> Option<f64> {
        (self.tasks > 0).then(|| self.queries as f64 / self.tasks as f64)
    }

    pub(super) fn part_known(&self) -> f64 {
        self.delays.len() as f64 / self.tasks.max(1) as f64
    }

    pub(super) fn refused(&self) -> u64 {
        self.report.refused
    }

    pub(super) fn peak_kib(&self) -> u64 {
        self.report.peak_kib
    }

    pub(super) fn failures(&self) -> &[String] {
        &self.report.failed
    }

    /// A row for people.
    pub(super) fn row(&self, side: &str) -> String {
        let mut delays: Vec<f64> = self.delays.iter().map(|(_, delay)| *delay).collect();
        delays.sort_by(f64::total_cmp);
        let at = |hundredth: usize| delays.get(delays.len() * hundredth / 100).copied().unwrap_or(f64::NAN);
        format!(
            "{side:<10} {} of {} tasks known; delay mean {:.2} s, p50 {:.2} s, p99 {:.2} s; {:.1} queries a task; \
             {} × 429 surfaced; {} submitted twice; {:.0} s; {:.1} MiB",
            self.delays.len(),
            self.tasks,
            self.mean_delay(0).unwrap_or(f64::NAN),
            at(50),
            at(99),
            self.queries_each().unwrap_or(f64::NAN),
            self.report.refused,
            self.doubled,
            self.report.seconds,
            self.report.peak_kib as f64 / 1024.0,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::job::{Caller, Known, Planned},
        *,
    };

    #[test]
    fn a_delay_is_from_the_end_to_knowing_and_what_was_to_be_learnt_from_is_left_out() {
        let task = |name: &str| Planned { url: name.into(), audio_seconds: 0.0 };
        let caller = Caller { key: "sk-1".into(), at_once: false, tasks: ["a", "b", "c"].map(task).into() };
        let job = Job {
            base_url: String::new(),
            app: None,
            callers: vec![caller],
            submits_per_second: 1.0,
            patience_seconds: 1,
        };
        let known = |place: usize, at: f64| Known { caller: 0, place, task: "t".into(), at };
        let known = vec![known(0, 15.0), known(1, 21.0)];
        let report = Report { known, refused: 0, failed: Vec::new(), seconds: 1.0, peak_kib: 1 };
        let ends = [("a", 10.0), ("b", 20.0), ("c", 30.0)].map(|(url, end)| (url.to_owned(), (end, 1)));
        let measured = Measured::new(&job, report, &ends.into(), 6);
        assert_eq!(
            (measured.mean_delay(0), measured.mean_delay(1), measured.mean_delay(2)),
            (Some(3.0), Some(1.0), None)
        );
        assert!((measured.part_known() - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(measured.queries_each(), Some(2.0));
    }
}
