//! Whatever is done to a trail afterwards is found; what the broker itself does to it is not mistaken for it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use prometheus_client::registry::Registry;
use proptest::prelude::*;
use tempfile::{TempDir, tempdir};
use valet_clock::{Clock, ManualClock};

use super::*;
use crate::config::{Audit, AuditKey, Rotation};

fn audit(folder: &TempDir) -> Audit {
    let key = AuditKey::parse("a key that has its thirty-two characters");
    Audit { path: Some(folder.path().join("audit.jsonl")), key, ..Audit::default() }
}

fn open(audit: &Audit) -> (Trail, Writer) {
    let clock = ManualClock::new().handle("broker");
    Trail::open(audit, "0badcafe", clock, Metrics::register(&mut Registry::default())).unwrap()
}

/// A start and a stop of a broker, with so many events in between.
fn run(audit: &Audit, events: u64) {
    let (trail, writer) = open(audit);
    for count in 0..events {
        trail.event(Event::Lost { count }, ManualClock::new().unix());
    }
    writer.close();
}

fn check(files: &[PathBuf], audit: &Audit) -> Report {
    verify(files, audit.key.as_ref().unwrap()).unwrap()
}

fn found(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| &*finding.what).collect()
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().split_inclusive('\n').map(str::to_owned).collect()
}

#[test]
fn a_trail_of_several_starts_is_whole() {
    let folder = tempdir().unwrap();
    let audit = audit(&folder);
    let path = audit.path.clone().unwrap();
    for events in [3, 0, 40] {
        run(&audit, events);
    }
    let report = check(&[path], &audit);
    assert_eq!(report.findings, []);
    assert!(report.closed);
    assert_eq!(report.lines, 43);
    let (first, last) = report.span.unwrap();
    assert!(first > 0.0 && first <= last);
}

#[test]
fn without_a_key_one_is_made_beside_the_file_for_its_owner_alone() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempdir().unwrap();
    let audit = Audit { key: None, ..audit(&folder) };
    let path = audit.path.clone().unwrap();
    run(&audit, 1);
    run(&audit, 1);
    let beside = key_beside(&path);
    assert_eq!(fs::metadata(&beside).unwrap().mode() & 0o777, 0o600);
    let key = AuditKey::parse(fs::read_to_string(beside).unwrap().trim()).unwrap();
    assert_eq!(verify(&[path], &key).unwrap().findings, []);
}

#[test]
fn a_trail_under_another_key_is_not_right() {
    let folder = tempdir().unwrap();
    let audit = audit(&folder);
    run(&audit, 1);
    let report = verify(&[audit.path.unwrap()], &AuditKey::generate()).unwrap();
    assert_eq!((report.signatures, report.findings.len() >= 2), (0, true));
}

#[test]
fn a_tail_that_was_cut_off_is_a_gap_that_the_next_start_notes() {
    let folder = tempdir().unwrap();
    let audit = audit(&folder);
    let path = audit.path.clone().unwrap();
    run(&audit, 3);
    let whole = fs::read(&path).unwrap();
    // In the middle of the last signature, as a power cut may do.
    fs::write(&path, &whole[..whole.len() - 40]).unwrap();
    assert_eq!(found(&check(std::slice::from_ref(&path), &audit)).len(), 1);
    run(&audit, 2);
    let report = check(&[path], &audit);
    let found = found(&report);
    assert!(found.iter().any(|what| what.contains("noted a gap")), "{found:?}");
    assert!(report.closed);
}

#[test]
fn a_trail_that_was_taken_away_is_a_gap_that_the_next_start_notes() {
    let folder = tempdir().unwrap();
    let audit = Audit { key: None, ..audit(&folder) };
    let path = audit.path.clone().unwrap();
    run(&audit, 3);
    let key = AuditKey::parse(fs::read_to_string(key_beside(&path)).unwrap().trim()).unwrap();
    assert_eq!(verify(std::slice::from_ref(&path), &key).unwrap().findings, []);
    fs::remove_file(&path).unwrap();
    run(&audit, 2);
    let report = verify(&[path], &key).unwrap();
    let found = found(&report);
    assert!(found.len() == 1 && found[0].contains("noted a gap"), "{found:?}");
}

#[test]
fn a_full_file_is_followed_by_another_that_continues_it() {
    let folder = tempdir().unwrap();
    let rotation = Rotation { bytes: Some(1), time: None };
    let audit = Audit { rotation, ..audit(&folder) };
    let path = audit.path.clone().unwrap();
    for _ in 0..3 {
        run(&audit, 1);
    }
    let mut files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    // The newest has the plain name, which sorts first.
    files.rotate_left(1);
    assert_eq!((files.len(), files.last()), (3, Some(&path)));
    let report = check(&files, &audit);
    assert_eq!((found(&report), report.lines), (vec![], 3));
    files.remove(1);
    assert_eq!(found(&check(&files, &audit)).len(), 1, "the one in the middle is missed");
}

