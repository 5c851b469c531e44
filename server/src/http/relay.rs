//! The relay's doors: DashScope's own paths, bodies and errors (Model Studio, *Fun-ASR recording*, *Manage
//! asynchronous tasks*).

use std::{collections::HashSet, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Path, RawQuery, Request, State},
    response::IntoResponse,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use valet_clock::ClockExt;

use super::{
    Doors, Peer, credential, dashscope,
    errors::{self, Fault},
    listing, openapi,
};
use crate::{
    audit::Door,
    identity::Unidentified,
    issue::{Arrival, Unreadable},
    relay::{Ask, Document, LONGEST_WAIT, Noted, Part, Refused, Shown, Told},
    request_id::RequestId,
};

/// A hundred URLs of two kilobytes, and lists of words.
const LARGEST: usize = 512 << 10;

/// The routes of the relay.
pub(super) fn routes() -> OpenApiRouter<Arc<Doors>> {
    OpenApiRouter::new()
        .routes(routes!(submit))
        .routes(routes!(list))
        .routes(routes!(query))
        .routes(routes!(wait_for_tasks))
        .routes(routes!(cancel))
        .routes(routes!(result))
}

/// Submit a task, as at DashScope.
#[utoipa::path(post, path = "/api/v1/services/audio/asr/transcription", operation_id = "submitTask", tag = "relay",
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, description = "As DashScope says it.", content_type = "application/json", body = Object), openapi::RelayErrors), security(("bearer" = []), ("basic" = [])))]
async fn submit(
    State(doors): State<Arc<Doors>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let arrival = doors.arrival(Door::Submit, &peer, &parts.headers);
    let mut noted = Noted::default();
    let submitted = async {
        let shown = shown(&parts.headers)?.ok_or(Unidentified::Missing)?;
        doors.relay.know(&shown, &arrival, &mut noted)?;
        only_known(&parts.headers)?;
        let body = read(&doors, body).await?;
        let key = text(&parts.headers, "idempotency-key")?.map(str::to_owned);
        doors.relay.submit(Ask { shown, body, key }, &arrival, &mut noted).await
    };
    let submitted = submitted.await;
    recorded(&doors, arrival, noted, submitted)
}

/// How far a task is, as at DashScope. With `Prefer: wait=N` (RFC 7240) the answer comes once the status changes, at
/// the latest after N seconds.
#[utoipa::path(get, path = "/api/v1/tasks/{handle}", operation_id = "queryTask", tag = "relay",
    params(("handle" = String, Path), ("Prefer" = Option<String>, Header)),
    responses((status = 200, description = "As DashScope says it.", content_type = "application/json", body = Object), openapi::RelayErrors), security(("bearer" = []), ("basic" = [])))]
async fn query(
    State(doors): State<Arc<Doors>>,
    Extension(peer): Extension<Peer>,
    Path(handle): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let arrival = doors.arrival(Door::Query, &peer, &headers);
    let (shown, wait) = (shown(&headers), wait(&headers));
    // Whoever waits is not to hold more than that needs.
    drop(headers);
    let queried = async {
        let shown = shown?.ok_or(Unidentified::Missing)?;
        doors.relay.query(&shown, &arrival, &[handle], wait).await
    };
    let queried = queried.await.map(|mut told| {
        let document = told.documents.pop().unwrap_or(Document(Value::Null));
        (document, told)
    });
    answer_told(&doors, &arrival, queried)
}

/// How far several tasks are: once one has ended or has another status, or the `wait` of `Prefer` is over. The
/// relay's own: browsers have few connections, and a page may have many tasks.
#[utoipa::path(post, path = "/api/v1/tasks/wait", operation_id = "waitForTasks", tag = "relay",
    params(("Prefer" = Option<String>, Header)),
    request_body(content = Handles, content_type = "application/json"),
    responses((status = 200, description = "`tasks`, each as of a query, in the order asked.", content_type = "application/json", body = Object), openapi::RelayErrors), security(("bearer" = []), ("basic" = [])))]
async fn wait_for_tasks(
    State(doors): State<Arc<Doors>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let arrival = doors.arrival(Door::Query, &peer, &parts.headers);
    let queried = async {
        let shown = shown(&parts.headers)?.ok_or(Unidentified::Missing)?;
        doors.relay.know(&shown, &arrival, &mut Noted::default())?;
        let handles = Handles::read(&read(&doors, body).await?)?;
        doors.relay.query(&shown, &arrival, &handles.task_ids, wait(&parts.headers)).await
    };
    let queried = queried.await.map(|mut told| {
        let tasks = std::mem::take(&mut told.documents);
        let tasks: Vec<Value> = tasks.into_iter().map(|Document(document)| document).collect();
        (Document(json!({ "tasks": tasks })), told)
    });
    answer_told(&doors, &arrival, queried)
}

