//! DashScope's token and Fun-ASR protocol on localhost, strict about it: mint, submit, query, list, cancel and
//! result download as documented, with real downloads, real decoding and words from a transcript beside the
//! audio. For tests there are a journal of all requests and scripted faults. It knows neither broker nor client.
//!
//! ```no_run
//! use std::sync::Arc;
//! use valet_clock::SystemClock;
//! use valet_sandbox::{BindError, Fault, Operation, Sandbox, Settings};
//!
//! # async fn example() -> Result<(), BindError> {
//! let settings = Settings::default().with_key("sk-test");
//! let sandbox = Sandbox::bind(settings, Arc::new(SystemClock)).await?;
//! let (base_url, handle) = (sandbox.base_url(), sandbox.handle());
//! tokio::spawn(sandbox.run(std::future::pending()));
//!
//! handle.script(Fault::on(Operation::Mint).refuse(503, "SystemError", "Try again."));
//! // … a client works with `base_url` …
//! assert_eq!(handle.count(Operation::Mint), 2);
//! # Ok(())
//! # }
//! ```

mod accounts;
mod contract;
mod core;
mod failure;
mod fault;
mod handle;
mod http;
mod ids;
mod journal;
mod media;
mod millis;
mod rate;
mod recognise;
mod sandbox;
mod settings;
mod stamp;
mod storage;
mod tasks;

pub use failure::Failure;
pub use fault::Fault;
pub use handle::{SandboxHandle, TaskSummary};
pub use ids::fingerprint;
pub use journal::{Counts, Entry, Operation};
pub use recognise::{Channel, OpenAi, Recogniser, Recording, Segment, Sentence, Word};
pub use sandbox::{BindError, Sandbox};
pub use settings::{AllFailed, DownloadLimits, ListOrder, SettingError, Settings, TaskTime};
pub use tasks::TaskStatus;
