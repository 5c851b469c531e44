//! `valet-server keys`: the keys that sign relay tokens and seal handles.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use valet_clock::{Clock, SystemClock};
use valet_server::{
    config::{Environment, Source},
    keyring::{FILE, Keyring, NOTICE},
};

use super::{Done, INVALID, failed, read_config};

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Show which keys there are, and since when each is used.
    List(Folder),
    /// Make a new key, which takes the place of the one in use a minute later.
    ///
    /// A running broker takes the file up by itself. What was signed and sealed by the old key stays good: it is
    /// accepted for three days more, as long as a handle is good, and dropped at a rotation after that. With several
    /// brokers, give the new file to all of them within the minute.
    Rotate(Folder),
}

#[derive(Debug, Args)]
pub(super) struct Folder {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "VALET_SERVER_CONFIG")]
    config: PathBuf,
}

impl Keys {
    pub(super) fn run(self) -> Done {
        let (folder, rotates) = match self {
            Self::List(folder) => (folder, false),
            Self::Rotate(folder) => (folder, true),
        };
        let config = read_config(&Source { path: folder.config, environment: Environment::of_process() })?;
        let Some(relay) = config.relay else {
            return Err((INVALID, "there is no [relay] in the configuration, so there are no keys".into()));
        };
        let now = SystemClock.unix();
        let file = relay.state.join(FILE);
        if !rotates {
            let keys = Keyring::read(&relay.state);
            return show(&keys.map_err(|error| failed(format!("{}: {error}", file.display())))?, now);
        }
        let keys = Keyring::of_folder(&relay.state, now).map_err(failed)?;
        let rotated = keys.rotated(now);
        rotated.write(&relay.state).map_err(failed)?;
        eprintln!("{} has a new key, which is used in {} seconds", file.display(), NOTICE.as_secs());
        show(&rotated, now)
    }
}

fn show(keys: &Keyring, now: std::time::Duration) -> Done {
    let used = keys.signing(now).id.to_owned();
    for (id, from) in keys.generations() {
        let seconds = i64::try_from(from.as_secs()).map_err(failed)?;
        let from = Timestamp::from_second(seconds).map_err(failed)?;
        println!("{id}  from {from}{}", if id == used { "  in use" } else { "" });
    }
    Ok(())
}
