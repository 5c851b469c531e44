//! What a run does, and what the next one finds.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;
use valet_sandbox::{Fault, Operation, Settings};

use crate::harness::{RUNTIME, Stage, ended, names, said, url};

#[test]
fn transcripts_go_to_standard_output_in_order() {
    let stage = Stage::new();
    let run = stage.run(&["transcribe", "-q", "--max-urls", "1", &url("two"), &url("one")]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let expected =
        format!("==> {} <==\n{}\n==> {} <==\n{}", url("two"), said("two"), url("one"), said("one"));
    assert_eq!(run.out, expected);
}

#[test]
fn a_repeated_command_prints_again_and_pays_nothing() {
    let stage = Stage::new();
    let first = stage.run(&["transcribe", "-q", &url("one")]);
    let second = stage.run(&["transcribe", "-q", &url("one")]);
    assert_eq!((first.code, &first.out), (0, &said("one")));
    assert_eq!((second.code, &second.out), (0, &said("one")));
    assert_eq!(stage.submitted(), [url("one")]);
    // Only if it is asked for.
    assert_eq!(stage.run(&["transcribe", "-q", "--again", &url("one")]).code, 0);
    assert_eq!(stage.submitted(), [url("one"), url("one")]);
}

#[test]
fn files_are_named_by_the_template_and_a_longer_list_does_only_what_is_new() {
    let stage = Stage::new();
    fs::write(stage.path("list"), format!("# two\n{}\n{}\n", url("one"), url("two"))).unwrap();
    let line = ["transcribe", "--format", "txt,json", "--out", "out", "--name", "{index}_{stem}.{ext}"];
    assert_eq!(stage.run(&[&line[..], &["@list"]].concat()).code, 0);
    let out = stage.path("out");
    assert_eq!(names(&out), ["1_one.json", "1_one.txt", "2_two.json", "2_two.txt"]);
    assert_eq!(fs::read_to_string(out.join("2_two.txt")).unwrap(), said("two"));
    let json: Value = serde_json::from_slice(&fs::read(out.join("1_one.json")).unwrap()).unwrap();
    assert_eq!(json["file_url"], url("one"));

    let longer = stage.run(&[&line[..], &["@list", &url("three")]].concat());
    assert_eq!(longer.code, 0);
    assert!(longer.err.contains("2 of 3 recordings are done already"), "{}", longer.err);
    assert_eq!(stage.submitted(), {
        let mut all = ["one", "two", "three"].map(url);
        all.sort();
        all
    });
    assert!(names(&out).contains(&"3_three.txt".into()));
}

#[test]
fn another_format_is_written_without_paying_again() {
    let stage = Stage::new();
    assert_eq!(stage.run(&["transcribe", "--out", "out", &url("one")]).code, 0);
    assert_eq!(stage.run(&["transcribe", "--out", "out", "--format", "json", &url("one")]).code, 0);
    assert_eq!(names(&stage.path("out")), ["one.json", "one.txt"]);
    assert_eq!(stage.submitted(), [url("one")]);
}

#[test]
fn subtitles_are_written_as_it_is_said_and_written_anew_if_it_is_said_otherwise() {
    let stage = Stage::new();
    let line = ["transcribe", "--out", "out", "--format", "srt,vtt,tsv,txt,json", &url("long")];
    assert_eq!(stage.run(&line).code, 0);
    let out = stage.path("out");
    let all = ["long.json", "long.srt", "long.tsv", "long.txt", "long.vtt"];
    assert_eq!(names(&out), all);
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let longest = |name: &str| read(name).lines().map(str::len).max().unwrap();
    let usual = read("long.srt");
    assert!(usual.starts_with("1\n00:00:00,"), "{usual}");
    assert!(read("long.vtt").starts_with("WEBVTT\n") && read("long.tsv").starts_with("start\tend\ttext\n"));
    assert!(longest("long.srt") > 30);

    let narrow = stage.run(&[&line[..], &["--line-length", "20", "--lines", "1"]].concat());
    assert_eq!(narrow.code, 0, "{}", narrow.err);
    assert_eq!(names(&out), all);
    assert!(read("long.srt").lines().filter(|line| !line.contains("-->")).all(|line| line.len() <= 20));
    assert_eq!(stage.run(&line).code, 0);
    assert_eq!(read("long.srt"), usual);
    assert_eq!(stage.submitted(), [url("long")], "paid for once");
}

#[test]
fn a_recording_that_fails_stops_no_other_and_is_tried_again_by_the_next_command() {
    let stage = Stage::new();
    let line = ["transcribe", "--out", "out", &url("missing"), &url("one")];
    let run = stage.run(&line);
    assert_eq!(run.code, 5);
    assert!(run.err.contains(&url("missing")), "{}", run.err);
    assert!(run.err.contains("\n  Check the URL"), "and what to do about it: {}", run.err);
    assert_eq!(names(&stage.path("out")), ["one.txt"]);
    assert_eq!(stage.run(&line).code, 5);
    assert_eq!(stage.submitted().iter().filter(|submitted| **submitted == url("one")).count(), 1);
    assert_eq!(stage.submitted().len(), 3);
}

#[test]
fn a_submit_whose_answer_is_lost_is_found_and_not_sent_again() {
    let stage = Stage::new();
    stage.sandbox.script(Fault::on(Operation::Submit).lose_answer());
    let run = stage.run(&["transcribe", &url("one")]);
    assert_eq!((run.code, run.out.as_str()), (0, said("one").as_str()), "{}", run.err);
    assert!(run.err.contains("looking for"), "{}", run.err);
    assert_eq!(stage.submitted(), [url("one")]);
}

#[test]
fn a_submit_that_is_not_found_waits_for_a_decision() {
    let stage = Stage::new();
    // Not carried out, but who knows.
    stage.sandbox.script(Fault::on(Operation::Submit).reset());
    let line = ["transcribe", "--out", "out", &url("one")];
    let run = stage.run(&line);
    assert_eq!(run.code, 8, "{}", run.err);
    assert!(run.err.contains("--submit-again"), "{}", run.err);
    // Of the same recording, at the same time, and yet another one.
    assert_eq!(stage.run(&["transcribe", "-q", "--language", "en", &url("one")]).code, 0);
    assert_eq!(stage.run(&["resume", "--submit-again"]).code, 0);
    assert_eq!(stage.submitted(), [url("one"), url("one")]);
    assert_eq!(names(&stage.path("out")), ["one.txt"]);
    assert_eq!(stage.run(&["resume"]).code, 0, "nothing is left");
}

#[test]
fn a_deadline_leaves_the_task_to_the_next_run() {
    let stage = Stage::new();
    stage.sandbox.script(Fault::on(Operation::Query).hang().always());
    let run = stage.run(&["transcribe", "--deadline", "6", "--out", "out", &url("one")]);
    assert_eq!(run.code, 7, "{}", run.err);
    stage.sandbox.clear_faults();
    let resumed = stage.run(&["resume"]);
    assert_eq!(resumed.code, 0, "{}", resumed.err);
    assert_eq!(names(&stage.path("out")), ["one.txt"]);
    assert_eq!(stage.submitted(), [url("one")]);
}

#[test]
fn an_interrupt_leaves_the_task_to_the_next_run_and_no_two_run_at_once() {
    let stage = Stage::new();
    stage.sandbox.script(Fault::on(Operation::Query).hang().always());
    let line = ["transcribe", &url("one")];
    let child = stage.valet(&line).spawn().unwrap();
    RUNTIME.block_on(stage.sandbox.wait_for(Operation::Query, 1));
    let second = stage.run(&line);
    assert_eq!(second.code, 1);
    assert!(second.err.contains("another run has it open"), "{}", second.err);

    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let first = child.wait_with_output().unwrap();
    let (told, id) = (String::from_utf8(first.stderr).unwrap(), &stage.sandbox.tasks()[0].task_id);
    assert_eq!(first.status.code(), Some(130), "{told}");
    assert!(told.contains("`valet resume`") && told.contains(id), "{told}");
    stage.sandbox.clear_faults();
    assert_eq!(stage.run(&["resume", "-q"]).out, said("one"));
    assert_eq!(stage.submitted(), [url("one")]);
}

#[test]
fn a_refused_request_can_be_made_again() {
    let stage = Stage::with(Settings::default().with_urls_max(1));
    let two = [&url("one"), &url("two")];
    let refused = stage.run(&["transcribe", "-q", two[0], two[1]]);
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert_eq!(stage.run(&["transcribe", "-q", "--max-urls", "1", two[0], two[1]]).code, 0);
    assert_eq!(stage.submitted().len(), 2);
}

#[test]
fn a_dry_run_sends_nothing_and_tells_the_cost() {
    let stage = Stage::new();
    let line = ["transcribe", "--dry-run", "--audio-length", "3600", "--language", "en", &url("one")];
    let run = stage.run(&line);
    assert_eq!(run.code, 0, "{}", run.err);
    let body: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(body["input"]["file_urls"][0], url("one"));
    assert_eq!(body["parameters"]["language_hints"][0], "en");
    assert!(run.err.contains("0.13 USD"), "{}", run.err);
    assert_eq!(stage.sandbox.journal().len(), 0);
    assert_eq!(names(stage.home.path()), [""; 0], "it leaves nothing");
    // Without anybody to ask.
    assert_eq!(ended(stage.bare(&line)).code, 0);
}

#[test]
fn events_are_json_one_a_line() {
    let stage = Stage::new();
    let line = ["--json-progress", "transcribe", "--out", "out", &url("one"), &url("missing")];
    let run = stage.run(&line);
    let events: Vec<Value> = run.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"run"), Some(&"end")));
    for kind in ["waiting", "status", "written", "failed"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    for kind in kinds {
        assert!(
            include_str!("../../README.md").contains(&format!("| `{kind}` |")),
            "{kind} is not documented"
        );
    }
    assert_eq!(events.last().unwrap()["exit_code"], 5);
}

