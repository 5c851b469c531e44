//! Several brokers that share their state on a Redis: one mint, one limit, one memory; and each by itself where it
//! must be.

use std::{collections::BTreeSet, time::Duration};

use redis::{Cmd, Value, cmd};
use reqwest::Method;
use serde_json::json;
use valet_clock::{Clock, ManualClock};
use valet_demo::{APP, StackSettings};
use valet_sandbox::{Fault, Operation};
use valet_server::secret::AppSecret;

use crate::{
    harness::{Answer, SECOND, SHARED, Stage, UNHURRIED, answered, promptly},
    jose::Signer,
    redis::Redis,
};

/// As in the world, a mint takes a moment.
const MOMENT: Duration = Duration::from_millis(500);

async fn replicas(count: usize, settings: StackSettings) -> Stage {
    let clock = ManualClock::new();
    let redis = Redis::start(&clock);
    let stage = Stage::of_replicas(settings, count, clock, Some(redis)).await;
    // Each of them counts all the others once it has looked a second time.
    let attended = 2 * u64::try_from(count).unwrap();
    stage.clock.advance(SECOND);
    promptly(async { while stage.calls("attend").await < attended {} }).await;
    stage
}

async fn three() -> Stage {
    replicas(3, StackSettings { app: UNHURRIED.into(), ..StackSettings::default() }).await
}

impl Stage {
    fn redis(&mut self) -> &mut Redis {
        self.redis.as_mut().unwrap()
    }

    fn run(&self, command: &Cmd) -> Value {
        self.redis.as_ref().unwrap().run(command)
    }

    /// How often the brokers asked the Redis for something and were answered.
    async fn calls(&self, kind: &str) -> u64 {
        self.metric_of("valet_shared_calls_total", &format!("kind=\"{kind}\",outcome=\"ok\"")).await
    }

    /// The sum of a metric over all brokers, where its labels are these.
    async fn metric_of(&self, name: &str, labels: &str) -> u64 {
        let page = self.metrics().await;
        let begins = format!("{name}{{{labels}}} ");
        page.lines().filter_map(|line| line.strip_prefix(&begins)?.parse::<u64>().ok()).sum()
    }

    /// Waits until so many brokers have the Redis.
    async fn joined(&self, count: u64) {
        promptly(async { while self.metric("valet_shared_up").await != count {} }).await;
    }

    /// Turns the time until so many brokers have the Redis again.
    async fn rejoined(&self, count: u64) {
        let looks = async {
            loop {
                self.clock.advance(SECOND);
                for _ in 0..50 {
                    if self.metric("valet_shared_up").await == count {
                        return;
                    }
                }
            }
        };
        promptly(looks).await;
    }

    /// Waits until so many tokens have been told to the others.
    async fn published(&self, count: u64) {
        promptly(async { while self.calls("publish").await < count {} }).await;
    }

    async fn ready(&self, replica: usize) -> String {
        answered(self.request_of(replica, Method::GET, "/readyz")).await.text
    }
}

fn set(name: &str, value: &str) -> Cmd {
    let mut command = cmd("CONFIG");
    command.arg("SET").arg(name).arg(value);
    command
}

/// The keys whose names match.
fn keys(stage: &Stage, pattern: &str) -> Vec<String> {
    redis::from_redis_value(stage.run(cmd("KEYS").arg(pattern))).unwrap()
}

#[tokio::test]
async fn cold_requests_to_all_replicas_cost_one_mint() {
    let stage = three().await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).delay(MOMENT).always());
    let asking: Vec<_> = (0..300).map(|number| tokio::spawn(answered(stage.v1_of(number % 3)))).collect();
    stage.mints_begun(1).await;
    stage.upstream_asleep().await;
    // Of each broker, all but the first wait for that one; and of those, two wait for the third.
    stage.waiting(297).await;
    promptly(async { while stage.calls("claim").await < 3 {} }).await;
    stage.clock.advance(MOMENT);
    let mut tokens = BTreeSet::new();
    for asked in asking {
        tokens.insert(promptly(asked).await.unwrap().token());
    }
    assert_eq!((tokens.len(), stage.mints()), (1, 1));
    assert_eq!(stage.metric("valet_shared_taken_over_total").await, 2);
    assert_eq!(stage.stop().await.issued(), 300);
}

