//! From flags, environment and files to a client. The secrets pass through here, and are never shown.

use std::{fs::File, io::Read, path::Path};

use valet_client::{AppCredential, Client};

use crate::{
    arguments::ConnectionArguments,
    credential::{MAX_SECRET, Stored},
    exit::Failure,
};

const DEFAULT_KEY_VARIABLE: &str = "DASHSCOPE_API_KEY";

/// The value of an environment variable.
pub(crate) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Who tokens are asked of, with all that it takes.
pub(crate) enum Connection {
    Broker { url: String, app: String, secret: String },
    Service { base_url: String, key: String },
}

impl Connection {
    /// What the flags say, or else the environment, or else what was stored.
    pub(crate) fn resolve(
        arguments: &ConnectionArguments,
        environment: Environment<'_>,
        stored: Option<Stored>,
    ) -> Result<Self, Failure> {
        let Some(base_url) = &arguments.base_url else { return broker(arguments, environment, stored) };
        let variable = arguments.api_key_env.as_deref().unwrap_or(DEFAULT_KEY_VARIABLE);
        let key = present(environment(variable)).ok_or_else(|| {
            Failure::usage(format!("{variable} is not set: it holds the API key that goes with --base-url"))
        })?;
        Ok(Self::Service { base_url: base_url.clone(), key })
    }

    /// A client for it.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let builder = Client::builder();
        let builder = match self {
            Self::Broker { url, app, secret } => {
                builder.broker(url, AppCredential::new(app, secret.as_str()))?
            }
            Self::Service { base_url, key } => builder.api_key(base_url, key.as_str())?,
        };
        Ok(builder.build()?)
    }

    /// Its name in journals, without any secret.
    pub(crate) fn service(&self) -> String {
        match self {
            Self::Broker { url, app, .. } => format!("{} as {app}", url.trim_end_matches('/')),
            Self::Service { base_url, .. } => base_url.trim_end_matches('/').to_owned(),
        }
    }
}

fn broker(
    arguments: &ConnectionArguments,
    environment: Environment<'_>,
    stored: Option<Stored>,
) -> Result<Connection, Failure> {
    if arguments.api_key_env.is_some() {
        return Err(Failure::usage("--api-key-env goes with --base-url: a broker takes no API key"));
    }
    let secret = match &arguments.secret_file {
        Some(path) => Some(secret_in(path)?),
        None => present(environment("VALET_SECRET")),
    };
    let (mut url, mut app) = (present(arguments.url.clone()), present(arguments.app.clone()));
    // A stored secret is shown to nobody but the broker that it was stored for.
    let fits = |stored: &Stored| {
        let plain = |url: &str| url.trim_end_matches('/').to_owned();
        url.as_ref().is_none_or(|url| plain(url) == plain(&stored.url))
            && app.as_ref().is_none_or(|app| *app == stored.app)
    };
    let secret = match (secret, stored.filter(fits)) {
        (None, Some(stored)) => {
            (url, app) = (Some(stored.url), Some(stored.app));
            Some(stored.secret)
        }
        (secret, _) => secret,
    };
    match (url, app, secret) {
        (Some(url), Some(app), Some(secret)) => Ok(Connection::Broker { url, app, secret }),
        (url, app, secret) => {
            let missing = [
                (url.is_none(), "the broker's URL (--url or VALET_URL)"),
                (app.is_none(), "the app's id (--app or VALET_APP)"),
                (secret.is_none(), "the app's secret (VALET_SECRET, --secret-file or `valet login`)"),
            ];
            let missing: Vec<_> =
                missing.into_iter().filter_map(|(is_missing, what)| is_missing.then_some(what)).collect();
            Err(Failure::usage(format!(
                "not said: {}\n  The operator of a Valet broker gives you these. To call DashScope without a \
                 broker, use --base-url; see `valet --help`.",
                missing.join(", ")
            )))
        }
    }
}

