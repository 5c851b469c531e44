//! Reads TOML tables field by field and keeps every mistake with its path, instead of stopping at the
//! first as a serde deserializer does.

use std::{cell::RefCell, collections::BTreeMap, fmt, ops::RangeInclusive, path::Path};

use toml::{Table, Value};

use super::{Environment, SecretFile};

/// One thing that is wrong with a configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands, as `apps.acme.rate.burst`; empty for the file as a whole.
    pub path: String,
    /// What is wrong and what to write instead; never the value of a secret.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

/// What is noted while a configuration is read.
#[derive(Debug, Default)]
pub(super) struct Notes {
    mistakes: RefCell<Vec<Mistake>>,
    secret_files: RefCell<Vec<SecretFile>>,
}

impl Notes {
    pub(super) fn mistake(&self, path: impl Into<String>, message: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake { path: path.into(), message: message.into() });
    }

    pub(super) fn into_parts(self) -> (Vec<Mistake>, Vec<SecretFile>) {
        (self.mistakes.into_inner(), self.secret_files.into_inner())
    }
}

/// A table whose fields are taken out one by one; what is left at the end is unknown.
pub(super) struct Fields<'m> {
    path: String,
    table: Table,
    known: Vec<&'static str>,
    present: Vec<&'static str>,
    notes: &'m Notes,
}

impl<'m> Fields<'m> {
    pub(super) fn root(table: Table, notes: &'m Notes) -> Self {
        Self::new(String::new(), table, notes)
    }

    fn new(path: String, table: Table, notes: &'m Notes) -> Self {
        Self { path, table, known: Vec::new(), present: Vec::new(), notes }
    }

    /// The path of a field of this table; of the table itself, for an empty name.
    pub(super) fn path_of(&self, name: &str) -> String {
        match (self.path.as_str(), name) {
            ("", name) => name.to_owned(),
            (path, "") => path.to_owned(),
            (path, name) => format!("{path}.{name}"),
        }
    }

    /// Notes a mistake in a field of this table.
    pub(super) fn mistake(&self, name: &str, message: impl Into<String>) {
        self.notes.mistake(self.path_of(name), message);
    }

    /// Notes that the field `name` names a file that holds a secret.
    pub(super) fn secret_file(&self, name: &str, path: &Path) {
        let file = SecretFile { setting: self.path_of(name), path: path.into() };
        self.notes.secret_files.borrow_mut().push(file);
    }

    /// Notes that a field is missing, unless it is there and merely wrong.
    pub(super) fn require(&self, name: &'static str, what: &str) {
        if !self.present.contains(&name) {
            self.mistake(name, format!("is missing: {what}"));
        }
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        let value = self.table.remove(name);
        self.present.extend(value.is_some().then_some(name));
        value
    }

