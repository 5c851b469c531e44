//! The playground: a page, made of files that are compiled in, which uses the relay as any other page would. On
//! loopback it may sign its user in. Knows neither tasks nor transcripts.

use std::{fmt::Write, sync::Arc, time::Instant};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;

use super::{Doors, Peer, body, fields, fields::Fields, not_found, only_get, v1};
use crate::{
    audit::Door,
    identity::Credential,
    issue::{Ask, Refusal, Unreadable},
    policy::{Denial, TokenRequest},
    site::{Form, Site},
};

/// Where the page asks to be signed in.
pub(super) const SIGN_IN: &str = "/playground/sign-in";

const PAGE: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const ICON: &str = "image/svg+xml";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! files {
    ($($name:literal: $kind:ident, $path:literal;)*) => {
        &[$(($name, $kind, include_str!(concat!("../../../web/", $path)))),*]
    };
}

/// Every file of the page, by its name below `/playground/`.
const FILES: &[(&str, &str, &str)] = files! {
    "": PAGE, "playground/index.html";
    "icon.svg": ICON, "playground/icon.svg";
    "style.css": STYLE, "playground/style.css";
    "element.js": SCRIPT, "playground/element.js";
    "page.js": SCRIPT, "playground/page.js";
    "player.js": SCRIPT, "playground/player.js";
    "transcript.js": SCRIPT, "playground/transcript.js";
    "valet/api.js": SCRIPT, "src/api.js";
    "valet/client.js": SCRIPT, "src/client.js";
    "valet/clock.js": SCRIPT, "src/clock.js";
    "valet/error.js": SCRIPT, "src/error.js";
    "valet/http.js": SCRIPT, "src/http.js";
    "valet/index.js": SCRIPT, "src/index.js";
    "valet/poller.js": SCRIPT, "src/poller.js";
    "valet/request.js": SCRIPT, "src/request.js";
    "valet/task.js": SCRIPT, "src/task.js";
    "valet/tokens.js": SCRIPT, "src/tokens.js";
    "valet/format/cue.js": SCRIPT, "src/format/cue.js";
    "valet/format/cut.js": SCRIPT, "src/format/cut.js";
    "valet/format/index.js": SCRIPT, "src/format/index.js";
    "valet/format/piece.js": SCRIPT, "src/format/piece.js";
    "valet/format/text.js": SCRIPT, "src/format/text.js";
    "valet/format/times.js": SCRIPT, "src/format/times.js";
    "valet/format/turn.js": SCRIPT, "src/format/turn.js";
};

/// The routes of the page; where it is not switched on, there is nothing behind them.
pub(super) fn routes(doors: Arc<Doors>) -> Router<Arc<Doors>> {
    Router::new()
        // Relative: the broker may lie below a path of the public URL.
        .route("/playground", get(|| async { Redirect::permanent("playground/") }))
        .route("/playground/", get(index))
        .route("/playground/settings.json", get(settings))
        .route("/playground/{*name}", get(file))
        .method_not_allowed_fallback(only_get)
        .layer(from_fn_with_state(doors, if_switched_on))
}

async fn if_switched_on(State(doors): State<Arc<Doors>>, request: Request, next: Next) -> Response {
    match doors.issue.site.load().playground.is_some() {
        true => next.run(request).await,
        false => not_found(State(doors), request).await.into_response(),
    }
}

async fn index(doors: State<Arc<Doors>>, request: Request) -> Response {
    file(doors, Path(String::new()), request).await
}

async fn file(State(doors): State<Arc<Doors>>, Path(name): Path<String>, request: Request) -> Response {
    let site = doors.issue.site.load();
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => guarded(&doors, &site, kind, Bytes::from_static(text.as_bytes())),
        None => not_found(State(doors.clone()), request).await.into_response(),
    }
}

