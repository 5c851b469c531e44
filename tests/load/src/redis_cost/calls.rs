//! The calls as the stages make them, each of which must do what it is for.

use std::{
    array,
    sync::Arc,
    time::{Duration, Instant},
};

use valet_clock::{Clock, ClockExt, SystemClock};
use valet_pacing::Quota;
use valet_server::{
    secret::Bearer,
    shared_redis::{
        Away, Claimed, Cursor, Fate, Measure, Note, Noted, Place, Progress, Queried, Query, Rank, Right,
        Service, SetAside, Shared, Submit, SubmitClaim, Take, Told, ToldSubmit, Turn, Use, name_aside,
    },
};

use crate::Outcome;

const SERVICE: Service<'_> = Service { upstream: "bench", account: "bench" };
/// Whatever lasts, and whatever is remembered.
const LIFE: Duration = Duration::from_secs(3600);
/// Of what nobody comes to the end.
const MOST: u32 = 1_000_000_000;
/// An app has fewer submits with a key than it may.
const SUBMITS_OF_APP: usize = 40_000;
/// A record of a task or a submit has about as many bytes.
const RECORD: [u8; 500] = [b'r'; 500];
/// What an upstream says of a task of one recording, likewise.
const DOCUMENT: usize = 700;
/// The number of the token that is there from the beginning.
const THERE: u64 = u64::MAX;
/// As many records as one call reads at the most.
const RECORDS: u64 = 50;

/// What is called for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Mint,
    TakeOver,
    Rate,
    Day,
    Seconds,
    Assertion,
    Submit,
    Read,
    ReadMany,
    Note,
    Hold,
    Query,
    Attend,
}

/// All of them, and what they are. Records are read before there are more of them.
pub(super) const KINDS: [(Kind, &str); 13] = [
    (Kind::Mint, "mint: claim, publication"),
    (Kind::TakeOver, "claim of a token that is there"),
    (Kind::Rate, "batch of a rate"),
    (Kind::Day, "batch of a day's limit"),
    (Kind::Seconds, "seconds of audio set aside"),
    (Kind::Assertion, "record of an assertion"),
    (Kind::Submit, "submit with a key: claim, outcome"),
    (Kind::Read, "read of one record"),
    (Kind::ReadMany, "read of fifty records"),
    (Kind::Note, "note of a task"),
    (Kind::Hold, "renewal of a poller's lease"),
    (Kind::Query, "query of an account"),
    (Kind::Attend, "attendance"),
];

/// What the calls are made with.
#[derive(Debug)]
pub(super) struct Calls {
    bearer: Bearer,
    document: Arc<str>,
    /// Of the lease to poll.
    fence: String,
    /// Where to read on for the last of the records that are there from the beginning.
    last: Cursor,
}

impl Calls {
    /// Puts there what some of them ask for, and keeps the lease, as whoever polls does.
    pub(super) async fn begin(shared: &Arc<Shared>) -> Outcome<Self> {
        let Turn::Held(fence) = shared.hold(SERVICE, Right::Nothing, Duration::ZERO).await?.turn else {
            return Err("somebody else polls".into());
        };
        let (polling, held) = (shared.clone(), fence.clone());
        tokio::spawn(async move {
            while polling.hold(SERVICE, Right::Lease(&held), Duration::ZERO).await.is_ok() {
                SystemClock.sleep(Duration::from_secs(1)).await;
            }
        });
        let bearer = Bearer::parse(&format!("st-{}", "0".repeat(32))).ok_or("no token")?;
        let document = "d".repeat(DOCUMENT).into();
        let mut calls = Self { bearer, document, fence, last: Cursor::default() };
        calls.call(shared, Kind::Mint, THERE).await?;
        let ended = |number| calls.note(THERE - number, Progress::Ended);
        shared.note(&(1..=RECORDS).map(ended).collect::<Vec<_>>(), None).await?;
        let last = shared.read(&Cursor::default()).await?.next;
        shared.note(&[ended(0)], None).await?;
        calls.last = last;
        Ok(calls)
    }

