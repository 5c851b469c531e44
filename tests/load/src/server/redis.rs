//! A redis-server for replicas to share their state on: on the core for load, since it is none of theirs.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    process::Stdio,
    time::Duration,
};

use tokio::process::{Child, Command};
use valet_clock::{Clock, ClockExt, SystemClock};

use super::broker::PATIENCE;
use crate::Outcome;

/// A running one, that keeps nothing on disk.
#[derive(Debug)]
pub(crate) struct Redis {
    address: SocketAddr,
    /// Ends with this value.
    _process: Child,
}

impl Redis {
    /// Starts it.
    pub(crate) async fn start() -> Outcome<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port"]).arg(address.port().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let started = command.spawn();
        let process =
            started.map_err(|error| format!("redis-server cannot be started ({error}): install it"))?;
        let limit = SystemClock.now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if SystemClock.now() > limit {
                return Err("redis-server does not serve".into());
            }
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { address, _process: process })
    }

    /// What the configuration of each replica says of it.
    pub(crate) fn section(&self) -> String {
        format!(
            "[shared]\nurl = \"redis://{}\"\nallow_plain = true\nkeys = [{{ id = \"1\", env = \"SEALING_KEY\" }}]\n",
            self.address
        )
    }
}
