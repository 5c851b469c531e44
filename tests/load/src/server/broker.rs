//! The broker under test: the real binary, with everything on.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process,
    process::Stdio,
    time::Duration,
};

use aws_lc_rs::digest;
use data_encoding::{BASE64, HEXLOWER};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use valet_clock::{Clock, ClockExt, SystemClock};
use valet_server::config::Environment;

use super::{Endpoint, Upstream, upstream::KEY};
use crate::{Outcome, cores};

const APP: &str = "bench";
const SECRET: &str = "vs_a-secret-of-a-usual-length-for-benchmarks-only";
/// What replicas seal with.
const SEALING_KEY: &str = "a sealing key that is for benchmarks only";

/// How long the broker may take to serve, to write its audit trail and to stop, also one of very many apps on a machine
/// that does other things.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A running broker and its files.
#[derive(Debug)]
pub(crate) struct Broker {
    /// Where it is.
    pub(crate) endpoint: Endpoint,
    process: Child,
    files: TempDir,
}

#[derive(Deserialize)]
struct Ready {
    listen: SocketAddr,
}

impl Broker {
    /// Starts it with one app that mints at `upstream`.
    pub(crate) async fn start(upstream: &Upstream) -> Outcome<Self> {
        Self::start_with(upstream, "").await
    }

    /// Starts it with settings at the `top` of its configuration besides.
    pub(crate) async fn start_with(upstream: &Upstream, top: &str) -> Outcome<Self> {
        Self::start_of(|files| Ok(config_of(top, upstream.base_url(), &files.join("audit.jsonl")))).await
    }

    /// Starts it with its app at its relay, whose tokens live for half an hour.
    pub(crate) async fn start_relay(upstream: &Upstream) -> Outcome<Self> {
        Self::start_of(|files| {
            // Nobody follows it here: it says whose tokens are whose.
            let top = "public_url = \"http://127.0.0.1:1\"";
            let config = config_of(top, upstream.base_url(), &files.join("audit.jsonl"));
            let config = config.replace("mode = \"direct\"", "mode = \"relay\"\nlifetime = 1800");
            let state = files.join("state");
            fs::create_dir(&state)?;
            Ok(format!("{config}[relay]\nstate = {state:?}\n"))
        })
        .await
    }

