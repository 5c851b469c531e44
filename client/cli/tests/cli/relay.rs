//! The command line with tokens of a broker's relay: nobody has to tell it that it is there.

use std::{fs, time::Duration};

use valet_sandbox::{Fault, Operation};

use crate::harness::{RUNTIME, Stage, names, said, url};

#[test]
fn recordings_are_transcribed_and_told_of_as_at_the_service() {
    let stage = Stage::at_a_relay();
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
    let run = stage.run(&line);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains(&urls[2]), "{}", run.err);
    assert_eq!(names(&stage.path("out")), ["one.srt", "one.txt", "two.srt", "two.txt"]);
    assert_eq!(fs::read_to_string(stage.path("out/two.txt")).unwrap(), said("two"));

    let list = stage.run(&["list", "--since", "3600"]);
    assert_eq!((list.code, list.out.lines().count()), (0, 2), "{list:?}");
    let ids: Vec<&str> = list.out.lines().map(|line| line.split(' ').next().unwrap()).collect();
    let ours = stage.sandbox.tasks();
    assert!(ids.iter().all(|id| ours.iter().all(|task| task.task_id != *id)), "the account's ids stay there");
    let told = ids.iter().map(|id| stage.run(&["task", "--transcripts", id]));
    let told: String = told.map(|told| told.out).collect();
    assert!(told.contains(said("one").trim()) && told.contains(said("two").trim()), "{told}");
    let late = stage.run(&["cancel", ids[0]]);
    assert_eq!(late.code, 4, "{late:?}");
}

#[test]
fn a_submit_whose_answer_never_came_is_asked_for_again_by_its_name() {
    let stage = Stage::at_a_relay();
    // The broker has its answer; whoever asked it is killed before that.
    stage.sandbox.script(Fault::on(Operation::Submit).delay(Duration::from_secs(1)));
    let mut child =
        stage.valet(&["transcribe", "--journal", "journal", "--out", "out", &url("one")]).spawn().unwrap();
    RUNTIME.block_on(stage.sandbox.wait_for(Operation::Submit, 1));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!fs::read_to_string(stage.path("journal")).unwrap().contains(r#""entry":"submitted""#));

    let resumed = stage.run(&["resume", "--journal", "journal"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert!(!resumed.err.contains("looking for"), "{}", resumed.err);
    assert_eq!(stage.sandbox.count(Operation::List), 0);
    assert_eq!(stage.submitted(), [url("one")], "paid for once");
    assert_eq!(names(&stage.path("out")), ["one.txt"]);
}

#[test]
fn a_submit_that_the_relay_lost_sight_of_waits_for_a_decision() {
    let stage = Stage::at_a_relay();
    stage.sandbox.script(Fault::on(Operation::Submit).lose_answer());
    let run = stage.run(&["transcribe", "--out", "out", &url("one")]);
    assert_eq!(run.code, 8, "{}", run.err);
    assert!(run.err.contains("--submit-again"), "{}", run.err);
    assert_eq!(stage.submitted(), [url("one")], "it is not sent again by itself");
    assert_eq!(stage.run(&["resume", "--submit-again"]).code, 0);
    assert_eq!(names(&stage.path("out")), ["one.txt"]);
}

#[test]
fn a_token_of_a_relay_says_what_it_is_and_local_files_are_refused_before_they_are_sent() {
    let stage = Stage::at_a_relay();
    let token = stage.run(&["token", "--format", "json"]);
    let token: serde_json::Value = serde_json::from_str(&token.out).unwrap();
    assert_eq!(token["mode"], "relay");
    assert!(token["base_url"].as_str().unwrap().starts_with(&stage.base_url), "{token}");
    fs::write(stage.path("local.wav"), crate::harness::wav()).unwrap();
    let run = stage.run(&["transcribe", "local.wav"]);
    assert_eq!(run.code, 4, "{}", run.err);
    assert!(run.err.contains("name its URL"), "{}", run.err);
    assert_eq!(stage.submitted(), [""; 0]);
}
