//! File and environment → what is ready to use. Every mistake is reported at once, with its path; what
//! comes out is checked, and no later stage checks it again.

mod apps;
mod environment;
mod fields;
mod first_try;
mod identities;
mod model;
mod playground;
mod relay;
mod settings;
mod shared;
mod source;
mod tls;
mod upstreams;

use std::fmt;

use toml::Table;

use self::fields::{Fields, Notes};
pub use self::{
    apps::is_app_id,
    environment::Environment,
    fields::Mistake,
    first_try::FirstTry,
    model::{
        App, Audit, Bounds, Config, JwksUrl, KeySource, Lifetime, Mode, Playground, Price, Quotas, Relay,
        Rotation, Scope, Seats, SecretFile, Sharing, SubjectTokens, TokenKind, Upstream,
    },
    shared::{SealingKey, Shared, WhenAway, Without},
    source::{Source, Unusable},
    tls::Tls,
};
pub use crate::secret::AuditKey;

impl Config {
    /// Reads a configuration from the text of a file, overlaid by the environment.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(text: &str, environment: &Environment) -> Result<Self, Invalid> {
        let notes = Notes::default();
        let mut table: Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                // Without the line itself, which may hold a key.
                let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
                notes.mistake("", format!("is not valid TOML: line {line}: {}", error.message()));
                return Err(Invalid(notes.into_parts().0));
            }
        };
        environment.overlay(&mut table, &notes);
        let config = settings::read(Fields::root(table, &notes), environment);
        let (mistakes, secret_files) = notes.into_parts();
        match (config, mistakes) {
            (Some(config), mistakes) if mistakes.is_empty() => Ok(Self { secret_files, ..config }),
            (_, mistakes) => Err(Invalid(mistakes)),
        }
    }
}

/// All the mistakes of a configuration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct Invalid(
    /// At least one.
    pub Vec<Mistake>,
);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} mistake{}:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  - {mistake}"))
    }
}

#[cfg(test)]
mod tests;
