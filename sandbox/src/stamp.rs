//! The written forms of a point in time that the protocol uses.

use std::time::Duration;

use jiff::{
    SignedDuration, Timestamp,
    civil::DateTime,
    fmt::rfc2822::DateTimePrinter,
    tz::{self, Offset},
};

/// The documented stamps carry no zone; the service stands in Beijing, so the sandbox writes its time.
const ZONE: Offset = tz::offset(8);

/// The time as in `submit_time`, such as `2024-09-12 15:11:40.041` (*Manage asynchronous tasks*).
pub(crate) fn written(unix: Duration) -> String {
    ZONE.to_datetime(timestamp(unix)).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// The time as in a policy's `expiration` (OSS, *PostObject*), such as `2024-09-12T07:11:40.041Z`.
pub(crate) fn rfc3339(unix: Duration) -> String {
    timestamp(unix).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The time since the Unix epoch that a `YYYYMMDDhhmmss` means (*Manage asynchronous tasks*, `start_time`).
pub(crate) fn read_compact(text: &str) -> Option<Duration> {
    if text.len() != 14 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let civil = DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    ZONE.to_timestamp(civil).ok()?.as_duration().try_into().ok()
}

/// The time as in an HTTP `Date` header (RFC 9110 §5.6.7), moved by `skew`.
pub(crate) fn http_date(unix: Duration, skew: SignedDuration) -> String {
    let moved = timestamp(unix).checked_add(skew).unwrap_or(Timestamp::MAX);
    DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&moved)
        .unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 GMT".to_owned())
}

fn timestamp(unix: Duration) -> Timestamp {
    SignedDuration::try_from(unix)
        .ok()
        .and_then(|since| Timestamp::from_duration(since).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_forms_are_the_documented_ones() {
        let unix = Duration::from_millis(1_726_125_100_041);
        assert_eq!(written(unix), "2024-09-12 15:11:40.041");
        assert_eq!(http_date(unix, SignedDuration::from_secs(-100)), "Thu, 12 Sep 2024 07:10:00 GMT");
        assert_eq!(read_compact("20240912151140"), Some(Duration::from_secs(1_726_125_100)));
    }

    #[test]
    fn what_is_no_compact_time_is_not_read() {
        for text in ["", "2024-09-12", "20240912", "20241312000000", "20240912156000", "+0240912151140"] {
            assert_eq!(read_compact(text), None, "{text}");
        }
    }
}