    /// Starts it by the configuration that is made of the folder of its files.
    pub(crate) async fn start_of(
        configuration: impl FnOnce(&Path) -> std::io::Result<String>,
    ) -> Outcome<Self> {
        let binary = binary()?;
        // Beside the binary there is a disk; the folder for temporary files is memory on many systems.
        let files = TempDir::new_in(binary.parent().ok_or("the binary lies nowhere")?)?;
        let (config, ready) = (files.path().join("valet.toml"), files.path().join("ready.json"));
        fs::write(&config, configuration(files.path())?)?;
        let mut command = Command::new(&binary);
        command.arg("serve").arg("--config").arg(config).arg("--ready-file").arg(&ready);
        command.env("DASHSCOPE_API_KEY", KEY).env("SEALING_KEY", SEALING_KEY).env("RUST_LOG", "error");
        command.stdin(Stdio::null()).kill_on_drop(true);
        let mut process = cores::on(cores::SERVER, || command.spawn())?;
        let pid = process.id().ok_or("the broker ended at once")?;
        let listening = async {
            loop {
                match fs::read_to_string(&ready) {
                    Ok(line) if line.ends_with('\n') => break serde_json::from_str::<Ready>(&line),
                    _ => SystemClock.sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let ready = tokio::select! {
            ended = process.wait() => return Err(format!("the broker ended: {}", ended?).into()),
            ready = SystemClock.timeout(PATIENCE, listening) => ready.map_err(|_| "the broker does not serve")??,
        };
        Ok(Self { endpoint: Endpoint { address: ready.listen, pid }, process, files })
    }

    /// The id and secret of its app.
    pub(crate) fn credential() -> (String, String) {
        (APP.to_owned(), SECRET.to_owned())
    }

    /// The request of its app for a token, with a form unless that is empty.
    pub(crate) fn token_request(&self, path: &str, form: &str) -> String {
        self.token_request_of(&(APP.to_owned(), SECRET.to_owned()), path, form)
    }

    /// The request for a token of the app whose id and secret these are.
    pub(crate) fn token_request_of(
        &self,
        (app, secret): &(String, String),
        path: &str,
        form: &str,
    ) -> String {
        let credential = BASE64.encode(format!("{app}:{secret}").as_bytes());
        let host = self.endpoint.address;
        let content_type = match form {
            "" => "",
            _ => "content-type: application/x-www-form-urlencoded\r\n",
        };
        let length = form.len();
        format!(
            "POST {path} HTTP/1.1\r\nauthorization: Basic {credential}\r\naccept: */*\r\n{content_type}\
             host: {host}\r\ncontent-length: {length}\r\n\r\n{form}"
        )
    }

    /// Waits until the audit trail has the lines of so many decisions, and empties it; says how many it had.
    pub(crate) async fn take_audit(&self, lines: u64) -> Outcome<u64> {
        let limit = SystemClock.now() + PATIENCE;
        let path = self.files.path().join("audit.jsonl");
        let count = loop {
            let count = line_count(&path)?;
            if count >= lines || SystemClock.now() > limit {
                break count;
            }
            SystemClock.sleep(Duration::from_millis(100)).await;
        };
        // The broker appends: emptied, the file grows from its beginning.
        fs::File::options().write(true).open(path)?.set_len(0)?;
        Ok(count)
    }

    /// Kills it.
    pub(crate) async fn kill(mut self) -> Outcome<()> {
        Ok(self.process.kill().await?)
    }

    /// Stops it, as an operator would.
    pub(crate) async fn stop(mut self) -> Outcome<()> {
        let pid = i32::try_from(self.endpoint.pid).ok().and_then(Pid::from_raw).ok_or("no process id")?;
        kill_process(pid, Signal::TERM)?;
        let ended = SystemClock.timeout(PATIENCE, self.process.wait()).await;
        match ended.map_err(|_| "the broker does not stop")?? {
            status if status.success() => Ok(()),
            status => Err(format!("the broker stopped with {status}").into()),
        }
    }
}

/// Where a configuration's keys are.
pub(crate) fn environment() -> Environment {
    [("DASHSCOPE_API_KEY", KEY), ("SEALING_KEY", SEALING_KEY)].into_iter().collect()
}

/// A configuration with everything on: an audit trail in a file, metrics, limits, and one app.
pub(crate) fn config_of(top: &str, base_url: &str, audit: &Path) -> String {
    let secret = hash(SECRET);
    format!(
        r#"listen = "127.0.0.1:0"
metrics_listen = "127.0.0.1:0"
{top}
[audit]
path = {audit:?}
[upstreams.bench]
base_url = {base_url:?}
keys = [{{ env = "DASHSCOPE_API_KEY" }}]
[apps.{APP}]
upstream = "bench"
mode = "direct"
secrets = ["{secret}"]
rate = {{ per_second = 10000000, burst = 10000000 }}
"#
    )
}

/// A secret as a configuration has it.
pub(crate) fn hash(secret: &str) -> String {
    format!("sha256:{}", HEXLOWER.encode(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref()))
}

/// How many lines of decisions a trail has.
pub(crate) fn line_count(path: &Path) -> std::io::Result<u64> {
    let text = fs::read(path)?;
    // Lines of a kind are signatures, and what happens to the broker itself.
    let is_decision = |line: &&[u8]| !line.windows(7).any(|part| part == b"\"kind\":");
    let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    Ok(lines.filter(is_decision).map(|_| 1_u64).sum())
}

/// The broker's binary, built beside this one.
fn binary() -> Outcome<PathBuf> {
    let path = env::current_exe()?.with_file_name("valet-server");
    if path.is_file() {
        return Ok(path);
    }
    let build = "cargo build --profile dist -p valet-server";
    Err(format!("there is no {}; build it first: {build}", path.display()).into())
}

/// Brings the broker's binary up to date, if it is cargo that runs this one: an old one would be measured
/// without a word.
pub(crate) fn build() -> Outcome<()> {
    // Set by `cargo run` (The Cargo Book, *Environment variables Cargo sets for crates*).
    let Some((cargo, package)) = env::var_os("CARGO").zip(env::var_os("CARGO_MANIFEST_DIR")) else {
        return Ok(());
    };
    let own = env::current_exe()?;
    let (profile, target) =
        own.parent().and_then(|folder| folder.file_name().zip(folder.parent())).ok_or("no target folder")?;
    // The one profile whose folder has another name.
    let profile = if profile == "debug" { "dev".as_ref() } else { profile };
    let mut command = process::Command::new(cargo);
    command.current_dir(package).args(["build", "--quiet", "-p", "valet-server"]);
    command.arg("--profile").arg(profile).arg("--target-dir").arg(target);
    if command.status()?.success() { Ok(()) } else { Err("the broker cannot be built".into()) }
}
