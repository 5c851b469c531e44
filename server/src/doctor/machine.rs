//! The machine: files of secrets, the limit of open files, the addresses to listen on.

use std::{fs, io, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path};

use rustix::process::{Resource, getrlimit};
use tokio::net::TcpListener;

use super::finding::{Finding, Findings, ok, problem, warning};
use crate::config::{Config, SecretFile};

/// What a broker opens besides its callers' connections: logs, audit, upstreams, the runtime's own.
const BESIDES: u64 = 64;

pub(super) async fn examine(config: &Config, findings: &mut Findings<'_>) {
    for file in &config.secret_files {
        findings.add(secret_file(file));
    }
    if let Some(relay) = &config.relay {
        findings.add(state(&relay.state));
    }
    findings.add(open_files(getrlimit(Resource::Nofile).current, config));
    for (setting, address) in [("listen", Some(config.listen)), ("metrics_listen", config.metrics_listen)] {
        if let Some(address) = address {
            findings.add(listen(setting, address).await);
        }
    }
}

fn secret_file(file: &SecretFile) -> Finding {
    let SecretFile { setting, path } = file;
    let path = path.display();
    match fs::metadata(&file.path) {
        Err(error) => problem(
            setting,
            &format!("{path} cannot be looked at: {error}"),
            "name a file of the broker's own",
        ),
        Ok(metadata) if metadata.permissions().mode() & 0o066 != 0 => {
            let mode = metadata.permissions().mode() & 0o777;
            let what = format!("{path} is open to others than its owner (mode {mode:o})");
            warning(setting, &what, &format!("chmod 600 {path}"))
        }
        Ok(_) => ok(setting, &format!("only its owner can read {path}")),
    }
}

/// Whoever can write into the folder can put other keys in the place of the broker's.
fn state(folder: &Path) -> Finding {
    let (setting, shown) = ("relay.state", folder.display());
    match fs::metadata(folder) {
        Err(error) => problem(
            setting,
            &format!("{shown} cannot be looked at: {error}"),
            "name a folder of the broker's own",
        ),
        Ok(metadata) if metadata.permissions().mode() & 0o022 != 0 => {
            let mode = metadata.permissions().mode() & 0o777;
            let what = format!("others than its owner can write into {shown} (mode {mode:o})");
            warning(setting, &what, &format!("chmod 700 {shown}"))
        }
        Ok(_) => ok(setting, &format!("only its owner can write into {shown}")),
    }
}

/// `limit` is the process's; `None` if there is none. Each listener has as many connections as the bound says.
fn open_files(limit: Option<u64>, config: &Config) -> Finding {
    let listeners = 1 + u64::from(config.metrics_listen.is_some());
    let needed = config.bounds.connections as u64 * listeners + BESIDES;
    match limit.filter(|limit| *limit < needed) {
        None => ok("open files", "the limit has room for bounds.connections"),
        Some(limit) => warning(
            "open files",
            &format!("the limit is {limit}, and {} connections need {needed}", config.bounds.connections),
            "raise it (ulimit -n, or LimitNOFILE= of systemd), or lower bounds.connections",
        ),
    }
}

async fn listen(setting: &str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address).await {
        Ok(_) => ok(setting, &format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => warning(
            setting,
            &format!("something listens on {address} already"),
            "nothing to do if it is this broker, running; else stop it, or choose another address",
        ),
        Err(error) => problem(
            setting,
            &format!("{address} cannot be listened on: {error}"),
            "choose an address of this machine, with a port that the broker's user may take",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    fn config(text: &str) -> Config {
        let environment = Environment::from_iter([("K", "sk-1")]);
        let text = format!(
            "{text}\n[upstreams.u]\nbase_url = \"https://example.com/api/v1\"\nkeys = [{{ env = \"K\" }}]\n\
             [apps.a]\nsecrets = [\"sha256:{}\"]\n",
            "0".repeat(64)
        );
        Config::read(&text, &environment).unwrap()
    }

    #[test]
    fn the_relays_folder_is_for_its_owner_to_write_into() {
        let folder = tempfile::tempdir().unwrap();
        let with_mode = |mode| {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            state(folder.path())
        };
        assert_eq!([with_mode(0o700), with_mode(0o755)].map(|finding| finding.advice), [None, None]);
        let shown = folder.path().display();
        for mode in [0o777, 0o770] {
            assert_eq!(with_mode(mode).advice, Some(format!("chmod 700 {shown}")), "{mode:o}");
        }
        assert!(state(&folder.path().join("missing")).advice.is_some());
    }

    #[test]
    fn the_limit_of_open_files_must_have_room_for_every_connection() {
        let one = config("bounds.connections = 1000");
        assert_eq!(
            open_files(Some(1064), &one).to_string(),
            "ok       open files: the limit has room for bounds.connections"
        );
        assert_eq!(
            open_files(Some(1063), &one).to_string(),
            "warning  open files: the limit is 1063, and 1000 connections need 1064\n         \
             → raise it (ulimit -n, or LimitNOFILE= of systemd), or lower bounds.connections"
        );
        let two = config("metrics_listen = \"127.0.0.1:0\"\nbounds.connections = 1000");
        assert_eq!(open_files(None, &two).advice, None);
        assert!(open_files(Some(2063), &two).advice.is_some(), "both listeners take as many");
    }
}
