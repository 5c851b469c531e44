//! The upstream that the broker mints at: a sandbox in this process.

use std::sync::Arc;

use valet_clock::SystemClock;
use valet_sandbox::{BindError, Operation, Sandbox, SandboxHandle, Settings};

/// The upstream key. It opens nothing but this sandbox.
pub(crate) const KEY: &str = "sk-for-benchmarks-only";

/// Ends with the runtime that it was started on.
#[derive(Debug)]
pub(crate) struct Upstream {
    base_url: String,
    sandbox: SandboxHandle,
}

impl Upstream {
    /// Starts it as a task of the present runtime.
    pub(crate) async fn start() -> Result<Self, BindError> {
        Self::start_with(Settings::default()).await
    }

    /// Starts one that behaves in its own way.
    pub(crate) async fn start_with(settings: Settings) -> Result<Self, BindError> {
        let sandbox = Sandbox::bind(settings.with_key(KEY), Arc::new(SystemClock)).await?;
        let upstream = Self { base_url: sandbox.base_url(), sandbox: sandbox.handle() };
        tokio::spawn(sandbox.run(std::future::pending()));
        Ok(upstream)
    }

    /// Where the broker finds it.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// To look into it, and to script it.
    pub(crate) fn sandbox(&self) -> &SandboxHandle {
        &self.sandbox
    }

    /// How many tokens it was asked for.
    pub(crate) fn mints(&self) -> u64 {
        self.sandbox.count(Operation::Mint)
    }
}
