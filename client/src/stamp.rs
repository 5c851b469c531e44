//! Points in time as the service writes them: without a zone.

use std::{fmt, time::SystemTime};

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{Offset, TimeZone},
};
use serde::{Deserialize, Serialize};

/// What the service's time stamps are ahead of UTC, in seconds: eight hours, the time of `Asia/Shanghai`.
///
/// An assumption: the documentation names no zone, and its samples are of servers in China.
pub const ASSUMED_OFFSET: i32 = 8 * 60 * 60;

/// A time stamp such as `2024-09-12 15:11:40.041` (*Manage asynchronous tasks*), which carries no zone.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct TimeStamp(String);

impl TimeStamp {
    /// As the service wrote it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The time that is meant, if the zone is [the assumed one](ASSUMED_OFFSET); `None` if it is no time.
    #[must_use]
    pub fn time(&self) -> Option<SystemTime> {
        self.time_at(ASSUMED_OFFSET)
    }

    /// The time that is meant by a clock that is so many seconds ahead of UTC.
    #[must_use]
    pub fn time_at(&self, offset: i32) -> Option<SystemTime> {
        let civil = DateTime::strptime("%Y-%m-%d %H:%M:%S%.f", &self.0).ok()?;
        Some(Offset::from_seconds(offset).ok()?.to_timestamp(civil).ok()?.into())
    }
}

impl fmt::Display for TimeStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As the list of tasks wants times: `YYYYMMDDhhmmss`, in the assumed zone.
pub(crate) fn compact(time: SystemTime) -> Option<String> {
    let offset = Offset::from_seconds(ASSUMED_OFFSET).ok()?;
    let zoned = Timestamp::try_from(time).ok()?.to_zoned(TimeZone::fixed(offset));
    Some(zoned.strftime("%Y%m%d%H%M%S").to_string())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_stamp_means_the_time_of_the_zone_that_is_stated() {
        let stamp = TimeStamp("2024-09-12 15:11:40.041".into());
        let utc = UNIX_EPOCH + Duration::from_millis(1_726_153_900_041);
        assert_eq!(stamp.time_at(0), Some(utc));
        assert_eq!(stamp.time(), Some(utc - Duration::from_secs(8 * 3600)));
        assert_eq!(compact(utc - Duration::from_secs(8 * 3600)).as_deref(), Some("20240912151140"));
    }

    #[test]
    fn what_is_no_time_is_kept_as_text() {
        for text in ["", "soon", "2024-13-01 00:00:00", "2024-09-12"] {
            let stamp = TimeStamp(text.into());
            assert_eq!((stamp.time(), stamp.text()), (None, text));
        }
        assert_eq!(TimeStamp("2024-09-12 15:11:40".into()).time_at(i32::MAX), None);
    }
}