    /// Takes a field through `parse`, whose error is the message of the mistake.
    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.take(name)?;
        let outcome = match &value {
            Value::String(text) => parse(text),
            other => Err(format!("must be a string, not {}", kind(other))),
        };
        outcome.map_err(|message| self.mistake(name, message)).ok()
    }

    pub(super) fn string(&mut self, name: &'static str) -> Option<String> {
        self.parsed(name, |text| Ok(text.to_owned()))
    }

    /// A name, which may look like a number.
    pub(super) fn name(&mut self, name: &'static str) -> Option<String> {
        match self.table.get(name) {
            Some(Value::Integer(number)) => {
                let text = number.to_string();
                self.take(name).map(|_| text)
            }
            _ => self.string(name),
        }
    }

    /// A field that is one of a few words.
    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.parsed(name, |text| {
            choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                format!("must be {}", words.join(" or "))
            })
        })
    }

    pub(super) fn boolean(&mut self, name: &'static str) -> Option<bool> {
        match self.take(name)? {
            Value::Boolean(value) => Some(value),
            other => {
                self.mistake(name, format!("must be true or false, not {}", kind(&other)));
                None
            }
        }
    }

    pub(super) fn integer(&mut self, name: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
        let value = self.take(name)?;
        match value.as_integer().and_then(|n| u32::try_from(n).ok()).filter(|n| range.contains(n)) {
            Some(number) => Some(number),
            None => {
                let (low, high) = range.into_inner();
                self.mistake(name, format!("must be a whole number from {low} to {high}"));
                None
            }
        }
    }

    pub(super) fn number(&mut self, name: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let value = self.take(name)?;
        let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (low, high) = range.into_inner();
            self.mistake(name, format!("must be a number from {low} to {high}"));
        }
        number
    }

    pub(super) fn integers(&mut self, name: &'static str, range: &RangeInclusive<u32>) -> Option<Vec<u32>> {
        let value = self.take(name)?;
        let numbers: Option<Vec<u32>> = value.as_array().and_then(|items| {
            let number = |item: &Value| item.as_integer().and_then(|n| u32::try_from(n).ok());
            items.iter().map(|item| number(item).filter(|n| range.contains(n))).collect()
        });
        if numbers.is_none() {
            let (low, high) = (range.start(), range.end());
            self.mistake(name, format!("must be a list of whole numbers from {low} to {high}"));
        }
        numbers
    }

    /// A list of strings, each with its own path.
    pub(super) fn strings(&mut self, name: &'static str) -> Vec<(String, String)> {
        let path = self.path_of(name);
        let Some(value) = self.take(name) else { return Vec::new() };
        let Value::Array(items) = value else {
            self.mistake(name, format!("must be a list of strings, not {}", kind(&value)));
            return Vec::new();
        };
        let mut strings = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => strings.push((format!("{path}[{index}]"), text)),
                other => self
                    .notes
                    .mistake(format!("{path}[{index}]"), format!("must be a string, not {}", kind(&other))),
            }
        }
        strings
    }

    /// A table inside this one; an empty one if it is not there.
    pub(super) fn table(&mut self, name: &'static str) -> Self {
        let table = match self.take(name) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.mistake(name, format!("must be a table, not {}", kind(&other)));
                Table::new()
            }
        };
        Self::new(self.path_of(name), table, self.notes)
    }

    /// A table inside this one, if it is there.
    pub(super) fn optional_table(&mut self, name: &'static str) -> Option<Self> {
        self.table.contains_key(name).then(|| self.table(name)).or_else(|| {
            self.known.push(name);
            None
        })
    }

    /// The tables in a table whose keys are names, in the order of the names.
    pub(super) fn named_tables(&mut self, name: &'static str) -> Vec<(String, Self)> {
        let outer = self.table(name);
        let mut tables = Vec::new();
        for (key, value) in outer.table {
            let path = format!("{}.{key}", outer.path);
            match value {
                Value::Table(table) => {
                    tables.push((key, Self::new(path, table, self.notes)));
                }
                other => self.notes.mistake(path, format!("must be a table, not {}", kind(&other))),
            }
        }
        tables
    }

    /// Whether a field that was taken was there, right or wrong.
    pub(super) fn has(&self, name: &'static str) -> bool {
        self.present.contains(&name)
    }

    /// Whether a field that is not taken yet is true.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.table.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A table as JSON.
    pub(super) fn json(&mut self, name: &'static str) -> Option<Vec<u8>> {
        match self.take(name)? {
            Value::Table(table) => serde_json::to_vec(&table)
                .map_err(|error| self.mistake(name, format!("cannot be read: {error}")))
                .ok(),
            other => {
                self.mistake(name, format!("must be a table, not {}", kind(&other)));
                None
            }
        }
    }

    /// A table of words, or of lists of words, by any name.
    pub(super) fn words_by_name(&mut self, name: &'static str) -> BTreeMap<String, Vec<String>> {
        let outer = self.table(name);
        let word = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Boolean(truth) => Some(truth.to_string()),
            Value::Integer(number) => Some(number.to_string()),
            _ => None,
        };
        let mut named = BTreeMap::new();
        for (key, value) in &outer.table {
            let words = match value {
                Value::Array(items) if !items.is_empty() => items.iter().map(word).collect(),
                value => word(value).map(|word| vec![word]),
            };
            match words {
                Some(words) => drop(named.insert(key.clone(), words)),
                None => outer.mistake(key, "must be a word, or a list of words"),
            }
        }
        named
    }

    /// The tables in a list.
    pub(super) fn list_of_tables(&mut self, name: &'static str) -> Vec<Self> {
        let path = self.path_of(name);
        let items = match self.take(name) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.mistake(name, format!("must be a list of tables, not {}", kind(&other)));
                return Vec::new();
            }
        };
        let mut tables = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            match item {
                Value::Table(table) => {
                    tables.push(Self::new(path, table, self.notes));
                }
                other => self.notes.mistake(path, format!("must be a table, not {}", kind(&other))),
            }
        }
        tables
    }

    /// A secret from an environment variable or a file, with the field that names it; one that stands in
    /// the configuration itself is refused.
    pub(super) fn secret(&mut self, environment: &Environment) -> Option<(&'static str, String)> {
        let (env, file) = (self.string("env"), self.string("file"));
        if self.string("value").is_some() {
            self.mistake("value", "a key in the configuration is a key in its backups: use env or file");
        }
        match (env, file) {
            (Some(name), None) => {
                let text = environment.get(&name).map(str::to_owned);
                if text.is_none() {
                    self.mistake("env", format!("the environment variable {name} is not set"));
                }
                text.map(|text| ("env", text))
            }
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(text) => {
                    self.secret_file("file", Path::new(&path));
                    Some(("file", text))
                }
                Err(error) => {
                    self.mistake("file", format!("{path} cannot be read: {error}"));
                    None
                }
            },
            _ => {
                self.mistake("", "must have either env (a variable's name) or file (a path)");
                None
            }
        }
    }

    /// Ends the table: every field that was not taken is a mistake.
    pub(super) fn finish(self) {
        for name in self.table.keys() {
            let message = format!("is not a setting; known here: {}", self.known.join(", "));
            self.notes.mistake(self.path_of(name), message);
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}
