//! Who may use the Redis, and how it is spoken to.

use std::{collections::BTreeSet, fs};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use redis::cmd;
use tempfile::TempDir;
use valet_clock::ManualClock;
use valet_demo::StackSettings;
use valet_sandbox::{Fault, Operation};
use valet_server::secret::AppSecret;

use super::{
    documented_rules, documented_user, keys,
    records::{assertion, show},
    relay::handle,
};
use crate::{
    harness::{SECOND, SHARED, Stage, UNHURRIED},
    jose::Signer,
    redis::Redis,
    relayed::{Relayed, recordings, status},
    secrets::Log,
};

#[tokio::test]
async fn the_user_of_the_documentation_may_do_all_that_a_replica_does() {
    let clock = ManualClock::new();
    let mut redis = Redis::start(&clock);
    let (files, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let more = documented_user(&mut redis, files.path());
    let (signer, secret) = (Signer::es256("one"), AppSecret::generate());
    let app = format!(
        "{UNHURRIED}\ntokens_per_day = 1000\n[apps.signs]\njwks = {{ keys = [{}] }}\n\
         [apps.relayed]\nmode = \"relay\"\nsecrets = [\"{}\"]\naudio_seconds_per_day = 300\nseconds_per_file = 100",
        signer.toml(),
        secret.hash()
    );
    let config = format!(
        "public_url = \"https://valet.example.com\"\n[relay]\nstate = {:?}\nprivate_hosts = true",
        state.path()
    );
    let settings = StackSettings { app, config, upstream: SHARED.into(), ..StackSettings::default() };
    let stage = Stage::of_brokers(settings, vec![clock.handle("broker"); 2], clock, Some(redis), &more).await;
    stage.joined(2).await;
    let token = stage.ask_of(0).await.token();
    stage.published(1).await;
    assert_eq!((stage.ask_of(1).await.token(), stage.mints()), (token, 1));
    assert_eq!(show(&stage, 0, &assertion(&stage, &signer, "1")).await.status, 200);
    let relayed = Relayed { stage, recordings: recordings().await, state };
    relays(&relayed, secret.expose()).await;
    let stage = relayed.stage;
    let of_relay = [
        "note",
        "read",
        "claim_submit",
        "tell_submits",
        "set_aside",
        "give_back",
        "hold",
        "query",
        "say",
        "tell_keys",
    ];
    let others = ["claim", "publish", "draw_rate", "draw_day", "record", "revoked", "attend"];
    for kind in of_relay.into_iter().chain(others) {
        assert!(stage.calls(kind).await > 0, "{kind}");
        let failed = format!("valet_shared_calls_total{{kind=\"{kind}\",outcome=\"failed\"}}");
        assert_eq!(stage.series::<u64>(&failed).await, 0, "{kind}");
    }
    stage.joined(2).await;
    // It was allowed nothing that nobody asked for.
    let called = commands_called(stage.redis.as_ref().unwrap());
    let rules = documented_rules();
    let allowed = rules.split(' ').filter_map(|rule| rule.strip_prefix('+')).filter(|rule| *rule != "@all");
    for command in allowed.filter(|command| !CONNECTING.contains(command)) {
        assert!(called.contains(command), "{command} is allowed, and not needed: {called:?}");
    }
    stage.stop().await;
}

/// Does what there is to do at the relay, at both replicas.
async fn relays(relayed: &Relayed, bearer: &str) {
    // Some replica was there, and is no more.
    relayed.stage.run(cmd("HSET").arg("valet:keys").arg("gone").arg("x"));
    let refusal = Fault::on(Operation::Submit).refuse(400, "InvalidParameter", "No.");
    relayed.stage.stack.sandbox.script(refusal);
    assert_eq!(relayed.submit_at(0, bearer, Some("k"), "market.wav").await.status, 400);
    let task = handle(&relayed.submit_at(0, bearer, Some("k"), "market.wav").await);
    assert_eq!(handle(&relayed.submit_at(1, bearer, Some("k"), "market.wav").await), task);
    for replica in [0, 1] {
        let mut now = String::new();
        while now != "SUCCEEDED" {
            now = status(&relayed.turned(relayed.waiting_at(replica, &task, bearer), SECOND / 4).await);
        }
    }
    // It is forgotten once the replicas have told of their keys again.
    while relayed.stage.run(cmd("HGET").arg("valet:keys").arg("gone")) != redis::Value::Nil {
        relayed.stage.clock.advance(SECOND);
        relayed.stage.page("/healthz").await;
    }
}

/// What only some servers, or some settings, make a client say, and what only `doctor` asks.
const CONNECTING: [&str; 4] = ["select", "ping", "eval", "info"];

/// The commands that anybody has called, in scripts too.
fn commands_called(redis: &Redis) -> BTreeSet<String> {
    let told: String = redis::from_redis_value(redis.run(cmd("INFO").arg("commandstats"))).unwrap();
    told.lines()
        .filter_map(|line| Some(line.strip_prefix("cmdstat_")?.split_once(':')?.0.to_owned()))
        .collect()
}

/// A certificate authority, and certificates by it.
struct Authority {
    files: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let files = tempfile::tempdir().unwrap();
        fs::write(files.path().join("roots.pem"), issuer.pem()).unwrap();
        Self { files, issuer }
    }

    /// The setting that has this authority alone trusted.
    fn trusted(&self) -> String {
        format!("roots = {:?}\n", self.files.path().join("roots.pem"))
    }

    /// A server that is called so, by its certificate.
    fn server(&self, clock: &ManualClock, name: &str) -> Redis {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let [of_certificate, of_key] =
            ["certificate.pem", "key.pem"].map(|file| self.files.path().join(file));
        fs::write(&of_certificate, certificate.pem()).unwrap();
        fs::write(&of_key, key.serialize_pem()).unwrap();
        Redis::start_tls(clock, &of_certificate, &of_key)
    }
}