/// Which tasks to wait for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Handles {
    /// 1 to 100 of them.
    task_ids: Vec<String>,
}

impl Handles {
    fn read(body: &[u8]) -> Result<Self, Unreadable> {
        let problem = "must be 1 to 100 ids of tasks, each once, and nothing else be in the body";
        let wrong = || Unreadable::Field { field: "task_ids".into(), problem: problem.into() };
        let handles: Self = serde_json::from_slice(body).map_err(|_| wrong())?;
        let different: HashSet<&String> = handles.task_ids.iter().collect();
        let fits = (1..=100).contains(&handles.task_ids.len()) && different.len() == handles.task_ids.len();
        fits.then_some(handles).ok_or_else(wrong)
    }
}

/// Cancel a task that has not begun, as at DashScope.
#[utoipa::path(post, path = "/api/v1/tasks/{handle}/cancel", operation_id = "cancelTask", tag = "relay",
    params(("handle" = String, Path)),
    responses((status = 200, description = "As DashScope says it.", content_type = "application/json", body = Object), openapi::RelayErrors), security(("bearer" = []), ("basic" = [])))]
async fn cancel(
    State(doors): State<Arc<Doors>>,
    Extension(peer): Extension<Peer>,
    Path(handle): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let arrival = doors.arrival(Door::Cancel, &peer, &headers);
    let mut noted = Noted::default();
    let cancelled = async {
        let shown = shown(&headers)?.ok_or(Unidentified::Missing)?;
        doors.relay.cancel(&shown, &handle, &arrival, &mut noted).await
    };
    let cancelled = cancelled.await;
    recorded(&doors, arrival, noted, cancelled)
}

/// The caller's own tasks of the last day, as at DashScope.
#[utoipa::path(get, path = "/api/v1/tasks/", operation_id = "listTasks", tag = "relay",
    params(("page_no" = Option<u32>, Query), ("page_size" = Option<u32>, Query),
        ("task_id" = Option<String>, Query), ("status" = Option<String>, Query),
        ("model_name" = Option<String>, Query), ("start_time" = Option<String>, Query),
        ("end_time" = Option<String>, Query)),
    responses((status = 200, description = "As DashScope says it.", content_type = "application/json", body = Object), openapi::RelayErrors), security(("bearer" = []), ("basic" = [])))]
async fn list(
    State(doors): State<Arc<Doors>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    let arrival = doors.arrival(Door::Query, &peer, &headers);
    let listed = async {
        let page = listing::page(query.as_deref().unwrap_or_default())?;
        doors.relay.list(&shown(&headers)?.ok_or(Unidentified::Missing)?, &arrival, &page).await
    };
    let listed = listed.await;
    doors.relay.count(arrival.door, listed.as_ref());
    answer(arrival.request_id, listed)
}

/// A result, by the handle that a query has named; or one range of its bytes (RFC 9110 §14), if the store has ranges.
#[utoipa::path(get, path = "/api/v1/results/{handle}", operation_id = "readResult", tag = "relay",
    params(("handle" = String, Path), ("Range" = Option<String>, Header), ("If-Range" = Option<String>, Header)),
    responses((status = 200, description = "As DashScope says it.", content_type = "application/json", body = Object),
        (status = 206, description = "The range that was asked for.", content_type = "application/json"),
        (status = 416, description = "There is no such range; `Content-Range` says how long it is.", content_type = "application/json"), openapi::RelayErrors), security((), ("bearer" = []), ("basic" = [])))]
async fn result(
    State(doors): State<Arc<Doors>>,
    Extension(peer): Extension<Peer>,
    Path(handle): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let arrival = doors.arrival(Door::Result, &peer, &headers);
    let id = arrival.request_id;
    let mut noted = Noted::default();
    let found = async {
        let shown = shown(&headers)?;
        let part = Part { range: text(&headers, "range")?, if_range: text(&headers, "if-range")? };
        doors.relay.result(shown.as_ref(), &handle, part, &arrival, &mut noted).await
    };
    let found = found.await;
    let status =
        found.as_ref().map_or_else(|refused| refusal(id, refused).status().as_u16(), |found| found.status);
    doors.relay.record(arrival, status, noted, found.as_ref());
    match found {
        Ok(stream) => {
            let status = StatusCode::from_u16(stream.status).unwrap_or(StatusCode::OK);
            let mut response = super::response(status, "application/json", id, Bytes::new())
                .map(|_: Full<Bytes>| Body::from_stream(stream.body));
            for (name, value) in stream.headers {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    response.headers_mut().insert(HeaderName::from_static(name), value);
                }
            }
            guarded(response)
        }
        Err(refused) => refusal(id, &refused),
    }
}

