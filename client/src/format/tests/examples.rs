//! One rule at a time.

use super::*;

fn shown(subtitles: &Subtitles<'_>) -> Vec<(u128, u128, String)> {
    let cues = subtitles.cues();
    cues.iter().map(|cue| (cue.begin.as_millis(), cue.end.as_millis(), cue.lines.join("/"))).collect()
}

fn lines(subtitles: &Subtitles<'_>) -> Vec<String> {
    shown(subtitles).into_iter().map(|(_, _, lines)| lines).collect()
}

#[test]
fn a_cue_ends_with_its_sentence_and_at_most_two_lines() {
    let transcript = mono(vec![
        said(0, "The |quick |brown |fox |jumps |over |the |lazy |dog."),
        said(
            2700,
            "It |was |not |the |first |time, |and |as |far |as |anyone |could |tell |it |would |not |be \
                    |the |last |that |day |either.",
        ),
    ]);
    let expected = [
        "The quick brown fox/jumps over the lazy dog.",
        "It was not the first time,",
        "and as far as anyone could tell it/would not be the last that day either.",
    ];
    assert_eq!(lines(&Subtitles::of(&transcript)), expected);
    let one_line = Subtitles::of(&transcript).lines(1);
    assert!(one_line.cues().iter().all(|cue| cue.lines.len() == 1));
}

#[test]
fn a_short_sentence_joins_its_neighbour_unless_it_has_time() {
    let hurried = mono(vec![said(0, "No."), said(180, "That |is |not |what |I |meant.")]);
    assert_eq!(lines(&Subtitles::of(&hurried)), ["No. That is not what I meant."]);
    let slow = mono(vec![said(0, "No."), said(950, "That |is |not |what |I |meant.")]);
    assert_eq!(shown(&Subtitles::of(&slow))[0], (0, 833, "No.".into()));
}

#[test]
fn a_pause_ends_a_cue_and_so_does_a_speaker() {
    let mut halting = said(0, "Well, |I |mean |it.");
    for word in &mut halting.words[1..] {
        word.begin += ms(1500);
        word.end += ms(1500);
    }
    halting.end += ms(1500);
    let halting = mono(vec![halting]);
    assert_eq!(lines(&Subtitles::of(&halting)), ["Well,", "I mean it."]);
    assert_eq!(lines(&Subtitles::of(&halting).max_pause(ms(1500))), ["Well, I mean it."]);

    let quick = mono(vec![by(0, said(0, "No.")), by(1, said(180, "Yes."))]);
    assert_eq!(lines(&Subtitles::of(&quick)), ["No.", "Yes."]);
    assert_eq!(lines(&Subtitles::of(&quick).speakers(false)), ["No. Yes."]);
}

#[test]
fn a_cue_is_shown_for_long_enough_but_leaves_a_gap() {
    let transcript = mono(vec![said(0, "Stop |right |there |now!!"), said(1500, "Why?")]);
    assert_eq!(shown(&Subtitles::of(&transcript))[0].1, 1320);
    let long = Subtitles::of(&transcript).min_duration(ms(4000));
    let joined = "Stop right there now!! Why?".to_owned();
    assert_eq!(shown(&long), [(0, 4000, joined)], "a sentence without time joins");
    let close = mono(vec![by(0, said(0, "Stop |right |there |now!!")), by(1, said(1330, "Why?"))]);
    assert_eq!(shown(&Subtitles::of(&close))[0].1, 1330 - 83);
    assert_eq!(shown(&Subtitles::of(&close).min_gap(ms(0)))[0].1, 1320);
}

#[test]
fn a_cue_is_not_shown_for_too_long_nor_after_the_end() {
    let transcript = mono(vec![sentence(vec![word(0, 20_000, "Gooooal", "!")])]);
    assert_eq!(shown(&Subtitles::of(&transcript))[0].1, 7000);
    assert_eq!(shown(&Subtitles::of(&transcript).max_duration(ms(9000)))[0].1, 9000);
    let slow = said(0, "a|b|c|d|e").words.into_iter().enumerate();
    let slow = slow.map(|(at, w)| word(at as u64 * 900, at as u64 * 900 + 800, &w.text, " "));
    let slow = mono(vec![sentence(slow.collect())]);
    assert_eq!(lines(&Subtitles::of(&slow).max_duration(ms(2600))), ["a b", "c d e"]);
    let late = recording(500, vec![channel(0, vec![said(100, "Hm.")])]);
    assert_eq!(shown(&Subtitles::of(&late)), [(100, 500, "Hm.".into())]);
}

