//! Sums of what was used, by the operator's choice of groups.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::Path,
    time::Duration,
};

use jiff::civil::Date;

use super::{Entry, Intent, Unknown, Who, files};

/// What rows are of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grouping {
    /// An app.
    App,
    /// An app's subject.
    Subject,
    /// A day of UTC.
    Day,
    /// A model.
    Model,
}

/// What was used by one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Tasks that were submitted.
    pub submitted: u64,
    /// Of them, those that have ended.
    pub ended: u64,
    /// Of those, the ones that did not succeed.
    pub failed: u64,
    /// Submits of which nobody knows what became: there may be a task of each, and a bill.
    pub unknown: u64,
    /// Recordings of those that were submitted.
    pub urls: u64,
    /// Seconds of audio that the upstream bills.
    pub seconds: u64,
}

/// What was used, by group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The groups, in the order of their names.
    pub rows: BTreeMap<Vec<String>, Row>,
    /// Lines that could not be read.
    pub unread: usize,
}

impl Usage {
    /// Sums the tasks that were submitted on the days from one to another, as `YYYY-MM-DD`, as far as the folder
    /// of the broker's state has them.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn read(state: &Path, from: Date, to: Date, by: Grouping) -> io::Result<Self> {
        let folder = state.join("tasks");
        let mut usage = Self::default();
        // A task is known for a day: its end may be noticed early on the second day after.
        let after = to.tomorrow().and_then(Date::tomorrow).unwrap_or(to);
        let files = files::between(&folder, from, after)?;
        let (mut told, mut intents) = (HashSet::new(), HashMap::new());
        for path in files {
            let (entries, unread) = files::read(&path)?;
            usage.unread += unread;
            for entry in &entries {
                usage.add(entry, (from, to), by, &mut told);
                resolve(entry, &mut intents);
            }
        }
        // Sent, perhaps, by a broker that died.
        for (_, intent) in intents {
            usage.add(&Entry::Unknown(intent.into()), (from, to), by, &mut told);
        }
        Ok(usage)
    }

    fn add(&mut self, entry: &Entry, days: (Date, Date), by: Grouping, told: &mut HashSet<(u8, String)>) {
        let (time, who, model, name): (u64, &Who, _, _) = match entry {
            Entry::Submitted(of) => (of.time, &of.who, &of.model, (0, of.task.clone())),
            Entry::Ended(of) => (of.submitted, &of.who, &of.model, (1, of.task.clone())),
            Entry::Unknown(of) => (of.time, &of.who, &of.model, (2, format!("{}@{}", of.submit, of.time))),
            Entry::Intent(_) | Entry::Withdrawn { .. } => return,
        };
        let day = files::day(Duration::from_secs(time));
        // Two that follow the same task both tell of its end; and what was written anew may stand there twice.
        if !(days.0..=days.1).contains(&day) || !told.insert(name) {
            return;
        }
        let group = match by {
            Grouping::App => vec![who.app.clone()],
            Grouping::Subject => {
                let part = |part: &Option<String>| part.clone().unwrap_or_default();
                vec![who.app.clone(), part(&who.issuer), part(&who.subject)]
            }
            Grouping::Day => vec![day.to_string()],
            Grouping::Model => vec![model.clone()],
        };
        let row = self.rows.entry(group).or_default();
        match entry {
            Entry::Submitted(of) => {
                row.submitted += 1;
                row.urls += u64::from(of.urls);
            }
            Entry::Ended(of) => {
                row.ended += 1;
                row.failed += u64::from(of.status != "SUCCEEDED");
                row.seconds += of.seconds;
            }
            Entry::Unknown(_) => row.unknown += 1,
            Entry::Intent(_) | Entry::Withdrawn { .. } => {}
        }
    }
}

/// Keeps a submit in mind until it is told what became of it.
fn resolve(entry: &Entry, intents: &mut HashMap<String, Intent>) {
    let resolved = match entry {
        Entry::Intent(intent) => {
            intents.insert(intent.submit.clone(), intent.clone());
            None
        }
        Entry::Withdrawn { submit, .. } | Entry::Unknown(Unknown { submit, .. }) => Some(submit),
        Entry::Submitted(submitted) => submitted.submit.as_ref(),
        Entry::Ended(_) => None,
    };
    resolved.and_then(|submit| intents.remove(submit));
}
