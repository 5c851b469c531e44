//! Which core runs what, and how busy it was.

use std::{collections::HashMap, fs, io};

use rustix::thread::{CpuSet, sched_setaffinity};

/// The core of the server under test, with all its threads.
pub(crate) const SERVER: usize = 0;
/// The core of everything else.
pub(crate) const LOAD: usize = 1;

/// Pins this thread, and so every thread and process it starts from now on.
pub(crate) fn pin_to(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// What `start` returns; what it starts runs on `core`, and this thread afterwards on [`LOAD`] again.
pub(crate) fn on<T>(core: usize, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    pin_to(core)?;
    let started = start();
    pin_to(LOAD)?;
    started
}

/// Processor time used up to now, in seconds: of a process, or of all that runs on a core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// By the process.
    pub(crate) process: f64,
    /// By everything on its core.
    pub(crate) core: f64,
}

impl Used {
    /// By the process `pid` and on `core`, from `/proc` (proc_pid_stat(5), proc_stat(5)).
    pub(crate) fn read(pid: u32, core: usize) -> io::Result<Self> {
        let process = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let cores = fs::read_to_string("/proc/stat")?;
        let ticks = process_ticks(&process).zip(core_ticks(&cores, core));
        let (process, core) = ticks.ok_or_else(|| io::Error::other("/proc is not as documented"))?;
        let second = rustix::param::clock_ticks_per_second() as f64;
        Ok(Self { process: process as f64 / second, core: core as f64 / second })
    }
}

/// User and system time: the 14th and the 15th field. The second, a name in brackets, may hold anything.
fn process_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

/// Everything but idle and waiting: user, nice, system, irq, softirq, steal.
fn core_ticks(stat: &str, core: usize) -> Option<u64> {
    let name = format!("cpu{core}");
    let lines: HashMap<&str, &str> = stat.lines().filter_map(|line| line.split_once(' ')).collect();
    let ticks: Vec<u64> = lines.get(name.as_str())?.split_ascii_whitespace().flat_map(str::parse).collect();
    let busy = |index: usize| ticks.get(index).copied();
    [0, 1, 2, 5, 6, 7].into_iter().map(busy).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_process_is_found_behind_any_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 7 5 0 0 20 0 1 0 100 0 0";
        assert_eq!(process_ticks(stat), Some(12));
        assert_eq!(process_ticks("42 (a) S 1"), None);
    }

    #[test]
    fn a_core_is_not_busy_while_it_is_idle_or_waits() {
        let stat = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 1000 1000 4 5 6 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\n";
        assert_eq!(core_ticks(stat, 0), Some(21));
        assert_eq!(core_ticks(stat, 1), Some(0));
        assert_eq!(core_ticks(stat, 2), None);
    }
}