#[test]
fn settings_come_from_flag_environment_and_file_in_that_order() {
    let stage = Stage::new();
    fs::create_dir_all(stage.path(".config/valet")).unwrap();
    let settings = format!("base-url = {:?}\nformat = ['json']\nout = 'from-file'\n", stage.base_url);
    fs::write(stage.path(".config/valet/config.toml"), settings).unwrap();
    let run = |flags: &[&str], variable: Option<&str>| {
        let mut command = stage.bare(&[&["transcribe", "-q"], flags, &[&url("one")]].concat());
        command.env("DASHSCOPE_API_KEY", crate::harness::KEY);
        command.envs(variable.map(|out| ("VALET_OUT", out)));
        let run = ended(command);
        assert_eq!(run.code, 0, "{}", run.err);
    };
    run(&[], None);
    assert_eq!(names(&stage.path("from-file")), ["one.json"]);
    run(&[], Some("from-environment"));
    assert_eq!(names(&stage.path("from-environment")), ["one.json"]);
    run(&["--out", "from-flag", "--format", "txt"], Some("from-environment"));
    assert_eq!(names(&stage.path("from-flag")), ["one.txt"]);
    assert_eq!(stage.submitted(), [url("one")], "paid for once");
}

#[test]
fn a_list_is_read_from_standard_input() {
    let stage = Stage::new();
    let mut child = stage.valet(&["transcribe", "-q", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{}\n", url("one")).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), said("one"));
}

#[test]
fn what_is_wrong_with_one_run_keeps_no_other_from_being_taken_up() {
    for (broken, other) in [("a", "b"), ("b", "a")] {
        let stage = Stage::new();
        stage.sandbox.script(Fault::on(Operation::Query).hang().always());
        for (out, language) in [("a", "en"), ("b", "zh")] {
            let line = ["transcribe", "--deadline", "6", "--language", language, "--out", out, &url("one")];
            assert_eq!(stage.run(&line).code, 7);
        }
        stage.sandbox.clear_faults();
        fs::remove_dir(stage.path(broken)).unwrap();
        fs::write(stage.path(broken), "").unwrap();
        let resumed = stage.run(&["resume"]);
        assert!(resumed.code == 1 && resumed.err.contains(&format!("/{broken}: ")), "{resumed:?}");
        assert_eq!(names(&stage.path(other)), ["one.txt"]);
        fs::remove_file(stage.path(broken)).unwrap();
        assert_eq!(stage.run(&["resume"]).code, 0);
        assert_eq!(names(&stage.path(broken)), ["one.txt"]);
        assert_eq!(stage.submitted().len(), 2);
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_found_out_before_anything_is_paid_for() {
    let stage = Stage::new();
    fs::write(stage.path("file"), "").unwrap();
    let run = stage.run(&["transcribe", "--out", "file", &url("one")]);
    assert_eq!(run.code, 1, "{}", run.err);
    assert_eq!(stage.submitted(), [""; 0]);
    let resumed = stage.run(&["resume"]);
    assert!(resumed.code == 0 && resumed.err.contains("nothing to take up"), "{resumed:?}");
}

#[test]
fn to_do_a_recording_again_has_nothing_to_do_with_another_that_was_interrupted() {
    let stage = Stage::new();
    let line = |name| ["transcribe".to_owned(), "--out".into(), "out".into(), "--again".into(), url(name)];
    let run = |name, flags: &[&str]| {
        let line = line(name);
        stage.run(&line.iter().map(String::as_str).chain(flags.iter().copied()).collect::<Vec<_>>())
    };
    assert_eq!((run("one", &[]).code, run("two", &[]).code), (0, 0));
    stage.sandbox.script(Fault::on(Operation::Query).hang().always());
    assert_eq!(run("one", &["--deadline", "6"]).code, 7);
    stage.sandbox.clear_faults();
    assert_eq!(run("two", &[]).code, 0);
    assert_eq!(run("one", &[]).code, 0, "this one goes on");
    assert_eq!(stage.submitted(), [url("one"), url("one"), url("two"), url("two")]);
}

#[test]
fn a_line_of_the_journal_that_cannot_be_written_whole_is_taken_back() {
    let stage = Stage::new();
    let line = ["transcribe", "-q", "--journal", "journal", &url("one"), &url("two")];
    // No file may be larger than 512 bytes, and whoever tries is told so and not killed.
    let full = r#"trap "" XFSZ; ulimit -f 1; exec "$@""#;
    let run = ended(stage.valet_by(&["sh", "-c", full, "sh"], &line));
    assert_eq!(run.code, 1, "{}", run.err);
    let journal = fs::read_to_string(stage.path("journal")).unwrap();
    assert!(journal.ends_with("}\n"), "{journal}");
    assert_eq!(stage.run(&line).code, 0);
    assert_eq!(stage.submitted(), [url("one"), url("two")]);
}

#[test]
fn whoever_waits_for_a_service_that_is_away_is_told_so() {
    let stage = Stage::new();
    stage.sandbox.script(Fault::on(Operation::Query).reset().times(4));
    let run = stage.run(&["transcribe", &url("one")]);
    assert_eq!((run.code, run.out.as_str()), (0, said("one").as_str()), "{}", run.err);
    assert_eq!(run.err.matches("nothing is heard of the tasks").count(), 1, "{}", run.err);
}
