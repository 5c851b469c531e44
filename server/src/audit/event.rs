//! What is recorded beside decisions: a plain value, and its line.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// Something that happened to the broker, not to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// It began to serve.
    Start {
        /// Its version.
        version: &'static str,
    },
    /// It was asked to stop.
    Stop,
    /// It was told to take up its configuration again.
    Reload {
        /// Whether it did.
        applied: bool,
    },
    /// What is known of an upstream key changed.
    Key {
        /// The upstream's name.
        upstream: String,
        /// The key's id.
        key: String,
        /// `quarantined`, `usable` or `removed`.
        state: &'static str,
    },
    /// Records were lost.
    Lost {
        /// How many.
        count: u64,
    },
}

impl Event {
    /// Appends its JSON line.
    pub(super) fn write_line(&self, time: Duration, line: &mut Vec<u8>) {
        let (kind, fields) = match self {
            Self::Start { version } => ("start", json!({ "version": version })),
            Self::Stop => ("stop", json!({})),
            Self::Reload { applied } => ("reload", json!({ "applied": applied })),
            Self::Key { upstream, key, state } => {
                ("key", json!({ "upstream": upstream, "key": key, "state": state }))
            }
            Self::Lost { count } => ("lost", json!({ "count": count })),
        };
        let mut all = Map::new();
        // To the millisecond, as in the lines of decisions.
        let millis = u32::try_from(time.as_millis() % 1000).unwrap_or(0);
        all.insert("time".into(), json!(time.as_secs() as f64 + f64::from(millis) / 1000.0));
        all.insert("kind".into(), kind.into());
        if let Value::Object(fields) = fields {
            all.extend(fields);
        }
        serde_json::to_writer(&mut *line, &all).expect("a Vec takes what is written");
        line.push(b'\n');
    }
}
