//! How far a run is: a bar on a terminal, plain lines elsewhere, events for programs, or nothing.

mod board;
mod event;

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use valet_client::{Error, FileFailure, Task, TaskId};

use self::{board::Board, event::Event};
use crate::{
    exit::Exit,
    journal::Intent,
    printer::{self, legible},
    source::Source,
};

/// Shows how far a run is. Clones show the same.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Inner>);

struct Inner {
    shown: Shown,
    board: Mutex<Board>,
}

enum Shown {
    Bar(ProgressBar),
    /// The line that was shown last.
    Lines(Mutex<String>),
    Events,
    Nothing,
}

impl Progress {
    pub(crate) fn new(quiet: bool, json: bool) -> Self {
        // A terminal that cannot go back on what it shows, as with TERM=dumb, has no place for a bar.
        let bar = io::stderr().is_terminal().then(bar).filter(|bar| !bar.is_hidden());
        let shown = match bar {
            _ if quiet => Shown::Nothing,
            _ if json => Shown::Events,
            Some(bar) => Shown::Bar(bar),
            None => Shown::Lines(Mutex::default()),
        };
        Self(Arc::new(Inner { shown, board: Mutex::default() }))
    }

    /// A run of so many recordings begins.
    pub(crate) fn planned(&self, recordings: usize) {
        self.tell(&Event::Run { recordings });
        self.board().planned(recordings);
        if let Shown::Bar(bar) = &self.0.shown {
            bar.set_message("submitting");
            bar.enable_steady_tick(Duration::from_millis(100));
        }
    }

    /// What is told of the upload of a local file: bytes sent, and bytes in all.
    pub(crate) fn upload(&self, source: &Source) -> impl Fn(u64, u64) + Send + Sync + use<> {
        let (progress, name, told) = (self.clone(), source.to_string(), AtomicU64::new(u64::MAX));
        move |sent, size| {
            let percent = (sent * 100).checked_div(size).unwrap_or(100);
            if told.swap(percent, Ordering::Relaxed) == percent {
                return;
            }
            progress.tell(&Event::Upload { recording: &name, sent, size });
            if let Shown::Bar(bar) = &progress.0.shown {
                bar.set_message(format!("uploading {}: {percent} %", legible(&name)));
            }
        }
    }

    /// The task of an intent is looked for.
    pub(crate) fn looking_for(&self, intent: &Intent) {
        let recordings = intent.sources.len();
        self.tell(&Event::Looking { recordings });
        self.line(format!(
            "looking for a task of {} that may have been submitted",
            printer::count(recordings, "recording")
        ));
    }

    /// A task of so many recordings is waited for.
    pub(crate) fn begun(&self, id: &TaskId, recordings: usize) {
        self.tell(&Event::Waiting { task: id, recordings });
        self.board().begun(id, recordings);
        self.show();
    }

    /// A task was looked at.
    pub(crate) fn looked(&self, task: &Task) {
        let (done, recordings) = self.board().note(task);
        self.tell(&Event::Status { task: task.id(), status: task.status().as_str(), done, recordings });
        self.show();
    }

    /// A look at a task failed, and is made again. Told once none of several has come to anything: one that fails
    /// now and then is nobody's business.
    pub(crate) fn trouble(&self, error: &Error) {
        if self.board().fails() {
            self.note(&format!(
                "nothing is heard of the tasks: {error}\n  They go on, and are looked at again until that works; an \
                 interrupt leaves them to another run."
            ));
        }
    }

    /// Submits are throttled, and tried again.
    pub(crate) fn slowed(&self) {
        self.line("the service asks for fewer requests: what is not submitted yet waits".to_owned());
    }

    /// A transcript was written.
    pub(crate) fn written(&self, source: &Source, files: &[PathBuf]) {
        self.tell(&Event::Written { recording: &source.to_string(), files });
    }

    /// A recording has no transcript.
    pub(crate) fn failed(&self, source: &Source, code: &str, message: &str) {
        let recording = &source.to_string();
        let failure = FileFailure::Failed { code: code.to_owned(), message: message.to_owned() };
        let remedy = failure.remedy();
        if let Shown::Events = self.0.shown {
            return self.tell(&Event::Failed { recording, code, message, remedy });
        }
        let message = if message.is_empty() { "the service gave no reason" } else { message };
        let code = if message.contains(code) { String::new() } else { format!(" ({code})") };
        let remedy = remedy.map(|remedy| format!("\n  {remedy}")).unwrap_or_default();
        self.error(&format!("{recording}: {message}{code}{remedy}"));
    }

    /// Runs `print` while nothing else is on the terminal.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.0.shown {
            Shown::Bar(bar) => bar.suspend(print),
            Shown::Lines(_) | Shown::Events | Shown::Nothing => print(),
        }
    }

    /// Something worth knowing.
    pub(crate) fn note(&self, message: &str) {
        self.tell(&Event::Note { message });
        match self.0.shown {
            Shown::Bar(_) | Shown::Lines(_) => self.aside(|| printer::tell(message)),
            Shown::Events | Shown::Nothing => {}
        }
    }

    /// An error, shown even when progress is not.
    pub(crate) fn error(&self, message: &str) {
        match self.0.shown {
            Shown::Events => self.tell(&Event::Error { message }),
            _ => self.aside(|| printer::tell(&format!("error: {message}"))),
        }
    }

    /// The command ends: takes the bar away.
    pub(crate) fn end(&self, exit: Exit) {
        self.tell(&Event::End { exit_code: exit as u8 });
        if let Shown::Bar(bar) = &self.0.shown {
            bar.finish_and_clear();
        }
    }

    /// What came of a task was written or told.
    pub(crate) fn settled(&self, id: &TaskId) {
        self.board().settled(id);
    }

    /// The tasks of which nobody was told what came of them.
    pub(crate) fn unsettled(&self) -> Vec<TaskId> {
        self.board().unsettled()
    }

    fn tell(&self, event: &Event<'_>) {
        if let (Shown::Events, Ok(line)) = (&self.0.shown, serde_json::to_string(event)) {
            printer::tell(&line);
        }
    }

    fn show(&self) {
        let (summary, done, recordings) = {
            let board = self.board();
            let (done, recordings) = board.counts();
            (board.summary(), done, recordings)
        };
        if let Shown::Bar(bar) = &self.0.shown {
            bar.set_length(recordings as u64);
            bar.set_position(done as u64);
        }
        self.line(summary);
    }

    /// A line about how far things are, if it is a new one.
    fn line(&self, line: String) {
        match &self.0.shown {
            Shown::Bar(bar) => bar.set_message(line),
            Shown::Lines(last) => {
                let mut last = last.lock().expect("no code panics while it holds the line");
                if *last != line {
                    printer::tell(&line);
                    *last = line;
                }
            }
            Shown::Events | Shown::Nothing => {}
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock().expect("no code panics while it holds the board")
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {elapsed} [{bar:24}] {pos}/{len} {wide_msg}")
        .expect("the template is valid");
    ProgressBar::new(0).with_style(style.progress_chars("=> "))
}
