//! The commands of `valet-server`, and all that it prints itself.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what a person reads")]

use std::{
    fs,
    io::{IsTerminal, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use valet_clock::{SharedClock, SystemClock};
use valet_server::{
    audit,
    broker::Broker,
    config::{AuditKey, Config, Environment, FirstTry, Invalid, Source, is_app_id},
    http,
    lifecycle::{Drained, Shutdown},
    reload::Asked,
    secret::AppSecret,
    telemetry,
};

/// Exchanges your apps' own credentials for DashScope tokens that live a minute.
///
/// The broker keeps the long-lived API key; nobody else ever sees it.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C.
    Serve(Serve),
    /// Check a configuration and report every mistake in it.
    Check(Check),
    /// Ask a running broker whether it takes requests: exit code 0 if it does.
    Healthcheck(Healthcheck),
    /// Register apps.
    #[command(subcommand)]
    App(App),
    /// Check audit trails.
    #[command(subcommand)]
    Audit(Audit),
    /// Print the catalogue of errors, as Markdown.
    Errors,
}

#[derive(Debug, Subcommand)]
enum Audit {
    /// Find lines of an audit trail that were altered, added or removed.
    ///
    /// Exits with 0 only if every line is covered by a right signature. What the broker itself noted as
    /// a gap, such as a stop without warning, is a finding as well.
    Verify {
        /// The files of the trail, oldest first.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The file that holds the key [default: the last FILE with ".key" after its name].
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// The environment variable that holds the key.
        #[arg(long, value_name = "NAME", conflicts_with = "key_file")]
        key_env: Option<String>,
    },
}

/// Serve until SIGTERM or Ctrl-C.
///
/// For a first try no configuration is needed: with DASHSCOPE_API_KEY set, or with --sandbox-url,
/// one app is made for the life of the process, and its credential shown once.
#[derive(Debug, Args)]
struct Serve {
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

#[derive(Debug, Args)]
struct Check {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "VALET_SERVER_CONFIG")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Healthcheck {
    /// The broker's URL [default: where the configuration says that it listens, else http://127.0.0.1:8080].
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The broker's configuration file.
    #[arg(long, value_name = "FILE", env = "VALET_SERVER_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum App {
    /// Make a secret for an app: prints it once, and the stanza to paste into the configuration.
    New {
        /// The app's id: 1 to 64 of a-z, 0-9, '-', '_', '.'.
        id: String,
        /// The upstream its tokens are for; needed where there are several.
        #[arg(long)]
        upstream: Option<String>,
    },
}

/// The command could not do what it was asked: the message says why.
const FAILED: u8 = 1;
/// The configuration is invalid, as wrong arguments are.
const INVALID: u8 = 2;

impl Arguments {
    pub(crate) fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Check(check) => check.run(),
            Command::Healthcheck(healthcheck) => healthcheck.run(),
            Command::App(App::New { id, upstream }) => new_app(&id, upstream.as_deref()),
            Command::Audit(Audit::Verify { files, key_file, key_env }) => {
                verify(&files, key_file, key_env.as_deref())
            }
            Command::Errors => {
                print!("{}", http::catalogue_markdown());
                Ok(())
            }
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err((code, message)) => {
                eprintln!("valet-server: {message}");
                ExitCode::from(code)
            }
        }
    }
}

type Done = Result<(), (u8, String)>;

fn failed(error: impl Into<Box<dyn std::error::Error>>) -> (u8, String) {
    (FAILED, error.into().to_string())
}

fn invalid(error: &Invalid) -> (u8, String) {
    (INVALID, error.to_string())
}

fn read_config(source: &Source) -> Result<Config, (u8, String)> {
    source.read().map_err(|unusable| (INVALID, unusable.to_string()))
}

impl Check {
    fn run(self) -> Done {
        let source = Source { path: self.config, environment: Environment::of_process() };
        let config = read_config(&source)?;
        println!("{} is valid: listens on {}", source.path.display(), config.listen);
        for upstream in &config.upstreams {
            println!("  upstream {}: {}, keys: {}", upstream.name, upstream.base_url, upstream.keys.len());
        }
        for app in &config.apps {
            let upstream = &config.upstreams[app.upstream];
            let lifetimes: Vec<_> =
                app.lifetimes.iter().map(|class| format!("{} s", class.seconds())).collect();
            let state = if app.enabled { "" } else { ", disabled" };
            println!(
                "  app {}: direct tokens of {} for {}{state}",
                app.id,
                upstream.name,
                lifetimes.join(", ")
            );
            println!("    such a token can do all that its key can: see, read and cancel every task of");
            println!("    account {}, and it cannot be revoked before it expires", upstream.account);
        }
        Ok(())
    }
}

