//! The protocol over HTTP: which request is which operation, and who answers it.

mod body;
mod call;
mod cancel;
mod control;
mod distort;
mod front;
mod list;
mod mint;
mod query;
mod result;
mod serve;
mod submit;

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

/// A request that is part of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Mint,
    Submit,
    Query(String),
    List,
    Cancel(String),
    Result(String),
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
        let Some(path) = path.strip_prefix("/api/v1/") else { return Self::Unknown };
        let segments: Vec<&str> = path.split('/').collect();
        match (method.as_str(), segments.as_slice()) {
            ("POST", ["tokens"]) => Self::Mint,
            ("POST", ["services", "audio", "asr", "transcription"]) => Self::Submit,
            ("GET", ["tasks"] | ["tasks", ""]) => Self::List,
            ("GET", ["tasks", id]) => Self::Query((*id).to_owned()),
            ("POST", ["tasks", id, "cancel"]) => Self::Cancel((*id).to_owned()),
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
        Route::Result(name) => result::answer(core, call, name),
        Route::Control(rest) => control::answer(core, call, rest),
        Route::Unknown => Err(Refusal::not_found("There is no such method and path.")),
    }
}
