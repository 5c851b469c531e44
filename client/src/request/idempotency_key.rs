//! The name of a submit, by which a broker's relay knows it when it is asked for again.

use std::fmt;

use aws_lc_rs::rand;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::{Error, error::invalid};

const LONGEST: usize = 128;

/// The name of a submit (`Idempotency-Key`): a relay does what it names once, and gives the same answer for 24 hours.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// A name that no other submit has.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).expect("the machine has random bytes");
        Self(HEXLOWER.encode(&bytes))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of one of several submits that this one stands for.
    pub(super) fn part(&self, first: usize) -> Self {
        Self(format!("{}.{first}", self.0))
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if (1..=LONGEST).contains(&self.0.len()) && self.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(());
        }
        Err(invalid("Idempotency-Key", &format!("must be 1 to {LONGEST} visible ASCII characters")))
    }
}

impl From<String> for IdempotencyKey {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl From<&str> for IdempotencyKey {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
