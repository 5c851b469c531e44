//! Waiting for a task: for its end, or for every change on the way there.

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, TryStreamExt, stream};
use tracing::Instrument;
use valet_clock::{ClockExt, SharedClock};
use valet_pacing::PollSchedule;

use crate::{
    Error, Kind, Status, Task, TaskId,
    error::printable,
    poller::{Manner, Poller, Seen, Watch},
};

/// A task that is watched, and its status when it was last told; nothing once it has ended.
type Open = Option<(Watch, Option<Status>)>;
/// Told of a task each time something was learnt of it.
type Report<'r> = Box<dyn FnMut(&Task) + Send + 'r>;
/// Told of each look that failed.
type TroubleReport<'r> = Box<dyn FnMut(&Error) + Send + 'r>;

/// A wait for the end of a task: set it up, then `.await` it. Dropped, it costs nothing further.
#[must_use = "a wait does nothing until it is awaited"]
pub struct Wait<'r> {
    pub(crate) poller: Poller,
    pub(crate) clock: SharedClock,
    pub(crate) id: TaskId,
    pub(crate) manner: Manner,
    pub(crate) deadline: Option<Duration>,
    pub(crate) on_progress: Option<Report<'r>>,
    pub(crate) on_trouble: Option<TroubleReport<'r>>,
}

impl<'r> Wait<'r> {
    /// Calls `report` with the task each time something was learnt of it.
    pub fn on_progress<'n>(self, report: impl FnMut(&Task) + Send + 'n) -> Wait<'n>
    where
        'r: 'n,
    {
        Wait { on_progress: Some(Box::new(report)), ..self }
    }

    /// Calls `report` with the reason each time a look at the task fails and is made again: the network, the broker
    /// or the service is away, or asks for fewer looks. The wait goes on, for as long as that takes.
    pub fn on_trouble<'n>(self, report: impl FnMut(&Error) + Send + 'n) -> Wait<'n>
    where
        'r: 'n,
    {
        Wait { on_trouble: Some(Box::new(report)), ..self }
    }

    /// Gives up after `limit` with [`Kind::Deadline`]; the task goes on. Without one it waits for as
    /// long as the task takes.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }

    /// Looks by `schedule` instead of the usual one, unless somebody waits for this task already.
    pub fn schedule(mut self, schedule: PollSchedule) -> Self {
        self.manner.schedule = schedule;
        self
    }

    /// Says how long the audio of the task is. The client learns how long tasks take for their length,
    /// and looks when they are about to end.
    pub fn audio_length(mut self, length: Duration) -> Self {
        self.manner.length = Some(length);
        self
    }

    /// What becomes of the task, at each change of its status until it has ended.
    pub fn changes(self) -> StatusChanges {
        let Self { poller, id, manner, .. } = self;
        let changes = stream::once(async move {
            id.checked()?;
            // Not before the first poll: it needs a runtime.
            let watch = poller.watch(&id, manner);
            Ok(stream::try_unfold(Some((watch, None)), move |open| {
                let id = id.clone();
                async move { next_change(open).await.map_err(|error| error.of_task(&id)) }
            }))
        });
        let changes = changes.try_flatten();
        StatusChanges(Box::pin(changes))
    }

    async fn run(mut self) -> Result<Task, Error> {
        let (clock, id) = (self.clock.clone(), self.id.clone());
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
        self.id.checked()?;
        let mut watch = self.poller.watch(&self.id, self.manner);
        loop {
            let task = match watch.next().await? {
                Seen::Task(task) => task,
                Seen::Trouble(error) => {
                    if let Some(report) = &mut self.on_trouble {
                        report(&error);
                    }
                    continue;
                }
            };
            if let Some(report) = &mut self.on_progress {
                report(&task);
            }
            if task.status().is_final() {
                return Ok((*task).clone());
            }
        }
    }
}

/// The next change after the status that was seen last, and where to go on.
async fn next_change(open: Open) -> Result<Option<(Task, Open)>, Error> {
    let Some((mut watch, mut last)) = open else { return Ok(None) };
    loop {
        let Seen::Task(task) = watch.next().await? else { continue };
        if last.replace(task.status().clone()).as_ref() != Some(task.status()) {
            let open = (!task.status().is_final()).then_some((watch, last));
            return Ok(Some(((*task).clone(), open)));
        }
    }
}

impl<'r> IntoFuture for Wait<'r> {
    type Output = Result<Task, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'r>>;

    fn into_future(self) -> Self::IntoFuture {
        let span = tracing::debug_span!("wait", task = %printable(self.id.to_string()));
        Box::pin(self.run().instrument(span))
    }
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A task at each change of its status; ends when the task has, or with an error.
#[must_use = "a stream does nothing until it is polled"]
pub struct StatusChanges(Pin<Box<dyn Stream<Item = Result<Task, Error>> + Send>>);

impl Stream for StatusChanges {
    type Item = Result<Task, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for StatusChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusChanges").finish_non_exhaustive()
    }
}