fn new_app(id: &str, upstream: Option<&str>) -> Done {
    if !is_app_id(id) {
        return Err((
            INVALID,
            format!(
                "{id:?}: an app id has 1 to 64 of a-z, 0-9, '-', '_', '.', and begins with a letter or digit"
            ),
        ));
    }
    let secret = AppSecret::generate();
    eprintln!("The secret of {id}, shown only now. Give it to the app's owner, over a safe channel:\n");
    println!("{}", secret.expose());
    eprintln!("\nPaste this into the configuration; it holds only the secret's hash:\n");
    eprintln!("[apps.{}]", if id.contains('.') { format!("{id:?}") } else { id.to_owned() });
    eprintln!("mode = \"direct\"");
    if let Some(upstream) = upstream {
        eprintln!("upstream = {upstream:?}");
    }
    eprintln!("secrets = [\"{}\"]", secret.hash());
    Ok(())
}

fn verify(files: &[PathBuf], key_file: Option<PathBuf>, key_env: Option<&str>) -> Done {
    let (from, text) = match (key_file, key_env) {
        (None, Some(name)) => {
            let environment = Environment::of_process();
            (name.to_owned(), environment.get(name).unwrap_or_default().to_owned())
        }
        (file, _) => {
            let path = file.or_else(|| files.last().map(|last| audit::key_beside(last))).unwrap_or_default();
            let read = fs::read_to_string(&path);
            let text = read.map_err(|error| {
                (INVALID, format!("{}: {error}; name the key with --key-file", path.display()))
            })?;
            (path.display().to_string(), text)
        }
    };
    let key = AuditKey::parse(text.trim());
    let key = key.ok_or_else(|| (INVALID, format!("{from} holds no audit key: 32 characters at least")))?;
    let report = audit::verify(files, &key).map_err(failed)?;
    for finding in &report.findings {
        println!("{finding}");
    }
    println!("{} lines are covered by {} right signatures", report.lines, report.signatures);
    if !report.closed {
        println!(
            "The trail does not end with a stop of the broker: if it does not run any more, lines of its last \
             minute may be missing."
        );
    }
    match report.findings.len() {
        0 => Ok(()),
        count => Err((FAILED, format!("{count} findings"))),
    }
}

impl Healthcheck {
    fn run(self) -> Done {
        let url = match (self.url, self.config) {
            (Some(url), _) => url,
            (None, Some(path)) => {
                let config = read_config(&Source { path, environment: Environment::of_process() })?;
                let scheme = if config.tls.is_some() { "https" } else { "http" };
                let mut address = config.listen;
                if address.ip().is_unspecified() {
                    address.set_ip(if address.is_ipv6() {
                        Ipv6Addr::LOCALHOST.into()
                    } else {
                        Ipv4Addr::LOCALHOST.into()
                    });
                }
                format!("{scheme}://{address}")
            }
            (None, None) => "http://127.0.0.1:8080".to_owned(),
        };
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(3))
            // It asks this machine for a word that is no secret; the certificate names another host.
            .tls_danger_accept_invalid_certs(true)
            .build()
            .map_err(failed)?;
        let url = format!("{}/readyz", url.trim_end_matches('/'));
        let runtime = runtime().map_err(failed)?;
        let answer = runtime.block_on(async {
            let response = client.get(&url).send().await?;
            Ok::<_, reqwest::Error>((response.status(), response.text().await?))
        });
        match answer {
            Ok((status, text)) if status.is_success() => {
                println!("{text}");
                Ok(())
            }
            Ok((status, text)) => Err((FAILED, format!("{url}: {status}: {text}"))),
            Err(error) => Err((FAILED, format!("{url}: {}; does the broker run?", error.without_url()))),
        }
    }
}

impl Serve {
    fn run(self) -> Done {
        let environment = Environment::of_process();
        telemetry::init(environment.get("RUST_LOG"));
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

/// One worker a core; on one core no second thread that would only take turns with the first.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = match cores {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build()
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
