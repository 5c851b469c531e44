//! Subtitles of a passage in three languages, to be judged by the eye.

use super::*;

fn english() -> Transcript {
    mono(vec![
        by(
            0,
            said(
                400,
                "Good |morning, |everyone, |and |thank |you |for |joining |the |call |at |such |short |notice.",
            ),
        ),
        by(
            0,
            said(
                6200,
                "Before |we |begin: |has |everybody |had |a |look |at |the |figures |that |were |sent |around \
                          |on |Friday, |including |the |ones |from |the |Hamburg |office?",
            ),
        ),
        by(1, said(13_900, "Yes.")),
        by(1, said(14_150, "But |page |three |doesn't |add |up.")),
        by(0, said(17_000, "R&D |says |<see |below>, |which |is |why |we |are |here.")),
    ])
}

fn chinese() -> Transcript {
    mono(vec![
        by(0, said(300, "大家|早上|好，|感谢|各位|在|百忙|之中|抽出|时间|参加|今天|的|会议。")),
        by(
            0,
            said(
                6500,
                "我们|先|看|一下|上个|季度|的|销售|数据，|其中|华东|地区|同比|增长|了|23%，|主要|得益于|新|产品|线\
                          |的|推出|和|Valet |平台|的|上线。",
            ),
        ),
        by(1, said(16_000, "对。")),
        by(1, said(16_400, "不过|成本|也|上升|了。")),
    ])
}

fn japanese() -> Transcript {
    mono(vec![
        said(500, "皆さん、|おはよう|ございます。"),
        said(4500, "本日|は|お忙しい|中|お集まり|いただき、|誠に|ありがとう|ございます。"),
        said(
            12_000,
            "「|ファン|」|という|言葉|は、|英語|の|fan |から|来て|います|が、|もともと|は|ラテン語|だ|と|言われて|います。",
        ),
    ])
}

/// All of them, by name.
pub(super) fn passages() -> [(&'static str, Transcript); 3] {
    [("english", english()), ("chinese", chinese()), ("japanese", japanese())]
}

#[test]
fn english_as_srt() {
    insta::assert_snapshot!(Subtitles::of(&english()).srt());
}

#[test]
fn english_as_vtt() {
    insta::assert_snapshot!(Subtitles::of(&english()).vtt());
}

#[test]
fn chinese_as_srt() {
    insta::assert_snapshot!(Subtitles::of(&chinese()).srt());
}

#[test]
fn chinese_as_text() {
    insta::assert_snapshot!(PlainText::of(&chinese()).txt());
}

#[test]
fn japanese_as_vtt() {
    insta::assert_snapshot!(Subtitles::of(&japanese()).vtt());
}

#[test]
fn japanese_as_tsv() {
    insta::assert_snapshot!(Subtitles::of(&japanese()).tsv());
}