/// The secret that a file holds.
pub(crate) fn secret_in(path: &Path) -> Result<String, Failure> {
    let refused = |problem: &str| Failure::usage(format!("--secret-file {}: {problem}", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(|error| refused(&error.to_string()))?;
    let read = file.take(MAX_SECRET + 1).read_to_string(&mut text);
    let read = read.map_err(|error| refused(&error.to_string()))?;
    if read as u64 > MAX_SECRET {
        return Err(refused("is too large to be a secret"));
    }
    present(Some(text)).ok_or_else(|| refused("is empty"))
}

/// Without the line end that a file or a careless `export` adds.
pub(crate) fn present(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::exit::Exit;

    const SECRET: &str = "vs_canary";

    fn at_a_broker() -> ConnectionArguments {
        let (url, app) = (Some("https://valet.example.com".into()), Some("acme".into()));
        ConnectionArguments { url, app, ..ConnectionArguments::default() }
    }

    fn refused(arguments: &ConnectionArguments, variables: &[(&str, &str)]) -> String {
        let failure = connected(arguments, variables).expect_err("something is missing");
        assert_eq!(failure.exit, Exit::Usage);
        assert!(!failure.to_string().contains(SECRET), "{failure}");
        failure.to_string()
    }

    fn connected(arguments: &ConnectionArguments, variables: &[(&str, &str)]) -> Result<Client, Failure> {
        let value = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Connection::resolve(arguments, &value, None)?.client()
    }

    #[test]
    fn a_stored_secret_is_for_its_own_broker_and_app_alone() {
        let stored = || {
            let (url, app) = ("https://valet.example.com".into(), "acme".into());
            Some(Stored { url, app, secret: SECRET.into() })
        };
        let resolved = |arguments: &ConnectionArguments| Connection::resolve(arguments, &|_| None, stored());
        let service = "https://valet.example.com as acme";
        assert_eq!(resolved(&ConnectionArguments::default()).ok().unwrap().service(), service);
        assert_eq!(resolved(&at_a_broker()).ok().unwrap().service(), service);
        let with_a_slash =
            ConnectionArguments { url: Some("https://valet.example.com/".into()), ..at_a_broker() };
        assert_eq!(resolved(&with_a_slash).ok().unwrap().service(), service);
        for other in [
            ConnectionArguments { url: Some("https://other.example.com".into()), ..at_a_broker() },
            ConnectionArguments { app: Some("other".into()), ..at_a_broker() },
        ] {
            let failure = resolved(&other).err().expect("the secret is not for it");
            assert!(failure.to_string().contains("VALET_SECRET"), "{failure}");
        }
        let said = |name: &str| (name == "VALET_SECRET").then(|| "said".to_owned());
        let connection = Connection::resolve(&at_a_broker(), &said, stored()).ok().unwrap();
        assert!(matches!(connection, Connection::Broker { secret, .. } if secret == "said"));
    }

    #[test]
    fn a_broker_needs_url_app_and_secret_and_all_that_is_missing_is_named() {
        assert!(connected(&at_a_broker(), &[("VALET_SECRET", SECRET)]).is_ok());
        assert!(refused(&at_a_broker(), &[]).contains("VALET_SECRET"));
        assert!(refused(&at_a_broker(), &[("VALET_SECRET", " \n")]).contains("VALET_SECRET"));
        let nothing = refused(&ConnectionArguments::default(), &[]);
        assert!(
            nothing.contains("VALET_URL") && nothing.contains("VALET_APP") && nothing.contains("--base-url")
        );
        let plain = ConnectionArguments { url: Some("http://valet.example.com".into()), ..at_a_broker() };
        assert!(refused(&plain, &[("VALET_SECRET", SECRET)]).contains("https://"));
    }

    #[test]
    fn a_secret_may_lie_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let arguments = ConnectionArguments { secret_file: Some(path.clone()), ..at_a_broker() };
        assert!(refused(&arguments, &[]).contains("--secret-file"), "it does not exist");
        fs::write(&path, format!("{SECRET}\n")).unwrap();
        assert_eq!(secret_in(&path).unwrap(), SECRET);
        assert!(connected(&arguments, &[]).is_ok());
        fs::write(&path, "\n").unwrap();
        assert!(refused(&arguments, &[]).contains("is empty"));
        fs::write(&path, "x".repeat(65 << 10)).unwrap();
        assert!(refused(&arguments, &[]).contains("too large"));
    }

    #[test]
    fn a_base_url_needs_a_key_and_no_broker() {
        let base_url = Some("https://dashscope-intl.aliyuncs.com/api/v1".into());
        let direct = ConnectionArguments { base_url, ..ConnectionArguments::default() };
        assert!(connected(&direct, &[("DASHSCOPE_API_KEY", SECRET)]).is_ok());
        assert!(refused(&direct, &[]).contains("DASHSCOPE_API_KEY"));
        let named = ConnectionArguments { api_key_env: Some("MY_KEY".into()), ..direct };
        assert!(connected(&named, &[("MY_KEY", SECRET)]).is_ok());
        assert!(refused(&named, &[("DASHSCOPE_API_KEY", SECRET)]).contains("MY_KEY"));
        let lost = ConnectionArguments { api_key_env: Some("MY_KEY".into()), ..at_a_broker() };
        assert!(refused(&lost, &[("VALET_SECRET", SECRET)]).contains("--base-url"));
    }
}
