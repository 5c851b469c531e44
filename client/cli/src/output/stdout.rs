//! Transcripts on standard output, in the order of the recordings, each written as soon as those before it.

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write},
};

use super::{
    entry::{Entry, Outcome},
    layout::{Format, Layout},
    render::render,
};
use crate::{exit::Failure, printer::legible};

/// The transcripts of a run on standard output.
pub(crate) struct Stdout {
    layout: Layout,
    /// Whether texts are headed by the recordings they belong to.
    headed: bool,
    /// The place of the recording that is to be written next.
    next: usize,
    /// What is ready, and comes later.
    held: BTreeMap<usize, Vec<u8>>,
    parts: usize,
    to: Box<dyn Write>,
}

impl Stdout {
    pub(super) fn new(layout: Layout, count: usize) -> Self {
        Self::to(Box::new(BufWriter::new(io::stdout())), layout, count)
    }

    fn to(to: Box<dyn Write>, layout: Layout, count: usize) -> Self {
        let headed = count > 1 || layout.formats.len() > 1;
        Self { layout, headed, next: 0, held: BTreeMap::new(), parts: 0, to }
    }

    pub(super) fn put(&mut self, place: usize, entry: &Entry<'_>) -> Result<Vec<usize>, Failure> {
        let text = if self.is_array() { json(entry) } else { Ok(self.texts(entry)) };
        self.held.insert(place, text.map_err(|error| Failure::stdout(&error))?);
        let mut out = Vec::new();
        while let Some(text) = self.held.remove(&self.next) {
            self.write(&text).map_err(|error| Failure::stdout(&error))?;
            out.push(self.next);
            self.next += 1;
        }
        Ok(out)
    }

    pub(super) fn end(mut self) -> Result<(), Failure> {
        let end: &[u8] = match (self.is_array(), self.parts) {
            (false, _) => b"",
            (true, 0) => b"[]\n",
            (true, _) => b"]\n",
        };
        self.to.write_all(end).and_then(|()| self.to.flush()).map_err(|error| Failure::stdout(&error))
    }

    /// JSON alone is one array. Each entry is a line that ends when it is written: on a terminal, and in a pipe
    /// that is read by lines, nothing waits for the next one.
    fn is_array(&self) -> bool {
        self.layout.formats == [Format::Json]
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let before: &[u8] = match (self.is_array(), self.parts) {
            (true, 0) => b"[",
            (true, _) => b",",
            (false, 0) => b"",
            (false, _) => b"\n",
        };
        self.parts += 1;
        self.to.write_all(before)?;
        self.to.write_all(text)?;
        self.to.flush()
    }

    /// As `head` and `tail` show several files. A failure has no text; it is told elsewhere.
    fn texts(&self, entry: &Entry<'_>) -> Vec<u8> {
        let Outcome::Transcript(transcript) = &entry.outcome else { return Vec::new() };
        let texts = self.layout.formats.iter().map(|&format| {
            let text = render(transcript, format, &self.layout);
            let kind = if self.layout.formats.len() > 1 { format.extension() } else { "" };
            let kind = if kind.is_empty() { String::new() } else { format!(" [{kind}]") };
            if self.headed { format!("==> {}{kind} <==\n{text}", legible(entry.url)) } else { text }
        });
        texts.collect::<Vec<_>>().join("\n").into_bytes()
    }
}

fn json(entry: &Entry<'_>) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(entry).map_err(io::Error::from)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use valet_client::{FileFailure, TaskId, Transcript};

    use super::*;
    use crate::output::Look;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn transcript(text: &str) -> Transcript {
        serde_json::from_value(json!({ "transcripts": [{ "text": text }], "newer": 1 })).unwrap()
    }

    /// What is written if the entries come in this order.
    fn written(formats: &[Format], count: usize, entries: &[(usize, Entry<'_>)]) -> String {
        let shared = Shared::default();
        let layout = Layout { formats: formats.to_vec(), out: None, look: Look::default() };
        let mut output = Stdout::to(Box::new(shared.clone()), layout, count);
        let out: Vec<usize> =
            entries.iter().flat_map(|(place, entry)| output.put(*place, entry).unwrap()).collect();
        assert_eq!(out, (0..entries.len()).collect::<Vec<_>>());
        output.end().unwrap();
        String::from_utf8(shared.0.lock().unwrap().clone()).unwrap()
    }

    fn said<'e>(url: &'e str, transcript: &'e Transcript) -> Entry<'e> {
        Entry { url, task_id: None, outcome: Outcome::Transcript(transcript) }
    }

    fn failed_entry(url: &str) -> Entry<'_> {
        let failure = FileFailure::Failed { code: "DECODE_ERROR".into(), message: "no audio".into() };
        Entry { url, task_id: None, outcome: (&failure).into() }
    }

    #[test]
    fn one_text_stands_alone_and_several_are_headed_and_in_order() {
        let (hello, bye, nothing) = (transcript("Hello."), transcript("Bye."), Transcript::default());
        assert_eq!(written(&[Format::Txt], 1, &[(0, said("https://a", &hello))]), "Hello.\n");
        assert_eq!(written(&[Format::Txt], 1, &[(0, said("https://a", &nothing))]), "");
        let several = [
            (3, said("https://d", &bye)),
            (1, failed_entry("https://b")),
            (0, said("https://a", &hello)),
            (2, said("https://c", &nothing)),
        ];
        assert_eq!(
            written(&[Format::Txt], 4, &several),
            "==> https://a <==\nHello.\n\n==> https://c <==\n\n==> https://d <==\nBye.\n"
        );
    }

    #[test]
    fn several_formats_are_headed_too() {
        let hello = transcript("Hello.");
        let text = written(&[Format::Txt, Format::Json], 1, &[(0, said("https://a", &hello))]);
        assert!(text.starts_with("==> https://a [txt] <==\nHello.\n\n==> https://a [json] <==\n{"), "{text}");
    }

    #[test]
    fn json_is_one_array_with_the_transcript_or_the_failure_of_each_recording() {
        let (hello, task) = (transcript("Hello."), TaskId::from("t-1"));
        let entries = [
            (1, failed_entry("https://b")),
            (0, Entry { task_id: Some(&task), ..said("https://a", &hello) }),
        ];
        let text = written(&[Format::Json], 2, &entries);
        assert!(text.lines().count() == 3 && text.contains("}\n,{") && text.ends_with("}\n]\n"), "{text}");
        let array: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&array[0]["url"], &array[0]["task_id"]), (&json!("https://a"), &json!("t-1")));
        assert_eq!(array[0]["transcript"]["transcripts"][0]["text"], "Hello.");
        assert_eq!(array[0]["transcript"]["newer"], 1, "what is unknown is kept");
        let failure = json!({ "code": "DECODE_ERROR", "message": "no audio" });
        assert_eq!(array[1], json!({ "url": "https://b", "failure": failure }));
        assert_eq!(written(&[Format::Json], 0, &[]), "[]\n");
    }
}
