//! `[apps.ID]`, and what must hold among apps and upstreams together.

use std::collections::{BTreeMap, HashMap};

use valet_pacing::Quota;

use super::{
    App, Lifetime, Mode, Quotas, Sharing, SubjectTokens, Upstream,
    fields::Fields,
    identities::{self, Proofs},
    relay,
    upstreams::{self, Read},
};
use crate::secret::SecretHash;

/// A recording has twelve hours at most (*Fun-ASR recording*).
const LONGEST_FILE: u32 = 12 * 3600;

/// An app as it was read; `None` if one of its parts has a mistake.
pub(super) struct ReadApp {
    id: String,
    account: Option<String>,
    enabled: bool,
    mode: Mode,
    secrets: Vec<SecretHash>,
    subject_tokens: Vec<SubjectTokens>,
    app: Option<App>,
}

impl ReadApp {
    /// Whether it proves itself by what it signs.
    pub(super) fn signs(&self) -> bool {
        self.app.as_ref().is_some_and(|app| app.keys.is_some())
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Whether its tokens open the relay.
    pub(super) fn is_relayed(&self) -> bool {
        self.mode == Mode::Relay
    }
}

pub(super) fn read(
    tables: Vec<(String, Fields<'_>)>,
    upstreams: &[Read],
    lifetimes: &[Lifetime],
) -> Vec<ReadApp> {
    tables.into_iter().map(|(id, fields)| one(id, fields, upstreams, lifetimes)).collect()
}

fn one(id: String, mut fields: Fields<'_>, upstreams: &[Read], classes: &[Lifetime]) -> ReadApp {
    let id_fits = is_app_id(&id);
    if !id_fits {
        fields.mistake(
            "",
            "an app id has 1 to 64 of a-z, 0-9, '-', '_', '.', and begins with a letter or digit",
        );
    }
    let enabled = fields.boolean("enabled").unwrap_or(true);
    let modes = [("direct", Mode::Direct), ("relay", Mode::Relay)];
    let mode = fields.choice("mode", &modes).unwrap_or(Mode::Direct);
    let Proofs { secrets, keys, for_endpoint, subject_tokens, is_public } =
        identities::read(&mut fields, mode);
    let results = fields.choice("results", &[("bearer", true), ("capability", false)]);
    let scope = relay::scope(&mut fields, mode == Mode::Relay, is_public);
    let upstream = upstream(&mut fields, upstreams);
    let lifetimes = lifetimes(&mut fields, classes);
    let sharing = fields.choice("sharing", &[("app", Sharing::App), ("none", Sharing::None)]);
    let may_name_subject = fields.boolean("may_name_subject").unwrap_or(false);
    let origins = origins(&mut fields);
    let quotas = quotas(&mut fields, may_name_subject || !subject_tokens.is_empty(), mode == Mode::Relay);
    let mints = quota(fields.table("mints"), "per_minute", 60, (60, 20));
    fields.finish();
    let app = id_fits.then(|| {
        Some(App {
            id: id.as_str().into(),
            enabled,
            secrets: secrets.clone(),
            keys,
            assertions_for_endpoint: for_endpoint,
            subject_tokens: subject_tokens.clone(),
            mode,
            scope,
            results_need_bearer: results.unwrap_or(is_public),
            upstream: upstream?,
            lifetimes: lifetimes?,
            sharing: sharing.unwrap_or(Sharing::App),
            may_name_subject,
            origins: origins.clone(),
            quotas,
            mints,
        })
    });
    let account = upstream.map(|index| upstreams[index].account.clone());
    ReadApp { id, account, enabled, mode, secrets, subject_tokens, app: app.flatten() }
}

/// Whether `id` can be an app's id: safe in headers, logs, file names and metric labels.
pub fn is_app_id(id: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    id.len() <= 64
        && id.bytes().next().is_some_and(word)
        && id.bytes().all(|b| word(b) || matches!(b, b'-' | b'_' | b'.'))
}

fn upstream(fields: &mut Fields<'_>, upstreams: &[Read]) -> Option<usize> {
    match fields.string("upstream") {
        Some(name) => {
            let found = upstreams.iter().position(|read| read.name == name);
            if found.is_none() {
                let names: Vec<_> = upstreams.iter().map(|read| read.name.as_str()).collect();
                let message = format!("no upstream is called \"{name}\"; there is: {}", names.join(", "));
                fields.mistake("upstream", message);
            }
            found
        }
        None if upstreams.len() == 1 => Some(0),
        None => {
            fields.require("upstream", "with several upstreams each app names its own");
            None
        }
    }
}

/// The classes from `lifetime` to `max_lifetime`, the app's usual one first.
fn lifetimes(fields: &mut Fields<'_>, classes: &[Lifetime]) -> Option<Vec<Lifetime>> {
    let range = Lifetime::MIN..=Lifetime::MAX;
    let shortest = classes.first()?.seconds();
    let lifetime = fields.integer("lifetime", range.clone()).unwrap_or(shortest);
    let max_lifetime = fields.integer("max_lifetime", range).unwrap_or(lifetime);
    let listed = |seconds: u32| classes.iter().any(|class| class.seconds() == seconds);
    let words = || {
        let words: Vec<_> = classes.iter().map(|class| class.seconds().to_string()).collect();
        format!("must be one of tokens.lifetimes: {}", words.join(", "))
    };
    let mut fits = true;
    for (name, seconds) in [("lifetime", lifetime), ("max_lifetime", max_lifetime)] {
        if !listed(seconds) && (name == "lifetime" || seconds != lifetime) {
            fields.mistake(name, words());
            fits = false;
        }
    }
    if max_lifetime < lifetime {
        fields.mistake("max_lifetime", "must not be less than lifetime");
        fits = false;
    }
    let within = |class: &&Lifetime| (lifetime..=max_lifetime).contains(&class.seconds());
    fits.then(|| classes.iter().filter(within).copied().collect())
}

/// Web origins (RFC 6454 §6.2), each as a browser writes it into `Origin`.
fn origins(fields: &mut Fields<'_>) -> Vec<String> {
    let listed = fields.strings("origins");
    for (index, (_, text)) in listed.iter().enumerate() {
        let url = text.parse::<url::Url>().ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        if url.is_none_or(|url| url.origin().ascii_serialization() != *text) {
            let message = "must be an origin as browsers write it, as \"https://app.example.com\": no path, no default port";
            fields.mistake(&format!("origins[{index}]"), message);
        }
    }
    listed.into_iter().map(|(_, text)| text).collect()
}

fn quotas(fields: &mut Fields<'_>, has_subjects: bool, is_relay: bool) -> Quotas {
    let a_day = 1..=1_000_000_000;
    let quotas = Quotas {
        rate: quota(fields.table("rate"), "per_second", 1, (50, 100)),
        tokens_per_day: fields.integer("tokens_per_day", a_day.clone()),
        subject_rate: fields
            .optional_table("subject_rate")
            .map(|table| quota(table, "per_second", 1, (1, 10))),
        subject_tokens_per_day: fields.integer("subject_tokens_per_day", a_day.clone()),
        relay_rate: fields
            .optional_table("relay_rate")
            .map(|table| quota(table, "per_second", 1, (1000, 10_000))),
        tasks_per_day: fields.integer("tasks_per_day", a_day.clone()),
        subject_tasks_per_day: fields.integer("subject_tasks_per_day", a_day.clone()),
        audio_seconds_per_day: fields.integer("audio_seconds_per_day", a_day.clone()).map(u64::from),
        subject_audio_seconds_per_day: fields.integer("subject_audio_seconds_per_day", a_day).map(u64::from),
        seconds_per_file: fields.integer("seconds_per_file", 1..=LONGEST_FILE).unwrap_or(LONGEST_FILE).into(),
    };
    for (limit, seconds) in [
        ("audio_seconds_per_day", quotas.audio_seconds_per_day),
        ("subject_audio_seconds_per_day", quotas.subject_audio_seconds_per_day),
    ] {
        if seconds.is_some_and(|seconds| seconds < quotas.seconds_per_file) {
            let message = format!(
                "allows not one recording: seconds_per_file, {} s, is set aside for each; say how long the app's \
                 recordings are at most",
                quotas.seconds_per_file
            );
            fields.mistake(limit, message);
        }
    }
    for (limit, is_set) in [
        ("relay_rate", quotas.relay_rate.is_some()),
        ("tasks_per_day", quotas.tasks_per_day.is_some()),
        ("subject_tasks_per_day", quotas.subject_tasks_per_day.is_some()),
        ("audio_seconds_per_day", quotas.audio_seconds_per_day.is_some()),
        ("subject_audio_seconds_per_day", quotas.subject_audio_seconds_per_day.is_some()),
    ] {
        if is_set && !is_relay {
            fields.mistake(
                limit,
                "limits nothing: only what goes through the relay is counted; mode = \"relay\"",
            );
        }
    }
    for (limit, is_set) in [
        ("subject_rate", quotas.subject_rate.is_some()),
        ("subject_tokens_per_day", quotas.subject_tokens_per_day.is_some()),
        ("subject_tasks_per_day", quotas.subject_tasks_per_day.is_some()),
        ("subject_audio_seconds_per_day", quotas.subject_audio_seconds_per_day.is_some()),
    ] {
        if is_set && !has_subjects {
            fields.mistake(
                limit,
                "limits nobody: only an app with may_name_subject = true or subject_tokens has subjects",
            );
        }
    }
    quotas
}

pub(super) fn quota(mut fields: Fields<'_>, name: &'static str, seconds: u64, default: (u32, u32)) -> Quota {
    let permits = fields.integer(name, 1..=10_000_000).unwrap_or(default.0);
    let burst = fields.integer("burst", 1..=10_000_000).unwrap_or(default.1);
    fields.finish();
    Quota::new(permits, std::time::Duration::from_secs(seconds), burst)
}

/// What no single table can tell. Returns the parts without mistakes; `None` apps if some had one.
pub(super) fn cross_check(
    fields: &Fields<'_>,
    upstreams: Vec<Read>,
    apps: Vec<ReadApp>,
) -> (Vec<Upstream>, Option<Vec<App>>) {
    one_direct_app_an_account(fields, &upstreams, &apps);
    no_secret_twice(fields, &apps);
    no_subject_of_two(fields, &apps);
    upstreams::no_key_twice(fields, &upstreams);
    upstreams::one_budget_an_account(fields, &upstreams);
    let apps = apps.into_iter().map(|read| read.app).collect();
    (upstreams.into_iter().filter_map(|read| read.upstream).collect(), apps)
}

/// A direct token sees, reads and cancels every task of its account, whichever app submitted it
/// (Model Studio, *Manage asynchronous tasks*), so a direct app shares an account only on purpose.
fn one_direct_app_an_account(fields: &Fields<'_>, upstreams: &[Read], apps: &[ReadApp]) {
    let mut by_account: BTreeMap<&str, Vec<&ReadApp>> = BTreeMap::new();
    for app in apps.iter().filter(|app| app.enabled) {
        if let Some(account) = &app.account {
            by_account.entry(account).or_default().push(app);
        }
    }
    for (account, apps) in by_account {
        let is_open = apps.len() > 1 && !apps.iter().all(|app| app.is_relayed());
        if is_open && !upstreams::visible_to_all(upstreams, account) {
            let ids: Vec<&str> = apps.iter().map(|app| app.id.as_str()).collect();
            let relayed =
                if apps.iter().any(|app| app.is_relayed()) { " (relay apps among them)" } else { "" };
            let message = format!(
                "the direct apps {}{relayed} share the account \"{account}\", so each can list, read and cancel \
                 the others' tasks; give each an account of its own, or accept it by writing \
                 shared_account = \"visible-to-all\" in every upstream of that account",
                ids.join(", "),
            );
            fields.mistake("apps", message);
        }
    }
}

/// A secret alone must name its app.
fn no_secret_twice(fields: &Fields<'_>, apps: &[ReadApp]) {
    let mut owner: HashMap<SecretHash, &str> = HashMap::new();
    for app in apps {
        for (index, hash) in app.secrets.iter().enumerate() {
            if let Some(other) = owner.insert(*hash, &app.id) {
                let path = format!("apps.{}.secrets[{index}]", app.id);
                fields.mistake(&path, format!("is listed already, by app {other}; make a new one"));
            }
        }
    }
}

/// A subject token must name its app.
fn no_subject_of_two(fields: &Fields<'_>, apps: &[ReadApp]) {
    for (place, app) in apps.iter().enumerate() {
        for (index, rules) in app.subject_tokens.iter().enumerate() {
            let fits = |other: &&ReadApp| other.subject_tokens.iter().any(|o| identities::overlap(rules, o));
            if let Some(other) = apps[..place].iter().find(fits) {
                let path = format!("apps.{}.subject_tokens[{index}]", app.id);
                let message = format!(
                    "one token could be for app {} as well: tell them apart by audience, or by a claim that \
                     both name with different values",
                    other.id
                );
                fields.mistake(&path, message);
            }
        }
    }
}
