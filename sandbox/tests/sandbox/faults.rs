use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use valet_sandbox::{Counts, Fault, Operation, fingerprint};

use crate::harness::{KEY, Stage, send};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_refusal_comes_as_often_as_scripted() {
    let stage = Stage::new().await;
    let fault = Fault::on(Operation::Mint).refuse(429, "Throttling.RateQuota", "Slow down.");
    stage.handle.script(fault.retry_after(SECOND * 7).times(2));
    stage.query("none").await;
    let refused = stage.request(Method::POST, "/api/v1/tokens").send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "7");
    assert_eq!(stage.post("/api/v1/tokens").await.refused(429, "Throttling.RateQuota"), "Slow down.");
    stage.post("/api/v1/tokens").await.ok();

    stage.handle.script(Fault::on_any().refuse(503, "SystemError", "Gone.").always());
    for _ in 0..3 {
        stage.post("/api/v1/tokens").await.refused(503, "SystemError");
    }
    stage.get("/api/v1/tasks/none").await.refused(503, "SystemError");
    stage.handle.clear_faults();
    stage.post("/api/v1/tokens").await.ok();
}

#[tokio::test]
async fn a_fault_can_be_meant_for_one_key() {
    let stage = Stage::with(|settings| settings.with_key("sk-sibling")).await;
    stage.handle.script(Fault::on(Operation::Mint).for_key(KEY).refuse(503, "SystemError", "Gone.").always());
    stage.post("/api/v1/tokens").await.refused(503, "SystemError");
    send(stage.anonymous(Method::POST, "/api/v1/tokens").bearer_auth("sk-sibling")).await.ok();
}

#[tokio::test]
async fn a_delay_goes_by_the_clock() {
    let stage = Stage::new().await;
    stage.handle.script(Fault::on(Operation::Mint).delay(SECOND * 3));
    let mint = tokio::spawn(stage.request(Method::POST, "/api/v1/tokens").send());
    stage.clock.asleep("sandbox", 1).await;
    assert_eq!(stage.clock.next_wake("sandbox"), Some(SECOND * 3));
    assert_eq!(stage.handle.counts(Operation::Mint), Counts { arrived: 1, answered: 0 });
    stage.clock.advance(SECOND * 3);
    assert_eq!(mint.await.unwrap().unwrap().status(), 200);
    stage.handle.wait_for_answered(Operation::Mint, 1).await;
}

#[tokio::test]
async fn a_hanging_request_is_never_answered() {
    let stage = Stage::new().await;
    stage.handle.script(Fault::on(Operation::Mint).hang());
    let mint = tokio::spawn(stage.request(Method::POST, "/api/v1/tokens").send());
    stage.handle.wait_for(Operation::Mint, 1).await;
    stage.clock.advance(Duration::from_hours(1));
    stage.query("none").await;
    assert!(!mint.is_finished());
    assert_eq!(stage.handle.journal()[0].status, None);
    mint.abort();
}

#[tokio::test]
async fn a_reset_request_is_not_carried_out_and_a_lost_answer_is_to_one_that_was() {
    let stage = Stage::new().await;
    let body = json!({ "model": "fun-asr", "input": { "file_urls": ["http://h/a"] }, "parameters": {} });
    let submit = || {
        let request = stage.request(Method::POST, "/api/v1/services/audio/asr/transcription");
        request.header("X-DashScope-Async", "enable").json(&body).send()
    };
    for (fault, tasks) in
        [(Fault::on(Operation::Submit).reset(), 0), (Fault::on(Operation::Submit).lose_answer(), 1)]
    {
        stage.handle.script(fault);
        let error = submit().await.unwrap_err();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        assert!(cause.to_string().contains("reset"), "{cause}");
        assert_eq!(stage.handle.tasks().len(), tasks);
    }
}

#[tokio::test]
async fn a_body_can_be_cut_replaced_enormous_or_slow() {
    let stage = Stage::new().await;
    let mint = || stage.request(Method::POST, "/api/v1/tokens").send();
    let faults = |fault: Fault| stage.handle.script(fault);

    faults(Fault::on(Operation::Mint).truncate());
    let mut cut = mint().await.unwrap();
    assert!(cut.content_length().unwrap() > 50);
    assert!(cut.chunk().await.unwrap().unwrap().starts_with(b"{\"token\":"));
    assert!(cut.chunk().await.is_err());

    faults(Fault::on(Operation::Mint).replace(502, "text/html", "<h1>Bad gateway</h1>"));
    let page = mint().await.unwrap();
    assert_eq!(
        (page.status().as_u16(), &page.headers()["content-type"]),
        (502, &"text/html".parse().unwrap())
    );
    assert_eq!(page.text().await.unwrap(), "<h1>Bad gateway</h1>");

    faults(Fault::on(Operation::Mint).enormous(5 << 20));
    let enormous = mint().await.unwrap().bytes().await.unwrap();
    assert!(enormous.len() > 5 << 20);
    assert!(serde_json::from_slice::<Value>(&enormous).is_err());

    faults(Fault::on(Operation::Mint).drip(40, SECOND));
    let mut slow = mint().await.unwrap();
    let mut body = slow.chunk().await.unwrap().unwrap().to_vec();
    assert_eq!(body.len(), 40);
    while stage.clock.sleeping("sandbox") == 0 {
        tokio::task::yield_now().await;
    }
    let rest = tokio::spawn(async move { slow.bytes().await.unwrap() });
    while !rest.is_finished() {
        stage.clock.advance(SECOND);
        tokio::task::yield_now().await;
    }
    body.extend(rest.await.unwrap());
    let minted: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(minted["expires_at"], 1_744_076_769 + 60);
}

