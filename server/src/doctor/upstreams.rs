//! The upstreams: whether they are reached, what their clocks say, what their keys can do and to which
//! account they belong.

use std::collections::{BTreeMap, BTreeSet};

use valet_clock::SharedClock;

use super::finding::{Finding, Findings, ok, problem, warning};
use crate::{
    config::Upstream,
    token::{Failure, Inspector, KeyId, Kind, Unreached},
};

/// The seconds that clocks may differ: `expires_at` means little beyond.
const SKEW: f64 = 5.0;

/// A key whose account the upstream told.
struct Known<'c> {
    upstream: &'c Upstream,
    account: String,
}

pub(super) async fn examine(upstreams: &[Upstream], clock: &SharedClock, findings: &mut Findings<'_>) {
    let mut known = Vec::new();
    for upstream in upstreams {
        known.extend(one(upstream, clock, findings).await);
    }
    for finding in accounts_apart(&known) {
        findings.add(finding);
    }
}

async fn one<'c>(upstream: &'c Upstream, clock: &SharedClock, findings: &mut Findings<'_>) -> Vec<Known<'c>> {
    let about = format!("upstream {}", upstream.name);
    findings.begins(&format!("{about}: reaching {}", upstream.base_url));
    let inspector = match Inspector::new(upstream, clock) {
        Ok(inspector) => inspector,
        Err(error) => {
            let what = format!("no HTTPS client can be made: {error}");
            findings.add(problem(&about, &what, "install root certificates (package ca-certificates)"));
            return Vec::new();
        }
    };
    match inspector.reach().await {
        Err(unreached) => {
            findings.add(unreachable(&about, upstream, &unreached));
            return Vec::new();
        }
        Ok(skew) => {
            findings.add(ok(&about, &format!("{} answers", upstream.base_url)));
            findings.add(clocks(&about, skew));
        }
    }
    let mut known = Vec::new();
    for (place, key) in upstream.keys.iter().enumerate() {
        let about = format!("{about}, keys[{place}] ({})", KeyId::of(key));
        findings.begins(&format!("{about}: minting a token of 1 s"));
        let minted = inspector.mint(key).await;
        let works = minted.is_ok();
        findings
            .add(minted.map_or_else(|failure| useless(&about, &failure), |()| ok(&about, "mints tokens")));
        if works {
            known.extend(inspector.account(key).await.map(|account| Known { upstream, account }));
        }
    }
    if let Some(finding) = one_account(&about, upstream, &known) {
        findings.add(finding);
    }
    known
}

fn unreachable(about: &str, upstream: &Upstream, unreached: &Unreached) -> Finding {
    let url = &upstream.base_url;
    let (what, advice) = match unreached {
        Unreached::Name(why) => {
            (format!("the name of {url} cannot be resolved: {why}"), "check base_url, and this machine's DNS")
        }
        Unreached::Connection(why) => (
            format!("no connection to {url}: {why}"),
            "check base_url, the firewall, and the proxy if one leads there (HTTPS_PROXY)",
        ),
        Unreached::Tls(why) => (
            format!("no TLS with {url}: {why}"),
            "check base_url and the root certificates (package ca-certificates); a proxy that breaks TLS open \
             needs its own among them",
        ),
        Unreached::Silence => (
            format!("{url} does not answer within 5 s"),
            "check the firewall, and the proxy if one leads there (HTTPS_PROXY)",
        ),
    };
    problem(about, &what, advice)
}

fn clocks(about: &str, skew: Option<f64>) -> Finding {
    match skew {
        None => warning(about, "its answers have no Date: clocks cannot be compared", "check base_url"),
        Some(skew) if skew.abs() > SKEW => warning(
            about,
            &format!(
                "its clock is {:.0} s {} this machine's, or more",
                skew.abs(),
                if skew > 0.0 { "ahead of" } else { "behind" }
            ),
            "set this machine's clock by NTP",
        ),
        Some(_) => ok(about, "its clock agrees with this machine's"),
    }
}

fn useless(about: &str, failure: &Failure) -> Finding {
    let code = failure.code.as_ref().map_or_else(String::new, |code| format!(" ({code})"));
    match failure.kind {
        Kind::InvalidKey => problem(
            about,
            &format!("the upstream does not accept it{code}"),
            "a key belongs to one region: check base_url, or make a new key in the Model Studio console",
        ),
        Kind::Throttled => warning(
            about,
            &format!("the upstream asks for fewer mints{code}: nothing is known of the key"),
            "examine again in a minute",
        ),
        // DashScope says why; what answers without a code is something else.
        Kind::Refused if failure.code.is_some() => problem(
            about,
            &format!("the upstream refuses it a token{code}"),
            "look in the Model Studio console: the key lacks rights, or a bill is open",
        ),
        Kind::Unavailable => {
            problem(about, &format!("the upstream has a fault of its own{code}"), "examine again in a minute")
        }
        Kind::Timeout => problem(about, "no answer within 5 s", "examine again in a minute"),
        _ => problem(
            about,
            "the answer is no token response",
            "check base_url; a proxy may answer in the upstream's place",
        ),
    }
}

/// Tasks and query limits are those of an account, so an upstream has one.
fn one_account(about: &str, upstream: &Upstream, known: &[Known<'_>]) -> Option<Finding> {
    let accounts: BTreeSet<_> = known.iter().map(|known| &known.account).collect();
    match (upstream.keys.len(), accounts.len()) {
        (1, _) => None,
        (_, 2..) => Some(problem(
            about,
            &format!("its keys belong to {} accounts", accounts.len()),
            "give each account an upstream of its own: a task is seen only by keys of its account",
        )),
        (keys, 1) if known.len() == keys => {
            Some(ok(about, &format!("its {keys} keys belong to one account")))
        }
        (keys, _) => Some(warning(
            about,
            &format!("whether its {keys} keys belong to one account could not be told"),
            "an account is known by its tasks: examine again within a day of a transcription with each key",
        )),
    }
}

/// What the configuration says are two accounts must not be one: their apps would see each other's tasks.
fn accounts_apart(known: &[Known<'_>]) -> Vec<Finding> {
    let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Known { upstream, account } in known {
        named.entry(account).or_default().insert(&upstream.account);
    }
    let twice = named.into_values().filter(|names| names.len() > 1).map(|names| {
        let names: Vec<_> = names.into_iter().collect();
        let what = format!("{} are one and the same account of the vendor", names.join(" and "));
        problem("accounts", &what, "give their upstreams the same account = \"…\": apps see its tasks")
    });
    twice.collect()
}
