//! The record of tasks and the count of their seconds as they lie on the Redis: in whatever order replicas tell of a task,
//! and whatever else is written there.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use redis::cmd;
use valet_clock::{Clock, ManualClock};
use valet_server::{
    config::{self, SealingKey, WhenAway, Without},
    secret::SecretText,
    shared_redis::{
        Cursor, Note, Noted, Progress, Progress::*, Rank, SetAside, Shared, TaskName, Use, name_aside,
    },
};

use crate::redis::Redis;

const DAY: u64 = 86_400;

/// A replica's hand on a Redis of its own.
pub(super) struct Hand {
    pub(super) shared: Arc<Shared>,
    pub(super) redis: Redis,
    pub(super) clock: ManualClock,
    today: u64,
}

impl Hand {
    pub(super) async fn new() -> Self {
        let clock = ManualClock::new();
        let redis = Redis::start(&clock);
        let goes_on = WhenAway::Continue;
        let secret = SecretText::parse("a key for tests alone, of 32 characters", &(32..=64)).unwrap();
        let config = config::Shared {
            url: redis.url.parse().unwrap(),
            username: None,
            password: None,
            roots: None,
            prefix: "valet:".into(),
            keys: vec![SealingKey { id: "1".into(), secret }],
            connect_time: Duration::from_secs(10),
            response_time: Duration::from_secs(10),
            without: Without {
                tokens: goes_on,
                limits: goes_on,
                assertions: goes_on,
                revocations: goes_on,
                tasks: goes_on,
                polling: goes_on,
            },
        };
        let shared = Shared::new(&config, "one", clock.handle("broker"), &mut Registry::default());
        shared.attend().await;
        let today = clock.unix().as_secs() / DAY;
        Self { shared, redis, clock, today }
    }

    async fn note(&self, notes: &[Note]) {
        assert_eq!(self.shared.note(notes, None).await, Ok(Noted::Done));
    }

    /// What a count has.
    fn used(&self, count: &str) -> u64 {
        let used = self.redis.run(cmd("HGET").arg(format!("valet:{count}")).arg("used"));
        redis::from_redis_value::<Option<u64>>(used).unwrap().unwrap_or(0)
    }

    async fn known(&self) -> BTreeSet<TaskName> {
        let read = self.shared.read(&Cursor::default()).await.unwrap();
        read.tasks.into_iter().map(|found| found.name).collect()
    }
}

fn note(name: TaskName, is_whole: bool, progress: Progress, use_: Use) -> Note {
    let life = Duration::from_secs(DAY);
    Note { name, rank: Rank { is_whole, progress }, content: b"x".to_vec(), told: None, life, use_ }
}

/// A task, and the count of its seconds.
struct Told {
    name: TaskName,
    count: String,
    /// By what the count knows of what was set aside.
    known: String,
    day: u64,
    aside: u64,
    used: u64,
}

impl Told {
    fn note(&self, is_whole: bool, progress: Progress) -> Note {
        let used = if progress == Ended { self.used } else { self.aside };
        let counts = vec![(self.count.clone(), self.known.clone())];
        let whole = Use { day: self.day, aside: self.aside, used, counts };
        // Of one of which no more is known than its name, it is not known what was set aside.
        let bare = Use { used: self.used, ..Use::default() };
        note(self.name, is_whole, progress, if is_whole { whole } else { bare })
    }
}

/// How the seconds of a task are set aside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Aside {
    /// By this replica alone, or before it began.
    Never,
    /// And the replica was answered.
    Answered,
    /// The replica gave up before it was.
    Late,
}

