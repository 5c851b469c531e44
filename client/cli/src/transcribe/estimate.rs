//! `--dry-run`: what would be submitted, and what it would cost.

use std::time::Duration;

use super::{
    plan::{Group, Plan},
    request::request,
};
use crate::{
    exit::{Exit, Failure},
    journal::Subject,
    printer::{Sink, count, tell},
    source::Source,
};

/// What a second of speech costs, in USD (*Fun-ASR recording*).
pub(crate) const PRICE: f64 = 0.000_035;

/// Prints the requests to standard output, one a line, and tells the estimate.
pub(super) fn tell_of(
    subject: &Subject,
    sources: &[Source],
    plan: &Plan,
    length: Option<Duration>,
    price: f64,
) -> Result<Exit, Failure> {
    let mut sink = Sink::stdout();
    let mut recordings = 0;
    for group in &plan.groups {
        let Group::New(places) = group else { continue };
        recordings += places.len();
        let urls: Vec<String> = places.iter().map(|&place| sources[place].key().to_owned()).collect();
        let is_local = places.iter().any(|&place| sources[place].path().is_some());
        let mut body = if is_local {
            // The request names what the storage will call it.
            let mut body = request(subject, &["https://example.com".into()], &[]).body()?;
            body["input"]["file_urls"] = urls.into();
            body
        } else {
            request(subject, &urls, &[]).body()?
        };
        sink.write(|to| writeln!(to, "{}", body.take()))?;
    }
    let channels = subject.parameters.get("channel_id").and_then(|channels| channels.as_array());
    let channels = channels.map_or(1, Vec::len);
    tell(&estimate(recordings, sources.len() - recordings, channels, length, price));
    Ok(Exit::Done)
}

#[expect(clippy::cast_precision_loss, reason = "an estimate, of counts far below 2^52")]
fn estimate(
    recordings: usize,
    known: usize,
    channels: usize,
    length: Option<Duration>,
    price: f64,
) -> String {
    let an_hour = price * 3600.0;
    let cost = match length {
        Some(length) => {
            let seconds = length.as_secs_f64() * (recordings * channels) as f64;
            format!(
                "at most {} USD, if each is {} s of nothing but speech on {channels}",
                dollars(seconds * price),
                length.as_secs(),
                channels = count(channels, "channel"),
            )
        }
        None => {
            let on = if channels == 1 { String::new() } else { format!(" on each of {channels} channels") };
            format!(
                "{an_hour:.4} USD for each hour of speech{on}; how long they are is not known, say it with \
                 --audio-length"
            )
        }
    };
    format!(
        "{} would be submitted, {known} need not be. Estimated cost: {cost}. Nothing was sent.",
        count(recordings, "recording")
    )
}

/// To the cent, or to the hundredth of one where it is little.
fn dollars(amount: f64) -> String {
    if amount < 0.1 { format!("{amount:.4}") } else { format!("{amount:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_is_that_of_all_recordings_and_channels() {
        let told = estimate(10, 0, 2, Some(Duration::from_secs(3600)), PRICE);
        assert!(told.contains("at most 2.52 USD"), "{told}");
        let little = estimate(1, 0, 1, Some(Duration::from_secs(60)), PRICE);
        assert!(little.contains("at most 0.0021 USD"), "{little}");
        assert!(little.starts_with("1 recording would") && little.contains("on 1 channel."), "{little}");
        let unknown = estimate(10, 2, 1, None, PRICE);
        assert!(unknown.contains("0.1260 USD for each hour") && unknown.contains("not known"), "{unknown}");
    }
}
