//! A redis-server of a test's own, on a free port of this machine, that goes by the test's clock.

use std::{
    fs::{self, File},
    io::Read,
    net::TcpListener,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
};

use tempfile::TempDir;
use valet_clock::ManualClock;

/// A running server; dropped, it is killed.
pub(crate) struct Redis {
    process: Child,
    port: u16,
    files: TempDir,
}

impl Redis {
    /// Starts one that goes by `clock`, and has had its epoch for a while: there is nothing to wait for.
    pub(crate) fn start(clock: &ManualClock) -> Self {
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
            let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
            serve(files.path(), &time, port).map(|process| (process, port))
        });
        let (process, port) = started.expect("redis-server serves");
        let redis = Self { process, port, files };
        redis.run(redis::cmd("SET").arg("valet:epoch").arg("0:0"));
        redis
    }

    /// The settings of a broker that uses it.
    pub(crate) fn settings(&self) -> String {
        let (port, key) = (self.port, self.files.path().join("key"));
        // The machine may be busy: what a test is not about is not to come between.
        format!(
            "[shared]\nurl = \"redis://127.0.0.1:{port}\"\nkeys = [{{ id = \"1\", file = {key:?} }}]\n\
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
        self.process = serve(self.files.path(), &time, self.port).expect("its port is its own still");
    }

    /// Runs a command, as somebody else than a broker.
    pub(crate) fn run(&self, command: &redis::Cmd) -> redis::Value {
        let client = redis::Client::open(("127.0.0.1", self.port)).unwrap();
        command.query(&mut client.get_connection().unwrap()).unwrap()
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
fn serve(folder: &Path, time: &Path, port: u16) -> Option<Child> {
    let mut server = Command::new("redis-server");
    server
        .args(["--bind", "127.0.0.1", "--save", "", "--port"])
        .arg(port.to_string())
        .arg("--dir")
        .arg(folder);
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
