//! Where this program keeps its files, by the XDG conventions.

use std::path::PathBuf;

use etcetera::{BaseStrategy, base_strategy::Xdg};

use crate::exit::Failure;

const NAME: &str = "valet";

/// Settings and the credential.
pub(crate) fn configuration() -> Result<PathBuf, Failure> {
    Ok(base()?.config_dir().join(NAME))
}

/// Journals.
pub(crate) fn journals() -> Result<PathBuf, Failure> {
    let base = base()?;
    let state = base.state_dir().unwrap_or_else(|| base.data_dir());
    Ok(state.join(NAME).join("journals"))
}

fn base() -> Result<Xdg, Failure> {
    Xdg::new().map_err(|_| {
        Failure::usage("there is no home folder: set HOME, or XDG_CONFIG_HOME and XDG_STATE_HOME")
    })
}
