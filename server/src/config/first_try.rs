//! No configuration at all: one app for the life of the process, on loopback only.

use std::net::SocketAddr;

use super::{Config, Environment, Invalid, Mistake, upstreams};
use crate::secret::AppSecret;

/// The id of the one app of a first try.
const APP_ID: &str = "first-try";
/// The key that the sandbox accepts unless told otherwise.
const SANDBOX_KEY: &str = "sk-sandbox";
/// Beijing; `DASHSCOPE_HTTP_BASE_URL` names another region or workspace.
const DEFAULT_BASE_URL: &str = "https://dashscope.aliyuncs.com/api/v1";

/// A configuration for a first try, and the credential of its one app.
#[derive(Debug)]
pub struct FirstTry {
    /// What to serve.
    pub config: Config,
    /// The id of the one app.
    pub app_id: &'static str,
    /// The secret of the one app; nothing else knows it.
    pub secret: AppSecret,
}

impl FirstTry {
    /// One app that lasts for the process, towards the sandbox at `sandbox_url`, else towards
    /// DashScope with the key in `DASHSCOPE_API_KEY`.
    ///
    /// # Errors
    /// If there is neither, or `listen` is not a loopback address.
    pub fn new(
        sandbox_url: Option<&str>,
        listen: Option<SocketAddr>,
        environment: &Environment,
    ) -> Result<Self, Invalid> {
        let refuse =
            |path: &str, message: String| Err(Invalid(vec![Mistake { path: path.to_owned(), message }]));
        let base_url = match (sandbox_url, environment.get("DASHSCOPE_API_KEY")) {
            (Some(url), _) if !upstreams::base_url(url).is_ok_and(|url| url.starts_with("http://")) => {
                return refuse(
                    "--sandbox-url",
                    "must be http://localhost:PORT/api/v1, as the sandbox prints".into(),
                );
            }
            (Some(url), _) => url,
            (None, Some(_)) => environment.get("DASHSCOPE_HTTP_BASE_URL").unwrap_or(DEFAULT_BASE_URL),
            (None, None) => {
                return refuse(
                    "",
                    "there is nothing to serve: name a file with --config, or for a first try set \
                     DASHSCOPE_API_KEY or give --sandbox-url"
                        .into(),
                );
            }
        };
        let secret = AppSecret::generate();
        // The sandbox never gets to see a real key.
        let key = if sandbox_url.is_some() { "VALET_SANDBOX_KEY" } else { "DASHSCOPE_API_KEY" };
        let text = format!(
            "[upstreams.first-try]\nbase_url = {base_url:?}\nkeys = [{{ env = \"{key}\" }}]\n\
             [apps.{APP_ID}]\nmode = \"direct\"\nsecrets = [\"{}\"]\n",
            secret.hash()
        );
        let mut config = Config::read(&text, &environment.or(key, SANDBOX_KEY))?;
        config.listen = listen.unwrap_or(config.listen);
        if !config.listen.ip().is_loopback() {
            return refuse(
                "listen",
                format!("{} is not on loopback; other addresses need a --config", config.listen),
            );
        }
        Ok(Self { config, app_id: APP_ID, secret })
    }
}
