//! What others read, and stop reading: `valet list | head`.

use std::process::{Command, Stdio};

use crate::harness::{Ended, Stage, ended, names, url};

/// A pipe that nobody reads.
fn closed() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

fn unread(mut command: Command) -> Ended {
    let child = command.stdout(closed()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    Ended { code: output.status.code().unwrap(), out: String::new(), err }
}

#[test]
fn whoever_has_read_enough_ends_a_command_quietly() {
    let stage = Stage::new();
    assert_eq!(stage.run(&["transcribe", "-q", "--out", "out", &url("one")]).code, 0);
    let id = stage.sandbox.tasks()[0].task_id.clone();
    let (one, new) = (url("one"), url("two"));
    for line in [
        &["list"][..],
        &["list", "--json"],
        &["task", &id],
        &["task", &id, "--json"],
        &["task", &id, "--transcripts"],
        &["models"],
        &["completions", "bash"],
        &["transcribe", "-q", &one],
        &["transcribe", "-q", "--format", "json", &one],
        &["transcribe", "--dry-run", &new],
    ] {
        let ended = unread(stage.valet(line));
        assert_eq!((ended.code, ended.err.as_str()), (141, ""), "{line:?}");
    }
    let help = unread(stage.bare(&["--help"]));
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    assert_eq!(stage.submitted(), [url("one")]);
}

#[test]
fn a_full_disk_is_an_error() {
    let stage = Stage::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = stage.bare(&["models"]);
    command.stdout(full);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: standard output: "));
}

#[test]
fn a_run_whose_progress_nobody_reads_goes_on() {
    for flags in [&[][..], &["--json-progress"]] {
        let stage = Stage::new();
        let mut command = stage.valet(&[flags, &["transcribe", "--out", "out", &url("one")]].concat());
        command.stderr(closed());
        assert_eq!(ended(command).code, 0);
        assert_eq!(names(&stage.path("out")), ["one.txt"]);
    }
}
