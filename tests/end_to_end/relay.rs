//! The relay, end to end: the client, a broker in between, the sandbox behind it.

use data_encoding::BASE64URL_NOPAD;
use reqwest::Method;
use serde_json::{Value, json};
use valet_client::{Status, TranscriptionRequest};
use valet_clock::Clock;
use valet_demo::APP;
use valet_sandbox::{Fault, Operation};
use valet_server::keyring::Keyring;

use crate::{
    harness::{Answer, SECOND, UNHURRIED, answered, answered_elsewhere, promptly},
    relayed::{Relayed, code, status},
    reload::reload,
};

#[tokio::test]
async fn a_task_goes_through_and_names_nothing_of_the_account() {
    let relayed = Relayed::new().await;
    let bearer = relayed.token(None).await;
    let handle = relayed.submitted(&bearer).await;
    let upstream_id = relayed.stage.stack.sandbox.tasks()[0].task_id.clone();
    assert!(handle.len() <= 256 && !handle.contains(&upstream_id));
    let pending = relayed.get(&format!("/tasks/{handle}"), &bearer).await.json();
    assert_eq!(pending["output"].get("results"), None, "what the upstream leaves out is left out: {pending}");
    let ended = relayed.ended(&handle, &bearer).await;
    assert_eq!(
        (&ended["output"]["task_status"], &ended["output"]["task_id"]),
        (&json!("SUCCEEDED"), &json!(handle))
    );
    assert!(ended["usage"]["duration"].as_u64().unwrap() > 0);
    assert!(!ended.to_string().contains(&upstream_id));
    // A result is read by its handle alone, as the vendor's SDKs do, in whole or in part.
    let url = ended["output"]["results"][0]["transcription_url"].as_str().unwrap();
    let (relay, result) = url.split_at(url.find("/results/").unwrap());
    assert_eq!(relay, format!("{}/api/v1", relayed.stage.stack.broker_url));
    let read = || relayed.stage.request(Method::GET, &format!("/api/v1{result}"));
    let whole = answered(read()).await;
    assert!(
        whole.json()["transcripts"][0]["text"].as_str().unwrap().contains("Fresh bread"),
        "{}",
        whole.text
    );
    assert_eq!(whole.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(whole.header("cache-control"), Some("no-store, private"));
    let list = relayed.get("/tasks/?page_size=5", &bearer).await.json();
    assert_eq!((&list["total"], &list["data"][0]["task_id"]), (&json!(1), &json!(handle)));
    assert_eq!(list["data"][0]["status"], "SUCCEEDED");
    // Ten minutes later that handle is over, and a query names another.
    relayed.stage.clock.advance(SECOND * 600);
    assert_eq!(code(&answered(read()).await), (404, "NotFound".into()));
    relayed.stage.stop().await;
}

#[tokio::test]
async fn the_client_works_at_the_relay_without_being_told() {
    let relayed = Relayed::new().await;
    let (stage, client) = (&relayed.stage, relayed.stage.stack.client());
    stage.stack.sandbox.set_task_time(std::time::Duration::ZERO, SECOND * 200);
    let urls = ["market.wav", "broken.mp3"].map(|name| relayed.recordings.url(name));
    let request = TranscriptionRequest::new(urls.clone());
    let task = promptly(client.submit(&request)).await.unwrap();
    promptly(stage.stack.sandbox.wait_for_work(1)).await;
    let (waiting, id) = (client.clone(), task.id().clone());
    let waiting = tokio::spawn(async move { waiting.wait(&id).await });
    while !waiting.is_finished() {
        // While one exchange takes place on this thread, so do those of the client.
        stage.page("/healthz").await;
        stage.clock.advance(SECOND / 4);
    }
    let task = waiting.await.unwrap().unwrap();
    assert_eq!(task.status(), &Status::Succeeded);
    let transcription = promptly(client.collect(task, &urls)).await.unwrap();
    let outcomes: Vec<bool> = transcription.files().iter().map(|file| file.transcript().is_ok()).collect();
    assert_eq!(outcomes, [true, false]);
    let issued = stage.metric("valet_decisions_total").await;
    assert!(issued >= 4, "{issued} relay tokens in more than three minutes");
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_client_for_a_subject_has_that_ones_tasks() {
    let relayed = Relayed::new().await;
    let client = |name: &str| relayed.stage.stack.client_builder().subject(name).build().unwrap();
    let alice = client("alice");
    let request = TranscriptionRequest::new([relayed.recordings.url("market.wav")]);
    let task = promptly(alice.submit(&request)).await.unwrap();
    assert_eq!(promptly(client("alice").tasks().page(1)).await.unwrap().tasks[0].task_id, *task.id());
    assert_eq!(promptly(client("bob").tasks().page(1)).await.unwrap().total, 0);
    let bob = client("bob");
    assert_eq!(promptly(bob.fetch(task.id())).await.unwrap().status(), &Status::Unknown);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn nobody_sees_anothers_task() {
    let other = valet_server::secret::AppSecret::generate();
    let relayed =
        Relayed::with("", &format!("[apps.other]\nmode = \"relay\"\nsecrets = [\"{}\"]", other.hash())).await;
    let (alice, bob, nobody) =
        (relayed.token(Some("alice")).await, relayed.token(Some("bob")).await, relayed.token(None).await);
    let handle = relayed.submitted(&alice).await;
    let again = relayed.token(Some("alice")).await;
    assert_eq!(
        status(&relayed.get(&format!("/tasks/{handle}"), &again).await),
        "PENDING",
        "another token of hers"
    );
    let before = relayed.stage.stack.sandbox.count(Operation::Query);
    let secret = relayed.stage.stack.secret.expose().to_owned();
    for bearer in [&bob, &nobody, &secret, &other.expose().to_owned()] {
        let answer = relayed.get(&format!("/tasks/{handle}"), bearer).await;
        let never = relayed.get("/tasks/no-such-task", bearer).await;
        assert_eq!((answer.status, status(&answer)), (200, "UNKNOWN".into()));
        let masked = |answer: &Answer, id: &str| {
            let name = answer.header("x-request-id").unwrap();
            answer.text.replace(name, "[id]").replace(id, "[handle]")
        };
        assert_eq!(masked(&answer, &handle), masked(&never, "no-such-task"), "as if it never was");
        let cancelled = relayed.request(Method::POST, &format!("/tasks/{handle}/cancel"), bearer);
        assert_eq!(code(&answered(cancelled).await), (400, "UnsupportedOperation".into()));
        assert_eq!(relayed.get("/tasks/", bearer).await.json()["total"], 0);
    }
    assert_eq!(relayed.stage.stack.sandbox.count(Operation::Query), before, "the upstream was not asked");
    let cancelled = relayed.request(Method::POST, &format!("/tasks/{handle}/cancel"), &alice);
    assert_eq!(answered(cancelled).await.status, 200);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn what_was_cancelled_is_never_found_pending() {
    let relayed = Relayed::new().await;
    relayed.stage.stack.sandbox.set_task_time(SECOND * 100, SECOND);
    let bearer = relayed.token(None).await;
    let handle = relayed.submitted(&bearer).await;
    assert_eq!(status(&relayed.get(&format!("/tasks/{handle}"), &bearer).await), "PENDING");
    // By the paths of the vendor's SDK, which knows no slash where there is one, and one where there is none.
    let cancelled = relayed.request(Method::POST, &format!("/tasks/{handle}/cancel/"), &bearer);
    assert_eq!(answered_elsewhere(cancelled).await.status, 200);
    let found = relayed.request(Method::GET, &format!("/tasks/{handle}/"), &bearer);
    assert_eq!(status(&answered_elsewhere(found).await), "CANCELED");
    let listed = |query: &str| {
        answered_elsewhere(relayed.request(Method::GET, &format!("/tasks?page_no=1{query}"), &bearer))
    };
    for (query, total) in [
        ("&status=CANCELED", 1),
        ("&status=PENDING", 0),
        (&format!("&task_id={handle}"), 1),
        ("&task_id=x", 0),
        ("&start_time=20200101000000", 1),
        ("&end_time=20200101000000", 0),
    ] {
        assert_eq!(listed(query).await.json()["total"], total, "{query}");
    }
    assert_eq!(code(&listed("&region=cn-beijing").await), (400, "InvalidParameter".into()));
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_cancel_that_nobody_could_be_asked_for_is_good_a_moment_later() {
    // Of several, one that was not refused itself may ask.
    let relayed = Relayed::of_one("").await;
    let sandbox = &relayed.stage.stack.sandbox;
    sandbox.set_task_time(SECOND * 100, SECOND);
    let secret = relayed.stage.stack.secret.expose().to_owned();
    for operation in [Operation::Query, Operation::Cancel] {
        let handle = relayed.submitted(&secret).await;
        sandbox.script(Fault::on(operation).refuse(429, "Throttling.RateQuota", "too many"));
        if operation == Operation::Query {
            // Whoever looks is refused, and nobody may ask for a moment.
            assert_eq!(status(&relayed.get(&format!("/tasks/{handle}"), &secret).await), "PENDING");
            promptly(sandbox.wait_for(Operation::Query, 1)).await;
            relayed.stage.settled().await;
        }
        let path = format!("/tasks/{handle}/cancel");
        let cancel = async || {
            let request = relayed.request(Method::POST, &path, &secret);
            relayed.turned(tokio::spawn(answered(request)), SECOND / 20).await
        };
        let refused = cancel().await;
        assert_eq!(refused.status, 429, "{operation:?}: {}", refused.text);
        relayed.stage.turn(SECOND * 4).await;
        let cancelled = cancel().await;
        assert_eq!(cancelled.status, 200, "{operation:?}: {}", cancelled.text);
        relayed.stage.turn(SECOND * 10).await;
    }
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_task_of_yesterday_is_not_unknown_because_a_look_failed() {
    let relayed = Relayed::of_one("").await;
    let (sandbox, hour) = (&relayed.stage.stack.sandbox, SECOND * 3600);
    sandbox.set_task_time(hour, hour * 25);
    let secret = relayed.stage.stack.secret.expose().to_owned();
    let handle = relayed.submitted(&secret).await;
    relayed.stage.clock.advance(hour * 27);
    let path = format!("/tasks/{handle}");
    let get = async || {
        let request = relayed.request(Method::GET, &path, &secret);
        relayed.turned(tokio::spawn(answered(request)), SECOND / 20).await
    };
    sandbox.script(Fault::on(Operation::Query).refuse(503, "ServiceUnavailable", "later").times(3));
    let mut answer = get().await;
    for _ in 0..20 {
        if !["PENDING", "RUNNING", ""].contains(&&*status(&answer)) {
            break;
        }
        relayed.stage.turn(SECOND * 5).await;
        answer = get().await;
    }
    assert_eq!(status(&answer), "SUCCEEDED", "{}", answer.text);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn what_is_not_allowed_never_reaches_the_upstream() {
    let more =
        "models = [\"fun-asr\"]\nurls_per_task = 2\nfile_hosts = [\"127.0.0.1\", \"files.example.com\"]";
    let relayed = Relayed::with(&more.replace("\"127.0.0.1\", ", ""), "").await;
    let bearer = relayed.token(None).await;
    let good = "https://files.example.com/a.wav";
    let with = |name: &str, value: Value| {
        let mut body = relayed.submission(&[good]);
        body[name] = value;
        body
    };
    let urls = |urls: &[&str]| with("input", json!({ "file_urls": urls }));
    for (what, body, refused) in [
        ("another model", with("model", json!("paraformer-v2")), (403, "Model.AccessDenied")),
        ("too many recordings", urls(&[good, good, good]), (400, "InvalidParameter")),
        ("another host", urls(&[good, "https://evil.example.org/a.wav"]), (403, "AccessDenied")),
        (
            "a host that begins alike",
            urls(&["https://files.example.com.evil.org/a.wav"]),
            (403, "AccessDenied"),
        ),
        ("temporary storage", urls(&["oss://bucket/a.wav"]), (400, "InvalidParameter")),
        ("a vocabulary", with("parameters", json!({ "vocabulary_id": "v-1" })), (403, "AccessDenied")),
        ("an unknown parameter", with("parameters", json!({ "x": 1 })), (400, "InvalidParameter")),
        ("an unknown field", with("resources", json!([])), (400, "InvalidParameter")),
        ("no recordings", urls(&[]), (400, "InvalidParameter")),
    ] {
        let answer = relayed.submit(&bearer, &body).await;
        assert_eq!(code(&answer), (refused.0, refused.1.to_owned()), "{what}: {}", answer.text);
    }
    let path = "/services/audio/asr/transcription";
    let synchronous = relayed.request(Method::POST, path, &bearer).json(&relayed.submission(&[good]));
    assert_eq!(code(&answered(synchronous).await), (403, "AccessDenied".into()));
    for header in ["x-dashscope-workspace", "x-dashscope-ossresourceresolve"] {
        let request = relayed.request(Method::POST, path, &bearer).header("x-dashscope-async", "enable");
        let request = request.header(header, "enable").json(&relayed.submission(&[good]));
        assert_eq!(code(&answered(request).await), (400, "InvalidParameter".into()), "{header}");
    }
    assert_eq!(relayed.stage.stack.sandbox.count(Operation::Submit), 0);
    assert_eq!(relayed.stage.mints(), 0);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_submit_happens_once_whoever_asks_again() {
    let relayed = Relayed::new().await;
    let bearer = relayed.token(None).await;
    let (one, two) = (relayed.recordings.url("market.wav"), relayed.recordings.url("train.mp3"));
    let keyed = |url: &str| {
        let request = relayed.request(Method::POST, "/services/audio/asr/transcription", &bearer);
        let request = request.header("x-dashscope-async", "enable").header("idempotency-key", "k-1");
        answered(request.json(&relayed.submission(&[url])))
    };
    let first = keyed(&one).await.json()["output"].clone();
    assert_eq!(keyed(&one).await.json()["output"], first);
    assert_eq!(code(&keyed(&two).await), (400, "InvalidParameter".into()), "another body");
    relayed.stage.clock.advance(SECOND * 30);
    let again = relayed.token(None).await;
    assert_eq!(relayed.stage.stack.sandbox.count(Operation::Submit), 1);
    // An answer that is lost: nobody knows, and nobody is told to try again.
    relayed.stage.stack.sandbox.script(Fault::on(Operation::Submit).lose_answer());
    let lost = relayed.submit(&again, &relayed.submission(&[&two])).await;
    assert_eq!(code(&lost), (409, "SubmitOutcomeUnknown".into()));
    assert_eq!(relayed.stage.stack.sandbox.count(Operation::Submit), 2);
    // What is refused did nothing, and may be asked again.
    relayed.stage.stack.sandbox.script(Fault::on(Operation::Submit).refuse(
        429,
        "Throttling.RateQuota",
        "Slow.",
    ));
    let throttled = relayed.submit(&again, &relayed.submission(&[&two])).await;
    assert_eq!(code(&throttled), (429, "Throttling.RateQuota".into()));
    relayed.stage.stop().await;
}

#[tokio::test]
async fn what_ends_a_token_ends_it_at_once() {
    let relayed = Relayed::new().await;
    let stage = &relayed.stage;
    let (token, kept) = (relayed.token(None).await, relayed.token(None).await);
    let handle = relayed.submitted(&token).await;
    let path = format!("/tasks/{handle}");
    let revoke = stage.request(Method::POST, "/oauth/revoke").form(&[("token", &token)]);
    answered(revoke.basic_auth(APP, Some(stage.stack.secret.expose()))).await;
    assert_eq!(code(&relayed.get(&path, &token).await), (401, "InvalidApiKey".into()), "revoked");
    assert_eq!(relayed.get(&path, &kept).await.status, 200);
    let upstream = relayed.get(&path, "st-0123456789").await;
    assert_eq!(upstream.status, 401);
    assert!(upstream.json()["message"].as_str().unwrap().contains("DashScope itself"), "{}", upstream.text);
    reload(stage, &stage.stack.config.replace(UNHURRIED, &format!("{UNHURRIED}\nenabled = false"))).await;
    assert_eq!(code(&relayed.get(&path, &kept).await), (401, "InvalidApiKey".into()), "disabled");
    reload(stage, &stage.stack.config).await;
    assert_eq!(relayed.get(&path, &kept).await.status, 200);
    stage.clock.advance(SECOND * 60);
    assert_eq!(code(&relayed.get(&path, &kept).await), (401, "InvalidApiKey".into()), "expired");
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_rotated_key_withdraws_nothing_and_is_used_after_a_minute() {
    let relayed = Relayed::new().await;
    let (stage, kid) = (&relayed.stage, |token: &str| {
        let header = BASE64URL_NOPAD.decode(token.split('.').next().unwrap().as_bytes()).unwrap();
        serde_json::from_slice::<Value>(&header).unwrap()["kid"].clone()
    });
    let before = relayed.token(None).await;
    let handle = relayed.submitted(&before).await;
    let keys = Keyring::read(relayed.state.path()).unwrap();
    keys.rotated(stage.clock.unix()).write(relayed.state.path()).unwrap();
    reload(stage, &stage.stack.config).await;
    assert_eq!(stage.page("/.well-known/jwks.json").await.json()["keys"].as_array().unwrap().len(), 2);
    let notice = relayed.token(None).await;
    assert_eq!(kid(&notice), kid(&before), "it is published before it is used");
    assert_eq!(relayed.get(&format!("/tasks/{handle}"), &before).await.status, 200);
    stage.clock.advance(SECOND * 61);
    let after = relayed.token(None).await;
    assert_ne!(kid(&after), kid(&before));
    let told = relayed.get(&format!("/tasks/{handle}"), &after).await;
    assert_ne!(status(&told), "UNKNOWN", "{}", told.text);
    relayed.stage.stop().await;
}

/// The upstream counts a task's day from its end, so it may know it still.
#[tokio::test]
async fn a_task_whose_day_is_over_is_looked_up_by_whoever_is_asked() {
    let relayed = Relayed::new().await;
    let (stage, sandbox) = (&relayed.stage, &relayed.stage.stack.sandbox);
    sandbox.set_task_time(SECOND * 3600 * 20, SECOND);
    let bearer = relayed.token(None).await;
    let (late, lost) = (relayed.submitted(&bearer).await, relayed.submitted(&bearer).await);
    stage.clock.advance(SECOND * 3600 * 20);
    promptly(sandbox.wait_for_work(2)).await;
    stage.pass(5).await;
    // Whoever is still being followed is told of as it was, while another is looked at.
    let bearer = relayed.token(None).await;
    for task in [&late, &lost] {
        relayed.ended(task, &bearer).await;
    }
    stage.clock.advance(SECOND * 3600 * 5);
    stage.pass(5).await;
    let bearer = relayed.token(None).await;
    let began = stage.clock.unix();
    for _ in 0..stage.brokers() {
        let asking = answered(relayed.request(Method::GET, &format!("/tasks/{late}"), &bearer));
        let told = relayed.turned(tokio::spawn(asking), SECOND / 10).await;
        assert_eq!((told.status, status(&told).as_str()), (200, "SUCCEEDED"), "{}", told.text);
        assert!(told.json()["output"]["results"][0]["transcription_url"].is_string());
        // There is nothing to wait for.
        let told = relayed.turned(relayed.waiting(&late, &bearer, 30), SECOND / 10).await;
        assert_eq!((told.status, status(&told).as_str()), (200, "SUCCEEDED"), "{}", told.text);
    }
    assert!(stage.clock.unix() - began < SECOND * 10);
    stage.clock.advance(SECOND * 3600 * 24);
    stage.pass(5).await;
    let bearer = relayed.token(None).await;
    for _ in 0..stage.brokers() {
        let several = [late.clone(), lost.clone()];
        let told = relayed.turned(relayed.waiting_for_any(&several, &bearer), SECOND / 10).await.json();
        for place in [0, 1] {
            assert_eq!(told["tasks"][place]["output"]["task_status"], "UNKNOWN", "{told}");
        }
    }
    relayed.stage.stop().await;
}
