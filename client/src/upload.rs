//! Local files: put into DashScope's temporary storage, and transcribed from there.
//!
//! Source: *Upload a file for a temporary URL*. Beijing only, for 48 hours, and by the vendor's word not for
//! production: there, put recordings on storage of your own and sign their URLs.

use std::{
    fmt,
    future::{Future, IntoFuture},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::stream;
use reqwest::multipart::{Form, Part};
use serde::Deserialize;
use tokio::{fs::File, io::AsyncReadExt};
use tracing::Instrument;
use url::{Host, Url};
use valet_clock::ClockExt;

use crate::{
    Client, Error, Kind, Token, Transcription, TranscriptionRequest,
    error::invalid,
    http,
    refusal::{malformed, no_answer, refusal},
    request::Model,
    token::Mode,
};

const CHUNK: usize = 64 << 10;
/// An upload may take five minutes, or a second for each so many bytes.
const LEAST_TIME: Duration = Duration::from_secs(300);
const LEAST_RATE: u64 = 64 << 10;
const MAX_BODY: usize = 64 << 10;
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The longest name of a file in the storage.
const LONGEST_NAME: usize = 100;

/// Told how many bytes of the file have been sent, of how many.
type Report = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// The upload of a local file: set it up, then `.await` it.
///
/// For trying things out, as the vendor says: the storage is in Beijing only, keeps files for 48 hours, and
/// is bound to the model and account.
#[must_use = "nothing is sent until it is awaited"]
pub struct Upload {
    client: Client,
    path: PathBuf,
    model: Model,
    report: Option<Report>,
}

/// A file in the temporary storage, for 48 hours; see [`TranscriptionRequest::uploads`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Uploaded {
    pub(crate) url: String,
    pub(crate) model: Model,
}

impl Uploaded {
    /// Where it is: an `oss://` URL, which only this service understands.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The model that may read it.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }
}

/// What the service allows to be uploaded.
#[derive(Deserialize)]
struct Policy {
    policy: String,
    signature: String,
    upload_dir: String,
    upload_host: String,
    oss_access_key_id: String,
    x_oss_object_acl: String,
    x_oss_forbid_overwrite: String,
    #[serde(default)]
    max_file_size_mb: Option<Number>,
}

#[derive(Deserialize)]
struct PolicyBody {
    data: Policy,
}

/// A number that the documentation shows as such, and samples as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Text(String),
}

impl Client {
    /// Puts a local file into the service's temporary storage.
    pub fn upload(&self, path: impl Into<PathBuf>) -> Upload {
        Upload { client: self.clone(), path: path.into(), model: Model::FunAsr, report: None }
    }

    /// Uploads a local file and transcribes it, as `request` says, which names no URLs:
    /// `TranscriptionRequest::default()` unless you want more.
    ///
    /// # Errors
    /// As [`Upload`] and [`transcribe`](Self::transcribe).
    pub async fn transcribe_file(
        &self,
        path: impl Into<PathBuf>,
        request: TranscriptionRequest,
    ) -> Result<Transcription, Error> {
        if !request.urls().is_empty() {
            return Err(invalid("file_urls", "name none, since a local file is to be transcribed"));
        }
        let uploaded = self.upload(path).model(request.chosen_model().clone()).await?;
        self.transcribe(&request.uploads([&uploaded])).await
    }
}

impl Upload {
    /// The model that is to read it; `fun-asr` unless set.
    pub fn model(mut self, model: Model) -> Self {
        self.model = model;
        self
    }

    /// Calls `report` with the bytes sent so far and those of the whole file. It begins again at 0 if the
    /// upload has to be repeated.
    pub fn on_progress(mut self, report: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        self.report = Some(Arc::new(report));
        self
    }

