//! How a sandbox is to behave; checked as a whole when it is bound.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use crate::{ids, recognise::Recogniser};

/// How a sandbox behaves. The defaults are the documented behaviour, on a free loopback port.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) public_url: Option<Url>,
    pub(crate) keys: Vec<(String, SecretString)>,
    pub(crate) control_token: Option<SecretString>,
    pub(crate) queries_per_second: u32,
    pub(crate) submits_per_minute: u32,
    pub(crate) page_max: u32,
    pub(crate) list_order: ListOrder,
    pub(crate) urls_max: usize,
    pub(crate) workspace_host: bool,
    pub(crate) all_failed: AllFailed,
    pub(crate) task_time: TaskTime,
    pub(crate) results_ttl: Duration,
    pub(crate) download: DownloadLimits,
    pub(crate) journal_capacity: usize,
    pub(crate) recogniser: Option<Arc<dyn Recogniser>>,
    pub(crate) time_of_tasks: Option<TimeOfTasks>,
}

/// How long a task with these URLs takes at least, if that is settled for it alone.
type TimeOf = dyn Fn(&[String]) -> Option<TaskTime> + Send + Sync;

#[derive(Clone)]
pub(crate) struct TimeOfTasks(pub(crate) Arc<TimeOf>);

impl fmt::Debug for TimeOfTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TimeOfTasks").finish_non_exhaustive()
    }
}

/// How long a task takes at least, by the sandbox's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskTime {
    /// How long a task stays `PENDING`; its downloads begin after that.
    #[serde(rename = "pending_ms", with = "crate::millis")]
    pub pending: Duration,
    /// How long a task stays `RUNNING`, or longer if its downloads take longer.
    #[serde(rename = "running_ms", with = "crate::millis")]
    pub running: Duration,
}

/// The bounds of one download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownloadLimits {
    /// The size of a file, in bytes. The service takes 2 GB (*Fun-ASR recording*); the sandbox, which keeps
    /// the file in a temporary one, takes 256 MiB unless told otherwise.
    pub bytes: u64,
    /// The time from the request to the last byte, by the sandbox's clock.
    pub time: Duration,
    /// The length of a recording; 12 hours (*Fun-ASR recording*).
    pub audio: Duration,
}

/// In which order tasks are listed; the documentation promises none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListOrder {
    /// By task id, which is random, so that nobody comes to rely on an order.
    Arbitrary,
    /// The latest submitted first.
    NewestFirst,
}

/// How a task ends of which every subtask failed. Both have been seen of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllFailed {
    /// `FAILED`, with `output.code`, `output.message` and the results.
    Failed,
    /// `SUCCEEDED`, with no success among the results.
    Succeeded,
}

/// A setting that cannot be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field}: {rule}")]
pub struct SettingError {
    field: &'static str,
    rule: &'static str,
}

impl SettingError {
    pub(crate) fn new(field: &'static str, rule: &'static str) -> Self {
        Self { field, rule }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            public_url: None,
            keys: Vec::new(),
            control_token: None,
            queries_per_second: 20,
            submits_per_minute: 600,
            page_max: 10,
            list_order: ListOrder::Arbitrary,
            urls_max: 100,
            workspace_host: false,
            all_failed: AllFailed::Failed,
            task_time: TaskTime { pending: Duration::from_millis(200), running: Duration::from_secs(1) },
            results_ttl: Duration::from_hours(24),
            download: DownloadLimits {
                bytes: 256 << 20,
                time: Duration::from_mins(10),
                audio: Duration::from_hours(12),
            },
            journal_capacity: 100_000,
            recogniser: None,
            time_of_tasks: None,
        }
    }
}

impl Settings {
    /// Listens at `address`; port 0 is a free one.
    #[must_use]
    pub fn with_listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Writes result URLs below `url` instead of below the bound address.
    #[must_use]
    pub fn with_public_url(mut self, url: Url) -> Self {
        self.public_url = Some(url);
        self
    }

    /// Knows the API key `key` (`sk-…`) of the default account; without any, one is made.
    #[must_use]
    pub fn with_key(self, key: impl Into<SecretString>) -> Self {
        self.with_account_key("default", key)
    }

    /// Knows the API key `key` (`sk-…`) of the account called `account`.
    #[must_use]
    pub fn with_account_key(mut self, account: impl Into<String>, key: impl Into<SecretString>) -> Self {
        self.keys.push((account.into(), key.into()));
        self
    }

