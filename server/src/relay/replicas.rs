//! What replicas tell one another of the relay's tasks: each keeps the record of all of them, and reads on from where it
//! was whenever it hears that there is more. Without the shared state a replica knows its own.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{
    Notify,
    broadcast::{
        self,
        error::{RecvError, TryRecvError},
    },
};
use valet_clock::ClockExt;

use super::{Refused, Relay, poller::Service, task::Task};
use crate::{
    config::WhenAway,
    keyring::Agreement,
    shared_redis::{Away, Cursor, Noted, Said, Shared, TaskName},
};

/// How often it is said again which tasks are waited for here.
const WATCHED: Duration = Duration::from_secs(5);
/// How often a replica that adds what it knows says so.
const ADDING: Duration = Duration::from_secs(1);

/// What this replica and the others tell one another.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    pub(super) shared: Option<Arc<Shared>>,
    /// Up to where the record was read; held by whoever reads.
    cursor: tokio::sync::Mutex<Cursor>,
    outgoing: Mutex<Outgoing>,
    /// The tasks that are waited for here.
    waits: Mutex<HashMap<TaskName, Arc<Task>>>,
    more: Notify,
}

/// What is to be told to the others.
#[derive(Debug, Default)]
struct Outgoing {
    tasks: HashMap<TaskName, Arc<Task>>,
    asked: BTreeSet<TaskName>,
    watched: BTreeSet<TaskName>,
    looked: BTreeSet<TaskName>,
}

impl Replicas {
    pub(super) fn new(shared: Option<Arc<Shared>>) -> Self {
        Self { shared, ..Self::default() }
    }

    /// Has the others told of a task.
    pub(super) fn tell(&self, task: &Arc<Task>) {
        self.put(|outgoing| drop(outgoing.tasks.insert(task.key.name(), task.clone())));
    }

    /// Asks whoever polls to look at a task.
    pub(super) fn ask(&self, task: &Task) {
        self.put(|outgoing| outgoing.asked.extend([task.key.name()]));
    }

    /// Tells whoever polls that somebody waits for a task, for as long as somebody does.
    pub(super) fn watch(&self, task: &Arc<Task>) {
        let name = task.key.name();
        self.put(|outgoing| outgoing.watched.extend([name]));
        if self.shared.is_some() {
            self.waits().insert(name, task.clone());
        }
    }

    /// The tasks that are still waited for.
    pub(super) fn waited(&self) -> Vec<TaskName> {
        let mut waits = self.waits();
        waits.retain(|_, task| task.has_watchers());
        waits.keys().copied().collect()
    }

    fn waits(&self) -> MutexGuard<'_, HashMap<TaskName, Arc<Task>>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever asked that a task was looked at, or cannot be just now.
    pub(super) fn looked(&self, task: &Task) {
        self.put(|outgoing| outgoing.looked.extend([task.key.name()]));
    }

