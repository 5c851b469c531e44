//! How many files a process may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Outcome;

/// Lets this process, and those that it starts from now on, have at least `needed` open files.
///
/// # Errors
/// If the system does not allow it.
pub(crate) fn raise_limit(needed: u64) -> Outcome<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` is no limit.
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if maximum.is_some_and(|maximum| maximum < needed) {
        return Err(format!("{needed} open files are needed: run `ulimit -n {needed}` as root first").into());
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum })?;
    Ok(())
}
