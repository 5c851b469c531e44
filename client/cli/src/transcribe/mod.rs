//! `valet transcribe` and `valet resume`: any number of recordings, and what was paid for is not lost.

pub(crate) mod estimate;
mod files;
mod lookup;
mod outcomes;
mod plan;
mod request;
mod run;
pub(crate) mod tally;

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    path::PathBuf,
    time::Duration,
};

use valet_client::{Client, TranscriptionRequest};
use valet_clock::SharedClock;

use self::{plan::Plan, request::subject, run::Run, tally::Tally};
use crate::{
    arguments::{JournalArguments, OutputArguments, ResumeArguments, TranscribeArguments},
    exit::{Exit, Failure},
    journal::{self, Again, Entry, Journal, Planned, Subject},
    naming::Template,
    output::{Format, Layout, Output},
    places,
    progress::Progress,
    source::Source,
};

/// What to do about recordings that are done.
const DONE_ANEW: &str = "another --out has their transcripts written there for nothing, while the service has \
                         them (24 hours); --again has them done anew, and paid for anew";

/// What the commands that transcribe work with.
pub(crate) struct Context<'c> {
    pub(crate) client: &'c Client,
    /// The name of the broker and app, or of the service.
    pub(crate) service: String,
    pub(crate) clock: &'c SharedClock,
    pub(crate) progress: &'c Progress,
}

/// Transcribes sources, or goes on where an earlier run left off.
pub(crate) async fn transcribe(
    context: &Context<'_>,
    arguments: &TranscribeArguments,
    sources: &[Source],
) -> Result<Exit, Failure> {
    let subject = checked(context.service.clone(), arguments, sources)?;
    let layout = layout(&arguments.output)?;
    let path = journal_path(&arguments.journal, &subject)?;
    let mut journal = Journal::open(&path, &subject, context.clock)?;
    // One that was interrupted before it had done all of them again; that of other sources is no matter of ours.
    let named: HashSet<&str> = sources.iter().map(Source::key).collect();
    let is_of_these = |planned: &Planned| named.contains(planned.source.as_str());
    let goes_on =
        journal.state().unfinished().any(|run| run.again != Again::No && run.sources.iter().any(is_of_these));
    let again = match (goes_on, arguments.again) {
        (true, _) => Again::GoesOn,
        (false, true) => Again::Begins,
        (false, false) => Again::No,
    };
    let mut planned = files::set_apart(journal.state(), sources, &layout, arguments.output.name.as_ref());
    let all = planned.len();
    planned.retain(|planned| again == Again::Begins || !files::are_done(journal.state(), planned, &layout));
    if planned.len() < all {
        let done = all - planned.len();
        let done = match all {
            1 => "the recording is done already".to_owned(),
            _ if done == 1 => format!("1 of {all} recordings is done already"),
            _ => format!("{done} of {all} recordings are done already"),
        };
        context.progress.note(&format!("{done}; {DONE_ANEW}"));
    }
    if planned.is_empty() {
        return Ok(Exit::Done);
    }
    // A run that cannot be carried out is not begun.
    Output::try_out(&layout)?;
    let max_urls = request::max_urls(&arguments.parameters);
    let run = journal::Run { run: journal.state().next_run(), sources: planned, layout, max_urls, again };
    journal.note(Entry::Run(run.clone()))?;
    let manner = Manner {
        deadline: arguments.deadline,
        audio_length: arguments.audio_length,
        submit_again: arguments.journal.submit_again,
    };
    go_on(context, &RefCell::new(journal), &subject, run, manner).await
}

