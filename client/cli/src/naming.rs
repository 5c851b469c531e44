//! Names of result files: from a template, fit for any file system, and no two alike.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use crate::output::Format;

/// The longest stem in a name, in bytes: file systems take 255 for the whole.
const LONGEST_STEM: usize = 180;
/// Names that Windows keeps for devices.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// A name with places to fill: `{stem}`, `{index}` and `{ext}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Template(String);

impl Template {
    /// Checks a template.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let rest = text.replace("{stem}", "").replace("{index}", "").replace("{ext}", "");
        if rest.contains(['{', '}']) {
            return Err("may hold {stem}, {index} and {ext}, and no other braces".into());
        }
        if rest.contains(['/', '\\']) || rest.contains(char::is_control) {
            return Err("is the name of a file, without folders".into());
        }
        if text.is_empty() || text.len() > LONGEST_STEM / 2 {
            return Err(format!("must be 1 to {} bytes", LONGEST_STEM / 2));
        }
        Ok(Self(text.into()))
    }

    /// Whether names of different formats differ.
    pub(crate) fn tells_formats_apart(&self) -> bool {
        self.0.contains("{ext}")
    }

    fn filled(&self, stem: &str, index: usize, format: Format) -> String {
        // The stem last: what it holds is no place to fill.
        let name = self.0.replace("{index}", &index.to_string()).replace("{ext}", format.extension());
        safe(&name.replace("{stem}", &safe(stem)))
    }
}

/// Hands out names in one folder.
pub(crate) struct Names<'n> {
    template: &'n Template,
    folder: &'n Path,
    /// Without difference of case, which not every file system makes.
    taken: HashSet<String>,
}

impl<'n> Names<'n> {
    /// Names in `folder` that are none of `taken`.
    pub(crate) fn new<'t>(
        template: &'n Template,
        folder: &'n Path,
        taken: impl IntoIterator<Item = &'t PathBuf>,
    ) -> Self {
        let taken = taken.into_iter().filter(|path| path.parent() == Some(folder));
        let taken =
            taken.filter_map(|path| Some(path.file_name()?.to_string_lossy().to_lowercase())).collect();
        Self { template, folder, taken }
    }

    /// Files for these formats of a recording, the `index`-th from 1: not handed out before, and not there
    /// yet.
    pub(crate) fn next(&mut self, stem: &str, index: usize, formats: &[Format]) -> Vec<PathBuf> {
        let mut number = 1;
        loop {
            let names: Vec<String> = formats
                .iter()
                .map(|&format| numbered(self.template.filled(stem, index, format), number))
                .collect();
            let is_free = |name: &String| {
                !self.taken.contains(&name.to_lowercase()) && !self.folder.join(name).exists()
            };
            if names.iter().all(is_free) {
                self.taken.extend(names.iter().map(|name| name.to_lowercase()));
                return names.iter().map(|name| self.folder.join(name)).collect();
            }
            number += 1;
        }
    }
}

/// `a.txt`, `a-2.txt`, `a-3.txt`, …
fn numbered(name: String, number: usize) -> String {
    match (number, name.rsplit_once('.')) {
        (1, _) => name,
        (_, Some((stem, end))) if !stem.is_empty() => format!("{stem}-{number}.{end}"),
        _ => format!("{name}-{number}"),
    }
}

/// A name as any file system takes it: no separators, no hidden file, no device, of bounded length.
fn safe(name: &str) -> String {
    let plain = |c: char| {
        let is_special = matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
        if is_special || c.is_control() { '_' } else { c }
    };
    let name: String = name.chars().map(plain).collect();
    let name = name.trim_start_matches(['.', ' ', '-']).trim_end_matches(['.', ' ']);
    let name = &name[..name.floor_char_boundary(LONGEST_STEM)];
    let stem = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let numbered = |device: &str| stem.strip_prefix(device).is_some_and(|rest| rest.len() == 1);
    let is_device = DEVICES.contains(&stem.as_str()) || numbered("com") || numbered("lpt");
    if name.is_empty() || is_device { format!("_{name}") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    const BOTH: [Format; 2] = [Format::Txt, Format::Json];

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap()
    }

    #[test]
    fn names_that_collide_are_numbered_in_all_formats_alike() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::write(folder.join("other.json"), "somebody's").unwrap();
        let (template, before) = (template("{stem}.{ext}"), [folder.join("talk.txt")]);
        let mut names = Names::new(&template, folder, &before);
        let mut next = |stem: &str| -> Vec<String> {
            let paths = names.next(stem, 1, &BOTH);
            paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(next("Talk"), ["Talk-2.txt", "Talk-2.json"]);
        assert_eq!(next("talk"), ["talk-3.txt", "talk-3.json"]);
        assert_eq!(next("other"), ["other-2.txt", "other-2.json"]);
        assert_eq!(next("../../etc/passwd"), ["_.._etc_passwd.txt", "_.._etc_passwd.json"]);
    }

    #[test]
    fn a_template_names_a_file_and_knows_its_places() {
        assert_eq!(template("{index}-{stem}.x.{ext}").filled("{ext}", 7, Format::Txt), "7-{ext}.x.txt");
        assert!(!template("{stem}").tells_formats_apart());
        for bad in ["", "{Stem}", "a/{stem}", "{stem", &"x".repeat(200), "a\n"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_stem_becomes_a_file_directly_in_the_folder(stem in any::<String>(), index in 1..9_usize) {
            let folder = tempfile::tempdir().unwrap();
            let template = template("{stem}.{ext}");
            let mut names = Names::new(&template, folder.path(), []);
            for path in names.next(&stem, index, &BOTH).into_iter().chain(names.next(&stem, index, &BOTH)) {
                prop_assert_eq!(path.parent(), Some(folder.path()));
                prop_assert!(!path.exists(), "no two are alike");
                fs::write(&path, "x").unwrap();
            }
        }
    }
}
