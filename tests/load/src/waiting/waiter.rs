//! A client that waits for one task, with as little of a client as does it: so that ten thousand fit on a core.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use valet_clock::{Clock, ClockExt, SystemClock};

use crate::{Outcome, generator::head_length};

/// A task that somebody waits for.
pub(super) struct Waiter {
    pub(super) handle: String,
    pub(super) secret: Arc<str>,
    /// When it ends.
    pub(super) ends: Instant,
}

impl Waiter {
    /// Begins to wait, on a connection of its own.
    pub(super) async fn sit_down(self, relay: SocketAddr) -> Outcome<Seated> {
        let request = format!(
            "GET /api/v1/tasks/{} HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {}\r\nprefer: wait=30\r\n\r\n",
            self.handle, self.secret
        );
        let mut connection = Connection::open(relay).await?;
        connection.send(&request).await?;
        Ok(Seated { connection, request, ends: self.ends })
    }
}

/// Somebody who has asked, and waits for the answer.
pub(super) struct Seated {
    connection: Connection,
    request: String,
    ends: Instant,
}

impl Seated {
    /// Waits until it is told of the end; how long after the end that was.
    pub(super) async fn wait(mut self) -> Outcome<Duration> {
        loop {
            let (head, body) = self.connection.answer().await?;
            match body["output"]["task_status"].as_str() {
                Some("SUCCEEDED" | "FAILED") => {
                    return Ok(SystemClock.now().saturating_duration_since(self.ends));
                }
                // There was no place.
                Some("PENDING" | "RUNNING") if head.contains("retry-after: ") => {
                    SystemClock.sleep(Duration::from_secs(5)).await;
                }
                Some("PENDING" | "RUNNING") => {}
                _ => return Err(format!("a query was answered by {head}{body}").into()),
            }
            self.connection.send(&self.request).await?;
        }
    }
}

/// The body of a submit.
pub(crate) fn task(url: &str) -> String {
    json!({ "model": "fun-asr", "input": { "file_urls": [url] }, "parameters": {} }).to_string()
}

/// The request for a submit of this body.
pub(crate) fn submission(bearer: &str, body: &str) -> String {
    format!(
        "POST /api/v1/services/audio/asr/transcription HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {bearer}\r\n\
         x-dashscope-async: enable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A connection to the relay, or to what stands in its place.
pub(crate) struct Connection(TcpStream);

impl Connection {
    pub(crate) async fn open(relay: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(relay).await?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Submits the task of a client; its handle.
    pub(crate) async fn submit(&mut self, secret: &str, url: &str, number: u32) -> Outcome<String> {
        // Each is a submit of its own, however alike they are.
        let url = format!("{url}?{number}");
        let body = task(&url);
        let request = submission(secret, &body);
        self.send(&request).await?;
        let (head, answer) = self.answer().await?;
        let handle = answer["output"]["task_id"].as_str();
        handle.map(str::to_owned).ok_or_else(|| format!("a submit was answered by {head}{answer}").into())
    }

    async fn send(&mut self, request: &str) -> Outcome<()> {
        Ok(self.0.write_all(request.as_bytes()).await?)
    }

    /// The answer to the request that was sent: the head, and the body.
    async fn answer(&mut self) -> Outcome<(String, Value)> {
        let mut received = Vec::new();
        loop {
            if self.0.read_buf(&mut received).await? == 0 {
                return Err("the relay closed a connection".into());
            }
            let Some(head) = head_length(&received) else { continue };
            let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
            let length: usize = length.ok_or("an answer without a length")?;
            if received.len() >= head + length {
                return Ok((text, serde_json::from_slice(&received[head..head + length])?));
            }
        }
    }
}
