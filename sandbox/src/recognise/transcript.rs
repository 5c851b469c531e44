//! The sandbox's recogniser: takes the words from a transcript that lies beside the audio.

use futures_util::{FutureExt, future::BoxFuture};
use url::Url;

use super::{Channel, Recogniser, Recording, Segment, Sentence, spread::spread, subtitles, words};
use crate::{failure::Failure, media::Downloader};

/// Reads `NAME.txt`, `NAME.srt` or `NAME.vtt` beside `NAME.wav`.
///
/// Of a recording with several channels it looks for `NAME.ch0.txt` and so on first, for the words of one
/// channel; `NAME.txt` then is what is said on each.
#[derive(Debug)]
pub(crate) struct TranscriptBeside {
    downloader: Downloader,
}

/// What is said where there is no transcript.
const NO_TRANSCRIPT: &str = "The sandbox has no transcript for this recording.";
/// How far the end of a cue may be from the pause that it means.
const SLACK_MS: u64 = 1000;

impl TranscriptBeside {
    pub(crate) fn new(downloader: Downloader) -> Self {
        Self { downloader }
    }

    async fn sentences(&self, recording: &Recording, channel: &Channel) -> Result<Vec<Sentence>, Failure> {
        for suffix in suffixes(recording, channel) {
            let Some(url) = beside(recording.url(), &suffix) else { break };
            let Some(text) = self.downloader.text(url).await? else { continue };
            return if suffix.ends_with("txt") {
                Ok(spread(words::sentences(&text), &channel.speech))
            } else {
                subtitled(&text, &channel.speech).map_err(|line| {
                    let message = format!("The times of the transcript cannot be read: {line}");
                    Failure::new("Sandbox.TranscriptUnreadable", message)
                })
            };
        }
        Ok(spread(words::sentences(NO_TRANSCRIPT), &channel.speech))
    }
}

impl Recogniser for TranscriptBeside {
    fn recognise<'a>(
        &'a self,
        recording: &'a Recording,
        channel: &'a Channel,
    ) -> BoxFuture<'a, Result<Vec<Sentence>, Failure>> {
        self.sentences(recording, channel).boxed()
    }
}

/// Each cue's words over the speech within its times. A cue without any speech was not heard.
fn subtitled(text: &str, speech: &[Segment]) -> Result<Vec<Sentence>, String> {
    let cues = subtitles::cues(text)?;
    let mut sentences: Vec<Sentence> = Vec::new();
    for (at, cue) in cues.iter().enumerate() {
        let next = cues.get(at + 1).map_or(u64::MAX, |next| next.window.length());
        let end = drawn_to_pause(cue.window.end, cue.window.length().min(next) / 2, speech);
        let begin = cue.window.begin.max(sentences.last().map_or(0, Sentence::end));
        let heard: Vec<Segment> = speech
            .iter()
            .map(|s| Segment { begin: s.begin.max(begin), end: s.end.min(end) })
            .filter(|s| s.begin < s.end)
            .collect();
        if !heard.is_empty() {
            sentences.extend(spread(words::sentences(&cue.text), &heard));
        }
    }
    Ok(sentences)
}

/// The end of a cue at the pause next to it, for people do not time subtitles by the millisecond: moved by
/// at most `reach`, and a second.
fn drawn_to_pause(end: u64, reach: u64, speech: &[Segment]) -> u64 {
    let pauses = speech.iter().map(|segment| segment.end);
    let near = pauses.min_by_key(|pause| pause.abs_diff(end));
    near.filter(|pause| pause.abs_diff(end) <= reach.min(SLACK_MS)).unwrap_or(end)
}

fn suffixes(recording: &Recording, channel: &Channel) -> Vec<String> {
    let own = (recording.channel_count() > 1).then(|| format!("ch{}.", channel.id));
    let prefixes = own.into_iter().chain([String::new()]);
    prefixes.flat_map(|prefix| ["txt", "srt", "vtt"].map(|kind| format!("{prefix}{kind}"))).collect()
}

/// The URL with the extension of its last path segment replaced; the query, such as a signature, stays.
fn beside(url: &str, suffix: &str) -> Option<Url> {
    // The temporary storage has nothing beside a file.
    let mut url = Url::parse(url).ok().filter(|url| url.scheme() != "oss")?;
    let (folder, name) = url.path().rsplit_once('/')?;
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let path = format!("{folder}/{stem}.{suffix}");
    url.set_path(&path);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_lies_beside_the_audio() {
        let beside = |url, suffix| beside(url, suffix).unwrap().to_string();
        assert_eq!(beside("http://h/a.b/talk.v1.wav?sig=x%2F", "txt"), "http://h/a.b/talk.v1.txt?sig=x%2F");
        assert_eq!(beside("http://h/a.b/%E4%BD%A0", "ch1.srt"), "http://h/a.b/%E4%BD%A0.ch1.srt");
    }

    #[test]
    fn a_cue_is_heard_only_where_there_is_speech() {
        let speech = [Segment { begin: 1000, end: 2000 }, Segment { begin: 3000, end: 4500 }];
        let vtt = "WEBVTT\n\n00:00.500 --> 00:02.500\nOne.\n\n00:02.000 --> 00:03.000\nLost.\n\n00:02.500 --> 00:03.500\nTwo.\n";
        let sentences = subtitled(vtt, &speech).unwrap();
        let told: Vec<_> = sentences.iter().map(|s| (s.begin(), s.end(), s.text())).collect();
        assert_eq!(told, [(1000, 2000, "One.".to_owned()), (3000, 3500, "Two.".to_owned())]);
    }

    #[test]
    fn a_cue_ends_at_the_pause_near_its_end() {
        let speech = [Segment { begin: 300, end: 3300 }, Segment { begin: 3900, end: 6000 }];
        let srt = "1\n00:00:00,000 --> 00:00:03,000\nOne.\n\n2\n00:00:03,000 --> 00:00:06,000\nTwo.\n";
        let spans: Vec<_> = subtitled(srt, &speech).unwrap().iter().map(|s| (s.begin(), s.end())).collect();
        assert_eq!(spans, [(300, 3300), (3900, 6000)]);
    }
}
