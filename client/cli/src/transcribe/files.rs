//! Which files a run writes for its sources, and which of them are there already.

use std::{collections::HashSet, path::PathBuf};

use crate::{
    journal::{Again, Planned, Standing, State},
    naming::{Names, Template},
    output::{Format, Layout},
    source::Source,
};

const DEFAULT_NAME: &str = "{stem}.{ext}";

/// Files for the formats of each source: those that an earlier run set apart, or new ones.
pub(super) fn set_apart(
    state: &State,
    sources: &[Source],
    layout: &Layout,
    name: Option<&Template>,
) -> Vec<Planned> {
    let default = Template::parse(DEFAULT_NAME).expect("it holds places that are known");
    let mut names = layout.out.as_deref().map(|out| Names::new(name.unwrap_or(&default), out, state.files()));
    let files = |index: usize, source: &Source| {
        let Some(names) = &mut names else { return Vec::new() };
        let known = |format: Format| {
            let mut files = state.of(source.key()).into_iter().flat_map(|known| &known.files);
            files
                .find(|(of, path)| *of == format && path.parent() == layout.out.as_deref())
                .map(|(_, path)| path)
        };
        let formats = &layout.formats;
        let missing: Vec<Format> =
            formats.iter().copied().filter(|&format| known(format).is_none()).collect();
        let mut new = match missing.as_slice() {
            [] => Vec::new(),
            missing => names.next(&source.stem(), index + 1, missing),
        }
        .into_iter();
        formats.iter().filter_map(|&format| known(format).cloned().or_else(|| new.next())).collect()
    };
    let mut files = files;
    let planned = |(index, source): (usize, &Source)| Planned {
        source: source.key().to_owned(),
        files: files(index, source),
    };
    sources.iter().enumerate().map(planned).collect()
}

/// Whether nothing is left to do for a source. A file that was written and is gone was taken away. What goes
/// to standard output is printed each time: nobody knows what became of it.
pub(super) fn are_done(state: &State, planned: &Planned, layout: &Layout) -> bool {
    let Some(known) = state.of(&planned.source) else { return false };
    let is_submitted = matches!(known.standing, Standing::Submitted(_));
    layout.out.is_some()
        && is_submitted
        && planned.files.iter().all(|file| known.written.get(file) == Some(&layout.look))
}

/// The files that need not be written again. A file that was set apart and is there is whole, for it was
/// put there by one rename; but in a run that does things again, it may be the old one.
pub(super) fn there(state: &State, planned: &[Planned], layout: &Layout, again: Again) -> HashSet<PathBuf> {
    let is_there = |planned: &Planned, file: &PathBuf| {
        let written = state.of(&planned.source).and_then(|known| known.written.get(file));
        written.map_or_else(|| again == Again::No && file.exists(), |look| *look == layout.look)
    };
    let there = planned
        .iter()
        .flat_map(|planned| planned.files.iter().filter(move |file| is_there(planned, file)).cloned());
    there.collect()
}