#[test]
fn a_file_that_was_moved_away_is_not_written_any_more() {
    let folder = tempdir().unwrap();
    let audit = audit(&folder);
    let path = audit.path.clone().unwrap();
    let (trail, writer) = open(&audit);
    trail.event(Event::Stop, Duration::from_secs(1));
    until(|| fs::metadata(&path).is_ok_and(|found| found.len() > 0));
    let moved = folder.path().join("moved");
    fs::rename(&path, &moved).unwrap();
    trail.event(Event::Stop, Duration::from_secs(2));
    writer.close();
    assert!(fs::metadata(&path).unwrap().len() > 0);
    let report = check(&[moved, path], &audit);
    assert_eq!((found(&report), report.lines), (vec![], 2));
}

/// Waits for what the writing thread does by itself.
fn until(done: impl Fn() -> bool) {
    while !done() {
        std::thread::yield_now();
    }
}

#[test]
fn a_trail_that_cannot_be_written_refuses_if_it_is_told_to_and_recovers() {
    let folder = tempdir().unwrap();
    let (link, good) = (folder.path().join("link"), folder.path().join("good"));
    for refuse in [true, false] {
        std::os::unix::fs::symlink("/dev/full", &link).unwrap();
        let audit = Audit { path: Some(link.clone()), refuse, ..audit(&folder) };
        let (trail, writer) = open(&audit);
        assert!(trail.accepts());
        trail.event(Event::Stop, Duration::from_secs(1));
        until(|| trail.0.metrics.failing.get() == 1);
        assert_eq!(trail.accepts(), !refuse);
        // Somebody makes room, at once: whoever tries meanwhile would make a file where there is none.
        fs::write(&good, "").unwrap();
        let next = folder.path().join("next");
        std::os::unix::fs::symlink(&good, &next).unwrap();
        fs::rename(&next, &link).unwrap();
        until(|| trail.accepts() && trail.0.metrics.failing.get() == 0);
        writer.close();
        assert_eq!(trail.0.metrics.lost.get(), 1);
        let text = fs::read_to_string(&good).unwrap();
        assert!(
            text.contains(r#""kind":"lost","count":1"#) || text.contains(r#""count":1,"kind":"lost""#),
            "{text}"
        );
        assert!(text.contains(r#""kind":"close""#), "{text}");
        fs::remove_file(&link).unwrap();
    }
}

#[test]
fn a_link_is_a_link_whatever_its_fields_hold() {
    assert!(chain::Link::read(br#"{"kind":"open"}"#).is_none());
    assert!(chain::Link::read(b"").is_none());
}

#[derive(Clone, Debug)]
enum Tampering {
    Change { byte: prop::sample::Index, to: u8 },
    Remove { line: prop::sample::Index },
    Double { line: prop::sample::Index },
    Swap { line: prop::sample::Index },
}

fn tampering() -> impl Strategy<Value = Tampering> {
    prop_oneof![
        (any::<prop::sample::Index>(), 32..127_u8).prop_map(|(byte, to)| Tampering::Change { byte, to }),
        any::<prop::sample::Index>().prop_map(|line| Tampering::Remove { line }),
        any::<prop::sample::Index>().prop_map(|line| Tampering::Double { line }),
        any::<prop::sample::Index>().prop_map(|line| Tampering::Swap { line }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_is_changed_removed_doubled_or_moved_is_found(tampering in tampering()) {
        thread_local! {
            static TRAIL: (TempDir, Audit, Vec<String>) = {
                let folder = tempdir().unwrap();
                let audit = audit(&folder);
                for events in [3, 1, 5] {
                    run(&audit, events);
                }
                let lines = lines(audit.path.as_ref().unwrap());
                (folder, audit, lines)
            };
        }
        TRAIL.with(|(folder, audit, whole)| {
            let mut lines = whole.clone();
            match tampering {
                Tampering::Change { byte, to } => {
                    let mut text = lines.concat().into_bytes();
                    let place = byte.index(text.len());
                    prop_assume!(text[place] != to && text[place] != b'\n');
                    text[place] = to;
                    lines = vec![String::from_utf8(text).unwrap()];
                }
                // The end alone can be cut off unseen, which the report says: it is not closed then.
                Tampering::Remove { line } => {
                    lines.remove(line.index(lines.len()));
                }
                Tampering::Double { line } => {
                    let place = line.index(lines.len());
                    lines.insert(place, lines[place].clone());
                }
                Tampering::Swap { line } => {
                    let place = line.index(lines.len() - 1);
                    lines.swap(place, place + 1);
                }
            }
            let path = folder.path().join("tampered");
            fs::write(&path, lines.concat()).unwrap();
            let report = check(&[path], audit);
            prop_assert!(!report.findings.is_empty() || !report.closed, "{:?}", report);
            Ok(())
        })?;
    }
}
