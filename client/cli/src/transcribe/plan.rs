//! From what a journal says of the sources to what is to be done with them. Pure.

use std::collections::BTreeMap;

use valet_client::TaskId;

use crate::{
    journal::{Standing, State},
    source::Source,
};

/// What a run does, for sources known by their places.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// One task each, in the order of their first sources.
    pub(super) groups: Vec<Group>,
    /// Of these the journal tells what came of them.
    pub(super) over: Vec<(usize, Over)>,
}

/// Sources that one task is for.
#[derive(Debug, PartialEq)]
pub(super) enum Group {
    /// To be submitted.
    New(Vec<usize>),
    /// To be looked for: it may have been submitted as this intent.
    Open(u64, Vec<usize>),
    /// To be waited for: it was submitted as this intent.
    Submitted(u64, Vec<usize>),
}

/// Why there is no transcript, and none to be had.
#[derive(Debug, PartialEq)]
pub(super) enum Over {
    Failed { code: String, message: String },
    Lost(TaskId),
}

impl Group {
    pub(super) fn places(&self) -> &[usize] {
        match self {
            Self::New(places) | Self::Open(_, places) | Self::Submitted(_, places) => places,
        }
    }
}

impl Plan {
    /// A plan for those of the sources that are not done. Local files are tasks of their own.
    pub(super) fn new(state: &State, sources: &[Source], max_urls: usize) -> Self {
        let mut plan = Self::default();
        let (mut open, mut submitted) =
            (BTreeMap::<u64, Vec<usize>>::new(), BTreeMap::<u64, Vec<usize>>::new());
        let mut new = Vec::new();
        for (place, source) in sources.iter().enumerate() {
            match state.of(source.key()).map(|known| &known.standing) {
                Some(Standing::Open(intent)) => open.entry(*intent).or_default().push(place),
                Some(Standing::Submitted(intent)) => submitted.entry(*intent).or_default().push(place),
                Some(Standing::Failed { code, message }) => {
                    let (code, message) = (code.clone(), message.clone());
                    plan.over.push((place, Over::Failed { code, message }));
                }
                Some(Standing::Lost(task)) => plan.over.push((place, Over::Lost(task.clone()))),
                Some(Standing::New) | None => new.push(place),
            }
        }
        let (local, remote): (Vec<_>, Vec<_>) =
            new.into_iter().partition(|&place| sources[place].path().is_some());
        plan.groups.extend(remote.chunks(max_urls).map(|places| Group::New(places.to_vec())));
        plan.groups.extend(local.into_iter().map(|place| Group::New(vec![place])));
        plan.groups.extend(open.into_iter().map(|(intent, places)| Group::Open(intent, places)));
        plan.groups.extend(submitted.into_iter().map(|(intent, places)| Group::Submitted(intent, places)));
        plan.groups.sort_by_key(|group| group.places().first().copied());
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(count: usize) -> Vec<Source> {
        (0..count).map(|number| Source::from_key(format!("https://example.com/{number}"))).collect()
    }

    #[test]
    fn more_sources_than_a_task_takes_are_split_in_order() {
        let plan = Plan::new(&State::default(), &sources(250), 100);
        assert_eq!(plan.groups.iter().map(|group| group.places().len()).collect::<Vec<_>>(), [100, 100, 50]);
        let places: Vec<usize> = plan.groups.iter().flat_map(|group| group.places().to_vec()).collect();
        assert_eq!(places, (0..250).collect::<Vec<_>>());
    }

    #[test]
    fn a_local_file_is_a_task_of_its_own() {
        let mut sources = sources(3);
        sources[1] = Source::from_key("file:///a.wav#1.1".into());
        let plan = Plan::new(&State::default(), &sources, 100);
        assert_eq!(plan.groups, [Group::New(vec![0, 2]), Group::New(vec![1])]);
    }
}
