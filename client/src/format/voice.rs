//! Whose words they are.

use std::fmt;

use crate::transcript::Channel;

/// Whose words they are, as far as it is known and more than one is possible.
///
/// Shown as `Speaker 1`, `Channel 2` or `Channel 2, speaker 1`: counted from 1, where the service counts
/// from 0.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Voice {
    /// The channel, counted from 0; only if the transcript has more than one.
    pub channel: Option<u32>,
    /// The speaker, counted from 0; only with diarization.
    pub speaker: Option<u32>,
}

impl Voice {
    /// Whether there is nothing to show.
    pub(super) fn is_unknown(self) -> bool {
        self == Self::default()
    }

    /// What a line of this voice begins with.
    pub(super) fn label(self) -> String {
        if self.is_unknown() { String::new() } else { format!("{self}: ") }
    }
}

impl fmt::Display for Voice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from_one = |id: u32| u64::from(id) + 1;
        match (self.channel.map(from_one), self.speaker.map(from_one)) {
            (Some(channel), Some(speaker)) => write!(f, "Channel {channel}, speaker {speaker}"),
            (Some(channel), None) => write!(f, "Channel {channel}"),
            (None, Some(speaker)) => write!(f, "Speaker {speaker}"),
            (None, None) => Ok(()),
        }
    }
}

/// What of the voices is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) speakers: bool,
    pub(super) channels: bool,
}

impl Shown {
    pub(super) fn of(self, channel: &Channel, speaker: Option<u32>) -> Voice {
        Voice {
            channel: self.channels.then_some(channel.channel_id),
            speaker: speaker.filter(|_| self.speakers),
        }
    }
}
