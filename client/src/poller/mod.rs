//! One scheduler for all tasks that a client and its clones wait for: it alone looks at them.
//!
//! Whoever waits for a task watches it here. While anyone watches, a background task (`drive`) makes one
//! call after another as the query budget allows, and the board says which. Knows no transcripts.

mod board;
mod drive;
mod held;
mod recent;
mod sweep;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::{Notify, mpsc};
use valet_pacing::PollSchedule;

use self::board::Board;
use crate::{Error, Task, TaskId, api::Api};

/// What a look came to, or why the task cannot be waited for any more.
pub(crate) type News = Result<Seen, Error>;

/// What a look came to.
#[derive(Clone)]
pub(crate) enum Seen {
    Task(Arc<Task>),
    /// It failed, and the next one may not.
    Trouble(Error),
}

/// Looks at the tasks that are watched. Clones are the same.
#[derive(Clone)]
pub(crate) struct Poller(Arc<Shared>);

struct Shared {
    api: Api,
    board: Mutex<Board>,
    /// Told whenever there may be something else to do.
    changed: Notify,
}

/// How a task is to be looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    pub(crate) schedule: PollSchedule,
    /// The length of its audio, if it is known.
    pub(crate) length: Option<Duration>,
}

impl Poller {
    pub(crate) fn new(api: Api) -> Self {
        Self(Arc::new(Shared { api, board: Mutex::default(), changed: Notify::new() }))
    }

    /// A task was just submitted: its age is known, and with it when to look.
    pub(crate) fn submitted(&self, id: &TaskId, length: Option<Duration>) {
        self.0.lock().submitted(id, self.0.api.clock.now(), length);
    }

    /// Watches a task until the watch is dropped. Must be called within a runtime.
    pub(crate) fn watch(&self, id: &TaskId, manner: Manner) -> Watch {
        let (sender, news) = mpsc::unbounded_channel();
        let now = self.0.api.clock.now();
        let (seat, starts) = self.0.lock().watch(id, manner, sender, now);
        if starts {
            tokio::spawn(drive::drive(self.clone()));
        }
        self.0.changed.notify_one();
        Watch { poller: self.clone(), id: id.clone(), manner, seat, news }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().expect("no code panics while it holds the board")
    }
}

/// A task that is watched. Dropped, it costs nothing further.
pub(crate) struct Watch {
    poller: Poller,
    id: TaskId,
    manner: Manner,
    seat: u64,
    news: mpsc::UnboundedReceiver<News>,
}

impl Watch {
    /// What the next look tells.
    pub(crate) async fn next(&mut self) -> News {
        loop {
            if let Some(news) = self.news.recv().await {
                return news;
            }
            // The runtime that looked is gone; this one can.
            *self = self.poller.watch(&self.id, self.manner);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.poller.0.lock().leave(&self.id, self.seat);
        self.poller.0.changed.notify_one();
    }
}
