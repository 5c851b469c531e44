//! Results: streamed through, from where the upstream said and nowhere else.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream as _, StreamExt, stream::BoxStream};
use url::{Host, Url};
use valet_clock::ClockExt;

use super::{Noted, Owner, Refused, Relay, Shown, handle::ResultKey};
use crate::{
    issue::Arrival,
    net::is_public,
    token::{Failure, Kind},
};

/// How long the upstream may take to begin.
const LIMIT: Duration = Duration::from_secs(15);

/// A result on its way through.
pub struct Stream {
    /// 200, 206 or 416.
    pub status: u16,
    /// `Content-Length`, `Content-Range`, `Accept-Ranges`, `ETag`, as they came.
    pub headers: Vec<(&'static str, String)>,
    /// The bytes.
    pub body: BoxStream<'static, Result<Bytes, reqwest::Error>>,
}

impl Relay {
    /// A result, or the `range` of it that is asked for. A handle is enough, unless the app's results are for
    /// those alone who show its owner's token.
    ///
    /// # Errors
    /// If there is none.
    pub async fn result(
        &self,
        shown: Option<&Shown>,
        handle: &str,
        range: Option<&str>,
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
                super::admit_page(&site, entry, arrival)?;
                noted.owner = Some(owner);
            }
        }
        let private = site.has_private_hosts();
        let url = place(&key.url, private).ok_or(Refused::NoResult)?;
        let is_local = private && url.scheme() == "http";
        let mut request = self.http.for_result(is_local).get(url);
        if let Some(range) = range {
            request = request.header("range", range);
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
        let headers =
            ["content-length", "content-range", "accept-ranges", "etag"].into_iter().filter_map(header);
        let headers = headers.collect();
        let body = response.bytes_stream();
        debug_assert!(body.size_hint().0 == 0);
        Ok(Stream { status, headers, body: body.boxed() })
    }
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
