//! `valet-server doctor`: every finding, against a sandbox that is as it must be or is not.

use std::{
    fmt::Write,
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use reqwest::Client;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
};
use valet_clock::ManualClock;
use valet_demo::{StackSettings, free_port};
use valet_sandbox::{Fault, Operation, Sandbox, SandboxHandle, Settings};
use valet_server::{
    config::{Config, Environment, Source},
    doctor::{self, Mark, Progress},
};

use crate::{
    harness::{SECOND, Stage, promptly},
    redis::Redis,
    relayed::Relayed,
    replicas::documented_user,
};

/// A sandbox that knows two keys of one account and one of another, and what a doctor says of it.
struct Practice {
    clock: ManualClock,
    sandbox: SandboxHandle,
    base_url: String,
    folder: TempDir,
    _stop: oneshot::Sender<()>,
}

const ONE: &str = "sk-one";
const TWO: &str = "sk-two";
const FOREIGN: &str = "sk-foreign";

impl Practice {
    async fn new() -> Self {
        let clock = ManualClock::new();
        let settings = Settings::default()
            .with_account_key("company", ONE)
            .with_account_key("company", TWO)
            .with_account_key("partner", FOREIGN);
        let sandbox = Sandbox::bind(settings, clock.handle("sandbox")).await.unwrap();
        let (base_url, handle) = (sandbox.base_url(), sandbox.handle());
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(sandbox.run(async {
            let _ = stopped.await;
        }));
        Self { clock, sandbox: handle, base_url, folder: TempDir::new().unwrap(), _stop: stop }
    }

    /// An upstream of the sandbox with these keys.
    fn upstream(&self, name: &str, keys: &[&str]) -> String {
        upstream(name, &self.base_url, keys)
    }

    /// A task of the account that `key` belongs to.
    async fn submit(&self, key: &str) {
        let url = format!("{}/services/audio/asr/transcription", self.base_url);
        let body = json!({ "model": "fun-asr", "input": { "file_urls": ["https://example.com/a.wav"] }, "parameters": {} });
        let request =
            Client::new().post(url).bearer_auth(key).header("x-dashscope-async", "enable").json(&body);
        assert_eq!(promptly(request.send()).await.unwrap().status(), 200);
    }

    /// A new certificate for `localhost` that is good from one day to another, and its configuration.
    fn certificate(&self, from: (i32, u8, u8), to: (i32, u8, u8)) -> String {
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        let key = KeyPair::generate().unwrap();
        let (certificate, folder) = (params.self_signed(&key).unwrap(), self.folder.path());
        write(&folder.join("certificate.pem"), &certificate.pem(), 0o644);
        write(&folder.join("key.pem"), &key.serialize_pem(), 0o600);
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n")
    }

    /// What is said of a configuration, with what is other each time left out.
    async fn examine(&self, top: &str, upstreams: &str) -> String {
        let top = format!("bounds.connections = 1\n{top}");
        let listen = if top.contains("\nlisten =") { "" } else { "listen = \"127.0.0.1:0\"\n" };
        let first = upstreams.split_once(['.', ']']).unwrap().1.split(']').next().unwrap();
        let hash = "0".repeat(64);
        let text = format!(
            "{listen}{top}\n{upstreams}\n[apps.acme]\nupstream = \"{first}\"\nsecrets = [\"sha256:{hash}\"]\n"
        );
        let keys: Environment = [ONE, TWO, FOREIGN, "sk-unknown"].map(|key| (key, key)).into_iter().collect();
        let config = Config::read(&text, &keys).unwrap();
        let clock = self.clock.handle("doctor");
        let findings = promptly(doctor::examine(&config, &clock, &mut |_| {})).await;
        let mut said = String::new();
        for finding in findings {
            writeln!(said, "{finding}").unwrap();
        }
        let folder = self.folder.path().display().to_string();
        said.replace(&self.base_url, "[sandbox]").replace(&folder, "[folder]")
    }
}

/// An upstream whose keys are in the variables that are called as they are.
fn upstream(name: &str, base_url: &str, keys: &[&str]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| format!("{{ env = {key:?} }}")).collect();
    format!("[upstreams.{name}]\nbase_url = {base_url:?}\nkeys = [{}]\n", keys.join(", "))
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn all_is_well() {
    let practice = Practice::new().await;
    practice.submit(TWO).await;
    let tls = practice.certificate((2025, 1, 1), (2026, 1, 1));
    let top = format!("public_url = \"https://localhost\"\nmetrics_listen = \"127.0.0.1:0\"\n{tls}");
    insta::assert_snapshot!(practice.examine(&top, &practice.upstream("u", &[ONE, TWO])).await);
    assert_eq!(practice.sandbox.count(Operation::Mint), 2);
    let asked = practice.sandbox.journal();
    let mints = asked.iter().filter(|entry| entry.operation == Operation::Mint);
    let shortest = Some("expire_in_seconds=1");
    assert!(mints.into_iter().all(|entry| entry.query.as_deref() == shortest), "the shortest there are");
}

