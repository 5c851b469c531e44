//! A sandbox, a few recordings, a home of its own, and the binary in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, LazyLock},
    time::Duration,
};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use valet_clock::SystemClock;
use valet_demo::{APP, Stack, StackSettings, recordings::Recordings};
use valet_sandbox::{Sandbox, SandboxHandle, Settings};

pub(crate) const KEY: &str = "sk-test";
const VALET: &str = env!("CARGO_BIN_EXE_valet");

/// What sandboxes and the origin of recordings run on.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// Recordings of a tenth of a second, and what is said in them.
static ORIGIN: LazyLock<(TempDir, Recordings)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "two", "three", "four", "long"] {
        fs::write(folder.path().join(format!("{name}.wav")), wav()).unwrap();
        fs::write(folder.path().join(format!("{name}.txt")), said(name)).unwrap();
    }
    let recordings = RUNTIME.block_on(Recordings::serve(folder.path())).unwrap();
    (folder, recordings)
});

/// What is said in a recording; in `long`, more than a journal of a few recordings is long.
pub(crate) fn said(name: &str) -> String {
    let times = if name == "long" { 400 } else { 1 };
    vec![format!("This is number {name}."); times].join(" ") + "\n"
}

/// The URL of a recording; one that is not there is `missing`.
pub(crate) fn url(name: &str) -> String {
    ORIGIN.1.url(&format!("{name}.wav"))
}

pub(crate) struct Stage {
    pub(crate) sandbox: SandboxHandle,
    pub(crate) base_url: String,
    pub(crate) home: TempDir,
    relay: Option<Relay>,
}

/// A broker whose app is at its relay.
struct Relay {
    stack: Stack,
    _state: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let settings = settings.with_key(KEY).with_task_time(Duration::ZERO, Duration::ZERO);
        let sandbox = RUNTIME.block_on(Sandbox::bind(settings, Arc::new(SystemClock))).unwrap();
        let (base_url, handle) = (sandbox.base_url(), sandbox.handle());
        RUNTIME.spawn(sandbox.run(std::future::pending()));
        Self { sandbox: handle, base_url, home: tempfile::tempdir().unwrap(), relay: None }
    }

    /// With a broker before the sandbox, and an app at its relay.
    pub(crate) fn at_a_relay() -> Self {
        let state = tempfile::tempdir().unwrap();
        let sandbox = Settings::default().with_task_time(Duration::ZERO, Duration::ZERO);
        let settings =
            StackSettings { sandbox, relay: Some(state.path().to_owned()), ..StackSettings::default() };
        let stack = RUNTIME.block_on(Stack::start(settings)).unwrap();
        let (sandbox, base_url) = (stack.sandbox.clone(), format!("{}/api/v1", stack.broker_url));
        let relay = Some(Relay { stack, _state: state });
        Self { sandbox, base_url, home: tempfile::tempdir().unwrap(), relay }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The binary, with nothing of this process's environment.
    pub(crate) fn bare(&self, arguments: &[&str]) -> Command {
        self.command(&[&[VALET], arguments].concat())
    }

    /// The binary, with the sandbox as the service, or the broker.
    pub(crate) fn valet(&self, arguments: &[&str]) -> Command {
        self.valet_by(&[], arguments)
    }

    /// The same, started by another program.
    pub(crate) fn valet_by(&self, starter: &[&str], arguments: &[&str]) -> Command {
        let Some(Relay { stack, .. }) = &self.relay else {
            let mut command =
                self.command(&[starter, &[VALET, "--base-url", &self.base_url], arguments].concat());
            command.env("DASHSCOPE_API_KEY", KEY);
            return command;
        };
        let mut command = self.command(&[starter, &[VALET], arguments].concat());
        command.env("VALET_URL", &stack.broker_url).env("VALET_APP", APP);
        command.env("VALET_SECRET", stack.secret.expose());
        command
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env_clear().current_dir(self.home.path()).env("HOME", self.home.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.valet(arguments))
    }

    /// The URLs of all tasks, as often as they were submitted.
    pub(crate) fn submitted(&self) -> Vec<String> {
        let mut urls: Vec<String> =
            self.sandbox.tasks().into_iter().flat_map(|task| task.file_urls).collect();
        urls.sort();
        urls
    }
}

pub(crate) fn ended(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// The names in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// PCM, one channel, 8 kHz, 16 bits: a tenth of a second of a tone.
pub(crate) fn wav() -> Vec<u8> {
    const RATE: u32 = 8000;
    let samples: Vec<u8> = (0..800_i16).flat_map(|at| (at % 20 * 800 - 8000).to_le_bytes()).collect();
    let size = u32::try_from(samples.len()).unwrap();
    let mut wav = Vec::new();
    wav.extend(b"RIFF");
    wav.extend((36 + size).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    wav.extend([1, 0, 1, 0]);
    wav.extend(RATE.to_le_bytes());
    wav.extend((RATE * 2).to_le_bytes());
    wav.extend([2, 0, 16, 0]);
    wav.extend(b"data");
    wav.extend(size.to_le_bytes());
    wav.extend(samples);
    wav
}
