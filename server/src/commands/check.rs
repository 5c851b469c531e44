//! `valet-server check`: what a configuration says, or every mistake in it.

use std::path::PathBuf;

use clap::Args;
use valet_server::config::{App, Environment, Mode, Source, Upstream};

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
            print!("{}", said_of(app, &config.upstreams[app.upstream]));
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

/// What an app gets, and what whoever has it can do.
fn said_of(app: &App, upstream: &Upstream) -> String {
    let lifetimes: Vec<_> = app.lifetimes.iter().map(|class| format!("{} s", class.seconds())).collect();
    let (lifetimes, state) = (lifetimes.join(", "), if app.enabled { "" } else { ", disabled" });
    let (id, name) = (&app.id, &upstream.name);
    match app.mode {
        Mode::Direct => format!(
            "  app {id}: direct tokens of {name} for {lifetimes}{state}\n    \
             such a token can do all that its key can: see, read and cancel every task of\n    \
             account {}, and it cannot be revoked before it expires\n",
            upstream.account
        ),
        Mode::Relay => {
            let hosts = app.scope.file_hosts.as_ref().map(|hosts| hosts.join(", "));
            format!(
                "  app {id}: relay tokens for {lifetimes}, whose tasks are of {name}{state}\n    \
                 such a token opens the tasks of its own app and end user alone\n    \
                 models: {}\n    hosts of recordings: {}\n",
                app.scope.models.join(", "),
                hosts.as_deref().unwrap_or("any")
            )
        }
    }
}
