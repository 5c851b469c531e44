use std::sync::Arc;

use tempfile::TempDir;
use valet_clock::ManualClock;

use super::*;

fn who(app: &str, subject: Option<&str>) -> Who {
    Who { app: app.into(), subject: subject.map(Into::into), issuer: None }
}

fn submitted(task: &str, who: Who, time: Duration) -> Entry {
    Entry::Submitted(Submitted {
        time: time.as_secs(),
        who,
        account: "acme".into(),
        upstream: "beijing".into(),
        task: task.into(),
        handle: "handle".into(),
        model: "fun-asr".into(),
        urls: 2,
        reserved: 60,
        submit: None,
    })
}

fn ended(task: &str, who: Who, submitted: Duration, seconds: u64, status: &str) -> Entry {
    Entry::Ended(Ended {
        time: submitted.as_secs() + 30,
        submitted: submitted.as_secs(),
        who,
        account: "acme".into(),
        task: task.into(),
        model: "fun-asr".into(),
        urls: 2,
        status: status.into(),
        seconds,
    })
}

fn intent(submit: &str, time: Duration) -> Entry {
    Entry::Intent(Intent {
        time: time.as_secs(),
        who: who("acme", None),
        model: "fun-asr".into(),
        urls: 2,
        reserved: 60,
        submit: submit.into(),
        body: "body".into(),
    })
}

fn unknown(submit: &str, time: Duration) -> Entry {
    let Entry::Intent(intent) = intent(submit, time) else { unreachable!("it is one") };
    Entry::Unknown(intent.into())
}

fn open(folder: &TempDir, clock: &SharedClock, instance: &str) -> (Ledger, Vec<Entry>) {
    let place = Place { state: folder.path().to_owned(), keep_days: 2 };
    Opener::new(instance.to_owned(), clock.clone(), &mut Registry::default()).open(&place).unwrap()
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn what_was_written_is_known_to_the_next_start_for_a_day() {
    let (folder, manual) = (TempDir::new().unwrap(), ManualClock::new());
    let clock: SharedClock = Arc::new(manual.clone());
    let (ledger, known) = open(&folder, &clock, "a");
    assert_eq!(known, []);
    let first = submitted("1", who("acme", Some("alice")), clock.unix());
    assert!(ledger.append_durably(first.clone()).await);
    let last = ended("1", who("acme", Some("alice")), clock.unix(), 9, "SUCCEEDED");
    ledger.append(last.clone());
    assert!(ledger.flush().await);
    let (_, known) = open(&folder, &clock, "b");
    assert_eq!(known, [first.clone(), last.clone()]);
    manual.advance(DAY);
    assert_eq!(open(&folder, &clock, "c").1, [first, last], "yesterday's");
    manual.advance(DAY);
    assert_eq!(open(&folder, &clock, "d").1, []);
}

#[tokio::test]
async fn a_torn_line_hides_nothing_before_or_after_it() {
    let (folder, manual) = (TempDir::new().unwrap(), ManualClock::new());
    let clock: SharedClock = Arc::new(manual);
    let (ledger, _) = open(&folder, &clock, "a");
    let whole = submitted("1", who("acme", None), clock.unix());
    assert!(ledger.append_durably(whole.clone()).await);
    let tasks = folder.path().join("tasks");
    let path = std::fs::read_dir(&tasks).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}{}\n{text}", &text[..20])).unwrap();
    assert_eq!(open(&folder, &clock, "b").1, [whole.clone(), whole]);
}

#[tokio::test]
async fn days_that_are_over_are_dropped() {
    let (folder, manual) = (TempDir::new().unwrap(), ManualClock::new());
    let clock: SharedClock = Arc::new(manual.clone());
    let (ledger, _) = open(&folder, &clock, "a");
    for _ in 0..6 {
        assert!(ledger.append_durably(submitted("1", who("acme", None), clock.unix())).await);
        manual.advance(DAY);
    }
    assert!(ledger.flush().await);
    let files = std::fs::read_dir(folder.path().join("tasks")).unwrap().count();
    assert_eq!(files, 3, "today and two days before");
}

#[tokio::test]
async fn use_is_summed_by_what_the_operator_asks_for_and_of_the_day_of_the_submit() {
    let (folder, manual) = (TempDir::new().unwrap(), ManualClock::new());
    let clock: SharedClock = Arc::new(manual.clone());
    let (ledger, _) = open(&folder, &clock, "a");
    let today = clock.unix();
    for entry in [
        submitted("1", who("acme", Some("alice")), today),
        submitted("2", who("acme", Some("bob")), today),
        submitted("3", who("other", None), today),
        ended("1", who("acme", Some("alice")), today, 9, "SUCCEEDED"),
        // Told of twice, as by two brokers that follow it.
        ended("1", who("acme", Some("alice")), today, 9, "SUCCEEDED"),
        ended("2", who("acme", Some("bob")), today, 0, "FAILED"),
    ] {
        ledger.append(entry);
    }
    assert!(ledger.flush().await);
    manual.advance(DAY);
    ledger.append(ended("3", who("other", None), today, 100, "SUCCEEDED"));
    ledger.append(submitted("4", who("other", None), clock.unix()));
    assert!(ledger.flush().await);
    let day = files::day(today);
    let by = |by| Usage::read(folder.path(), day, day, by).unwrap().rows;
    let acme = Row { submitted: 2, ended: 2, failed: 1, unknown: 0, urls: 4, seconds: 9 };
    let other = Row { submitted: 1, ended: 1, failed: 0, unknown: 0, urls: 2, seconds: 100 };
    assert_eq!(by(Grouping::App), [(vec!["acme".into()], acme), (vec!["other".into()], other)].into());
    let subjects = by(Grouping::Subject);
    assert_eq!(subjects.len(), 3);
    assert_eq!(subjects[&vec!["acme".to_owned(), String::new(), "alice".to_owned()]].seconds, 9);
    assert_eq!(by(Grouping::Day)[&vec![day.to_string()]].seconds, 109);
    assert_eq!(by(Grouping::Model)[&vec!["fun-asr".to_owned()]].submitted, 3);
}

