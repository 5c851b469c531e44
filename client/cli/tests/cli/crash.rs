//! Runs that are killed at every step, and taken up: nothing is paid for twice, nothing is lost or torn.
//!
//! Where a run is cut off is seeded: at a byte of its files, at a line of its journal, at an event that it
//! tells, at a request that the sandbox sees. Some of its submits lose their answers as well.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use fastrand::Rng;
use valet_sandbox::{Fault, Operation};

use crate::{
    cut::Cut,
    harness::{Stage, names, said, url},
};

const NAMES: [&str; 5] = ["one", "two", "three", "four", "long"];
const FLAGS: [&str; 10] = [
    "--json-progress",
    "transcribe",
    "--journal",
    "journal",
    // Three tasks.
    "--max-urls=2",
    "--format=txt,json",
    "--out",
    "out",
    "--name",
    "{stem}.{ext}",
];
/// Runs at the same time: most of the time passes in waiting for a submit that may be arriving.
const AT_ONCE: usize = 40;
/// As many runs are killed at most before one is left alone.
const KILLS: usize = 3;

#[test]
fn at_any_byte_of_its_files() {
    killed_runs_are_taken_up(80, Cut::at_a_byte);
}

#[test]
fn at_any_line_of_its_journal() {
    killed_runs_are_taken_up(60, Cut::at_a_line);
}

#[test]
fn at_any_event() {
    killed_runs_are_taken_up(50, Cut::at_an_event);
}

#[test]
fn at_any_request() {
    killed_runs_are_taken_up(60, Cut::at_a_request);
}

/// Kills runs of as many seeds. At least half of them must have been alive.
fn killed_runs_are_taken_up(seeds: usize, cut: fn(&mut Rng) -> Cut) {
    let (next, killed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    return;
                }
                if is_killed_and_taken_up(seed as u64, cut) {
                    killed.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let killed = killed.into_inner();
    assert!(killed * 2 > seeds, "only {killed} of {seeds} were cut off");
}

/// Whether the run of this seed was killed at all.
fn is_killed_and_taken_up(seed: u64, cut: fn(&mut Rng) -> Cut) -> bool {
    let rng = &mut Rng::with_seed(seed);
    let stage = Stage::new();
    let about = format!("seed {seed} in {}", stage.home.path().display());
    for _ in 0..rng.usize(..3) {
        stage.sandbox.script(Fault::on(Operation::Submit));
    }
    if rng.bool() {
        stage.sandbox.script(Fault::on(Operation::Submit).lose_answer());
    }
    let urls = NAMES.map(url);
    let line: Vec<&str> = FLAGS.into_iter().chain(urls.iter().map(String::as_str)).collect();
    let mut killed = 0;
    while killed < KILLS && cut(rng).off(&stage, &line) {
        killed += 1;
        if rng.bool() {
            break;
        }
    }
    let before = files(&stage);
    take_up(&stage, &line, rng, &about);
    let after = files(&stage);
    assert_done_once(&stage, &about);
    assert!(before.iter().all(|(name, file)| after.get(name) == Some(file)), "{about}: written twice");

    let again = stage.run(&line);
    assert_eq!((again.code, files(&stage)), (0, after), "{about}: {}", again.err);
    assert_done_once(&stage, &about);
    killed > 0
}

/// Takes the run up, and decides in the end that what is not found is submitted again.
fn take_up(stage: &Stage, line: &[&str], rng: &mut Rng, about: &str) {
    if rng.bool() && stage.path("journal").exists() {
        let resumed = stage.run(&["resume", "--journal", "journal"]);
        assert!([0, 8].contains(&resumed.code), "{about}: {resumed:?}");
    }
    if rng.bool() {
        let ended = stage.run(line);
        assert!([0, 8].contains(&ended.code), "{about}: {ended:?}");
        assert_eq!(ended.code == 8, ended.err.contains("--submit-again"), "{about}: {ended:?}");
    }
    let decided: Vec<&str> = line.iter().copied().chain(["--submit-again"]).collect();
    let ended = stage.run(&decided);
    assert_eq!(ended.code, 0, "{about}: {ended:?}");
}

fn assert_done_once(stage: &Stage, about: &str) {
    let mut urls = NAMES.map(url);
    urls.sort();
    assert_eq!(stage.submitted(), urls, "{about}");
    let mut files: Vec<String> =
        NAMES.iter().flat_map(|name| ["json", "txt"].map(|ext| format!("{name}.{ext}"))).collect();
    files.sort();
    let out = stage.path("out");
    assert_eq!(names(&out), files, "{about}");
    for name in NAMES {
        let text = fs::read_to_string(out.join(format!("{name}.txt"))).unwrap();
        assert_eq!(text, said(name), "{about}");
        let json: serde_json::Value =
            serde_json::from_slice(&fs::read(out.join(format!("{name}.json"))).unwrap()).unwrap();
        assert_eq!(json["file_url"], url(name), "{about}");
    }
}

/// The results that are there, and which writing of them it is.
fn files(stage: &Stage) -> BTreeMap<String, (u64, i64, i64)> {
    let out = stage.path("out");
    let written = |name: &String| {
        let about = fs::metadata(out.join(name)).unwrap();
        (about.ino(), about.mtime(), about.mtime_nsec())
    };
    // What begins with a dot is not a result; that none is left is seen in the end.
    let names = names(&out).into_iter().filter(|name| !name.starts_with('.'));
    names.map(|name| (name.clone(), written(&name))).collect()
}