/// The body of a submit.
async fn read(doors: &Doors, body: Body) -> Result<Bytes, Unreadable> {
    let whole = Limited::new(body, LARGEST).collect();
    let slow = |_| Unreadable::TooSlow { seconds: doors.bounds.body_time.as_secs() };
    let whole = doors.issue.clock.timeout(doors.bounds.body_time, whole).await.map_err(slow)?;
    whole.map(http_body_util::Collected::to_bytes).map_err(|_| Unreadable::TooLarge { limit: LARGEST })
}

fn recorded(
    doors: &Doors,
    arrival: Arrival,
    noted: Noted,
    answered: Result<Document, Refused>,
) -> Response<Body> {
    let outcome = answered.as_ref().map(drop).map_err(Clone::clone);
    let response = answer(arrival.request_id, answered);
    doors.relay.record(arrival, response.status().as_u16(), noted, outcome.as_ref());
    response
}

fn answer(id: RequestId, answered: Result<Document, Refused>) -> Response<Body> {
    match answered {
        Ok(Document(mut document)) => {
            // Each answer has the name of its own request.
            document["request_id"] = id.to_string().into();
            let body = Bytes::from(document.to_string());
            guarded(super::response(StatusCode::OK, "application/json", id, body).map(Body::new))
        }
        Err(refused) => refusal(id, &refused),
    }
}

/// An answer about tasks, with what came of the wish to wait for them.
fn answer_told(doors: &Doors, arrival: &Arrival, told: Result<(Document, Told), Refused>) -> Response<Body> {
    // Too many to be recorded, and no less counted.
    doors.relay.count(arrival.door, told.as_ref());
    let id = arrival.request_id;
    let (document, told) = match told {
        Ok(told) => told,
        Err(refused) => return refusal(id, &refused),
    };
    let mut response = answer(id, Ok(document));
    let headers = [
        ("preference-applied", told.waited.map(|wait| format!("wait={}", wait.as_secs()))),
        ("retry-after", told.retry_after.map(|seconds| seconds.to_string())),
    ];
    for (name, value) in headers {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

fn refusal(id: RequestId, refused: &Refused) -> Response<Body> {
    let response = match refused {
        Refused::Here(refusal) => dashscope::refusal(id, &Fault::from(refusal)),
        Refused::OutcomeUnknown => dashscope::refusal(id, &said(&errors::OUTCOME_UNKNOWN)),
        Refused::NoResult => dashscope::refusal(id, &said(&errors::NO_RESULT)),
        Refused::Upstream { status, code, message, retry_after } => {
            dashscope::repeated(id, *status, code, message, *retry_after)
        }
    };
    guarded(response.map(Body::new))
}

fn said(entry: &'static errors::Entry) -> Fault {
    Fault::of(entry, &format!("{}. {}", entry.title, entry.remedy))
}

/// What keeps an answer to the one who asked for it.
fn guarded(response: Response<Body>) -> Response<Body> {
    let headers = [
        (header::CACHE_CONTROL, "no-store, private"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::VARY, "Authorization, Origin, Prefer"),
    ];
    (headers, response).into_response()
}

/// What a caller shows: a bearer as it is, which may be a relay token; or Basic.
fn shown(headers: &HeaderMap) -> Result<Option<Shown>, Unidentified> {
    let Some(bearer) = credential::bearer_in_header(headers)? else {
        return Ok(credential::in_header(headers)?.map(Shown::Credential));
    };
    Ok(Some(Shown::Bearer(bearer)))
}

/// How long the caller would like to wait (RFC 7240 §4.3), in whole seconds; what is longer than can be waited is as
/// long as can be. Other preferences, and what is none, are passed over (§2).
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = preferences.flat_map(|value| value.split([',', ';'])).map(str::trim);
    let seconds = preferences.find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("wait")
            .then(|| value.trim().trim_matches('"').parse::<u32>().ok())?
    })?;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()).min(LONGEST_WAIT))
}

fn text<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<Option<&'h str>, Unreadable> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=256).contains(&text.len()) && values.next().is_none());
    let problem = "must be 1 to 256 characters of ASCII, and stand there once".to_owned();
    text.map(Some).ok_or_else(|| Unreadable::Field { field: name.to_owned(), problem })
}

/// A submit is asynchronous, of one workspace and of files that anyone can fetch.
fn only_known(headers: &HeaderMap) -> Result<(), Refused> {
    let refuse = |field: &str, problem: &str| {
        Err(Unreadable::Field { field: field.to_owned(), problem: problem.to_owned() }.into())
    };
    if headers.get("x-dashscope-async").is_none_or(|value| value != "enable") {
        return Err(Refused::Upstream {
            status: 403,
            code: "AccessDenied".into(),
            message: "current user api does not support synchronous calls.".into(),
            retry_after: None,
        });
    }
    for name in ["x-dashscope-workspace", "x-dashscope-ossresourceresolve"] {
        if headers.contains_key(name) {
            return refuse(name, "is not taken here; leave it out");
        }
    }
    Ok(())
}