#[tokio::test]
async fn a_token_taken_over_has_the_life_that_is_left_of_it() {
    let stage = three().await;
    let first = stage.ask_of(0).await;
    stage.published(1).await;
    stage.clock.advance(SECOND * 10);
    let second = stage.ask_of(1).await;
    assert_eq!(stage.ask_of(2).await.token(), first.token());
    assert_eq!((first.expires_in(), second.expires_in()), (60, 50));
    assert_eq!((second.token(), stage.mints()), (first.token(), 1));
    assert_eq!(second.json()["expires_at"], first.json()["expires_at"]);
    // It is refreshed by whoever comes first after a third of its life, once for all of them.
    stage.clock.advance(SECOND * 10);
    for replica in [0, 1, 2] {
        assert_eq!(stage.ask_of(replica).await.token(), first.token());
    }
    stage.mints_ended(2).await;
    promptly(async { while stage.metric("valet_shared_taken_over_total").await < 4 {} }).await;
    let next: BTreeSet<String> = [stage.ask_of(0).await, stage.ask_of(1).await, stage.ask_of(2).await]
        .iter()
        .map(Answer::token)
        .collect();
    assert!(next.len() == 1 && !next.contains(&first.token()));
    assert_eq!(stage.mints(), 2);
    stage.stop().await;
}

#[tokio::test]
async fn a_token_that_the_upstream_refused_is_minted_anew_whichever_replica_is_told() {
    let stage = three().await;
    let token = stage.ask_of(0).await.token();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let rejected = json!({ "rejected": data_encoding::HEXLOWER.encode(hash.as_ref()) });
    let next = answered(stage.v1_of(1).json(&rejected)).await.token();
    assert_ne!(next, token);
    assert_eq!(answered(stage.v1_of(0).json(&rejected)).await.token(), next, "the others take it over");
    assert_eq!(stage.mints(), 2);
    stage.stop().await;
}

#[tokio::test]
async fn a_replica_that_dies_while_it_mints_delays_nobody_longer_than_its_lease() {
    let stage = replicas(2, StackSettings { app: UNHURRIED.into(), ..StackSettings::default() }).await;
    // As if it had: the lease is there, and nobody mints.
    stage.ask_of(0).await.token();
    stage.published(1).await;
    let token = keys(&stage, "valet:{*}:token").remove(0);
    let lease = token.replace(":token", ":lease");
    stage.run(cmd("DEL").arg(&token));
    stage.run(cmd("SET").arg(&lease).arg("1").arg("PX").arg(4000));
    let asking = tokio::spawn(answered(stage.v1_of(1)));
    promptly(async { while stage.calls("claim").await < 2 {} }).await;
    promptly(stage.clock.asleep("broker", 5)).await;
    assert_eq!(stage.mints(), 1, "it waits");
    stage.clock.advance(SECOND * 4 + Duration::from_millis(1));
    assert_eq!(promptly(asking).await.unwrap().status, 200);
    assert_eq!(stage.mints(), 2);
    stage.stop().await;
}

#[tokio::test]
async fn whoever_writes_to_the_redis_can_neither_read_a_token_nor_swap_it() {
    let other = AppSecret::generate();
    let app = format!("{UNHURRIED}\n[apps.other]\nsecrets = [\"{}\"]\n{UNHURRIED}", other.hash());
    let settings = StackSettings { app, upstream: SHARED.into(), ..StackSettings::default() };
    let stage = replicas(2, settings).await;
    let ask_other = |replica| {
        let request = stage.request_of(replica, Method::POST, "/v1/tokens");
        answered(request.basic_auth("other", Some(other.expose())))
    };
    let (one, two) = (stage.ask_of(0).await.token(), ask_other(0).await.token());
    stage.published(2).await;
    let places = keys(&stage, "valet:{*}:token");
    let [first, second] = <[String; 2]>::try_from(places).unwrap();
    for place in [&first, &second] {
        let Value::BulkString(sealed) = stage.run(cmd("HGET").arg(place).arg("sealed")) else {
            panic!("sealed")
        };
        assert!(
            [&one, &two].iter().all(|token| !sealed.windows(10).any(|part| part == &token.as_bytes()[..10]))
        );
    }
    // Swapped, they are nobody's.
    for (from, to) in [(&*first, "x"), (&second, &first), ("x", &second)] {
        stage.run(cmd("RENAME").arg(from).arg(to));
    }
    let (mine, its) = (stage.ask_of(1).await.token(), ask_other(1).await.token());
    assert!([&one, &two].iter().all(|token| **token != mine && **token != its));
    assert_eq!((stage.mints(), stage.metric("valet_shared_unreadable_total").await), (4, 2));
    // A life that a writer makes longer is not longer.
    stage.run(cmd("PERSIST").arg(&first));
    stage.run(cmd("PERSIST").arg(&second));
    stage.clock.advance(SECOND * 59);
    assert!(stage.ask_of(0).await.expires_in() > 55, "what has died is not handed out");
    stage.stop().await;
}