/// Takes up every run that was interrupted, or that of one journal.
pub(crate) async fn resume(context: &Context<'_>, arguments: &ResumeArguments) -> Result<Exit, Failure> {
    let named = arguments.journal.journal.clone();
    let paths = match &named {
        Some(path) => vec![path.clone()],
        None => {
            let folder = places::journals()?;
            journal::all(&folder).map_err(|error| Failure::files(format!("{}: {error}", folder.display())))?
        }
    };
    let manner = Manner {
        deadline: arguments.deadline,
        audio_length: None,
        submit_again: arguments.journal.submit_again,
    };
    let (mut exit, mut runs) = (Exit::Done, 0);
    for path in paths {
        let journal = match Journal::existing(&path, context.clock) {
            Ok(journal) => journal,
            Err(failure) if named.is_none() && failure.code == journal::LOCKED => continue,
            // What is wrong with one does not keep the others from being taken up.
            Err(failure) if named.is_none() => {
                context.progress.error(&failure.to_string());
                exit = failure.exit;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let Some(subject) = journal.state().subject.clone() else { continue };
        if subject.service != context.service {
            if named.is_some() {
                let problem =
                    format!("the journal is of {}, and this is {}", subject.service, context.service);
                return Err(Failure::usage(problem));
            }
            continue;
        }
        let unfinished: Vec<journal::Run> = journal.state().unfinished().cloned().collect();
        let journal = RefCell::new(journal);
        for run in unfinished {
            runs += 1;
            match go_on(context, &journal, &subject, run, manner).await {
                Ok(Exit::Done) => {}
                Ok(other) => exit = other,
                Err(failure) if failure.exit == Exit::Closed => return Err(failure),
                Err(failure) => {
                    context.progress.error(&failure.to_string());
                    exit = failure.exit;
                }
            }
        }
    }
    if runs == 0 && exit == Exit::Done {
        context.progress.note("nothing to take up: no run was interrupted");
    }
    Ok(exit)
}

/// Prints what would be submitted, and what it would cost.
pub(crate) fn dry_run(
    service: Option<String>,
    arguments: &TranscribeArguments,
    sources: &[Source],
    price: f64,
) -> Result<Exit, Failure> {
    let is_known = service.is_some();
    let subject = checked(service.unwrap_or_default(), arguments, sources)?;
    let state = match journal_path(&arguments.journal, &subject) {
        Ok(path) if is_known && !arguments.again => journal::glance(&path)?,
        _ => journal::State::default(),
    };
    let plan = Plan::new(&state, sources, request::max_urls(&arguments.parameters));
    estimate::tell_of(&subject, sources, &plan, arguments.audio_length, price)
}

/// How a run is carried out.
#[derive(Clone, Copy)]
struct Manner {
    deadline: Option<Duration>,
    audio_length: Option<Duration>,
    submit_again: bool,
}

/// Carries out a run of a journal, from where it is.
async fn go_on(
    context: &Context<'_>,
    journal: &RefCell<Journal>,
    subject: &Subject,
    run: journal::Run,
    manner: Manner,
) -> Result<Exit, Failure> {
    let (sources, files, there, plan) = {
        let journal = journal.borrow();
        let state = journal.state();
        let is_open = |planned: &Planned| !files::are_done(state, planned, &run.layout);
        let planned: Vec<Planned> = run.sources.into_iter().filter(is_open).collect();
        let sources: Vec<Source> =
            planned.iter().map(|planned| Source::from_key(planned.source.clone())).collect();
        let there = files::there(state, &planned, &run.layout, run.again);
        let plan = Plan::new(state, &sources, run.max_urls);
        let files: Vec<Vec<PathBuf>> = planned.into_iter().map(|planned| planned.files).collect();
        (sources, files, there, plan)
    };
    let output = Output::open(&run.layout, files, there)?;
    let Context { client, clock, progress, .. } = *context;
    let run = Run {
        client,
        clock,
        progress,
        subject,
        sources: &sources,
        journal,
        output: RefCell::new(output),
        tally: Cell::new(Tally::default()),
        transcribed: RefCell::new(vec![false; sources.len()]),
        look: run.layout.look,
        ends: manner.deadline.map(|limit| clock.now() + limit),
        audio_length: manner.audio_length,
        submit_again: manner.submit_again,
        number: run.run,
    };
    run.carry_out(plan).await
}

/// What all requests have in common; everything is checked before the first one costs money.
fn checked(service: String, arguments: &TranscribeArguments, sources: &[Source]) -> Result<Subject, Failure> {
    let subject = subject(service, &arguments.parameters)?;
    let urls = sources.iter().filter(|source| source.path().is_none());
    let urls: Vec<&str> = urls.map(Source::key).collect();
    if !urls.is_empty() {
        TranscriptionRequest::new(urls).max_urls(usize::MAX).check()?;
    }
    Ok(subject)
}

fn journal_path(arguments: &JournalArguments, subject: &Subject) -> Result<PathBuf, Failure> {
    match &arguments.journal {
        Some(path) => Ok(path.clone()),
        None => Ok(journal::default_path(&places::journals()?, subject)),
    }
}

/// Files for sources that no journal knows.
pub(crate) fn new_files(sources: &[Source], layout: &Layout, name: Option<&Template>) -> Vec<Vec<PathBuf>> {
    let planned = files::set_apart(&journal::State::default(), sources, layout, name);
    planned.into_iter().map(|planned| planned.files).collect()
}

/// What was said of the output, with its folder from the root on.
pub(crate) fn layout(said: &OutputArguments) -> Result<Layout, Failure> {
    let mut formats: Vec<Format> = Vec::new();
    for &format in &said.format {
        if !formats.contains(&format) {
            formats.push(format);
        }
    }
    if formats.is_empty() {
        formats.push(Format::Txt);
    }
    if formats.len() > 1 && said.name.as_ref().is_some_and(|name| !name.tells_formats_apart()) {
        return Err(Failure::usage("--name: must hold {ext}, since several formats are written"));
    }
    let out = said.out.as_ref().map(|out| {
        let out = std::path::absolute(out).map_err(|error| error.to_string());
        out.and_then(|out| if out.to_str().is_some() { Ok(out) } else { Err("must be UTF-8".into()) })
    });
    let out = out.transpose().map_err(|problem| Failure::usage(format!("--out: {problem}")))?;
    Ok(Layout { formats, out, look: said.look.clone() })
}
