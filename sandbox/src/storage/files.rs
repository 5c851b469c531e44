//! The files of the temporary storage, each of an account and for a model, for 48 hours.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hyper::StatusCode;
use tempfile::NamedTempFile;

use super::Denial;
use crate::failure::Failure;

/// How long a file is kept (*Upload a file for a temporary URL*).
const LIFE: Duration = Duration::from_hours(48);
/// Bounds on the disk, not documented limits.
const FILES_MAX: usize = 10_000;
pub(crate) const CAPACITY: u64 = 16 << 30;

/// Who may use a file, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) account: String,
    pub(crate) model: &'static str,
}

#[derive(Debug, Default)]
pub(crate) struct Files(Mutex<HashMap<String, Kept>>);

#[derive(Debug)]
struct Kept {
    file: Arc<NamedTempFile>,
    length: u64,
    owner: Owner,
    until: Instant,
}

impl Files {
    /// Keeps a file under a key that is not in use.
    ///
    /// # Errors
    /// 409 `FileAlreadyExists`, for overwriting is forbidden; 503 if there is no room.
    pub(super) fn keep(
        &self,
        key: String,
        file: NamedTempFile,
        owner: Owner,
        now: Instant,
    ) -> Result<(), Denial> {
        let length = file.as_file().metadata().map_err(|_| Denial::exhausted("The file was lost."))?.len();
        let mut files = self.lock();
        files.retain(|_, kept| now < kept.until);
        if files.contains_key(&key) {
            let message = "The object you specified already exists and can not be overwritten.";
            return Err(Denial::new(StatusCode::CONFLICT, "FileAlreadyExists", message));
        }
        let taken: u64 = files.values().map(|kept| kept.length).sum();
        if files.len() >= FILES_MAX || taken.saturating_add(length) > CAPACITY {
            return Err(Denial::exhausted("The sandbox has no room for more files."));
        }
        files.insert(key, Kept { file: Arc::new(file), length, owner, until: now + LIFE });
        Ok(())
    }

    /// The file at `oss://key`, for a task of `account` with `model`.
    ///
    /// # Errors
    /// The documented codes of a source that does not exist or may not be read; which of them the service uses
    /// is not documented.
    pub(crate) fn find(&self, key: &str, owner: &Owner, now: Instant) -> Result<Arc<NamedTempFile>, Failure> {
        let files = self.lock();
        let kept = files.get(key).filter(|kept| now < kept.until);
        let kept = kept.ok_or_else(|| Failure::new("FILE_404_NOT_FOUND", "The file does not exist."))?;
        if kept.owner != *owner {
            let message = "The file was uploaded by another account or for another model.";
            return Err(Failure::new("FILE_403_FORBIDDEN", message));
        }
        Ok(kept.file.clone())
    }

    /// Changes are single insertions and removals, so a poisoned lock guards nothing broken.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
