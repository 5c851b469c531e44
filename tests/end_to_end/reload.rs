//! A changed configuration is taken up whole or not at all, voids what it must, and resets nothing.

use std::{fs, path::Path};

use valet_demo::StackSettings;
use valet_sandbox::{Fault, Operation, fingerprint};
use valet_server::{audit, config::AuditKey, secret::AppSecret};

use crate::{
    harness::{Answer, SECOND, Stage, UNHURRIED, answered, promptly},
    relayed::{Relayed, recordings},
    secrets::Log,
};

async fn following(app: &str) -> Stage {
    Stage::with(StackSettings { app: app.into(), follow: true, ..StackSettings::default() }).await
}

/// Has the broker reload `config`, and waits until it has.
pub(crate) async fn reload(stage: &Stage, config: &str) {
    let before = stage.metric("valet_config_reloads_total").await;
    stage.stack.reconfigure(config, true).unwrap();
    stage.metric_is("valet_config_reloads_total", before + stage.each(1)).await;
}

/// The configuration with `old` replaced.
fn with(stage: &Stage, old: &str, new: &str) -> String {
    assert!(stage.stack.config.contains(old), "{old} is not in {}", stage.stack.config);
    stage.stack.config.replace(old, new)
}

/// How many reloads of each broker came out so.
async fn outcomes(stage: &Stage, outcome: &str) -> u64 {
    let all: u64 = stage.series(&format!("valet_config_reloads_total{{outcome=\"{outcome}\"}}")).await;
    all / stage.each(1)
}

#[tokio::test]
async fn an_app_that_is_disabled_gets_nothing_from_then_on_and_what_it_had_is_dropped() {
    let stage = following(UNHURRIED).await;
    let first = stage.ask().await.token();
    reload(&stage, &with(&stage, UNHURRIED, "enabled = false")).await;
    for request in [stage.v1(), stage.dashscope("")] {
        assert_eq!(answered(request).await.status, 403);
    }
    reload(&stage, &stage.stack.config).await;
    // Among several the token lies where they share it: it is out already, and is the app's again.
    if stage.brokers() == 1 {
        assert_ne!(stage.ask().await.token(), first);
        assert_eq!(stage.mints(), 2);
    }
    stage.stop().await;
}

#[tokio::test]
async fn a_withdrawn_secret_opens_nothing_from_then_on() {
    let stage = following(UNHURRIED).await;
    stage.ask_of(0).await.token();
    let (old, new) = (stage.stack.secret.hash().to_string(), AppSecret::generate());
    let both = with(&stage, &format!("\"{old}\""), &format!("\"{old}\", \"{}\"", new.hash()));
    // A broker keeps what it has in hand; where the brokers share it, a place belongs to the secrets of its app.
    let ask_new = || stage.request_of(0, reqwest::Method::POST, "/v1/tokens").bearer_auth(new.expose());
    reload(&stage, &both).await;
    stage.ask_of(0).await.token();
    answered(ask_new()).await.token();
    assert_eq!(stage.mints(), 1, "a second secret takes no token away");
    reload(&stage, &with(&stage, &old, &new.hash().to_string())).await;
    assert_eq!(stage.ask().await.status, 401);
    answered(ask_new()).await.token();
    assert_eq!(stage.mints(), 2, "what may be known to the old secret's holder is not handed out again");
    stage.stop().await;
}

#[tokio::test]
async fn a_file_with_mistakes_changes_nothing() {
    let stage = following(UNHURRIED).await;
    let token = stage.ask().await.token();
    for broken in ["listen = ", "", "[apps.demo]\nsecrets = []\n"] {
        reload(&stage, broken).await;
        assert_eq!(stage.ask().await.token(), token, "{broken}");
    }
    assert_eq!((outcomes(&stage, "failed").await, outcomes(&stage, "applied").await), (3, 1));
    stage.stop().await;
}

#[tokio::test]
async fn the_number_of_cached_tokens_is_taken_up_and_takes_none_away() {
    let other = AppSecret::generate();
    let app = format!("{UNHURRIED}\n[apps.other]\nsecrets = [\"{}\"]", other.hash());
    let upstream = "shared_account = \"visible-to-all\"".into();
    let stage = Stage::with(StackSettings { app, upstream, follow: true, ..StackSettings::default() }).await;
    let ask_other =
        || answered(stage.request(reqwest::Method::POST, "/v1/tokens").bearer_auth(other.expose()));
    let token = stage.ask().await.token();
    reload(&stage, &format!("tokens.max_cached = 2\n{}", stage.stack.config)).await;
    ask_other().await.token();
    assert_eq!(stage.ask().await.token(), token);
    assert_eq!(stage.mints(), 2);
    stage.stop().await;
}

