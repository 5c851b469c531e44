//! The file of settings: what is not said by flags or environment.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    arguments::{ConnectionArguments, OutputArguments, ParameterArguments},
    exit::Failure,
    naming::Template,
    output::{Format, Look},
    places,
};

const MAX_FILE: u64 = 64 << 10;

/// What the file says; the names are those of the flags.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    url: Option<String>,
    app: Option<String>,
    secret_file: Option<PathBuf>,
    base_url: Option<String>,
    api_key_env: Option<String>,
    model: Option<String>,
    language: Vec<String>,
    max_urls: Option<u16>,
    format: Vec<Format>,
    out: Option<PathBuf>,
    name: Option<String>,
    subtitles: Look,
    price: Option<f64>,
}

impl Settings {
    /// Reads the file at `path`, which must be there, or the usual one, if there is one.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, Failure> {
        let usual = places::configuration().map(|folder| folder.join("config.toml"));
        let (path, is_named) = match (path, usual) {
            (Some(path), _) => (path.to_owned(), true),
            (None, Ok(path)) => (path, false),
            // No home, no settings.
            (None, Err(_)) => return Ok(Self::default()),
        };
        let wrong = |problem: &str| Failure::usage(format!("{}: {problem}", path.display()));
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => return Ok(Self::default()),
            Err(error) => return Err(wrong(&error.to_string())),
            Ok(size) if size as u64 > MAX_FILE => return Err(wrong("is too large for a file of settings")),
            Ok(_) => {}
        }
        let settings: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end()))?;
        settings.checked().map_err(|problem| wrong(&problem))
    }

    fn checked(self) -> Result<Self, String> {
        if self.max_urls.is_some_and(|count| !(1..=100).contains(&count)) {
            return Err("max-urls: must be 1 to 100".into());
        }
        if let Some(problem) = self.name.as_deref().and_then(|name| Template::parse(name).err()) {
            return Err(format!("name: {problem}"));
        }
        if self.price.is_some_and(|price| !(price.is_finite() && price >= 0.0)) {
            return Err("price: must be a number, 0 or more".into());
        }
        if self.base_url.is_some() && self.url.is_some() {
            return Err("url, base-url: a broker or the service itself, not both".into());
        }
        Ok(self)
    }

    /// Adds what was not said of where tokens come from.
    pub(crate) fn complete_connection(&self, said: &mut ConnectionArguments) {
        // Who says one of the two does not mean the file's other one.
        if said.base_url.is_none() && said.url.is_none() {
            said.base_url.clone_from(&self.base_url);
        }
        if said.base_url.is_some() {
            or(&mut said.api_key_env, self.api_key_env.as_ref());
            return;
        }
        or(&mut said.url, self.url.as_ref());
        // An app and its secret belong to their broker, and are not shown to another one.
        if said.url == self.url {
            or(&mut said.app, self.app.as_ref());
            or(&mut said.secret_file, self.secret_file.as_ref());
        }
    }

    /// Adds what was not said of how to transcribe.
    pub(crate) fn complete_parameters(&self, said: &mut ParameterArguments) {
        or(&mut said.model, self.model.as_ref());
        or(&mut said.max_urls, self.max_urls.as_ref());
        if said.language.is_empty() {
            said.language.clone_from(&self.language);
        }
    }

    /// Adds what was not said of where transcripts go.
    pub(crate) fn complete_output(&self, said: &mut OutputArguments) {
        or(&mut said.out, self.out.as_ref());
        said.look.complete(&self.subtitles);
        if said.format.is_empty() {
            said.format.clone_from(&self.format);
        }
        if said.name.is_none() {
            said.name = self.name.as_deref().and_then(|name| Template::parse(name).ok());
        }
    }

    /// What a second of speech costs, in USD.
    pub(crate) fn price(&self) -> Option<f64> {
        self.price
    }
}

fn or<T: Clone>(said: &mut Option<T>, set: Option<&T>) {
    if said.is_none() {
        *said = set.cloned();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str) -> Result<Settings, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, text).unwrap();
        Settings::read(Some(&path))
    }

    #[test]
    fn what_is_said_goes_before_the_file() {
        let settings = read("url = 'https://file'\napp = 'file'\nformat = ['json']").unwrap();
        let mut said = ConnectionArguments { app: Some("said".into()), ..Default::default() };
        settings.complete_connection(&mut said);
        assert_eq!((said.url.as_deref(), said.app.as_deref()), (Some("https://file"), Some("said")));
        let mut output = OutputArguments { format: vec![Format::Txt], ..Default::default() };
        settings.complete_output(&mut output);
        assert_eq!(output.format, [Format::Txt]);
    }

    #[test]
    fn how_subtitles_look_is_a_table_of_its_own() {
        let settings = read("subtitles = { line-length = 37, no-speaker-labels = true }").unwrap();
        let mut said = OutputArguments { look: look("line-length = 20\nlines = 1"), ..Default::default() };
        settings.complete_output(&mut said);
        assert_eq!(said.look, look("line-length = 20\nlines = 1\nno-speaker-labels = true"));
    }

    fn look(text: &str) -> Look {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn an_app_and_its_secret_are_not_shown_to_another_broker() {
        let settings = read("url = 'https://file'\napp = 'file'\nsecret-file = '/s'").unwrap();
        let mut said = ConnectionArguments { url: Some("https://said".into()), ..Default::default() };
        settings.complete_connection(&mut said);
        assert_eq!((said.app, said.secret_file), (None, None));
    }

    #[test]
    fn a_broker_that_is_said_goes_before_a_service_in_the_file() {
        let settings = read("base-url = 'https://file/api/v1'").unwrap();
        let mut said = ConnectionArguments { url: Some("https://said".into()), ..Default::default() };
        settings.complete_connection(&mut said);
        assert_eq!(said.base_url, None);
        let mut nothing = ConnectionArguments::default();
        settings.complete_connection(&mut nothing);
        assert_eq!(nothing.base_url.as_deref(), Some("https://file/api/v1"));
    }

    #[test]
    fn a_mistake_is_named_with_its_file() {
        for bad in [
            "colour = 1",
            "max-urls = 0",
            "name = '{x}'",
            "price = -1",
            "format = ['doc']",
            "subtitles = { width = 3 }",
            "=",
            "secret = 'x'",
        ] {
            let failure = read(bad).expect_err(bad);
            assert!(failure.to_string().contains("config.toml"), "{failure}");
        }
        assert!(Settings::read(Some(Path::new("/no/such/file"))).is_err(), "it was named");
    }
}
