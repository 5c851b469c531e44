//! `valet-server healthcheck`: asks a running broker.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use valet_server::config::{Environment, Source};

use super::{Done, FAILED, failed, read_config, runtime};

#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    /// The broker's URL [default: where the configuration says that it listens, else http://127.0.0.1:8080].
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The broker's configuration file.
    #[arg(long, value_name = "FILE", env = "VALET_SERVER_CONFIG")]
    config: Option<PathBuf>,
}

impl Healthcheck {
    pub(super) fn run(self) -> Done {
        let url = match (self.url, self.config) {
            (Some(url), _) => url,
            (None, Some(path)) => {
                let config = read_config(&Source { path, environment: Environment::of_process() })?;
                let scheme = if config.tls.is_some() { "https" } else { "http" };
                let mut address = config.listen;
                if address.ip().is_unspecified() {
                    address.set_ip(if address.is_ipv6() {
                        Ipv6Addr::LOCALHOST.into()
                    } else {
                        Ipv4Addr::LOCALHOST.into()
                    });
                }
                format!("{scheme}://{address}")
            }
            (None, None) => "http://127.0.0.1:8080".to_owned(),
        };
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(3))
            // It asks this machine for a word that is no secret; the certificate names another host.
            .tls_danger_accept_invalid_certs(true)
            .build()
            .map_err(failed)?;
        let url = format!("{}/readyz", url.trim_end_matches('/'));
        let runtime = runtime().map_err(failed)?;
        let answer = runtime.block_on(async {
            let response = client.get(&url).send().await?;
            Ok::<_, reqwest::Error>((response.status(), response.text().await?))
        });
        match answer {
            Ok((status, text)) if status.is_success() => {
                println!("{text}");
                Ok(())
            }
            Ok((status, text)) => Err((FAILED, format!("{url}: {status}: {text}"))),
            Err(error) => Err((FAILED, format!("{url}: {}; does the broker run?", error.without_url()))),
        }
    }
}
