//! What `/proc` says of a process's memory.

use std::{fs, io};

/// The resident memory of the process `pid`, in bytes: `VmRSS` of proc_pid_status(5).
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    kibibytes(&status)
        .map(|kibibytes| kibibytes << 10)
        .ok_or_else(|| io::Error::other("/proc is not as documented"))
}

fn kibibytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_memory_is_in_a_line_of_its_own() {
        assert_eq!(kibibytes("Name:\ta\nVmHWM:\t 2 kB\nVmRSS:\t    1234 kB\nThreads:\t1\n"), Some(1234));
        assert_eq!(kibibytes("Name:\tVmRSS: 1 kB\n"), None);
    }
}