#[tokio::test]
async fn a_replica_with_another_key_mints_by_itself_and_keys_rotate_with_an_overlap() {
    let settings = StackSettings { app: UNHURRIED.into(), follow: true, ..StackSettings::default() };
    let stage = replicas(2, settings).await;
    let token = stage.ask_of(0).await.token();
    stage.published(1).await;
    let files = tempfile::tempdir().unwrap();
    let next = files.path().join("next");
    std::fs::write(&next, "the next key for tests, of 32 characters too").unwrap();
    let config = &stage.stack.config;
    let (from, to) =
        config.split_once("keys = [{ id").map(|(before, rest)| (before, format!("{{ id{rest}"))).unwrap();
    let next = format!("{{ id = \"2\", file = {next:?} }}");
    let reloads = async |config: &str, count| {
        stage.stack.reconfigure(config, true).unwrap();
        stage.metric_is("valet_config_reloads_total", count).await;
    };
    // Both keys: what the old one sealed is opened, and the new one seals.
    reloads(&format!("{from}keys = [{next}, {to}"), 4).await;
    assert_eq!((stage.ask_of(1).await.token(), stage.mints()), (token, 1));
    // The new one alone, after a mint that it sealed: what it has not sealed is as if it were not there.
    stage.clock.advance(SECOND * 30);
    stage.ask_of(0).await.token();
    stage.mints_ended(2).await;
    stage.published(2).await;
    stage.ask_of(1).await.token();
    promptly(async { while stage.metric("valet_shared_taken_over_total").await < 2 {} }).await;
    let alone = format!("{from}keys = [{next}]{}", to.split_once(']').unwrap().1);
    reloads(&alone, 6).await;
    reloads(&alone.replace("id = \"2\"", "id = \"3\""), 8).await;
    stage.clock.advance(SECOND * 58);
    stage.ask_of(0).await.token();
    stage.ask_of(1).await.token();
    assert_eq!((stage.mints(), stage.metric("valet_shared_unreadable_total").await), (3, 1));
    stage.stop().await;
}

#[tokio::test]
async fn limits_are_those_of_all_replicas_together() {
    let app = "rate = { per_second = 1, burst = 5 }\ntokens_per_day = 7";
    let stage = replicas(3, StackSettings { app: app.into(), ..StackSettings::default() }).await;
    let outcome = |answer: &Answer| (answer.status, answer.json()["limit"].as_str().map(str::to_owned));
    let mut outcomes = Vec::new();
    for number in 0..8 {
        outcomes.push(outcome(&stage.ask_of(number % 3).await));
    }
    let reached = |limit: &str| (429, Some(limit.to_owned()));
    assert_eq!(outcomes[..5], vec![(200, None); 5]);
    assert_eq!(outcomes[5..], vec![reached("rate"); 3]);
    stage.clock.advance(SECOND * 5);
    let mut outcomes = Vec::new();
    for number in 0..4 {
        outcomes.push(outcome(&stage.ask_of(number % 3).await));
    }
    // A permit of the rate that is refused by the day is spent, as it is by a single broker.
    assert_eq!(outcomes, [(200, None), (200, None), reached("tokens_per_day"), reached("tokens_per_day")]);
    stage.stop().await;
}

#[tokio::test]
async fn without_the_redis_each_replica_keeps_to_its_share_and_the_day_goes_on_when_it_is_back() {
    let app = format!("{UNHURRIED}\ntokens_per_day = 9");
    let mut stage = replicas(3, StackSettings { app, ..StackSettings::default() }).await;
    stage.ask_of(0).await.token();
    stage.redis().kill();
    stage.joined(0).await;
    let mut issued = 0;
    for number in 0..30 {
        issued += usize::from(stage.ask_of(number % 3).await.status == 200);
    }
    // The one of before counts.
    assert_eq!(issued, 8);
    stage.redis().restart();
    stage.rejoined(3).await;
    for number in 0..6 {
        // Before all have told what they spent, and after it.
        stage.clock.advance(SECOND);
        assert_eq!(stage.ask_of(number % 3).await.status, 429, "the others' shares are not spent once more");
    }
    stage.stop().await;
}

