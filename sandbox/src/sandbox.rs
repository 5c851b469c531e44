//! The composition root: builds every part from the settings, binds the socket, serves.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use valet_clock::SharedClock;

use crate::{
    accounts::Accounts,
    core::Core,
    fault::Script,
    handle::SandboxHandle,
    http::{Front, STORAGE, serve},
    journal::Journal,
    media::Downloader,
    recognise::TranscriptBeside,
    settings::{SettingError, Settings},
    storage::Storage,
    tasks::{Results, Tasks, Work},
};

/// A sandbox that is bound to its address and ready to [`run`](Sandbox::run).
#[derive(Debug)]
pub struct Sandbox {
    core: Arc<Core>,
    listener: TcpListener,
    address: SocketAddr,
    stop: CancellationToken,
}

/// Why a sandbox could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A setting is wrong.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The address cannot be listened at.
    #[error("cannot listen at {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// Downloads are not possible on this machine.
    #[error("cannot make HTTP requests: {0}")]
    Client(#[from] reqwest::Error),
}

impl Sandbox {
    /// Builds a sandbox and binds its address. All its times are `clock`'s.
    ///
    /// # Errors
    /// If a setting is wrong or the address cannot be had.
    pub async fn bind(settings: Settings, clock: SharedClock) -> Result<Self, BindError> {
        let settings = settings.checked()?;
        let listen = settings.listen;
        let listener = TcpListener::bind(listen).await.map_err(|e| BindError::Listen(listen, e))?;
        let address = listener.local_addr().map_err(|e| BindError::Listen(listen, e))?;
        let stop = CancellationToken::new();
        let core = Core::build(settings, clock, address, &stop)?;
        Ok(Self { core: Arc::new(core), listener, address, stop })
    }

    /// The address that is listened at.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The base URL to give to clients, `http://ADDRESS/api/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }

    /// The first API key of the settings, or the one that was made where they have none.
    #[must_use]
    pub fn api_key(&self) -> &SecretString {
        let (_, key) = self.core.settings.keys.first().expect("checked settings have a key");
        key
    }

    /// A handle to look into the sandbox and to script it while it runs.
    #[must_use]
    pub fn handle(&self) -> SandboxHandle {
        SandboxHandle::new(self.core.clone())
    }

    /// Serves until `shutdown` completes; requests being answered then are answered.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let Self { core, listener, stop, .. } = self;
        // Dropped with this future too, so that no task outlives a sandbox whose future is dropped.
        let _stop_all = stop.clone().drop_guard();
        let front = Arc::new(Front::new(core, stop.clone()));
        let serving = serve(listener, front, stop.clone());
        let stopping = async {
            shutdown.await;
            stop.cancel();
        };
        tokio::join!(serving, stopping);
    }
}

impl Core {
    fn build(
        settings: Settings,
        clock: SharedClock,
        address: SocketAddr,
        stop: &CancellationToken,
    ) -> Result<Self, BindError> {
        let base = settings.public_url.clone();
        let base = base
            .map_or_else(|| format!("http://{address}"), |url| url.as_str().trim_end_matches('/').to_owned());
        let downloader = Downloader::new(clock.clone(), settings.download)?;
        let recogniser = settings
            .recogniser
            .clone()
            .unwrap_or_else(|| Arc::new(TranscriptBeside::new(downloader.clone())));
        let storage = Arc::new(Storage::new(settings.download.bytes));
        let (tasks, results) = (Arc::new(Tasks::new(settings.results_ttl)), Arc::new(Results::default()));
        let work = Work::new(
            &settings,
            clock.clone(),
            (downloader, storage.clone(), recogniser),
            (tasks.clone(), results.clone()),
            format!("{base}/results/"),
            stop.clone(),
        );
        Ok(Self {
            clock,
            loopback: address.ip().is_loopback(),
            accounts: Accounts::new(&settings),
            journal: Journal::new(settings.journal_capacity),
            script: Script::default(),
            storage,
            storage_url: format!("{base}{STORAGE}"),
            tasks,
            results,
            work: Arc::new(work),
            task_time: Mutex::new(settings.task_time),
            settings,
        })
    }
}
