//! A redis-server for replicas to share their state on, and what it says of its use.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};
use valet_clock::{Clock, ClockExt, SystemClock};
use valet_demo::free_port;

use super::{Endpoint, broker::PATIENCE};
use crate::{Outcome, cores};

/// A running one, that keeps nothing on disk.
#[derive(Debug)]
pub(crate) struct Redis {
    /// Where it is.
    pub(crate) endpoint: Endpoint,
    /// Ends with this value.
    _process: Child,
}

/// What it was used for, up to now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Usage {
    /// Scripts that it ran: nearly all that a broker asks is one.
    pub(crate) scripts: u64,
    /// All commands, those of its scripts among them.
    pub(crate) commands: u64,
    /// The memory that it takes, in bytes.
    pub(crate) memory: u64,
}

impl Redis {
    /// Starts it on a core.
    pub(crate) async fn start(core: usize) -> Outcome<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port"]).arg(address.port().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let started = cores::on(core, || command.spawn());
        let process =
            started.map_err(|error| format!("redis-server cannot be started ({error}): install it"))?;
        let pid = process.id().ok_or("redis-server ended at once")?;
        let limit = SystemClock.now() + PATIENCE;
        while TcpStream::connect(address).await.is_err() {
            if SystemClock.now() > limit {
                return Err("redis-server does not serve".into());
            }
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { endpoint: Endpoint { address, pid }, _process: process })
    }

    /// What the configuration of each replica says of it.
    pub(crate) fn section(&self) -> String {
        format!(
            "[shared]\nurl = \"redis://{}\"\nallow_plain = true\nkeys = [{{ id = \"1\", env = \"SEALING_KEY\" }}]\n",
            self.endpoint.address
        )
    }

    /// What it was used for, by its own account.
    pub(crate) async fn usage(&self) -> Outcome<Usage> {
        let mut stream = TcpStream::connect(self.endpoint.address).await?;
        stream.write_all(b"INFO all\r\nQUIT\r\n").await?;
        let mut said = String::new();
        stream.read_to_string(&mut said).await?;
        Ok(usage(&said).ok_or("what redis-server says of itself is not as documented")?)
    }
}

/// Of the lines of `INFO` (Redis commands, *INFO*).
fn usage(said: &str) -> Option<Usage> {
    let line = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    // What was never asked for has no line.
    let scripts = line("cmdstat_evalsha").unwrap_or("calls=0,");
    Some(Usage {
        scripts: scripts.strip_prefix("calls=")?.split_once(',')?.0.parse().ok()?,
        commands: line("total_commands_processed")?.parse().ok()?,
        memory: line("used_memory")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_is_in_lines_of_its_own() {
        let said = "$99\r\n# Memory\r\nused_memory:2048\r\nused_memory_rss:9\r\n# Stats\r\ntotal_commands_processed:70\r\n\
                    cmdstat_eval:calls=9,usec=9\r\ncmdstat_evalsha:calls=5,usec=250,usec_per_call=50.00,rejected_calls=0\r\n";
        assert_eq!(usage(said), Some(Usage { scripts: 5, commands: 70, memory: 2048 }));
        assert_eq!(usage("used_memory:2048\r\n"), None);
        let idle = "used_memory:1\r\ntotal_commands_processed:2\r\n";
        assert_eq!(usage(idle).map(|usage| usage.scripts), Some(0));
    }
}
