//! Brokers with a relay: one app whose tasks go through it, and one with direct tokens of the same account.

use std::path::Path;

use valet_clock::{Clock, SystemClock};
use valet_server::keyring::Keyring;

use super::{Cluster, Endpoint, Redis, Upstream, Usage, broker::hash};
use crate::{Outcome, cores};

const SECRET: &str = "vs_a-secret-of-the-relay-of-a-usual-length-indeed";
const DIRECT: &str = "vs_a-secret-of-the-direct-app-of-a-usual-length-x";

/// A running one, or several that share a Redis and their keys.
#[derive(Debug)]
pub(crate) struct Relay(Cluster);

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
    /// Starts so many, and if they are several their Redis on the same core. They ask for the account's list by so many
    /// tasks a page; 0 turns that off.
    pub(crate) async fn start(upstream: &Upstream, page: u32, replicas: usize) -> Outcome<Self> {
        let redis = match replicas {
            1 => None,
            _ => Some(Redis::start(cores::SERVER).await?),
        };
        let keys = Keyring::generate(SystemClock.unix());
        let config = |files: &Path| {
            keys.write(files)?;
            // Nobody follows its public URL here.
            Ok(format!(
                r#"listen = "127.0.0.1:0"
metrics_listen = "127.0.0.1:0"
public_url = "http://127.0.0.1:1"
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
        Ok(Self(Cluster::start_of(replicas, redis, config).await?))
    }

    /// Where each of them is.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = Endpoint> + Clone {
        self.0.brokers().iter().map(|broker| broker.endpoint)
    }

    /// Where the first one is.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.0.brokers()[0].endpoint
    }

    /// What their Redis was used for, up to now, if they have one.
    pub(crate) async fn shared_use(&self) -> Outcome<Option<Usage>> {
        match self.0.redis() {
            Some(redis) => Ok(Some(redis.usage().await?)),
            None => Ok(None),
        }
    }

    /// The secret of the app whose tasks go through them.
    pub(crate) fn secret(&self) -> &'static str {
        SECRET
    }

    /// What direct clients need, one at each of them.
    pub(crate) fn directs(&self) -> impl Iterator<Item = Direct> {
        let url = |broker: Endpoint| format!("http://{}", broker.address);
        self.endpoints().map(move |broker| Direct { broker: url(broker), app: "direct", secret: DIRECT })
    }

    /// Stops them, as an operator would.
    pub(crate) async fn stop(self) -> Outcome<()> {
        self.0.stop().await
    }
}