#[tokio::test]
async fn every_step_is_told_before_it_is_taken() {
    let practice = Practice::new().await;
    let text = format!(
        "listen = \"127.0.0.1:0\"\n{}[apps.acme]\nsecrets = [\"sha256:{}\"]\n",
        practice.upstream("u", &[ONE]),
        "0".repeat(64)
    );
    let config = Config::read(&text, &Environment::from_iter([(ONE, ONE)])).unwrap();
    let (clock, mut steps) = (practice.clock.handle("doctor"), Vec::new());
    let mut tell = |progress: Progress<'_>| {
        steps.push(match progress {
            Progress::Begins(step) => format!("… {step}"),
            Progress::Found(finding) => format!("{} {}", finding.mark, finding.about),
        });
    };
    promptly(doctor::examine(&config, &clock, &mut tell)).await;
    let base_url = &practice.base_url;
    assert_eq!(steps[..2], ["ok configuration", "… looking at this machine"]);
    let reaching = steps.iter().position(|step| *step == format!("… upstream u: reaching {base_url}"));
    assert_eq!(steps[reaching.unwrap() + 1], "ok upstream u");
}

#[tokio::test]
async fn keys_that_mint_nothing() {
    let practice = Practice::new().await;
    let mut said = practice.examine("", &practice.upstream("unknown", &["sk-unknown"])).await;
    for (status, code) in [(429, "Throttling.RateQuota"), (400, "Arrearage"), (503, "SystemError")] {
        practice.sandbox.script(Fault::on(Operation::Mint).refuse(status, code, "No."));
        let name = format!("status_{status}");
        let found = practice.examine("", &practice.upstream(&name, &[ONE])).await;
        said.push_str(&of_keys(&found));
    }
    practice.sandbox.script(Fault::on(Operation::Mint).replace(200, "text/html", "<p>Hello"));
    said.push_str(&of_keys(&practice.examine("", &practice.upstream("page", &[ONE])).await));
    practice.sandbox.script(Fault::on(Operation::Mint).hang());
    let upstreams = practice.upstream("silent", &[ONE]);
    let (found, ()) = tokio::join!(practice.examine("", &upstreams), async {
        practice.sandbox.wait_for(Operation::Mint, 6).await;
        practice.clock.advance(SECOND * 5);
    });
    said.push_str(&of_keys(&found));
    insta::assert_snapshot!(said);
}

/// What is said of the Redis and of the relay's keys.
fn of_shared(said: &str) -> String {
    let is_about = |line: &&str| {
        line.contains(" shared: ") || line.contains(" relay.state: ") && !line.contains("only its owner")
    };
    let mut lines = said.lines().peekable();
    let mut told = String::new();
    while let Some(line) = lines.next() {
        if is_about(&line) {
            writeln!(told, "{line}").unwrap();
            if let Some(advice) = lines.next_if(|line| line.contains('→')) {
                writeln!(told, "{advice}").unwrap();
            }
        }
    }
    told
}

