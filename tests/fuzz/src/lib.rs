//! What reads hostile input, as functions of bytes that panic where a law is broken.

pub mod mutation;
pub mod targets;

use std::{env, fs, io};

/// A target.
pub type Target = fn(&[u8]);

/// Tries the files that the command line names: the findings of a fuzzer, without one.
///
/// # Errors
/// If one cannot be read.
pub fn files(target: Target) -> io::Result<()> {
    for path in env::args().skip(1) {
        target(&fs::read(path)?);
    }
    Ok(())
}
