//! `[shared]`: the Redis that several replicas share their state on, and what a replica does without it.

use std::{fs, path::Path, sync::Arc, time::Duration};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use url::{Host, Url};

use super::{Environment, fields::Fields};
use crate::secret::SecretText;

/// What a sealing key is made of has as many characters as this, drawn at random.
const KEY_LENGTHS: std::ops::RangeInclusive<usize> = 32..=1024;

/// Where several replicas keep what they share.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    /// The server: `redis://` or `rediss://`, a host, perhaps a port and the number of a database.
    pub url: Url,
    /// The ACL user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<SecretText>,
    /// The roots that the server's certificate is checked by, in PEM, instead of the system's.
    pub roots: Option<Arc<[u8]>>,
    /// What every key's name begins with.
    pub prefix: String,
    /// What upstream tokens are sealed with: the first seals, all of them open.
    pub keys: Vec<SealingKey>,
    /// How long a connection may take to be there.
    pub connect_time: Duration,
    /// How long an answer may take.
    pub response_time: Duration,
    /// What is done while the server is away.
    pub without: Without,
}

/// A key that upstream tokens are sealed with.
#[derive(Clone, Debug, PartialEq)]
pub struct SealingKey {
    /// Its name, which is no secret.
    pub id: String,
    /// What it is made of.
    pub secret: SecretText,
}

/// What is done while the server is away, by kind of state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Without {
    /// Whether tokens are minted that the other replicas do not know of.
    pub tokens: WhenAway,
    /// Whether limits are kept by this replica's share of them.
    pub limits: WhenAway,
    /// Whether client assertions are accepted that another replica may have accepted already.
    pub assertions: WhenAway,
    /// Whether relay tokens are accepted that another replica may have revoked.
    pub revocations: WhenAway,
    /// Whether the relay takes submits with an `Idempotency-Key` that another replica may have, and lists what it knows
    /// of tasks by itself.
    pub tasks: WhenAway,
    /// Whether this replica polls for its own callers, at its share of the account's budget.
    pub polling: WhenAway,
}

/// What is done about something that cannot be shared now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WhenAway {
    /// Go on with what this replica knows.
    Continue,
    /// Refuse.
    Refuse,
}

impl Shared {
    /// Whether it is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.url)
    }

    /// Whether two configurations keep it in the same place: all but the sealing keys, and what is done without.
    pub(super) fn same_place(one: Option<&Self>, other: Option<&Self>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => {
                *one == Self { keys: one.keys.clone(), without: one.without, ..other.clone() }
            }
            (None, None) => true,
            _ => false,
        }
    }
}

/// `None` only if a mistake was noted.
pub(super) fn read(mut fields: Fields<'_>, environment: &Environment) -> Option<Shared> {
    let allow_plain = fields.boolean("allow_plain").unwrap_or(false);
    let url = fields.parsed("url", |text| server(text, allow_plain));
    fields.require("url", "where Redis is, as \"rediss://redis.example.com:6379\"");
    let username = fields.string("username");
    let password = fields.optional_table("password").and_then(|mut table| {
        let password = table.secret(environment).and_then(|(source, text)| {
            let password = SecretText::parse(text.trim(), &(1..=1024));
            if password.is_none() {
                table.mistake(source, "must hold 1 to 1024 characters");
            }
            password
        });
        table.finish();
        password
    });
    if username.is_some() && !fields.has("password") {
        fields.mistake("password", "is missing: a user has one");
    }
    let roots = fields.parsed("roots", roots);
    let prefix = fields.parsed("prefix", prefix).unwrap_or_else(|| "valet:".to_owned());
    let listed = fields.list_of_tables("keys");
    let count = listed.len();
    let keys: Vec<SealingKey> = listed.into_iter().filter_map(|table| key(table, environment)).collect();
    if count == 0 {
        let message = "is missing or empty: name at least one, as keys = [{ id = \"2026\", file = \"/run/secrets/…\" }]; \
                       each holds 32 characters or more, drawn at random, the same for all replicas";
        fields.mistake("keys", message);
    }
    for (index, key) in keys.iter().enumerate() {
        if keys[..index].iter().any(|other| other.id == key.id) {
            fields.mistake(&format!("keys[{index}].id"), "is the id of another key already");
        }
    }
    let connect = fields.integer("connect_milliseconds", 10..=10_000).unwrap_or(1000);
    let response = fields.integer("response_milliseconds", 10..=10_000).unwrap_or(500);
    let without = without(fields.table("without"));
    fields.finish();
    let milliseconds = |n: u32| Duration::from_millis(u64::from(n));
    (keys.len() == count).then_some(())?;
    Some(Shared {
        url: url?,
        username,
        password,
        roots,
        prefix,
        keys,
        connect_time: milliseconds(connect),
        response_time: milliseconds(response),
        without,
    })
}

fn without(mut fields: Fields<'_>) -> Without {
    let choices = [("continue", WhenAway::Continue), ("refuse", WhenAway::Refuse)];
    let mut choice = |name, default| fields.choice(name, &choices).unwrap_or(default);
    let without = Without {
        tokens: choice("tokens", WhenAway::Continue),
        limits: choice("limits", WhenAway::Continue),
        // What was shown to another replica can be shown here once more.
        assertions: choice("assertions", WhenAway::Refuse),
        revocations: choice("revocations", WhenAway::Continue),
        tasks: choice("tasks", WhenAway::Continue),
        polling: choice("polling", WhenAway::Continue),
    };
    fields.finish();
    without
}

