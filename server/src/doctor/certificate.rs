//! The certificate: how long it is good for, and whether for the name that the outside uses.

use std::{net::IpAddr, time::Duration};

use rustls::{client::verify_server_name, pki_types::ServerName, server::ParsedCertificate};
use url::Url;
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::{FromDer, Validity},
};

use super::finding::{Finding, Findings, ok, problem, warning};
use crate::config::Tls;

const DAY: i64 = 24 * 60 * 60;

/// Time enough to renew it by hand.
const SOON: i64 = 14 * DAY;

const RENEW: &str = "renew it: the broker takes up the new files by itself";

pub(super) fn examine(tls: &Tls, public_url: Option<&Url>, unix: Duration, findings: &mut Findings<'_>) {
    let about = "tls.certificate";
    let der = &tls.certified_key().cert[0];
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        let advice = "have it issued anew, as X.509 version 3";
        return findings.add(problem(about, "it cannot be read", advice));
    };
    let now = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
    findings.add(validity(about, certificate.validity(), now));
    let Some(host) = public_url.and_then(Url::host_str) else { return };
    let name = ServerName::try_from(host.trim_matches(['[', ']']));
    let parsed = ParsedCertificate::try_from(der);
    let fits = name.is_ok_and(|name| parsed.is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok()));
    findings.add(if fits {
        ok(about, &format!("is for {host}, the host of public_url"))
    } else {
        let what = format!("is not for {host}, the host of public_url, but for {}", names(&certificate));
        problem(about, &what, "have it issued for that host, or mend public_url")
    });
}

fn validity(about: &str, validity: &Validity, now: i64) -> Finding {
    let (begins, ends) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let days = |seconds: i64| match seconds / DAY {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    if now > ends {
        problem(about, &format!("expired {} ago", days(now - ends)), RENEW)
    } else if now < begins {
        let what = format!("becomes valid in {}", days(begins - now));
        problem(about, &what, "check this machine's clock, or use the certificate before this one")
    } else if ends - now < SOON {
        warning(about, &format!("expires in {}", days(ends - now)), RENEW)
    } else {
        ok(about, &format!("expires in {}", days(ends - now)))
    }
}

/// The names that the certificate is for (RFC 6125 §6.4: those of its extension alone).
fn names(certificate: &X509Certificate<'_>) -> String {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.map(|extension| &*extension.value.general_names).unwrap_or_default();
    let names: Vec<_> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        })
        .collect();
    if names.is_empty() { "no name".to_owned() } else { names.join(", ") }
}

/// Four or sixteen bytes (RFC 5280 §4.2.1.6).
fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
