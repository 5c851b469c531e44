//! Web pages: which of them may read an answer, and the playground, which signs in only who sits at this machine.

use std::{collections::BTreeSet, fs, path::Path};

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tempfile::TempDir;
use valet_demo::{APP, StackSettings};
use valet_sandbox::Operation;
use valet_server::secret::AppSecret;

use crate::{
    harness::{Answer, SHARED, Stage, UNHURRIED, answered, answered_elsewhere},
    reload::reload,
    wire::Wire,
};

const PAGE: &str = "https://page.example.com";
const OTHER: &str = "https://other.example.com";
const SUBMIT: &str = "/api/v1/services/audio/asr/transcription";

/// An app at the relay with a page, another with another page, one without; and the playground.
struct Pages {
    stage: Stage,
    other: AppSecret,
    plain: AppSecret,
    _state: TempDir,
}

impl Pages {
    async fn new() -> Self {
        let (state, other, plain) = (TempDir::new().unwrap(), AppSecret::generate(), AppSecret::generate());
        let app = format!(
            "{UNHURRIED}\norigins = [\"{PAGE}\"]\n\
             [apps.other]\nmode = \"relay\"\nsecrets = [\"{}\"]\norigins = [\"{OTHER}\"]\n\
             file_hosts = [\"files.example.com\", \"*.media.example.com\"]\n\
             [apps.plain]\nmode = \"relay\"\nsecrets = [\"{}\"]\n\
             [playground]\nsign_in = [\"plain\"]",
            other.hash(),
            plain.hash()
        );
        let relay = Some(state.path().to_owned());
        let upstream = SHARED.into();
        let settings = StackSettings { app, relay, upstream, follow: true, ..StackSettings::default() };
        Self { stage: Stage::with(settings).await, other, plain, _state: state }
    }

    fn preflight(&self, path: &str, origin: &str) -> RequestBuilder {
        let request = self.stage.request(Method::OPTIONS, path).header("origin", origin);
        let headers = "authorization,content-type,idempotency-key,x-dashscope-async";
        request
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", headers)
    }

    async fn token(&self, app: &str, secret: &str, origin: &str) -> Answer {
        let request = self.stage.request(Method::POST, "/v1/tokens").header("origin", origin);
        answered(request.basic_auth(app, Some(secret))).await
    }

    fn sign_in(&self, app: &str) -> RequestBuilder {
        let request = self.stage.request(Method::POST, "/playground/sign-in");
        request.header("sec-fetch-site", "same-origin").json(&json!({ "app": app }))
    }
}

