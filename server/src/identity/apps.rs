//! Every app that may prove itself, and how it does.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use valet_clock::SharedClock;

use super::{
    By, Caller, Credential, Look, Token, Unidentified, Vouched, assertion,
    keys::Keys,
    record::Record,
    remote::Remote,
    replay::{CLOCKS_APART, Replay, Seen},
    subject::{self, Accepted},
    verified::Verified,
};
use crate::{
    config,
    jwt::{self, Unverified},
    keyring::Keyring,
    secret::SecretHash,
    shared_redis::Shared,
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
    /// A name of each way in which it proves itself: its secrets, its keys, its rules of subject tokens, the
    /// playground. What is withdrawn is not among them any more.
    proofs: Vec<Arc<str>>,
    keys: Option<Keys>,
    /// Whether its assertions may be for the token endpoint's URL.
    for_endpoint: bool,
    accepted: Vec<Accepted>,
    /// Whether the playground signs its user in as this app: the last of its proofs.
    is_open_here: bool,
}

/// An app that proved itself, and what it used up by that: an id, and until when it is remembered.
struct Proved<'s> {
    app: &'s App,
    /// The place, among its proofs, of the one that it used.
    proof: usize,
    once: Option<(String, Duration)>,
}

/// Every app that may prove itself.
#[derive(Debug, Default)]
pub struct Apps {
    apps: Vec<App>,
    by_id: HashMap<Arc<str>, usize>,
    by_secret: HashMap<SecretHash, (usize, usize)>,
    /// The apps that accept subject tokens.
    accepting: Vec<usize>,
    pub(super) replay: Arc<Replay>,
    /// The relay tokens that were revoked.
    pub(super) revoked: Arc<Replay>,
    /// What other replicas know, if there are any.
    pub(super) shared: Option<Arc<Shared>>,
    /// The relay tokens that these keys are known to have signed.
    pub(super) verified: Verified,
    /// The keys that relay tokens are signed with, if there is a relay.
    pub(super) keyring: Option<Arc<Keyring>>,
    /// What assertions are for: the broker's issuer, and its token endpoint.
    pub(super) audiences: [String; 2],
    /// What relay tokens are for.
    pub(super) relay_audience: String,
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
            revoked: before.map_or_else(Arc::default, |before| before.revoked.clone()),
            shared: before.and_then(|before| before.shared.clone()),
            keyring: config.relay.as_ref().and_then(|relay| relay.keys.clone()),
            relay_audience: format!("{issuer}/api/v1"),
            audiences: [issuer.clone(), format!("{issuer}/oauth/token")],
            ..Self::default()
        };
        for (index, app) in config.apps.iter().enumerate() {
            all.by_id.insert(app.id.clone(), index);
            let secrets = app.secrets.iter().enumerate();
            all.by_secret.extend(secrets.map(|(place, hash)| (*hash, (index, place))));
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
                proofs: proofs(app, config.signs_in(&app.id)),
                keys: signing,
                for_endpoint: app.assertions_for_endpoint,
                accepted: accepted?,
                is_open_here: config.signs_in(&app.id),
            });
            if !app.subject_tokens.is_empty() {
                all.accepting.push(index);
            }
        }
        Ok(all)
    }

    /// The same, with what other replicas know.
    #[must_use]
    pub fn shared_by(self, shared: Option<Arc<Shared>>) -> Self {
        Self { shared, ..self }
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

    pub(super) fn find(&self, id: &str) -> Option<&App> {
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
        let Proved { app, proof, once } = proved;
        if !app.enabled {
            return Err(Unidentified::Disabled(app.id.clone()));
        }
        // Last of all: what is refused for another reason uses nothing up.
        if let Some((id, until)) = once.filter(|_| look.is_first) {
            let until = if self.shared.is_some() { until + CLOCKS_APART } else { until };
            if let Some(shared) = self.shared.as_ref().filter(|_| !look.is_recorded) {
                let life = until.saturating_sub(look.now);
                return Err(Unidentified::Record(Record::of(shared, app, &id, life)));
            }
            self.replay.record(&app.id, &id, until, look.now).map_err(|seen| match seen {
                Seen::Before => SHOWN_BEFORE,
                Seen::Full => Unidentified::Crowded,
            })?;
        }
        Ok(Caller { app, proof: &app.proofs[proof], vouched: vouched.map(Box::new) })
    }

    /// The app that a credential of its own proves.
    fn proved(&self, credential: &Credential, look: Look) -> Result<Proved<'_>, Unidentified> {
        match credential {
            Credential::Assertion { app, token } => self.asserted(app.as_deref(), token, look),
            Credential::IdAndSecret { app, secret } => self.by_id_and_secret(app, secret),
            // The key of this look-up is a hash: its timing tells nothing of any secret.
            Credential::Secret(secret) => {
                let (app, proof) = *self.by_secret.get(secret).ok_or(Unidentified::Wrong)?;
                Ok(Proved { app: &self.apps[app], proof, once: None })
            }
            Credential::AtThisMachine { app } => {
                let app = self.find(app).filter(|app| app.is_open_here).ok_or(Unidentified::Wrong)?;
                Ok(Proved { app, proof: app.proofs.len() - 1, once: None })
            }
            // Vouches for a user, not for the app.
            Credential::Subject { .. } => Err(Unidentified::Wrong),
        }
    }

    /// An unknown app costs the same work as a wrong secret: one look-up, two comparisons.
    fn by_id_and_secret(&self, app: &str, secret: &SecretHash) -> Result<Proved<'_>, Unidentified> {
        let found = self.find(app);
        let listed = found.map_or(&[][..], |app| &app.secrets);
        let mut matched = None;
        // Both places are compared, whether they are filled or not.
        for place in 0..2 {
            let same = listed.get(place).unwrap_or(&SecretHash::NONE).matches(secret);
            matched = matched.or((same && place < listed.len()).then_some(place));
        }
        let proved = found.zip(matched).map(|(app, proof)| Proved { app, proof, once: None });
        proved.ok_or(Unidentified::Wrong)
    }

    fn asserted(
        &self,
        named: Option<&str>,
        Token(token): &Token,
        look: Look,
    ) -> Result<Proved<'_>, Unidentified> {
        let unverified = jwt::unverified(token).map_err(|why| Unidentified::Assertion(why.text()))?;
        let claimed =
            unverified.claims.text("iss").filter(|claimed| named.is_none_or(|named| named == *claimed));
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
        Ok(Proved { app, proof: app.secrets.len(), once: Some((id.to_owned(), until)) })
    }

    fn vouched_for(
        &self,
        by: &By,
        Token(token): &Token,
        look: Look,
    ) -> Result<(Proved<'_>, Vouched), Unidentified> {
        let unverified = jwt::unverified(token).map_err(|why| Unidentified::Subject(why.text()))?;
        let (app, once) = match by {
            By::Anyone => (self.claimed_by(&unverified)?, None),
            By::App(id) => (self.accepting(id)?, None),
            By::Proved(credential) => {
                let Proved { app, once, .. } = self.proved(credential, look)?;
                (app, once)
            }
        };
        let place = app.accepts(&unverified)?;
        let accepted = &app.accepted[place];
        let signed = accepted.keys.verify(token, look.reach);
        let signed = signed.map_err(|unproved| unproved.unidentified(Unidentified::Subject))?;
        let vouched = accepted.check(&signed, look.now).map_err(Unidentified::Subject)?;
        let proof = app.secrets.len() + usize::from(app.keys.is_some()) + place;
        Ok((Proved { app, proof, once }, vouched))
    }

    /// The app that a subject token is for, by its own word.
    fn claimed_by(&self, unverified: &Unverified) -> Result<&App, Unidentified> {
        let (mut fits, mut refused) = (None, Unidentified::Subject(NOT_ACCEPTED));
        for app in self.accepting.iter().map(|index| &self.apps[*index]) {
            match app.accepts(unverified) {
                Ok(_) if fits.is_none() => fits = Some(app),
                // The configuration keeps rules apart by audience and claims; a token may have several values.
                Ok(_) => return Err(Unidentified::Subject(OF_SEVERAL)),
                Err(Unidentified::Subject(NOT_ACCEPTED)) => {}
                Err(nearly) => refused = nearly,
            }
        }
        fits.ok_or(refused)
    }

    /// An app that needs no credential of its own beside a subject token.
    fn accepting(&self, id: &str) -> Result<&App, Unidentified> {
        self.find(id).filter(|app| !app.accepted.is_empty()).ok_or(Unidentified::Wrong)
    }
}

