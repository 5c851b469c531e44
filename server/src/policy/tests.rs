//! No grant exceeds its policy, whatever the request says.

use proptest::prelude::*;
use valet_clock::ManualClock;

use super::*;
use crate::{
    config::Config,
    identity::{Apps, Credential, Look, Reach},
    secret::SecretHash,
};

const SECRET: &str = "vas_test";

const LOOK: Look = Look { now: Duration::ZERO, reach: Reach::InHand, is_first: true };

const OWN: &str = "https://app.example.com";

fn app(lifetime: u32, max_lifetime: u32, rest: &str) -> (Apps, Policy) {
    let text = format!(
        "[tokens]\nlifetimes = [60, 300, 1800]\n[upstreams.u]\nbase_url = \"http://localhost/api/v1\"\n\
         keys = [{{ env = \"K\" }}]\n[apps.acme]\nsecrets = [\"{}\"]\nlifetime = {lifetime}\n\
         max_lifetime = {max_lifetime}\n{rest}\n",
        SecretHash::of(SECRET.as_bytes()),
    );
    let config = Config::read(&text, &[("K", "sk-1")].into_iter().collect()).unwrap();
    (
        Apps::new(&config, &ManualClock::new().handle("broker"), None).unwrap(),
        Policy::new(&config.apps[0], Editions::default().current()),
    )
}

fn decide(app: &(Apps, Policy), request: &TokenRequest) -> Result<(u32, Option<String>), Denial> {
    let caller = app.0.identify(&Credential::secret(SECRET.as_bytes()), LOOK).unwrap();
    let grant = app.1.decide(caller, request, Duration::ZERO)?;
    let subject = grant.subject().map(ToString::to_string);
    Ok((grant.into_granted().lifetime().seconds(), subject))
}

#[test]
fn a_longer_wait_selects_a_longer_class_within_the_cap() {
    let app = app(60, 300, "");
    let asks = |min_ttl| decide(&app, &TokenRequest { min_ttl: Some(min_ttl), ..Default::default() });
    assert_eq!(asks(42), Ok((60, None)));
    assert_eq!(asks(43), Ok((300, None)));
    assert_eq!(asks(211), Err(Denial::MinTtlTooLong { max: 210 }));
}

#[test]
fn a_lifetime_beyond_the_cap_is_refused_with_the_cap() {
    let app = app(60, 300, "");
    let asks = |lifetime| decide(&app, &TokenRequest { lifetime: Some(lifetime), ..Default::default() });
    assert_eq!(asks(1), Ok((60, None)));
    assert_eq!(asks(61), Ok((300, None)));
    assert_eq!(asks(301), Err(Denial::LifetimeTooLong { max: 300 }));
}

proptest! {
    #[test]
    fn no_grant_exceeds_its_policy(
        classes in prop::sample::select(vec![(60, 60), (60, 300), (60, 1800), (300, 300), (300, 1800)]),
        may_name_subject: bool,
        min_ttl in prop::option::of(any::<u32>()),
        lifetime in prop::option::of(any::<u32>()),
        subject in prop::option::of(".*"),
        scope in prop::option::of("transcribe|.*"),
        has_origins: bool,
        origin in prop::option::of("https://app\\.example\\.com|https://app\\.example\\.com.*|.*"),
    ) {
        let origins = if has_origins { format!("origins = [\"{OWN}\"]\n") } else { String::new() };
        let app = app(classes.0, classes.1, &format!("{origins}may_name_subject = {may_name_subject}"));
        let request = TokenRequest { min_ttl, lifetime, subject, scope, origin, ..Default::default() };
        if let Ok((granted, subject)) = decide(&app, &request) {
            prop_assert!((classes.0..=classes.1).contains(&granted));
            prop_assert!(granted >= lifetime.unwrap_or(0));
            prop_assert!(granted > min_ttl.unwrap_or(0));
            prop_assert!(subject.is_none() || may_name_subject);
            prop_assert!(!has_origins || request.origin.as_deref() == Some(OWN));
            prop_assert!(request.scope.as_deref().unwrap_or(SCOPE) == SCOPE);
        }
    }
}

#[test]
fn a_rule_is_a_host_or_all_below_one() {
    let rules = ["files.example.com".to_owned(), "*.media.example.com".to_owned()];
    for (host, allowed) in [
        ("files.example.com", true),
        ("a.media.example.com", true),
        ("a.b.media.example.com", true),
        ("media.example.com", false),
        (".media.example.com", false),
        ("xmedia.example.com", false),
        ("evil-files.example.com", false),
        ("files.example.com.evil.com", false),
        ("example.com", false),
    ] {
        assert_eq!(is_host_of(host, &rules), allowed, "{host}");
    }
}