    fn put(&self, put: impl FnOnce(&mut Outgoing)) {
        if self.shared.is_some() {
            put(&mut self.lock());
            self.more.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// Tells the others of a task, and returns once they can know; if they are away, they are told later.
    pub(super) async fn share(&self, task: &Arc<Task>) {
        let Some(shared) = &self.replicas.shared else { return };
        // If they are away, it is untold, and told once they are there.
        let _: Result<_, Away> = self.tell_of(shared, std::slice::from_ref(task), None).await;
    }

    /// Tells the others of tasks, under a lease if there is one. If that fails, they are untold.
    ///
    /// # Errors
    /// [`Away`].
    async fn tell_of(
        &self,
        shared: &Shared,
        tasks: &[Arc<Task>],
        lease: Option<&(Service, String)>,
    ) -> Result<Noted, Away> {
        let lease = lease.map(|(service, fence)| (service.shared(), &**fence));
        // There may be as many as are known: each is written when its turn comes.
        for some in tasks.chunks(Shared::NOTES_AT_ONCE) {
            // Before it is read what is known: what changes meanwhile, and cannot be told, is untold again.
            some.iter().for_each(|task| task.untold(false));
            let notes: Vec<_> = some.iter().map(|task| self.noted(task)).collect();
            let noted = shared.note(&notes, lease).await;
            if noted != Ok(Noted::Done) {
                tasks.iter().for_each(|task| task.untold(true));
                return noted;
            }
        }
        Ok(Noted::Done)
    }

    /// Reads what the others have told.
    ///
    /// # Errors
    /// If nobody can, and the operator wants nothing told that may lack something.
    pub(super) async fn catch_up(&self) -> Result<(), Refused> {
        let Some(shared) = &self.replicas.shared else { return Ok(()) };
        match self.read(shared).await {
            Err(away) if shared.without().tasks == WhenAway::Refuse => Err(Refused::Here(away.into())),
            _ => Ok(()),
        }
    }

    async fn read(&self, shared: &Shared) -> Result<(), Away> {
        let mut cursor = self.replicas.cursor.lock().await;
        loop {
            let read = shared.read(&cursor).await?;
            for found in &read.tasks {
                self.take_in(found.name, &found.content, found.told.as_deref().map(Vec::as_slice));
            }
            *cursor = read.next;
            if !read.is_more {
                return Ok(());
            }
        }
    }

    /// Hears what the others tell, for as long as it is polled.
    pub async fn hear(self: Arc<Self>, mut said: broadcast::Receiver<Said>) {
        // What was told before is caught up with.
        let mut heard = vec![Ok(Said::Joined)];
        let mut epoch = String::new();
        loop {
            // With one read, however much was said meanwhile.
            loop {
                match said.try_recv() {
                    Ok(more) => heard.push(Ok(more)),
                    Err(TryRecvError::Lagged(count)) => heard.push(Err(RecvError::Lagged(count))),
                    Err(_) => break,
                }
            }
            let is_joined = heard.iter().any(|heard| matches!(heard, Ok(Said::Joined) | Err(_)));
            if is_joined {
                self.rejoin(&mut epoch).await;
            } else if heard.iter().any(|heard| !matches!(heard, Ok(Said::Minted(_) | Said::Ended(_)))) {
                // If it goes away, it will come back.
                let _ = self.catch_up().await;
            }
            for heard in heard.drain(..) {
                match heard {
                    Ok(Said::Asked(names)) => self.each(&names, |task| self.asked_from_elsewhere(task)),
                    Ok(Said::Watched(names)) => self.each(&names, |task| self.watched_from_elsewhere(task)),
                    Ok(Said::Looked(names)) => self.each(&names, |task| task.looked.notify_waiters()),
                    _ => {}
                }
            }
            match said.recv().await {
                Err(RecvError::Closed) => std::future::pending().await,
                next => heard.push(next),
            }
        }
    }

    fn each(&self, names: &[TaskName], act: impl Fn(&Arc<Task>)) {
        names.iter().filter_map(|name| self.records.named(name)).for_each(|task| act(&task));
    }

    /// The shared state is there, again perhaps: what the others know is read, and what they may not is told; all of
    /// it, if it may have been lost.
    async fn rejoin(&self, epoch: &mut String) {
        let Some(shared) = &self.replicas.shared else { return };
        let Some(there) = shared.epoch() else { return };
        let is_lost = there != *epoch;
        let added = tokio::select! {
            biased;
            // One that has just begun has lost nothing.
            never = self.say_adding(shared, !epoch.is_empty()), if is_lost => never,
            added = self.add(shared, is_lost) => added,
        };
        if added.is_ok() {
            *epoch = there;
        }
    }

    /// Says that this replica adds what it knows, for as long as it is polled and anybody waits for that.
    async fn say_adding(&self, shared: &Shared, has_lost: bool) -> Result<(), Away> {
        while shared.adding(has_lost).await.unwrap_or(true) {
            self.issue.clock.sleep(ADDING).await;
        }
        std::future::pending().await
    }

    /// Tells the others what they may not know, or `all`, and reads what they know. Submits first: until they are told,
    /// they may be sent once more.
    async fn add(&self, shared: &Shared, all: bool) -> Result<(), Away> {
        if all {
            self.submits.lost();
        }
        self.tell_submits(shared).await?;
        {
            let mut cursor = self.replicas.cursor.lock().await;
            // What is lost has taken along the numbers that its record went by.
            *cursor = if all { Cursor::default() } else { std::mem::take(&mut *cursor).rewound() };
        }
        self.read(shared).await?;
        let tasks = self.records.all(self.issue.clock.unix());
        let untold: Vec<_> = tasks.into_iter().filter(|task| all || task.is_untold()).collect();
        self.tell_of(shared, &untold, None).await.map(drop)
    }

    /// Tells the others what is to be told, for as long as it is polled.
    pub async fn tell(self: Arc<Self>) {
        let Some(shared) = &self.replicas.shared else { return std::future::pending().await };
        let clock = &self.issue.clock;
        let (mut again, mut differ) = (clock.now() + WATCHED, 0);
        loop {
            let is_due = tokio::select! {
                () = self.replicas.more.notified() => false,
                () = clock.sleep_until(again) => true,
            };
            if is_due {
                again = clock.now() + WATCHED;
                // Whoever polls may be another by now.
                let waited = self.replicas.waited();
                self.replicas.lock().watched.extend(waited);
                self.compare_keys(shared, &mut differ).await;
            }
            let outgoing = std::mem::take(&mut *self.replicas.lock());
            self.tell_tasks(shared, outgoing.tasks.into_values().collect()).await;
            say(shared, outgoing.looked, Said::Looked).await;
            say(shared, outgoing.asked, Said::Asked).await;
            say(shared, outgoing.watched, Said::Watched).await;
        }
    }

    /// Tells the others which keys this replica has, and says so if others have not the same.
    async fn compare_keys(&self, shared: &Shared, differ: &mut usize) {
        let site = self.issue.site.load_full();
        let Some(keys) = site.keyring() else { return };
        let Ok(others) = shared.tell_keys(Some(&keys.told())).await else { return };
        let now = self.issue.clock.unix();
        let count = others.iter().filter(|other| keys.agreement(other, now) != Agreement::Full).count();
        shared.keys_differ(count);
        if count > *differ {
            tracing::error!(
                replicas = count,
                "other replicas have not the same keys of the relay: make keys.json the same for all, before its newest key is used"
            );
        }
        *differ = count;
    }

    /// Tells the others of tasks: those of accounts that this replica polls under its lease.
    async fn tell_tasks(&self, shared: &Shared, tasks: Vec<Arc<Task>>) {
        let mut by_lease = HashMap::<Option<(Service, String)>, Vec<Arc<Task>>>::new();
        for task in tasks {
            // What has ended has, whoever noticed.
            let lease = self.poller.lease_of(&task).filter(|_| !task.has_ended());
            by_lease.entry(lease).or_default().push(task);
        }
        for (lease, tasks) in by_lease {
            if self.tell_of(shared, &tasks, lease.as_ref()).await == Ok(Noted::Fenced) {
                // Whoever polls now will find out by itself; unless it is this one again, which tells what is untold.
                tasks.iter().for_each(|task| self.poller.fenced(task));
            }
        }
    }

    /// Another replica asks how far a task is. It is answered in any case, if it is this one's turn to poll.
    fn asked_from_elsewhere(&self, task: &Arc<Task>) {
        let now = self.issue.clock.now();
        if self.poller.lease_of(task).is_none() {
            return;
        }
        let known = task.known();
        if task.has_ended() && known.document.is_some() {
            // It was told already, and may be forgotten.
            self.replicas.tell(task);
            return self.replicas.looked(task);
        }
        // Before anybody looks: it is told of by whoever does.
        task.ask_from_elsewhere();
        self.poller.follow_again_if_ended(task, &known, now);
        let may_ask = self.query_wait(task, now).is_zero();
        let is_next = self.poller.hurry(task, now, self.issue.clock.unix()) && may_ask;
        if !is_next && known.document.is_some() && task.take_asked_elsewhere() {
            self.replicas.looked(task);
        }
    }

    fn watched_from_elsewhere(&self, task: &Arc<Task>) {
        let now = self.issue.clock.now();
        if self.poller.lease_of(task).is_some() {
            task.ask(now);
            self.poller.watch(task, now, self.issue.clock.unix());
        }
    }
}

async fn say(shared: &Shared, names: BTreeSet<TaskName>, said: impl Fn(Arc<[TaskName]>) -> Said) {
    let names: Vec<_> = names.into_iter().collect();
    for some in names.chunks(Said::MOST_NAMES) {
        // If it is away, those who wait find out by themselves.
        let _: Result<(), Away> = shared.say(&said(some.into())).await;
    }
}
