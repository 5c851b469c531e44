//! The Redis that replicas share their state on: whether it is reached, what its user may do, how it is set up, and
//! whether the replicas that run have the keys that this one would have.

use std::time::Duration;

use super::finding::{Finding, Findings, ok, problem, warning};
use crate::{
    config::{Relay, Shared},
    keyring::Agreement,
    shared_redis::{Inspection, Uninspected, inspect},
};

const ABOUT: &str = "shared";
/// The first version that does all that is asked.
const OLDEST: (u32, u32) = (6, 2);

pub(super) async fn examine(
    settings: &Shared,
    relay: Option<&Relay>,
    now: Duration,
    findings: &mut Findings<'_>,
) {
    findings.begins(&format!("{ABOUT}: reaching {}", settings.url));
    let inspection = match inspect(settings).await {
        Ok(inspection) => inspection,
        Err(uninspected) => return findings.add(unreachable(settings, &uninspected)),
    };
    findings.add(ok(ABOUT, &format!("{} answers", settings.url)));
    if settings.url.scheme() == "redis" && !settings.is_loopback() {
        let what =
            format!("{} is spoken to without TLS: others on the network can read its password", settings.url);
        findings.add(warning(ABOUT, &what, "use rediss://, and a Redis that has a certificate"));
    }
    findings.add(rights(&inspection));
    findings.add(version(&inspection));
    findings.add(policy(&inspection));
    if let Some(relay) = relay {
        findings.add(keys(&inspection, relay, now));
    }
}

fn unreachable(settings: &Shared, uninspected: &Uninspected) -> Finding {
    let url = &settings.url;
    match uninspected {
        Uninspected::User(why) => {
            let advice = "check shared.username and shared.password, and the users of the Redis";
            problem(ABOUT, &format!("{url} does not let its user in: {why}"), advice)
        }
        Uninspected::Unreached(why) => {
            let advice = "check shared.url, the firewall, and shared.roots if it has a certificate of your own; without \
                          it each replica goes on by itself";
            problem(ABOUT, &format!("{url} is not reached: {why}"), advice)
        }
    }
}

fn rights(inspection: &Inspection) -> Finding {
    match &inspection.refuses {
        None => ok(ABOUT, "its user may do all that a replica does"),
        Some(why) => problem(
            ABOUT,
            &format!("it refuses what a replica has to do: {why}"),
            "give its user the rights in docs/scale.md; a Redis that is full or read-only refuses too",
        ),
    }
}

fn version(inspection: &Inspection) -> Finding {
    let Some(version) = &inspection.version else {
        return untold("its version");
    };
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if number < OLDEST {
        return problem(ABOUT, &format!("its version is {version}"), "use Redis 6.2 or newer, or Valkey");
    }
    ok(ABOUT, &format!("its version is {version}"))
}

fn policy(inspection: &Inspection) -> Finding {
    match inspection.policy.as_deref() {
        None => untold("what it does when its memory is full"),
        Some("noeviction") => ok(ABOUT, "it forgets nothing when its memory is full"),
        Some(policy) => warning(
            ABOUT,
            &format!(
                "it forgets limits, submits and assertions without a word when its memory is full ({policy})"
            ),
            "set maxmemory-policy noeviction",
        ),
    }
}

fn untold(what: &str) -> Finding {
    warning(ABOUT, &format!("{what} could not be told: its user may not ask"), "give its user +info")
}

fn keys(inspection: &Inspection, relay: &Relay, now: Duration) -> Finding {
    const ABOUT: &str = "relay.state";
    const ADVICE: &str =
        "copy keys.json from the state folder of a replica that runs, and keep it the same for all";
    let Some(keys) = &relay.keys else {
        let what = "there are no keys yet: a first start makes keys of its own, which are not those of other replicas";
        return warning(ABOUT, what, ADVICE);
    };
    let agreements = inspection.keyrings.iter().map(|other| keys.agreement(other, now));
    match agreements.max() {
        None => ok(ABOUT, "no other replica runs whose keys could be others"),
        Some(Agreement::Full) => ok(ABOUT, "its keys are those of the replicas that run"),
        Some(Agreement::ForNow) => warning(
            ABOUT,
            "a replica that runs has not the same keys: one of them will soon use a new one",
            ADVICE,
        ),
        Some(Agreement::None) => problem(
            ABOUT,
            "its keys are not those of a replica that runs: they do not know one another's tokens and handles",
            ADVICE,
        ),
    }
}
