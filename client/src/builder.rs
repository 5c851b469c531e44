//! Setting up a client: where tokens come from, and by what HTTP, clock and schedule.

use std::{fmt, sync::Arc, time::Duration};

use reqwest::redirect;
use secrecy::SecretString;
use url::Url;
use valet_clock::{SharedClock, SystemClock};
use valet_pacing::PollSchedule;

use crate::{
    Client, Error, Kind, Token, TokenSource,
    api::Api,
    client::Inner,
    http,
    long_polls::LongPolls,
    pacer::Pacer,
    poller::{Manner, Poller},
    token::{AppCredential, BrokerSource, Fixed, Renewing},
};

/// The longest that a connection may take: well below the limit of a request, so that one which never
/// left is told from one that was not answered.
const CONNECT: Duration = Duration::from_secs(8);
/// How long an idle connection is kept: less than the broker does, so that no request meets its end.
const IDLE: Duration = Duration::from_secs(25);

/// Sets up a [`Client`]; begin with [`Client::builder`].
#[must_use = "nothing happens until it is built"]
pub struct ClientBuilder {
    source: Option<Source>,
    http: Option<reqwest::Client>,
    clock: SharedClock,
    schedule: PollSchedule,
    reference: Option<String>,
    subject: Option<String>,
}

enum Source {
    Broker { url: Url, credential: AppCredential },
    Other(Box<dyn FnOnce(SharedClock) -> Renewing + Send>),
}

impl Default for ClientBuilder {
    fn default() -> Self {
        let clock = Arc::new(SystemClock);
        Self {
            source: None,
            http: None,
            clock,
            schedule: PollSchedule::default(),
            reference: None,
            subject: None,
        }
    }
}

impl ClientBuilder {
    /// Takes tokens from the Valet broker at `url`, proving itself by `credential`.
    ///
    /// # Errors
    /// If `url` is no `http` or `https` URL (plain `http` is for this machine only), or the credential holds a
    /// line end.
    pub fn broker(mut self, url: &str, credential: AppCredential) -> Result<Self, Error> {
        if !credential.is_plain() {
            return Err(configuration(
                "the app's id and secret must hold no control characters, such as the line \
                                      end of a file",
            ));
        }
        let mut url = confidential("the broker's URL", url)?;
        let path = format!("{}/v1/tokens", url.path().trim_end_matches('/'));
        url.set_path(&path);
        self.source = Some(Source::Broker { url, credential });
        Ok(self)
    }

