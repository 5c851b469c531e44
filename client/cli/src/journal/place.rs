//! Where journals are kept: below XDG_STATE_HOME, one for each subject.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

use super::Subject;

/// Bytes of the hash in a journal's name: enough that no two subjects share it.
const KEY: usize = 12;

/// The journal of a subject in `folder`. The sources are no part of its name: a longer list finds what a
/// shorter one has done.
pub(crate) fn default_path(folder: &Path, subject: &Subject) -> PathBuf {
    // Objects are written with their names in order.
    let text = serde_json::json!([subject.service, subject.model, subject.parameters]).to_string();
    let key = HEXLOWER.encode(&digest(&SHA256, text.as_bytes()).as_ref()[..KEY]);
    folder.join(format!("{key}.jsonl"))
}

/// All journals in `folder`.
pub(crate) fn all(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "jsonl"));
    paths.sort();
    Ok(paths)
}