#[tokio::test]
async fn the_redis_that_replicas_share() {
    let practice = Practice::new().await;
    let upstreams = practice.upstream("u", &[ONE]);
    let mut redis = Redis::start(&practice.clock);
    let settings = redis.settings();
    let port = redis.plain_url().rsplit_once(':').unwrap().1.to_owned();
    let examine = async |more: &str| {
        let said = practice.examine(&format!("{settings}{more}"), &upstreams).await;
        of_shared(&said).replace(&port, "[port]")
    };
    let run = |redis: &Redis, words: &[&str]| redis.run(::redis::cmd(words[0]).arg(&words[1..]));
    let as_it_is = examine("").await;
    assert!(as_it_is.contains("ok       shared: redis://127.0.0.1:[port] answers"), "{as_it_is}");
    assert!(as_it_is.contains("ok       shared: its user may do all that a replica does"), "{as_it_is}");
    assert!(as_it_is.contains("ok       shared: it forgets nothing when its memory is full"), "{as_it_is}");
    assert!(!as_it_is.contains("warning") && !as_it_is.contains("problem"), "{as_it_is}");
    run(&redis, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let evicting = examine("").await;
    assert!(evicting.contains("→ set maxmemory-policy noeviction"), "{evicting}");
    run(&redis, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    // The user of the documentation may do all; one that lacks a right is told which.
    let user = documented_user(&mut redis, practice.folder.path());
    let documented = examine(&user).await;
    assert_eq!(documented, as_it_is);
    assert_eq!(redis.count("*examined*"), 0, "it leaves nothing behind");
    run(&redis, &["ACL", "SETUSER", "valet", "-zadd", "-info"]);
    let lacking = examine(&user).await;
    assert!(lacking.contains("problem  shared: it refuses what a replica has to do: ZADD"), "{lacking}");
    assert!(lacking.contains("give its user +info"), "{lacking}");
    let nobody = examine("").await;
    assert!(nobody.contains("does not let its user in"), "{nobody}");
    redis.kill();
    let dead = examine(&user).await;
    assert!(dead.contains("is not reached"), "{dead}");
}

#[tokio::test]
async fn the_keys_of_replicas_that_run() {
    let relayed = Relayed::of_replicas(2, "").await;
    let settings = relayed.stage.redis.as_ref().unwrap().settings();
    let practice = Practice::new().await;
    let upstreams = practice.upstream("u", &[ONE]);
    let examine = async |state: &Path| {
        let top = format!("public_url = \"https://localhost\"\n{settings}[relay]\nstate = {state:?}\n");
        of_shared(&practice.examine(&top, &upstreams).await)
    };
    let same = examine(relayed.state.path()).await;
    assert!(same.contains("ok       relay.state: its keys are those of the replicas that run"), "{same}");
    let other = TempDir::new().unwrap();
    let none = examine(other.path()).await;
    assert!(none.contains("warning  relay.state: there are no keys yet"), "{none}");
    valet_server::keyring::Keyring::generate(SECOND).write(other.path()).unwrap();
    let different = examine(other.path()).await;
    assert!(
        different.contains("problem  relay.state: its keys are not those of a replica that runs"),
        "{different}"
    );
    assert!(different.contains("→ copy keys.json"), "{different}");
    relayed.stage.stop().await;
}

/// The lines about keys.
fn of_keys(said: &str) -> String {
    said.split_inclusive('\n').skip_while(|line| !line.contains("keys[")).collect()
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_given_up_after_five_seconds() {
    let practice = Practice::new().await;
    practice.sandbox.script(Fault::on(Operation::List).hang());
    let upstreams = practice.upstream("u", &[ONE]);
    let (said, ()) = tokio::join!(practice.examine("", &upstreams), async {
        practice.sandbox.wait_for(Operation::List, 1).await;
        practice.clock.advance(SECOND * 5);
    });
    insta::assert_snapshot!(said);
}

#[tokio::test]
async fn clocks_that_differ_by_more_than_five_seconds() {
    let practice = Practice::new().await;
    let mut said = String::new();
    for skew in [5, 6, -5, -3600] {
        practice.sandbox.script(Fault::on(Operation::List).skew(skew));
        let found = practice.examine("", &practice.upstream("u", &[ONE])).await;
        let lines = found.split_inclusive('\n').filter(|line| line.contains("clock"));
        said.extend([format!("# {skew} s\n")].into_iter().chain(lines.map(str::to_owned)));
    }
    insta::assert_snapshot!(said);
}

#[tokio::test]
async fn an_upstream_that_does_not_date_its_answers() {
    let practice = Practice::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/api/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream
                .write_all(b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    });
    let said = practice.examine("", &upstream("u", &base_url, &[ONE])).await;
    insta::assert_snapshot!(said.replace(&base_url, "[undated]"));
}

#[tokio::test]
async fn upstreams_that_are_not_reached_and_why() {
    let practice = Practice::new().await;
    let nameless = practice.examine("", &upstream("u", "https://upstream.invalid/api/v1", &[ONE])).await;
    let (known, rest) = nameless.split_once("cannot be resolved: ").unwrap();
    // What the system's resolver says of it is its own affair.
    let mut said = format!("{known}cannot be resolved: […]\n{}", rest.split_once('\n').unwrap().1);

    let closed = format!("127.0.0.1:{}", free_port());
    let base_url = format!("http://{closed}/api/v1");
    said += &practice.examine("", &upstream("u", &base_url, &[ONE])).await.replace(&base_url, "[closed]");

    // By the machine's own clock.
    let config = practice.certificate((2025, 1, 1), (2999, 1, 1));
    let stage = Stage::with(StackSettings { config, ..StackSettings::default() }).await;
    let base_url = format!("https://localhost:{}/api/v1", stage.stack.broker_addr.port());
    said +=
        &practice.examine("", &upstream("u", &base_url, &[ONE])).await.replace(&base_url, "[self-signed]");
    stage.stop().await;

    practice.sandbox.script(Fault::on(Operation::List).reset());
    said += &practice.examine("", &practice.upstream("u", &[ONE])).await;
    insta::assert_snapshot!(said);
}

#[tokio::test]
async fn keys_and_the_accounts_that_they_belong_to() {
    let practice = Practice::new().await;
    let two = practice.upstream("u", &[ONE, TWO]);
    let mut said = format!("# no tasks\n{}", of_keys(&practice.examine("", &two).await));
    practice.submit(ONE).await;
    said += &format!("# a task\n{}", of_keys(&practice.examine("", &two).await));
    let mixed = practice.upstream("u", &[ONE, FOREIGN]);
    said += &format!("# one has none\n{}", of_keys(&practice.examine("", &mixed).await));
    practice.submit(FOREIGN).await;
    said += &format!("# each has its own\n{}", of_keys(&practice.examine("", &mixed).await));
    let apart = [practice.upstream("u", &[ONE]), practice.upstream("v", &[TWO])].concat();
    said += &format!("# one account, called two\n{}", of_keys(&practice.examine("", &apart).await));
    insta::assert_snapshot!(said);
}

#[tokio::test]
async fn certificates_that_expire_or_are_for_another_name() {
    let practice = Practice::new().await;
    let mut said = String::new();
    // It is the 8th of April 2025.
    for (what, from, to, public_url) in [
        ("expired", (2025, 1, 1), (2025, 4, 1), "https://127.0.0.1"),
        ("expires soon", (2025, 1, 1), (2025, 4, 15), "https://localhost:8443"),
        ("not yet valid", (2025, 4, 10), (2026, 1, 1), "https://localhost"),
        ("another name", (2025, 1, 1), (2026, 1, 1), "https://valet.example.com"),
    ] {
        let tls = practice.certificate(from, to);
        let top = format!("public_url = {public_url:?}\n{tls}");
        let found = practice.examine(&top, &practice.upstream("u", &[ONE])).await;
        let lines = found.split_inclusive('\n').skip_while(|line| !line.contains("tls.certificate"));
        let lines = lines.take_while(|line| !line.contains("upstream"));
        said.extend([format!("# {what}\n")].into_iter().chain(lines.map(str::to_owned)));
    }
    insta::assert_snapshot!(said);
}

#[tokio::test]
async fn files_that_others_can_read_and_addresses_that_are_taken() {
    let practice = Practice::new().await;
    let folder = practice.folder.path();
    let mut files = Vec::new();
    for (name, key, mode) in [("one", ONE, 0o640), ("two", TWO, 0o400), ("three", FOREIGN, 0o602)] {
        write(&folder.join(name), key, mode);
        files.push(format!("{{ file = {:?} }}", folder.join(name)));
    }
    let upstreams =
        format!("[upstreams.u]\nbase_url = {:?}\nkeys = [{}]\n", practice.base_url, files.join(", "));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    // An address for documentation, which is no machine's own.
    let top = format!("listen = \"{address}\"\nmetrics_listen = \"192.0.2.1:9090\"\n");
    let said = practice.examine(&top, &upstreams).await.replace(&address.to_string(), "[taken]");
    let machine: String =
        said.split_inclusive('\n').take_while(|line| !line.contains("upstream u")).collect();
    insta::assert_snapshot!(machine);
}

#[test]
fn every_mistake_of_a_configuration_is_a_problem() {
    let folder = TempDir::new().unwrap();
    let source = Source { path: folder.path().join("valet.toml"), environment: Environment::default() };
    let found = doctor::mistakes(&source.read().unwrap_err());
    assert_eq!(found.len(), 1, "there is no such file");
    fs::write(&source.path, "colour = \"blue\"\nlisten = \"here\"\n").unwrap();
    let found = doctor::mistakes(&source.read().unwrap_err());
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.iter().all(|finding| finding.mark == Mark::Problem && finding.advice.is_some()));
}

#[tokio::test]
async fn no_finding_holds_a_key() {
    let practice = Practice::new().await;
    for fault in [
        Fault::on(Operation::Mint).refuse(401, ONE, ONE),
        Fault::on(Operation::Mint).replace(500, ONE, ONE),
        Fault::on(Operation::List)
            .replace(200, "application/json", format!("{{\"data\":[{{\"caller_uid\":\"{ONE}\"}}]}}"))
            .times(2),
    ] {
        practice.sandbox.script(fault);
        let said = practice.examine("", &practice.upstream("u", &[ONE])).await;
        assert!(!said.contains(ONE), "{said}");
    }
}