    /// Calls DashScope at `base_url` (up to and with `/api/v1`) with a long-lived key.
    ///
    /// # Errors
    /// If `base_url` is no `http` or `https` URL (plain `http` is for this machine only), or no header can carry
    /// the key.
    pub fn api_key(self, base_url: &str, key: impl Into<SecretString>) -> Result<Self, Error> {
        confidential("the base URL", base_url)?;
        let token = Token::new(key, base_url, None);
        if token.expose().is_empty() || !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(configuration(
                "the API key must be visible ASCII characters, without the line end of a file",
            ));
        }
        Ok(self.token_source(Fixed(token)))
    }

    /// Takes tokens from a source of one's own: a [`TokenSource`], or a function such as
    /// `|| async { Ok(Token::new(…, …, …)) }`.
    pub fn token_source(mut self, source: impl TokenSource) -> Self {
        self.source = Some(Source::Other(Box::new(|clock| Renewing::new(source, clock))));
        self
    }

    /// A word of your own that a broker carries into its audit trail with each token, such as the name
    /// of a job; at most 256 bytes.
    pub fn client_reference_id(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into());
        self
    }

    /// The user of your app for whom the broker's tokens are: what is submitted at a relay is theirs alone, and limits
    /// for each user count. Only for an app that may name its users, as the broker's operator settles.
    pub fn subject(mut self, name: impl Into<String>) -> Self {
        self.subject = Some(name.into());
        self
    }

    /// Sends through this HTTP client (a proxy, own root certificates).
    ///
    /// It should follow no redirects: a token belongs where it was issued for. Its `connect_timeout` should
    /// be well below 30 s: of a submit that never got a connection it is then certain that it did not
    /// arrive. Its `pool_idle_timeout` should be below 30 s, the idle limit of a broker. It should have no
    /// `timeout` for whole requests: a relay holds answers back for half a minute, a long result takes minutes, and
    /// each call has a limit of its own.
    pub fn http(mut self, http: reqwest::Client) -> Self {
        self.http = Some(http);
        self
    }

    /// Goes by this clock.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Looks at tasks by this schedule.
    pub fn schedule(mut self, schedule: PollSchedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// The client.
    ///
    /// # Errors
    /// If it was not said where tokens come from, if a subject or a reference was said and they come from no broker, or
    /// if no HTTP client can be made.
    pub fn build(self) -> Result<Client, Error> {
        let http = match self.http {
            Some(http) => http,
            None => reqwest::Client::builder()
                .user_agent(concat!("valet-client/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .connect_timeout(CONNECT)
                .pool_idle_timeout(IDLE)
                .build()
                .map_err(|error| configuration(format_args!("no HTTPS client can be made: {error}")))?,
        };
        let clock = self.clock;
        let tokens = match self.source {
            Some(Source::Broker { url, credential }) => {
                let (http, clock) = (http.clone(), clock.clone());
                let (reference, subject) = (self.reference, self.subject);
                let source = BrokerSource { http, url, credential, reference, subject, clock: clock.clone() };
                Renewing::new(source, clock)
            }
            // Its tasks would be another's than is meant.
            Some(Source::Other(_)) if self.subject.is_some() || self.reference.is_some() => {
                return Err(configuration(
                    "subject and client_reference_id are told to a broker: take tokens from one, \
                                          or leave them out",
                ));
            }
            Some(Source::Other(make)) => make(clock.clone()),
            None => {
                return Err(configuration("say where tokens come from: broker, api_key or token_source"));
            }
        };
        let now = clock.now();
        let (queries, submits) = (Arc::new(Pacer::queries(now)), Arc::new(Pacer::submits(now)));
        let api = Api { http, tokens, queries, submits, long_polls: Arc::new(LongPolls::default()), clock };
        let poller = Poller::new(api.clone());
        let manner = Manner { schedule: self.schedule, length: None };
        Ok(Client(Arc::new(Inner { api, poller, manner })))
    }
}

fn configuration(message: impl fmt::Display) -> Error {
    Error::new(Kind::Configuration, message.to_string())
}

/// A URL that a secret may be sent to.
fn confidential(what: &str, url: &str) -> Result<Url, Error> {
    http::confidential(url).map_err(|problem| configuration(format_args!("{what} {problem}")))
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs on another worker, so the future of a call must be one that may move.
    #[tokio::test(flavor = "multi_thread")]
    async fn any_function_is_a_source_and_its_errors_are_passed_on() {
        let away = || async { Err(Error::new(Kind::Credentials, "log in again")) };
        let client = Client::builder().token_source(away).build().unwrap();
        let request = crate::TranscriptionRequest::new(["https://example.com/a.mp3"]);
        let error =
            tokio::spawn(async move { client.transcribe(&request).await }).await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Credentials, "log in again"));
        assert_eq!(error.task_id(), None, "nothing was submitted");
    }

    #[tokio::test]
    async fn a_function_gives_the_token_that_is_used() {
        let own = || async { Ok(Token::new("st-mine", "https://example.com/api/v1/", None)) };
        let client = Client::builder().token_source(own).build().unwrap();
        let token = client.token().await.unwrap();
        assert_eq!((token.expose(), token.base_url()), ("st-mine", "https://example.com/api/v1"));
    }

    #[test]
    fn a_secret_with_the_line_end_of_its_file_is_refused_and_not_shown() {
        let key = Client::builder().api_key("https://example.com/api/v1", "sk-canary\n").err();
        let secret =
            Client::builder().broker("https://example.com", AppCredential::new("acme", "canary\n")).err();
        for error in [key, secret] {
            let error = error.expect("no header can carry it");
            assert_eq!(error.kind(), Kind::Configuration);
            assert!(
                error.to_string().contains("line end") && !error.to_string().contains("canary"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_subject_that_nobody_is_told_is_not_ignored() {
        let key = || Client::builder().api_key("https://example.com/api/v1", "sk-1").unwrap();
        for builder in [key().subject("alice"), key().client_reference_id("job-7")] {
            assert_eq!(builder.build().err().map(|error| error.kind()), Some(Kind::Configuration));
        }
    }

    #[test]
    fn a_client_without_a_source_of_tokens_is_not_built() {
        assert_eq!(Client::builder().build().err().map(|error| error.kind()), Some(Kind::Configuration));
    }
}
