//! The two sides, each as a process of its own that does a job: Valet's client, and the vendor's SDK.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::Command,
};
use valet_clock::{ClockExt, SystemClock};

use super::job::{Job, Report};
use crate::{Outcome, cores};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/dashscope_client.py");
/// A virtual environment, made by venv.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools");
const VERSION: &str = "2.0.2";
/// How long a process may take to load, and to report beyond the job's patience.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Valet,
    Sdk,
}

impl Side {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Valet => "valet",
            Self::Sdk => "dashscope",
        }
    }

    /// Has a process of its own do `job`; its time begins when it is loaded.
    pub(super) async fn does(self, job: &Job) -> Outcome<Report> {
        let mut command = match self {
            Self::Valet => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("transcribe");
                command
            }
            Self::Sdk => {
                let mut command = Command::new(Path::new(PYTHON).join("bin/python"));
                command.arg(SCRIPT).env_remove("DASHSCOPE_API_KEY");
                command
            }
        };
        // What else is said of single tasks is in the report.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut process = cores::on(cores::SERVER, || command.spawn())?;
        let mut input = process.stdin.take().ok_or("it has no input")?;
        let mut output = BufReader::new(process.stdout.take().ok_or("it has no output")?);
        let mut line = String::new();
        let loaded = SystemClock.timeout(PATIENCE, output.read_line(&mut line)).await;
        loaded.map_err(|_| "a client's process does not load")??;
        if line.trim() != "ready" {
            return Err(format!("the process of {} did not start", self.name()).into());
        }
        input.write_all(&serde_json::to_vec(job)?).await?;
        drop(input);
        let mut report = String::new();
        let reported = SystemClock.timeout(job.patience() + PATIENCE, output.read_to_string(&mut report));
        reported.await.map_err(|_| "a client's process does not report")??;
        Ok(serde_json::from_str(&report).map_err(|_| format!("the process of {} failed", self.name()))?)
    }
}

/// Installs the vendor's SDK, unless it is there.
pub(super) async fn install_sdk() -> Outcome<()> {
    let python = Path::new(PYTHON).join("bin/python");
    if !python.exists() {
        let made = run("python3", &["-m", "venv", PYTHON]).await?;
        if !made.status.success() {
            return Err("python3 cannot make a virtual environment: install python3-venv".into());
        }
    }
    let python = python.to_str().ok_or("the folder has no name in UTF-8")?;
    let found = run(python, &["-c", "import importlib.metadata as m; print(m.version('dashscope'))"]).await?;
    if found.stdout.trim_ascii() == VERSION.as_bytes() {
        return Ok(());
    }
    let package = format!("dashscope=={VERSION}");
    let installed = run(python, &["-m", "pip", "install", "--quiet", &package]).await?;
    match installed.status.success() {
        true => Ok(()),
        false => Err(format!("pip could not install {package}").into()),
    }
}

async fn run(program: &str, arguments: &[&str]) -> Outcome<Output> {
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output().await;
    Ok(output.map_err(|error| format!("{program}: {error}"))?)
}
