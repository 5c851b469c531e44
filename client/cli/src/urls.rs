//! The URLs that are meant: those on the command line, in files and on standard input, in order.

use std::{
    fs::File,
    io::{self, Read},
};

use crate::exit::Failure;

/// No list is longer than this; it would be more than a hundred thousand URLs.
const MAX_LIST: u64 = 16 << 20;

/// Every URL that the arguments name.
pub(crate) fn named(arguments: &[String], stdin: &mut dyn Read) -> Result<Vec<String>, Failure> {
    let mut urls = Vec::new();
    for argument in arguments {
        match argument.strip_prefix('@') {
            Some(path) => {
                let mut file = File::open(path).map_err(|error| unreadable(argument, &error))?;
                urls.extend(listed(argument, &mut file)?);
            }
            None if argument == "-" => urls.extend(listed(argument, stdin)?),
            None => urls.push(argument.clone()),
        }
    }
    if urls.is_empty() { Err(Failure::usage("no URL is named: the list is empty")) } else { Ok(urls) }
}

/// One URL a line; empty lines and those that begin with `#` are skipped.
fn listed(name: &str, list: &mut dyn Read) -> Result<Vec<String>, Failure> {
    let mut text = String::new();
    let read = list.take(MAX_LIST + 1).read_to_string(&mut text);
    if read.map_err(|error| unreadable(name, &error))? as u64 > MAX_LIST {
        return Err(Failure::usage(format!("{name}: the list is larger than {} MiB", MAX_LIST >> 20)));
    }
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    Ok(lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::files(format!("{name}: the list cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn urls(arguments: &[&str], stdin: &str) -> Result<Vec<String>, Failure> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.into()).collect();
        named(&arguments, &mut stdin.as_bytes())
    }

    #[test]
    fn lists_stand_where_they_are_named_and_nothing_is_dropped_or_sorted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        fs::write(&path, "\u{feff}https://b\r\n\r\n# not this\r\n  https://a  \r\nhttps://b").unwrap();
        let list = format!("@{}", path.display());
        let all = urls(&["https://z", &list, "-", "https://z"], "https://s\n").unwrap();
        assert_eq!(all, ["https://z", "https://b", "https://a", "https://b", "https://s", "https://z"]);
    }

    #[test]
    fn a_list_that_cannot_be_read_is_named() {
        assert!(urls(&["@/no/such/list"], "").unwrap_err().to_string().starts_with("@/no/such/list: "));
        let binary = named(&["-".into()], &mut [0xff, 0xfe].as_slice()).unwrap_err();
        assert!(binary.to_string().starts_with("-: "), "{binary}");
    }

    #[test]
    fn an_empty_list_is_a_mistake() {
        assert!(urls(&["-"], "# nothing\n").is_err());
    }
}
