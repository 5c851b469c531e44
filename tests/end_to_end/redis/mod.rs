//! A redis-server of a test's own, on a free port of this machine, that goes by the test's clock.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
};

use tempfile::TempDir;
use valet_clock::ManualClock;
use valet_demo::free_port;

/// A running server; dropped, it is killed.
pub(crate) struct Redis {
    process: Child,
    port: u16,
    files: TempDir,
    /// What the server is started with besides.
    options: Vec<String>,
    /// Where the brokers find it.
    pub(crate) url: String,
    /// What others than the brokers need to run a command.
    pub(crate) password: Option<String>,
}

impl Redis {
    /// Starts one that goes by `clock`, and has had its epoch for a while: there is nothing to wait for.
    pub(crate) fn start(clock: &ManualClock) -> Self {
        Self::start_with(clock, Vec::new())
    }

    /// The same, but the brokers speak TLS with it: it shows the certificate of these files, in PEM.
    pub(crate) fn start_tls(clock: &ManualClock, certificate: &Path, key: &Path) -> Self {
        let port = free_port();
        let file = |path: &Path| path.to_str().unwrap().to_owned();
        let options = [
            ["--tls-port".into(), port.to_string()],
            ["--tls-cert-file".into(), file(certificate)],
            ["--tls-key-file".into(), file(key)],
            ["--tls-auth-clients".into(), "no".into()],
        ];
        let mut redis = Self::start_with(clock, options.concat());
        redis.url = format!("rediss://localhost:{port}");
        redis
    }

    fn start_with(clock: &ManualClock, options: Vec<String>) -> Self {
        let files = TempDir::new().unwrap();
        let time = files.path().join("time");
        let file = File::create(&time).unwrap();
        clock.watch(move |unix| {
            let micros = i64::try_from(unix.as_micros()).unwrap();
            file.write_all_at(&micros.to_ne_bytes(), 0).unwrap();
        });
        fs::write(files.path().join("key"), "a key for tests alone, of 32 characters").unwrap();
        // Another process may take the port that was free a moment ago.
        let started = (0..20).find_map(|_| {
            let port = free_port();
            serve(files.path(), &time, port, &options).map(|process| (process, port))
        });
        let (process, port) = started.expect("redis-server serves");
        let mut redis = Self { process, port, files, options, url: String::new(), password: None };
        redis.url = redis.plain_url();
        redis.run(redis::cmd("SET").arg("valet:epoch").arg("0:0"));
        redis
    }

    /// Where it is spoken to without TLS.
    pub(crate) fn plain_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The settings of a broker that uses it.
    pub(crate) fn settings(&self) -> String {
        let (url, key) = (&self.url, self.files.path().join("key"));
        // The machine may be busy: what a test is not about is not to come between.
        format!(
            "[shared]\nurl = {url:?}\nkeys = [{{ id = \"1\", file = {key:?} }}]\n\
             connect_milliseconds = 10000\nresponse_milliseconds = 10000\n"
        )
    }

    /// Kills it; what it knew is lost.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it anew, where it was.
    pub(crate) fn restart(&mut self) {
        let time = self.files.path().join("time");
        self.process =
            serve(self.files.path(), &time, self.port, &self.options).expect("its port is its own still");
    }

    /// How many keys match a pattern.
    pub(crate) fn count(&self, pattern: &str) -> u64 {
        let found: Vec<String> = redis::from_redis_value(self.run(redis::cmd("KEYS").arg(pattern))).unwrap();
        u64::try_from(found.len()).unwrap()
    }

    /// How often the brokers have asked it for something, or said something; `None` if it is away.
    pub(crate) fn calls(&self) -> Option<u64> {
        let of = |line: &str| -> Option<u64> {
            let calls = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            ["eval", "evalsha", "publish"].contains(&calls.0).then_some(())?;
            calls.1.split(',').next()?.parse().ok()
        };
        let told: String =
            redis::cmd("INFO").arg("commandstats").query(&mut self.client().get_connection().ok()?).ok()?;
        Some(told.lines().filter_map(of).sum())
    }

    /// Runs a command, as somebody else than a broker.
    pub(crate) fn run(&self, command: &redis::Cmd) -> redis::Value {
        command.query(&mut self.client().get_connection().unwrap()).unwrap()
    }

    fn client(&self) -> redis::Client {
        let password = self.password.iter().map(|password| format!(":{password}@")).collect::<String>();
        redis::Client::open(format!("redis://{password}127.0.0.1:{}", self.port)).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `None` if it does not serve on that port.
fn serve(folder: &Path, time: &Path, port: u16, options: &[String]) -> Option<Child> {
    let mut server = Command::new("redis-server");
    server
        .args(["--bind", "127.0.0.1", "--save", "", "--port"])
        .arg(port.to_string())
        .arg("--dir")
        .arg(folder)
        .args(options);
    server.env("LD_PRELOAD", clock()).env("VALET_TEST_CLOCK", time).stdin(Stdio::null());
    let mut process = server.stdout(Stdio::piped()).spawn().expect("redis-server is installed");
    let (mut log, mut read) = (String::new(), [0; 512]);
    let mut output = process.stdout.take().expect("it is piped");
    // It says so once it serves, or ends.
    while !log.contains("Ready to accept connections") {
        let Ok(count @ 1..) = output.read(&mut read) else {
            let _ = process.wait();
            return None;
        };
        log.push_str(&String::from_utf8_lossy(&read[..count]));
    }
    // What it says further on nobody reads; it must not fill the pipe.
    thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    Some(process)
}

/// The library that gives a server the test's clock, made once.
fn clock() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("end_to_end/redis/clock.c");
        // Another process may make it too: it is put there whole.
        let (made, place) =
            (folder.join(format!("clock-{}.so", std::process::id())), folder.join("clock.so"));
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&made).arg(source).status();
        assert!(compiled.expect("a C compiler is installed").success());
        fs::rename(made, &place).unwrap();
        place
    })
}
