//! Whole files.

use super::*;

#[test]
fn the_documented_file_comes_out_in_each_format() {
    let transcript = documented();
    let subtitles = Subtitles::of(&transcript);
    assert_eq!(subtitles.srt(), "1\n00:00:00,100 --> 00:00:00,933\nSpeaker 1: Hello world.\n\n");
    assert_eq!(subtitles.vtt(), "WEBVTT\n\n00:00:00.100 --> 00:00:00.933\n<v Speaker 1>Hello world.\n\n");
    assert_eq!(subtitles.tsv(), "start\tend\ttext\n100\t933\tSpeaker 1: Hello world.\n");
    assert_eq!(PlainText::of(&transcript).txt(), "Speaker 1: Hello world.\n");
    assert_eq!(PlainText::of(&transcript).speakers(false).txt(), "Hello world.\n");
    let again: Transcript = serde_json::from_str(&json(&transcript)).unwrap();
    assert_eq!(again, transcript);
}

#[test]
fn a_transcript_without_speech_has_files_without_text() {
    for transcript in [Transcript::default(), mono(vec![]), mono(vec![Sentence::default()])] {
        let subtitles = Subtitles::of(&transcript);
        assert_eq!((subtitles.srt().as_str(), subtitles.vtt().as_str()), ("", "WEBVTT\n\n"));
        assert_eq!(subtitles.tsv(), "start\tend\ttext\n");
        assert_eq!(PlainText::of(&transcript).txt(), "");
    }
}

#[test]
fn a_time_is_written_with_hours() {
    let transcript = mono(vec![said(36_061_001, "Late.")]);
    assert!(Subtitles::of(&transcript).vtt().contains("\n10:01:01.001 --> 10:01:01.834\n"));
}

#[test]
fn a_speaker_is_named_where_another_spoke_before() {
    let transcript = mono(vec![
        by(0, said(0, "One is |enough.")),
        by(0, said(3000, "Two are |not.")),
        by(1, said(6000, "Why?")),
        said(9000, "Nobody |knows."),
        by(u32::MAX, said(12_000, "I |do.")),
    ]);
    let lines: Vec<String> =
        Subtitles::of(&transcript).srt().lines().skip(2).step_by(4).map(Into::into).collect();
    let named = ["Speaker 1: One is enough.", "Two are not.", "Speaker 2: Why?", "Nobody knows."];
    assert_eq!(lines[..4], named);
    assert_eq!(lines[4], "Speaker 4294967296: I do.");
    assert_eq!(
        PlainText::of(&transcript).txt(),
        "Speaker 1: One is enough. Two are not.\nSpeaker 2: Why?\nNobody knows.\nSpeaker 4294967296: I do.\n"
    );
    let vtt = Subtitles::of(&transcript).vtt();
    assert_eq!(vtt.matches("<v Speaker 1>").count(), 2, "in every cue: {vtt}");
    assert!(!Subtitles::of(&transcript).speakers(false).vtt().contains("<v"));
}

#[test]
fn several_channels_are_told_apart_and_follow_time() {
    let here = vec![said(0, "Hello, |can you |hear me?"), said(5000, "Good.")];
    let there = vec![said(2600, "Yes, |I can.")];
    let transcript = recording(9000, vec![channel(0, here), channel(1, there)]);
    assert_eq!(
        PlainText::of(&transcript).txt(),
        "Channel 1: Hello, can you hear me?\nChannel 2: Yes, I can.\nChannel 1: Good.\n"
    );
    assert_eq!(
        Subtitles::of(&transcript).tsv(),
        "start\tend\ttext\n0\t1380\tChannel 1: Hello, can you hear me?\n\
         2600\t3433\tChannel 2: Yes, I can.\n5000\t5833\tChannel 1: Good.\n"
    );
    assert!(Subtitles::of(&transcript).vtt().contains("<v Channel 2>Yes, I can."));
}

#[test]
fn what_a_reader_would_take_for_markup_is_escaped() {
    let text = "Is 1 --> 2, |<b>or |&amp; so|?\n\n7\n\n00:00:01,000 --> 00:00:02,000\t|fake";
    let transcript = mono(vec![said(0, text)]);
    let subtitles = Subtitles::of(&transcript).line_length(200);
    let line = "Is 1 --> 2, <b>or &amp; so? 7 00:00:01,000 --> 00:00:02,000 fake";
    assert_eq!(subtitles.cues()[0].lines, [line]);
    assert!(subtitles.tsv().ends_with(&format!("\t{line}\n")));
    assert!(subtitles.srt().contains("Is 1 → 2, <b>or &amp; so? 7 00:00:01,000 → 00:00:02,000 fake\n\n"));
    let escaped = "Is 1 --&gt; 2, &lt;b&gt;or &amp;amp; so? 7 00:00:01,000 --&gt; 00:00:02,000 fake\n\n";
    assert!(subtitles.vtt().ends_with(escaped));
}
