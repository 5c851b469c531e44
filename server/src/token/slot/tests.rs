//! Each rule of the cache that is the slot's, by its name; and the slot held against a small model.
#![expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]

use proptest::prelude::*;

use super::*;

type TestSlot = Slot<u32, &'static str>;

fn slot() -> Arc<TestSlot> {
    Arc::new(Slot::new())
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn lead(slot: &Arc<TestSlot>, now: Instant) -> Lead<u32, &'static str> {
    match slot.join(now, slot.peek(now).as_ref()) {
        Join::Lead(lead) => lead,
        Join::Follow(_) => panic!("somebody mints"),
        Join::Landed(_) => panic!("one is there"),
        Join::Barred(failure, _) => panic!("barred: {failure}"),
    }
}

fn token(value: u32, sent: Instant) -> Live<u32> {
    Live::new(value, sent, seconds(60.0), 0.0)
}

#[tokio::test]
async fn one_mint_at_a_time_however_many_wait() {
    let (slot, now) = (slot(), Instant::now());
    let lead = lead(&slot, now);
    let waits: Vec<_> = (0..1000)
        .map(|_| match slot.join(now, slot.peek(now).as_ref()) {
            Join::Follow(follow) => tokio::spawn(follow.outcome()),
            _ => panic!("a second one would mint"),
        })
        .collect();
    lead.succeed(token(7, now));
    for wait in waits {
        assert_eq!(wait.await.unwrap().unwrap().unwrap().value, 7);
    }
}

#[tokio::test]
async fn a_mint_that_ends_without_outcome_frees_the_slot_and_its_followers() {
    let (slot, now) = (slot(), Instant::now());
    let first = lead(&slot, now);
    let follow = first.follow();
    drop(first);
    assert!(follow.outcome().await.is_none());
    lead(&slot, now).succeed(token(1, now));
    assert_eq!(slot.peek(now).unwrap().value, 1);
}

#[test]
fn a_token_is_due_from_thirty_percent_of_its_life_and_jitter_only_brings_it_forward() {
    let now = Instant::now();
    let due_at = |jitter| {
        let live = Live::new(0, now, seconds(60.0), jitter);
        (0..600).map(|tenth| f64::from(tenth) / 10.0).find(|at| live.is_due(now + seconds(*at))).unwrap()
    };
    assert!((due_at(0.0) - 18.0).abs() < 0.05);
    assert!((due_at(1.0) - 14.4).abs() < 0.05);
    assert!(due_at(0.5) < due_at(0.0));
}

#[test]
fn a_token_is_not_handed_out_in_its_last_two_seconds() {
    let (slot, now) = (slot(), Instant::now());
    lead(&slot, now).succeed(token(7, now));
    assert!(slot.peek(now + seconds(57.9)).is_some());
    assert!(slot.peek(now + seconds(58.0)).is_none());
}

#[test]
fn a_life_counts_from_the_moment_the_mint_was_sent() {
    let (slot, sent) = (slot(), Instant::now());
    let answered = sent + seconds(2.5);
    lead(&slot, sent).succeed(token(7, sent));
    assert_eq!(slot.peek(answered).unwrap().remaining(answered), seconds(57.5));
}

#[test]
fn a_failed_refresh_keeps_the_token_in_hand() {
    let (slot, now) = (slot(), Instant::now());
    lead(&slot, now).succeed(token(7, now));
    let later = now + seconds(30.0);
    lead(&slot, later).fail("down", later + seconds(1.0));
    assert_eq!(slot.peek(later).unwrap().value, 7);
}

#[test]
fn a_failure_is_remembered_until_its_time_and_not_longer() {
    let (slot, now) = (slot(), Instant::now());
    lead(&slot, now).fail("down", now + seconds(1.0));
    match slot.join(now + seconds(0.4), None) {
        Join::Barred("down", wait) => assert_eq!(wait, seconds(0.6)),
        _ => panic!("nobody may try again yet"),
    }
    lead(&slot, now + seconds(1.0)).succeed(token(7, now));
    lead(&slot, now + seconds(1.0)).fail("down", now + seconds(2.0));
    assert!(slot.peek(now).is_some());
}

#[test]
fn whoever_missed_a_mint_takes_its_token_and_mints_no_other() {
    let (slot, now) = (slot(), Instant::now());
    let seen = slot.peek(now);
    lead(&slot, now).succeed(token(1, now));
    assert!(matches!(slot.join(now, seen.as_ref()), Join::Landed(live) if live.value == 1));
    let first = slot.peek(now);
    assert!(matches!(slot.join(now, first.as_ref()), Join::Lead(_)), "who has seen it may replace it");
}

