//! What replicas tell one another, and what happens to the connection.

use std::{sync::Arc, time::Duration};

use data_encoding::HEXLOWER;

use super::{Remembered, SubmitName, TaskName};

/// Something that replicas tell one another, or that happened to the connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Said {
    /// Something changed at the place of that digest.
    Minted([u8; 16]),
    /// A token was revoked.
    Revoked(Remembered),
    /// Records of tasks were written.
    Noted,
    /// Something became of a submit.
    Ended(SubmitName),
    /// Somebody asks how far these tasks are: whoever polls them is to look.
    Asked(Arc<[TaskName]>),
    /// Somebody waits for these tasks.
    Watched(Arc<[TaskName]>),
    /// Whoever polls these tasks has looked, or cannot just now.
    Looked(Arc<[TaskName]>),
    /// The connection is there, or there is nothing left behind it: what this replica knows is to be added.
    Joined,
    /// The connection is away.
    Fell,
}

impl Said {
    /// The most tasks that one message is of.
    pub const MOST_NAMES: usize = 500;
    const NOTED: &'static str = "noted";

    /// As it is told on the channel.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Minted(digest) => format!("minted {}", HEXLOWER.encode(digest)),
            Self::Revoked((token, life)) => {
                format!("revoked {} {}", HEXLOWER.encode(token), life.as_millis())
            }
            Self::Noted => Self::NOTED.to_owned(),
            Self::Ended(name) => format!("ended {}", HEXLOWER.encode(name)),
            Self::Asked(names) => Self::listed("asked", names),
            Self::Watched(names) => Self::listed("watched", names),
            Self::Looked(names) => Self::listed("looked", names),
            Self::Joined | Self::Fell => String::new(),
        }
    }

    fn listed(word: &str, names: &[TaskName]) -> String {
        format!("{word} {}", HEXLOWER.encode(names.as_flattened()))
    }

    /// The names behind a word, as many as one message has at most.
    fn names(text: &str) -> Option<Arc<[TaskName]>> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        let (names, rest) = bytes.as_chunks::<16>();
        (rest.is_empty() && (1..=Self::MOST_NAMES).contains(&names.len())).then(|| names.into())
    }

    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        match *text.split(' ').collect::<Vec<_>>() {
            ["minted", digest] => {
                Some(Self::Minted(HEXLOWER.decode(digest.as_bytes()).ok()?.try_into().ok()?))
            }
            ["revoked", token, life] => Self::remembered(token, life).map(Self::Revoked),
            [Self::NOTED] => Some(Self::Noted),
            ["ended", name] => Some(Self::Ended(HEXLOWER.decode(name.as_bytes()).ok()?.try_into().ok()?)),
            ["asked", names] => Self::names(names).map(Self::Asked),
            ["watched", names] => Self::names(names).map(Self::Watched),
            ["looked", names] => Self::names(names).map(Self::Looked),
            _ => None,
        }
    }

    pub(super) fn remembered(token: &str, life: &str) -> Option<Remembered> {
        let token = HEXLOWER.decode(token.as_bytes()).ok()?.try_into().ok()?;
        // Nothing that is remembered matters for longer than a day, whatever a writer says.
        let life = Duration::from_millis(life.parse().ok()?).min(Duration::from_secs(86_400));
        Some((token, life))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_and_what_is_not_ours_is_not() {
        let names: Arc<[TaskName]> = [[1; 16], [2; 16]].into();
        for said in [
            Said::Minted([7; 16]),
            Said::Revoked(([9; 32], Duration::from_millis(1500))),
            Said::Noted,
            Said::Ended([3; 32]),
            Said::Asked(names.clone()),
            Said::Watched(names.clone()),
            Said::Looked(names),
        ] {
            assert_eq!(Said::parse(said.text().as_bytes()), Some(said));
        }
        let long = format!("revoked {} 1", "00".repeat(33));
        let many = format!("asked {}", "00".repeat(16 * (Said::MOST_NAMES + 1)));
        for other in ["asked", "asked ", "asked 00", &many, "ended 00", "noted x"] {
            assert_eq!(Said::parse(other.as_bytes()), None, "{other}");
        }
        for other in ["", "minted", "minted xyz", "minted 00", "revoked 00 1", long.as_str(), "hello"] {
            assert_eq!(Said::parse(other.as_bytes()), None, "{other}");
        }
        assert_eq!(Said::parse(b"\xff"), None);
    }
}
