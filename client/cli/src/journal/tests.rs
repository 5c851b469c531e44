use std::{fs, sync::Arc, time::Duration};

use proptest::prelude::*;
use tempfile::TempDir;
use valet_clock::SystemClock;

use super::*;
use crate::output::{Format, Layout, Look};

const URLS: [&str; 3] = ["https://a", "https://b", "https://c"];

fn clock() -> SharedClock {
    Arc::new(SystemClock)
}

fn subject(model: &str) -> Subject {
    Subject { service: "https://valet as acme".into(), model: model.into(), parameters: Default::default() }
}

fn run(number: u64, again: Again) -> Entry {
    let layout = Layout { formats: vec![Format::Txt], out: Some("/out".into()), look: Look::default() };
    let planned =
        |url: &str| Planned { source: url.into(), files: vec![format!("/out{}.txt", &url[7..]).into()] };
    Entry::Run(Run { run: number, sources: URLS.map(planned).into(), layout, max_urls: 100, again })
}

fn intent(number: u64, urls: &[&str]) -> Entry {
    let sources = urls.iter().map(|&url| url.to_owned()).collect();
    Entry::Intent(Intent { intent: number, sources, uploads: Vec::new(), key: None })
}

/// An intent of `a`, and its name.
fn named(number: u64, key: Option<&str>) -> Entry {
    let (sources, key) = (vec![URLS[0].to_owned()], key.map(Into::into));
    Entry::Intent(Intent { intent: number, sources, uploads: Vec::new(), key })
}

fn submitted(number: u64) -> Entry {
    Entry::Submitted { intent: number, task: format!("t-{number}").into() }
}

fn done(url: &str) -> Entry {
    Entry::Done {
        source: url.into(),
        files: vec![format!("/out{}.txt", &url[7..]).into()],
        look: Look::default(),
    }
}

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/journal.jsonl");
    (folder, path)
}

fn opened(path: &Path) -> Journal {
    Journal::open(path, &subject("fun-asr"), &clock()).unwrap()
}

fn after(entries: impl IntoIterator<Item = Entry>) -> State {
    let (_folder, path) = place();
    let mut journal = opened(&path);
    entries.into_iter().for_each(|entry| journal.note(entry).unwrap());
    drop(journal);
    glance(&path).unwrap()
}

fn standing(state: &State, url: &str) -> Standing {
    state.of(url).map(|known| known.standing.clone()).unwrap_or_default()
}

#[test]
fn what_was_noted_is_known_by_the_next_one_who_opens_it() {
    let (_folder, path) = place();
    let mut journal = opened(&path);
    for entry in [run(0, Again::No), intent(0, &URLS[..2]), submitted(0), intent(1, &URLS[2..])] {
        journal.note(entry).unwrap();
    }
    drop(journal);
    let journal = opened(&path);
    let state = journal.state();
    assert_eq!(standing(state, "https://a"), Standing::Submitted(0));
    assert_eq!(state.intent(0).unwrap().task, Some("t-0".into()));
    assert_eq!(standing(state, "https://c"), Standing::Open(1));
    assert_eq!((state.next_intent(), state.next_run(), state.unfinished().count()), (2, 1, 1));
    // For people to read.
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.lines().nth(3).unwrap().contains(r#""entry":"submitted","intent":0,"task":"t-0""#),
        "{text}"
    );
}

#[test]
fn an_intent_that_was_not_submitted_or_given_up_may_be_submitted() {
    let refused = Entry::NotSubmitted { intent: 0, code: "Throttled".into(), message: String::new() };
    for closing in [refused, Entry::GivenUp { intent: 0 }] {
        let state = after([run(0, Again::No), intent(0, &URLS), closing]);
        assert_eq!(standing(&state, "https://a"), Standing::New);
    }
}

