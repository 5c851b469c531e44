//! The command line with tokens of a broker's relay: nobody has to tell it that it is there.

use std::{fs, time::Duration};

use tempfile::TempDir;
use valet_demo::{APP, Stack, StackSettings};
use valet_sandbox::{Fault, Operation, Settings};

use crate::harness::{Ended, RUNTIME, Stage, ended, names, said, url};

/// A broker whose app is at its relay, and a home that knows the app.
struct Relayed {
    stack: Stack,
    home: Stage,
    _state: TempDir,
}

impl Relayed {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let sandbox = Settings::default().with_task_time(Duration::ZERO, Duration::ZERO);
        let relay = Some(state.path().to_owned());
        let settings = StackSettings { sandbox, relay, ..StackSettings::default() };
        Self { stack: RUNTIME.block_on(Stack::start(settings)).unwrap(), home: Stage::new(), _state: state }
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = self.home.bare(arguments);
        command.env("VALET_URL", &self.stack.broker_url).env("VALET_APP", APP);
        command.env("VALET_SECRET", self.stack.secret.expose()).env("PATH", "/usr/bin:/bin");
        ended(command)
    }

    /// The URLs of all tasks at the service, as often as they were submitted.
    fn submitted(&self) -> Vec<String> {
        let mut urls: Vec<String> =
            self.stack.sandbox.tasks().into_iter().flat_map(|task| task.file_urls).collect();
        urls.sort();
        urls
    }
}

#[test]
fn recordings_are_transcribed_and_told_of_as_at_the_service() {
    let relayed = Relayed::new();
    let urls = [url("one"), url("two"), url("missing")];
    let line = [
        "transcribe",
        "--max-urls",
        "2",
        "--format",
        "txt,srt",
        "--out",
        "out",
        &urls[0],
        &urls[1],
        &urls[2],
    ];
    let run = relayed.run(&line);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains(&urls[2]), "{}", run.err);
    assert_eq!(names(&relayed.home.path("out")), ["one.srt", "one.txt", "two.srt", "two.txt"]);
    assert_eq!(fs::read_to_string(relayed.home.path("out/two.txt")).unwrap(), said("two"));

    let list = relayed.run(&["list", "--since", "3600"]);
    assert_eq!((list.code, list.out.lines().count()), (0, 2), "{list:?}");
    let ids: Vec<&str> = list.out.lines().map(|line| line.split(' ').next().unwrap()).collect();
    let ours = relayed.stack.sandbox.tasks();
    assert!(ids.iter().all(|id| ours.iter().all(|task| task.task_id != *id)), "the account's ids stay there");
    let told = ids.iter().map(|id| relayed.run(&["task", "--transcripts", id]));
    let told: String = told.map(|told| told.out).collect();
    assert!(told.contains(said("one").trim()) && told.contains(said("two").trim()), "{told}");
    let late = relayed.run(&["cancel", ids[0]]);
    assert_eq!(late.code, 4, "{late:?}");
}

#[test]
fn a_submit_whose_answer_never_came_is_found_among_ones_own_tasks() {
    let relayed = Relayed::new();
    // The broker has its answer; whoever asked it is killed before that.
    relayed.stack.sandbox.script(Fault::on(Operation::Submit).delay(Duration::from_secs(1)));
    let mut command = relayed.home.bare(&["transcribe", "--journal", "journal", "--out", "out", &url("one")]);
    command.env("VALET_URL", &relayed.stack.broker_url).env("VALET_APP", APP);
    command.env("VALET_SECRET", relayed.stack.secret.expose());
    let mut child = command.spawn().unwrap();
    RUNTIME.block_on(relayed.stack.sandbox.wait_for(Operation::Submit, 1));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!fs::read_to_string(relayed.home.path("journal")).unwrap().contains(r#""entry":"submitted""#));

    let resumed = relayed.run(&["resume", "--journal", "journal"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(relayed.submitted(), [url("one")], "paid for once");
    assert_eq!(names(&relayed.home.path("out")), ["one.txt"]);
}

#[test]
fn a_submit_that_the_relay_lost_sight_of_waits_for_a_decision() {
    let relayed = Relayed::new();
    relayed.stack.sandbox.script(Fault::on(Operation::Submit).lose_answer());
    let run = relayed.run(&["transcribe", "--out", "out", &url("one")]);
    assert_eq!(run.code, 8, "{}", run.err);
    assert!(run.err.contains("--submit-again"), "{}", run.err);
    assert_eq!(relayed.submitted(), [url("one")], "it is not sent again by itself");
    assert_eq!(relayed.run(&["resume", "--submit-again"]).code, 0);
    assert_eq!(names(&relayed.home.path("out")), ["one.txt"]);
}

#[test]
fn a_token_of_a_relay_says_what_it_is_and_local_files_are_refused_before_they_are_sent() {
    let relayed = Relayed::new();
    let token = relayed.run(&["token", "--format", "json"]);
    let token: serde_json::Value = serde_json::from_str(&token.out).unwrap();
    assert_eq!(token["mode"], "relay");
    assert!(token["base_url"].as_str().unwrap().starts_with(&relayed.stack.broker_url), "{token}");
    fs::write(relayed.home.path("local.wav"), crate::harness::wav()).unwrap();
    let run = relayed.run(&["transcribe", "local.wav"]);
    assert_eq!(run.code, 4, "{}", run.err);
    assert!(run.err.contains("name its URL"), "{}", run.err);
    assert_eq!(relayed.submitted(), [""; 0]);
}