#[tokio::test]
async fn a_replica_without_the_redis_says_so_once_goes_on_and_rejoins_by_itself() {
    let mut stage = three().await;
    let token = stage.ask_of(0).await.token();
    stage.published(1).await;
    assert_eq!(stage.ready(0).await, r#"{"status":"ready"}"#);
    stage.redis().kill();
    stage.joined(0).await;
    assert_eq!(stage.ready(0).await, r#"{"status":"ready","shared":"away"}"#);
    for _ in 0..20 {
        assert_eq!(stage.ask_of(0).await.token(), token);
        stage.ask_of(1).await.token();
    }
    assert_eq!(stage.mints(), 2, "the second mints for itself");
    assert_eq!(stage.metric("valet_shared_outages_total").await, 3, "one for each, however many ask");
    stage.redis().restart();
    stage.rejoined(3).await;
    assert_eq!(stage.ready(0).await, r#"{"status":"ready"}"#);
    stage.ask_of(2).await.token();
    assert_eq!(stage.mints(), 3, "nothing was left of the tokens");
    stage.published(2).await;
    stage.clock.advance(SECOND * 20);
    stage.ask_of(0).await.token();
    promptly(async { while stage.metric("valet_shared_taken_over_total").await < 1 {} }).await;
    assert_eq!(stage.mints(), 3, "they are at one again");
    stage.stop().await;
}

#[tokio::test]
async fn a_redis_that_takes_nothing_more_is_away() {
    let stage = three().await;
    let token = stage.ask_of(0).await.token();
    stage.run(&set("maxmemory-policy", "noeviction"));
    stage.run(&set("maxmemory", "1"));
    // Whoever asks it for something finds out; the others, when they look.
    stage.ask_of(1).await.token();
    stage.clock.advance(SECOND);
    stage.joined(0).await;
    assert_eq!((stage.ask_of(0).await.token(), stage.mints()), (token, 2));
    stage.run(&set("maxmemory", "0"));
    stage.rejoined(3).await;
    stage.stop().await;
}

#[tokio::test]
async fn an_operator_can_have_refused_what_is_not_shared() {
    let app = "rate = { per_second = 100, burst = 100 }".to_owned();
    let settings = StackSettings { app, ..StackSettings::default() };
    let clock = ManualClock::new();
    let redis = Redis::start(&clock);
    let without = "[shared.without]\ntokens = \"refuse\"\nlimits = \"refuse\"\n";
    let mut stage = Stage::of_replicas_with(settings, 2, clock, Some(redis), without).await;
    stage.ask_of(0).await.token();
    stage.redis().kill();
    stage.joined(0).await;
    // The permits that are in hand are spent.
    promptly(async { while stage.ask_of(0).await.status == 200 {} }).await;
    for replica in [0, 1] {
        assert_eq!(stage.ask_of(replica).await.refusal(), (503, "shared_state_away".into(), Some(1)));
    }
    assert_eq!(stage.mints(), 1);
    stage.stop().await;
}

#[tokio::test]
async fn the_user_of_the_documentation_may_do_all_that_a_replica_does() {
    let clock = ManualClock::new();
    let redis = Redis::start(&clock);
    let page = include_str!("../../docs/scale.md");
    let rules = page.lines().find_map(|line| line.strip_prefix("user valet ")).unwrap();
    let rules = rules.replace("PASSWORD", "a-password");
    redis.run(cmd("ACL").arg("SETUSER").arg("valet").arg(rules.split(' ').collect::<Vec<_>>()));
    redis.run(cmd("ACL").arg("SETUSER").arg("default").arg("resetpass").arg(">of-the-test"));
    let files = tempfile::tempdir().unwrap();
    let password = files.path().join("password");
    std::fs::write(&password, "a-password\n").unwrap();
    let more = format!("username = \"valet\"\npassword = {{ file = {password:?} }}\n");
    let signer = Signer::es256("one");
    let app =
        format!("{UNHURRIED}\ntokens_per_day = 1000\n[apps.signs]\njwks = {{ keys = [{}] }}", signer.toml());
    let config = "public_url = \"https://valet.example.com\"".to_owned();
    let settings = StackSettings { app, config, upstream: SHARED.into(), ..StackSettings::default() };
    let stage = Stage::of_replicas_with(settings, 2, clock, Some(redis), &more).await;
    stage.joined(2).await;
    let token = stage.ask_of(0).await.token();
    stage.published(1).await;
    assert_eq!((stage.ask_of(1).await.token(), stage.mints()), (token, 1));
    assert_eq!(show(&stage, 0, &assertion(&stage, &signer, "1")).await.status, 200);
    for kind in ["claim", "publish", "draw_rate", "draw_day", "record", "revoked", "attend"] {
        assert!(stage.calls(kind).await > 0, "{kind}");
        let failed = format!("kind=\"{kind}\",outcome=\"failed\"");
        assert_eq!(stage.metric_of("valet_shared_calls_total", &failed).await, 0, "{kind}");
    }
    stage.joined(2).await;
    stage.stop().await;
}

/// An app that signs, at two replicas.
async fn signing() -> (Stage, Signer) {
    let signer = Signer::es256("one");
    let app = format!("[apps.signs]\njwks = {{ keys = [{}] }}\n{UNHURRIED}", signer.toml());
    let config = "public_url = \"https://valet.example.com\"".to_owned();
    let settings = StackSettings { app, config, upstream: SHARED.into(), ..StackSettings::default() };
    (replicas(2, settings).await, signer)
}

async fn show(stage: &Stage, replica: usize, assertion: &str) -> Answer {
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion),
    ];
    answered(stage.request_of(replica, Method::POST, "/oauth/token").form(&fields)).await
}

fn assertion(stage: &Stage, signer: &Signer, id: &str) -> String {
    let now = stage.clock.unix().as_secs();
    signer.sign(&json!({
        "iss": "signs", "sub": "signs", "aud": "https://valet.example.com", "jti": id, "iat": now, "exp": now + 60,
    }))
}

#[tokio::test]
async fn an_assertion_proves_its_app_once_whichever_replica_it_is_shown_to() {
    let (mut stage, signer) = signing().await;
    let shown = assertion(&stage, &signer, "1");
    assert_eq!(show(&stage, 0, &shown).await.status, 200);
    for replica in [0, 1] {
        let again = show(&stage, replica, &shown).await;
        assert_eq!(again.status, 401, "{}", again.text);
        assert!(again.text.contains("used before"));
    }
    // Everything is lost: nothing is accepted until the replicas have added what they know.
    stage.run(&cmd("FLUSHALL"));
    let next = assertion(&stage, &signer, "2");
    for assertion in [&shown, &next] {
        let unsettled = show(&stage, 1, assertion).await;
        assert_eq!(
            (unsettled.status, &*unsettled.json()["error"].to_string()),
            (503, "\"temporarily_unavailable\"")
        );
    }
    let restored = stage.calls("restore").await + 1;
    stage.clock.advance(SECOND);
    promptly(async { while stage.calls("restore").await < restored {} }).await;
    stage.clock.advance(SECOND * 4);
    assert_eq!(show(&stage, 1, &shown).await.status, 401, "it is known again");
    assert_eq!(show(&stage, 1, &next).await.status, 200);
    // Without the Redis nobody can know.
    stage.redis().kill();
    stage.joined(0).await;
    let unknown = show(&stage, 0, &assertion(&stage, &signer, "3")).await;
    assert_eq!(unknown.status, 503, "{}", unknown.text);
    stage.stop().await;
}

#[tokio::test]
async fn a_revoked_relay_token_is_refused_by_every_replica_also_after_an_outage() {
    let state = tempfile::tempdir().unwrap();
    let relay = Some(state.path().to_owned());
    let mut stage =
        replicas(2, StackSettings { app: UNHURRIED.into(), relay, ..StackSettings::default() }).await;
    let (one, two) = (stage.ask_of(0).await.token(), stage.ask_of(0).await.token());
    assert_eq!(list(&stage, 1, &one).await, 200);
    assert_eq!(revoke(&stage, 0, &one).await, 200);
    promptly(async { while list(&stage, 1, &one).await == 200 {} }).await;
    assert_eq!(list(&stage, 1, &one).await, 401);
    stage.redis().kill();
    stage.joined(0).await;
    assert_eq!(revoke(&stage, 0, &two).await, 200);
    assert_eq!(
        [list(&stage, 0, &two).await, list(&stage, 1, &two).await],
        [401, 200],
        "the other cannot know"
    );
    stage.redis().restart();
    stage.rejoined(2).await;
    promptly(async { while list(&stage, 1, &two).await == 200 {} }).await;
    assert_eq!([list(&stage, 1, &two).await, list(&stage, 1, &one).await], [401, 401]);
    stage.stop().await;
}

async fn revoke(stage: &Stage, replica: usize, token: &str) -> u16 {
    let request = stage.request_of(replica, Method::POST, "/oauth/revoke").form(&[("token", token)]);
    answered(request.basic_auth(APP, Some(stage.stack.secret.expose()))).await.status
}

/// The status of the list of tasks, by a relay token.
async fn list(stage: &Stage, replica: usize, token: &str) -> u16 {
    answered(stage.request_of(replica, Method::GET, "/api/v1/tasks/").bearer_auth(token)).await.status
}
