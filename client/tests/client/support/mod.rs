//! What every test needs: a scripted server, time that is turned by hand, and the documented bodies.

mod bodies;
mod server;
mod time;

use std::sync::Arc;

use valet_client::{AppCredential, Client, Error, Kind, TranscriptionRequest};
use valet_clock::ManualClock;

pub(crate) use self::{
    bodies::{failed, problem, relay_token, service_error, submitted, succeeded, task, token, transcript},
    server::{Reply, Request, Server},
    time::{ClientClock, settle, turn_until},
};

pub(crate) const SECRET: &str = "vs_canary";

/// A client of the broker at `server`, whose time passes by `clock`.
pub(crate) fn client(server: &Server, clock: &ManualClock) -> Client {
    let credential = AppCredential::new("acme", SECRET);
    let builder = Client::builder().broker(&server.url(), credential).unwrap();
    builder.clock(Arc::new(ClientClock::new(clock))).build().unwrap()
}

pub(crate) fn request() -> TranscriptionRequest {
    TranscriptionRequest::new(["https://example.com/a.mp3"])
}

/// The error of a call that must fail, of the kind it must be of.
pub(crate) fn failure<T: std::fmt::Debug>(outcome: Result<T, Error>, kind: Kind) -> Error {
    let error = outcome.expect_err("the call fails");
    assert_eq!(error.kind(), kind, "{error}");
    error
}
