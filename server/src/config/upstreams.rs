//! `[upstreams.NAME]`: base URL, account, keys.

use std::collections::HashMap;

use url::{Host, Url};

use super::{Environment, Upstream, fields::Fields};
use crate::secret::Bearer;

/// An upstream as it was read; the parts with mistakes are `None`.
pub(super) struct Read {
    pub(super) name: String,
    pub(super) account: String,
    /// Whether apps that see each other's tasks are accepted on the account.
    pub(super) visible_to_all: bool,
    pub(super) upstream: Option<Upstream>,
}

pub(super) fn read(tables: Vec<(String, Fields<'_>)>, environment: &Environment) -> Vec<Read> {
    tables.into_iter().map(|(name, fields)| one(name, fields, environment)).collect()
}

fn one(name: String, mut fields: Fields<'_>, environment: &Environment) -> Read {
    let present = fields.parsed("base_url", base_url);
    let account = fields.name("account").unwrap_or_else(|| name.clone());
    let shared = fields.choice("shared_account", &[("visible-to-all", ())]);
    let queries_per_second = fields.integer("queries_per_second", 1..=10_000).unwrap_or(20);
    let list_page = fields.integer("list_page", 0..=1000).unwrap_or(100);
    let listed = fields.list_of_tables("keys");
    if listed.is_empty() {
        fields.mistake(
            "keys",
            "is missing or empty: name at least one, as keys = [{ env = \"DASHSCOPE_API_KEY\" }]",
        );
    }
    let count = listed.len();
    let keys: Vec<Bearer> = listed.into_iter().filter_map(|key| read_key(key, environment)).collect();
    if present.is_none() {
        fields.require(
            "base_url",
            "for example \"https://dashscope.aliyuncs.com/api/v1\" (Beijing) or \
             \"https://dashscope-intl.aliyuncs.com/api/v1\" (Singapore)",
        );
    }
    fields.finish();
    let upstream = match present {
        Some(base_url) if count > 0 && keys.len() == count => Some(Upstream {
            name: name.as_str().into(),
            base_url: base_url.into(),
            account: account.as_str().into(),
            keys,
            queries_per_second,
            list_page,
        }),
        _ => None,
    };
    Read { name, account, visible_to_all: shared.is_some(), upstream }
}

/// A base URL as DashScope documents it; plain `http` only to this machine.
pub(super) fn base_url(text: &str) -> Result<String, String> {
    let url: Url = text.parse().map_err(|error| format!("is not a URL: {error}"))?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err("must have a host".into()),
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
        return Err("must begin with https:// (http:// only to localhost): keys travel over it".into());
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err("must be without user, query and fragment".into());
    }
    if !url.path().trim_end_matches('/').ends_with("/api/v1") {
        return Err("must end with /api/v1".into());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// A long-lived key, as DashScope gives them.
fn read_key(mut fields: Fields<'_>, environment: &Environment) -> Option<Bearer> {
    let key = fields.secret(environment).and_then(|(source, text)| {
        let key = Bearer::parse(text.trim()).filter(|key| key.expose().starts_with("sk-"));
        if key.is_none() {
            fields.mistake(source, "does not hold a DashScope API key (sk-…)");
        }
        key
    });
    fields.finish();
    key
}

/// Whether every upstream of `account` says that its apps may see each other's tasks.
pub(super) fn visible_to_all(upstreams: &[Read], account: &str) -> bool {
    upstreams.iter().filter(|read| read.account == account).all(|read| read.visible_to_all)
}

/// An account has one query budget, whichever of its upstreams spends it.
pub(super) fn one_budget_an_account(fields: &Fields<'_>, upstreams: &[Read]) {
    let mut budgets: HashMap<&str, &Upstream> = HashMap::new();
    for upstream in upstreams.iter().filter_map(|read| read.upstream.as_ref()) {
        let first = budgets.entry(&upstream.account).or_insert(upstream);
        if first.queries_per_second != upstream.queries_per_second {
            let message = format!(
                "is {}, and for upstream {} of the same account it is {}; an account has one budget",
                upstream.queries_per_second, first.name, first.queries_per_second
            );
            fields.mistake(&format!("upstreams.{}.queries_per_second", upstream.name), message);
        }
    }
}

/// A key belongs to one account, and is tried once an attempt.
pub(super) fn no_key_twice(fields: &Fields<'_>, upstreams: &[Read]) {
    let mut holders: HashMap<[u8; 32], &Read> = HashMap::new();
    for read in upstreams {
        let keys = read.upstream.iter().flat_map(|upstream| &upstream.keys);
        for (index, key) in keys.enumerate() {
            let path = format!("upstreams.{}.keys[{index}]", read.name);
            match holders.insert(key.sha256(), read) {
                Some(other) if other.name == read.name => {
                    fields.mistake(&path, "is listed already; once is enough");
                }
                Some(other) if other.account != read.account => {
                    let message = format!(
                        "is also a key of upstream {}, under another account; a key belongs to one account: give both \
                         upstreams the same account = \"…\"",
                        other.name
                    );
                    fields.mistake(&path, message);
                }
                _ => {}
            }
        }
    }
}