    async fn run(self) -> Result<Uploaded, Error> {
        let token = self.client.token().await?;
        offers_storage(&token)?;
        let mut failures = 0;
        loop {
            match self.once().await {
                Err(error) if error.is_retryable() && failures < ATTEMPTS - 1 => {
                    failures += 1;
                    let wait = error.retry_after().map_or(PAUSE, |told| told.min(LONGEST_PAUSE));
                    self.client.0.api.clock.sleep(wait).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn once(&self) -> Result<Uploaded, Error> {
        let api = &self.client.0.api;
        let (file, size) = opened(&self.path).await?;
        let PolicyBody { data: policy } = api.upload_policy(self.model.name()).await?;
        let most = policy.max_file_size_mb.as_ref().and_then(Number::value);
        if most.is_some_and(|most| size > most.saturating_mul(1 << 20)) {
            let problem =
                format!("{size} bytes are more than the {} MB that may be uploaded", most.unwrap_or(0));
            return Err(invalid("file", &problem));
        }
        let host = http::confidential(&policy.upload_host)
            .map_err(|problem| malformed(&format!("named an upload_host that {problem}")))?;
        let key = format!("{}/{}", policy.upload_dir.trim_matches('/'), plain_name(&self.path));
        let form = policy.form(&key, self.content(file, size));
        let limit = LEAST_TIME.max(Duration::from_secs(size / LEAST_RATE));
        // No token goes there: the policy is signed.
        let request = api.http.post(host).multipart(form);
        let answer = http::send(request, &api.clock, limit, MAX_BODY).await.map_err(no_answer)?;
        match answer.status {
            200..=299 => Ok(Uploaded { url: format!("oss://{key}"), model: self.model.clone() }),
            _ => Err(refusal(answer, None)),
        }
    }

    /// The file as it is read, piece by piece.
    fn content(&self, file: File, size: u64) -> Part {
        let report = self.report.clone();
        let pieces = stream::try_unfold((file, 0_u64), move |(mut file, sent)| {
            let report = report.clone();
            async move {
                // No more than was announced, should the file grow.
                let mut piece = Vec::with_capacity(CHUNK);
                let most = (size - sent).min(CHUNK as u64);
                let read = (&mut file).take(most).read_to_end(&mut piece).await? as u64;
                if let Some(report) = report.filter(|_| read > 0 || size == 0) {
                    report(sent + read, size);
                }
                Ok::<_, std::io::Error>((read > 0).then_some((piece, (file, sent + read))))
            }
        });
        Part::stream_with_length(reqwest::Body::wrap_stream(pieces), size).file_name(plain_name(&self.path))
    }
}

impl Policy {
    /// The fields in the documented order: what stands behind `file` is not read.
    fn form(self, key: &str, content: Part) -> Form {
        Form::new()
            .text("OSSAccessKeyId", self.oss_access_key_id)
            .text("Signature", self.signature)
            .text("policy", self.policy)
            .text("x-oss-object-acl", self.x_oss_object_acl)
            .text("x-oss-forbid-overwrite", self.x_oss_forbid_overwrite)
            .text("key", key.to_owned())
            .text("success_action_status", "200")
            .part("file", content)
    }
}

impl Number {
    fn value(&self) -> Option<u64> {
        match self {
            Self::Plain(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

impl IntoFuture for Upload {
    type Output = Result<Uploaded, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let span = tracing::info_span!("upload", model = %self.model);
        Box::pin(self.run().instrument(span))
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("path", &self.path).field("model", &self.model).finish_non_exhaustive()
    }
}

async fn opened(path: &Path) -> Result<(File, u64), Error> {
    let failed = |error| invalid("file", &format!("{}: {error}", path.display()));
    let file = File::open(path).await.map_err(failed)?;
    let about = file.metadata().await.map_err(failed)?;
    match about.is_file() && about.len() > 0 {
        true => Ok((file, about.len())),
        false => Err(invalid("file", &format!("{}: is no file, or empty", path.display()))),
    }
}

/// Whether the region has temporary storage; of hosts that are not the vendor's, their answer tells.
fn offers_storage(token: &Token) -> Result<(), Error> {
    let url: Option<Url> = token.base_url().parse().ok();
    if token.mode() == Mode::Relay {
        return Err(takes_no_files("a relay"));
    }
    let Some(Host::Domain(host)) = url.as_ref().and_then(Url::host) else { return Ok(()) };
    let is_vendor = host.ends_with(".aliyuncs.com");
    if !is_vendor || host == "dashscope.aliyuncs.com" || host.contains(".cn-beijing.") {
        return Ok(());
    }
    Err(takes_no_files(host))
}

fn takes_no_files(who: &str) -> Error {
    let message = format!(
        "file: {who} takes no local files, only DashScope in Beijing does: put the recording where it can be \
         downloaded without a login, such as object storage with a signed URL, and name its URL"
    );
    Error::new(Kind::InvalidRequest, message)
}

/// The file's name as it can stand in any URL; its end tells the format.
fn plain_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let name: Vec<char> = name.chars().map(plain).collect();
    name[name.len().saturating_sub(LONGEST_NAME)..].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_and_the_vendors_other_regions_are_known_to_take_no_files() {
        for takes in [
            "https://dashscope.aliyuncs.com/api/v1",
            "https://w-1.cn-beijing.maas.aliyuncs.com/api/v1",
            "https://valet.example.com/api/v1",
            "http://127.0.0.1:8780/api/v1",
        ] {
            assert!(offers_storage(&Token::new("st-1", takes, None)).is_ok(), "{takes}");
        }
        for other in [
            "https://dashscope-intl.aliyuncs.com/api/v1",
            "https://w-1.ap-southeast-1.maas.aliyuncs.com/api/v1",
        ] {
            let error = offers_storage(&Token::new("st-1", other, None)).expect_err("it takes none");
            assert!(error.to_string().contains("name its URL"), "{error}");
        }
        let relay = Token::new("r-1", "https://valet.example.com/api/v1", None).with_mode(Mode::Relay);
        assert!(offers_storage(&relay).is_err());
    }

    #[test]
    fn names_are_plain_and_keep_their_end() {
        assert_eq!(plain_name(Path::new("/tmp/a b&音.mp3")), "a_b__.mp3");
        let long = plain_name(Path::new(&format!("{}.flac", "x".repeat(300))));
        assert!(long.len() == LONGEST_NAME && long.ends_with("x.flac"));
    }
}
