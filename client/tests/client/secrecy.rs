//! Secrecy: a token goes where it was issued for, and nowhere else; not even into an error.

use valet_client::{AppCredential, Client, TaskId, Token};
use valet_clock::ManualClock;

use crate::support::{
    Reply, SECRET, Server, client, request, service_error, submitted, succeeded, task, token, transcript,
    turn_until,
};

const TOKEN: &str = "st-canary";

#[tokio::test]
async fn a_token_goes_to_its_base_url_and_to_no_other_host() {
    let clock = ManualClock::new();
    let storage = Server::start(&clock, |_| transcript("a", "words")).await;
    let result = format!("{}/signed?Signature=s", storage.url());
    let service = Server::start(&clock, move |call| match call {
        call if call.is_for_token() => token(call, TOKEN, 600),
        call if call.is_submit() => submitted("t-1"),
        _ => task("t-1", "SUCCEEDED", &[succeeded("https://example.com/a.mp3", &result)]),
    })
    .await;
    let client = client(&service, &clock);
    let transcription = turn_until(&clock, client.transcribe(&request())).await.unwrap();
    assert_eq!(transcription.files()[0].transcript().unwrap().text(), "words");
    let downloads = storage.journal();
    assert_eq!(downloads.len(), 1);
    assert!(!format!("{downloads:?}").contains(TOKEN) && !downloads[0].headers.contains_key("authorization"));
    for call in service.journal().iter().filter(|call| !call.is_for_token()) {
        assert_eq!(call.bearer(), Some(TOKEN));
    }
    for call in service.journal().iter().filter(|call| call.is_for_token()) {
        let basic = call.headers["authorization"].to_str().unwrap();
        assert!(basic.starts_with("Basic ") && !call.path.contains(SECRET));
    }
}

#[tokio::test]
async fn a_redirect_takes_neither_token_nor_secret_elsewhere() {
    let clock = ManualClock::new();
    let elsewhere = Server::start(&clock, |_| submitted("t-1")).await;
    let to = elsewhere.url();
    let service = Server::start(&clock, move |call| match call.is_for_token() {
        true => token(call, TOKEN, 600),
        false => Reply::raw(307, "").with_header("location", &to),
    })
    .await;
    assert!(turn_until(&clock, client(&service, &clock).submit(&request())).await.is_err());
    let to = elsewhere.url();
    let broker = Server::start(&clock, move |_| Reply::raw(307, "").with_header("location", &to)).await;
    assert!(turn_until(&clock, client(&broker, &clock).token()).await.is_err());
    assert!(elsewhere.journal().is_empty());
}

#[tokio::test]
async fn no_error_holds_the_token_even_if_the_service_repeats_it() {
    let echo = format!(r#"{{"code":"{TOKEN}","message":"bad key {TOKEN}","request_id":"{TOKEN}"}}"#);
    let said: Vec<Reply> = [400, 401, 403, 429, 500, 503]
        .map(|status| Reply::raw(status, echo.clone()).with_header("x-request-id", TOKEN))
        .into_iter()
        .chain([Reply::HangUp, Reply::raw(200, echo.clone()), service_error(307, "Moved")])
        .collect();
    for reply in said {
        let clock = ManualClock::new();
        let service = Server::start(&clock, move |call| match call.is_for_token() {
            true => token(call, TOKEN, 600),
            false => reply.clone(),
        })
        .await;
        let (client, id) = (client(&service, &clock), TaskId::from("t-1"));
        let errors = turn_until(&clock, async {
            [client.submit(&request()).await.unwrap_err(), client.fetch(&id).await.unwrap_err()]
        })
        .await;
        for error in errors {
            let all = format!("{error} {error:?} {:?} {:?}", error.code(), error.request_id());
            assert!(!all.contains(TOKEN) && !all.contains(SECRET), "{all}");
        }
    }
}

#[test]
fn what_holds_a_secret_does_not_show_it() {
    let credential = AppCredential::new("acme", SECRET);
    let token = Token::new(TOKEN, "https://example.com/api/v1", None);
    let client = Client::builder().api_key("https://example.com/api/v1", TOKEN).unwrap().build().unwrap();
    let shown = format!("{credential:?} {token:?} {client:?}");
    assert!(!shown.contains(SECRET) && !shown.contains(TOKEN), "{shown}");
}

#[test]
fn secrets_are_not_sent_in_the_clear() {
    let credential = || AppCredential::new("acme", SECRET);
    for refused in [
        "http://valet.example.com",
        "ftp://localhost",
        "valet.example.com",
        "http://localhost.example.com",
        "https://user:hunter2@valet.example.com",
        "",
    ] {
        let error = Client::builder().broker(refused, credential()).expect_err(refused);
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(Client::builder().api_key(refused, TOKEN).is_err(), "{refused}");
    }
    for accepted in
        ["https://valet.example.com/", "http://localhost:8080", "http://127.0.0.1:1", "http://[::1]"]
    {
        assert!(Client::builder().broker(accepted, credential()).is_ok(), "{accepted}");
    }
}
