//! The environment as a plain value, and how it overlays the configuration file.

use std::{collections::BTreeMap, fmt};

use toml::{Table, Value};

use super::fields::Notes;

/// Variables that begin so set a field of the configuration: `VALET_SERVER__AUDIT__PATH` is
/// `audit.path`. The two underscores keep clear of `VALET_SERVER_PORT` and the like, which Kubernetes
/// sets for a service called valet-server.
const PREFIX: &str = "VALET_SERVER__";

/// Environment variables, given by whoever starts the broker: tests never read the ambient ones.
///
/// `Debug` shows names only, since values may be secrets.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process. Ones that are not Unicode are left out.
    #[must_use]
    pub fn of_process() -> Self {
        let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(unicode).collect())
    }

    /// The value of a variable that is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The same, with `value` for a variable that is not set.
    #[must_use]
    pub(super) fn or(&self, name: &str, value: &str) -> Self {
        let mut variables = self.0.clone();
        if self.get(name).is_none() {
            variables.insert(name.to_owned(), value.to_owned());
        }
        Self(variables)
    }

    /// Lays every `VALET_SERVER__…` variable over `table`: `__` parts the names of nested tables, and
    /// a value that reads as TOML (`8`, `true`, `["a"]`) is taken as such, else as a string.
    pub(super) fn overlay(&self, table: &mut Table, notes: &Notes) {
        for (name, text) in &self.0 {
            let Some(path) = name.strip_prefix(PREFIX).filter(|_| !text.is_empty()) else { continue };
            let path = path.to_ascii_lowercase();
            let parts: Vec<&str> = path.split("__").collect();
            if let Err(part) = set(table, &parts, toml_value(text)) {
                notes.mistake(parts.join("."), format!("{name}: {part} is not a table"));
            }
        }
    }
}

/// Sets the field at `path`, making the tables on the way; the name of what is no table if one is not.
fn set<'p>(table: &mut Table, path: &[&'p str], value: Value) -> Result<(), &'p str> {
    match path {
        [] => Ok(()),
        [name] => {
            table.insert(spelt(table, name), value);
            Ok(())
        }
        [name, rest @ ..] => {
            match table.entry(spelt(table, name)).or_insert_with(|| Value::Table(Table::new())) {
                Value::Table(inner) => set(inner, rest, value),
                _ => Err(name),
            }
        }
    }
}

/// `name` as the table spells it: a variable's name has neither `-` nor `.`, and says `_` for them.
fn spelt(table: &Table, name: &str) -> String {
    let alike = |key: &&String| key.to_ascii_lowercase().replace(['-', '.'], "_") == name;
    table.keys().find(alike).map_or_else(|| name.to_owned(), Clone::clone)
}

/// `text` as a TOML value if it is one, else as a string.
fn toml_value(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>().ok();
    let value = parsed.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
