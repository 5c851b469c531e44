//! What holds for every transcript; what is written is read by another program's parser.

use proptest::{collection::vec, prelude::*};
use subtp::{
    srt::SubRip,
    vtt::{VttBlock, WebVtt},
};
use unicode_linebreak::linebreaks;

use super::*;

/// Words as they are spoken, in several scripts.
fn honest_word() -> impl Strategy<Value = (&'static str, &'static str)> {
    const WORDS: [&str; 11] = [
        "I ",
        "am ",
        "well-known ",
        "fox",
        "counterrevolutionaries ",
        "世界",
        "我",
        "こんにちは",
        "안녕 ",
        "שלום ",
        "3.5 ",
    ];
    (prop::sample::select(&WORDS[..]), prop::sample::select(&["", "", "", ", ", ". ", "，", "。"][..]))
}

/// A channel whose words follow one another, with pauses of all lengths; and its end.
fn honest_channel() -> impl Strategy<Value = (Channel, u64)> {
    let words = (honest_word(), 0..1500_u64, 50..900_u64);
    let sentences = (vec(words, 1..25), prop::option::of(0..3_u32));
    vec(sentences, 1..8).prop_map(|sentences| {
        let mut clock = 0;
        let sentences = sentences.into_iter().map(|(words, speaker)| {
            let words = words.into_iter().map(|((text, punctuation), pause, length)| {
                let begin = clock + if pause < 1000 { 0 } else { pause };
                clock = begin + length;
                word(begin, clock, text, punctuation)
            });
            Sentence { speaker_id: speaker, ..sentence(words.collect()) }
        });
        (channel(0, sentences.collect()), clock)
    })
}

/// A recording of such a channel.
pub(super) fn honest_transcript() -> impl Strategy<Value = Transcript> {
    honest_channel().prop_map(|(channel, end)| recording(end, vec![channel]))
}

/// Text that means something to some reader of some format, or nothing to any.
fn hostile_text() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 24] = [
        "",
        " ",
        "-->",
        "<v x>",
        "</v>",
        "&amp;",
        "&lt",
        "12",
        "\n\n",
        "\r\n\r\n2\r\n",
        "\t",
        "\0",
        "\u{2028}",
        "\u{202e}",
        "WEBVTT",
        "NOTE",
        "STYLE",
        "00:00:01,000 --> 00:00:02,000",
        "\u{feff}",
        "é",
        "\u{200b}",
        "，",
        "»",
        "עברית",
    ];
    prop_oneof![prop::sample::select(&KNOWN[..]).prop_map(Into::into), any::<String>(), "[a-z]{1,8} ?"]
}

fn hostile_transcript() -> impl Strategy<Value = Transcript> {
    let time = || prop_oneof![any::<u64>(), 0..20_000_u64, Just(0)];
    let word = (time(), time(), hostile_text(), hostile_text())
        .prop_map(|(begin, end, text, punctuation)| word(begin, end, &text, &punctuation));
    let sentence = (time(), time(), hostile_text(), vec(word, 0..12), prop::option::of(any::<u32>()))
        .prop_map(|(begin, end, text, words, speaker_id)| Sentence {
            begin: ms(begin),
            end: ms(end),
            text,
            words,
            speaker_id,
            ..Sentence::default()
        });
    let channel =
        (any::<u32>(), hostile_text(), vec(sentence, 0..6)).prop_map(|(channel_id, text, sentences)| {
            Channel { channel_id, text, sentences, ..Channel::default() }
        });
    (time(), vec(channel, 0..3)).prop_map(|(length, channels)| recording(length, channels))
}

/// What is heard of a text: all but the space.
fn heard(text: &str) -> String {
    text.chars().filter(|c| !clean::is_blank(*c)).collect()
}

/// What is heard of a channel, by what its document says.
fn heard_of(channel: &Channel) -> String {
    let sentences = channel.sentences.iter().map(|sentence| {
        let words = sentence.words.iter().flat_map(|word| [word.text.as_str(), &word.punctuation]);
        let words = heard(&words.collect::<String>());
        if words.is_empty() { heard(&sentence.text) } else { words }
    });
    let all: String = sentences.collect();
    if all.is_empty() { heard(&channel.text) } else { all }
}

