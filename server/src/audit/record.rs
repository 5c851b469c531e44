//! What is recorded of a decision: a plain value, never a secret; and its line.

use std::{sync::Arc, time::Duration};

use crate::request_id::RequestId;

/// One decision on an issuing route.
#[derive(Debug)]
pub struct Record {
    /// When it was answered: Unix time.
    pub time: Duration,
    /// The request's id, as in the response's `x-request-id`.
    pub request_id: RequestId,
    /// Through which door it came.
    pub door: Door,
    /// The address it came from.
    pub peer: Arc<str>,
    /// The status it was answered with.
    pub status: u16,
    /// `issued`, or why not.
    pub outcome: &'static str,
    /// How long it took.
    pub latency: Duration,
    /// The app, if its credential proved it.
    pub app: Option<Arc<str>>,
    /// The end user.
    pub subject: Option<Box<EndUser>>,
    /// The caller's own word for it.
    pub client_reference_id: Option<String>,
    /// Which of several reasons the outcome has, if it has several.
    pub reason: Option<&'static str>,
    /// What kind of token was granted.
    pub mode: Option<&'static str>,
    /// The class of lifetime that was granted, in seconds.
    pub lifetime: Option<u32>,
    /// What a request of the relay was about.
    pub work: Option<Box<Work>>,
    /// The life that the token had left, in whole seconds.
    pub expires_in: Option<u64>,
    /// The SHA-256 of the token that was handed out; its line has a name made of it.
    pub token: Option<[u8; 32]>,
    /// The id of the upstream key it was minted from.
    pub upstream_key: Option<Arc<str>>,
    /// The upstream's request id of the mint or of its refusal.
    pub upstream_request_id: Option<Arc<str>>,
}

/// An end user.
#[derive(Debug)]
pub struct EndUser {
    /// The name.
    pub name: Box<str>,
    /// The issuer that vouched for it; `None` if the app named it.
    pub issuer: Option<Arc<str>>,
}

/// What a request of the relay was about.
#[derive(Debug)]
pub struct Work {
    /// The task, by the upstream's name: letters, digits and hyphens.
    pub task: Option<Box<str>>,
    /// How many recordings were submitted.
    pub urls: Option<u32>,
}

/// The doors: to the use case of issuing, and to the relay.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Door {
    /// `POST /v1/tokens`: Valet's own.
    V1,
    /// `POST /api/v1/tokens`: DashScope's.
    DashScope,
    /// `POST /oauth/token`: every OAuth 2.0 library's.
    OAuth,
    /// `POST /playground/sign-in`: the playground's.
    Playground,
    /// A query or list at the relay, which is not recorded.
    Query,
    /// A submit at the relay.
    Submit,
    /// A cancel at the relay.
    Cancel,
    /// A result read at the relay.
    Result,
}

impl Door {
    /// Its name in records and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::DashScope => "dashscope",
            Self::OAuth => "oauth",
            Self::Playground => "playground",
            Self::Query => "query",
            Self::Submit => "submit",
            Self::Cancel => "cancel",
            Self::Result => "result",
        }
    }
}

