//! What comes of recordings, in the formats that were asked for: into a folder, or to standard output.

mod entry;
mod folder;
mod layout;
mod look;
mod render;
mod stdout;

use std::{collections::HashSet, path::PathBuf};

use crate::exit::Failure;

pub(crate) use self::{
    entry::{Entry, Outcome},
    layout::{Format, Layout},
    look::Look,
};
use self::{folder::Folder, stdout::Stdout};

/// Where the transcripts of a run go.
pub(crate) enum Output {
    Folder(Folder),
    Stdout(Stdout),
}

impl Output {
    /// An output for `files.len()` recordings, and the files of each, but for those that are `there`
    /// already. What cannot be written is found out now, before anything is paid for.
    pub(crate) fn open(
        layout: &Layout,
        files: Vec<Vec<PathBuf>>,
        there: HashSet<PathBuf>,
    ) -> Result<Self, Failure> {
        Ok(match &layout.out {
            Some(folder) => Self::Folder(Folder::open(folder, layout.clone(), files, there)?),
            None => Self::Stdout(Stdout::new(layout.clone(), files.len())),
        })
    }

    /// Finds out whether an output of this layout can be written.
    pub(crate) fn try_out(layout: &Layout) -> Result<(), Failure> {
        layout.out.as_deref().map_or(Ok(()), Folder::make)
    }

    /// Puts out what came of a recording, or holds it back until those before it are there. The places
    /// of all recordings that are out now, and were not before.
    pub(crate) fn put(&mut self, place: usize, entry: &Entry<'_>) -> Result<Vec<usize>, Failure> {
        match self {
            Self::Folder(folder) => folder.put(place, entry).map(|()| vec![place]),
            Self::Stdout(stdout) => stdout.put(place, entry),
        }
    }

    /// The files of a recording; none on standard output.
    pub(crate) fn files(&self, place: usize) -> &[PathBuf] {
        match self {
            Self::Folder(folder) => folder.files(place),
            Self::Stdout(_) => &[],
        }
    }

    /// Ends the output.
    pub(crate) fn end(self) -> Result<(), Failure> {
        match self {
            Self::Folder(_) => Ok(()),
            Self::Stdout(stdout) => stdout.end(),
        }
    }
}
