//! The commands about tokens and tasks, against broker and sandbox.

use std::{fs, io::Write, os::unix::fs::PermissionsExt, process::Stdio};

use valet_demo::{APP, Stack, StackSettings};

use crate::harness::{Ended, RUNTIME, Stage, ended, url};

/// A broker, and a home where nothing is stored yet.
fn stack() -> (Stack, Stage) {
    (RUNTIME.block_on(Stack::start(StackSettings::default())).unwrap(), Stage::new())
}

fn run(stage: &Stage, stack: &Stack, arguments: &[&str]) -> Ended {
    let mut command = stage.bare(arguments);
    command.env("VALET_URL", &stack.broker_url).env("VALET_APP", APP);
    command.env("VALET_SECRET", stack.secret.expose()).env("PATH", "/usr/bin:/bin");
    ended(command)
}

#[test]
fn a_token_comes_in_every_format() {
    let (stack, stage) = stack();
    let token = run(&stage, &stack, &["token"]).out;
    assert!(token.starts_with("st-"), "{token}");
    let token = token.trim();
    assert_eq!(
        run(&stage, &stack, &["token", "--format", "header"]).out,
        format!("Authorization: Bearer {token}\n")
    );
    let env = run(&stage, &stack, &["token", "--format", "env"]).out;
    let expected = format!(
        "export DASHSCOPE_API_KEY='{token}'\nexport DASHSCOPE_HTTP_BASE_URL='{}'\n",
        stack.sandbox_url
    );
    assert_eq!(env, expected);
    let json: serde_json::Value =
        serde_json::from_str(&run(&stage, &stack, &["token", "--format", "json"]).out).unwrap();
    assert_eq!((&json["token"], &json["base_url"]), (&token.into(), &stack.sandbox_url.clone().into()));
}

#[test]
fn a_command_runs_with_the_token_and_without_the_secret() {
    let (stack, stage) = stack();
    let script = "echo $DASHSCOPE_API_KEY $DASHSCOPE_HTTP_BASE_URL ${VALET_SECRET:-none}; exit 42";
    let ran = run(&stage, &stack, &["token", "--exec", "sh", "-c", script]);
    assert_eq!(ran.code, 42);
    assert!(
        ran.out.starts_with("st-") && ran.out.ends_with(&format!(" {} none\n", stack.sandbox_url)),
        "{}",
        ran.out
    );
    assert_eq!(run(&stage, &stack, &["token", "--exec", "/no/such/command"]).code, 2);
}

#[test]
fn a_credential_is_tried_and_stored_for_its_owner_alone() {
    let (stack, stage) = stack();
    let login = |secret: &str| {
        let mut command = stage.bare(&["login", "--url", &stack.broker_url, "--app", APP]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stderr).contains(secret.trim()));
        output.status.code()
    };
    assert_eq!(login("vas_wrong\n"), Some(3));
    let path = stage.path(".config/valet/credential.toml");
    assert!(!path.exists(), "what is not accepted is not stored");
    assert_eq!(login(&format!("{}\n", stack.secret.expose())), Some(0));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(ended(stage.bare(&["token"])).out.starts_with("st-"));

    fs::remove_file(&path).unwrap();
    fs::write(stage.path("secret"), format!("{}\n", stack.secret.expose())).unwrap();
    let line = ["login", "--url", &stack.broker_url, "--app", APP, "--secret-file", "secret"];
    assert_eq!(ended(stage.bare(&line)).code, 0);
    assert!(ended(stage.bare(&["token"])).out.starts_with("st-"));

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = ended(stage.bare(&["token"]));
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("others can read it"), "{}", refused.err);
    assert!(!refused.err.contains(stack.secret.expose()));
}

#[test]
fn tasks_are_listed_told_and_canceled() {
    let stage = Stage::new();
    stage.sandbox.set_task_time(std::time::Duration::from_secs(3600), std::time::Duration::ZERO);
    let run = stage.run(&["transcribe", "-q", "--deadline", "6", &url("one")]);
    assert_eq!(run.code, 7, "{}", run.err);
    let id = stage.sandbox.tasks()[0].task_id.clone();
    let list = stage.run(&["list", "--status", "pending", "--since", "3600"]);
    assert!(list.out.starts_with(&format!("{id} PENDING ")), "{list:?}");
    assert_eq!(list.out.lines().count(), 1);
    assert!(stage.run(&["task", &id]).out.contains("PENDING"));
    assert_eq!(stage.run(&["cancel", &id]).out, format!("{id} canceled\n"));
    let again = stage.run(&["cancel", &id]);
    assert_eq!(again.code, 4);
    assert!(again.err.contains("Only a task that is PENDING"), "{}", again.err);
    // The run finds out, and the next one may submit it again.
    assert_eq!(stage.run(&["resume"]).code, 6);
    assert_eq!(stage.submitted().len(), 1);
}

#[test]
fn the_transcripts_of_a_task_can_be_written() {
    let stage = Stage::new();
    assert_eq!(stage.run(&["transcribe", "-q", &url("one")]).code, 0);
    let id = stage.sandbox.tasks()[0].task_id.clone();
    let task = stage.run(&["task", &id, "--wait", "--transcripts", "--out", "out"]);
    assert_eq!(task.code, 0, "{}", task.err);
    assert_eq!(crate::harness::names(&stage.path("out")), ["one.txt"]);
}

#[test]
fn a_base_url_of_something_else_is_told_as_what_it_may_be() {
    let stage = Stage::new();
    let elsewhere = url("one").replace("one.wav", "");
    let mut command = stage.bare(&["--base-url", &elsewhere, "list"]);
    command.env("DASHSCOPE_API_KEY", "sk-1");
    let list = ended(command);
    assert_eq!(list.code, 4, "{list:?}");
    assert!(list.err.contains("Check that the URL is"), "{}", list.err);
}

#[test]
fn a_secret_that_is_too_large_is_not_cut_short() {
    let stage = Stage::new();
    fs::write(stage.path("secret"), "x".repeat(100_000)).unwrap();
    let mut command = stage.bare(&["login", "--untried", "--url", "http://127.0.0.1:1", "--app", APP]);
    command.stdin(fs::File::open(stage.path("secret")).unwrap());
    let login = ended(command);
    assert!(login.code == 2 && login.err.contains("too large"), "{login:?}");
}

#[test]
fn what_needs_nobody_works_without_a_credential() {
    let stage = Stage::new();
    let models = ended(stage.bare(&["models"]));
    assert!(
        models.code == 0 && models.out.contains("fun-asr-mtl") && models.out.contains(" sv"),
        "{models:?}"
    );
    for shell in ["bash", "zsh", "fish"] {
        let script = ended(stage.bare(&["completions", shell]));
        assert!(script.code == 0 && script.out.contains("transcribe"), "{shell}");
    }
    assert_eq!(ended(stage.bare(&["list"])).code, 2);
}
