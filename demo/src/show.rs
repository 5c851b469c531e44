//! What the demo prints.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use valet_client::{FileTranscription, Status, Task};

/// A labelled line.
pub(crate) fn line(label: &str, text: impl std::fmt::Display) {
    println!("{label:>9}  {text}");
}

/// Shows how far tasks are: a spinner on a terminal, else a line for each change.
pub(crate) struct Progress {
    spinner: ProgressBar,
    seen: Mutex<HashMap<String, Status>>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let spinner = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("           {spinner} {msg} ({elapsed})");
        spinner.set_style(style.expect("the template is well formed"));
        spinner.enable_steady_tick(Duration::from_millis(100));
        Self { spinner, seen: Mutex::default() }
    }

    /// A task was looked at.
    pub(crate) fn looked(&self, name: &str, task: &Task) {
        let mut seen = self.seen.lock().expect("nothing panics while it holds this");
        let status = task.status().clone();
        if seen.insert(name.to_owned(), status.clone()).as_ref() == Some(&status) {
            return;
        }
        let text = format!("{name}: {}", status.as_str().to_lowercase());
        if self.spinner.is_hidden() {
            line("", text);
        } else {
            let mut all: Vec<_> =
                seen.iter().map(|(name, s)| format!("{name}: {}", s.as_str().to_lowercase())).collect();
            all.sort();
            self.spinner.set_message(all.join("   "));
        }
    }

    pub(crate) fn finish(&self) {
        self.spinner.finish_and_clear();
    }
}

/// The transcript of a file, or why there is none.
pub(crate) fn file(name: &str, file: &FileTranscription, difference: Option<&str>) {
    let mark = if difference.is_none() { "✓" } else { "✗" };
    match file.transcript() {
        Ok(transcript) if transcript.is_empty() => println!("  {mark} {name:<13} (no speech)"),
        Ok(transcript) => {
            let channels = &transcript.channels;
            for channel in channels {
                let which =
                    if channels.len() > 1 { format!("[{}] ", channel.channel_id) } else { String::new() };
                println!("  {mark} {name:<13} {which}{}", channel.text);
            }
        }
        Err(failure) => println!("  {mark} {name:<13} {failure}"),
    }
    if let Some(difference) = difference {
        println!("      not as expected: {difference}");
    }
}

/// What it took.
pub(crate) fn summary(minted: u64, issued: u64, polls: u64, took: Duration) {
    println!(
        "\n{} minted upstream, {} issued by the broker, {}, {:.1} s.",
        counted(minted, "token"),
        counted(issued, "token"),
        counted(polls, "poll"),
        took.as_secs_f64()
    );
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The last line.
pub(crate) fn verdict(as_expected: bool) {
    let verdict = if as_expected { "Every" } else { "Not every" };
    println!("{verdict} outcome is the expected one.");
}
