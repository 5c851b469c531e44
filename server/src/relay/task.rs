//! A task that was submitted through the relay, and what is known of it. Told by whoever looks; asks nobody.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Owner, Refused, handle::TaskKey, records::LIFE};
use crate::admission::Reservation;

/// So long after it was asked about, somebody is thought to wait for it still.
const ASKED: Duration = Duration::from_secs(15);

/// How long after it was asked to be cancelled it is not again.
const CANCELLED: Duration = Duration::from_secs(5);

/// A task.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) owner: Owner,
    pub(super) key: TaskKey,
    pub(super) handle: String,
    /// The upstream that it was submitted to, by its name.
    pub(super) upstream: Arc<str>,
    /// What was submitted, once it is known.
    order: OnceLock<Order>,
    known: Mutex<Known>,
    watchers: AtomicU32,
    settled: AtomicBool,
    /// The seconds of audio that it used, once it has ended.
    used: OnceLock<u64>,
    /// The other replicas may not know how far it is.
    is_untold: AtomicBool,
    /// Another replica asks how far it is.
    is_asked_elsewhere: AtomicBool,
    /// Told when somebody has looked at it, and when its status has changed.
    pub(super) looked: Notify,
}

/// What was submitted.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) model: String,
    pub(super) urls: u32,
    /// The seconds of audio that were taken from quotas for it.
    pub(super) reserved: Reservation,
    /// It was submitted at this replica, which writes down what becomes of it.
    pub(super) is_own: bool,
}

/// What is known of a task.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Its status, in the upstream's words.
    pub(super) status: Arc<str>,
    /// What the upstream last said of it, as JSON; `None` if nobody has looked since the broker started.
    pub(super) document: Option<Arc<str>>,
    /// When somebody looked.
    pub(super) at: Option<Instant>,
    /// Why nobody could look, the last time.
    pub(super) trouble: Option<Refused>,
    asked: Option<Instant>,
    cancelled: Option<Instant>,
}

impl Known {
    /// Whether nothing will change any more.
    pub(super) fn is_final(&self) -> bool {
        is_final(&self.status)
    }
}

/// Whether a task of this status has ended (*Manage asynchronous tasks*).
pub(super) fn is_final(status: &str) -> bool {
    matches!(status, "SUCCEEDED" | "FAILED" | "CANCELED" | "UNKNOWN")
}

impl Task {
    /// A task of which no more is known than its `status`.
    pub(super) fn new(
        owner: Owner,
        key: TaskKey,
        handle: String,
        upstream: Arc<str>,
        order: Option<Order>,
        status: &str,
    ) -> Self {
        let known = Known {
            status: status.into(),
            document: None,
            at: None,
            trouble: None,
            asked: None,
            cancelled: None,
        };
        Self {
            owner,
            key,
            handle,
            upstream,
            order: order.map_or_else(OnceLock::new, OnceLock::from),
            known: Mutex::new(known),
            watchers: AtomicU32::new(0),
            settled: AtomicBool::new(false),
            used: OnceLock::new(),
            is_untold: AtomicBool::new(true),
            is_asked_elsewhere: AtomicBool::new(false),
            looked: Notify::new(),
        }
    }

    /// The same, which was submitted just now: it is pending until somebody looks.
    pub(super) fn submitted(self) -> Self {
        self.lock().document = Some(json!({ "output": { "task_status": "PENDING" } }).to_string().into());
        self
    }

    /// The same, of which another replica has told.
    pub(super) fn of_another(self) -> Self {
        self.untold(false);
        self
    }

    /// What was submitted, if it is known.
    pub(super) fn order(&self) -> Option<&Order> {
        self.order.get()
    }

    /// This was submitted: said by whoever knows, of a task of which no more was known than its name.
    pub(super) fn complete(&self, order: Order) {
        // Whoever comes second says the same.
        let _ = self.order.set(order);
    }

