//! The relay's own settings, and what an app may do there.

use std::{io, path::Path, path::PathBuf, sync::Arc};

use super::{Price, Relay, Scope, Seats, fields::Fields};
use crate::keyring::{self, Keyring};

/// The models of Fun-ASR for recordings (*Fun-ASR recording*).
const MODELS: [&str; 5] =
    ["fun-asr", "fun-asr-2025-11-07", "fun-asr-2025-08-25", "fun-asr-mtl", "fun-asr-mtl-2025-08-25"];
/// The most URLs that a task takes (*Fun-ASR recording*).
const MOST_URLS: u32 = 100;

/// `[relay]`: where the broker keeps what must outlive it.
pub(super) fn read(mut fields: Fields<'_>) -> Option<Relay> {
    let state = fields.string("state").map(PathBuf::from);
    fields.require("state", "a folder of the broker's own, as \"/var/lib/valet\"");
    let keys = state.as_deref().and_then(|folder| keys(&fields, folder));
    let private_hosts = fields.boolean("private_hosts").unwrap_or(false);
    let seats = seats(fields.table("waiting"));
    let keep_days = fields.integer("keep_days", 2..=3650).unwrap_or(90);
    let price = price(fields.table("price"));
    fields.finish();
    Some(Relay { state: state?, keys, private_hosts, seats, keep_days, price })
}

/// The vendor's price outside of mainland China, unless the operator knows better (*Fun-ASR recording*).
fn price(mut fields: Fields<'_>) -> Price {
    let per_second = fields.number("per_second", 0.0..=1000.0).unwrap_or(0.000_035);
    let currency = fields.string("currency").unwrap_or_else(|| "USD".to_owned());
    if currency.len() > 8 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        fields.mistake("currency", "must be a code of capital letters, as \"USD\"");
    }
    fields.finish();
    Price { per_second, currency }
}

fn seats(mut fields: Fields<'_>) -> Seats {
    let usual = Seats::default();
    let mut most = |name, usual| fields.integer(name, 0..=1_000_000).unwrap_or(usual);
    let seats = Seats {
        owner: most("per_owner", usual.owner),
        app: most("per_app", usual.app),
        address: most("per_address", usual.address),
        total: most("total", usual.total),
    };
    fields.finish();
    seats
}

/// The keys in the folder; none before the first start.
fn keys(fields: &Fields<'_>, folder: &Path) -> Option<Arc<Keyring>> {
    match Keyring::read(folder) {
        Ok(keys) => {
            fields.secret_file("state", &folder.join(keyring::FILE));
            Some(Arc::new(keys))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && folder.is_dir() => None,
        Err(_) if !folder.is_dir() => {
            let message = format!(
                "{} is no folder: make it, for the broker's user alone (mode 700), or restore it from its backup",
                folder.display()
            );
            fields.mistake("state", message);
            None
        }
        Err(error) => {
            let file = folder.join(keyring::FILE);
            fields.mistake("state", format!("{} cannot be read: {error}", file.display()));
            None
        }
    }
}

/// What an app may do at the relay.
pub(super) fn scope(fields: &mut Fields<'_>, is_relay: bool, is_public: bool) -> Scope {
    let models = fields.strings("models").into_iter().map(|(_, model)| model).collect::<Vec<_>>();
    let hosts = fields.strings("file_hosts");
    for (index, (_, host)) in hosts.iter().enumerate() {
        if !is_host_rule(host) {
            let message = "must be a host in lower case, as \"files.example.com\", or \"*.example.com\" for all below one";
            fields.mistake(&format!("file_hosts[{index}]"), message);
        }
    }
    let urls = fields.integer("urls_per_task", 1..=MOST_URLS);
    let vocabularies: Vec<_> = fields.strings("vocabularies").into_iter().map(|(_, id)| id).collect();
    if !is_relay {
        for (name, is_set) in [
            ("models", !models.is_empty()),
            ("file_hosts", !hosts.is_empty()),
            ("urls_per_task", urls.is_some()),
            ("vocabularies", !vocabularies.is_empty()),
        ] {
            if is_set {
                let message = "narrows nothing: a direct token may do all that its key may; only mode = \"relay\" keeps to it";
                fields.mistake(name, message);
            }
        }
    } else if is_public && hosts.is_empty() {
        let message = "is missing: name the hosts of your recordings, or anyone may have anything transcribed through a public app";
        fields.mistake("file_hosts", message);
    }
    Scope {
        models: if models.is_empty() { MODELS.map(str::to_owned).into() } else { models },
        file_hosts: (!hosts.is_empty()).then(|| hosts.into_iter().map(|(_, host)| host).collect()),
        urls: urls.unwrap_or(MOST_URLS),
        vocabularies,
    }
}

/// A host, or `*.` before one: of letters, digits and hyphens, with a dot in it.
fn is_host_rule(rule: &str) -> bool {
    let host = rule.strip_prefix("*.").unwrap_or(rule);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let named = host.rsplit('.').next().is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()));
    host.len() <= 253 && host.contains('.') && named && host.split('.').all(label)
}