#[tokio::test]
async fn a_token_can_expire_before_its_time() {
    let stage = Stage::new().await;
    stage.handle.script(Fault::on(Operation::Mint).expire_early(SECOND * 10));
    let token = stage.token().await;
    let query = || send(stage.anonymous(Method::GET, "/api/v1/tasks/none").bearer_auth(&token));
    stage.clock.advance(Duration::from_millis(9_999));
    query().await.ok();
    stage.clock.advance(Duration::from_millis(1));
    query().await.refused(401, "InvalidApiKey");

    let other = stage.token().await;
    assert!(stage.handle.expire_token(&other));
    assert!(!stage.handle.expire_token(&other));
    let third = stage.token().await;
    stage.handle.expire_all_tokens();
    send(stage.anonymous(Method::GET, "/api/v1/tasks/none").bearer_auth(third))
        .await
        .refused(401, "InvalidApiKey");
}

#[tokio::test]
async fn the_wall_clock_can_be_skewed() {
    let stage = Stage::new().await;
    let mint = || stage.request(Method::POST, "/api/v1/tokens").send();
    let straight = mint().await.unwrap();
    assert_eq!(straight.headers()["date"], "Tue, 08 Apr 2025 01:46:09 GMT");
    stage.handle.script(Fault::on(Operation::Mint).skew(-90));
    let skewed = mint().await.unwrap();
    assert_eq!(skewed.headers()["date"], "Tue, 08 Apr 2025 01:44:39 GMT");
    let minted: Value = skewed.json().await.unwrap();
    assert_eq!(minted["expires_at"], 1_744_076_769 - 30);
}

#[tokio::test]
async fn the_journal_tells_each_request_without_its_secret() {
    let stage = Stage::new().await;
    let token = stage.token().await;
    stage.clock.advance(SECOND);
    let body = json!({ "model": "fun-asr", "input": { "file_urls": ["http://h/a"] } });
    stage.submit(&body).await.ok();
    send(stage.anonymous(Method::GET, "/api/v1/tasks/?page_no=1").bearer_auth(&token)).await.ok();
    stage.get("/api/v1/nothing").await.refused(404, "NotFound");

    let journal = stage.handle.journal();
    let told: Vec<_> = journal
        .iter()
        .map(|e| (e.sequence, e.operation, e.method.as_str(), e.path.as_str(), e.status))
        .collect();
    assert_eq!(
        told,
        [
            (1, Operation::Mint, "POST", "/api/v1/tokens", Some(200)),
            (2, Operation::Submit, "POST", "/api/v1/services/audio/asr/transcription", Some(200)),
            (3, Operation::List, "GET", "/api/v1/tasks/", Some(200)),
            (4, Operation::Other, "GET", "/api/v1/nothing", Some(404)),
        ]
    );
    assert_eq!(journal[1].body, Some(body));
    assert_eq!(
        (journal[0].key.clone(), journal[2].key.clone()),
        (Some(fingerprint(KEY)), Some(fingerprint(&token)))
    );
    assert_eq!(journal[1].at - journal[0].at, SECOND);
    assert_eq!(journal[1].unix - journal[0].unix, SECOND);
    assert_eq!(journal[2].query.as_deref(), Some("page_no=1"));
    assert!(!format!("{journal:?}").contains(&token));
    assert_eq!(stage.handle.count(Operation::Mint), 1);

    stage.handle.clear_journal();
    assert_eq!((stage.handle.journal().len(), stage.handle.count(Operation::Mint)), (0, 0));
    stage.query("none").await;
    assert_eq!(stage.handle.journal()[0].sequence, 5);
}

#[tokio::test]
async fn a_small_journal_forgets_the_oldest_and_still_counts() {
    let stage = Stage::with(|settings| settings.with_journal_capacity(2)).await;
    for _ in 0..3 {
        stage.query("none").await;
    }
    let kept: Vec<_> = stage.handle.journal().iter().map(|entry| entry.sequence).collect();
    assert_eq!((kept, stage.handle.count(Operation::Query)), (vec![2, 3], 3));
}

#[tokio::test]
async fn a_stopped_sandbox_ends_what_hangs() {
    let clock = valet_clock::ManualClock::new();
    let settings = valet_sandbox::Settings::default().with_key(KEY);
    let sandbox = valet_sandbox::Sandbox::bind(settings, clock.handle("sandbox")).await.unwrap();
    let (handle, base) = (sandbox.handle(), sandbox.base_url());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(sandbox.run(async { stopped.await.unwrap() }));
    handle.script(Fault::on(Operation::Mint).hang());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mint = tokio::spawn(client.post(format!("{base}/tokens")).bearer_auth(KEY).send());
    handle.wait_for(Operation::Mint, 1).await;
    stop.send(()).unwrap();
    running.await.unwrap();
    assert!(mint.await.unwrap().is_err());
    assert_eq!(handle.count(Operation::Mint), 1);
}
