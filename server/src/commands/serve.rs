//! `valet-server serve`: the broker, until it is told to stop.

use std::{
    fs,
    io::{IsTerminal, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::Arc,
};

use clap::Args;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use valet_clock::{SharedClock, SystemClock};
use valet_server::{
    broker::Broker,
    config::{Config, Environment, FirstTry, Source},
    lifecycle::{Drained, Shutdown},
    reload::Asked,
    telemetry,
};

use super::{Done, failed, invalid, read_config, runtime};

/// Serve until SIGTERM or Ctrl-C.
///
/// For a first try no configuration is needed: with DASHSCOPE_API_KEY set, or with --sandbox-url,
/// one app is made for the life of the process, and its credential shown once.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The configuration file (TOML). Any field of it can be set by the environment as well:
    /// VALET_SERVER__AUDIT__PATH sets audit.path.
    #[arg(long, value_name = "FILE", env = "VALET_SERVER_CONFIG")]
    config: Option<PathBuf>,
    /// Mint from a local sandbox instead of DashScope, as http://127.0.0.1:8780/api/v1.
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    sandbox_url: Option<String>,
    /// Where to listen, instead of what the configuration says.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Write the addresses that were bound to this file once the broker serves, as one JSON line.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self) -> Done {
        let environment = Environment::of_process();
        let collector = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
        let collector = collector.iter().any(|name| environment.get(name).is_some());
        let telemetry = telemetry::init(environment.get("RUST_LOG"), collector).map_err(failed)?;
        let mut credential_file = None;
        let source = self.config.clone().map(|path| Source { path, environment: environment.clone() });
        let config = match &source {
            Some(source) => read_config(source)?,
            None => {
                let first_try = FirstTry::new(self.sandbox_url.as_deref(), self.listen, &environment)
                    .map_err(|error| invalid(&error))?;
                credential_file = show_credential(&first_try)?;
                first_try.config
            }
        };
        let runtime = runtime().map_err(failed)?;
        let drained = runtime.block_on(self.serve(config, source));
        // A thread that still waits to write does not hold up the end.
        runtime.shutdown_background();
        telemetry.close();
        if let Some(path) = &credential_file {
            // Of no use any more, and not there twice for the next process of the same number.
            let _ = fs::remove_file(path);
        }
        let drained = drained.map_err(failed)?;
        match drained {
            Drained::Whole => Ok(()),
            Drained::CutOff(count) => Err(failed(format!(
                "stopped with {count} connections cut off: bounds.drain_seconds was not enough, or a second signal came"
            ))),
        }
    }

    async fn serve(
        self,
        config: Config,
        source: Option<Source>,
    ) -> Result<Drained, Box<dyn std::error::Error>> {
        let clock: SharedClock = Arc::new(SystemClock);
        let (listen, asked) = (self.listen.unwrap_or(config.listen), Asked::default());
        if config.signs_anyone_in() && !listen.ip().is_loopback() {
            return Err(format!("--listen {listen}: playground.sign_in is for loopback alone").into());
        }
        let mut broker = Broker::bind(Config { listen, ..config }, clock).await?;
        if let Some(source) = source {
            broker = broker.following(source, asked.clone());
        }
        let shutdown = Shutdown::default();
        let signals = tokio::spawn(shutdown.on_signals()?);
        let hangups = tokio::spawn(on_hangup(asked)?);
        let (listen, metrics) = (broker.local_addr(), broker.metrics_addr());
        tracing::info!(%listen, metrics = metrics.map(tracing::field::display), "serving");
        if let Some(path) = &self.ready_file {
            let ready = serde_json::json!({ "listen": listen, "metrics": metrics });
            fs::write(path, format!("{ready}\n"))
                .map_err(|error| format!("--ready-file {}: {error}", path.display()))?;
        }
        notify(NotifyState::Ready);
        let asked = shutdown.asked().clone();
        let stopping = tokio::spawn(async move {
            asked.cancelled().await;
            notify(NotifyState::Stopping);
        });
        let drained = broker.run(shutdown).await?;
        stopping.abort();
        signals.abort();
        hangups.abort();
        Ok(drained)
    }
}

/// Tells systemd, if it started this process and waits to be told.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

/// Reloads on every SIGHUP.
fn on_hangup(asked: Asked) -> std::io::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP: reloading the configuration");
            asked.now();
        }
    })
}

/// Shows the credential of a first try: on a terminal, else in a file that only its owner can read.
fn show_credential(first_try: &FirstTry) -> Result<Option<PathBuf>, (u8, String)> {
    let (app, secret) = (first_try.app_id, first_try.secret.expose());
    let credential = format!("VALET_APP={app}\nVALET_SECRET={secret}\n");
    if std::io::stderr().is_terminal() {
        eprintln!(
            "No configuration: one app for as long as this process lives. Its credential:\n\n{credential}"
        );
        return Ok(None);
    }
    let name = format!("valet-first-try-{}-{:08x}.env", std::process::id(), fastrand::u32(..));
    let path = std::env::temp_dir().join(name);
    let write = || {
        // A file that is there already may be somebody else's trap.
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(credential.as_bytes())
    };
    write().map_err(|error: std::io::Error| failed(format!("{}: {error}", path.display())))?;
    eprintln!(
        "No configuration: one app for as long as this process lives. Its credential is in {}",
        path.display()
    );
    Ok(Some(path))
}