#[tokio::test]
async fn what_belongs_to_the_listeners_waits_for_the_next_start_and_the_log_names_it() {
    let (log, _guard) = Log::capture();
    let stage = following(UNHURRIED).await;
    let token = stage.ask().await.token();
    let elsewhere = with(&stage, "metrics_listen = \"127.0.0.1:0\"", "metrics_listen = \"127.0.0.1:1\"");
    reload(&stage, &format!("bounds.connections = 7\n{elsewhere}")).await;
    assert_eq!(stage.ask().await.token(), token);
    let said = log.text();
    let waits = said.lines().find(|line| line.contains("at the next start")).unwrap();
    assert!(waits.contains("\"metrics_listen, bounds\""), "{waits}");
    stage.stop().await;
}

#[tokio::test]
async fn a_relay_that_is_added_writes_down_what_becomes_of_its_tasks_from_the_first_on() {
    let (log, guard) = Log::capture();
    let stage = Stage::with(StackSettings {
        app: UNHURRIED.into(),
        config: "public_url = \"http://localhost:1\"".into(),
        follow: true,
        ..StackSettings::default()
    })
    .await;
    let (state, direct) = (tempfile::tempdir().unwrap(), stage.ask().await.token());
    let added = format!("\n[relay]\nstate = {:?}\nprivate_hosts = true\n", state.path());
    let config = with(&stage, "mode = \"direct\"", "mode = \"relay\"");
    reload(&stage, &format!("{config}{added}")).await;
    assert_eq!(outcomes(&stage, "applied").await, 2, "{}", log.text());
    drop(guard);
    let relayed = Relayed { stage, recordings: recordings().await, state };
    let bearer = relayed.token(None).await;
    assert_ne!(bearer, direct);
    let handle = relayed.submitted(&bearer).await;
    let lines = || {
        let folder = fs::read_dir(relayed.state.path().join("tasks")).unwrap();
        folder.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect::<String>()
    };
    assert!(lines().contains(&handle), "it is on disk before anybody is told: {}", lines());
    // Whichever broker is asked, of several.
    for _ in 0..relayed.stage.brokers() {
        assert_eq!(relayed.get("/tasks/", &bearer).await.json()["total"], 1);
    }
    relayed.ended(&handle, relayed.stage.stack.secret.expose()).await;
    promptly(async {
        while !lines().contains("\"ended\"") {
            relayed.stage.page("/healthz").await;
        }
    })
    .await;
    // Its ledger stays where it is.
    let (log, _guard) = Log::capture();
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = added.replace(&format!("{:?}", relayed.state.path()), &format!("{:?}", elsewhere.path()));
    reload(&relayed.stage, &format!("{config}{moved}")).await;
    let said = log.text();
    assert!(said.contains("\"relay.state\"") && said.contains("at the next start"), "{said}");
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_changed_file_is_taken_up_by_itself() {
    let stage = following(UNHURRIED).await;
    stage.ask().await.token();
    stage.stack.reconfigure(&with(&stage, UNHURRIED, "enabled = false"), false).unwrap();
    promptly(async {
        while stage.ask().await.status != 403 {
            stage.clock.advance(SECOND * 5);
        }
    })
    .await;
    assert_eq!(outcomes(&stage, "applied").await, 2);
    stage.stop().await;
}

#[tokio::test]
async fn a_key_is_rotated_in_its_file_without_a_restart() {
    let stage = following(UNHURRIED).await;
    let file = stage.stack.folder().join("key");
    std::fs::write(&file, &stage.stack.sandbox_key).unwrap();
    let with_file = with(&stage, "env = \"DASHSCOPE_API_KEY_0\"", &format!("file = {file:?}"));
    reload(&stage, &with_file).await;
    let first = stage.ask().await.token();
    stage.stack.sandbox.add_key("default", "sk-rotated");
    std::fs::write(&file, "sk-rotated\n").unwrap();
    reload(&stage, &with_file).await;
    let second = stage.ask().await.token();
    assert_ne!(first, second);
    let keys: Vec<_> = stage.stack.sandbox.journal().into_iter().filter_map(|entry| entry.key).collect();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1]);
    let page = stage.metrics().await;
    let usable: Vec<_> = page.lines().filter(|line| line.starts_with("valet_key_usable{")).collect();
    assert_eq!(usable.len(), stage.brokers(), "{usable:?}");
    assert!(usable.iter().all(|line| line.ends_with(" 1")), "{usable:?}");
    stage.stop().await;
}

#[tokio::test]
async fn a_key_that_is_written_over_the_old_one_is_taken_up_by_itself() {
    let stage = following(UNHURRIED).await;
    let file = stage.stack.folder().join("key");
    fs::write(&file, &stage.stack.sandbox_key).unwrap();
    reload(&stage, &with(&stage, "env = \"DASHSCOPE_API_KEY_0\"", &format!("file = {file:?}"))).await;
    stage.ask().await.token();
    stage.stack.sandbox.add_key("default", "sk-rotated");
    fs::write(&file, "sk-rotated\n").unwrap();
    promptly(async {
        while outcomes(&stage, "applied").await < 3 {
            stage.clock.advance(SECOND * 5);
        }
    })
    .await;
    stage.ask().await.token();
    let keys: Vec<_> = stage.stack.sandbox.journal().into_iter().filter_map(|entry| entry.key).collect();
    assert_eq!(keys, [&*stage.stack.sandbox_key, "sk-rotated"].map(fingerprint));
    stage.stop().await;
}

