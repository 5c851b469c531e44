//! A submit and its tries: where it may be sent again though nobody knows whether it arrived, and where not.
//!
//! Submitting costs money. A broker's relay does what a key names once; DashScope itself knows no keys.

use std::sync::OnceLock;

use reqwest::RequestBuilder;

use crate::{
    Error, Kind, Token,
    error::invalid,
    refusal::{ambiguous, doubtful, is_doubtful},
    request::IdempotencyKey,
    token::Mode,
};

pub(crate) struct Submit {
    key: IdempotencyKey,
    /// The caller named it, and may ask for it again.
    is_given: bool,
    /// The relay where it was sent, and not answered: there alone it may be sent again.
    lost_at: OnceLock<String>,
}

impl Submit {
    pub(crate) fn new(given: Option<&IdempotencyKey>) -> Self {
        let key = given.cloned().unwrap_or_else(IdempotencyKey::random);
        Self { key, is_given: given.is_some(), lost_at: OnceLock::new() }
    }

    /// Whether it may be sent where this token works.
    ///
    /// # Errors
    /// If it might be done twice.
    pub(crate) fn permits(&self, token: &Token) -> Result<(), Error> {
        let is_relay = token.mode() == Mode::Relay;
        match self.lost_at.get() {
            Some(relay) if !is_relay || relay != token.base_url() => {
                Err(ambiguous(&Error::new(Kind::Lost, "tokens are for another place now")))
            }
            None if self.is_given && !is_relay => {
                Err(invalid("Idempotency-Key", "tokens are for DashScope itself, which knows no such keys"))
            }
            _ => Ok(()),
        }
    }

    /// The call with its key, where keys are known.
    pub(crate) fn named(&self, call: RequestBuilder, token: &Token) -> RequestBuilder {
        match token.mode() {
            Mode::Relay => call.header("Idempotency-Key", self.key.as_str()),
            Mode::Direct => call,
        }
    }

    /// What an error of a try means, by where it was sent.
    pub(crate) fn meant(&self, error: Error, token: &Token) -> Error {
        if token.mode() == Mode::Direct {
            return doubtful(error);
        }
        if is_doubtful(&error) {
            // A relay that it was lost at before stays the only one.
            let _ = self.lost_at.set(token.base_url().to_owned());
        }
        error
    }

    /// What the error of the last try means for all of them: one that arrived may have been carried out, whatever came
    /// of the others.
    pub(crate) fn ended(&self, error: Error) -> Error {
        match self.lost_at.get() {
            Some(_) if error.kind() != Kind::Ambiguous => ambiguous(&error),
            _ => error,
        }
    }
}
