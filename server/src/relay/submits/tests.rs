use super::*;
use crate::issue::Refusal;

const NOW: Duration = Duration::from_secs(1_800_000_000);

fn owner(app: &str) -> Owner {
    Owner { app: app.into(), subject: None }
}

fn first(submits: &Submits, app: &str, key: Option<&str>, body: u8, now: Duration) -> UnderWay {
    match submits.join(&owner(app), key, [body; 32], now) {
        Ok(Joined::First(first)) => first,
        Ok(Joined::Other(_)) => panic!("it is known"),
        Err(refused) => panic!("{refused:?}"),
    }
}

fn limit(joined: Result<Joined, Refused>) -> (&'static str, Duration) {
    match joined {
        Err(Refused::Here(Refusal::Limited(reached))) => (reached.limit, reached.retry_after),
        Err(refused) => panic!("{refused:?}"),
        Ok(_) => panic!("there is room"),
    }
}

fn done() -> Outcome {
    Ok(("handle".into(), "id".into()))
}

#[test]
fn keys_of_an_app_are_bounded_and_in_no_way_of_others_or_of_submits_without_one() {
    let submits = Submits::default();
    for number in 0..KEYS_OF_APP {
        let at = NOW + Duration::from_secs(u64::from(number > 0));
        first(&submits, "acme", Some(&number.to_string()), 0, at).end(done());
    }
    let full = submits.join(&owner("acme"), Some("one more"), [0; 32], NOW + Duration::from_secs(1));
    assert_eq!(limit(full), ("idempotency_keys", REMEMBERED - Duration::from_secs(1)));
    first(&submits, "acme", None, 0, NOW).end(done());
    first(&submits, "other", Some("1"), 0, NOW).end(done());
    // What is over makes room.
    first(&submits, "acme", Some("one more"), 0, NOW + REMEMBERED).end(done());
    assert_eq!(submits.lock().keys, KEYS_OF_APP + 1);
}

#[test]
fn a_refused_submit_leaves_nothing_and_one_that_ended_is_known_by_its_key_alone() {
    let submits = Submits::default();
    first(&submits, "acme", Some("k"), 0, NOW)
        .end(Err(LimitReached { limit: "rate", retry_after: NOW }.into()));
    assert!(submits.lock().by_name.is_empty());
    assert_eq!(submits.lock().keys, 0);
    first(&submits, "acme", None, 1, NOW).end(done());
    assert!(submits.lock().by_name.is_empty());
    first(&submits, "acme", Some("k"), 0, NOW).end(done());
    let again = submits.join(&owner("acme"), Some("k"), [0; 32], NOW).unwrap();
    assert!(matches!(again, Joined::Other(outcome) if outcome.borrow().as_ref().unwrap().is_ok()));
    assert!(submits.join(&owner("acme"), Some("k"), [1; 32], NOW).is_err(), "another body");
    assert!(submits.lock().under_way.is_empty());
}

#[test]
fn an_app_has_so_many_submits_under_way_and_no_more() {
    let submits = Submits::default();
    let mut under_way: Vec<_> = (0..64).map(|body| first(&submits, "acme", None, body, NOW)).collect();
    let full = submits.join(&owner("acme"), None, [64; 32], NOW);
    assert_eq!(limit(full), ("submits_under_way", Duration::from_secs(1)));
    assert!(matches!(submits.join(&owner("acme"), None, [0; 32], NOW), Ok(Joined::Other(_))));
    under_way.pop().unwrap().end(done());
    first(&submits, "acme", None, 64, NOW).end(done());
}

#[tokio::test]
async fn a_submit_that_dies_is_of_unknown_outcome_and_keeps_nobody_waiting() {
    let submits = Submits::default();
    for key in [None, Some("k")] {
        let dying = first(&submits, "acme", key, 0, NOW);
        let mut outcome = dying.outcome();
        tokio::spawn(async move {
            let _dying = dying;
            panic!("on purpose");
        })
        .await
        .unwrap_err();
        let outcome = outcome.wait_for(Option::is_some).await.unwrap().clone();
        assert!(matches!(outcome, Some(Err(Refused::OutcomeUnknown))));
    }
    first(&submits, "acme", None, 0, NOW).end(done());
    let keyed = submits.join(&owner("acme"), Some("k"), [0; 32], NOW).unwrap();
    assert!(matches!(keyed, Joined::Other(_)), "it may have arrived");
}

