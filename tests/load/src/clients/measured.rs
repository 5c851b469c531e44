//! What came of a run: delays between ends and knowing, and what they cost.

use std::collections::HashMap;

use super::{
    job::{Job, Report},
    stage::End,
};

#[derive(Debug)]
pub(super) struct Measured {
    /// Of each task that was known to have ended.
    told: Vec<Told>,
    report: Report,
    tasks: usize,
    /// All that reached the service.
    queries: u64,
    /// How many tasks there were beyond those that were asked for.
    doubled: usize,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    /// Which of its caller's tasks it is.
    place: usize,
    /// How long after its end that was known, in seconds.
    delay: f64,
    /// How often it was asked for by itself.
    queries: u64,
}

impl Measured {
    /// `ends` says of each URL what became of its task.
    pub(super) fn new(job: &Job, report: Report, ends: &HashMap<String, End>, queries: u64) -> Self {
        let told = report.known.iter().filter_map(|known| {
            let task = job.callers.get(known.caller)?.tasks.get(known.place)?;
            let end = ends.get(&task.url)?;
            Some(Told { place: known.place, delay: (known.at - end.at).max(0.0), queries: end.queries })
        });
        let doubled = ends.values().map(|end| end.submits - 1).sum();
        Self { told: told.collect(), tasks: job.tasks(), report, queries, doubled }
    }

    /// Of all tasks but so many of each caller, which came first.
    pub(super) fn mean_delay(&self, skipped: usize) -> Option<f64> {
        self.mean(skipped, |told| told.delay)
    }

    /// The same; what asked for many tasks at once is shared by all.
    pub(super) fn queries_each(&self, skipped: usize) -> Option<f64> {
        let alone: u64 = self.told.iter().map(|told| told.queries).sum();
        let together = self.queries.saturating_sub(alone) as f64 / self.tasks as f64;
        self.mean(skipped, |told| told.queries as f64).map(|alone| alone + together)
    }

    fn mean(&self, skipped: usize, of: fn(&Told) -> f64) -> Option<f64> {
        let those: Vec<f64> = self.told.iter().filter(|told| told.place >= skipped).map(of).collect();
        (!those.is_empty()).then(|| those.iter().sum::<f64>() / those.len() as f64)
    }

    pub(super) fn part_known(&self) -> f64 {
        self.told.len() as f64 / self.tasks.max(1) as f64
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
        let mut delays: Vec<f64> = self.told.iter().map(|told| told.delay).collect();
        delays.sort_by(f64::total_cmp);
        let at = |hundredth: usize| delays.get(delays.len() * hundredth / 100).copied().unwrap_or(f64::NAN);
        format!(
            "{side:<10} {} of {} tasks known; delay mean {:.2} s, p50 {:.2} s, p99 {:.2} s; {:.1} queries a task; \
             {} × 429 surfaced; {} submitted twice; {:.0} s; {:.1} MiB",
            self.told.len(),
            self.tasks,
            self.mean_delay(0).unwrap_or(f64::NAN),
            at(50),
            at(99),
            self.queries as f64 / self.tasks as f64,
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
        let ends = [("a", 10.0, 1), ("b", 20.0, 3), ("c", 30.0, 0)];
        let ends = ends.map(|(url, at, queries)| (url.to_owned(), End { at, submits: 1, queries }));
        let measured = Measured::new(&job, report, &ends.into(), 7);
        assert_eq!(
            (measured.mean_delay(0), measured.mean_delay(1), measured.mean_delay(2)),
            (Some(3.0), Some(1.0), None)
        );
        assert!((measured.part_known() - 2.0 / 3.0).abs() < 1e-9);
        // Three were for all, a list's.
        assert_eq!((measured.queries_each(0), measured.queries_each(1)), (Some(3.0), Some(4.0)));
    }
}
