//! No grant exceeds its policy, whatever the request says.

use proptest::prelude::*;
use valet_clock::ManualClock;

use super::*;
use crate::{
    config::Config,
    identity::{Apps, Credential, Look, Reach, Vouched},
    secret::SecretHash,
};

const SECRET: &str = "vas_test";

const LOOK: Look = Look { now: Duration::ZERO, reach: Reach::InHand, is_first: true, is_recorded: false };

const OWN: &str = "https://app.example.com";

fn app(lifetime: u32, max_lifetime: u32, rest: &str) -> (Apps, Policy) {
    // Its keys are made when a broker starts.
    let state = tempfile::tempdir().unwrap();
    let text = format!(
        "public_url = \"https://valet.example.com\"\nrelay.state = {:?}\n[tokens]\nlifetimes = [60, 300, 1800]\n[upstreams.u]\nbase_url = \"http://localhost/api/v1\"\n\
         keys = [{{ env = \"K\" }}]\n[apps.acme]\nsecrets = [\"{}\"]\nlifetime = {lifetime}\n\
         max_lifetime = {max_lifetime}\n{rest}\n",
        state.path(),
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
    Ok((grant.granted().lifetime().seconds(), subject))
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

const MODELS: [&str; 3] = ["fun-asr", "fun-asr-mtl", "paraformer-v2"];
const HOSTS: [&str; 5] = [
    "files.example.com",
    "a.media.example.com",
    "media.example.com",
    "evil.com",
    "files.example.com.evil.com",
];
const RULES: [&str; 3] = ["files.example.com", "*.media.example.com", "*.example.com"];

fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::sample::subsequence(all, 0..=all.len())
        .prop_map(|some| some.into_iter().map(str::to_owned).collect())
}

/// What an app of the relay may do, as its settings say it; nothing said is no setting.
fn relay_settings(scope: &Scope) -> String {
    let mut text = format!("mode = \"relay\"\nurls_per_task = {}\n", scope.urls);
    let hosts = scope.file_hosts.as_deref().unwrap_or_default();
    for (name, list) in
        [("models", &*scope.models), ("file_hosts", hosts), ("vocabularies", &*scope.vocabularies)]
    {
        if !list.is_empty() {
            text.push_str(&format!("{name} = {list:?}\n"));
        }
    }
    text
}

fn scope() -> impl Strategy<Value = Scope> {
    let models = some_of(&MODELS).prop_filter("none is all of them", |models| !models.is_empty());
    (models, some_of(&RULES), 1..5_u32, some_of(&["v-1", "v-2"])).prop_map(
        |(models, hosts, urls, vocabularies)| Scope {
            models,
            file_hosts: (!hosts.is_empty()).then_some(hosts),
            urls,
            vocabularies,
        },
    )
}

fn allows(scope: &Scope, model: &str, hosts: &[String]) -> bool {
    scope.models.iter().any(|allowed| allowed == model)
        && hosts.len() <= scope.urls as usize
        && scope.file_hosts.as_ref().is_none_or(|rules| hosts.iter().all(|host| is_host_of(host, rules)))
}

proptest! {
    #[test]
    fn no_grant_of_the_relay_exceeds_its_policy_or_the_identity_it_is_made_on(
        classes in prop::sample::select(vec![(60, 60), (60, 300), (300, 1800)]),
        scope in scope(),
        may_name_subject: bool,
        min_ttl in prop::option::of(any::<u32>()),
        lifetime in prop::option::of(any::<u32>()),
        subject in prop::option::of("[a-z]{1,8}"),
        vouched in prop::option::of(("[a-z]{1,8}", 0..4000_u64)),
    ) {
        let settings = relay_settings(&scope);
        let app = app(classes.0, classes.1, &format!("{settings}may_name_subject = {may_name_subject}"));
        let vouched = vouched.map(|(name, until)| Vouched {
            subject: Subject { issuer: Some("https://login.example.com".into()), name: name.as_str().into() },
            until: Duration::from_secs(until),
        });
        let mut caller = app.0.identify(&Credential::secret(SECRET.as_bytes()), LOOK).unwrap();
        if let Some(vouched) = vouched.clone() {
            caller = caller.vouched_for(vouched);
        }
        let request = TokenRequest { min_ttl, lifetime, subject: subject.clone(), ..Default::default() };
        if let Ok(grant) = app.1.decide(caller, &request, Duration::ZERO) {
            let Granted::Relay(granted) = grant.granted() else { panic!("the app is one of the relay") };
            prop_assert_eq!(&*granted.scope, &scope);
            prop_assert_eq!(&*granted.app, "acme");
            prop_assert!((classes.0..=classes.1).contains(&granted.lifetime.seconds()));
            prop_assert_eq!(granted.until, vouched.as_ref().map(|vouched| vouched.until));
            let life = vouched.as_ref().map_or(u64::MAX, |vouched| vouched.until.as_secs());
            prop_assert!(u64::from(min_ttl.unwrap_or(0)) <= life.min(granted.lifetime.seconds().into()));
            match &vouched {
                // Whom an issuer vouches for is not for the app to say.
                Some(vouched) => prop_assert!(granted.subject.as_ref() == Some(&vouched.subject) && subject.is_none()),
                None => {
                    prop_assert_eq!(granted.subject.as_ref().map(|subject| subject.name.to_string()), subject.clone());
                    prop_assert!(subject.is_none() || may_name_subject);
                }
            }
        }
    }

    #[test]
    fn a_submit_is_permitted_if_and_only_if_both_policy_and_token_allow_all_of_it(
        now in scope(),
        then in prop::option::of(scope()),
        model in prop::sample::select(MODELS.to_vec()),
        hosts in prop::collection::vec(prop::sample::select(HOSTS.to_vec()), 1..6),
        vocabulary in prop::option::of(prop::sample::select(vec!["v-1", "v-2", "v-3"])),
    ) {
        let app = app(60, 60, &relay_settings(&now));
        let claims = then.clone().map(|Scope { models, file_hosts, urls, .. }| Claims {
            iss: String::new(),
            sub: "acme".into(),
            aud: String::new(),
            client_id: "acme".into(),
            iat: 0,
            exp: 60,
            jti: String::new(),
            scope: SCOPE.into(),
            subject: None,
            proof: String::new(),
            models,
            file_hosts,
            urls,
        });
        let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
        let permitted = app.1.permit(claims.as_ref(), Submitted { model, hosts: &hosts, vocabulary }).is_ok();
        let allowed = allows(&now, model, &hosts)
            && then.is_none_or(|then| allows(&then, model, &hosts))
            && vocabulary.is_none_or(|id| now.vocabularies.iter().any(|allowed| allowed == id));
        prop_assert_eq!(permitted, allowed);
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
