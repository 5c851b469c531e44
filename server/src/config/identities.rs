//! How apps prove themselves: `secrets`, `jwks`, `jwks_url`, `subject_tokens`.

use std::{collections::BTreeMap, sync::Arc};

use url::{Host, Url};

use super::{JwksUrl, KeySource, Mode, SubjectTokens, TokenKind, fields::Fields};
use crate::{jwt::KeySet, secret::SecretHash};

/// What an app can be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// It can keep a secret.
    Confidential,
    /// It runs in pages: whoever reads them has all that it has.
    Browser,
    /// It runs on its users' devices.
    Native,
}

/// The ways in which an app proves itself; what has a mistake is left out.
pub(super) struct Proofs {
    pub(super) secrets: Vec<SecretHash>,
    pub(super) keys: Option<KeySource>,
    pub(super) for_endpoint: bool,
    pub(super) subject_tokens: Vec<SubjectTokens>,
    /// Whether whoever has the app has all that it has.
    pub(super) is_public: bool,
}

pub(super) fn read(fields: &mut Fields<'_>, mode: Mode) -> Proofs {
    let kinds = [("confidential", Kind::Confidential), ("browser", Kind::Browser), ("native", Kind::Native)];
    let kind = fields.choice("kind", &kinds).unwrap_or(Kind::Confidential);
    let secrets = secrets(fields);
    let keys = key_source(fields, None);
    let endpoints = [("issuer", false), ("issuer-or-token-endpoint", true)];
    let for_endpoint = fields.choice("assertion_audience", &endpoints).unwrap_or(false);
    let listed = fields.list_of_tables("subject_tokens");
    let accepts_any = !listed.is_empty();
    let subject_tokens = listed.into_iter().filter_map(subject_tokens).collect();
    let accepted = fields.boolean("accept_account_wide").unwrap_or(false);
    if kind == Kind::Confidential {
        if !(fields.has("secrets") || fields.has("jwks") || fields.has("jwks_url") || accepts_any) {
            let message = "is missing or empty: add the hash that `valet-server app new` prints; or let the app \
                           prove itself by its keys (jwks, jwks_url) or by subject_tokens";
            fields.mistake("secrets", message);
        }
    } else {
        for (name, is_set) in [
            ("secrets", !secrets.is_empty()),
            ("jwks", keys.is_some()),
            ("may_name_subject", fields.is_true("may_name_subject")),
        ] {
            if is_set {
                fields.mistake(
                    name,
                    "is for confidential apps: whoever has a public app has all that it holds",
                );
            }
        }
        if !accepts_any {
            fields
                .mistake("subject_tokens", "is missing: a public app has tokens only through its users' own");
        }
        if mode == Mode::Relay {
            if fields.has("accept_account_wide") {
                fields.mistake(
                    "accept_account_wide",
                    "is for direct tokens: a relay token sees its own tasks alone",
                );
            }
        } else if kind == Kind::Browser {
            let message = "a page cannot use a direct token: DashScope answers no cross-origin requests; write mode = \"relay\"";
            fields.mistake("kind", message);
        } else if !accepted {
            let message = "must be true for a native app with direct tokens: each can list, read and cancel \
                           every task of the account for as long as it lives";
            fields.mistake("accept_account_wide", message);
        }
    }
    Proofs { secrets, keys, for_endpoint, subject_tokens, is_public: kind != Kind::Confidential }
}

fn secrets(fields: &mut Fields<'_>) -> Vec<SecretHash> {
    let listed = fields.strings("secrets");
    if listed.len() > 2 {
        fields.mistake("secrets", "at most two are valid at once: the new one and the one it replaces");
    }
    let mut hashes = Vec::new();
    for (index, (_, text)) in listed.iter().enumerate() {
        match SecretHash::parse(text) {
            Some(hash) => hashes.push(hash),
            None => fields.mistake(
                &format!("secrets[{index}]"),
                "must be \"sha256:\" and 64 lower-case hexadecimal digits, as `valet-server app new` prints",
            ),
        }
    }
    hashes
}

