//! The credential that `valet login` stores: a file for its owner alone.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{durable, exit::Failure, places};

/// No secret is longer than this.
pub(crate) const MAX_SECRET: u64 = 64 << 10;

/// An app's credential, and the broker that it belongs to. No `Debug`: it holds a secret.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stored {
    pub(crate) url: String,
    pub(crate) app: String,
    pub(crate) secret: String,
}

impl Stored {
    /// What was stored, if anything was. A file that others can read is refused.
    pub(crate) fn read() -> Result<Option<Self>, Failure> {
        // No home, nothing stored.
        let Ok(path) = path() else { return Ok(None) };
        let wrong = |problem: &str| {
            Failure::usage(format!("{}: {problem}; store it anew with `valet login`", path.display()))
        };
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| wrong(&error.to_string()))?,
        };
        if is_open_to_others(&file).map_err(|error| wrong(&error.to_string()))? {
            return Err(wrong("others can read it, so its secret may be known"));
        }
        let mut text = String::new();
        let read = file.take(2 * MAX_SECRET).read_to_string(&mut text);
        read.map_err(|error| wrong(&error.to_string()))?;
        // The reader's own words would repeat the line, and with it the secret.
        toml::from_str(&text).map(Some).map_err(|_| wrong("is not what `valet login` writes"))
    }

    /// Stores it; where.
    pub(crate) fn write(&self) -> Result<PathBuf, Failure> {
        let path = path()?;
        let text = toml::to_string(self).map_err(|error| Failure::usage(error.to_string()))?;
        let folder = path.parent().map_or(Ok(()), durable::private_folder);
        let written = folder.and_then(|()| durable::write_private(&path, text.as_bytes()));
        written.map_err(|error| Failure::files(format!("{}: {error}", path.display())))?;
        Ok(path)
    }
}

fn path() -> Result<PathBuf, Failure> {
    Ok(places::configuration()?.join("credential.toml"))
}

#[cfg(unix)]
fn is_open_to_others(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(file.metadata()?.mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &File) -> io::Result<bool> {
    Ok(false)
}