/// What the page has to know: where it should be opened, and the apps that it can be signed in as.
async fn settings(
    State(doors): State<Arc<Doors>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    let site = doors.issue.site.load();
    let sign_in = site.playground.as_ref().filter(|_| is_near(&site, &peer, &headers));
    let sign_in = sign_in.map_or(&[][..], |playground| &playground.sign_in);
    let broker = if site.public_url.is_empty() { site.own_origin() } else { &site.public_url };
    let settings = json!({ "url": format!("{broker}/playground/"), "sign_in": sign_in });
    guarded(&doors, &site, "application/json", Bytes::from(settings.to_string()))
}

/// Signs in whoever sits at this machine as one of the apps that the configuration opens to them.
pub(super) async fn sign_in(
    doors: &Doors,
    peer: &Peer,
    parts: &Parts,
    body: Incoming,
) -> http::Response<Full<Bytes>> {
    let mut arrival = doors.arrival(Door::Playground, peer, &parts.headers);
    let ask = read(doors, peer, parts, body, &mut arrival.read).await;
    doors.decide(arrival, Form::V1, &ask, v1::success, |id, fault| v1::problem(doors, id, fault)).await
}

async fn read(
    doors: &Doors,
    peer: &Peer,
    parts: &Parts,
    body: Incoming,
    at: &mut Instant,
) -> Result<Ask, Refusal> {
    let site = doors.issue.site.load_full();
    let body = body::read(body, &doors.bounds, &*doors.issue.clock, at).await?;
    if !is_near(&site, peer, &parts.headers) || !is_of_own_page(&site, &parts.headers) {
        return Err(Denial::OriginNotAllowed.into());
    }
    let mut fields = Fields::read(&parts.headers, &body)?;
    if fields.is_form() {
        return Err(Unreadable::MediaType { accepted: "application/json" }.into());
    }
    let app = fields.text("app")?.ok_or_else(|| fields::wrong("app", "is missing"))?;
    fields.finish()?;
    let request = TokenRequest { origin: Doors::origin(&parts.headers), ..TokenRequest::default() };
    Ok(Ask { credential: Credential::AtThisMachine { app: app.into_owned() }, request })
}

/// Whether a request was made at this machine, and to it by its own name: a page of elsewhere whose name was made to
/// lead here (DNS rebinding) still has that name in `Host`, and what a proxy passes on says so.
fn is_near(site: &Site, peer: &Peer, headers: &HeaderMap) -> bool {
    let own = site.own_origin().split_once("://").map_or("", |(_, authority)| authority);
    let passed_on = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];
    peer.address.to_canonical().is_loopback()
        && one(headers, &header::HOST) == Some(own)
        && !passed_on.iter().any(|name| headers.contains_key(*name))
}

/// Whether the broker's own page has sent it: a browser says where a request comes from, and lets no script say
/// otherwise (Fetch Standard; Fetch Metadata Request Headers).
fn is_of_own_page(site: &Site, headers: &HeaderMap) -> bool {
    one(headers, &header::ORIGIN) == Some(site.own_origin())
        && one(headers, &HeaderName::from_static("sec-fetch-site")) == Some("same-origin")
}

/// The value of a header that is there once.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok();
    first.filter(|_| values.next().is_none())
}

/// A file with what keeps the page to itself.
fn guarded(doors: &Doors, site: &Site, kind: &'static str, body: Bytes) -> Response {
    let mut response = super::response(StatusCode::OK, kind, doors.request_ids.next(), body).map(Body::new);
    let policy = policy(site).parse().expect("hosts are plain ASCII");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// Everything from here; recordings also from where those of the apps lie, and from the user's own disk.
fn policy(site: &Site) -> String {
    let mut policy = String::from(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'; media-src blob:",
    );
    for host in site.file_hosts() {
        let _ = write!(policy, " {host}");
    }
    if site.has_private_hosts() {
        policy.push_str(" http://127.0.0.1:* http://localhost:*");
    }
    policy
}
