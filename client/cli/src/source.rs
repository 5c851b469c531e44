//! What is to be transcribed: URLs and local files, named on the command line, in lists and on standard input.

use std::{
    collections::HashSet,
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use url::Url;

use crate::exit::Failure;

/// No list is longer than this; it would be more than a hundred thousand URLs.
const MAX_LIST: u64 = 16 << 20;

/// A recording: its URL, or the place, size and time of a local file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Source {
    /// As the journal has it.
    key: String,
    path: Option<PathBuf>,
}

impl Source {
    /// What an argument or a line of a list names.
    fn named(text: &str) -> Result<Self, Failure> {
        if text.contains("://") {
            return Ok(Self::from_key(text.to_owned()));
        }
        let unknown = |problem: &dyn fmt::Display| {
            Failure::usage(format!(
                "{}: {problem}; a recording is a file, or a URL that begins with https://",
                if text.is_empty() { "''" } else { text }
            ))
        };
        let path = fs::canonicalize(text).map_err(|error| unknown(&error))?;
        if !path.is_file() {
            return Err(unknown(&"is no file"));
        }
        if fs::metadata(&path).map_err(|error| unknown(&error))?.len() == 0 {
            return Err(unknown(&"is empty"));
        }
        let key = key_of(&path).map_err(|error| unknown(&error))?;
        Ok(Self { key, path: Some(path) })
    }

    /// A source as the journal has it.
    pub(crate) fn from_key(key: String) -> Self {
        let local = key.rsplit_once('#').map(|(url, _)| url).filter(|url| url.starts_with("file://"));
        let path = local.and_then(|url| url.parse::<Url>().ok()?.to_file_path().ok());
        Self { key, path }
    }

    /// What tells it from all others: a file that was changed is another one.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The path of a local file.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Whether it is a URL, or a file that is as it was when it was named.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.path().is_none_or(|path| key_of(path).is_ok_and(|key| key == self.key))
    }

    /// The name of its file, without what follows the last dot: of a URL's path, decoded.
    pub(crate) fn stem(&self) -> String {
        let url = self.key.parse::<Url>().ok();
        let last = url.as_ref().and_then(|url| url.path_segments()?.rfind(|part| !part.is_empty()));
        let name =
            last.map(|part| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned());
        let Some(name) = name else {
            return url.as_ref().and_then(Url::host_str).unwrap_or("recording").to_owned();
        };
        match name.rsplit_once('.') {
            Some((stem, end)) if !stem.is_empty() && end.len() <= 5 => stem.to_owned(),
            _ => name,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}", path.display()),
            None => f.write_str(&self.key),
        }
    }
}

/// A local file's URL, with its size in bytes and the time of its last change in milliseconds.
fn key_of(path: &Path) -> io::Result<String> {
    let about = fs::metadata(path)?;
    let url = Url::from_file_path(path).map_err(|()| io::Error::other("has no place of its own"))?;
    let changed = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Ok(format!("{url}#{}.{changed}", about.len()))
}

/// Every source that the arguments name, in order; one that is named twice counts once.
pub(crate) fn named(arguments: &[String], stdin: &mut dyn Read) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    for argument in arguments {
        match argument.strip_prefix('@') {
            Some(path) => {
                let mut file = File::open(path).map_err(|error| unreadable(argument, &error))?;
                sources.extend(listed(argument, &mut file)?);
            }
            None if argument == "-" => sources.extend(listed(argument, stdin)?),
            None => sources.push(Source::named(argument)?),
        }
    }
    let mut seen = HashSet::new();
    sources.retain(|source| seen.insert(source.key.clone()));
    if sources.is_empty() {
        Err(Failure::usage("no recording is named: the list is empty"))
    } else {
        Ok(sources)
    }
}

/// One source a line; empty lines and those that begin with `#` are skipped.
fn listed(name: &str, list: &mut dyn Read) -> Result<Vec<Source>, Failure> {
    let mut text = String::new();
    let read = list.take(MAX_LIST + 1).read_to_string(&mut text);
    if read.map_err(|error| unreadable(name, &error))? as u64 > MAX_LIST {
        return Err(Failure::usage(format!("{name}: the list is larger than {} MiB", MAX_LIST >> 20)));
    }
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(Source::named).collect()
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::files(format!("{name}: the list cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(arguments: &[&str], stdin: &str) -> Result<Vec<String>, Failure> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.into()).collect();
        Ok(named(&arguments, &mut stdin.as_bytes())?.into_iter().map(|source| source.key).collect())
    }

    #[test]
    fn lists_stand_where_they_are_named_and_what_is_named_twice_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        fs::write(&path, "\u{feff}https://b\r\n\r\n# not this\r\n  https://a  \r\nhttps://b").unwrap();
        let list = format!("@{}", path.display());
        let all = keys(&["https://z", &list, "-", "https://z"], "https://s\n").unwrap();
        assert_eq!(all, ["https://z", "https://b", "https://a", "https://s"]);
    }

    #[test]
    fn a_list_that_cannot_be_read_is_named() {
        assert!(keys(&["@/no/such/list"], "").unwrap_err().to_string().starts_with("@/no/such/list: "));
        let binary = named(&["-".into()], &mut [0xff, 0xfe].as_slice()).unwrap_err();
        assert!(binary.to_string().starts_with("-: "), "{binary}");
    }

    #[test]
    fn an_empty_list_and_a_file_that_is_not_there_are_mistakes() {
        assert!(keys(&["-"], "# nothing\n").is_err());
        let missing = keys(&["no-such.wav"], "").unwrap_err();
        assert!(missing.to_string().contains("https://"), "{missing}");
        let unnamed = keys(&[""], "").unwrap_err();
        assert!(unnamed.to_string().starts_with("'': "), "{unnamed}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        let empty = keys(&[empty.path().to_str().unwrap()], "").unwrap_err();
        assert!(empty.to_string().contains(": is empty;"), "{empty}");
    }

    #[test]
    fn a_local_file_is_another_one_once_it_was_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b#1.wav");
        fs::write(&path, "one").unwrap();
        let source = Source::named(path.to_str().unwrap()).unwrap();
        assert_eq!(source.stem(), "a b#1");
        let again = Source::from_key(source.key().to_owned());
        assert_eq!(again, source);
        assert!(again.is_unchanged());
        fs::write(&path, "another").unwrap();
        assert!(!again.is_unchanged());
    }

    #[test]
    fn a_stem_is_the_decoded_name_in_the_path() {
        let stem = |url: &str| Source::from_key(url.into()).stem();
        assert_eq!(stem("https://example.com/a/b%20%E4%B9%9F.tar.mp3?sign=x.y/z"), "b 也.tar");
        assert_eq!(stem("https://example.com/a/"), "a");
        assert_eq!(stem("https://example.com"), "example.com");
        assert_eq!(stem("https://example.com/.wav"), ".wav");
        assert_eq!(stem("https://example.com/v1.meeting-of-monday"), "v1.meeting-of-monday");
    }
}
