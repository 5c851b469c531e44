//! A sandbox in this process, and replicas beside it on a Redis of their own.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};
use valet_clock::{Clock, ClockExt, SystemClock};
use valet_sandbox::{Sandbox, SandboxHandle, Settings};
use valet_server::{keyring::Keyring, secret::AppSecret};

use crate::{Tokens, WHILE, island::Island, redis::Redis};

const SERVER: &str = env!("CARGO_BIN_EXE_valet-server");
const KEY: &str = "sk-replicas";
/// Settings of replicas to which the Redis is away only if it is: the machine may be busy.
const PATIENT: &str = "connect_milliseconds = 10000\nresponse_milliseconds = 10000\n";
/// Settings of replicas that are to find out in a test that it does not answer.
const IMPATIENT: &str = "connect_milliseconds = 2000\nresponse_milliseconds = 2000\n";
/// Settings of a relay whose folder is the replica's own.
const RELAY: &str = "public_url = \"http://127.0.0.1:9\"\n[relay]\nstate = \"STATE\"\nprivate_hosts = true\n\
                     [relay.waiting]\nper_owner = 1000\n";
/// What should come about, but does not, fails after so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so.
pub(crate) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let end = SystemClock.now() + PATIENCE;
    while !is_so().await {
        assert!(SystemClock.now() < end, "it does not come about");
        SystemClock.sleep(Duration::from_millis(5)).await;
    }
}

/// A process that can be stopped in every way.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed already; a paused one is killed all the same.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A broker.
pub(crate) struct Replica {
    process: Process,
    address: SocketAddr,
    metrics: SocketAddr,
    log: PathBuf,
}

impl Replica {
    async fn start(files: &TempDir, number: usize, config: &str) -> Self {
        let ready = files.path().join(format!("{number}-ready"));
        let (process, log) = Self::spawn(files, number, config);
        until(async || fs::read_to_string(&ready).is_ok_and(|line| line.ends_with('\n'))).await;
        let ready: Value = serde_json::from_str(&fs::read_to_string(&ready).unwrap()).unwrap();
        let address = |name: &str| ready[name].as_str().unwrap().parse().unwrap();
        Self { process, address: address("listen"), metrics: address("metrics"), log }
    }

    /// The process, and where its log is.
    fn spawn(files: &TempDir, number: usize, config: &str) -> (Process, PathBuf) {
        let file = |name: &str| files.path().join(format!("{number}-{name}"));
        let (path, ready, log) = (file("valet.toml"), file("ready"), file("log"));
        let audit = format!("[audit]\npath = {:?}\n", file("audit.jsonl"));
        let config = config.replace("STATE", &file("state").display().to_string());
        fs::write(&path, format!("{config}{audit}")).unwrap();
        let mut server = Command::new(SERVER);
        server.arg("serve").arg("--config").arg(&path).arg("--ready-file").arg(&ready).env("KEY", KEY);
        server.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::null());
        (Process(server.stderr(File::create(&log).unwrap()).spawn().unwrap()), log)
    }

    pub(crate) fn kill(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }

    pub(crate) fn pause(&self) {
        self.process.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.process.signal(Signal::CONT);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

/// Everything together.
pub(crate) struct Cluster {
    /// Before the Redis on it, which only the island can end.
    pub(crate) island: Option<Island>,
    pub(crate) sandbox: SandboxHandle,
    pub(crate) redis: Redis,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) secret: Arc<AppSecret>,
    issued: Arc<AtomicUsize>,
    pub(crate) http: Client,
    config: String,
    files: TempDir,
}

impl Cluster {
    pub(crate) async fn start(replicas: usize) -> Self {
        Self::start_with(replicas, None, "mode = \"direct\"", "", PATIENT).await
    }

    /// The same, whose replicas do not wait long for the Redis.
    pub(crate) async fn start_impatient(replicas: usize) -> Self {
        Self::start_with(replicas, None, "mode = \"direct\"", "", IMPATIENT).await
    }