    /// Makes calls of a kind until `end`, one after another; how many they were.
    pub(super) async fn make(
        &self,
        shared: &Shared,
        kind: Kind,
        driver: usize,
        end: Instant,
    ) -> Outcome<u64> {
        let first = (driver as u64) << 32;
        for number in first.. {
            if SystemClock.now() >= end {
                return Ok(number - first);
            }
            if !self.call(shared, kind, number).await? {
                return Err(format!("a call did not do what it is for: {kind:?}").into());
            }
        }
        Err("there are no numbers any more".into())
    }

    /// Whether the call of that number did what it is for.
    async fn call(&self, shared: &Shared, kind: Kind, number: u64) -> Result<bool, Away> {
        Ok(match kind {
            Kind::Mint => {
                let Claimed::Lead(lease) = shared.claim(&place(number), 0).await? else { return Ok(false) };
                let expires = shared.now() + LIFE;
                let told = Told { bearer: &self.bearer, key: [0; 32], request_id: None, life: LIFE, expires };
                shared.publish(lease, Some(told)).await;
                true
            }
            Kind::TakeOver => matches!(shared.claim(&place(THERE), 0).await?, Claimed::Token(_)),
            Kind::Rate => drawn(shared, "rate", Measure::Rate(Quota::per_second(MOST, MOST))).await?,
            Kind::Day => drawn(shared, "day", Measure::Day(MOST)).await?,
            Kind::Seconds => {
                let aside = shared.set_aside("audio:bench", &name_aside(), 1, MOST.into()).await?;
                matches!(aside, SetAside::Taken { .. })
            }
            Kind::Assertion => shared.record((name(number), LIFE)).await?,
            Kind::Submit => {
                let app = format!("app-{}", number / SUBMITS_OF_APP as u64);
                let claim = SubmitClaim { app: &app, name: name(number), nonce: number };
                let claimed = shared.claim_submit(claim, &RECORD, LIFE, SUBMITS_OF_APP).await?;
                shared
                    .tell_submits(&[ToldSubmit { claim, fate: Fate::Ended(RECORD.into()), life: LIFE }])
                    .await?;
                matches!(claimed, Submit::First)
            }
            Kind::Read => shared.read(&self.last).await?.tasks.len() == 1,
            Kind::ReadMany => shared.read(&Cursor::default()).await?.tasks.len() as u64 == RECORDS,
            Kind::Note => {
                // In its life it is noted three times.
                let progress =
                    [Progress::Pending, Progress::Unfinished, Progress::Ended][(number % 3) as usize];
                shared.note(&[self.note(number / 3, progress)], None).await? == Noted::Done
            }
            Kind::Hold => {
                let held = shared.hold(SERVICE, Right::Lease(&self.fence), Duration::ZERO).await?.turn;
                held == Turn::Held(self.fence.clone())
            }
            Kind::Query => {
                let (quota, memory) = (Quota::per_second(MOST, MOST), Duration::from_secs(10));
                let query = Query { service: SERVICE, fence: Some(&self.fence), quota, share: quota, memory };
                shared.query(query).await? == Queried::Taken
            }
            Kind::Attend => {
                shared.attend().await;
                shared.is_there()
            }
        })
    }

    /// What is noted of a task; the upstream's word of it when it has ended.
    fn note(&self, number: u64, progress: Progress) -> Note {
        let rank = Rank { is_whole: true, progress };
        let told = (progress == Progress::Ended).then(|| self.document.clone());
        Note { name: name(number), rank, content: RECORD.into(), told, life: LIFE, use_: Use::default() }
    }
}

/// The place of the token of an app.
fn place(number: u64) -> Place {
    Place::new("bench", &format!("app-{number}"), 60, &[0; 32])
}

/// A name of that many bytes.
fn name<const N: usize>(number: u64) -> [u8; N] {
    array::from_fn(|at| number.to_be_bytes()[at % 8])
}

/// Whether a batch was drawn, by somebody who has nothing in hand.
async fn drawn(shared: &Shared, limit: &str, measure: Measure) -> Result<bool, Away> {
    let permits = Arc::new(shared.permits(limit));
    permits.draw(|| shared.now(), measure, || 0).await?;
    Ok(matches!(permits.take(shared.now(), measure, || 0), Take::Taken))
}
