//! Stands before the handlers: reads a request whole, writes it into the journal, lets a scripted fault have
//! its way, and dates and records the answer.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Request, Response,
    body::Incoming,
    header::{DATE, HeaderName, HeaderValue},
    http::request::Parts,
};
use tokio_util::sync::CancellationToken;
use valet_clock::{ClockExt, SystemClock};

use super::{
    BODY_MAX, Route, answer,
    body::Body,
    call::{Call, refused},
    distort::{distorted, instead},
    upload,
};
use crate::{
    accounts::bearer,
    contract::Refusal,
    core::Core,
    fault::Effect,
    ids,
    journal::{Entry, Operation},
    stamp,
};

/// How long a request's body may take. It is the peer's pace that this bounds, not the course of a test,
/// so the machine's clock measures it.
const BODY_TIME: Duration = Duration::from_secs(30);
/// And how long a file.
const UPLOAD_TIME: Duration = Duration::from_mins(10);

/// The connection is to be reset instead of answered.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset")]
pub(super) struct Reset;

#[derive(Debug)]
pub(crate) struct Front {
    core: Arc<Core>,
    stop: CancellationToken,
}

impl Front {
    pub(crate) fn new(core: Arc<Core>, stop: CancellationToken) -> Self {
        Self { core, stop }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Reset> {
        let (parts, body) = request.into_parts();
        let route = Route::of(&parts.method, parts.uri.path());
        let (request_id, effect) = (ids::uuid(), Effect::None);
        let (form, empty) = (Mutex::default(), Bytes::new());
        let mut call = Call { route, parts, body: empty, form, request_id, effect };
        if call.route == Route::Upload {
            let read = upload::receive(call.headers(), body, self.core.storage.bytes_max());
            call.form = Mutex::new(Some(SystemClock.timeout(UPLOAD_TIME, read).await.map_err(|_| Reset)?));
            return self.answered(call).await;
        }
        let read = Limited::new(body, BODY_MAX).collect();
        match SystemClock.timeout(BODY_TIME, read).await {
            Ok(Ok(body)) => call.body = body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let refusal = Refusal::parameter("body", "is larger than a mebibyte");
                return Ok(self.finished(&call, refused(&refusal, &call.request_id)));
            }
            _ => return Err(Reset),
        }
        if matches!(call.route, Route::Control(_)) {
            return Ok(self.finished(&call, self.handled(&call)));
        }
        self.answered(call).await
    }

    /// The answer to a request that is part of the protocol, with the journal and faults.
    async fn answered(&self, mut call: Call) -> Result<Response<Body>, Reset> {
        let operation = call.route.operation();
        let entry = self.entry(&call, operation);
        let key = entry.key.clone();
        let sequence = self.core.journal.arrived(entry);
        let (delay, effect) = self.core.script.take(operation, key.as_deref());
        call.effect = effect;
        let response = self.carried_out(&call, delay).await?;
        self.core.journal.answered(operation, sequence, response.status().as_u16());
        Ok(response)
    }

    /// The answer, or the end of the connection, with the fault's effect in it.
    async fn carried_out(&self, call: &Call, delay: Duration) -> Result<Response<Body>, Reset> {
        if !delay.is_zero() {
            self.or_stop(self.core.clock.sleep(delay)).await?;
        }
        match call.effect {
            Effect::Hang => {
                self.or_stop(std::future::pending::<()>()).await?;
                Err(Reset)
            }
            Effect::Reset => Err(Reset),
            Effect::LoseAnswer => {
                self.handled(call);
                Err(Reset)
            }
            _ => Ok(self.finished(call, instead(call).unwrap_or_else(|| self.handled(call)))),
        }
    }

    fn handled(&self, call: &Call) -> Response<Bytes> {
        answer(&self.core, call).unwrap_or_else(|refusal| {
            tracing::debug!(code = %refusal.code, message = refusal.message, "a request was refused");
            refused(&refusal, &call.request_id)
        })
    }

    /// The answer as it goes out, with the headers that every answer has.
    fn finished(&self, call: &Call, response: Response<Bytes>) -> Response<Body> {
        let mut response = distorted(response, &call.effect, &self.core.clock);
        let date = stamp::http_date(self.core.clock.unix(), call.skew());
        for (name, value) in
            [(DATE, date), (HeaderName::from_static("x-request-id"), call.request_id.clone())]
        {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    fn entry(&self, call: &Call, operation: Operation) -> Entry {
        let Parts { method, uri, headers, .. } = &call.parts;
        let (path, key) = match &call.route {
            Route::Result(name) => ("/results/", Some(name.as_str())),
            _ => (uri.path(), bearer(headers)),
        };
        Entry {
            sequence: 0,
            at: self.core.clock.now(),
            unix: self.core.clock.unix(),
            operation,
            method: method.to_string(),
            path: path.to_owned(),
            query: uri.query().map(str::to_owned),
            key: key.map(ids::fingerprint),
            request_id: call.request_id.clone(),
            status: None,
            body: serde_json::from_slice(&call.body).ok(),
        }
    }

    /// Waits, but not beyond the end of the sandbox.
    async fn or_stop(&self, wait: impl Future<Output = ()>) -> Result<(), Reset> {
        tokio::select! {
            () = wait => Ok(()),
            () = self.stop.cancelled() => Err(Reset),
        }
    }
}