impl Record {
    /// Appends its JSON line, in which the token that was handed out is called `token`.
    ///
    /// Written field by field, since at every hit a line is written: a general serializer takes four
    /// times as long. Strings of ours (names, ids, addresses) are plain by construction; what a caller
    /// chose goes through the serializer.
    pub(super) fn write_line(&self, token: Option<&str>, line: &mut Vec<u8>) {
        line.extend_from_slice(b"{\"time\":");
        number(line, self.time.as_secs());
        line.push(b'.');
        let millis = self.time.subsec_millis();
        line.extend([millis / 100, millis / 10 % 10, millis % 10].map(|digit| b"0123456789"[digit as usize]));
        line.extend_from_slice(b",\"request_id\":\"");
        line.extend_from_slice(&self.request_id.text());
        line.push(b'"');
        plain(line, "door", self.door.name());
        plain(line, "peer", &self.peer);
        name(line, "status");
        number(line, self.status.into());
        plain(line, "outcome", self.outcome);
        if let Some(reason) = self.reason {
            chosen(line, "reason", reason);
        }
        name(line, "latency_us");
        number(line, u64::try_from(self.latency.as_micros()).unwrap_or(u64::MAX));
        if let Some(app) = &self.app {
            plain(line, "app", app);
        }
        if let Some(EndUser { name, issuer }) = self.subject.as_deref() {
            chosen(line, "subject", name);
            if let Some(issuer) = issuer {
                chosen(line, "subject_issuer", issuer);
            }
        }
        if let Some(reference) = &self.client_reference_id {
            chosen(line, "client_reference_id", reference);
        }
        if let Some(mode) = self.mode {
            plain(line, "mode", mode);
        }
        if let Some(seconds) = self.lifetime {
            name(line, "lifetime");
            number(line, seconds.into());
        }
        if let Some(Work { task, urls }) = self.work.as_deref() {
            if let Some(task) = task {
                plain(line, "task", task);
            }
            if let Some(urls) = urls {
                name(line, "urls");
                number(line, u64::from(*urls));
            }
        }
        if let Some(seconds) = self.expires_in {
            name(line, "expires_in");
            number(line, seconds);
        }
        if let Some(token) = token {
            plain(line, "token", token);
        }
        if let Some(key) = &self.upstream_key {
            plain(line, "upstream_key", key);
        }
        if let Some(id) = &self.upstream_request_id {
            plain(line, "upstream_request_id", id);
        }
        line.extend_from_slice(b"}\n");
    }
}

fn name(line: &mut Vec<u8>, name: &str) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
}

fn plain(line: &mut Vec<u8>, field: &str, text: &str) {
    debug_assert!(
        text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\')),
        "{text:?} is not plain"
    );
    name(line, field);
    line.push(b'"');
    line.extend_from_slice(text.as_bytes());
    line.push(b'"');
}

fn chosen(line: &mut Vec<u8>, field: &str, text: &str) {
    name(line, field);
    serde_json::to_writer(line, text).expect("a Vec takes what is written");
}

fn number(line: &mut Vec<u8>, number: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::request_id::RequestIds;

    fn record() -> Record {
        Record {
            time: Duration::from_millis(1_744_080_369_007),
            request_id: RequestIds::new().next(),
            door: Door::V1,
            peer: "[::1]:4000".into(),
            status: 200,
            outcome: "issued",
            latency: Duration::from_micros(15),
            app: Some("acme".into()),
            subject: None,
            client_reference_id: None,
            reason: None,
            mode: Some("direct"),
            lifetime: Some(60),
            work: None,
            expires_in: Some(57),
            token: None,
            upstream_key: Some("9df37f5e".into()),
            upstream_request_id: None,
        }
    }

    fn parsed(record: &Record) -> Value {
        let mut line = Vec::new();
        record.write_line(Some("0a1b"), &mut line);
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1, "a record is one line");
        serde_json::from_slice(&line).expect("a record is JSON")
    }

    #[test]
    fn a_line_says_what_was_decided() {
        let record = record();
        let wanted = json!({
            "time": 1_744_080_369.007, "request_id": record.request_id.to_string(), "door": "v1",
            "peer": "[::1]:4000", "status": 200, "outcome": "issued", "latency_us": 15, "app": "acme",
            "mode": "direct", "lifetime": 60, "expires_in": 57, "token": "0a1b", "upstream_key": "9df37f5e",
        });
        assert_eq!(parsed(&record), wanted);
    }

    proptest! {
        #[test]
        fn what_a_caller_chose_cannot_break_its_line(subject in ".*", reference in ".*") {
            let record = Record {
                subject: Some(Box::new(EndUser { name: subject.as_str().into(), issuer: None })), client_reference_id: Some(reference.clone()), ..record()
            };
            let line = parsed(&record);
            prop_assert_eq!(line["subject"].as_str(), Some(subject.as_str()));
            prop_assert_eq!(line["client_reference_id"].as_str(), Some(reference.as_str()));
        }
    }
}