    /// Demands `token` as bearer at the control route, which then also works beyond loopback.
    #[must_use]
    pub fn with_control_token(mut self, token: impl Into<SecretString>) -> Self {
        self.control_token = Some(token.into());
        self
    }

    /// Allows each account so many queries, lists and cancels together in any second; 20 as documented.
    #[must_use]
    pub fn with_queries_per_second(mut self, count: u32) -> Self {
        self.queries_per_second = count;
        self
    }

    /// Allows each account so many submits of a model in any minute; 600 as documented.
    #[must_use]
    pub fn with_submits_per_minute(mut self, count: u32) -> Self {
        self.submits_per_minute = count;
        self
    }

    /// Gives at most so many tasks on a page of a list; the documentation names the default, 10, and no maximum.
    #[must_use]
    pub fn with_page_max(mut self, count: u32) -> Self {
        self.page_max = count;
        self
    }

    /// Lists tasks in this order.
    #[must_use]
    pub fn with_list_order(mut self, order: ListOrder) -> Self {
        self.list_order = order;
        self
    }

    /// Takes at most so many URLs a task: 100 by the guide, 1 by a newer text.
    #[must_use]
    pub fn with_urls_max(mut self, count: usize) -> Self {
        self.urls_max = count;
        self
    }

    /// Behaves like a workspace host: a submit without `parameters` succeeds and its recognition fails later.
    #[must_use]
    pub fn with_workspace_host(mut self, workspace_host: bool) -> Self {
        self.workspace_host = workspace_host;
        self
    }

    /// Ends a task without any success like this.
    #[must_use]
    pub fn with_all_failed(mut self, all_failed: AllFailed) -> Self {
        self.all_failed = all_failed;
        self
    }

    /// Lets tasks take at least so long.
    #[must_use]
    pub fn with_task_time(mut self, pending: Duration, running: Duration) -> Self {
        self.task_time = TaskTime { pending, running };
        self
    }

    /// Lets a task take at least as long as `time` says of its URLs; where it says nothing, as long as the others.
    #[must_use]
    pub fn with_time_of_tasks(
        mut self,
        time: impl Fn(&[String]) -> Option<TaskTime> + Send + Sync + 'static,
    ) -> Self {
        self.time_of_tasks = Some(TimeOfTasks(Arc::new(time)));
        self
    }

    /// Keeps tasks and results so long after their end; 24 hours as documented.
    #[must_use]
    pub fn with_results_ttl(mut self, ttl: Duration) -> Self {
        self.results_ttl = ttl;
        self
    }

    /// Bounds downloads like this.
    #[must_use]
    pub fn with_download_limits(mut self, limits: DownloadLimits) -> Self {
        self.download = limits;
        self
    }

    /// Remembers at most so many requests in the journal; the oldest are forgotten, the counts stay.
    #[must_use]
    pub fn with_journal_capacity(mut self, entries: usize) -> Self {
        self.journal_capacity = entries;
        self
    }

    /// Takes the words from `recogniser` instead of from a transcript beside the audio.
    #[must_use]
    pub fn with_recogniser(mut self, recogniser: Arc<dyn Recogniser>) -> Self {
        self.recogniser = Some(recogniser);
        self
    }

    /// Checks what the types do not, and makes a key where none is given.
    pub(crate) fn checked(mut self) -> Result<Self, SettingError> {
        let refuse = |field, rule| Err(SettingError::new(field, rule));
        if self.queries_per_second == 0 {
            return refuse("queries_per_second", "must be at least 1");
        }
        if self.submits_per_minute == 0 {
            return refuse("submits_per_minute", "must be at least 1");
        }
        if self.page_max == 0 {
            return refuse("page_max", "must be at least 1");
        }
        if self.urls_max == 0 {
            return refuse("urls_max", "must be at least 1");
        }
        if self.keys.is_empty() {
            self.keys.push(("default".to_owned(), ids::secret("sk-").into()));
        }
        for (at, (_, key)) in self.keys.iter().enumerate() {
            let key = key.expose_secret();
            let plain = key.bytes().all(|b| b.is_ascii_graphic());
            if !key.starts_with("sk-") || key.len() < 4 || key.len() > 256 || !plain {
                return refuse(
                    "keys",
                    "an API key is `sk-` and visible ASCII characters, at most 256 in all",
                );
            }
            if self.keys[..at].iter().any(|(_, other)| other.expose_secret() == key) {
                return refuse("keys", "the same key is given twice");
            }
        }
        Ok(self)
    }
}
