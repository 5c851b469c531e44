//! Where a run is cut off, and the cutting.

use std::{fs, time::Duration};

use fastrand::Rng;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{ChildStderr, Command},
};
use valet_clock::{ClockExt, SystemClock};
use valet_sandbox::Operation;

use crate::harness::{RUNTIME, Stage};

/// The time between two looks at a journal that another process writes.
const LOOK: Duration = Duration::from_millis(1);

/// Where a run is cut off.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// At the first write beyond so many bytes of any file; what fits of it is written.
    Bytes(u64),
    /// Once its journal has so many lines.
    Lines(usize),
    /// Once it has told so many events.
    Events(usize),
    /// Once so many requests of an operation have arrived at the sandbox.
    Arrived(Operation, u64),
    /// Once the sandbox has begun to answer so many of them.
    Answered(Operation, u64),
}

impl Cut {
    pub(crate) fn at_a_byte(rng: &mut Rng) -> Self {
        // In a journal, or beyond it in a result.
        if rng.bool() { Self::Bytes(rng.u64(0..4000)) } else { Self::Bytes(rng.u64(4000..20_000)) }
    }

    pub(crate) fn at_a_line(rng: &mut Rng) -> Self {
        Self::Lines(rng.usize(1..14))
    }

    pub(crate) fn at_an_event(rng: &mut Rng) -> Self {
        Self::Events(rng.usize(1..14))
    }

    pub(crate) fn at_a_request(rng: &mut Rng) -> Self {
        let requests = [(Operation::Submit, 3), (Operation::Query, 3), (Operation::Result, 5)];
        let (operation, most) = requests[rng.usize(..requests.len())];
        let count = rng.u64(1..=most);
        if rng.bool() { Self::Arrived(operation, count) } else { Self::Answered(operation, count) }
    }

    pub(crate) fn anywhere(rng: &mut Rng) -> Self {
        let ways = [Self::at_a_byte, Self::at_a_line, Self::at_an_event, Self::at_a_request];
        ways[rng.usize(..ways.len())](rng)
    }

    /// Runs the command up to here. Whether it was cut off, and did not end before.
    pub(crate) fn off(self, stage: &Stage, line: &[&str]) -> bool {
        let command = match self {
            // The kernel's signal (SIGXFSZ) ends a process that does not know of it, like SIGKILL.
            Self::Bytes(bytes) => {
                stage.valet_by(&["prlimit", &format!("--fsize={bytes}"), "--core=0", "--"], line)
            }
            _ => stage.valet(line),
        };
        RUNTIME
            .block_on(async {
                let mut child = Command::from(command).spawn().unwrap();
                let told = BufReader::new(child.stderr.take().unwrap()).lines();
                tokio::select! {
                    status = child.wait() => status.unwrap(),
                    () = self.reached(stage, told) => {
                        child.start_kill().unwrap();
                        child.wait().await.unwrap()
                    }
                }
            })
            .code()
            .is_none()
    }

    async fn reached(self, stage: &Stage, mut told: Lines<BufReader<ChildStderr>>) {
        match self {
            Self::Bytes(_) => std::future::pending().await,
            Self::Lines(count) => {
                while journal_lines(stage) < count {
                    SystemClock.sleep(LOOK).await;
                }
            }
            Self::Events(count) => {
                for _ in 0..count {
                    told.next_line().await.unwrap();
                }
            }
            Self::Arrived(operation, count) => stage.sandbox.wait_for(operation, count).await,
            Self::Answered(operation, count) => stage.sandbox.wait_for_answered(operation, count).await,
        }
    }
}

fn journal_lines(stage: &Stage) -> usize {
    fs::read(stage.path("journal")).map_or(0, |text| text.iter().filter(|&&byte| byte == b'\n').count())
}