    /// The same, whose replicas can be cut from the Redis; with more settings of the app.
    pub(crate) async fn start_on_wires(replicas: usize, app: &str) -> Self {
        let app = format!("mode = \"direct\"\n{app}");
        Self::start_with(replicas, Some(Island::with_wires(replicas)), &app, "", IMPATIENT).await
    }

    /// With an app at the relay, as many of whose requests wait as there are, and whose tasks are looked at one by one;
    /// every replica has a folder of its own, with the same keys.
    pub(crate) async fn with_relay(replicas: usize) -> Self {
        Self::start_with(replicas, None, "mode = \"relay\"", RELAY, PATIENT).await
    }

    /// The same, whose replicas do not wait long for the Redis.
    pub(crate) async fn impatient_with_relay(replicas: usize) -> Self {
        Self::start_with(replicas, None, "mode = \"relay\"", RELAY, IMPATIENT).await
    }

    async fn start_with(
        replicas: usize,
        island: Option<Island>,
        app: &str,
        relay: &str,
        patience: &str,
    ) -> Self {
        // What is asked beyond the limit is counted, not refused: replicas that are refused ask less.
        let settings = Settings::default().with_key(KEY).with_queries_per_second(1000);
        let sandbox = Sandbox::bind(settings, Arc::new(SystemClock)).await.unwrap();
        let (base_url, handle) = (sandbox.base_url(), sandbox.handle());
        tokio::spawn(sandbox.run(std::future::pending()));
        let (redis, files, secret) = (
            Redis::start(replicas, island.as_ref()).await,
            tempfile::tempdir().unwrap(),
            AppSecret::generate(),
        );
        let key = files.path().join("key");
        fs::write(&key, "a key for tests alone, of 32 characters").unwrap();
        let config = |number: usize| {
            format!(
                "listen = \"127.0.0.1:0\"\nmetrics_listen = \"127.0.0.1:0\"\n\
                 {relay}[shared]\nurl = \"redis://{}\"\nallow_plain = true\n{patience}\
                 keys = [{{ id = \"1\", file = {key:?} }}]\n\
                 [upstreams.sandbox]\nbase_url = {base_url:?}\nkeys = [{{ env = \"KEY\" }}]\n\
                 list_page = 0\n[apps.acme]\nsecrets = [\"{}\"]\n\
                 rate = {{ per_second = 1000000, burst = 1000000 }}\n{app}\n",
                redis.addresses[number],
                secret.hash()
            )
        };
        let mut started = Vec::new();
        let keys = Keyring::generate(SystemClock.unix());
        for number in 0..replicas {
            keys.write(&state(&files, number)).unwrap();
            started.push(Replica::start(&files, number, &config(number)).await);
        }
        let config = config(0);
        let (secret, issued) = (Arc::new(secret), Arc::default());
        // A client whose server is killed in the middle may wait for a connection that nobody makes any more.
        let http = Client::builder().no_proxy().timeout(WHILE * 30).build().unwrap();
        let cluster =
            Self { island, sandbox: handle, redis, replicas: started, secret, issued, http, config, files };
        cluster.joined().await;
        cluster
    }

    /// What a replica with keys of its own says, which does not start.
    pub(crate) fn stranger(&self) -> String {
        let number = self.replicas.len();
        state(&self.files, number);
        let (mut process, log) = Replica::spawn(&self.files, number, &self.config);
        assert!(!process.0.wait().unwrap().success());
        fs::read_to_string(log).unwrap()
    }

    /// Waits until every replica that lives has the Redis.
    pub(crate) async fn joined(&self) {
        for replica in 0..self.replicas.len() {
            until(async || self.metric(replica, "valet_shared_up").await == 1).await;
        }
    }

    /// A token of one replica; `None` if it is gone, or refuses.
    pub(crate) async fn ask(&self, replica: usize) -> Option<Arc<str>> {
        self.asking(replica).await.unwrap()
    }

