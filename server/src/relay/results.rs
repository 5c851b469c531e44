//! Results: streamed through, from where the upstream said and nowhere else.

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use url::{Host, Url};
use valet_clock::{ClockExt, SharedClock};

use super::{Noted, Owner, Refused, Relay, Shown, handle::ResultKey};
use crate::{
    issue::Arrival,
    net::is_public,
    token::{Failure, Kind},
};

/// How long the upstream may take to begin, and then for each piece.
const LIMIT: Duration = Duration::from_secs(15);
/// No result has more bytes: twelve hours of speech, with the time of each word, have some tens of millions.
const LARGEST: u64 = 1 << 30;

/// A result on its way through.
pub struct Stream {
    /// 200, 206 or 416.
    pub status: u16,
    /// `Content-Length`, `Content-Range`, `Accept-Ranges`, `ETag` and the like, as they came.
    pub headers: Vec<(&'static str, String)>,
    /// The bytes, each as it is asked for: nothing is read ahead.
    pub body: BoxStream<'static, io::Result<Bytes>>,
}

/// Which part of a result is wanted (RFC 9110 §14.2).
#[derive(Clone, Copy, Debug, Default)]
pub struct Part<'r> {
    /// `Range`. Of several ranges at once nothing is known here: the whole is as good an answer.
    pub range: Option<&'r str>,
    /// `If-Range`: the part of that very result, or else the whole of another.
    pub if_range: Option<&'r str>,
}

impl Relay {
    /// A result, or the `part` of it that is asked for. A handle is enough, unless the app's results are for
    /// those alone who show its owner's token.
    ///
    /// # Errors
    /// If there is none.
    pub async fn result(
        &self,
        shown: Option<&Shown>,
        handle: &str,
        part: Part<'_>,
        arrival: &Arrival,
        noted: &mut Noted,
    ) -> Result<Stream, Refused> {
        let site = self.issue.site.load_full();
        let now = self.issue.clock.unix();
        let key =
            site.keyring().and_then(|keys| ResultKey::open(keys, handle, now)).ok_or(Refused::NoResult)?;
        let owner = Owner::of(&key.owner).ok_or(Refused::NoResult)?;
        let entry = site.find_entry(&owner.app);
        let entry = entry.filter(|entry| entry.is_enabled).ok_or(Refused::NoResult)?;
        match shown {
            Some(shown) => {
                let asker = self.admitted(&site, shown, arrival, noted)?;
                if asker.owner != owner {
                    return Err(Refused::NoResult);
                }
            }
            None if entry.results_need_bearer => {
                return Err(crate::identity::Unidentified::Missing.into());
            }
            None => {
                super::admit_page(&site, entry, arrival.origin.as_deref())?;
                noted.owner = Some(owner);
            }
        }
        self.admit_request(entry).await?;
        let private = site.has_private_hosts();
        let url = place(&key.url, private).ok_or(Refused::NoResult)?;
        let is_local = private && url.scheme() == "http";
        let mut request = self.http.for_result(is_local).get(url);
        if let Some(range) = part.range.filter(|range| !range.contains(',')) {
            request = request.header("range", range);
            if let Some(validator) = part.if_range {
                request = request.header("if-range", validator);
            }
        }
        let unavailable = || Refused::from(Failure::of(Kind::Unavailable));
        let response = self.issue.clock.timeout(LIMIT, request.send()).await;
        let response = response.map_err(|_| unavailable())?.map_err(|_| unavailable())?;
        let status = response.status().as_u16();
        match status {
            200 | 206 | 416 => {}
            // Gone, or its signature is over.
            400..500 => return Err(Refused::NoResult),
            _ => return Err(unavailable()),
        }
        let header = |name: &'static str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some((name, value.to_owned()))
        };
        if status == 416 {
            // How long it is; the words about it are the store's own.
            let headers = header("content-range").into_iter().collect();
            return Ok(Stream { status, headers, body: stream::empty().boxed() });
        }
        let told =
            ["content-length", "content-range", "content-encoding", "accept-ranges", "etag", "last-modified"];
        let headers = told.into_iter().filter_map(header).collect();
        Ok(Stream { status, headers, body: passed(response, self.issue.clock.clone()) })
    }
}

/// The bytes of a response, each piece within its time and all of them within bounds.
fn passed(response: reqwest::Response, clock: SharedClock) -> BoxStream<'static, io::Result<Bytes>> {
    stream::try_unfold((response, 0), move |(mut response, before)| {
        let clock = clock.clone();
        async move {
            let piece = clock.timeout(LIMIT, response.chunk()).await;
            // Its URL is a secret.
            let piece = piece.map_err(|_| io::ErrorKind::TimedOut)?;
            let piece = piece.map_err(|error| io::Error::other(error.without_url()))?;
            let Some(piece) = piece else { return Ok(None) };
            let passed = before + piece.len() as u64;
            if passed > LARGEST {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            Ok(Some((piece, (response, passed))))
        }
    })
    .boxed()
}

/// Where a result lies: by HTTPS even if the upstream says otherwise, but for this machine's own; and never at an
/// address that is not public.
fn place(text: &str, private: bool) -> Option<Url> {
    let mut url: Url = text.parse().ok()?;
    if private {
        return matches!(url.scheme(), "http" | "https").then_some(url);
    }
    if url.scheme() == "http" {
        url.set_scheme("https").ok()?;
    }
    let is_public = match url.host()? {
        Host::Domain(_) => true,
        Host::Ipv4(address) => is_public(address.into()),
        Host::Ipv6(address) => is_public(address.into()),
    };
    (url.scheme() == "https" && is_public).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_fetched_by_https_and_from_public_places() {
        let at = |url: &str| place(url, false).map(|url| url.to_string());
        assert_eq!(
            at("http://oss.example.com/1.json?a=b").as_deref(),
            Some("https://oss.example.com/1.json?a=b")
        );
        for bad in ["http://127.0.0.1/x", "https://10.0.0.1/x", "https://[::1]/x", "file:///etc/passwd", "x"]
        {
            assert_eq!(at(bad), None, "{bad}");
        }
        assert!(place("http://127.0.0.1:1/x", true).is_some());
    }
}