/// A text of WebVTT as a player shows it.
fn displayed(payload: &str) -> String {
    let text =
        payload.strip_prefix("<v ").and_then(|rest| rest.split_once('>')).map_or(payload, |(_, text)| text);
    assert!(!text.contains(['<', '>']), "{payload}");
    let known = text.matches("&lt;").count() + text.matches("&gt;").count() + text.matches("&amp;").count();
    assert_eq!(text.matches('&').count(), known, "{payload}");
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// The files hold these cues, as another parser reads them.
fn check_files(subtitles: &Subtitles<'_>, cues: &[Cue]) {
    let srt = subtitles.srt();
    let read = SubRip::parse(&srt).unwrap_or_else(|error| panic!("{error:?}: {srt:?}"));
    assert_eq!(read.subtitles.len(), cues.len(), "{srt:?}");
    for (number, (read, cue)) in read.subtitles.iter().zip(cues).enumerate() {
        assert_eq!(
            (read.sequence as usize, read.start.into(), read.end.into()),
            (number + 1, cue.begin, cue.end)
        );
        let lines: Vec<String> =
            cue.lines.iter().map(|line| line.replace("-->", "→").trim().to_owned()).collect();
        assert!(read.text[0].ends_with(&lines[0]), "{srt:?}");
        assert_eq!(read.text[1..], lines[1..], "{srt:?}");
    }

    let vtt = subtitles.vtt();
    let read = WebVtt::parse(&vtt).unwrap_or_else(|error| panic!("{error:?}: {vtt:?}"));
    let unnamed = subtitles.laid_out(false);
    assert_eq!(read.blocks.len(), unnamed.len(), "{vtt:?}");
    for (block, cue) in read.blocks.iter().zip(&unnamed) {
        let VttBlock::Que(read) = block else { panic!("{block:?} of {vtt:?}") };
        assert_eq!((read.timings.start.into(), read.timings.end.into()), (cue.begin, cue.end));
        let shown: Vec<String> = read.payload.iter().map(|line| displayed(line)).collect();
        assert_eq!(shown, cue.lines, "{vtt:?}");
    }

    let tsv = subtitles.tsv();
    let rows: Vec<Vec<&str>> =
        tsv.trim_end_matches('\n').split('\n').map(|row| row.split('\t').collect()).collect();
    assert_eq!((rows.len(), rows[0].as_slice()), (cues.len() + 1, &["start", "end", "text"][..]));
    for (row, cue) in rows[1..].iter().zip(cues) {
        assert_eq!(row[..2], [cue.begin.as_millis().to_string(), cue.end.as_millis().to_string()]);
        assert!(row.len() == 3 && row[2].ends_with(&cue.text), "{row:?}");
    }
}

proptest! {
    #[test]
    fn honest_cues_keep_the_rules_and_lose_no_word(
        (channel, length) in honest_channel(),
        line_length in 1..60_usize,
        lines in 1..4_usize,
        speakers: bool,
    ) {
        let all = heard_of(&channel);
        let transcript = recording(length, vec![channel]);
        let subtitles = Subtitles::of(&transcript).line_length(line_length).lines(lines).speakers(speakers);
        let cues = subtitles.cues();
        prop_assert!(cues.iter().all(|cue| cue.begin < cue.end && cue.end <= ms(length)), "{cues:?}");
        prop_assert!(cues.iter().all(|cue| cue.end - cue.begin <= ms(7000)));
        prop_assert!(cues.windows(2).all(|pair| pair[0].end <= pair[1].begin));
        prop_assert_eq!(cues.iter().map(|cue| heard(&cue.text)).collect::<String>(), all.as_str());
        prop_assert_eq!(cues.iter().flat_map(|cue| &cue.lines).map(|line| heard(line)).collect::<String>(), all);
        let fits = |line: &str, label: usize| {
            clean::columns(line) + label <= line_length || linebreaks(line).count() == 1
        };
        let mut speaking = Voice::default();
        for cue in &cues {
            prop_assert!(cue.lines.len() <= lines);
            let mut label = if cue.voice == speaking { 0 } else { cue.voice.label().len() };
            speaking = cue.voice;
            for line in &cue.lines {
                prop_assert!(fits(line, label), "{line:?} of {cues:?}");
                label = 0;
            }
        }
        for cue in subtitles.laid_out(false) {
            prop_assert!(cue.lines.len() <= lines && cue.lines.iter().all(|line| fits(line, 0)), "{cue:?}");
        }
        check_files(&subtitles, &cues);
    }

    #[test]
    fn a_hostile_transcript_makes_valid_files_and_loses_nothing(transcript in hostile_transcript(), length in 1..60_usize) {
        let subtitles = Subtitles::of(&transcript).line_length(length);
        let cues = subtitles.cues();
        prop_assert!(cues.iter().all(|cue| cue.begin < cue.end && !cue.lines.iter().any(String::is_empty)));
        prop_assert!(cues.windows(2).all(|pair| pair[0].begin <= pair[1].begin));
        check_files(&subtitles, &cues);
        for channel in &transcript.channels {
            let alone = recording(20_000, vec![channel.clone()]);
            let cues = Subtitles::of(&alone).line_length(length).cues();
            prop_assert!(cues.windows(2).all(|pair| pair[0].end <= pair[1].begin), "{cues:?}");
            prop_assert_eq!(cues.iter().map(|cue| heard(&cue.text)).collect::<String>(), heard_of(channel));
            let txt = PlainText::of(&alone).speakers(false).txt();
            prop_assert_eq!(heard(&txt), heard_of(channel));
        }
        let txt = PlainText::of(&transcript).txt();
        prop_assert!(txt.is_empty() || txt.ends_with('\n') && !txt.contains("\n\n"));
    }
}
