//! What must be known to all replicas: that a single-use token was shown, that a relay token was revoked.

use std::{sync::Arc, time::Duration};

use super::{App, Apps, Unidentified, replay::name};
use crate::{
    config::WhenAway,
    shared_redis::{Away, Remembered, Said, Shared},
};

/// A single-use token that is to be recorded with all replicas.
#[derive(Clone, Debug)]
pub struct Record {
    shared: Arc<Shared>,
    token: Remembered,
}

/// They are of the same token.
impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.token.0 == other.token.0
    }
}

impl Eq for Record {}

impl Record {
    pub(super) fn of(shared: &Arc<Shared>, app: &App, id: &str, life: Duration) -> Self {
        Self { shared: shared.clone(), token: (name(&app.id, id), life) }
    }

    /// Records it.
    ///
    /// # Errors
    /// If it was shown before, or that cannot be known.
    pub async fn run(&self) -> Result<(), Unidentified> {
        match self.shared.record(self.token).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(super::apps::SHOWN_BEFORE),
            Err(_) if self.shared.without().assertions == WhenAway::Continue => Ok(()),
            Err(away) => Err(away.into()),
        }
    }
}

impl Apps {
    /// What they share with other replicas, if there are any.
    #[must_use]
    pub fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    /// Whether relay tokens can be checked: not if the operator wants none accepted that another replica may have
    /// revoked.
    pub(super) fn knows_revocations(&self) -> bool {
        let Some(shared) = &self.shared else { return true };
        shared.is_there() || shared.without().revocations == WhenAway::Continue
    }

    /// Tells the other replicas all that this one has recorded, and learns what they have revoked; `now` is in Unix
    /// time.
    ///
    /// # Errors
    /// If the shared state went away meanwhile.
    pub async fn catch_up(&self, now: Duration) -> Result<(), Away> {
        let Some(shared) = &self.shared else { return Ok(()) };
        shared.restore(&self.replay.remembered(now)).await?;
        shared.revoke(&self.revoked.remembered(now)).await?;
        for revoked in shared.revoked().await? {
            self.hear(&Said::Revoked(revoked), now);
        }
        Ok(())
    }

    /// Takes up what another replica said.
    pub fn hear(&self, said: &Said, now: Duration) {
        if let Said::Revoked((token, life)) = said {
            self.revoked.note(*token, now + *life, now);
        }
    }

    /// Tells the other replicas that a relay token of `app` was revoked.
    pub(super) fn tell_revoked(&self, app: &App, id: &str, life: Duration) -> Option<Revoked> {
        let shared = self.shared.clone()?;
        Some(Revoked(Record { shared, token: (name(&app.id, id), life) }))
    }
}

/// A revocation of which the other replicas are to be told.
#[derive(Debug)]
pub struct Revoked(Record);

impl Revoked {
    /// Tells them. Without the shared state they learn of it when that is back.
    ///
    /// # Errors
    /// If that is away, and the operator wants no revocation that is not known to all.
    pub async fn tell(&self) -> Result<(), Unidentified> {
        let Record { shared, token } = &self.0;
        match shared.revoke(&[*token]).await {
            Err(away) if shared.without().revocations == WhenAway::Refuse => Err(away.into()),
            _ => Ok(()),
        }
    }
}
