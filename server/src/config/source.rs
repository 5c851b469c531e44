//! Where a configuration is read from, again and again.

use std::{fs, io, path::PathBuf};

use super::{Config, Environment, Invalid};

/// A configuration file and the environment that overlays it.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// The environment.
    pub environment: Environment,
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unusable {
    /// The file cannot be read.
    #[error("{}: {why}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// It has mistakes.
    #[error("{}: {mistakes}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All of them.
        mistakes: Invalid,
    },
}

impl Source {
    /// Reads the file, and all that it names: files of keys, certificates.
    ///
    /// # Errors
    /// If something cannot be read, or everything that is wrong with it.
    pub fn read(&self) -> Result<Config, Unusable> {
        let unreadable =
            |error: io::Error| Unusable::Unreadable { path: self.path.clone(), why: error.to_string() };
        let text = fs::read_to_string(&self.path).map_err(unreadable)?;
        Config::read(&text, &self.environment)
            .map_err(|mistakes| Unusable::Invalid { path: self.path.clone(), mistakes })
    }
}
