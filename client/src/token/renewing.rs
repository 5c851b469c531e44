//! A token that lives is always at hand: renewed before its end, by one at a time, kept when a renewal
//! fails. Nothing above it notices that tokens expire.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use valet_clock::{ClockExt, SharedClock};

use super::{Need, Token, TokenSource};
use crate::{Error, Kind};

/// A token is not used in the last moments of its life: it would die on its way.
const FLOOR: Duration = Duration::from_secs(2);
/// A renewal that failed is tried again after so long, while a token lives.
const RETRY: Duration = Duration::from_secs(1);
/// A life beyond this counts as this: so long is renewed soon enough, and a clock can count it.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The token at hand, and where the next one comes from. Clones are the same.
#[derive(Clone)]
pub(crate) struct Renewing(Arc<Shared>);

struct Shared {
    source: Box<dyn TokenSource>,
    clock: SharedClock,
    state: Mutex<State>,
    /// Held by whoever fetches: one at a time.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    refused: Option<Arc<Token>>,
    /// How many fetches have ended, and how the last one failed.
    fetches: u64,
    failure: Option<Error>,
}

struct Held {
    token: Arc<Token>,
    /// When it dies, and when to renew it; never, if it lives for ever.
    times: Option<(Instant, Instant)>,
    /// Whether its source was told of a refusal when it was fetched.
    in_answer: bool,
}

impl Renewing {
    pub(crate) fn new(source: impl TokenSource, clock: SharedClock) -> Self {
        let (state, fetching) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Shared { source: Box::new(source), clock, state, fetching }))
    }

    /// A token that lives. Waits only if none is at hand.
    pub(crate) async fn token(&self) -> Result<Arc<Token>, Error> {
        self.living(FLOOR).await
    }

    /// A token that lives for another `life`, or for as long as is to be had.
    pub(crate) async fn token_for(&self, life: Duration) -> Result<Arc<Token>, Error> {
        let Some((token, left)) = self.at_hand(FLOOR).1.map(|(token, _)| token).zip(self.left()) else {
            return match self.living(life).await {
                // A broker whose tokens never live that long.
                Err(error) if error.kind() == Kind::Refused => self.token().await,
                outcome => outcome,
            };
        };
        if left >= life {
            return self.token().await;
        }
        // One that may do is better than none, and is not to die while another is asked for.
        let patience = left.saturating_sub(FLOOR) / 2;
        let longer = self.0.clock.timeout(patience, self.living(life)).await;
        longer.unwrap_or(Ok(token.clone())).or(Ok(token))
    }

    /// How long the token at hand lives yet.
    fn left(&self) -> Option<Duration> {
        let state = self.lock();
        let dies = state.held.as_ref()?.times.map(|(dies, _)| dies);
        Some(dies.map_or(LONGEST_LIFE, |dies| dies.saturating_duration_since(self.0.clock.now())))
    }

    async fn living(&self, life: Duration) -> Result<Arc<Token>, Error> {
        let (seen, at_hand) = self.at_hand(life);
        if let Some((token, is_due)) = at_hand {
            if is_due {
                self.renew_behind();
            }
            return Ok(token);
        }
        let _fetching = self.0.fetching.lock().await;
        let (fetches, at_hand) = self.at_hand(life);
        if let Some((token, _)) = at_hand {
            return Ok(token);
        }
        // Whoever was before us failed just now: asking again at once would be a herd.
        let failure = if fetches > seen { self.lock().failure.clone() } else { None };
        match failure {
            Some(failure) => Err(failure),
            None => self.fetch(Some(life).filter(|life| *life > FLOOR)).await,
        }
    }

    /// The service refused `token`: it is not used again, and the next fetch says so.
    pub(crate) fn refuse(&self, token: &Arc<Token>) {
        let mut state = self.lock();
        // A renewal in the background may have brought the same token again, under way before the
        // refusal; one that came in answer to the refusal is given its own chance.
        let is_held = state.held.as_ref().is_some_and(|held| {
            Arc::ptr_eq(&held.token, token) || (!held.in_answer && held.token.expose() == token.expose())
        });
        if is_held {
            state.held = None;
            state.refused = Some(token.clone());
        }
    }

    /// How many fetches have ended; and the token at hand that lives for another `life`, with whether it
    /// is due for renewal.
    fn at_hand(&self, life: Duration) -> (u64, Option<(Arc<Token>, bool)>) {
        let (now, state) = (self.0.clock.now(), self.lock());
        let at_hand = state.held.as_ref().and_then(|held| match held.times {
            Some((dies, _)) if now + life >= dies => None,
            Some((_, renew)) => Some((held.token.clone(), now >= renew)),
            None => Some((held.token.clone(), false)),
        });
        (state.fetches, at_hand)
    }

    /// Renews in the background, unless somebody does.
    fn renew_behind(&self) {
        let renewing = self.clone();
        tokio::spawn(async move {
            let Ok(_fetching) = renewing.0.fetching.try_lock() else { return };
            if matches!(renewing.at_hand(FLOOR).1, Some((_, true)))
                && let Err(error) = renewing.fetch(None).await
            {
                tracing::warn!(%error, "a token could not be renewed; the one at hand goes on");
            }
        });
    }

    /// Fetches a token; the caller holds `fetching`.
    async fn fetch(&self, life: Option<Duration>) -> Result<Arc<Token>, Error> {
        let refused = self.lock().refused.clone();
        let sent = self.0.clock.now();
        let fetched = self.0.source.fetch(Need { refused: refused.as_deref(), life }).await;
        let mut state = self.lock();
        state.fetches += 1;
        match fetched {
            Ok(token) => {
                let token = Arc::new(token);
                state.failure = None;
                let is = |other: &Arc<Token>| other.expose() == token.expose();
                if refused.is_none() && state.refused.as_ref().is_some_and(is) {
                    // Refused while it was renewed: the next fetch is the one that says so.
                    return Ok(token);
                }
                // The last third of a life is time enough for several tries.
                let life = token.life().map(|life| life.min(LONGEST_LIFE));
                let times = life.map(|life| (sent + life, sent + life * 2 / 3));
                state.held = Some(Held { token: token.clone(), times, in_answer: refused.is_some() });
                state.refused = None;
                Ok(token)
            }
            Err(failure) => {
                state.failure = Some(failure.clone());
                let later = self.0.clock.now() + RETRY;
                if let Some(Held { times: Some((_, renew)), .. }) = &mut state.held {
                    *renew = later;
                }
                Err(failure)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no code panics while it holds the token's state")
    }
}