#[tokio::test]
async fn a_quarantined_key_stays_so_across_a_reload() {
    let stage = following(UNHURRIED).await;
    stage.stack.sandbox.revoke_key(&stage.stack.sandbox_key);
    // Each broker finds out for itself.
    assert!(stage.ask_each().await.iter().all(|answer| answer.status == 503));
    reload(&stage, &with(&stage, "[upstreams.sandbox]", "[upstreams.sandbox]\nqueries_per_second = 7")).await;
    stage.clock.advance(SECOND * 2);
    assert!(stage.ask_each().await.iter().all(|answer| answer.status == 503));
    assert_eq!(stage.mints(), stage.each(1));
    stage.stop().await;
}

#[tokio::test]
async fn what_changes_no_token_takes_none_away_and_resets_no_limit() {
    let stage = following("rate = { per_second = 1, burst = 2 }").await;
    let token = stage.ask().await.token();
    reload(&stage, &with(&stage, "burst = 2", "burst = 3")).await;
    assert_eq!(stage.ask().await.token(), token);
    assert_eq!(stage.ask().await.token(), token);
    assert_eq!(stage.ask().await.status, 429, "one of three was used before the reload");
    assert_eq!(stage.mints(), 1);
    stage.stop().await;
}

#[tokio::test]
async fn requests_that_wait_while_the_policy_changes_are_answered_by_the_new_one() {
    let stage = following(UNHURRIED).await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).delay(SECOND / 2));
    let waiting: Vec<_> = (0..20).map(|_| stage.asking()).collect();
    stage.waiting(19).await;
    stage.upstream_asleep().await;
    let longer = format!("{UNHURRIED}\nlifetime = 300");
    reload(&stage, &with(&stage, UNHURRIED, &longer)).await;
    stage.clock.advance(SECOND / 2);
    let mut answers: Vec<Answer> = Vec::new();
    for waiting in waiting {
        answers.push(promptly(waiting).await.unwrap());
    }
    assert!(answers.iter().all(|answer| answer.expires_in() > 290), "{:?}", answers[0]);
    assert_eq!(stage.mints(), 2, "one that was dropped, and one for all");
    stage.stop().await;
}

#[tokio::test]
async fn a_removed_app_is_unknown_and_another_takes_its_place() {
    let stage = following(UNHURRIED).await;
    stage.ask().await.token();
    reload(&stage, &with(&stage, "[apps.demo]", "[apps.other]")).await;
    assert_eq!(stage.ask().await.status, 401);
    answered(stage.dashscope("")).await.token();
    assert_eq!(stage.mints(), 2, "its token is not the other's");
    stage.stop().await;
}

#[tokio::test]
async fn an_audit_trail_that_is_moved_closes_where_it_was_and_loses_nothing() {
    // Each broker has a trail of its own.
    let settings = StackSettings { app: UNHURRIED.into(), follow: true, ..StackSettings::default() };
    let stage = Stage::of_one(settings).await;
    let kept = tempfile::tempdir().unwrap();
    let (old, new) = (kept.path().join("audit.jsonl"), kept.path().join("moved.jsonl"));
    let elsewhere =
        |path: &Path| with(&stage, &format!("{:?}", stage.stack.audit_path()), &format!("{path:?}"));
    reload(&stage, &elsewhere(&old)).await;
    stage.ask().await.token();
    reload(&stage, &elsewhere(&new)).await;
    stage.ask().await.token();
    // Nothing can be written into a folder: all stays as it was.
    reload(&stage, &elsewhere(kept.path())).await;
    assert_eq!(outcomes(&stage, "failed").await, 1);
    stage.ask().await.token();
    stage.stop().await;
    for (path, issued) in [(&old, 1), (&new, 2)] {
        let key = AuditKey::parse(fs::read_to_string(audit::key_beside(path)).unwrap().trim()).unwrap();
        let report = audit::verify(std::slice::from_ref(path), &key).unwrap();
        assert!(report.findings.is_empty() && report.closed, "{report:?}");
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(text.matches("\"outcome\":\"issued\"").count(), issued, "{text}");
    }
}

#[tokio::test]
async fn a_proxy_is_trusted_from_the_reload_on() {
    let stage = following(UNHURRIED).await;
    let config = format!("trusted_proxies = 1\n{}", stage.stack.config);
    let ask = || answered(stage.v1().header("x-forwarded-for", "192.0.2.7"));
    ask().await.token();
    reload(&stage, &config).await;
    ask().await.token();
    let remains = stage.stop().await;
    assert!(remains.audit[0]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(remains.audit[1]["peer"], "192.0.2.7");
}