/// Whether a server is this machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain("localhost")) => true,
        // The scheme is none that addresses are parsed for.
        Some(Host::Domain(name)) => {
            name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Where Redis is. What is not loopback is spoken to by TLS, unless plain text is asked for.
fn server(text: &str, allow_plain: bool) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("is not a URL: {error}"))?;
    if url.host().is_none() {
        return Err("must have a host".into());
    }
    let is_loopback = is_loopback(&url);
    match url.scheme() {
        "rediss" => {}
        "redis" if is_loopback || allow_plain => {}
        "redis" => {
            return Err("must begin with rediss://, or others on the network can read its password; \
                        allow_plain = true accepts that"
                .into());
        }
        _ => return Err("must begin with rediss:// or redis://".into()),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must be without user and password: they have settings of their own".into());
    }
    let database = url.path().trim_matches('/');
    if url.query().is_some()
        || url.fragment().is_some()
        || !(database.is_empty() || database.parse::<u16>().is_ok())
    {
        return Err("may have the number of a database behind the host, and nothing else".into());
    }
    Ok(url)
}

fn roots(path: &str) -> Result<Arc<[u8]>, String> {
    let pem = fs::read(Path::new(path)).map_err(|error| format!("{path} cannot be read: {error}"))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(found) if !found.is_empty() => Ok(pem.into()),
        Ok(_) => Err(format!("{path} holds no certificate in PEM")),
        Err(error) => Err(format!("{path}: {error}")),
    }
}

fn prefix(text: &str) -> Result<String, String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'_' | b'.');
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(word);
    fits.then(|| text.to_owned()).ok_or_else(|| "must be 1 to 64 letters, digits, or one of :-_.".into())
}

fn key(mut fields: Fields<'_>, environment: &Environment) -> Option<SealingKey> {
    let id = fields.parsed("id", |text| match text.len() {
        1..=32 => Ok(text.to_owned()),
        _ => Err("must have 1 to 32 characters".into()),
    });
    fields.require("id", "a name that tells this key from those before and after it, as \"2026\"");
    let secret = fields.secret(environment).and_then(|(source, text)| {
        let secret = SecretText::parse(text.trim(), &KEY_LENGTHS);
        if secret.is_none() {
            let (least, most) = KEY_LENGTHS.into_inner();
            fields.mistake(source, format!("must hold {least} to {most} characters, drawn at random"));
        }
        secret
    });
    fields.finish();
    Some(SealingKey { id: id?, secret: secret? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(shared: &str) -> Result<Shared, String> {
        let text = format!(
            "[shared]\n{shared}\n[upstreams.u]\nbase_url = \"http://localhost/api/v1\"\nkeys = [{{ env = \"K\" }}]\n\
             [apps.a]\nsecrets = [\"sha256:{:064}\"]\n",
            1
        );
        let environment = [("K", "sk-1"), ("SHORT", "too short"), ("S", "0123456789abcdef0123456789abcdef")];
        let config = Config::read(&text, &environment.into_iter().collect());
        config.map(|config| config.shared.unwrap()).map_err(|invalid| invalid.to_string())
    }

    const KEYS: &str = "keys = [{ id = \"1\", env = \"S\" }]";

    #[test]
    fn a_server_that_is_not_this_machine_is_spoken_to_by_tls() {
        for good in [
            "redis://127.0.0.1",
            "redis://localhost:7000/3",
            "redis://[::1]",
            "rediss://r.example.com:6380/0",
        ] {
            assert_eq!(read(&format!("url = \"{good}\"\n{KEYS}")).unwrap().url.as_str(), good);
        }
        let plain = format!("url = \"redis://r.example.com\"\n{KEYS}");
        assert!(read(&plain).unwrap_err().contains("rediss://"));
        assert!(read(&format!("allow_plain = true\n{plain}")).is_ok());
        for bad in ["http://localhost", "rediss://u:p@r", "rediss://r/x", "rediss://r/0?x=1", "rediss:r"] {
            assert!(read(&format!("url = \"{bad}\"\n{KEYS}")).unwrap_err().contains("shared.url"), "{bad}");
        }
    }

    #[test]
    fn every_mistake_has_its_path_and_no_secret_is_told() {
        let wrong = read(
            "username = \"valet\"\nprefix = \"va let\"\nkeys = [{ id = \"1\", env = \"SHORT\" }, { env = \"S\" }]\n\
             without = { limits = \"pray\" }",
        );
        let wrong = wrong.unwrap_err();
        for path in ["url", "password", "prefix", "keys[0].env", "keys[1].id", "without.limits"] {
            assert!(wrong.contains(&format!("shared.{path}: ")), "{path} in {wrong}");
        }
        assert!(!wrong.contains("too short"), "{wrong}");
        let twice =
            read("url = \"rediss://r\"\nkeys = [{ id = \"1\", env = \"S\" }, { id = \"1\", env = \"S\" }]");
        assert!(twice.unwrap_err().contains("keys[1].id"));
    }

    #[test]
    fn assertions_alone_are_refused_by_default_without_the_server() {
        let without = read(&format!("url = \"rediss://r\"\n{KEYS}")).unwrap().without;
        assert_eq!(without.assertions, WhenAway::Refuse);
        let others = [without.tokens, without.limits, without.revocations, without.tasks, without.polling];
        assert_eq!(others, [WhenAway::Continue; 5]);
    }
}
