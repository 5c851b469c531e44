//! Tokens: where they come from, and how one that lives is always at hand.

mod broker;
mod renewing;

use std::{fmt, future::Future, pin::Pin, time::Duration};

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretString};

pub(crate) use self::{broker::BrokerSource, renewing::Renewing};
use crate::Error;

/// An app's credential at a broker.
#[derive(Clone)]
pub struct AppCredential {
    app: String,
    secret: SecretString,
}

impl AppCredential {
    /// The app's id and its secret, as the broker's operator gave them.
    pub fn new(app: impl Into<String>, secret: impl Into<SecretString>) -> Self {
        Self { app: app.into(), secret: secret.into() }
    }

    /// Whether it is what an operator gave, without the line end of a file that it was kept in.
    pub(crate) fn is_plain(&self) -> bool {
        !self.app.contains(char::is_control) && !self.secret.expose_secret().contains(char::is_control)
    }
}

impl fmt::Debug for AppCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppCredential").field("app", &self.app).finish_non_exhaustive()
    }
}

/// What opens DashScope for a while: a temporary token, or a long-lived key.
#[derive(Clone)]
pub struct Token {
    secret: SecretString,
    base_url: String,
    life: Option<Duration>,
    queries_per_second: Option<f64>,
    mode: Mode,
}

/// What is at a token's base URL.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Mode {
    /// DashScope itself.
    #[default]
    Direct,
    /// A broker's relay. It holds back the answer to whoever asks it to wait (RFC 7240, `Prefer: wait`), so
    /// tasks are waited for instead of looked at again and again; and it stores no local files.
    Relay,
}

impl Token {
    /// A token that works at `base_url` (up to and with `/api/v1`) and lives for `life` from when it
    /// was asked for; for ever if `None`.
    pub fn new(secret: impl Into<SecretString>, base_url: impl Into<String>, life: Option<Duration>) -> Self {
        let base_url = base_url.into().trim_end_matches('/').to_owned();
        Self { secret: secret.into(), base_url, life, queries_per_second: None, mode: Mode::Direct }
    }

    /// The status queries a second that its holder may make: its share of the account's budget.
    #[must_use]
    pub fn with_queries_per_second(mut self, share: Option<f64>) -> Self {
        self.queries_per_second = share;
        self
    }

    /// What is at its base URL; DashScope itself unless set.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The token itself, for the `Authorization: Bearer` header of calls to [`base_url`](Self::base_url).
    #[must_use]
    pub fn expose(&self) -> &str {
        self.secret.expose_secret()
    }

    /// Where it works.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// How long it lived when it was asked for.
    #[must_use]
    pub fn life(&self) -> Option<Duration> {
        self.life
    }

    /// The status queries a second that its holder may make, if it was told.
    #[must_use]
    pub fn queries_per_second(&self) -> Option<f64> {
        self.queries_per_second
    }

    /// What is at its base URL.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// By which the broker knows a token that the service refused: its SHA-256, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        HEXLOWER.encode(digest::digest(&digest::SHA256, self.expose().as_bytes()).as_ref())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("base_url", &self.base_url)
            .field("life", &self.life)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// A pending fetch of a token.
pub type TokenFuture<'s> = Pin<Box<dyn Future<Output = Result<Token, Error>> + Send + 's>>;

/// What a token is needed for.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Need<'t> {
    /// The token that the service has just refused, if that is why another is asked for.
    pub refused: Option<&'t Token>,
    /// How long it should live at least, if the usual life may be too short.
    pub life: Option<Duration>,
}

/// Where tokens come from. The client asks for one when it needs it, keeps it for its life, and never
/// asks twice at a time: an implementation only fetches.
pub trait TokenSource: Send + Sync + 'static {
    /// A token, for what it is needed for.
    fn fetch<'s>(&'s self, need: Need<'s>) -> TokenFuture<'s>;
}

/// Any function that fetches a token is a source; one that wants to know of refusals implements the
/// trait itself.
impl<F, T> TokenSource for F
where
    F: Fn() -> T + Send + Sync + 'static,
    T: Future<Output = Result<Token, Error>> + Send + 'static,
{
    fn fetch<'s>(&'s self, _: Need<'s>) -> TokenFuture<'s> {
        Box::pin(self())
    }
}

/// A token or key that never changes.
pub(crate) struct Fixed(pub(crate) Token);

impl TokenSource for Fixed {
    fn fetch<'s>(&'s self, _: Need<'s>) -> TokenFuture<'s> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}
