//! What came of a run: each recording is written or its failure told, and the exit code follows.

use valet_client::{TaskId, Transcription};

use crate::{
    exit::{Exit, Failure},
    output::{Entry, Outcome, Output},
    progress::Progress,
};

/// What came of one task; `id` is there once it was submitted.
pub(crate) struct Run {
    pub(crate) id: Option<TaskId>,
    pub(crate) outcome: Result<Transcription, Failure>,
}

/// Counts what came of recordings and tasks.
#[derive(Default)]
pub(crate) struct Tally {
    transcripts: usize,
    failed_recordings: usize,
    /// How the first task that failed as a whole did.
    failed_task: Option<Exit>,
}

impl Tally {
    /// Writes the entries of a task's `urls`, and tells what failed.
    pub(crate) fn note(
        &mut self,
        progress: &Progress,
        output: &mut Output,
        urls: &[String],
        run: &Run,
    ) -> Result<(), Failure> {
        let task_id = run.id.as_ref();
        match &run.outcome {
            Ok(transcription) => {
                for file in transcription.files() {
                    let outcome = Outcome::from(file.transcript());
                    self.recording(progress, file.url(), &outcome);
                    progress.aside(|| output.write(&Entry { url: file.url(), task_id, outcome }))?;
                }
            }
            Err(failure) => {
                self.failed_task.get_or_insert(failure.exit);
                progress.error(&format!("{}{failure}", concerning(urls)));
                for url in urls {
                    progress.aside(|| output.write(&Entry { url, task_id, outcome: failure.into() }))?;
                }
            }
        }
        if let Some(id) = task_id {
            progress.settled(id);
        }
        Ok(())
    }

    fn recording(&mut self, progress: &Progress, url: &str, outcome: &Outcome<'_>) {
        match outcome {
            Outcome::Transcript(_) => self.transcripts += 1,
            Outcome::Failure { code, message } => {
                self.failed_recordings += 1;
                let message = if message.is_empty() { "the service gave no reason" } else { message };
                progress.error(&format!("{url}: {message} ({code})"));
            }
        }
    }

    /// The exit code: that of a task only if nothing else came of the run.
    pub(crate) fn exit(&self) -> Exit {
        match (self.failed_task, self.transcripts + self.failed_recordings) {
            (Some(exit), 0) => exit,
            (None, _) if self.failed_recordings == 0 => Exit::Done,
            _ => Exit::Partial,
        }
    }
}

/// Which recordings a failure is about; its own words name the task.
fn concerning(urls: &[String]) -> String {
    match urls {
        [] => String::new(),
        [url] => format!("{url}: "),
        [first, .., last] => format!("{} recordings, {first} to {last}: ", urls.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(transcripts: usize, failed_recordings: usize, failed_task: Option<Exit>) -> Exit {
        Tally { transcripts, failed_recordings, failed_task }.exit()
    }

    #[test]
    fn the_exit_code_says_whether_all_some_or_nothing_was_done() {
        assert_eq!(exit(3, 0, None), Exit::Done);
        assert_eq!(exit(2, 1, None), Exit::Partial);
        assert_eq!(exit(0, 3, None), Exit::Partial);
        assert_eq!(exit(100, 0, Some(Exit::Failed)), Exit::Partial);
        assert_eq!(exit(0, 0, Some(Exit::Credentials)), Exit::Credentials);
    }

    #[test]
    fn a_failure_names_what_it_is_about() {
        let urls: Vec<String> = ["https://a", "https://b", "https://c"].map(Into::into).into();
        assert_eq!(concerning(&urls), "3 recordings, https://a to https://c: ");
        assert_eq!(concerning(&urls[..1]), "https://a: ");
        assert_eq!(concerning(&[]), "");
    }
}
