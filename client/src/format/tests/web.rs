//! The module for browsers writes the same files: its tests read what stands in `web/test/transcripts.json`, which
//! this one writes (with `VALET_WRITE_TRANSCRIPTS=1`) and holds to be what is written here.

use std::{env, fs, path::Path};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use serde_json::{Value, json};

use super::{laws::honest_transcript, samples::passages, *};

/// Transcripts drawn beside the named ones, always the same.
const DRAWN: usize = 20;

#[test]
fn a_browser_writes_the_same_files() {
    let two = recording(
        0,
        vec![
            channel(0, vec![said(0, "How |are |you?"), said(4000, "I |see.")]),
            channel(1, vec![by(1, said(1500, "Well, |thank |you. |And |you?"))]),
        ],
    );
    let overlong = mono(vec![said(
        0,
        "A |word |of |Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamten |is |long.",
    )]);
    let mut untimed = documented();
    untimed.channels[0].sentences[0].words.iter_mut().for_each(|word| word.end = word.begin);
    let mut samples = vec![
        ("documented", documented()),
        ("empty", Transcript::default()),
        ("two channels", two),
        ("overlong", overlong),
        ("untimed", untimed),
    ];
    samples.extend(passages());
    let mut runner = TestRunner::deterministic();
    let drawn = std::iter::repeat_with(|| honest_transcript().new_tree(&mut runner).unwrap().current());
    samples.extend(drawn.take(DRAWN).map(|transcript| ("drawn", transcript)));
    let samples: Vec<Value> = samples.iter().map(|(name, transcript)| files(name, transcript)).collect();
    let text = samples.iter().map(Value::to_string).collect::<Vec<_>>().join(",\n");
    let text = format!("[\n{text}\n]\n");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/test/transcripts.json");
    if env::var_os("VALET_WRITE_TRANSCRIPTS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    assert!(fs::read_to_string(&file).unwrap() == text, "{} is of another time", file.display());
}

fn files(name: &str, transcript: &Transcript) -> Value {
    let subtitles = Subtitles::of(transcript);
    json!({
        "name": name,
        "transcript": transcript,
        "txt": PlainText::of(transcript).txt(),
        "srt": subtitles.srt(),
        "vtt": subtitles.vtt(),
        "srt without speakers": subtitles.clone().speakers(false).srt(),
        "vtt of 20 columns": subtitles.line_length(20).vtt(),
    })
}
