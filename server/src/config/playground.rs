//! `[playground]`: the page to try the relay with, and the apps that it signs its user in as.

use std::net::SocketAddr;

use url::{Host, Url};

use super::{Playground, apps::ReadApp, fields::Fields};

/// Where the broker is, as far as it is told.
pub(super) struct Place<'p> {
    pub(super) listen: SocketAddr,
    pub(super) public_url: Option<&'p Url>,
    pub(super) trusted_proxies: usize,
}

/// The playground; none if it is switched off.
pub(super) fn read(mut fields: Fields<'_>, place: &Place<'_>, apps: &[ReadApp]) -> Option<Playground> {
    let is_enabled = fields.boolean("enabled").unwrap_or(true);
    let listed = fields.strings("sign_in");
    if is_enabled && !apps.iter().any(ReadApp::is_relayed) {
        fields
            .mistake("", "is a page for apps at the relay, and there is none: an app needs mode = \"relay\"");
    }
    for (index, (_, id)) in listed.iter().enumerate() {
        if !apps.iter().any(|app| app.is_relayed() && app.id() == id) {
            fields.mistake(
                &format!("sign_in[{index}]"),
                format!("no app with mode = \"relay\" is called \"{id}\""),
            );
        }
    }
    // Whoever reaches the page is signed in, so nobody may who does not sit at this machine.
    let is_private = place.is_loopback() && place.trusted_proxies == 0;
    if !listed.is_empty() && !is_private {
        let message = "signs in whoever reaches the page: only where listen and public_url are on loopback, as \
                       \"http://127.0.0.1:8080\", and no proxy stands in front";
        fields.mistake("sign_in", message);
    }
    fields.finish();
    is_enabled.then(|| Playground { sign_in: listed.into_iter().map(|(_, id)| id.into()).collect() })
}

impl Place<'_> {
    fn is_loopback(&self) -> bool {
        let is_near = match self.public_url.and_then(Url::host) {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        self.listen.ip().is_loopback() && is_near
    }
}