#[test]
fn a_name_counts_for_as_long_as_a_relay_knows_it() {
    let state = after([run(0, Again::No), named(0, Some("k")), named(1, None)]);
    let begun: Duration =
        state.intent(0).unwrap().at.duration_since(Timestamp::UNIX_EPOCH).try_into().unwrap();
    let key = |number: u64, age: u64| state.intent(number).unwrap().key_at(begun + Duration::from_secs(age));
    assert_eq!(key(0, 0), Some(&"k".into()));
    assert_eq!(key(0, 23 * 3600 - 1), Some(&"k".into()));
    assert_eq!((key(0, 23 * 3600), key(1, 1)), (None, None));
    let earlier = begun - Duration::from_secs(60);
    assert_eq!(state.intent(0).unwrap().key_at(earlier), None, "a clock that was put back tells no age");
}

#[test]
fn a_failure_is_final_until_its_run_has_ended() {
    let failed =
        Entry::Failed { source: "https://a".into(), code: "DECODE_ERROR".into(), message: "no".into() };
    let begun = [run(0, Again::No), intent(0, &URLS), submitted(0), failed];
    assert!(matches!(standing(&after(begun.clone()), "https://a"), Standing::Failed { .. }));
    let ended = after(begun.into_iter().chain([Entry::Ended { run: 0 }]));
    assert_eq!(standing(&ended, "https://a"), Standing::New);
    assert_eq!(standing(&ended, "https://b"), Standing::Submitted(0));
}

#[test]
fn again_begins_anew_with_what_is_over_and_with_nothing_that_is_under_way() {
    let lost = Entry::Lost { source: "https://c".into(), task: "t-0".into() };
    let before = [run(0, Again::No), intent(0, &URLS), submitted(0), done("https://a"), lost];
    let state = after(before.into_iter().chain([run(1, Again::Begins)]));
    assert_eq!(standing(&state, "https://a"), Standing::New);
    assert!(state.of("https://a").unwrap().written.is_empty());
    assert_eq!(state.of("https://a").unwrap().files.len(), 1, "its name is its own");
    assert_eq!(standing(&state, "https://b"), Standing::Submitted(0));
    assert_eq!(standing(&state, "https://c"), Standing::New);
}