impl App {
    /// The place of the rules that a token claims to fit, which is to be proved yet.
    fn accepts(&self, Unverified { typ, claims }: &Unverified) -> Result<usize, Unidentified> {
        let mut refused = NOT_ACCEPTED;
        for (place, accepted) in self.accepted.iter().enumerate() {
            match (accepted.is_claimed_by(claims), accepted.is_kind(typ.as_deref())) {
                (true, true) => return Ok(place),
                (true, false) => refused = subject::OTHER_KIND,
                (false, _) => {}
            }
        }
        Err(Unidentified::Subject(refused))
    }

    /// Whether it is enabled, and has a proof of that name.
    pub(super) fn stands_by(&self, proof: &str) -> bool {
        self.enabled && self.proofs.iter().any(|known| **known == *proof)
    }
}

/// Names of the ways in which an app proves itself, each the same for as long as that way is.
fn proofs(app: &config::App, is_open_here: bool) -> Vec<Arc<str>> {
    let name = |kind: &str, what: &dyn std::fmt::Debug| -> Arc<str> {
        let digest = digest(&SHA256, format!("{kind} {what:?}").as_bytes());
        HEXLOWER.encode(&digest.as_ref()[..8]).into()
    };
    let secrets = app.secrets.iter().map(|hash| name("secret", &hash.to_string()));
    let keys = app.keys.iter().map(|keys| name("keys", keys));
    let rules = app.subject_tokens.iter().map(|rules| name("subjects", rules));
    let here = is_open_here.then(|| name("playground", &app.id));
    secrets.chain(keys).chain(rules).chain(here).collect()
}

pub(super) const SHOWN_BEFORE: Unidentified = Unidentified::Assertion("jti: it was used before");
const NOT_ACCEPTED: &str = "iss, aud: no app accepts such tokens";
const OF_SEVERAL: &str = "it is for several apps; name one by client_id";
