//! Transcripts as files in a folder, each of them whole or not there.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{
    entry::{Entry, Outcome},
    layout::Layout,
    render::render,
};
use crate::{durable, exit::Failure};

/// A folder of transcripts.
pub(crate) struct Folder {
    layout: Layout,
    /// For each recording a file for each format.
    files: Vec<Vec<PathBuf>>,
    /// Those that an earlier run has written.
    there: HashSet<PathBuf>,
}

impl Folder {
    pub(super) fn open(
        path: &Path,
        layout: Layout,
        files: Vec<Vec<PathBuf>>,
        there: HashSet<PathBuf>,
    ) -> Result<Self, Failure> {
        Self::make(path)?;
        Ok(Self { layout, files, there })
    }

    /// Makes the folder, and tries whether files can be.
    pub(super) fn make(path: &Path) -> Result<(), Failure> {
        let trial = path.join(".valet-trial");
        let unless = |fine: io::ErrorKind, tried: io::Result<()>| match tried {
            // Another run tries too, or a crash left it.
            Err(error) if error.kind() == fine => Ok(()),
            tried => tried,
        };
        let tried = (|| {
            fs::create_dir_all(path)?;
            unless(io::ErrorKind::AlreadyExists, File::create_new(&trial).map(drop))?;
            unless(io::ErrorKind::NotFound, fs::remove_file(&trial))
        })();
        tried.map_err(|error| failed(path, &error))
    }

    /// Writes the files of a recording. A failure has none; it is told elsewhere.
    pub(super) fn put(&mut self, place: usize, entry: &Entry<'_>) -> Result<(), Failure> {
        let Outcome::Transcript(transcript) = &entry.outcome else { return Ok(()) };
        for (path, &format) in self.files[place].iter().zip(&self.layout.formats) {
            if self.there.contains(path) {
                continue;
            }
            let content = render(transcript, format, &self.layout);
            durable::write(path, content.as_bytes()).map_err(|error| failed(path, &error))?;
        }
        Ok(())
    }

    pub(super) fn files(&self, place: usize) -> &[PathBuf] {
        &self.files[place]
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::files(format!("{}: {error}", path.display()))
}
