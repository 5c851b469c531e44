//! The top of the file: where the broker listens, its bounds, and the parts put together.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use url::Url;

use super::{
    Audit, AuditKey, Bounds, Config, Environment, Lifetime, Rotation, apps, fields::Fields, playground,
    relay, shared, tls, upstreams,
};

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// `None` only if a mistake was noted.
pub(super) fn read(mut fields: Fields<'_>, environment: &Environment) -> Option<Config> {
    let listen = fields.parsed("listen", address).unwrap_or(DEFAULT_LISTEN);
    let metrics_listen = fields.parsed("metrics_listen", address);
    let public_url = fields.parsed("public_url", public_url);
    let tls = fields.optional_table("tls").map(tls::read);
    let trusted_proxies = fields.integer("trusted_proxies", 0..=16).unwrap_or(0) as usize;
    let failures = apps::quota(fields.table("failures_per_address"), "per_minute", 60, (60, 60));
    let bounds = bounds(fields.table("bounds"));
    let audit = audit(fields.table("audit"), environment);
    let (lifetimes, max_cached_tokens) = tokens(fields.table("tokens"));
    let relay = fields.optional_table("relay").map(relay::read);
    let shared = fields.optional_table("shared").map(|fields| shared::read(fields, environment));
    let upstreams = upstreams::read(fields.named_tables("upstreams"), environment);
    let apps = apps::read(fields.named_tables("apps"), &upstreams, &lifetimes);
    if !fields.has("public_url") && apps.iter().any(apps::ReadApp::signs) {
        fields.mistake("public_url", "is missing: it is the audience of what apps sign");
    }
    if apps.iter().any(apps::ReadApp::is_relayed) {
        if relay.is_none() {
            fields.mistake(
                "relay",
                "is missing: write [relay] with state = \"FOLDER\", where its keys are kept",
            );
        }
        if !fields.has("public_url") {
            fields.mistake("public_url", "is missing: relay tokens say where the relay is");
        }
    }
    let place = playground::Place { listen, public_url: public_url.as_ref(), trusted_proxies };
    let playground =
        fields.optional_table("playground").and_then(|table| playground::read(table, &place, &apps));
    if upstreams.is_empty() {
        fields.mistake("upstreams", "is missing or empty: add [upstreams.NAME] with base_url and keys");
    }
    if apps.is_empty() {
        fields.mistake(
            "apps",
            "is missing or empty: add one with the stanza that `valet-server app new` prints",
        );
    }
    let (upstreams, apps) = apps::cross_check(&fields, upstreams, apps);
    fields.finish();
    Some(Config {
        listen,
        metrics_listen,
        public_url,
        tls: match tls {
            Some(read) => Some(read?),
            None => None,
        },
        trusted_proxies,
        failures_per_address: failures,
        bounds,
        audit,
        max_cached_tokens,
        upstreams,
        relay: match relay {
            Some(read) => Some(read?),
            None => None,
        },
        playground,
        shared: match shared {
            Some(read) => Some(read?),
            None => None,
        },
        apps: apps?,
        secret_files: Vec::new(),
    })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an address and port, as \"127.0.0.1:8080\" or \"[::]:8080\"".into())
}

fn public_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("is not a URL: {error}"))?;
    let plain = url.query().is_none() && url.fragment().is_none();
    let plain = plain && url.username().is_empty() && url.password().is_none();
    let web = matches!(url.scheme(), "http" | "https") && url.has_host();
    if web && plain {
        Ok(url)
    } else {
        Err("must be an http or https URL without user, query or fragment".into())
    }
}

fn bounds(mut fields: Fields<'_>) -> Bounds {
    let mut number = |name, range, default| fields.integer(name, range).unwrap_or(default);
    let connections = number("connections", 1..=1_000_000, 10_000);
    let header_bytes = number("header_bytes", 8192..=1 << 20, 16 << 10);
    let body_bytes = number("body_bytes", 1024..=1 << 20, 16 << 10);
    let header_seconds = number("header_seconds", 1..=600, 30);
    let body_seconds = number("body_seconds", 1..=600, 10);
    let lame_duck_seconds = number("lame_duck_seconds", 0..=600, 0);
    let drain_seconds = number("drain_seconds", 0..=600, 20);
    fields.finish();
    let seconds = |n: u32| Duration::from_secs(u64::from(n));
    Bounds {
        connections: connections as usize,
        header_bytes: header_bytes as usize,
        body_bytes: body_bytes as usize,
        header_time: seconds(header_seconds),
        body_time: seconds(body_seconds),
        lame_duck_time: seconds(lame_duck_seconds),
        drain_time: seconds(drain_seconds),
    }
}

fn audit(mut fields: Fields<'_>, environment: &Environment) -> Audit {
    let path = fields.parsed("path", |text| match text {
        "" => Err("must name a file".into()),
        path => Ok(PathBuf::from(path)),
    });
    let key = fields.optional_table("key").and_then(|mut table| {
        let key = table.secret(environment).and_then(|(source, text)| {
            let key = AuditKey::parse(text.trim());
            if key.is_none() {
                let (least, most) = AuditKey::LENGTHS.into_inner();
                table.mistake(source, format!("must hold {least} to {most} characters, drawn at random"));
            }
            key
        });
        table.finish();
        key
    });
    let refuse = fields.choice("on_failure", &[("alarm", false), ("refuse", true)]).unwrap_or(false);
    let rotation = fields.optional_table("rotate").map_or_else(Rotation::default, |mut table| {
        let bytes = table.integer("megabytes", 1..=1_000_000).map(|megabytes| u64::from(megabytes) << 20);
        let hours = table.integer("hours", 1..=8760);
        table.finish();
        Rotation { bytes, time: hours.map(|hours| Duration::from_secs(u64::from(hours) * 3600)) }
    });
    fields.finish();
    Audit { path, key, refuse, rotation }
}

/// The classes of lifetime, shortest first, and the bound of the cache.
fn tokens(mut fields: Fields<'_>) -> (Vec<Lifetime>, u64) {
    let seconds =
        fields.integers("lifetimes", &(Lifetime::MIN..=Lifetime::MAX)).unwrap_or(vec![60, 300, 1800]);
    if seconds.is_empty() || seconds.len() > 8 {
        fields.mistake("lifetimes", "must hold 1 to 8 classes of lifetime, in seconds");
    }
    let mut lifetimes: Vec<Lifetime> = seconds.into_iter().filter_map(Lifetime::new).collect();
    lifetimes.sort_unstable();
    lifetimes.dedup();
    let max_cached = fields.integer("max_cached", 1..=100_000_000).unwrap_or(1_000_000);
    fields.finish();
    (lifetimes, u64::from(max_cached))
}
