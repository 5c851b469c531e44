//! The protocol over HTTP: which request is which operation, and who answers it.

mod body;
mod call;
mod cancel;
mod control;
mod distort;
mod front;
mod list;
mod mint;
mod policy;
mod query;
mod result;
mod serve;
mod submit;
mod upload;

use bytes::Bytes;
use hyper::{Method, Response};

use crate::{contract::Refusal, core::Core, journal::Operation};

pub(crate) use front::Front;
pub(crate) use serve::serve;

use call::Call;

/// What an operation answers, before a fault distorts it.
type Answer = Result<Response<Bytes>, Refusal>;

/// The largest body of a request: a hundred long URLs are smaller.
const BODY_MAX: usize = 1 << 20;

/// Where the storage stands: beside the API, as a host of its own would.
pub(crate) const STORAGE: &str = "/storage";

/// A request that is part of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Mint,
    Submit,
    Query(String),
    List,
    Cancel(String),
    Result(String),
    Policy,
    Upload,
    /// The control route and what stands behind its prefix.
    Control(String),
    Unknown,
}

impl Route {
    fn of(method: &Method, path: &str) -> Self {
        if let Some(rest) = path.strip_prefix("/_sandbox/") {
            return Self::Control(rest.to_owned());
        }
        if let Some(name) = path.strip_prefix("/results/").filter(|_| method == Method::GET) {
            return Self::Result(name.to_owned());
        }
        if path == STORAGE && method == Method::POST {
            return Self::Upload;
        }
        let Some(path) = path.strip_prefix("/api/v1/") else { return Self::Unknown };
        let segments: Vec<&str> = path.split('/').collect();
        match (method.as_str(), segments.as_slice()) {
            ("POST", ["tokens"]) => Self::Mint,
            ("POST", ["services", "audio", "asr", "transcription"]) => Self::Submit,
            ("GET", ["uploads"]) => Self::Policy,
            ("GET", ["tasks"] | ["tasks", ""]) => Self::List,
            // The asynchronous class of the vendor's Python SDK puts a slash behind (`api_request_factory.py`).
            ("GET", ["tasks", id] | ["tasks", id, ""]) => Self::Query((*id).to_owned()),
            ("POST", ["tasks", id, "cancel"] | ["tasks", id, "cancel", ""]) => Self::Cancel((*id).to_owned()),
            _ => Self::Unknown,
        }
    }

    fn operation(&self) -> Operation {
        match self {
            Self::Mint => Operation::Mint,
            Self::Submit => Operation::Submit,
            Self::Query(_) => Operation::Query,
            Self::List => Operation::List,
            Self::Cancel(_) => Operation::Cancel,
            Self::Result(_) => Operation::Result,
            Self::Policy => Operation::Policy,
            Self::Upload => Operation::Upload,
            Self::Control(_) | Self::Unknown => Operation::Other,
        }
    }
}

fn answer(core: &Core, call: &Call) -> Answer {
    match &call.route {
        Route::Mint => mint::answer(core, call),
        Route::Submit => submit::answer(core, call),
        Route::Query(id) => query::answer(core, call, id),
        Route::List => list::answer(core, call),
        Route::Cancel(id) => cancel::answer(core, call, id),
        Route::Policy => policy::answer(core, call),
        Route::Upload => upload::answer(core, call),
        Route::Result(name) => result::answer(core, call, name),
        Route::Control(rest) => control::answer(core, call, rest),
        Route::Unknown => Err(Refusal::not_found("There is no such method and path.")),
    }
}