/// The origin that may read an answer.
fn reader(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_preflight_is_answered_for_the_origins_that_apps_list() {
    let pages = Pages::new().await;
    for path in ["/v1/tokens", "/oauth/token", SUBMIT, "/api/v1/tasks/abc", "/api/v1/results/abc"] {
        for origin in [PAGE, OTHER] {
            let answer = answered_elsewhere(pages.preflight(path, origin)).await;
            assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{path}");
            assert_eq!(reader(&answer), Some(origin), "{path}");
            assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST"));
            let allowed = "Authorization, Content-Type, X-DashScope-Async, Idempotency-Key, Prefer, Range";
            assert_eq!(answer.header("access-control-allow-headers"), Some(allowed));
            assert_eq!(answer.header("access-control-allow-credentials"), None, "no cookies");
            assert!(answer.header("vary").unwrap().contains("Origin"));
        }
        for origin in [
            "https://evil.example.com",
            "https://page.example.com.evil.com",
            "http://page.example.com",
            "null",
        ] {
            let answer = answered_elsewhere(pages.preflight(path, origin)).await;
            assert_eq!((answer.status, reader(&answer)), (405, None), "{path} {origin}");
        }
    }
    let revocation = answered_elsewhere(pages.preflight("/oauth/revoke", PAGE)).await;
    assert_eq!((revocation.status, reader(&revocation)), (405, None), "a page has nothing to revoke with");
    pages.stage.stop().await;
}

#[tokio::test]
async fn a_page_reads_its_own_apps_answers_and_refusals() {
    let pages = Pages::new().await;
    let secret = pages.stage.stack.secret.expose().to_owned();
    let token = pages.token(APP, &secret, PAGE).await;
    assert_eq!((token.status, reader(&token)), (200, Some(PAGE)));
    assert_eq!(token.header("vary"), Some("Origin"));
    assert_eq!(
        token.header("access-control-expose-headers"),
        Some("x-request-id, Retry-After, Preference-Applied, Content-Range")
    );
    let bearer = token.token();
    let ask = |method, path: &str, origin: &str| {
        pages.stage.request(method, path).bearer_auth(&bearer).header("origin", origin)
    };
    let list = answered(ask(Method::GET, "/api/v1/tasks/", PAGE)).await;
    assert_eq!((list.status, reader(&list)), (200, Some(PAGE)));
    assert_eq!(list.header("vary"), Some("Authorization, Origin, Prefer"));
    let submit = ask(Method::POST, SUBMIT, PAGE).json(&json!({ "model": "x" }));
    let submit = answered(submit.header("x-dashscope-async", "enable")).await;
    assert_eq!((submit.status, reader(&submit)), (400, Some(PAGE)), "a refusal");
    let wrong = pages.token(APP, "vas_wrong", PAGE).await;
    assert_eq!((wrong.status, reader(&wrong)), (401, Some(PAGE)), "nobody knows whose it is");
    let lost = answered(ask(Method::GET, "/api/v1/nowhere", PAGE)).await;
    assert_eq!((lost.status, reader(&lost)), (404, Some(PAGE)));
    // Without a page the answer says that it would be another one.
    let plain = answered(pages.stage.request(Method::GET, "/api/v1/tasks/").bearer_auth(&bearer)).await;
    assert_eq!((plain.status, reader(&plain)), (200, None));
    // Another app's page is told why not, and a page of nobody's nothing.
    let others = answered(ask(Method::GET, "/api/v1/tasks/", OTHER)).await;
    assert_eq!((code(&others), reader(&others)), ((403, "AccessDenied".into()), Some(OTHER)));
    for nobody in ["https://evil.example.com", "null", "http://page.example.com"] {
        for path in ["/api/v1/tasks/", "/api/v1/tasks/abc"] {
            let refused = answered(ask(Method::GET, path, nobody)).await;
            assert_eq!((code(&refused), reader(&refused)), ((403, "AccessDenied".into()), None), "{path}");
        }
        for path in [SUBMIT, "/api/v1/tasks/wait", "/api/v1/tasks/abc/cancel"] {
            let body = json!({ "model": "fun-asr", "input": { "file_urls": ["http://127.0.0.1:9/a.wav"] } });
            let post = ask(Method::POST, path, nobody).header("x-dashscope-async", "enable").json(&body);
            let refused = answered(post).await;
            assert_eq!((code(&refused), reader(&refused)), ((403, "AccessDenied".into()), None), "{path}");
        }
    }
    assert_eq!(pages.stage.stack.sandbox.count(Operation::Submit), 0, "nothing of theirs gets through");
    let others = pages.token(APP, &secret, OTHER).await;
    assert_eq!((code(&others), reader(&others)), ((403, "origin_not_allowed".into()), Some(OTHER)));
    pages.stage.stop().await;
}

#[tokio::test]
async fn a_refusal_of_any_door_is_read_by_a_listed_page_and_by_no_other() {
    let pages = Pages::new().await;
    let form = "application/x-www-form-urlencoded";
    let doors = ["/v1/tokens", "/oauth/token", "/api/v1/tokens", SUBMIT, "/api/v1/tasks/wait"];
    for origin in [PAGE, "https://evil.example.com", "null", "https://page.example.com:444"] {
        let may_read = Some(origin).filter(|origin| *origin == PAGE);
        let refused = async |what: &str, path: &str, status: u16, request: RequestBuilder| {
            let answer = answered_elsewhere(request.header("origin", origin)).await;
            assert_eq!(
                (answer.status, reader(&answer)),
                (status, may_read),
                "{what} at {path} from {origin}"
            );
            assert!(answer.header("vary").is_some_and(|vary| vary.contains("Origin")), "{what} at {path}");
            assert_eq!(answer.header("access-control-allow-credentials"), None);
            if may_read.is_some() {
                let exposed = answer.header("access-control-expose-headers").unwrap();
                assert!(exposed.contains("Retry-After"), "{exposed}");
            }
        };
        for path in doors {
            let ask = |method| pages.stage.request(method, path).header("x-dashscope-async", "enable");
            let post = || ask(Method::POST);
            refused("another method", path, 405, ask(Method::PUT)).await;
            let nobody = match path {
                "/oauth/token" => post().header("content-type", form).body("grant_type=client_credentials"),
                _ => post(),
            };
            refused("nobody", path, 401, nobody).await;
            let is_token_door = path.ends_with("/tokens") || path == "/oauth/token";
            if is_token_door {
                let large = post().header("content-type", form).body("x".repeat(20_000));
                refused("a large body", path, 413, large).await;
            }
        }
        let unread =
            |path| pages.stage.request(Method::POST, path).header("content-type", form).body("x=1&x=1");
        refused("what cannot be read", "/oauth/token", 400, unread("/oauth/token")).await;
        refused("what cannot be read", "/v1/tokens", 400, unread("/v1/tokens")).await;
        // A preflight of a page that no app lists is refused like any other method.
        if may_read.is_none() {
            refused("a preflight", "/v1/tokens", 405, pages.stage.request(Method::OPTIONS, "/v1/tokens"))
                .await;
        }
    }
    pages.stage.stop().await;
}

#[tokio::test]
async fn no_page_reads_what_an_app_without_origins_gets() {
    let pages = Pages::new().await;
    let token = pages.token("plain", pages.plain.expose(), PAGE).await;
    assert_eq!((token.status, reader(&token)), (200, None), "it may ask from anywhere");
    let request = pages.stage.request(Method::GET, "/api/v1/tasks/").bearer_auth(token.token());
    let list = answered(request.header("origin", PAGE)).await;
    assert_eq!(code(&list), (403, "AccessDenied".into()));
    // Of a disabled app no page is known any more.
    assert_eq!(pages.token("other", pages.other.expose(), OTHER).await.status, 200);
    let config = &pages.stage.stack.config;
    reload(&pages.stage, &config.replace("[apps.other]", "[apps.other]\nenabled = false")).await;
    let preflight = answered_elsewhere(pages.preflight(SUBMIT, OTHER)).await;
    assert_eq!(reader(&preflight), None);
    pages.stage.stop().await;
}

#[tokio::test]
async fn the_playground_is_served_whole_and_lets_nothing_else_in() {
    let pages = Pages::new().await;
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web");
    let mut served = BTreeSet::new();
    for (folder, prefix) in [("playground", ""), ("src", "valet/"), ("src/format", "valet/format/")] {
        for entry in fs::read_dir(web.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let name = path.file_name().unwrap().to_str().unwrap();
            let name = if name == "index.html" { String::new() } else { format!("{prefix}{name}") };
            let answer =
                answered_elsewhere(pages.stage.request(Method::GET, &format!("/playground/{name}"))).await;
            assert_eq!((answer.status, answer.text), (200, fs::read_to_string(&path).unwrap()), "{name}");
            served.insert(name);
        }
    }
    assert!(served.len() > 15, "{served:?}");
    let page = answered_elsewhere(pages.stage.request(Method::GET, "/playground/")).await;
    let policy = page.header("content-security-policy").unwrap();
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("media-src blob: files.example.com *.media.example.com"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    // Nothing in the page comes from elsewhere, and nothing in it is inline.
    assert!(!page.text.contains("style=") && !page.text.contains("onclick"));
    let addresses = page.text.split(['"', '\'']).filter(|text| text.contains("://"));
    assert_eq!(addresses.collect::<Vec<_>>(), ["https://files.example.com/meeting.mp3"], "a placeholder");
    for nowhere in ["/playground/nothing.js", "/playground/valet/../style.css.map"] {
        assert_eq!(answered_elsewhere(pages.stage.request(Method::GET, nowhere)).await.status, 404);
    }
    let folder = answered_elsewhere(pages.stage.request(Method::HEAD, "/playground")).await;
    assert_eq!(folder.status, 200, "it leads to the page");
    for path in ["/playground", "/playground/", "/playground/page.js", "/playground/settings.json"] {
        let post = answered_elsewhere(pages.stage.request(Method::POST, path)).await;
        assert_eq!(code(&post), (405, "method_not_allowed".into()), "{path}");
        assert_eq!(post.header("allow"), Some("GET, HEAD"), "{path}");
        assert!(post.header("x-request-id").is_some(), "{path}");
    }
    let config = pages.stage.stack.config.replace("[playground]", "[playground]\nenabled = false");
    reload(&pages.stage, &config).await;
    for gone in ["/playground", "/playground/", "/playground/page.js", "/playground/settings.json"] {
        for method in [Method::GET, Method::POST] {
            let answer = answered_elsewhere(pages.stage.request(method, gone)).await;
            assert_eq!(code(&answer), (404, "not_found".into()), "{gone}");
        }
    }
    pages.stage.stop().await;
}

#[tokio::test]
async fn the_playground_signs_in_whoever_sits_at_this_machine_until_it_is_told_not_to() {
    let pages = Pages::new().await;
    let own = pages.stage.stack.broker_url.clone();
    let signed_in = answered_elsewhere(pages.sign_in("plain").header("origin", &own)).await;
    let body = signed_in.json();
    assert_eq!(
        (signed_in.status, &body["mode"], &body["expires_in"]),
        (200, &json!("relay"), &json!(60)),
        "{body}"
    );
    let bearer = signed_in.token();
    // As the page asks: of its own origin, which no app lists.
    let list =
        || pages.stage.request(Method::GET, "/api/v1/tasks/").bearer_auth(&bearer).header("origin", &own);
    assert_eq!(answered(list()).await.status, 200);
    for (app, refused) in [(APP, (401, "invalid_credential")), ("nobody", (401, "invalid_credential"))] {
        let answer = answered_elsewhere(pages.sign_in(app).header("origin", &own)).await;
        assert_eq!(code(&answer), (refused.0, refused.1.to_owned()), "{app}");
    }
    // Taken out of the configuration, its tokens open nothing any more.
    let config = pages.stage.stack.config.replace("sign_in = [\"plain\"]", "sign_in = []");
    reload(&pages.stage, &config).await;
    assert_eq!(code(&answered(list()).await), (401, "InvalidApiKey".into()));
    let answer = answered_elsewhere(pages.sign_in("plain").header("origin", &own)).await;
    assert_eq!(answer.status, 401);
    let remains = pages.stage.stop().await;
    let line = &remains.audit[0];
    assert_eq!(
        (&line["door"], &line["app"], &line["outcome"]),
        (&json!("playground"), &json!("plain"), &json!("issued"))
    );
}

#[tokio::test]
async fn a_page_of_elsewhere_cannot_have_itself_signed_in() {
    let pages = Pages::new().await;
    let own = pages.stage.stack.broker_url.clone();
    let asked = |origin: Option<&str>, site: Option<&str>, kind: &str, more: &[(&str, &str)]| {
        let mut request =
            pages.stage.request(Method::POST, "/playground/sign-in").header("content-type", kind);
        for (name, value) in [("origin", origin), ("sec-fetch-site", site)] {
            request = if let Some(value) = value { request.header(name, value) } else { request };
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        answered_elsewhere(request.body(r#"{"app":"plain"}"#))
    };
    let (json, same) = ("application/json", Some("same-origin"));
    for (what, origin, site, more) in [
        ("another site's page", Some(PAGE), Some("cross-site"), &[][..]),
        ("a page that lies about the site", Some(PAGE), same, &[]),
        ("a navigation", Some("null"), Some("cross-site"), &[]),
        ("another port", Some("http://127.0.0.1:1"), Some("same-site"), &[]),
        ("no browser", None, None, &[]),
        ("a browser that does not tell", Some(&*own), None, &[]),
        ("behind a proxy", Some(&*own), same, &[("x-forwarded-for", "203.0.113.9")]),
        ("behind another", Some(&*own), same, &[("forwarded", "for=203.0.113.9")]),
    ] {
        let answer = asked(origin, site, json, more).await;
        assert_eq!(code(&answer), (403, "origin_not_allowed".into()), "{what}");
        assert_eq!(reader(&answer), None, "{what}");
    }
    let form = asked(Some(&own), same, "text/plain", &[]).await;
    assert_eq!(form.status, 415, "what a form can send");
    // A name that was made to lead here: the browser takes it for the page's own origin.
    for host in ["evil.example.com", "localhost:1", "127.0.0.1"] {
        let body = r#"{"app":"plain"}"#;
        let mut wire = Wire::to(pages.stage.stack.broker_addr).await;
        wire.send(format!(
            "POST /playground/sign-in HTTP/1.1\r\nhost: {host}\r\norigin: http://{host}\r\nsec-fetch-site: same-origin\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
        let answer = wire.answer().await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{host}: {answer}");
        let mut wire = Wire::to(pages.stage.stack.broker_addr).await;
        wire.send(format!("GET /playground/settings.json HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        assert!(wire.answer().await.contains(r#""sign_in":[]"#), "{host}");
    }
    assert_eq!(asked(Some(&own), same, json, &[]).await.status, 200);
    pages.stage.stop().await;
}
