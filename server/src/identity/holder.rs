//! Relay token → who holds it. A relay token is proof by itself, for as long as the credential that it was asked
//! for by is good.

use std::{sync::Arc, time::Duration};

use super::{App, Apps, Revoked, Subject, Unidentified, replay::CLOCKS_APART};
use crate::{relay_token::Claims, shared_redis::Away};

/// Who holds a relay token; only [`Apps::holder`] makes one.
#[derive(Debug)]
pub struct Holder<'s> {
    app: &'s App,
    claims: Arc<Claims>,
}

impl<'s> Holder<'s> {
    /// The app, as identity knows it.
    #[must_use]
    pub fn app(&self) -> &'s App {
        self.app
    }

    /// What the token says.
    #[must_use]
    pub fn claims(&self) -> &Arc<Claims> {
        &self.claims
    }

    /// The end user that it is for.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        let subject = self.claims.subject.as_ref()?;
        let issuer = subject.issuer.as_deref().map(Into::into);
        Some(Subject { issuer, name: subject.name.as_str().into() })
    }
}

impl Apps {
    /// Who holds `token`. What may end it is looked at anew each time: expiry, revocation, whether the app is
    /// enabled and the credential that it used is still its own. Its signature is right for as long as the keys are.
    ///
    /// # Errors
    /// [`Unidentified::RelayToken`], whatever is wrong with it.
    pub fn holder(&self, token: &str, now: Duration) -> Result<Holder<'_>, Unidentified> {
        let keyring = self.keyring.as_deref().ok_or(Unidentified::RelayToken)?;
        let whose = [&*self.audiences[0], &self.relay_audience];
        let claims = self.verified.claims(token, || Claims::verify(token, keyring, whose, now));
        if !self.knows_revocations() {
            return Err(Unidentified::Away(Away));
        }
        let claims = claims.filter(|claims| {
            Duration::from_secs(claims.exp) > now && !self.revoked.has(&claims.client_id, &claims.jti, now)
        });
        let claims = claims.ok_or(Unidentified::RelayToken)?;
        let app = self.find(&claims.client_id).filter(|app| app.stands_by(&claims.proof));
        Ok(Holder { app: app.ok_or(Unidentified::RelayToken)?, claims })
    }

    /// Ends `token`, if it is one of `app`'s own; says whether it was (RFC 7009 §2.1), and what the other replicas
    /// are to be told.
    ///
    /// # Errors
    /// [`Unidentified::Crowded`] if there is no room to remember it.
    pub fn revoke(
        &self,
        app: &App,
        token: &str,
        now: Duration,
    ) -> Result<(bool, Option<Revoked>), Unidentified> {
        let held = match self.holder(token, now) {
            Ok(held) => held,
            Err(away @ Unidentified::Away(_)) => return Err(away),
            Err(_) => return Ok((false, None)),
        };
        if held.claims.client_id != *app.id {
            return Ok((false, None));
        }
        let until = Duration::from_secs(held.claims.exp) + CLOCKS_APART;
        match self.revoked.record(&app.id, &held.claims.jti, until, now) {
            Ok(()) | Err(super::replay::Seen::Before) => {
                let life = until.saturating_sub(now);
                Ok((true, self.tell_revoked(app, &held.claims.jti, life)))
            }
            Err(super::replay::Seen::Full) => Err(Unidentified::Crowded),
        }
    }
}
