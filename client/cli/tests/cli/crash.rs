//! Runs that are killed at every step, and taken up: nothing is paid for twice, nothing is lost or torn.
//!
//! Where a run is cut off is seeded: at a byte of its files, at a line of its journal, at an event that it
//! tells, at a request that the sandbox sees. Some of its submits lose their answers as well.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
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
const AT_ONCE: usize = 60;
/// As many runs are killed at most before one is left alone.
const KILLS: usize = 3;

#[test]
fn at_any_byte_of_its_files() {
    killed_runs_are_taken_up(60, Cut::at_a_byte);
}

#[test]
fn at_any_line_of_its_journal() {
    killed_runs_are_taken_up(50, Cut::at_a_line);
}

#[test]
fn at_any_event() {
    killed_runs_are_taken_up(40, Cut::at_an_event);
}

#[test]
fn at_any_request() {
    killed_runs_are_taken_up(50, Cut::at_a_request);
}

/// Where submits have names none is looked for and nobody is asked to decide: each is asked for again.
#[test]
fn at_a_relay() {
    for_each_seed(60, |seed| {
        let (rng, stage) = (&mut Rng::with_seed(seed), Stage::at_a_relay());
        let about = format!("seed {seed} in {}", stage.home.path().display());
        let submit = Fault::on(Operation::Submit);
        stage.sandbox.script(if rng.bool() { submit.delay(Duration::from_secs(1)) } else { submit });
        let urls = NAMES.map(url);
        let line: Vec<&str> = FLAGS.into_iter().chain(urls.iter().map(String::as_str)).collect();
        let mut killed = 0;
        while killed < KILLS && Cut::anywhere(rng).off(&stage, &line) {
            killed += 1;
            if rng.bool() {
                break;
            }
        }
        let before = files(&stage);
        let resumes = rng.bool() && stage.path("journal").exists();
        let taken_up = stage.run(if resumes { &["resume", "--journal", "journal"] } else { &line });
        assert_eq!(taken_up.code, 0, "{about}: {taken_up:?}");
        assert!(!taken_up.err.contains("looking for"), "{about}: {taken_up:?}");
        // What was cut off before the run was on disk is not resumed.
        let ended = stage.run(&line);
        assert_eq!(ended.code, 0, "{about}: {ended:?}");
        assert_done(&stage, 1, &about);
        let after = files(&stage);
        assert!(before.iter().all(|(name, file)| after.get(name) == Some(file)), "{about}: written twice");
        killed > 0
    });
}

#[test]
fn while_it_does_recordings_again() {
    for_each_seed(20, |seed| {
        let rng = &mut Rng::with_seed(seed);
        let (stage, urls) = (Stage::new(), NAMES.map(url));
        let line: Vec<&str> = FLAGS.into_iter().chain(urls.iter().map(String::as_str)).collect();
        assert_eq!(stage.run(&line).code, 0);
        let first = files(&stage);
        let cut = if rng.bool() { Cut::Lines(rng.usize(15..30)) } else { Cut::Bytes(rng.u64(3000..20_000)) };
        let is_cut = cut.off(&stage, &[&line[..], &["--again"]].concat());
        let has_begun = fs::read_to_string(stage.path("journal")).unwrap().contains(r#""again":"begins"}"#);
        // What is under way is not begun anew, and what is over was done again as it was asked for.
        let resumed = stage.run(&["resume", "--journal", "journal", "--submit-again"]);
        assert_eq!(resumed.code, 0, "seed {seed}: {resumed:?}");
        let times = if has_begun { 2 } else { 1 };
        assert_done(&stage, times, &format!("seed {seed}"));
        let rewritten = files(&stage).iter().filter(|(name, file)| first[*name] != **file).count();
        assert_eq!(rewritten, if has_begun { first.len() } else { 0 }, "seed {seed}");
        is_cut
    });
}

fn killed_runs_are_taken_up(seeds: u64, cut: fn(&mut Rng) -> Cut) {
    for_each_seed(seeds, |seed| is_killed_and_taken_up(seed, cut));
}

/// Tries so many seeds. In at least half of them a run was alive when it was to be killed.
fn for_each_seed(seeds: u64, is_killed: impl Fn(u64) -> bool + Sync) {
    let (next, killed) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        while let seed = next.fetch_add(1, Ordering::Relaxed)
            && seed < seeds
        {
            killed.fetch_add(is_killed(seed).into(), Ordering::Relaxed);
        }
    };
    thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
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
    let submit = Fault::on(Operation::Submit);
    stage.sandbox.script(match rng.usize(..6) {
        0 | 1 => submit.lose_answer(),
        2 => submit.truncate(),
        3 => submit.delay(Duration::from_secs(2)),
        _ => submit,
    });
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
    assert_done(&stage, 1, &about);
    assert!(before.iter().all(|(name, file)| after.get(name) == Some(file)), "{about}: written twice");

    let again = stage.run(&line);
    assert_eq!((again.code, files(&stage)), (0, after), "{about}: {}", again.err);
    assert_done(&stage, 1, &about);
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

/// Each recording was submitted so many times, and its results are there, whole, and nothing beside them.
fn assert_done(stage: &Stage, times: usize, about: &str) {
    let mut urls: Vec<String> = NAMES.repeat(times).into_iter().map(url).collect();
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
