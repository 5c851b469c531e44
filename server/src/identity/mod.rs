//! Credential → Caller. Knows who asks, not what they may have, and no status code.

use std::{collections::HashMap, sync::Arc};

use crate::{config, secret::SecretHash};

/// What a caller shows to prove who it is.
#[derive(Debug)]
pub enum Credential {
    /// An app's id and the hash of its secret.
    IdAndSecret {
        /// The id as it was sent, of any length and content.
        app: String,
        /// The hash of the secret as it was sent.
        secret: SecretHash,
    },
    /// The hash of an app's secret alone; the secret names its app.
    Secret(SecretHash),
}

impl Credential {
    /// An id and a secret as they were sent.
    #[must_use]
    pub fn id_and_secret(app: String, secret: &[u8]) -> Self {
        Self::IdAndSecret { app, secret: SecretHash::of(secret) }
    }

    /// A secret alone, as it was sent.
    #[must_use]
    pub fn secret(secret: &[u8]) -> Self {
        Self::Secret(SecretHash::of(secret))
    }
}

/// Who makes this request; only [`Apps::identify`] makes one.
#[derive(Debug)]
pub struct Caller<'s> {
    app: &'s App,
}

impl<'s> Caller<'s> {
    /// The app, as identity knows it.
    #[must_use]
    pub fn app(&self) -> &'s App {
        self.app
    }
}

/// An app as identity knows it.
#[derive(Debug)]
pub struct App {
    /// Its place among the apps of the site.
    pub index: usize,
    /// Its id.
    pub id: Arc<str>,
    enabled: bool,
    secrets: Vec<SecretHash>,
}

/// Why a credential was not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unidentified {
    /// Nothing was shown.
    #[error("no credential was sent")]
    Missing,
    /// What was shown cannot be read as a credential.
    #[error("{0}")]
    Malformed(&'static str),
    /// No such app, or not its secret: which of the two is not said.
    #[error("the app id or secret is wrong")]
    Wrong,
    /// The credential is right, and the app is switched off.
    #[error("the app is disabled")]
    Disabled(
        /// The app's id.
        Arc<str>,
    ),
}

impl Unidentified {
    /// Whether nobody at all was proved: of a disabled app, the credential is right.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        !matches!(self, Self::Disabled(_))
    }
}

/// Every app that may prove itself.
#[derive(Debug, Default)]
pub struct Apps {
    apps: Vec<App>,
    by_id: HashMap<Arc<str>, usize>,
    by_secret: HashMap<SecretHash, usize>,
}

impl Apps {
    /// The apps of a configuration, in its order.
    #[must_use]
    pub fn new(apps: &[config::App]) -> Self {
        let mut all = Self::default();
        for (index, app) in apps.iter().enumerate() {
            all.by_id.insert(app.id.clone(), index);
            all.by_secret.extend(app.secrets.iter().map(|hash| (*hash, index)));
            let (id, enabled, secrets) = (app.id.clone(), app.enabled, app.secrets.clone());
            all.apps.push(App { index, id, enabled, secrets });
        }
        all
    }

    /// The place of the app called `id` among the apps of the site.
    #[must_use]
    pub fn index_of(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// The caller whom `credential` proves.
    ///
    /// An unknown app costs the same work as a wrong secret: one look-up, two comparisons.
    ///
    /// # Errors
    /// If the credential proves nobody, or a disabled app.
    pub fn identify(&self, credential: &Credential) -> Result<Caller<'_>, Unidentified> {
        let app = match credential {
            Credential::IdAndSecret { app, secret } => {
                let found = self.by_id.get(app.as_str()).map(|index| &self.apps[*index]);
                let listed = found.map_or(&[][..], |app| &app.secrets);
                let mut matched = false;
                // Both places are compared, whether they are filled or not.
                for place in 0..2 {
                    matched |= listed.get(place).unwrap_or(&SecretHash::NONE).matches(secret)
                        && place < listed.len();
                }
                found.filter(|_| matched)
            }
            // The key of this look-up is a hash: its timing tells nothing of any secret.
            Credential::Secret(secret) => self.by_secret.get(secret).map(|index| &self.apps[*index]),
        };
        let app = app.ok_or(Unidentified::Wrong)?;
        if app.enabled { Ok(Caller { app }) } else { Err(Unidentified::Disabled(app.id.clone())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        secret::{AppSecret, comparisons},
    };

    fn apps(secrets: &[&AppSecret], enabled: bool) -> Apps {
        let hashes: Vec<_> = secrets.iter().map(|s| format!("\"{}\"", s.hash())).collect();
        let text = format!(
            "[upstreams.u]\nbase_url = \"http://localhost/api/v1\"\nkeys = [{{ env = \"K\" }}]\n\
             [apps.acme]\nenabled = {enabled}\nsecrets = [{}]\n",
            hashes.join(", ")
        );
        Apps::new(&Config::read(&text, &[("K", "sk-1")].into_iter().collect()).unwrap().apps)
    }

    #[test]
    fn either_of_two_secrets_proves_the_app_with_or_without_its_id() {
        let (old, new) = (AppSecret::generate(), AppSecret::generate());
        let apps = apps(&[&new, &old], true);
        for secret in [old.hash(), new.hash()] {
            let by_id = apps.identify(&Credential::IdAndSecret { app: "acme".into(), secret }).unwrap();
            assert_eq!(&*by_id.app().id, "acme");
            assert_eq!(&*apps.identify(&Credential::Secret(secret)).unwrap().app().id, "acme");
        }
    }

    #[test]
    fn an_unknown_app_and_a_wrong_secret_get_the_same_answer() {
        let secret = AppSecret::generate();
        let apps = apps(&[&secret], true);
        let wrong = AppSecret::generate().hash();
        for credential in [
            Credential::IdAndSecret { app: "acme".into(), secret: wrong },
            Credential::IdAndSecret { app: "other".into(), secret: secret.hash() },
            Credential::IdAndSecret { app: "".into(), secret: SecretHash::of(b"") },
            Credential::IdAndSecret { app: "acme".into(), secret: SecretHash::of(b"") },
            Credential::Secret(wrong),
        ] {
            assert_eq!(apps.identify(&credential).unwrap_err(), Unidentified::Wrong);
        }
    }

    #[test]
    fn an_unknown_app_costs_as_many_comparisons_as_a_wrong_secret() {
        let secret = AppSecret::generate();
        let apps = apps(&[&secret], true);
        let cost = |app: &str, secret: SecretHash| {
            let before = comparisons();
            let _ = apps.identify(&Credential::IdAndSecret { app: app.into(), secret });
            comparisons() - before
        };
        let (right, wrong) = (secret.hash(), AppSecret::generate().hash());
        let costs = [cost("acme", right), cost("acme", wrong), cost("other", right), cost("", wrong)];
        assert_eq!(costs, [2; 4]);
    }

    #[test]
    fn a_disabled_app_is_told_so_only_with_its_own_secret() {
        let secret = AppSecret::generate();
        let apps = apps(&[&secret], false);
        let right = Credential::IdAndSecret { app: "acme".into(), secret: secret.hash() };
        assert!(matches!(apps.identify(&right), Err(Unidentified::Disabled(_))));
        let wrong = Credential::IdAndSecret { app: "acme".into(), secret: AppSecret::generate().hash() };
        assert_eq!(apps.identify(&wrong).unwrap_err(), Unidentified::Wrong);
    }
}
