//! A network namespace with a wire of its own to each replica. A wire that is cut drops what is sent over it and says
//! nothing to either end.

use std::{net::Ipv4Addr, process::Command};

use rustix::process::geteuid;

/// Where a Redis may be cut off. Making one needs root, or sudo.
pub(crate) struct Island {
    name: String,
    wires: usize,
}

impl Island {
    pub(crate) fn with_wires(wires: usize) -> Self {
        let island = Self { name: format!("vt{}", std::process::id()), wires };
        island.ip(&["netns", "add", &island.name]);
        for wire in 0..wires {
            let [ours, its] = island.ends(wire);
            island.ip(&["link", "add", &ours, "type", "veth", "peer", "name", &its, "netns", &island.name]);
            let [near, far] = [1, 2].map(|end| format!("{}/30", island.host(wire, end)));
            island.ip(&["address", "add", &near, "dev", &ours]);
            island.ip(&["link", "set", &ours, "up"]);
            island.ip(&["-n", &island.name, "address", "add", &far, "dev", &its]);
            island.mend(wire);
        }
        island
    }

    /// The address on the island that a wire leads to.
    pub(crate) fn address(&self, wire: usize) -> Ipv4Addr {
        self.host(wire, 2)
    }

    /// Has a program run on the island.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = privileged("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    pub(crate) fn cut(&self, wire: usize) {
        self.ip(&["-n", &self.name, "link", "set", &self.ends(wire)[1], "down"]);
    }

    pub(crate) fn mend(&self, wire: usize) {
        self.ip(&["-n", &self.name, "link", "set", &self.ends(wire)[1], "up"]);
    }

    fn ends(&self, wire: usize) -> [String; 2] {
        ["a", "b"].map(|end| format!("{}{end}{wire}", self.name))
    }

    /// Other processes of this machine have islands too.
    fn host(&self, wire: usize, end: u8) -> Ipv4Addr {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        Ipv4Addr::new(10, high | 128, low, u8::try_from(wire).unwrap() * 4 + end)
    }

    fn ip(&self, arguments: &[&str]) {
        let done = privileged("ip").args(arguments).status().expect("ip is installed");
        assert!(done.success(), "ip {}: making networks needs root, or sudo", arguments.join(" "));
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        let living = privileged("ip").args(["netns", "pids", &self.name]).output();
        let living = living.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        // Whatever of it is gone already need not go again.
        for pid in living.unwrap_or_default().split_whitespace() {
            let _ = privileged("kill").arg(pid).status();
        }
        for wire in 0..self.wires {
            let _ = privileged("ip").args(["link", "delete", &self.ends(wire)[0]]).status();
        }
        let _ = privileged("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn privileged(program: &str) -> Command {
    if geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}
