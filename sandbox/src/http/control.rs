//! The control route `/_sandbox/…`: the journal, the faults and the time of tasks, for tests in any language.
//!
//! It is open on loopback only, or to whoever shows the control token. A change must come with
//! `Content-Type: application/json` or by a method that a page in a browser cannot use across origins.

use std::collections::BTreeMap;

use hyper::{Method, StatusCode, header::CONTENT_TYPE};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    Answer,
    call::{Call, json, typed},
};
use crate::{
    accounts::bearer,
    contract::Refusal,
    core::Core,
    fault::Fault,
    ids,
    journal::{Counts, Entry, Operation},
    settings::TaskTime,
};

const HELP: &str = "\
The sandbox's control route. Bodies are JSON.

GET    /_sandbox/journal     every request so far; ?operation=mint for those of one operation
DELETE /_sandbox/journal     forget them and count anew
GET    /_sandbox/counts      requests that arrived and were answered, by operation
GET    /_sandbox/faults      the faults still to come
POST   /_sandbox/faults      script one: {\"operation\":\"mint\",\"times\":2,\"delay_ms\":0,\"effect\":…}
                             operation  mint submit query list cancel result other; absent: any
                             times      how often, 1 if absent; null: until cleared
                             key        the fingerprint of a key or token, if only its requests are meant
                             effect     \"hang\" \"reset\" \"lose_answer\" \"truncate\"
                                        {\"refuse\":{\"status\":429,\"code\":\"…\",\"message\":\"…\",\"retry_after_s\":1}}
                                        {\"replace\":{\"status\":502,\"content_type\":\"text/html\",\"body\":\"…\"}}
                                        {\"enormous\":{\"bytes\":1000000000}} {\"skew\":{\"seconds\":-90}}
                                        {\"expire_early\":{\"after_ms\":5000}}
                                        {\"drip\":{\"bytes\":64,\"pause_ms\":1000}}
DELETE /_sandbox/faults      clear them
PUT    /_sandbox/task-time   of later tasks: {\"pending_ms\":200,\"running_ms\":1000}
DELETE /_sandbox/tokens      expire every token; with the body {\"token\":\"st-…\"} that one
";

#[derive(Debug, Serialize)]
struct JournalBody {
    entries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OneToken {
    token: String,
}

pub(super) fn answer(core: &Core, call: &Call, rest: &str) -> Answer {
    permit(core, call)?;
    match (call.parts.method.as_str(), rest) {
        ("GET", "") => return Ok(typed(StatusCode::OK, "text/plain; charset=utf-8", HELP)),
        ("GET", "journal") => return journal(core, call),
        ("GET", "counts") => return Ok(json(&counts(core))),
        ("GET", "faults") => return Ok(json(&json!({ "faults": core.script.pending() }))),
        ("DELETE", "journal") => core.journal.clear(),
        ("DELETE", "faults") => core.script.clear(),
        ("POST", "faults") => {
            let fault: Fault = body(call)?;
            fault.check().map_err(|rule| Refusal::parameter("body", rule))?;
            core.script.add(fault);
        }
        ("PUT", "task-time") => core.set_task_time(body::<TaskTime>(call)?),
        ("DELETE", "tokens") if call.body.is_empty() => core.accounts.expire_all_tokens(),
        ("DELETE", "tokens") => {
            if !core.accounts.expire_token(&body::<OneToken>(call)?.token) {
                return Err(Refusal::not_found("There is no such token."));
            }
        }
        _ => return Err(Refusal::not_found("See GET /_sandbox/ for what there is.")),
    }
    Ok(json(&json!({ "request_id": call.request_id })))
}

fn permit(core: &Core, call: &Call) -> Result<(), Refusal> {
    match &core.settings.control_token {
        // Hashes are compared, so that the time tells nothing of the token.
        Some(token) => {
            let shown = bearer(call.headers()).map(ids::hash);
            let proven = shown == Some(ids::hash(token.expose_secret()));
            if proven { Ok(()) } else { Err(Refusal::access("Show the control token as bearer.")) }
        }
        None if core.loopback => Ok(()),
        None => Err(Refusal::access("Beyond loopback, the control route needs a control token.")),
    }?;
    let typed = call.headers().get(CONTENT_TYPE).is_some_and(|value| value == "application/json");
    if call.parts.method == Method::POST && !typed {
        return Err(Refusal::parameter("Content-Type", "must be application/json"));
    }
    Ok(())
}

fn journal(core: &Core, call: &Call) -> Answer {
    let [operation] = call.query(["operation"])?;
    let operation: Option<Operation> = operation
        .map(|name| {
            serde_json::from_value(name.into())
                .map_err(|_| Refusal::parameter("operation", "is none of the journal's operations"))
        })
        .transpose()?;
    let mut entries = core.journal.entries();
    entries.retain(|entry| operation.is_none_or(|wanted| wanted == entry.operation));
    Ok(json(&JournalBody { entries }))
}

fn counts(core: &Core) -> BTreeMap<String, Counts> {
    let name = |operation| match serde_json::to_value(operation) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    };
    Operation::ALL.into_iter().map(|operation| (name(operation), core.journal.counts(operation))).collect()
}

fn body<T: DeserializeOwned>(call: &Call) -> Result<T, Refusal> {
    // Read as an object first, for serde would also take a list of the fields.
    let object: serde_json::Result<Map<String, Value>> = serde_json::from_slice(&call.body);
    object.and_then(|object| serde_json::from_value(object.into())).map_err(|e| Refusal::parameter("body", e))
}