#[tokio::test]
async fn three_starts_of_a_day_are_known_in_their_order_whatever_they_are_called() {
    let (folder, manual) = (TempDir::new().unwrap(), ManualClock::new());
    let clock: SharedClock = Arc::new(manual.clone());
    let at = clock.unix();
    let second = Duration::from_secs(1);
    let withdrawn = Entry::Withdrawn { time: at.as_secs(), submit: "s".into() };
    let end = ended("1", who("acme", None), at + second, 9, "SUCCEEDED");
    let written = [
        ("c", vec![intent("s", at), withdrawn]),
        ("b", vec![intent("s", at + second), submitted("1", who("acme", None), at + second)]),
        ("a", vec![end]),
    ];
    for (instance, entries) in &written {
        let (ledger, _) = open(&folder, &clock, instance);
        for entry in entries {
            assert!(ledger.append_durably(entry.clone()).await);
        }
        manual.advance(second);
    }
    let all: Vec<Entry> = written.into_iter().flat_map(|(_, entries)| entries).collect();
    assert_eq!(open(&folder, &clock, "0").1, all);
}

#[tokio::test]
async fn what_cannot_be_written_is_kept_and_written_once_it_can_be() {
    let (folder, manual) = (TempDir::new().unwrap(), ManualClock::new());
    let clock: SharedClock = Arc::new(manual.clone());
    let (ledger, _) = open(&folder, &clock, "a");
    let tasks = folder.path().join("tasks");
    std::fs::remove_dir_all(&tasks).unwrap();
    manual.advance(DAY);
    let entries = ["1", "2", "3"].map(|task| submitted(task, who("acme", None), clock.unix()));
    for entry in &entries[..2] {
        assert!(!ledger.append_durably(entry.clone()).await, "there is no folder to write to");
        assert_eq!(ledger.failing.get(), 1);
    }
    std::fs::create_dir(&tasks).unwrap();
    assert!(ledger.append_durably(entries[2].clone()).await);
    assert_eq!(ledger.failing.get(), 0);
    assert_eq!(open(&folder, &clock, "b").1, entries);
}

#[tokio::test]
async fn an_old_day_that_cannot_be_dropped_is_in_nobodys_way() {
    let (folder, manual) = (TempDir::new().unwrap(), ManualClock::new());
    let clock: SharedClock = Arc::new(manual.clone());
    std::fs::create_dir_all(folder.path().join("tasks/2001-01-01.a.jsonl")).unwrap();
    let (ledger, _) = open(&folder, &clock, "a");
    manual.advance(DAY);
    let entry = submitted("1", who("acme", None), clock.unix());
    assert!(ledger.append_durably(entry.clone()).await);
    assert_eq!(open(&folder, &clock, "b").1, [entry]);
}

#[tokio::test]
async fn submits_of_unknown_outcome_are_counted_once_and_an_end_on_the_second_day_after_is_seen() {
    let (folder, manual) = (TempDir::new().unwrap(), ManualClock::new());
    let clock: SharedClock = Arc::new(manual.clone());
    let (ledger, _) = open(&folder, &clock, "a");
    let today = clock.unix();
    let withdrawn = Entry::Withdrawn { time: today.as_secs(), submit: "refused".into() };
    let mut keyed = submitted("1", who("acme", None), today);
    if let Entry::Submitted(submitted) = &mut keyed {
        submitted.submit = Some("done".into());
    }
    for entry in [
        unknown("without a key", today),
        // Written anew after a failure.
        unknown("without a key", today),
        intent("lost", today),
        unknown("lost", today),
        intent("refused", today),
        withdrawn,
        intent("done", today),
        keyed,
        // Its broker died.
        intent("under way", today),
    ] {
        ledger.append(entry);
    }
    assert!(ledger.flush().await);
    manual.advance(DAY * 2);
    ledger.append(ended("1", who("acme", None), today, 9, "SUCCEEDED"));
    assert!(ledger.flush().await);
    let day = files::day(today);
    let rows = Usage::read(folder.path(), day, day, Grouping::App).unwrap().rows;
    let acme = Row { submitted: 1, ended: 1, failed: 0, unknown: 3, urls: 2, seconds: 9 };
    assert_eq!(rows, [(vec!["acme".into()], acme)].into());
}