    /// Whether no record is kept of it any more.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        Duration::from_secs(self.key.submitted) + LIFE <= now
    }

    /// Whether it was submitted at this replica.
    pub(super) fn is_own(&self) -> bool {
        self.order().is_some_and(|order| order.is_own)
    }

    /// Whether the other replicas may not know how far it is.
    pub(super) fn is_untold(&self) -> bool {
        self.is_untold.load(Relaxed)
    }

    pub(super) fn untold(&self, is_untold: bool) {
        self.is_untold.store(is_untold, Relaxed);
    }

    /// The seconds of audio that it used, if it has ended.
    pub(super) fn used(&self) -> Option<u64> {
        self.used.get().copied()
    }

    /// It has ended, and used so many seconds of audio.
    pub(super) fn has_used(&self, seconds: u64) {
        // Whoever comes second says the same.
        let _ = self.used.set(seconds);
    }

    /// Whether it has ended, and what it used is known.
    pub(super) fn has_ended(&self) -> bool {
        self.used.get().is_some() || self.order().is_none() && self.lock().is_final()
    }

    pub(super) fn ask_from_elsewhere(&self) {
        self.is_asked_elsewhere.store(true, Relaxed);
    }

    /// Whether another replica asks how far it is; then it is told.
    pub(super) fn take_asked_elsewhere(&self) -> bool {
        self.is_asked_elsewhere.swap(false, Relaxed)
    }

    pub(super) fn known(&self) -> Known {
        self.lock().clone()
    }

    /// Somebody looked, and this is what the upstream said. Tells whether the status has changed: what has ended
    /// does not begin again, whatever was under way meanwhile.
    pub(super) fn learn(&self, document: &Value, now: Instant) -> bool {
        let status = status(document);
        let mut known = self.lock();
        if known.is_final() && !is_final(status) {
            return false;
        }
        let is_new = *known.status != *status;
        *known = Known {
            status: status.into(),
            document: Some(document.to_string().into()),
            at: Some(now),
            trouble: None,
            ..known.clone()
        };
        drop(known);
        self.looked.notify_waiters();
        is_new
    }

    /// A list says that it has this status, or a cancel has given it. Tells whether that is new. What has ended does not
    /// begin again.
    pub(super) fn listed(&self, status: &str, now: Instant) -> bool {
        let document = json!({ "output": { "task_status": status } });
        self.change(status, Some(&document), now)
    }

    /// Another replica says that it has this status. The results of one that has ended are still to be asked for.
    pub(super) fn hear(&self, status: &str, now: Instant) {
        let document = json!({ "output": { "task_status": status } });
        self.change(status, (!is_final(status) || status == "CANCELED").then_some(&document), now);
    }

    fn change(&self, status: &str, document: Option<&Value>, now: Instant) -> bool {
        let mut known = self.lock();
        if known.is_final() && !is_final(status) {
            return false;
        }
        known.at = Some(now);
        let is_new = *known.status != *status;
        if !is_new && known.document.is_some() {
            return false;
        }
        known.status = status.into();
        known.document = document.map(|document| document.to_string().into());
        drop(known);
        self.looked.notify_waiters();
        is_new
    }

    /// Forgets what the upstream said of its end, but that it has ended.
    pub(super) fn forget_results(&self) {
        let mut known = self.lock();
        if known.is_final() {
            known.document = None;
        }
    }

    /// Nobody could look.
    pub(super) fn fail(&self, trouble: Refused) {
        self.lock().trouble = Some(trouble);
        self.looked.notify_waiters();
    }

    /// Takes what it used as settled; tells whether it was already.
    pub(super) fn settle_once(&self) -> bool {
        self.settled.swap(true, Relaxed)
    }

    /// Somebody asks about it, and perhaps will again.
    pub(super) fn ask(&self, now: Instant) {
        self.lock().asked = Some(now);
    }

    /// Whether it may be asked to be cancelled; then it may not for a while, unless [nobody was
    /// asked](Self::was_not_cancelled).
    pub(super) fn may_cancel(&self, now: Instant) -> bool {
        let mut known = self.lock();
        let is_soon = known.cancelled.is_some_and(|at| now.saturating_duration_since(at) < CANCELLED);
        known.cancelled = if is_soon { known.cancelled } else { Some(now) };
        !is_soon
    }

    /// It was to be cancelled, and nobody could be asked.
    pub(super) fn was_not_cancelled(&self) {
        self.lock().cancelled = None;
    }

    /// Somebody waits for it, for as long as the watch is kept.
    pub(super) fn watch(self: &Arc<Self>) -> Watch {
        self.watchers.fetch_add(1, Relaxed);
        Watch(self.clone())
    }

    /// Whether anybody waits for it here.
    pub(super) fn has_watchers(&self) -> bool {
        self.watchers.load(Relaxed) > 0
    }

    /// Whether anybody waits for it.
    pub(super) fn is_watched(&self, now: Instant) -> bool {
        let asked = || self.lock().asked.is_some_and(|asked| now.saturating_duration_since(asked) < ASKED);
        self.has_watchers() || asked()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody waits for a task. Dropped, it costs nothing further.
#[derive(Debug)]
pub(super) struct Watch(Arc<Task>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Relaxed);
    }
}

/// The status that a document tells; one that tells none is of a task that waits.
pub(super) fn status(document: &Value) -> &str {
    let status = document["output"]["task_status"].as_str().filter(|status| is_word(status));
    status.unwrap_or("PENDING")
}

fn is_word(status: &str) -> bool {
    (1..=32).contains(&status.len()) && status.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    fn task() -> Arc<Task> {
        let owner = Owner { app: "acme".into(), subject: None };
        let key = TaskKey { account: "a".into(), id: "1".into(), submitted: 0 };
        Arc::new(Task::new(owner, key, "handle".into(), "beijing".into(), None, "PENDING").submitted())
    }

    #[test]
    fn who_asked_lately_is_thought_to_wait_and_who_has_gone_is_not() {
        let (task, now) = (task(), Instant::now());
        assert!(!task.is_watched(now));
        let watch = task.watch();
        assert!(task.is_watched(now));
        drop(watch);
        assert!(!task.is_watched(now));
        task.ask(now);
        assert!(task.is_watched(now) && !task.is_watched(now + ASKED));
    }

    #[test]
    fn what_a_list_tells_is_told_on_and_the_rest_is_kept() {
        let (task, now) = (task(), Instant::now());
        let whole =
            json!({ "output": { "task_status": "RUNNING", "submit_time": "2026-01-01 00:00:00.000" } });
        assert!(task.learn(&whole, now));
        task.listed("RUNNING", now);
        assert_eq!(task.known().document.as_deref(), Some(&*whole.to_string()));
        task.listed("SUSPENDED", now);
        assert_eq!(&*task.known().status, "SUSPENDED");
    }

    #[test]
    fn what_has_ended_does_not_begin_again() {
        let (task, now) = (task(), Instant::now());
        task.listed("CANCELED", now);
        assert!(!task.learn(&json!({ "output": { "task_status": "PENDING" } }), now), "it was under way");
        task.listed("PENDING", now);
        assert_eq!(&*task.known().status, "CANCELED");
        let whole = json!({ "output": { "task_status": "CANCELED", "end_time": "2026-01-01 00:00:00.000" } });
        task.learn(&whole, now);
        assert_eq!(task.known().document.as_deref(), Some(&*whole.to_string()));
    }

    #[test]
    fn a_status_that_is_no_word_is_not_repeated() {
        assert_eq!(status(&json!({ "output": { "task_status": "<b>" } })), "PENDING");
        assert_eq!(status(&json!([])), "PENDING");
    }
}
