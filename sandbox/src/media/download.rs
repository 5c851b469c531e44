//! Fetches recordings and transcripts by HTTP(S), bounded in size and time.
//!
//! Where a URL may point is not restricted: a sandbox is there to read the files of the machine it runs on.

use std::{fs::File, io::Seek};

use hyper::StatusCode;
use reqwest::{Client, Response, redirect::Policy};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use url::Url;
use valet_clock::{ClockExt, SharedClock};

use crate::{failure::Failure, settings::DownloadLimits};

/// Fetches files for subtasks.
#[derive(Clone, Debug)]
pub(crate) struct Downloader {
    client: Client,
    clock: SharedClock,
    limits: DownloadLimits,
}

const REDIRECTS_MAX: usize = 5;
/// A transcript of twelve hours of speech is smaller.
const TEXT_MAX: usize = 4 << 20;

impl Downloader {
    /// # Errors
    /// If the TLS provider or the system's root certificates cannot be used.
    pub(crate) fn new(clock: SharedClock, limits: DownloadLimits) -> Result<Self, reqwest::Error> {
        let client = Client::builder().no_proxy().redirect(Policy::limited(REDIRECTS_MAX)).build()?;
        Ok(Self { client, clock, limits })
    }

    /// Fetches the recording at `url` into a temporary file.
    ///
    /// # Errors
    /// The documented code for what went wrong at the source.
    pub(crate) async fn recording(&self, url: &str) -> Result<NamedTempFile, Failure> {
        self.in_time(async {
            let response = self.get(percent_encoded(url)?).await?;
            refuse_status(response.status())?;
            self.store(response).await
        })
        .await
    }

    /// Fetches the text at `url`; none if the server says that there is none.
    ///
    /// # Errors
    /// If the server cannot be asked, fails, or sends what is no text.
    pub(crate) async fn text(&self, url: Url) -> Result<Option<String>, Failure> {
        let unreadable = |why: &str| Failure::new("Sandbox.TranscriptUnreadable", format!("{url}: {why}"));
        self.in_time(async {
            let mut response = self.get(url.clone()).await?;
            if response.status().is_client_error() {
                return Ok(None);
            }
            refuse_status(response.status())?;
            let mut text = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|e| cut_short(&e))? {
                text.extend_from_slice(&chunk);
                if text.len() > TEXT_MAX {
                    return Err(unreadable("more than 4 MiB"));
                }
            }
            String::from_utf8(text).map(Some).map_err(|_| unreadable("not UTF-8"))
        })
        .await
    }

    async fn get(&self, url: Url) -> Result<Response, Failure> {
        self.client.get(url).send().await.map_err(|error| {
            let error = error.without_url();
            tracing::debug!(error = &error as &dyn std::error::Error, "a source could not be reached");
            download_failed(if error.is_redirect() { "too many redirects" } else { "no answer" })
        })
    }

    async fn store(&self, mut response: Response) -> Result<NamedTempFile, Failure> {
        let too_large = || {
            let message = format!("The file is larger than {} bytes.", self.limits.bytes);
            Failure::new("FILE_TOO_LARGE", message)
        };
        if response.content_length().is_some_and(|length| length > self.limits.bytes) {
            return Err(too_large());
        }
        let (mut file, path) = NamedTempFile::new()
            .map(NamedTempFile::into_parts)
            .map(|(file, path)| (tokio::fs::File::from_std(file), path))
            .map_err(|e| no_space(&e))?;
        let mut size = 0;
        while let Some(chunk) = response.chunk().await.map_err(|e| cut_short(&e))? {
            size += chunk.len() as u64;
            if size > self.limits.bytes {
                return Err(too_large());
            }
            file.write_all(&chunk).await.map_err(|e| no_space(&e))?;
        }
        file.flush().await.map_err(|e| no_space(&e))?;
        let mut file: File = file.into_std().await;
        file.rewind().map_err(|e| no_space(&e))?;
        Ok(NamedTempFile::from_parts(file, path))
    }

    async fn in_time<T: Send>(
        &self,
        download: impl Future<Output = Result<T, Failure>> + Send,
    ) -> Result<T, Failure> {
        self.clock
            .timeout(self.limits.time, download)
            .await
            .unwrap_or_else(|_| Err(Failure::new("FILE_DOWNLOAD_FAILED", "The download took too long.")))
    }
}

/// The URL, if it is percent-encoded: the service does not encode spaces or Chinese characters itself
/// (*Fun-ASR recording*: such URLs give `InvalidFile.DownloadFailed`).
fn percent_encoded(url: &str) -> Result<Url, Failure> {
    if !url.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(download_failed("the URL is not percent-encoded"));
    }
    Url::parse(url).map_err(|e| download_failed(&e.to_string()))
}

fn refuse_status(status: StatusCode) -> Result<(), Failure> {
    let (code, message) = match status.as_u16() {
        200..=299 => return Ok(()),
        404 | 410 => ("FILE_404_NOT_FOUND", "The file does not exist."),
        401 | 403 => ("FILE_403_FORBIDDEN", "The file may not be read."),
        500..=599 => ("FILE_SERVER_ERROR", "The file's server failed."),
        _ => return Err(download_failed(&format!("the server answered {}", status.as_u16()))),
    };
    Err(Failure::new(code, message))
}

fn download_failed(why: &str) -> Failure {
    Failure::new("InvalidFile.DownloadFailed", format!("The audio file cannot be downloaded: {why}."))
}

/// A body that ends before its announced length, or in the middle of a chunk.
fn cut_short(error: &reqwest::Error) -> Failure {
    tracing::debug!(error = error as &dyn std::error::Error, "a download was cut short");
    Failure::new("CONTENT_LENGTH_CHECK_FAILED", "The download ended before the announced length.")
}

fn no_space(error: &std::io::Error) -> Failure {
    Failure::new("Sandbox.TemporaryFile", format!("The sandbox cannot keep the file: {error}."))
}
