//! Counts what came of a run; the exit code follows.

use crate::exit::Exit;

/// What came of the recordings of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Those that have their transcript.
    pub(crate) transcripts: usize,
    /// Those that have none, and will have none.
    pub(crate) failed: usize,
    /// Those that were not done, or may be done yet.
    pub(crate) unsettled: usize,
    /// How the first of those that have none ended, if not by a fault of its own.
    pub(crate) first: Option<Exit>,
    /// Whether a decision is asked for.
    pub(crate) undecided: bool,
}

impl Tally {
    /// A transcript is there.
    pub(crate) fn transcript(&mut self) {
        self.transcripts += 1;
    }

    /// The service could not transcribe a recording.
    pub(crate) fn failed(&mut self) {
        self.failed += 1;
    }

    /// Nothing more is to be had of so many recordings, and they ended like this.
    pub(crate) fn over(&mut self, exit: Exit, count: usize) {
        self.failed += count;
        self.first.get_or_insert(exit);
    }

    /// So many recordings are left for another run, and ended like this.
    pub(crate) fn left(&mut self, exit: Exit, count: usize) {
        self.unsettled += count;
        self.first.get_or_insert(exit);
        self.undecided |= exit == Exit::Undecided;
    }

    /// The exit code: that of what kept recordings from being done only if none has a transcript.
    pub(crate) fn exit(&self) -> Exit {
        let missing = self.failed + self.unsettled;
        match self.first {
            _ if self.undecided => Exit::Undecided,
            _ if missing == 0 => Exit::Done,
            Some(exit) if self.transcripts == 0 => exit,
            _ => Exit::Partial,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_whether_all_some_or_nothing_was_done() {
        let mut tally = Tally::default();
        assert_eq!(tally.exit(), Exit::Done);
        tally.left(Exit::Credentials, 2);
        assert_eq!(tally.exit(), Exit::Credentials);
        tally.transcript();
        assert_eq!(tally.exit(), Exit::Partial);
        tally.left(Exit::Undecided, 1);
        assert_eq!(tally.exit(), Exit::Undecided);
        let mut failed = Tally::default();
        failed.failed();
        assert_eq!(failed.exit(), Exit::Partial);
    }
}