/// What is to be told, in words.
fn untold(submits: &Submits) -> Vec<&'static str> {
    submits.untold(50).iter().map(|untold| word(&untold.fate)).collect()
}

fn word(fate: &Fate) -> &'static str {
    match fate {
        Fate::Withdrawn => "withdrawn",
        Fate::UnderWay(..) => "under way",
        Fate::Ended(..) => "ended",
    }
}

fn refused() -> Outcome {
    Err(LimitReached { limit: "rate", retry_after: NOW }.into())
}

#[test]
fn what_waits_for_a_claim_is_nobodys_to_tell_of() {
    let submits = Submits::default();
    let waiting = first(&submits, "acme", Some("k"), 0, NOW);
    submits.claim(waiting.name());
    submits.lost();
    assert!(untold(&submits).is_empty());
    submits.send(waiting.name(), true);
    assert!(untold(&submits).is_empty(), "it is claimed, and all know that");
    submits.lost();
    assert_eq!(untold(&submits), ["under way"]);
    let keyless = first(&submits, "acme", None, 0, NOW);
    submits.send(keyless.name(), true);
    submits.lost();
    assert_eq!(untold(&submits), ["under way"], "nobody can ask for it");
}

#[test]
fn what_is_sent_untold_is_told_until_it_is_known_and_so_is_what_came_of_it() {
    let submits = Submits::default();
    let sent = first(&submits, "acme", Some("k"), 0, NOW);
    submits.send(sent.name(), false);
    let told = submits.untold(50);
    assert_eq!(untold(&submits), ["under way"], "it was not heard yet");
    // It ends while it is told to be under way.
    assert_eq!(word(&submits.settle(sent.name(), &done()).unwrap().fate), "ended");
    submits.told(&told);
    assert_eq!(untold(&submits), ["ended"]);
    sent.end(done());
    let told = submits.untold(50);
    assert_eq!(word(&told[0].fate), "ended");
    submits.told(&told);
    assert!(untold(&submits).is_empty());
    submits.lost();
    assert_eq!(untold(&submits), ["ended"]);
}

#[test]
fn a_refusal_is_told_if_a_claim_may_lie_and_by_the_claim_that_it_is_of() {
    let submits = Submits::default();
    let alone = first(&submits, "acme", Some("k"), 0, NOW);
    submits.send(alone.name(), false);
    assert!(submits.settle(alone.name(), &refused()).is_none(), "nobody knows of it");
    alone.end(refused());
    let claimed = first(&submits, "acme", Some("k"), 0, NOW);
    let (name, nonce) = (claimed.name(), claimed.nonce());
    submits.claim(name);
    submits.send(name, true);
    submits.settle(name, &refused()).unwrap();
    claimed.end(refused());
    // Asked again before that is told.
    let again = first(&submits, "acme", Some("k"), 0, NOW);
    assert_ne!(again.nonce(), nonce);
    submits.send(name, false);
    assert_eq!(untold(&submits), ["withdrawn", "under way"]);
    let told = submits.untold(50);
    assert_eq!((told[0].nonce, told[1].nonce), (nonce, again.nonce()));
    submits.told(&told);
    assert!(untold(&submits).is_empty());
}

#[test]
fn what_is_refused_while_it_is_told_to_be_under_way_is_withdrawn() {
    let submits = Submits::default();
    let sent = first(&submits, "acme", Some("k"), 0, NOW);
    submits.send(sent.name(), false);
    let told = submits.untold(50);
    let withdrawn = submits.settle(sent.name(), &refused()).unwrap();
    sent.end(refused());
    submits.told(&[withdrawn]);
    submits.told(&told);
    assert_eq!(untold(&submits), ["withdrawn"], "it may have been heard in either order");
}

#[tokio::test]
async fn what_died_while_it_was_sent_is_told_to_be_doubtful() {
    let submits = Submits::default();
    let dying = first(&submits, "acme", Some("k"), 0, NOW);
    submits.send(dying.name(), true);
    drop(dying);
    assert_eq!(untold(&submits), ["ended"]);
}
