//! Every app that may prove itself, and how it does.

use std::{collections::HashMap, sync::Arc, time::Duration};

use valet_clock::SharedClock;

use super::{
    By, Caller, Credential, Look, Token, Unidentified, Vouched, assertion,
    keys::Keys,
    remote::Remote,
    replay::{Replay, Seen},
    subject::Accepted,
};
use crate::{
    config,
    jwt::{self, Claims},
    secret::SecretHash,
};

/// An app as identity knows it.
#[derive(Debug)]
pub struct App {
    /// Its place among the apps of the site.
    pub index: usize,
    /// Its id.
    pub id: Arc<str>,
    enabled: bool,
    secrets: Vec<SecretHash>,
    keys: Option<Keys>,
    /// Whether its assertions may be for the token endpoint's URL.
    for_endpoint: bool,
    accepted: Vec<Accepted>,
}

/// An app that proved itself, and what it used up by that: an id, and until when it is remembered.
struct Proved<'s> {
    app: &'s App,
    once: Option<(String, Duration)>,
}

/// Every app that may prove itself.
#[derive(Debug, Default)]
pub struct Apps {
    apps: Vec<App>,
    by_id: HashMap<Arc<str>, usize>,
    by_secret: HashMap<SecretHash, usize>,
    /// The apps that accept subject tokens.
    accepting: Vec<usize>,
    replay: Arc<Replay>,
    /// What assertions are for: the broker's issuer, and its token endpoint.
    audiences: [String; 2],
}

impl Apps {
    /// The apps of a configuration, in its order. Of `before`, those that they will replace, they keep the
    /// keys that were fetched, and what was shown and may not be shown again.
    ///
    /// # Errors
    /// If no HTTP client can be built for an issuer's keys.
    pub fn new(
        config: &config::Config,
        clock: &SharedClock,
        before: Option<&Self>,
    ) -> Result<Self, reqwest::Error> {
        let mut known: Vec<Arc<Remote>> = before.map_or_else(Vec::new, Self::remotes);
        let issuer = config.issuer();
        let mut all = Self {
            replay: before.map_or_else(Arc::default, |before| before.replay.clone()),
            audiences: [issuer.clone(), format!("{issuer}/oauth/token")],
            ..Self::default()
        };
        for (index, app) in config.apps.iter().enumerate() {
            all.by_id.insert(app.id.clone(), index);
            all.by_secret.extend(app.secrets.iter().map(|hash| (*hash, index)));
            let mut keys = |source| {
                let keys = Keys::of(source, &known, clock)?;
                known.extend(keys.remote().cloned());
                Ok(keys)
            };
            let signing = app.keys.as_ref().map(&mut keys).transpose()?;
            let accepted: Result<Vec<_>, reqwest::Error> =
                app.subject_tokens.iter().map(|rules| Ok(Accepted::new(rules, keys(&rules.keys)?))).collect();
            all.apps.push(App {
                index,
                id: app.id.clone(),
                enabled: app.enabled,
                secrets: app.secrets.clone(),
                keys: signing,
                for_endpoint: app.assertions_for_endpoint,
                accepted: accepted?,
            });
            if !app.subject_tokens.is_empty() {
                all.accepting.push(index);
            }
        }
        Ok(all)
    }

    fn remotes(&self) -> Vec<Arc<Remote>> {
        let keys = |app: &App| -> Vec<Arc<Remote>> {
            let accepted = app.accepted.iter().map(|accepted| &accepted.keys);
            app.keys.iter().chain(accepted).filter_map(Keys::remote).cloned().collect()
        };
        self.apps.iter().flat_map(keys).collect()
    }

    /// The place of the app called `id` among the apps of the site.
    #[must_use]
    pub fn index_of(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    fn find(&self, id: &str) -> Option<&App> {
        self.by_id.get(id).map(|index| &self.apps[*index])
    }

    /// The caller whom `credential` proves.
    ///
    /// # Errors
    /// If the credential proves nobody, or a disabled app; or that keys should be fetched first, if the look
    /// reaches so far.
    pub fn identify(&self, credential: &Credential, look: Look) -> Result<Caller<'_>, Unidentified> {
        let (proved, vouched) = match credential {
            Credential::Subject { by, token } => {
                let (proved, vouched) = self.vouched_for(by, token, look)?;
                (proved, Some(vouched))
            }
            own => (self.proved(own, look)?, None),
        };
        let Proved { app, once } = proved;
        if !app.enabled {
            return Err(Unidentified::Disabled(app.id.clone()));
        }
        // Last of all: what is refused for another reason uses nothing up.
        if let Some((id, until)) = once.filter(|_| look.is_first) {
            self.replay.record(&app.id, &id, until, look.now).map_err(|seen| match seen {
                Seen::Before => Unidentified::Assertion("jti: it was used before"),
                Seen::Full => Unidentified::Crowded,
            })?;
        }
        Ok(Caller { app, vouched })
    }

