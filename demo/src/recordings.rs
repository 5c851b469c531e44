//! Serves a folder of recordings over HTTP on a free port, as a web server would.

use std::{collections::BTreeMap, fs, io, ops::RangeInclusive, path::Path, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

/// Recordings, and where they are served.
pub struct Recordings {
    url: String,
}

type Files = Arc<BTreeMap<String, Bytes>>;

impl Recordings {
    /// Reads `folder` once, and serves it until the process ends.
    ///
    /// # Errors
    /// If the folder cannot be read, or no port be had.
    pub async fn serve(folder: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
                files.insert(format!("/{name}"), Bytes::from(fs::read(entry.path())?));
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let files: Files = Arc::new(files);
        let router = Router::new().fallback(get(file)).with_state(files);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url })
    }

    /// The URL of a recording.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }
}

/// A file, or the part of it that is asked for: so that a player can go to a place in it.
async fn file(State(files): State<Files>, uri: Uri, headers: HeaderMap) -> Response {
    let Some(file) = files.get(uri.path()) else { return StatusCode::NOT_FOUND.into_response() };
    let whole = file.len();
    let kind = match uri.path().rsplit('.').next() {
        Some("flac") => "audio/flac",
        Some("m4a") => "audio/mp4",
        Some("mp3") => "audio/mpeg",
        Some("ogg") => "audio/ogg",
        Some("wav") => "audio/wav",
        _ => "application/octet-stream",
    };
    let known = [(header::CONTENT_TYPE, kind), (header::ACCEPT_RANGES, "bytes")];
    match headers.get(header::RANGE).and_then(|range| part(range.to_str().ok()?, whole)) {
        Some(part) => {
            let place = format!("bytes {}-{}/{whole}", part.start(), part.end());
            let place = [(header::CONTENT_RANGE, place)];
            (StatusCode::PARTIAL_CONTENT, known, place, file.slice(part)).into_response()
        }
        None => (known, file.clone()).into_response(),
    }
}

/// The one part of a `Range` that players ask for (RFC 9110 §14.1.2), within a file of `whole` bytes.
fn part(range: &str, whole: usize) -> Option<RangeInclusive<usize>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first: usize = first.parse().ok()?;
    let last = if last.is_empty() { whole } else { last.parse::<usize>().ok()? }.min(whole.checked_sub(1)?);
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_player_has_the_part_that_it_asks_for_or_all() {
        assert_eq!(part("bytes=0-", 10), Some(0..=9));
        assert_eq!(part("bytes=3-5", 10), Some(3..=5));
        assert_eq!(part("bytes=3-99", 10), Some(3..=9));
        for other in ["bytes=10-", "bytes=5-3", "bytes=-3", "bytes=0-1,4-5", "lines=0-", ""] {
            assert_eq!(part(other, 10), None, "{other}");
        }
        assert_eq!(part("bytes=0-", 0), None);
    }
}