async fn two_at(clock: ManualClock, redis: Redis, more: &str) -> Stage {
    let settings = StackSettings { app: UNHURRIED.into(), ..StackSettings::default() };
    Stage::of_brokers(settings, vec![clock.handle("broker"); 2], clock, Some(redis), more).await
}

#[tokio::test]
async fn the_redis_is_spoken_to_by_tls_if_its_authority_is_the_operators() {
    let (clock, authority) = (ManualClock::new(), Authority::new());
    let redis = authority.server(&clock, "localhost");
    let stage = two_at(clock, redis, &authority.trusted()).await;
    stage.joined(2).await;
    let token = stage.ask_of(0).await.token();
    stage.published(1).await;
    assert_eq!((stage.ask_of(1).await.token(), stage.mints()), (token, 1));
    stage.stop().await;
}

#[tokio::test]
async fn a_redis_of_another_authority_or_name_or_without_tls_is_told_nothing() {
    let (mine, others) = (Authority::new(), Authority::new());
    for (what, by, name, more) in [
        ("another authority", &others, "localhost", mine.trusted()),
        ("an authority that the system does not know", &mine, "localhost", String::new()),
        ("another name", &mine, "redis.example.com", mine.trusted()),
        ("no TLS", &mine, "localhost", mine.trusted()),
    ] {
        let clock = ManualClock::new();
        let mut redis = by.server(&clock, name);
        if what == "no TLS" {
            redis.url = redis.plain_url().replace("redis://127.0.0.1", "rediss://localhost");
        }
        let (log, guard) = Log::capture();
        let stage = two_at(clock, redis, &more).await;
        assert_eq!(stage.metric("valet_shared_up").await, 0, "{what}");
        // Each goes on by itself, and has said why.
        for replica in [0, 1] {
            stage.ask_of(replica).await.token();
            assert_eq!(stage.ready(replica).await, r#"{"status":"ready","shared":"away"}"#, "{what}");
        }
        assert_eq!(stage.mints(), 2, "{what}");
        assert_eq!(log.text().matches("the shared state is away").count(), 2, "{what}: {}", log.text());
        drop(guard);
        assert_eq!(keys(&stage, "*"), ["valet:epoch"], "{what}: nothing but what the test wrote");
        stage.stop().await;
    }
}