    /// The app that a credential of its own proves.
    fn proved(&self, credential: &Credential, look: Look) -> Result<Proved<'_>, Unidentified> {
        let app = match credential {
            Credential::Assertion { app, token } => return self.asserted(app.as_deref(), token, look),
            Credential::IdAndSecret { app, secret } => self.by_id_and_secret(app, secret),
            // The key of this look-up is a hash: its timing tells nothing of any secret.
            Credential::Secret(secret) => {
                self.by_secret.get(secret).map(|index| &self.apps[*index]).ok_or(Unidentified::Wrong)
            }
            // Vouches for a user, not for the app.
            Credential::Subject { .. } => Err(Unidentified::Wrong),
        };
        app.map(|app| Proved { app, once: None })
    }

    /// An unknown app costs the same work as a wrong secret: one look-up, two comparisons.
    fn by_id_and_secret(&self, app: &str, secret: &SecretHash) -> Result<&App, Unidentified> {
        let found = self.find(app);
        let listed = found.map_or(&[][..], |app| &app.secrets);
        let mut matched = false;
        // Both places are compared, whether they are filled or not.
        for place in 0..2 {
            matched |= listed.get(place).unwrap_or(&SecretHash::NONE).matches(secret) && place < listed.len();
        }
        found.filter(|_| matched).ok_or(Unidentified::Wrong)
    }

    fn asserted(
        &self,
        named: Option<&str>,
        Token(token): &Token,
        look: Look,
    ) -> Result<Proved<'_>, Unidentified> {
        let claims = jwt::unverified(token).map_err(|why| Unidentified::Assertion(why.text()))?;
        let claimed = claims.text("iss").filter(|claimed| named.is_none_or(|named| named == *claimed));
        let app = claimed.and_then(|claimed| self.find(claimed));
        let Some((app, keys)) = app.and_then(|app| Some((app, app.keys.as_ref()?))) else {
            return Err(Unidentified::Wrong);
        };
        let signed = keys.verify(token, look.reach);
        let signed = signed.map_err(|unproved| unproved.unidentified(Unidentified::Assertion))?;
        let [issuer, endpoint] = &self.audiences;
        let audiences = if app.for_endpoint { &[&**issuer, &**endpoint][..] } else { &[&**issuer][..] };
        let (id, until) =
            assertion::check(&signed, &app.id, audiences, look.now).map_err(Unidentified::Assertion)?;
        Ok(Proved { app, once: Some((id.to_owned(), until)) })
    }

    fn vouched_for(
        &self,
        by: &By,
        Token(token): &Token,
        look: Look,
    ) -> Result<(Proved<'_>, Vouched), Unidentified> {
        let claims = jwt::unverified(token).map_err(|why| Unidentified::Subject(why.text()))?;
        let proved = match by {
            By::Anyone => Proved { app: self.claimed_by(&claims)?, once: None },
            By::App(id) => Proved { app: self.accepting(id)?, once: None },
            By::Proved(credential) => self.proved(credential, look)?,
        };
        let accepted = proved.app.accepts(&claims).ok_or(Unidentified::Subject(NOT_ACCEPTED))?;
        let signed = accepted.keys.verify(token, look.reach);
        let signed = signed.map_err(|unproved| unproved.unidentified(Unidentified::Subject))?;
        let vouched = accepted.check(&signed, look.now).map_err(Unidentified::Subject)?;
        Ok((proved, vouched))
    }

    /// The app that a subject token is for, by its own word.
    fn claimed_by(&self, claims: &Claims) -> Result<&App, Unidentified> {
        let accepting = self.accepting.iter().map(|index| &self.apps[*index]);
        let mut fits = accepting.filter(|app| app.accepts(claims).is_some());
        let first = fits.next().ok_or(Unidentified::Subject(NOT_ACCEPTED))?;
        // The configuration keeps rules apart by audience; a token may have several.
        match fits.next() {
            None => Ok(first),
            Some(_) => Err(Unidentified::Subject("aud: is for several apps; name one by client_id")),
        }
    }

    /// An app that needs no credential of its own beside a subject token.
    fn accepting(&self, id: &str) -> Result<&App, Unidentified> {
        self.find(id).filter(|app| !app.accepted.is_empty()).ok_or(Unidentified::Wrong)
    }
}

impl App {
    /// The rules that a token claims to fit, which is to be proved yet.
    fn accepts(&self, claims: &Claims) -> Option<&Accepted> {
        self.accepted.iter().find(|accepted| accepted.is_claimed_by(claims))
    }
}

const NOT_ACCEPTED: &str = "iss, aud: no app accepts such tokens";
