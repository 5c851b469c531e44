//! What a hostile app or user tries at the relay.

use reqwest::Method;
use serde_json::{Value, json};
use valet_sandbox::{Fault, Operation};

use crate::{
    harness::{Answer, SECOND, answered},
    relayed::{Relayed, code},
    wire::Wire,
};

/// A submit as it goes over the wire.
fn submit(authorization: &str, length: usize) -> String {
    format!(
        "POST /api/v1/services/audio/asr/transcription HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\
         Content-Type: application/json\r\nX-DashScope-Async: enable\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn the_body_of_nobody_is_not_waited_for() {
    let relayed = Relayed::new().await;
    let token = relayed.token(None).await;
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    for authorization in ["Bearer vas_wrong", "Basic eDp5", &format!("Bearer {forged}"), "Bearer st-0123"] {
        let wait = "POST /api/v1/tasks/wait HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                    Content-Length: 500000\r\n";
        let wait = format!("{wait}Authorization: {authorization}\r\n\r\n");
        for head in [submit(authorization, 500_000), wait] {
            let mut wire = Wire::to(relayed.stage.stack.broker_addr).await;
            wire.send(head + "{").await;
            assert_eq!(wire.line().await, "HTTP/1.1 401 Unauthorized", "{authorization}");
        }
    }
    relayed.stage.stop().await;
}

#[tokio::test]
async fn nothing_of_the_upstreams_own_places_is_told() {
    let relayed = Relayed::new().await;
    let bearer = relayed.token(None).await;
    let handle = relayed.submitted(&bearer).await;
    let signed = "https://oss.example.com/1.json?Signature=canary";
    let endless = format!("{signed}{}", "x".repeat(70_000));
    // As sibling models have it, in places that nobody has documented, and longer than a handle may be.
    let body = json!({ "request_id": "1", "output": {
        "task_id": "1", "task_status": "SUCCEEDED", "transcription_url": signed,
        "result": { "transcription_url": signed, "more": [[{ "transcription_url": signed }]] },
        "results": [
            { "file_url": "https://files.example.com/a", "transcription_url": signed },
            { "transcription_url": endless },
            { "transcription_url": { "url": 7 } },
        ],
    } });
    let fault = Fault::on(Operation::Query).replace(200, "application/json", body.to_string());
    relayed.stage.stack.sandbox.script(fault.always());
    relayed.stage.clock.advance(SECOND * 2);
    let ended = relayed.ended(&handle, &bearer).await;
    assert!(!ended.to_string().contains("canary"), "{ended}");
    let output = &ended["output"];
    for sealed in [
        &output["transcription_url"],
        &output["result"]["transcription_url"],
        &output["result"]["more"][0][0]["transcription_url"],
        &output["results"][0]["transcription_url"],
    ] {
        assert!(sealed.as_str().unwrap().contains("/api/v1/results/"), "{sealed}");
    }
    assert_eq!(output["results"][0]["file_url"], "https://files.example.com/a");
    assert_eq!(output["results"][1]["transcription_url"], Value::Null, "no handle is so long");
    relayed.stage.stop().await;
}

#[tokio::test]
async fn an_app_may_be_held_to_so_many_requests_at_the_relay_and_takes_nothing_from_others() {
    let other = valet_server::secret::AppSecret::generate();
    let others = format!("[apps.other]\nmode = \"relay\"\nsecrets = [\"{}\"]", other.hash());
    let relayed = Relayed::with("relay_rate = { per_second = 1, burst = 5 }", &others).await;
    let bearer = relayed.token(None).await;
    // What is submitted is counted elsewhere.
    for _ in 0..6 {
        relayed.submitted(&bearer).await;
    }
    let doors = || {
        [
            relayed.request(Method::GET, "/tasks/x", &bearer),
            relayed.request(Method::GET, "/tasks/x", &bearer).header("prefer", "wait=30"),
            relayed.request(Method::POST, "/tasks/wait", &bearer).json(&json!({ "task_ids": ["x", "y"] })),
            relayed.request(Method::GET, "/tasks/", &bearer),
            relayed.request(Method::POST, "/tasks/x/cancel", &bearer),
        ]
    };
    for (request, expected) in doors().into_iter().zip([200, 200, 200, 200, 400]) {
        assert_eq!(answered(request).await.status, expected);
    }
    for request in doors() {
        let answer = answered(request).await;
        assert_eq!(code(&answer), (429, "Throttling.RateQuota".into()), "{}", answer.text);
        assert!(
            answer.text.contains("relay_rate") && answer.header("retry-after") == Some("1"),
            "{answer:?}"
        );
    }
    assert_eq!(relayed.get("/tasks/", other.expose()).await.status, 200);
    relayed.submitted(&bearer).await;
    relayed.stage.turn(SECOND).await;
    assert_eq!(relayed.get("/tasks/", &bearer).await.status, 200);
    assert_eq!(relayed.get("/tasks/", &bearer).await.status, 429);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn one_request_asks_of_each_task_once() {
    let relayed = Relayed::new().await;
    let bearer = relayed.token(None).await;
    let handle = relayed.submitted(&bearer).await;
    let ask = |handles: &[&str]| {
        answered(relayed.request(Method::POST, "/tasks/wait", &bearer).json(&json!({ "task_ids": handles })))
    };
    assert_eq!(ask(&[&handle, "another"]).await.status, 200);
    assert_eq!(code(&ask(&[&handle, "another", &handle]).await), (400, "InvalidParameter".into()));
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_submit_says_nothing_beside_what_it_is_built_of() {
    let relayed = Relayed::new().await;
    let bearer = relayed.token(None).await;
    let url = relayed.recordings.url("market.wav");
    let good = relayed.submission(&[&url]).to_string();
    let send = async |body: String, headers: &[(&str, &str)]| -> Answer {
        let path = "/services/audio/asr/transcription";
        let mut request = relayed.request(Method::POST, path, &bearer);
        for (name, value) in
            [("x-dashscope-async", "enable"), ("content-type", "application/json")].iter().chain(headers)
        {
            request = request.header(*name, *value);
        }
        answered(request.body(body)).await
    };
    for (what, body) in [
        ("a model twice", good.replace("\"model\":", "\"model\":\"fun-asr-mtl\",\"model\":")),
        ("a model under another spelling", good.replace("\"model\":", "\"\\u006dodel\":\"x\",\"model\":")),
        ("files twice", good.replace("\"file_urls\":", "\"file_urls\":[],\"file_urls\":")),
        ("an input twice", good.replace("\"input\":", "\"input\":{\"file_urls\":[]},\"input\":")),
        ("a parameter that is not listed", good.replace("{}", "{\"resources\":[]}")),
        ("a field beside", good.replace("\"model\":", "\"webhook\":\"https://evil.example.net\",\"model\":")),
        ("two bodies", format!("{good}{good}")),
        ("another text encoding", format!("\u{feff}{good}")),
    ] {
        let answer = send(body, &[]).await;
        assert_eq!(code(&answer), (400, "InvalidParameter".into()), "{what}: {}", answer.text);
    }
    for header in ["x-dashscope-workspace", "x-dashscope-ossresourceresolve"] {
        assert_eq!(send(good.clone(), &[(header, "enable")]).await.status, 400, "{header}");
    }
    for key in ["", &"k".repeat(257), "caf\u{e9}"] {
        assert_eq!(send(good.clone(), &[("idempotency-key", key)]).await.status, 400, "{key:?}");
    }
    let twice = send(good.clone(), &[("idempotency-key", "one"), ("idempotency-key", "two")]).await;
    assert_eq!(twice.status, 400, "two keys are none");
    assert_eq!(relayed.stage.stack.sandbox.count(Operation::Submit), 0);
    assert_eq!(send(good, &[]).await.status, 200);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn no_handle_leads_anywhere_but_to_its_owners_task() {
    let relayed = Relayed::new().await;
    let (alice, bob) = (relayed.token(Some("alice")).await, relayed.token(Some("bob")).await);
    let app = relayed.token(None).await;
    let handle = relayed.submitted(&alice).await;
    let ended = relayed.ended(&handle, &alice).await;
    let url = ended["output"]["results"][0]["transcription_url"].as_str().unwrap();
    let result = url.rsplit('/').next().unwrap();
    let upstream = relayed.stage.stack.sandbox.tasks()[0].task_id.clone();
    let queries = relayed.stage.stack.sandbox.count(Operation::Query);
    let encoded = format!("{}%2f..%2f{handle}", &handle[..4]);
    for wrong in
        [&*upstream, result, &handle[1..], &handle.to_uppercase(), "..%2ftokens", &encoded, "%00", "a%0d%0ab"]
    {
        for bearer in [&alice, &bob, &app] {
            let answer = relayed.get(&format!("/tasks/{wrong}"), bearer).await;
            assert!(answer.status == 200 || answer.status == 404, "{wrong}: {}", answer.status);
            assert_ne!(answer.json()["output"]["task_status"], "SUCCEEDED", "{wrong}");
        }
    }
    for bearer in [&bob, &app] {
        let answer = relayed.get(&format!("/tasks/{handle}"), bearer).await;
        assert_eq!(answer.json()["output"]["task_status"], "UNKNOWN");
        let cancel =
            answered(relayed.request(Method::POST, &format!("/tasks/{handle}/cancel"), bearer)).await;
        assert_eq!(code(&cancel), (400, "UnsupportedOperation".into()));
        assert_eq!(relayed.get(&format!("/results/{result}"), bearer).await.status, 404);
        assert_eq!(relayed.get("/tasks/", bearer).await.json()["total"], 0);
    }
    assert_eq!(relayed.get(&format!("/results/{handle}"), &alice).await.status, 404, "a task is no result");
    assert_eq!(relayed.stage.stack.sandbox.count(Operation::Query), queries, "the upstream was not asked");
    relayed.stage.stop().await;
}
