//! The broker with a relay: one app whose tasks go through it, and one with direct tokens of the same account.

use std::{net::TcpListener, path::Path};

use super::{Broker, Endpoint, Upstream, broker::hash};
use crate::Outcome;

const SECRET: &str = "vs_a-secret-of-the-relay-of-a-usual-length-indeed";
const DIRECT: &str = "vs_a-secret-of-the-direct-app-of-a-usual-length-x";

/// A running broker with a relay.
#[derive(Debug)]
pub(crate) struct Relay(Broker);

/// What a direct client needs.
#[derive(Clone, Debug)]
pub(crate) struct Direct {
    /// The broker's URL.
    pub(crate) broker: String,
    /// The app.
    pub(crate) app: &'static str,
    /// Its secret.
    pub(crate) secret: &'static str,
}

impl Relay {
    /// Starts it. It asks for the account's list by so many tasks a page; 0 turns that off.
    pub(crate) async fn start(upstream: &Upstream, page: u32) -> Outcome<Self> {
        // Its tokens and handles say where it is, so its address is chosen beforehand.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = |files: &Path| {
            Ok(format!(
                r#"listen = "{address}"
metrics_listen = "127.0.0.1:0"
public_url = "http://{address}"
bounds = {{ connections = 100000 }}
[audit]
path = {audit:?}
[relay]
state = {state:?}
private_hosts = true
waiting = {{ per_owner = 1000000, per_app = 1000000, per_address = 1000000, total = 1000000 }}
[upstreams.bench]
base_url = {base_url:?}
keys = [{{ env = "DASHSCOPE_API_KEY" }}]
shared_account = "visible-to-all"
list_page = {page}
[apps.relayed]
mode = "relay"
secrets = ["{}"]
rate = {{ per_second = 10000000, burst = 10000000 }}
[apps.direct]
mode = "direct"
secrets = ["{}"]
"#,
                hash(SECRET),
                hash(DIRECT),
                audit = files.join("audit.jsonl"),
                state = files,
                base_url = upstream.base_url(),
            ))
        };
        Ok(Self(Broker::start_of(config).await?))
    }

    /// Where it is.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.0.endpoint
    }

    /// The secret of the app whose tasks go through it.
    pub(crate) fn secret(&self) -> &'static str {
        SECRET
    }

    /// What a direct client needs.
    pub(crate) fn direct(&self) -> Direct {
        Direct { broker: format!("http://{}", self.endpoint().address), app: "direct", secret: DIRECT }
    }

    /// Stops it, as an operator would.
    pub(crate) async fn stop(self) -> Outcome<()> {
        self.0.stop().await
    }
}
