//! Which web pages may read an answer (Fetch Standard, *CORS protocol*): those of the origins that apps list, without
//! cookies. What a page may have is decided elsewhere; here nothing is refused that curl would get.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;

use super::{Doors, X_REQUEST_ID};

/// What pages send to the token doors and the relay.
const REQUEST_HEADERS: &str =
    "Authorization, Content-Type, X-DashScope-Async, Idempotency-Key, Prefer, Range";
/// What they read beside what any page may.
const RESPONSE_HEADERS: &str = "x-request-id, Retry-After, Preference-Applied, Content-Range";
/// For how long a browser need not ask again, in seconds; what a page may read is said with each answer.
const MAX_AGE: &str = "600";

/// Marks an answer that is for no page, whichever asks: its app lists no origins.
#[derive(Clone, Debug)]
pub(super) struct ForNoPage;

/// A request as far as it is one of a page.
#[derive(Debug)]
pub(super) struct Page {
    origin: Option<HeaderValue>,
    /// Whether pages may use what is asked for at all.
    is_open: bool,
    is_preflight: bool,
}

impl Page {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let path = request.uri().path();
        let is_open = path == "/v1/tokens"
            || path == "/oauth/token"
            || path.starts_with("/api/v1/")
            || path.starts_with("/.well-known/");
        let headers = request.headers();
        let origin = headers.get(header::ORIGIN).cloned();
        let is_preflight = *request.method() == Method::OPTIONS
            && origin.is_some()
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        Self { origin, is_open, is_preflight }
    }

    /// The answer to a preflight; nothing, if it is none that is answered. It has no credential, so that nobody knows
    /// which app asks: it is answered for any origin that some app lists.
    pub(super) fn preflight(&self, doors: &Doors) -> Option<Response<Full<Bytes>>> {
        if !self.is_preflight || !self.is_open {
            return None;
        }
        let origin = self.listed(doors)?;
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let id = doors.request_ids.next().text();
        let id = HeaderValue::from_bytes(&id).expect("a request id is plain ASCII");
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, id);
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let fixed = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
            (header::VARY, "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        ];
        headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
        Some(response)
    }

    /// Says with an answer which page may read it. Refusals too: a page that cannot read them cannot tell its user.
    pub(super) fn share<B>(&self, doors: &Doors, response: &mut Response<B>) {
        if !self.is_open || doors.issue.site.load().origins().is_empty() {
            return;
        }
        let is_for_pages = response.extensions().get::<ForNoPage>().is_none();
        let headers = response.headers_mut();
        varies(headers);
        if let Some(origin) = self.listed(doors).filter(|_| is_for_pages) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            let exposed = HeaderValue::from_static(RESPONSE_HEADERS);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    /// The origin, if some app lists it.
    fn listed(&self, doors: &Doors) -> Option<&HeaderValue> {
        let origin = self.origin.as_ref()?;
        let is_listed = |text| doors.issue.site.load().origins().contains(text);
        origin.to_str().is_ok_and(is_listed).then_some(origin)
    }
}

/// A cache in between must not give one page the answer to another.
fn varies(headers: &mut HeaderMap) {
    let said = |value: &HeaderValue| value.to_str().is_ok_and(|names| names.contains("Origin"));
    if !headers.get_all(header::VARY).iter().any(said) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}
