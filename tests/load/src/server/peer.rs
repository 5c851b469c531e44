//! Other people's servers, each in a process of its own.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Stdio,
};

use aws_lc_rs::digest;
use data_encoding::BASE64;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};
use valet_clock::{ClockExt, SystemClock};
use valet_demo::free_port;

use super::{Endpoint, broker::PATIENCE};
use crate::{Outcome, cores};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
/// Where npm puts oidc-provider.
const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/node");
const VERSION: &str = "9.13.3";

/// A running peer.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Where it is.
    pub(crate) endpoint: Endpoint,
    /// Both end with this value.
    _process: Child,
    _files: TempDir,
}

impl Peer {
    /// node oidc-provider, installed if need be.
    pub(crate) async fn oidc_provider((id, secret): &(String, String)) -> Outcome<Self> {
        let modules = Path::new(MODULES);
        if !modules.join("node_modules/oidc-provider").is_dir() {
            let mut npm = Command::new("npm");
            npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix", MODULES]);
            npm.arg(format!("oidc-provider@{VERSION}")).stdin(Stdio::null());
            let installed = npm.status().await.map_err(|_| "npm is missing: install Node.js 20 or later")?;
            if !installed.success() {
                return Err(format!("npm could not install oidc-provider {VERSION}").into());
            }
        }
        // Modules are looked for beside the script.
        let script = modules.join("oidc_provider.mjs");
        fs::copy(Path::new(FOLDER).join("oidc_provider.mjs"), &script)?;
        let mut node = Command::new("node");
        node.arg("--no-warnings").arg(script).arg(id).arg(secret).env("NODE_ENV", "production");
        node.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut process = cores::on(cores::SERVER, || node.spawn())?;
        let pid = process.id().ok_or("node ended at once")?;
        let output = process.stdout.take().ok_or("node has no output")?;
        let mut line = String::new();
        let begun = SystemClock.timeout(PATIENCE, BufReader::new(output).read_line(&mut line)).await;
        begun.map_err(|_| "oidc-provider does not serve")??;
        let address = line.trim().parse().map_err(|_| "oidc-provider did not start")?;
        Ok(Self { endpoint: Endpoint { address, pid }, _process: process, _files: TempDir::new()? })
    }

    /// nginx, which gives `answer` to the one user that it knows.
    pub(crate) async fn nginx((id, secret): &(String, String), answer: &str) -> Outcome<Self> {
        // On a disk, like the broker's audit trail.
        let files = TempDir::new_in(MODULES.trim_end_matches("tools/node"))?;
        let folder = files.path().to_str().ok_or("the folder has no name in UTF-8")?;
        let [address, backend] = [(); 2].map(|()| SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
        let hash =
            BASE64.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes()).as_ref());
        fs::write(files.path().join("users"), format!("{id}:{{SHA}}{hash}\n"))?;
        let config = fs::read_to_string(Path::new(FOLDER).join("nginx.conf"))?
            .replace("FOLDER", folder)
            .replace("ADDRESS", &address.to_string())
            .replace("BACKEND", &backend.to_string())
            .replace("ANSWER", answer);
        let path = files.path().join("nginx.conf");
        fs::write(&path, config)?;
        let mut nginx = Command::new("nginx");
        nginx.arg("-c").arg(&path).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let process =
            cores::on(cores::SERVER, || nginx.spawn()).map_err(|_| "nginx is missing: install it")?;
        let pid = process.id().ok_or("nginx ended at once")?;
        let serving = async { while TcpStream::connect(address).await.is_err() {} };
        SystemClock.timeout(PATIENCE, serving).await.map_err(|_| "nginx does not serve")?;
        Ok(Self { endpoint: Endpoint { address, pid }, _process: process, _files: files })
    }
}