/// `jwks` or `jwks_url`, not both; `required` says what they are for, if there must be one.
fn key_source(fields: &mut Fields<'_>, required: Option<&str>) -> Option<KeySource> {
    let given = fields.json("jwks").and_then(|json| {
        let keys = KeySet::parse(&json).map_err(|problem| fields.mistake("jwks", problem)).ok()?;
        Some(KeySource::Given(Arc::new(keys)))
    });
    let allow_private = fields.boolean("jwks_allow_private").unwrap_or(false);
    let url = fields.parsed("jwks_url", |text| jwks_url(text, allow_private));
    match (fields.has("jwks"), fields.has("jwks_url")) {
        (true, true) => fields.mistake("jwks_url", "stands beside jwks: one of them is enough"),
        (false, false) => {
            if let Some(what) = required {
                fields.mistake("jwks_url", format!("is missing: {what}"));
            }
        }
        _ => {}
    }
    given.or_else(|| url.map(|url| KeySource::Url(JwksUrl { url, allow_private })))
}

/// HTTPS, or HTTP on this machine; an address that is not public only on purpose.
fn jwks_url(text: &str, allow_private: bool) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("is not a URL: {error}"))?;
    let (loopback, private) = match url.host() {
        None => return Err("must have a host".into()),
        Some(Host::Domain(name)) => (name == "localhost", false),
        Some(Host::Ipv4(address)) => (address.is_loopback(), !crate::net::is_public(address.into())),
        Some(Host::Ipv6(address)) => (address.is_loopback(), !crate::net::is_public(address.into())),
    };
    if !(url.scheme() == "https" || url.scheme() == "http" && loopback) {
        return Err("must begin with https:// (http:// only to this machine)".into());
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("must be without user and fragment".into());
    }
    if private && !allow_private {
        return Err("is no public address; set jwks_allow_private = true if that is as it should be".into());
    }
    Ok(url)
}

fn subject_tokens(mut fields: Fields<'_>) -> Option<SubjectTokens> {
    let named = |text: &str| match text {
        "" => Err("must not be empty".to_owned()),
        text => Ok(text.to_owned()),
    };
    let issuer = fields.parsed("issuer", named);
    let audience = fields.parsed("audience", named);
    let keys =
        key_source(&mut fields, Some("where the issuer publishes its keys, as its metadata says (jwks_uri)"));
    let kind = fields.choice("kind", &[("id", TokenKind::Id), ("access", TokenKind::Access)]);
    let claims: BTreeMap<String, Vec<String>> = fields.words_by_name("claims");
    let single_tenant = fields.boolean("single_tenant").unwrap_or(false);
    fields.require("issuer", "the exact `iss` of the tokens");
    fields.require("audience", "the exact `aud` of the tokens");
    if claims.is_empty() && !single_tenant {
        let message = "is missing: name a claim that only your own users' tokens have, as \
                       { hd = \"example.com\" }; or, if everyone whom the issuer knows is yours, write \
                       single_tenant = true";
        fields.mistake("claims", message);
    }
    if claims.keys().any(|name| matches!(name.as_str(), "iss" | "aud")) {
        let message = "iss and aud are issuer and audience already: name a claim that only your own users' \
                       tokens have";
        fields.mistake("claims", message);
    }
    fields.finish();
    let claims = claims.into_iter().collect();
    Some(SubjectTokens {
        issuer: issuer?,
        audience: audience?,
        keys: keys?,
        claims,
        kind: kind.unwrap_or(TokenKind::Id),
    })
}

/// Two rules of different apps that one token could fit both: nobody could say whose it is.
pub(super) fn overlap(one: &SubjectTokens, other: &SubjectTokens) -> bool {
    let apart = |(name, values): &(String, Vec<String>)| {
        let others = other.claims.iter().find(|(other, _)| other == name);
        others.is_some_and(|(_, others)| !values.iter().any(|value| others.contains(value)))
    };
    // A token may have several audiences; of ID tokens only the first party's counts. None is of both kinds.
    one.kind == other.kind
        && one.issuer == other.issuer
        && one.audience == other.audience
        && !one.claims.iter().any(apart)
}