#[test]
fn words_without_times_share_those_of_their_sentence_by_their_width() {
    let mut sentence = said(1000, "one |three |ten.");
    sentence.words.iter_mut().for_each(|word| (word.begin, word.end) = (ms(0), ms(0)));
    (sentence.begin, sentence.end) = (ms(1000), ms(2400));
    let transcript = mono(vec![sentence]);
    let single = Subtitles::of(&transcript).line_length(1).lines(1).min_duration(ms(1)).min_gap(ms(0));
    let expected = [(1000, 1400, "one".into()), (1400, 2000, "three".into()), (2000, 2400, "ten.".into())];
    assert_eq!(shown(&single), expected);
}

#[test]
fn a_sentence_without_words_and_a_channel_without_sentences_come_out() {
    let bare = Sentence {
        begin: ms(1000),
        end: ms(9000),
        text: "A line, and another.".into(),
        ..Sentence::default()
    };
    let transcript = mono(vec![bare]);
    let narrow = Subtitles::of(&transcript).line_length(8).lines(1);
    assert_eq!(lines(&narrow), ["A line,", "and", "another."]);
    let cues = narrow.cues();
    assert_eq!((cues[0].begin, cues[2].end), (ms(1000), ms(9000)));

    let text = Channel { text: "你好，世界。".into(), ..Channel::default() };
    let untimed = recording(0, vec![text.clone()]);
    assert_eq!(shown(&Subtitles::of(&untimed)), [(0, 833, "你好，世界。".into())]);
    assert_eq!(shown(&Subtitles::of(&recording(3000, vec![text])))[0].1, 3000);
    assert_eq!(PlainText::of(&untimed).txt(), "你好，世界。\n");
}

#[test]
fn times_that_cannot_be_right_are_estimated_from_those_around() {
    let backwards = vec![
        word(1000, 1500, "a ", ""),
        word(900, 700, "b ", ""),
        word(u64::MAX, u64::MAX, "c ", ""),
        word(2500, 3000, "d", "."),
    ];
    let transcript = mono(vec![sentence(backwards)]);
    let single = Subtitles::of(&transcript).line_length(1).min_duration(ms(1)).min_gap(ms(0)).lines(1);
    let times: Vec<_> = shown(&single).into_iter().map(|(begin, end, _)| (begin, end)).collect();
    assert_eq!(times, [(1000, 1500), (1500, 2000), (2000, 2500), (2500, 3000)]);
}

#[test]
fn no_line_begins_with_closing_punctuation_nor_ends_with_an_opening_one() {
    let mut spoken = said(0, "他|说|「|好|」|，|然后|就|走|了|。");
    spoken.words.iter_mut().for_each(|word| word.text.push_str(&std::mem::take(&mut word.punctuation)));
    let transcript = mono(vec![spoken]);
    for length in 4..30 {
        for line in Subtitles::of(&transcript).line_length(length).cues().iter().flat_map(|cue| &cue.lines) {
            assert!(!line.starts_with(['」', '，', '。']) && !line.ends_with('「'), "{length}: {line}");
        }
    }
}

#[test]
fn the_usual_line_holds_sixteen_full_width_characters_or_forty_two_others() {
    let chinese = mono(vec![said(0, &"字|".repeat(40)[..])]);
    assert!(
        lines(&Subtitles::of(&chinese))
            .iter()
            .all(|cue| cue.split('/').all(|line| line.chars().count() <= 16))
    );
    let english = mono(vec![said(0, "forty-two columns are what a line may have")]);
    assert_eq!(lines(&Subtitles::of(&english)), ["forty-two columns are what a line may have"]);
}

#[test]
fn a_name_takes_room_on_its_line_where_it_is_shown_and_none_where_it_is_not() {
    let text = "forty-two |columns |are |what |a |line |may |have";
    let transcript = mono(vec![by(0, said(0, text)), by(1, said(4000, "Yes."))]);
    let (subtitles, text) = (Subtitles::of(&transcript), text.replace('|', ""));
    assert_eq!(subtitles.cues()[0].lines.len(), 2);
    assert!(subtitles.vtt().contains(&format!("\n<v Speaker 1>{text}\n")), "{}", subtitles.vtt());
}

#[test]
fn a_script_without_boundaries_breaks_between_words() {
    let transcript = mono(vec![said(0, "ฉัน|รัก|ประเทศ|ไทย|มาก")]);
    let cues = lines(&Subtitles::of(&transcript).line_length(10).lines(9));
    assert_eq!(cues, ["ฉันรักประเทศ/ไทยมาก"]);
}

#[test]
fn a_word_longer_than_a_line_stays_whole() {
    let transcript = mono(vec![said(0, "Donaudampfschifffahrt |ist |lang.")]);
    assert_eq!(lines(&Subtitles::of(&transcript).line_length(10)), ["Donaudampfschifffahrt/ist lang."]);
}
