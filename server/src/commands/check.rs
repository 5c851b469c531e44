//! `valet-server check`: what a configuration says, or every mistake in it.

use std::path::PathBuf;

use clap::Args;
use valet_server::config::{Environment, Source};

use super::{Done, read_config};

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "VALET_SERVER_CONFIG")]
    config: PathBuf,
}

impl Check {
    pub(super) fn run(self) -> Done {
        let source = Source { path: self.config, environment: Environment::of_process() };
        let config = read_config(&source)?;
        println!("{} is valid: listens on {}", source.path.display(), config.listen);
        for upstream in &config.upstreams {
            println!("  upstream {}: {}, keys: {}", upstream.name, upstream.base_url, upstream.keys.len());
        }
        for app in &config.apps {
            let upstream = &config.upstreams[app.upstream];
            let lifetimes: Vec<_> =
                app.lifetimes.iter().map(|class| format!("{} s", class.seconds())).collect();
            let state = if app.enabled { "" } else { ", disabled" };
            println!(
                "  app {}: direct tokens of {} for {}{state}",
                app.id,
                upstream.name,
                lifetimes.join(", ")
            );
            println!("    such a token can do all that its key can: see, read and cancel every task of");
            println!("    account {}, and it cannot be revoked before it expires", upstream.account);
        }
        if let Some(relay) = config.relay.as_ref().filter(|_| config.shared.is_some()) {
            let keys = relay.keys.as_ref().and_then(|keys| keys.generations().last());
            match keys {
                Some((id, _)) => {
                    println!("  the relay's newest key is {id}: it must be the same for all replicas");
                }
                None => {
                    println!(
                        "  the relay has no keys yet: copy keys.json from a replica that runs, if there is one"
                    );
                }
            }
            println!(
                "    a broker whose keys are not those of the others does not start; doctor compares them"
            );
        }
        Ok(())
    }
}
