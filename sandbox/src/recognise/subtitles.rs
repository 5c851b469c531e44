//! Reads subtitles: SubRip (`.srt`) and WebVTT (`.vtt`, W3C *WebVTT*), as far as times and text go.

use super::Segment;

/// A piece of text and when it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cue {
    pub(crate) window: Segment,
    pub(crate) text: String,
}

/// The cues of `text`, in the order of their times. What stands in no block with times is skipped.
///
/// # Errors
/// The line that should have been two times.
pub(crate) fn cues(text: &str) -> Result<Vec<Cue>, String> {
    let mut cues = Vec::new();
    let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some((begin, end)) = line.split_once("-->") else { continue };
        // Behind the second time a WebVTT cue may have settings.
        let end = end.split_whitespace().next().unwrap_or_default();
        let window = time(begin.trim()).zip(time(end)).filter(|(begin, end)| begin <= end);
        let (begin, end) = window.ok_or_else(|| line.chars().take(80).collect::<String>())?;
        let shown: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        cues.push(Cue { window: Segment { begin, end }, text: without_tags(&shown.join(" ")) });
    }
    cues.sort_by_key(|cue| cue.window.begin);
    Ok(cues)
}

/// Milliseconds of `[hh:]mm:ss.ttt`, with a comma in SubRip.
fn time(text: &str) -> Option<u64> {
    let (clock, thousandths) = text.split_once(['.', ','])?;
    if thousandths.len() != 3 {
        return None;
    }
    let mut parts = clock.rsplit(':').map(digits);
    let (seconds, minutes) = (parts.next()??, parts.next()??);
    let hours = parts.next().unwrap_or(Some(0))?;
    (parts.next().is_none() && seconds < 60 && minutes < 60 && hours < 1000)
        .then_some(((hours * 60 + minutes) * 60 + seconds) * 1000 + digits(thousandths)?)
}

fn digits(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The text without `<i>`, `<v Speaker>`, `<00:01.000>` and the like.
fn without_tags(text: &str) -> String {
    let mut parts = text.split('<');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('>').map_or("", |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cue(begin: u64, end: u64, text: &str) -> Cue {
        Cue { window: Segment { begin, end }, text: text.to_owned() }
    }

    #[test]
    fn subrip_and_webvtt_are_read_alike() {
        let srt = "1\r\n00:00:01,000 --> 00:00:02,500\r\nHello\r\nworld.\r\n\r\n2\r\n01:00:03,000 --> 01:00:04,000\r\n<i>Bye</i>.\r\n";
        assert_eq!(cues(srt).unwrap(), [cue(1000, 2500, "Hello world."), cue(3_603_000, 3_604_000, "Bye.")]);
        let vtt = "WEBVTT\n\nNOTE made by hand\n\nintro\n00:01.000 --> 00:02.500 align:start\n<v Ann>Hello world.\n";
        assert_eq!(cues(vtt).unwrap(), [cue(1000, 2500, "Hello world.")]);
    }

    #[test]
    fn times_that_are_none_are_named() {
        for line in ["1:2 --> 3:4", "00:01.000 --> 00:00.500", "00:61.000 --> 00:62.000", " --> "] {
            assert_eq!(cues(line), Err(line.trim().to_owned()));
        }
    }
}