/// What a test does to a slot.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Join,
    Succeed { life: u64, jitter: f64 },
    Fail { memory: u64 },
    Abandon,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..20_000).prop_map(Step::Pass),
        4 => Just(Step::Join),
        3 => (3_000_u64..90_000, 0.0..1.0).prop_map(|(life, jitter)| Step::Succeed { life, jitter }),
        2 => (0_u64..3_000).prop_map(|memory| Step::Fail { memory }),
        1 => Just(Step::Abandon),
    ]
}

/// What a slot is, in milliseconds since the start.
#[derive(Default)]
struct Model {
    now: u64,
    /// The number of the token in hand, and when it was sent and expires.
    live: Option<(u32, u64, u64)>,
    flying_since: Option<u64>,
    barred_until: u64,
    minted: u32,
}

proptest! {
    #[test]
    fn a_slot_behaves_like_its_model(steps in prop::collection::vec(step(), 1..80)) {
        let (slot, start) = (slot(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut model = Model::default();
        let mut flight = None;
        for step in steps {
            match step {
                Step::Pass(ms) => model.now += ms,
                Step::Join => match slot.join(at(model.now), slot.peek(at(model.now)).as_ref()) {
                    Join::Lead(lead) => {
                        prop_assert!(model.flying_since.is_none() && model.now >= model.barred_until);
                        model.flying_since = Some(model.now);
                        flight = Some(lead);
                    }
                    Join::Follow(_) => prop_assert!(model.flying_since.is_some()),
                    Join::Landed(_) => prop_assert!(false, "the one in hand was seen"),
                    Join::Barred(_, wait) => {
                        prop_assert!(model.flying_since.is_none());
                        prop_assert_eq!(at(model.now) + wait, at(model.barred_until));
                    }
                },
                Step::Succeed { life, jitter } => {
                    if let (Some(lead), Some(sent)) = (flight.take(), model.flying_since.take()) {
                        model.minted += 1;
                        model.live = Some((model.minted, sent, sent + life));
                        model.barred_until = 0;
                        lead.succeed(Live::new(model.minted, at(sent), Duration::from_millis(life), jitter));
                    }
                }
                Step::Fail { memory } => {
                    if let Some(lead) = flight.take() {
                        model.flying_since = None;
                        model.barred_until = model.now + memory;
                        lead.fail("down", at(model.barred_until));
                    }
                }
                Step::Abandon => {
                    model.flying_since = None;
                    flight = None;
                }
            }
            let servable = model.live.filter(|(_, _, expires)| expires.saturating_sub(model.now) > 2_000);
            let peeked = slot.peek(at(model.now));
            prop_assert_eq!(peeked.as_ref().map(|live| live.value), servable.map(|(value, ..)| value));
            if let (Some(live), Some((_, sent, expires))) = (peeked, servable) {
                prop_assert_eq!(live.remaining(at(model.now)).as_millis(), u128::from(expires - model.now));
                let (age, life) = (model.now - sent, expires - sent);
                prop_assert!(live.is_due(at(model.now)) || age * 100 < life * 30);
                prop_assert!(!live.is_due(at(model.now)) || age * 100 >= life * 24 - 100);
            }
        }
    }
}

/// Threads that join at once, again and again: of those that find nothing, one leads, and the others get
/// what it minted.
#[test]
fn however_many_threads_join_at_once_one_mints() {
    let threads = 4;
    let (start, now) = (std::sync::Barrier::new(threads), Instant::now());
    let slots: Vec<_> = (0..500).map(|_| slot()).collect();
    let leads: usize = std::thread::scope(|scope| {
        let joins: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut leads = 0;
                    for slot in &slots {
                        start.wait();
                        match slot.join(now, None) {
                            Join::Lead(lead) => {
                                leads += 1;
                                lead.succeed(token(7, now));
                            }
                            Join::Follow(follow) => {
                                let outcome = futures_util::FutureExt::now_or_never(follow.outcome());
                                // Not there yet, or the one that was minted.
                                assert!(outcome.is_none_or(|outcome| outcome.unwrap().unwrap().value == 7));
                            }
                            Join::Landed(live) => assert_eq!(live.value, 7),
                            Join::Barred(failure, _) => panic!("barred: {failure}"),
                        }
                    }
                    leads
                })
            })
            .collect();
        joins.into_iter().map(|join| join.join().unwrap()).sum()
    });
    assert_eq!(leads, slots.len());
}
