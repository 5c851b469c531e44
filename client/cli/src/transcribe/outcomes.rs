//! What came of sources: put out, told, counted and journaled.

use std::path::PathBuf;

use valet_client::{FileFailure, FileTranscription, TaskId};

use super::{plan::Over, run::Run, tally::Tally};
use crate::{
    exit::{Exit, Failure},
    journal::Entry,
    output::{Entry as Said, Outcome},
    source::Source,
};

impl Run<'_> {
    /// Puts out what came of one source.
    pub(super) fn put_out(&self, place: usize, file: &FileTranscription) -> Result<(), Failure> {
        let outcome = match file.transcript() {
            Ok(transcript) => Outcome::Transcript(transcript),
            Err(failure) => Outcome::from(failure),
        };
        if let Outcome::Failure { code, message } = &outcome {
            if matches!(file.transcript(), Err(FileFailure::Download(_))) {
                // Paid for, and to be had later.
                self.count(|tally| tally.left(Exit::Failed, 1));
            } else {
                let (source, code, message) = (self.key(place), code.clone(), message.clone());
                self.note(Entry::Failed { source, code, message })?;
                self.count(Tally::failed);
            }
            self.progress.failed(&self.sources[place], code, message);
        }
        self.put(place, file.task_id(), outcome)
    }

    fn put(&self, place: usize, task_id: Option<&TaskId>, outcome: Outcome<'_>) -> Result<(), Failure> {
        if matches!(outcome, Outcome::Transcript(_)) {
            self.transcribed.borrow_mut()[place] = true;
            self.count(Tally::transcript);
        }
        let name = self.sources[place].to_string();
        let entry = Said { url: &name, task_id, outcome };
        let out = self.progress.aside(|| self.output.borrow_mut().put(place, &entry))?;
        for place in out.into_iter().filter(|&place| self.transcribed.borrow()[place]) {
            let files: Vec<PathBuf> = self.output.borrow().files(place).to_vec();
            self.progress.written(&self.sources[place], &files);
            self.note(Entry::Done { source: self.key(place), files, look: self.look.clone() })?;
        }
        Ok(())
    }

    /// Tells what the journal knows to be over.
    pub(super) fn tell_over(&self, place: usize, over: &Over) -> Result<(), Failure> {
        match over {
            Over::Lost(task) => self.give_up_on(&[place], &Failure::lost(task)),
            Over::Failed { code, message } => {
                self.count(Tally::failed);
                self.progress.failed(&self.sources[place], code, message);
                self.put(place, None, Outcome::Failure { code: code.clone(), message: message.clone() })
            }
        }
    }

    /// Nothing will come of these sources, in this run or when it is taken up.
    pub(super) fn give_up(&self, places: &[usize], failure: &Failure) -> Result<(), Failure> {
        for &place in places {
            let (code, message) = (failure.code.clone(), failure.message.clone());
            self.note(Entry::Failed { source: self.key(place), code, message })?;
        }
        self.give_up_on(places, failure)
    }

    pub(super) fn give_up_on(&self, places: &[usize], failure: &Failure) -> Result<(), Failure> {
        self.count(|tally| tally.over(failure.exit, places.len()));
        self.tell(places, failure)
    }

    /// These sources are left for another run.
    pub(super) fn leave(&self, places: &[usize], failure: &Failure) -> Result<(), Failure> {
        self.count(|tally| tally.left(failure.exit, places.len()));
        self.tell(places, failure)
    }

    fn tell(&self, places: &[usize], failure: &Failure) -> Result<(), Failure> {
        let names: Vec<&Source> = places.iter().map(|&place| &self.sources[place]).collect();
        self.progress.error(&format!("{}{failure}", concerning(&names)));
        places.iter().try_for_each(|&place| self.put(place, None, failure.into()))
    }

    fn count(&self, count: impl FnOnce(&mut Tally)) {
        let mut tally = self.tally.get();
        count(&mut tally);
        self.tally.set(tally);
    }
}

/// Which recordings a failure is about; its own words name the task.
fn concerning(sources: &[&Source]) -> String {
    match sources {
        [] => String::new(),
        [source] => format!("{source}: "),
        [first, .., last] => format!("{} recordings, {first} to {last}: ", sources.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_what_it_is_about() {
        let sources = ["https://a", "https://b", "https://c"].map(|url| Source::from_key(url.into()));
        let sources: Vec<&Source> = sources.iter().collect();
        assert_eq!(concerning(&sources), "3 recordings, https://a to https://c: ");
        assert_eq!(concerning(&sources[..1]), "https://a: ");
        assert_eq!(concerning(&[]), "");
    }
}