    /// The same for a subject.
    pub(crate) async fn ask_for(&self, replica: usize, subject: &str) -> Option<Arc<str>> {
        let url = format!("http://{}/v1/tokens", self.replicas[replica].address);
        let request = self.http.post(url).basic_auth("acme", Some(self.secret.expose()));
        let answer = request.json(&serde_json::json!({ "subject": subject })).send().await.unwrap();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        answer["token"].as_str().map(Arc::from)
    }

    /// The same in the background.
    pub(crate) fn asking(&self, replica: usize) -> JoinHandle<Option<Arc<str>>> {
        let (http, address, secret) =
            (self.http.clone(), self.replicas[replica].address, self.secret.clone());
        tokio::spawn(async move { ask(&http, address, &secret).await?.ok() })
    }

    /// Clients that ask for tokens until they are told to end, one after the other, in turn of all replicas; of the next
    /// one, if one is gone.
    pub(crate) fn jobs(&self, clients: usize) -> Jobs {
        let is_over = Arc::new(AtomicBool::new(false));
        let addresses: Arc<[SocketAddr]> = self.replicas.iter().map(|replica| replica.address).collect();
        let mut jobs = JoinSet::new();
        for client in 0..clients {
            let (http, secret, issued) = (self.http.clone(), self.secret.clone(), self.issued.clone());
            let (addresses, is_over) = (addresses.clone(), is_over.clone());
            jobs.spawn(async move {
                let mut tokens = Tokens::new();
                for number in 0.. {
                    if is_over.load(Relaxed) {
                        break;
                    }
                    let mut token = None;
                    for place in 0..addresses.len() {
                        let address = addresses[(client + number + place) % addresses.len()];
                        token = ask(&http, address, &secret).await;
                        if token.is_some() {
                            break;
                        }
                    }
                    tokens.insert(token.expect("some replica is there").expect("none refuses"));
                    issued.fetch_add(1, Relaxed);
                }
                tokens
            });
        }
        Jobs { jobs, is_over }
    }

    /// How many tokens the jobs have got.
    pub(crate) fn issued(&self) -> usize {
        self.issued.load(Relaxed)
    }

    /// A metric of a replica, named as on its page; 0 if it is not there.
    pub(crate) async fn metric(&self, replica: usize, name: &str) -> u64 {
        let page = self.get(&format!("http://{}/metrics", self.replicas[replica].metrics)).await;
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(0)
    }

    /// What a replica says of itself.
    pub(crate) async fn ready(&self, replica: usize) -> String {
        self.get(&format!("http://{}/readyz", self.replicas[replica].address)).await
    }

    async fn get(&self, url: &str) -> String {
        self.http.get(url).send().await.unwrap().text().await.unwrap()
    }
}

/// The folder of a replica's state.
fn state(files: &TempDir, number: usize) -> PathBuf {
    let state = files.path().join(format!("{number}-state"));
    fs::create_dir(&state).unwrap();
    state
}

/// Clients at work.
pub(crate) struct Jobs {
    jobs: JoinSet<Tokens>,
    is_over: Arc<AtomicBool>,
}

impl Jobs {
    /// Ends them; the tokens that they got.
    pub(crate) async fn ended(self) -> Tokens {
        self.is_over.store(true, Relaxed);
        self.jobs.join_all().await.into_iter().flatten().collect()
    }
}

/// A token, or what is said instead; `None` if there is no answer.
async fn ask(http: &Client, address: SocketAddr, secret: &AppSecret) -> Option<Result<Arc<str>, String>> {
    let request = http.post(format!("http://{address}/v1/tokens")).basic_auth("acme", Some(secret.expose()));
    let text = request.send().await.ok()?.text().await.ok()?;
    let answer: Value = serde_json::from_str(&text).unwrap();
    Some(answer["token"].as_str().map(Arc::from).ok_or(text))
}
