//! Exchanges written down as text, request and whole answer, to be compared with the ones on file.

use std::fmt::Write;

use reqwest::RequestBuilder;

use crate::harness::{Answer, answered};

/// Headers that say something other each time or nothing of Valet.
const LEFT_OUT: [&str; 3] = ["content-length", "date", "x-request-id"];

/// Exchanges, in the order in which they took place.
#[derive(Default)]
pub(crate) struct Transcript(String);

impl Transcript {
    /// Sends `request` and writes down what comes of it.
    pub(crate) async fn add(&mut self, what: &str, request: RequestBuilder) -> Answer {
        let shown = show_request(request.try_clone().unwrap());
        let answer = answered(request).await;
        write!(self.0, "# {what}\n{shown}{}\n", show_answer(&answer)).unwrap();
        answer
    }

    pub(crate) fn text(&self) -> &str {
        self.0.trim_end()
    }
}

/// The line and body of a request; how it proves itself is for the title to say.
fn show_request(request: RequestBuilder) -> String {
    let request = request.build().unwrap();
    let query = request.url().query().map_or_else(String::new, |query| format!("?{query}"));
    let mut shown = format!("{} {}{query}", request.method(), request.url().path());
    if let Some(content_type) = request.headers().get("content-type") {
        write!(shown, " {}", content_type.to_str().unwrap()).unwrap();
    }
    let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
    match String::from_utf8_lossy(body) {
        body if body.is_empty() => {}
        body if body.len() > 200 => write!(shown, " ({} bytes)", body.len()).unwrap(),
        body => write!(shown, "\n{body}").unwrap(),
    }
    shown + "\n"
}

/// The whole of an answer, but for the request id, which must be the same in header and body; the bodies of
/// OAuth have none.
pub(crate) fn show_answer(answer: &Answer) -> String {
    let id = answer.header("x-request-id").unwrap();
    let body = answer.json();
    let in_body = body.get("request_id");
    assert!(in_body.is_none_or(|in_body| in_body == id));
    assert_eq!(in_body.is_none(), body.get("error").is_some(), "{body}");
    assert_eq!(answer.text.matches(id).count(), usize::from(in_body.is_some()));
    let mut shown = format!("→ {}\n", answer.status);
    let mut headers: Vec<_> =
        answer.headers.iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str())).collect();
    headers.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in headers {
        writeln!(shown, "→ {name}: {}", value.to_str().unwrap()).unwrap();
    }
    writeln!(shown, "{}", answer.text.replace(id, "[id]")).unwrap();
    shown
}
