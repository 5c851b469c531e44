//! What stands between a valid configuration and a broker that works: the machine, the certificate, what replicas share,
//! the upstreams and their keys. Looks, asks, and changes nothing.

mod certificate;
mod finding;
mod machine;
mod shared;
mod upstreams;

use valet_clock::SharedClock;

pub use self::finding::{Finding, Mark, Progress};
use self::finding::{Findings, ok, problem};
use crate::config::{Config, Unusable};

/// Examines what a broker of `config` would run with; `tell` hears of every step and finding as it comes.
pub async fn examine(
    config: &Config,
    clock: &SharedClock,
    tell: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Vec<Finding> {
    let mut findings = Findings::new(tell);
    findings.add(ok("configuration", "is valid"));
    findings.begins("looking at this machine");
    machine::examine(config, &mut findings).await;
    if let Some(tls) = &config.tls {
        certificate::examine(tls, config.public_url.as_ref(), clock.unix(), &mut findings);
    }
    if let Some(settings) = &config.shared {
        shared::examine(settings, config.relay.as_ref(), clock.unix(), &mut findings).await;
    }
    upstreams::examine(&config.upstreams, clock, &mut findings).await;
    findings.into_vec()
}

/// What is wrong with a configuration that cannot be used, as findings.
#[must_use]
pub fn mistakes(unusable: &Unusable) -> Vec<Finding> {
    let advice = "mend it: the README lists every setting";
    match unusable {
        Unusable::Unreadable { .. } => {
            vec![problem("configuration", &unusable.to_string(), "name a file that can be read")]
        }
        Unusable::Invalid { mistakes, .. } => {
            mistakes.0.iter().map(|mistake| problem("configuration", &mistake.to_string(), advice)).collect()
        }
    }
}