#[tokio::test]
async fn seconds_count_as_they_were_used_and_once_in_whatever_order_a_task_is_told_of() {
    let hand = Hand::new().await;
    for case in 0_u8..150 {
        let (aside, used) = (fastrand::u64(1..100), fastrand::u64(0..200));
        let how = [Aside::Never, Aside::Answered, Aside::Late][usize::from(case % 3)];
        let (count, name) = (format!("audio:{case}"), name_aside());
        let set_aside = async || hand.shared.set_aside(&count, &name, aside, 1000).await;
        let known = match how {
            Aside::Never => String::new(),
            Aside::Answered => match set_aside().await {
                Ok(SetAside::Taken { epoch, .. }) => epoch,
                other => panic!("{other:?}"),
            },
            Aside::Late => name.clone(),
        };
        let told = Told { name: [case; 16], count: count.clone(), known, day: hand.today, aside, used };
        let mut notes = vec![(true, Ended)];
        for _ in 0..fastrand::usize(..6) {
            notes.push((fastrand::bool(), [Pending, Unfinished, Ended][fastrand::usize(..3)]));
        }
        fastrand::shuffle(&mut notes);
        // Before any note, between them, or after all; and perhaps never.
        let mut late = (how == Aside::Late).then(|| fastrand::usize(..=notes.len() + 1));
        for (place, (is_whole, progress)) in notes.iter().enumerate() {
            if late.take_if(|late| *late == place).is_some() {
                let _ = set_aside().await;
            }
            hand.note(&[told.note(*is_whole, *progress)]).await;
        }
        if late.is_some_and(|late| late == notes.len()) {
            assert!(set_aside().await.is_err(), "it was told of");
        }
        assert_eq!(hand.used(&count), used, "{how:?}, {aside} set aside, {notes:?}");
    }
}

#[tokio::test]
async fn what_is_set_aside_late_is_given_back_and_what_was_given_back_is_not_set_aside() {
    let hand = Hand::new().await;
    let (early, late) = (name_aside(), name_aside());
    let give_back = async |name: &str| hand.shared.give_back("audio:1", 30, hand.today, name).await;
    hand.shared.set_aside("audio:1", &early, 30, 100).await.unwrap();
    give_back(&early).await.unwrap();
    assert_eq!(hand.used("audio:1"), 0);
    give_back(&late).await.unwrap();
    assert!(hand.shared.set_aside("audio:1", &late, 30, 100).await.is_err());
    assert_eq!(hand.used("audio:1"), 0);
}

#[tokio::test]
async fn nonsense_under_a_key_counts_as_absent_and_is_replaced() {
    let hand = Hand::new().await;
    let tasks: Vec<_> = (1_u8..=3)
        .map(|number| {
            let (count, known) = (format!("audio:{number}"), String::new());
            Told { name: [number; 16], count, known, day: hand.today, aside: 60, used: 5 }
        })
        .collect();
    let all: BTreeSet<TaskName> = tasks.iter().map(|task| task.name).collect();
    let notes = |progress| tasks.iter().map(|task| task.note(true, progress)).collect::<Vec<_>>();
    hand.note(&notes(Pending)).await;
    let second = "02".repeat(16);
    for (key, write) in [
        (format!("valet:task:{second}"), "SET"),
        (format!("valet:task:{second}"), "RPUSH"),
        (format!("valet:told:{second}"), "RPUSH"),
        ("valet:audio:2".into(), "SET"),
        ("valet:tasks-last".into(), "RPUSH"),
        ("valet:tasks-last".into(), "SET"),
        ("valet:tasks".into(), "RPUSH"),
        ("valet:tasks".into(), "SET"),
    ] {
        hand.redis.run(cmd("DEL").arg(&key));
        hand.redis.run(cmd(write).arg(&key).arg("nonsense"));
        // Whoever reads goes past it, and finds the others.
        let known = hand.known().await;
        assert!(key == "valet:tasks" || known.is_superset(&[[1; 16], [3; 16]].into()), "{key}: {known:?}");
        hand.note(&notes(Unfinished)).await;
        assert_eq!(hand.known().await, all, "{key}, {write}");
    }
    // Fields that no replica writes.
    for value in ["nonsense", "1e300", "nan"] {
        hand.redis.run(cmd("DEL").arg("valet:audio:2"));
        hand.redis.run(cmd("HSET").arg(format!("valet:task:{second}")).arg("rank").arg(value));
        hand.redis.run(cmd("HSET").arg("valet:audio:2").arg("used").arg(value).arg("day").arg(hand.today));
        hand.redis.run(cmd("SET").arg("valet:tasks-last").arg(value));
        hand.redis.run(cmd("ZADD").arg("valet:tasks").arg("1e300").arg("nonsense"));
        hand.note(&notes(Ended)).await;
        assert_eq!(hand.known().await, all, "{value}");
    }
    assert_eq!((hand.used("audio:1"), hand.used("audio:3")), (5, 5));
    assert!(hand.shared.is_there());
}
