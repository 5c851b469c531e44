//! The background task that makes the calls: one after another as the budget allows, several under way.

use std::{future::Future, pin::Pin, time::Instant};

use futures_util::{
    FutureExt, StreamExt,
    future::{AbortHandle, Abortable},
    stream::FuturesUnordered,
};

use super::{
    Poller, Shared,
    board::{Looked, Step, Waited},
};
use crate::{Error, list::TaskPage};

/// Calls under way at a time.
const AT_ONCE: usize = 64;

type Call<'s> = Pin<Box<dyn Future<Output = Option<Answer>> + Send + 's>>;

enum Answer {
    Look(u64, Box<Looked>),
    Page(u64, Result<TaskPage, Error>),
    Wait(u64, Waited),
}

/// Looks at tasks as long as any is watched.
pub(super) async fn drive(poller: Poller) {
    let shared = &*poller.0;
    let mut ends = Ends(Some(shared));
    let clock = &shared.api.clock;
    let mut calls: FuturesUnordered<Call<'_>> = FuturesUnordered::new();
    // Kept until it comes: who asks anew stands at the end of the line.
    let mut turn = None;
    loop {
        let now = clock.now();
        let next = {
            let mut board = shared.lock();
            if board.is_empty() {
                // Within the lock: who watches from now on starts a new driver.
                board.stop();
                ends.0 = None;
                return;
            }
            board.next_time(now).filter(|_| calls.len() < AT_ONCE)
        };
        if turn.is_none() && next.is_some_and(|next| next <= now) {
            turn = Some(shared.turn().boxed());
        }
        let is_asking = turn.is_some();
        tokio::select! {
            biased;
            Some(answer) = calls.next() => shared.note(clock.now(), answer),
            () = async { turn.as_mut().expect("it is asked for").await }, if is_asking => {
                turn = None;
                calls.extend(shared.step(clock.now()));
            }
            () = clock.sleep_until(next.unwrap_or(now)), if !is_asking && next.is_some() => {}
            () = shared.changed.notified() => {}
        }
    }
}

impl Shared {
    /// The turn to make a call. The token comes first: it tells the share. Without one, the call says why.
    async fn turn(&self) {
        if self.api.token().await.is_ok() {
            self.api.queries.take(&self.api.clock).await;
        }
    }

    /// Begins the call that is next.
    fn step(&self, now: Instant) -> Option<Call<'_>> {
        let most = self.api.long_polls.most(now);
        let mut board = self.lock();
        match board.next(now, most)? {
            Step::List { sweep, status, page } => {
                let page = async move { Some(Answer::Page(sweep, self.api.unfinished(&status, page).await)) };
                Some(page.boxed())
            }
            Step::Look { key, id } => {
                let (handle, registration) = AbortHandle::new_pair();
                board.fly(key, handle);
                let look = async move {
                    let outcome = self.api.look(&id).await;
                    Answer::Look(key, Box::new(Looked { sent: now, outcome }))
                };
                Some(Abortable::new(look, registration).map(Result::ok).boxed())
            }
            Step::Wait { number, ids, wait } => {
                let (handle, registration) = AbortHandle::new_pair();
                board.hold(number, handle);
                let look = async move {
                    let (outcome, applied) = match self.api.await_any(&ids, wait).await {
                        Ok((tasks, applied)) => (Ok(tasks), applied),
                        Err(error) => (Err(error), false),
                    };
                    Answer::Wait(number, Waited { sent: now, outcome, applied })
                };
                Some(Abortable::new(look, registration).map(Result::ok).boxed())
            }
        }
    }

    fn note(&self, now: Instant, answer: Option<Answer>) {
        let stretch = self.api.queries.stretch();
        match answer {
            Some(Answer::Look(key, looked)) => self.lock().looked(now, key, *looked, stretch),
            Some(Answer::Wait(number, waited)) => self.lock().waited(now, number, waited, stretch),
            Some(Answer::Page(sweep, page)) => self.lock().listed(now, sweep, page, stretch),
            // Given up: nobody watches it any more.
            None => {}
        }
    }
}

/// When a driver ends before its time, as with its runtime, nobody waits for it in vain.
struct Ends<'s>(Option<&'s Shared>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if let Some(Ok(mut board)) = self.0.map(|shared| shared.board.lock()) {
            board.stop();
        }
    }
}
