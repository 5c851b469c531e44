//! Sandbox and broker on free ports, one app registered, and clients for it.

use std::{
    collections::BTreeMap,
    fs, io, iter,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use valet_client::{AppCredential, Client, ClientBuilder};
use valet_clock::{ManualClock, SharedClock, SystemClock};
use valet_sandbox::{Sandbox, SandboxHandle};
use valet_server::{
    broker::{self, Broker},
    config::{Config, Environment, Invalid, Source},
    lifecycle::{Drained, Shutdown},
    reload::Asked,
    secret::AppSecret,
};

use crate::{RoundRobin, free_port};

/// The id of the registered app.
pub const APP: &str = "demo";
/// The id of the app that the playground signs its user in as.
const PAGE: &str = "page";

/// The variables in which the broker finds the sandbox's keys begin with this.
const KEY_VARIABLE: &str = "DASHSCOPE_API_KEY";

/// The time that each part goes by.
#[derive(Clone, Debug)]
pub struct Clocks {
    /// The sandbox's.
    pub sandbox: SharedClock,
    /// The broker's.
    pub broker: SharedClock,
    /// The clients'.
    pub client: SharedClock,
}

impl Default for Clocks {
    fn default() -> Self {
        let system: SharedClock = Arc::new(SystemClock);
        Self { sandbox: system.clone(), broker: system.clone(), client: system }
    }
}

impl From<&ManualClock> for Clocks {
    /// One clock, with a name for each part: `sandbox`, `broker`, `client`.
    fn from(clock: &ManualClock) -> Self {
        Self {
            sandbox: clock.handle("sandbox"),
            broker: clock.handle("broker"),
            client: clock.handle("client"),
        }
    }
}

/// What a stack is like.
#[derive(Default)]
pub struct StackSettings {
    /// The time that each part goes by.
    pub clocks: Clocks,
    /// How the sandbox behaves.
    pub sandbox: valet_sandbox::Settings,
    /// Configuration of the broker at the top of the file, such as `[bounds]`.
    pub config: String,
    /// Settings of the audit trail, instead of a file in the stack's folder.
    pub audit: String,
    /// Settings of the upstream.
    pub upstream: String,
    /// Further keys of the upstream, to be tried after the sandbox's first.
    pub spare_keys: Vec<String>,
    /// Settings of the app.
    pub app: String,
    /// The folder of the relay's state, if the app gets relay tokens.
    pub relay: Option<PathBuf>,
    /// The same, if there is another app at the relay, which the playground signs its user in as.
    pub playground: Option<PathBuf>,
    /// Whether the broker follows its configuration file.
    pub follow: bool,
    /// The clocks of the brokers that there are beside the first, behind one address; what they share, `config` says.
    pub further: Vec<SharedClock>,
}

/// Sandbox and broker, running.
pub struct Stack {
    /// To look into the sandbox, and to script it.
    pub sandbox: SandboxHandle,
    /// The sandbox's base URL.
    pub sandbox_url: String,
    /// The sandbox's long-lived key.
    pub sandbox_key: String,
    /// The broker's URL; of several, that of all.
    pub broker_url: String,
    /// The broker's address; of several, that of all.
    pub broker_addr: SocketAddr,
    /// The address of each broker.
    pub replicas: Vec<SocketAddr>,
    /// Where the broker serves its metrics; of several, the first.
    pub metrics_addr: SocketAddr,
    /// Where each broker serves its metrics.
    pub metrics_addrs: Vec<SocketAddr>,
    /// The secret of the app.
    pub secret: AppSecret,
    /// The configuration of the broker.
    pub config: String,
    reload: Vec<Asked>,
    sources: Vec<Source>,
    follow: bool,
    clocks: Clocks,
    folder: TempDir,
    shutdown: Shutdown,
    brokers: Vec<JoinHandle<Result<Drained, broker::Failed>>>,
    _in_front: Option<RoundRobin>,
    stop_sandbox: oneshot::Sender<()>,
    sandbox_ended: JoinHandle<()>,
}

/// Why a stack cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The sandbox cannot be bound.
    #[error("the sandbox: {0}")]
    Sandbox(#[from] valet_sandbox::BindError),
    /// The broker's configuration is invalid.
    #[error("the broker: {0}")]
    Config(#[from] Invalid),
    /// The broker cannot be bound.
    #[error("the broker: {0}")]
    Broker(#[from] broker::Failed),
    /// A temporary folder cannot be made.
    #[error("a temporary folder: {0}")]
    Folder(#[from] io::Error),
}

impl Stack {
    /// Starts sandbox and broker on free ports of this machine.
    ///
    /// # Errors
    /// If one of them cannot be started.
    pub async fn start(settings: StackSettings) -> Result<Self, StackError> {
        let StackSettings {
            clocks,
            sandbox,
            config,
            audit,
            upstream,
            spare_keys,
            app,
            relay,
            playground,
            follow,
            further,
        } = settings;
        let sandbox = Sandbox::bind(sandbox, clocks.sandbox.clone()).await?;
        let (sandbox_url, handle) = (sandbox.base_url(), sandbox.handle());
        let sandbox_key = sandbox.api_key().expose_secret().to_owned();
        let (stop_sandbox, stopped) = oneshot::channel::<()>();
        let sandbox_ended = tokio::spawn(sandbox.run(async move {
            // Dropping the stack without stopping it stops the sandbox as well.
            let _ = stopped.await;
        }));

        let keys: Vec<(String, &str)> = iter::once(&sandbox_key)
            .chain(&spare_keys)
            .enumerate()
            .map(|(place, key)| (format!("{KEY_VARIABLE}_{place}"), key.as_str()))
            .collect();
        let listed: Vec<String> = keys.iter().map(|(name, _)| format!("{{ env = {name:?} }}")).collect();
        let (secret, folder) = (AppSecret::generate(), TempDir::new()?);
        let audit = match audit.as_str() {
            "" => format!("path = {:?}", folder.path().join("audit.jsonl")),
            settings => settings.to_owned(),
        };
        let mode = if relay.is_some() { "relay" } else { "direct" };
        let page = playground.as_ref().map(|_| {
            let secret = AppSecret::generate().hash();
            format!("[playground]\nsign_in = [\"{PAGE}\"]\n[apps.{PAGE}]\nmode = \"relay\"\nsecrets = [\"{secret}\"]\n")
        });
        let state = relay.or(playground);
        let relay = state.map(|state| format!("[relay]\nstate = {state:?}\nprivate_hosts = true\n"));
        // A relay token says where the relay is, so its address is chosen beforehand; one of several brokers is not
        // to take it.
        let front = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let in_front = match further.as_slice() {
            [] => None,
            _ => Some(TcpListener::bind(front).await?),
        };
        let (mut config, mut listen) = (config, "127.0.0.1:0".to_owned());
        if relay.is_some() && !config.contains("public_url") {
            config = format!("public_url = \"http://{front}\"\n{config}");
            if in_front.is_none() {
                listen = front.to_string();
            }
        }
        let config = format!(
            "listen = {listen:?}\nmetrics_listen = \"127.0.0.1:0\"\n{config}\n\
             [audit]\n{audit}\n{}\
             [upstreams.sandbox]\nbase_url = {sandbox_url:?}\nkeys = [{}]\n{upstream}\n\
             [apps.{APP}]\nmode = \"{mode}\"\nsecrets = [\"{}\"]\n{app}\n{}",
            relay.unwrap_or_default(),
            listed.join(", "),
            secret.hash(),
            page.unwrap_or_default(),
        );
        let environment: Environment = keys.iter().map(|(name, key)| (name.as_str(), *key)).collect();
        let shutdown = Shutdown::default();
        let (mut replicas, mut metrics_addrs, mut reload) = (Vec::new(), Vec::new(), Vec::new());
        let (mut bound, mut sources) = (Vec::new(), Vec::new());
        for (number, clock) in iter::once(&clocks.broker).chain(&further).enumerate() {
            let (path, text) = of_replica(&folder, number, &config);
            fs::write(&path, &text)?;
            let broker = Broker::bind(Config::read(&text, &environment)?, clock.clone()).await?;
            let (asked, source) = (Asked::default(), Source { path, environment: environment.clone() });
            let broker = if follow { broker.following(source.clone(), asked.clone()) } else { broker };
            sources.push(source);
            reload.push(asked);
            replicas.push(broker.local_addr());
            metrics_addrs.push(broker.metrics_addr().unwrap_or(broker.local_addr()));
            bound.push(broker);
        }
        let brokers = bound.into_iter().map(|broker| tokio::spawn(broker.run(shutdown.clone()))).collect();
        let in_front = in_front.map(|chosen| RoundRobin::on(chosen, replicas.clone())).transpose()?;
        let broker_addr = in_front.as_ref().map_or(replicas[0], RoundRobin::address);
        Ok(Self {
            sandbox: handle,
            sandbox_url,
            sandbox_key,
            broker_url: format!("http://{broker_addr}"),
            broker_addr,
            replicas,
            metrics_addr: metrics_addrs[0],
            metrics_addrs,
            secret,
            config,
            reload,
            sources,
            follow,
            clocks,
            folder,
            brokers,
            _in_front: in_front,
            shutdown,
            stop_sandbox,
            sandbox_ended,
        })
    }

    /// Writes another configuration into the broker's file, and, if it `follow`s the file and is told to
    /// `ask`, has it reloaded at once.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn reconfigure(&self, config: &str, ask: bool) -> io::Result<()> {
        for number in 0..self.brokers.len() {
            let (path, text) = of_replica(&self.folder, number, config);
            fs::write(path, text)?;
        }
        if ask {
            self.reload.iter().for_each(Asked::now);
        }
        Ok(())
    }

    /// Ends the broker, if it is the only one, in good order or at once as if it were killed, and starts it again by the same
    /// configuration.
    ///
    /// # Errors
    /// If it cannot be started.
    ///
    /// # Panics
    /// If it panicked, or there are several.
    pub async fn restart_broker(&mut self, in_order: bool) -> Result<(), StackError> {
        assert_eq!(self.brokers.len(), 1, "of several it would have to be said which");
        if in_order {
            self.shutdown.advance();
            (&mut self.brokers[0]).await.expect("the broker does not panic")?;
        } else {
            self.brokers[0].abort();
            // It was cut off: there is nothing to learn of how it ended.
            let _ = (&mut self.brokers[0]).await;
        }
        let config = Config::read(&self.config, &self.sources[0].environment)?;
        let broker = Broker::bind(config, self.clocks.broker.clone()).await?;
        let broker = match self.follow {
            true => broker.following(self.sources[0].clone(), self.reload[0].clone()),
            false => broker,
        };
        self.broker_addr = broker.local_addr();
        self.broker_url = format!("http://{}", self.broker_addr);
        self.metrics_addr = broker.metrics_addr().unwrap_or(self.broker_addr);
        (self.replicas, self.metrics_addrs) = (vec![self.broker_addr], vec![self.metrics_addr]);
        self.shutdown = Shutdown::default();
        self.brokers[0] = tokio::spawn(broker.run(self.shutdown.clone()));
        Ok(())
    }

    /// A folder for files that the configuration names.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client set up for the app, to be built.
    ///
    /// # Panics
    /// Never: the broker's URL is one.
    pub fn client_builder(&self) -> ClientBuilder {
        let credential = AppCredential::new(APP, self.secret.expose());
        let builder = Client::builder().clock(self.clocks.client.clone());
        builder.broker(&self.broker_url, credential).expect("a loopback URL is fit for secrets")
    }

    /// A client of the app.
    ///
    /// # Panics
    /// If no HTTPS client can be made on this machine.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_builder().build().expect("an HTTPS client can be made")
    }

    /// The broker's audit trail; what was decided last may not be there yet.
    #[must_use]
    pub fn audit_path(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    /// Begins the broker's stop, or its second stage.
    pub fn shut_down(&self) {
        self.shutdown.advance();
    }

    /// Stops both, and tells what they leave.
    ///
    /// # Errors
    /// If the broker failed.
    ///
    /// # Panics
    /// If broker or sandbox panicked: a test that uses them must not pass.
    pub async fn stop(self) -> Result<Remains, broker::Failed> {
        if self.brokers.iter().any(|broker| !broker.is_finished()) && !self.shutdown.asked().is_cancelled() {
            self.shutdown.advance();
        }
        let (mut drained, mut audit) = (Drained::Whole, Vec::new());
        for (number, broker) in self.brokers.into_iter().enumerate() {
            let ended = broker.await.expect("the broker does not panic")?;
            drained = if drained == Drained::Whole { ended } else { drained };
            audit.extend(read_lines(&self.folder.path().join(audit_name(number))));
        }
        audit.sort_by(|one, other| one["time"].to_string().cmp(&other["time"].to_string()));
        // It may have ended already.
        let _ = self.stop_sandbox.send(());
        self.sandbox_ended.await.expect("the sandbox does not panic");
        Ok(Remains { drained, audit })
    }
}

/// What a stopped stack leaves.
pub struct Remains {
    /// How the broker's stop went.
    pub drained: Drained,
    /// The decisions in its audit trail.
    pub audit: Vec<BTreeMap<String, serde_json::Value>>,
}

impl Remains {
    /// How many tokens were issued.
    #[must_use]
    pub fn issued(&self) -> usize {
        self.audit.iter().filter(|line| line["outcome"] == "issued").count()
    }
}

/// The file of a broker's configuration, and what stands in it: each has an audit trail of its own.
fn of_replica(folder: &TempDir, number: usize, config: &str) -> (PathBuf, String) {
    let name = if number == 0 { "valet.toml".to_owned() } else { format!("valet-{number}.toml") };
    let text = config.replace(&format!("/{}\"", audit_name(0)), &format!("/{}\"", audit_name(number)));
    (folder.path().join(name), text)
}

fn audit_name(number: usize) -> String {
    if number == 0 { "audit.jsonl".to_owned() } else { format!("audit-{number}.jsonl") }
}

fn read_lines(path: &Path) -> Vec<BTreeMap<String, serde_json::Value>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("an audit line is JSON"));
    // Decisions alone: what else there is has a kind.
    lines.filter(|line: &BTreeMap<_, _>| !line.contains_key("kind")).collect()
}