#[test]
fn a_run_that_leaves_nothing_of_an_earlier_one_takes_its_place_and_others_stay() {
    let state = after([run(0, Again::No), run(1, Again::No)]);
    assert_eq!(state.unfinished().map(|run| run.run).collect::<Vec<_>>(), [1]);
    let layout = Layout { formats: vec![Format::Txt], out: None, look: Look::default() };
    let sources = vec![Planned { source: "https://d".into(), files: Vec::new() }];
    let other = Entry::Run(Run { run: 1, sources, layout, max_urls: 100, again: Again::No });
    let state = after([run(0, Again::No), other]);
    assert_eq!(state.unfinished().map(|run| run.run).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn nobody_else_opens_a_journal_that_is_open() {
    let (_folder, path) = place();
    let journal = opened(&path);
    let failure = Journal::open(&path, &subject("fun-asr"), &clock()).err().expect("it is locked");
    assert_eq!(failure.code, LOCKED);
    assert!(failure.to_string().contains("--journal"), "{failure}");
    drop(journal);
    opened(&path);
}

#[test]
fn a_journal_about_something_else_is_refused_and_left_as_it_is() {
    let (_folder, path) = place();
    drop(opened(&path));
    let before = fs::read(&path).unwrap();
    assert!(Journal::open(&path, &subject("fun-asr-mtl"), &clock()).is_err());
    assert_eq!(fs::read(&path).unwrap(), before);
    fs::write(&path, "[1, 2]\n{}\n").unwrap();
    assert!(Journal::open(&path, &subject("fun-asr"), &clock()).is_err(), "it is no journal");
    assert_eq!(fs::read(&path).unwrap(), b"[1, 2]\n{}\n");
}

#[test]
fn a_newer_version_is_not_read_as_if_it_were_this_one() {
    let (_folder, path) = place();
    drop(opened(&path));
    let text = fs::read_to_string(&path).unwrap().replace(r#""version":1"#, r#""version":2"#);
    fs::write(&path, text).unwrap();
    let failure = Journal::existing(&path, &clock()).err().expect("it is newer");
    assert!(failure.to_string().contains("version 2"), "{failure}");
}

#[test]
fn damage_before_the_last_line_is_told_with_its_line() {
    let (_folder, path) = place();
    let mut journal = opened(&path);
    journal.note(run(0, Again::No)).unwrap();
    drop(journal);
    let text = fs::read_to_string(&path).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    fs::write(&path, format!("{first}\n\0\0\n{rest}")).unwrap();
    let failure = Journal::existing(&path, &clock()).err().expect("line 2 is damaged");
    assert!(failure.to_string().contains("line 2"), "{failure}");
}

#[test]
#[cfg(unix)]
fn a_journal_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = place();
    drop(opened(&path));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn each_subject_has_a_place_of_its_own_and_always_the_same() {
    let folder = Path::new("/state");
    let mut other = subject("fun-asr");
    other.parameters.insert("diarization_enabled".into(), true.into());
    assert_eq!(default_path(folder, &subject("fun-asr")), default_path(folder, &subject("fun-asr")));
    assert_ne!(default_path(folder, &subject("fun-asr")), default_path(folder, &other));
    assert_ne!(default_path(folder, &subject("fun-asr")), default_path(folder, &subject("fun-asr-mtl")));
}

proptest! {
    /// Wherever a crash cuts the journal off, it is read as far as it is whole, can be gone on with, and
    /// says of no source that is submitted that it is new.
    #[test]
    fn a_journal_that_is_cut_off_anywhere_is_read_as_far_as_it_is_whole(cut in 0.0..1.0_f64) {
        let (_folder, path) = place();
        let mut journal = opened(&path);
        let entries = [run(0, Again::No), intent(0, &URLS[..2]), submitted(0), intent(1, &URLS[2..]), done("https://a")];
        entries.into_iter().for_each(|entry| journal.note(entry).unwrap());
        drop(journal);
        let text = fs::read(&path).unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in the text")]
        let cut = (text.len() as f64 * cut) as usize;
        fs::write(&path, &text[..cut]).unwrap();
        let mut journal = opened(&path);
        // A line that lacks nothing but its end is whole too.
        let ends: Vec<usize> = (0..text.len()).filter(|&at| text[at] == b'\n').collect();
        let expected = match (cut >= ends[2], cut >= ends[3]) {
            (_, true) => Standing::Submitted(0),
            (true, _) => Standing::Open(0),
            _ => Standing::New,
        };
        prop_assert_eq!(standing(journal.state(), "https://a"), expected);
        journal.note(intent(7, &["https://z"])).unwrap();
        drop(journal);
        prop_assert_eq!(standing(opened(&path).state(), "https://z"), Standing::Open(7));
    }
}

#[test]
fn a_file_that_is_no_journal_is_left_as_it_is() {
    let (_folder, path) = place();
    drop(opened(&path));
    let header = fs::read_to_string(&path).unwrap();
    let other = "https://example.com/talk.mp3";
    for text in
        [other, &format!("{other}\n"), "{\"at\":1}\n", "{\"entry\":\"journal\",\"version\":9}", "RIFF\0\0"]
    {
        fs::write(&path, text).unwrap();
        let failure = Journal::open(&path, &subject("fun-asr"), &clock()).err().expect(text);
        assert!(failure.to_string().contains("is no journal"), "{failure}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    // One that was begun, and cut off, is begun again.
    for whole in 0..header.len() {
        fs::write(&path, &header[..whole]).unwrap();
        drop(opened(&path));
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1, "{whole}");
    }
    fs::write(&path, [0; 100]).unwrap();
    drop(opened(&path));
}
