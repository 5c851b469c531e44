//! Who is proved by what.

use std::time::Duration;

use valet_clock::ManualClock;

use super::*;
use crate::{
    config::Config,
    secret::{AppSecret, comparisons},
};

const LOOK: Look = Look {
    now: Duration::from_secs(1_800_000_000),
    reach: Reach::InHand,
    is_first: true,
    is_recorded: false,
};

fn apps(secrets: &[&AppSecret], enabled: bool) -> Apps {
    let hashes: Vec<_> = secrets.iter().map(|s| format!("\"{}\"", s.hash())).collect();
    let text = format!(
        "[upstreams.u]\nbase_url = \"http://localhost/api/v1\"\nkeys = [{{ env = \"K\" }}]\n\
         [apps.acme]\nenabled = {enabled}\nsecrets = [{}]\n",
        hashes.join(", ")
    );
    let config = Config::read(&text, &[("K", "sk-1")].into_iter().collect()).unwrap();
    Apps::new(&config, &ManualClock::new().handle("broker"), None).unwrap()
}

#[test]
fn either_of_two_secrets_proves_the_app_with_or_without_its_id() {
    let (old, new) = (AppSecret::generate(), AppSecret::generate());
    let apps = apps(&[&new, &old], true);
    for secret in [old.hash(), new.hash()] {
        let by_id = apps.identify(&Credential::IdAndSecret { app: "acme".into(), secret }, LOOK).unwrap();
        assert_eq!(&*by_id.app().id, "acme");
        assert_eq!(&*apps.identify(&Credential::Secret(secret), LOOK).unwrap().app().id, "acme");
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
        assert_eq!(apps.identify(&credential, LOOK).unwrap_err(), Unidentified::Wrong);
    }
}

#[test]
fn an_unknown_app_costs_as_many_comparisons_as_a_wrong_secret() {
    let secret = AppSecret::generate();
    let apps = apps(&[&secret], true);
    let cost = |app: &str, secret: SecretHash| {
        let before = comparisons();
        let _ = apps.identify(&Credential::IdAndSecret { app: app.into(), secret }, LOOK);
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
    assert!(matches!(apps.identify(&right, LOOK), Err(Unidentified::Disabled(_))));
    let wrong = Credential::IdAndSecret { app: "acme".into(), secret: AppSecret::generate().hash() };
    assert_eq!(apps.identify(&wrong, LOOK).unwrap_err(), Unidentified::Wrong);
}
