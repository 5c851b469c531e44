//! What is recorded of a decision: a plain value, never a secret.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde::{Serialize, Serializer};

use crate::request_id::RequestId;

/// One decision on an issuing route.
#[derive(Debug, Serialize)]
pub struct Record {
    /// When it was answered: Unix time, in seconds with three decimals.
    #[serde(serialize_with = "seconds")]
    pub time: Duration,
    /// The request's id, as in the response's `x-request-id`.
    #[serde(serialize_with = "display")]
    pub request_id: RequestId,
    /// Through which door it came.
    pub door: Door,
    /// The address it came from.
    #[serde(serialize_with = "display")]
    pub peer: SocketAddr,
    /// The status it was answered with.
    pub status: u16,
    /// `issued`, or why not.
    pub outcome: &'static str,
    /// How long it took, in microseconds.
    pub latency_us: u64,
    /// The app, if its credential proved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<Arc<str>>,
    /// The end user the app named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The caller's own word for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_reference_id: Option<String>,
    /// The life that the token had left, in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// The id of the upstream key it was minted from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_key: Option<Arc<str>>,
    /// The upstream's request id of the mint or of its refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_request_id: Option<Arc<str>>,
}

/// The doors to the one use case.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// `POST /v1/tokens`: Valet's own.
    V1,
    /// `POST /api/v1/tokens`: DashScope's.
    #[serde(rename = "dashscope")]
    DashScope,
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // Milliseconds since 1970 are exact in a double for longer than anyone will keep this.
    serializer.serialize_f64((time.as_secs_f64() * 1000.0).round() / 1000.0)
}

fn display<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
