//! Waiting for a task: looks at it by a schedule until it ends.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    time::Duration,
};

use valet_clock::ClockExt;
use valet_pacing::PollSchedule;

use crate::{
    Error, Kind, Task, TaskId,
    api::{Api, BACK_OFF},
};

/// Told of a task each time it was looked at.
type Report<'c> = Box<dyn FnMut(&Task) + Send + 'c>;

/// A wait for the end of a task: set it up, then `.await` it.
#[must_use = "a wait does nothing until it is awaited"]
pub struct Wait<'c> {
    pub(crate) api: &'c Api,
    pub(crate) id: TaskId,
    pub(crate) schedule: PollSchedule,
    pub(crate) deadline: Option<Duration>,
    pub(crate) on_progress: Option<Report<'c>>,
}

impl<'c> Wait<'c> {
    /// Calls `report` with the task each time it was looked at.
    pub fn on_progress(mut self, report: impl FnMut(&Task) + Send + 'c) -> Self {
        self.on_progress = Some(Box::new(report));
        self
    }

    /// Gives up after `limit` with [`Kind::Deadline`]; the task goes on. Without one it waits for as
    /// long as the task takes.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }

    /// Looks by `schedule` instead of the usual one.
    pub fn schedule(mut self, schedule: PollSchedule) -> Self {
        self.schedule = schedule;
        self
    }

    async fn run(mut self) -> Result<Task, Error> {
        let (clock, id) = (self.api.clock.clone(), self.id.clone());
        // A limit beyond what the clock can count is none.
        let limit = self.deadline.filter(|limit| clock.now().checked_add(*limit).is_some());
        let outcome = match limit {
            Some(limit) => clock.timeout(limit, self.until_final()).await.unwrap_or_else(|_| {
                let message = "had not ended by the deadline; it goes on, and can be waited for again";
                Err(Error::new(Kind::Deadline, message))
            }),
            None => self.until_final().await,
        };
        outcome.map_err(|error| error.of_task(&id))
    }

    async fn until_final(&mut self) -> Result<Task, Error> {
        let clock = &self.api.clock;
        let (began, mut failures) = (clock.now(), 0);
        loop {
            let age = clock.now().saturating_duration_since(began);
            let pause = match failures {
                0 => self.schedule.wait(age, fastrand::f64()),
                failed => BACK_OFF.wait(failed - 1, fastrand::f64()),
            };
            clock.sleep(pause).await;
            match self.api.query(&self.id).await {
                Ok(task) => {
                    failures = 0;
                    if let Some(report) = &mut self.on_progress {
                        report(&task);
                    }
                    if task.status().is_final() {
                        return Ok(task);
                    }
                }
                // The task goes on and is paid for: no passing trouble ends the wait for it.
                Err(error) if error.is_retryable() || error.status() == Some(429) => {
                    tracing::debug!(%error, task = %self.id, "a look at the task failed");
                    failures += 1;
                    if let Some(wait) = error.retry_after() {
                        clock.sleep(wait.min(Duration::from_secs(60))).await;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl<'c> IntoFuture for Wait<'c> {
    type Output = Result<Task, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'c>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
