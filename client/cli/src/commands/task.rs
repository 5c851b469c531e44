//! `valet task ID`: how far a task is, and its transcripts once it has ended.

use std::collections::HashSet;

use futures_util::StreamExt;
use jiff::Timestamp;
use valet_client::{
    Client, Status, Task, TaskId,
    task::{Subtask, TimeStamp},
};

use crate::{
    arguments::TaskArguments,
    exit::{Exit, Failure},
    output::{Entry, Outcome, Output},
    printer::{Sink, legible},
    progress::Progress,
    source::Source,
    transcribe::{self, tally::Tally},
};

pub(crate) async fn run(
    client: &Client,
    arguments: &TaskArguments,
    progress: &Progress,
) -> Result<Exit, Failure> {
    let id = TaskId::from(arguments.id.as_str());
    let task = if arguments.wait {
        progress.begun(&id, 0);
        let mut wait = client.wait(&id).on_progress(|task| progress.looked(task));
        wait = wait.on_trouble(|error| progress.trouble(error));
        if let Some(limit) = arguments.deadline {
            wait = wait.deadline(limit);
        }
        wait.await?
    } else {
        client.fetch(&id).await?
    };
    if arguments.transcripts {
        return transcripts(client, &task, arguments, progress).await;
    }
    progress.aside(|| {
        Sink::stdout().write(|to| {
            if !arguments.json {
                return to.write_all(told(&task).as_bytes());
            }
            serde_json::to_writer_pretty(&mut *to, &task)?;
            writeln!(to)
        })
    })?;
    if *task.status() == Status::Unknown {
        let advice =
            "check the id and the account; a task is known for 24 hours, and at a relay to its own app alone";
        progress.error(&format!("task {id} is not known: {advice}"));
    }
    Ok(exit(&task))
}

async fn transcripts(
    client: &Client,
    task: &Task,
    arguments: &TaskArguments,
    progress: &Progress,
) -> Result<Exit, Failure> {
    let urls: Vec<String> = task.results().iter().map(|subtask| subtask.file_url.clone()).collect();
    let sources: Vec<Source> = urls.iter().map(|url| Source::from_key(url.clone())).collect();
    let layout = transcribe::layout(&arguments.output)?;
    let files = transcribe::new_files(&sources, &layout, arguments.output.name.as_ref());
    let mut results = client.results(task, &urls)?;
    let mut output = Output::open(&layout, files, HashSet::new())?;
    let mut tally = Tally::default();
    while let Some(file) = results.next().await {
        let (place, url) = (file.index(), file.url());
        let outcome = match file.transcript() {
            Ok(transcript) => Outcome::Transcript(transcript),
            Err(failure) => Outcome::from(failure),
        };
        match &outcome {
            Outcome::Transcript(_) => tally.transcript(),
            Outcome::Failure { code, message } => {
                tally.failed();
                progress.failed(&sources[place], code, message);
            }
        }
        let entry = Entry { url, task_id: Some(task.id()), outcome };
        for place in progress.aside(|| output.put(place, &entry))? {
            progress.written(&sources[place], output.files(place));
        }
    }
    output.end()?;
    progress.settled(task.id());
    Ok(tally.exit())
}

/// The task in words, a line for each recording.
fn told(task: &Task) -> String {
    let (id, output) = (task.id(), &task.output);
    let mut lines = vec![format!("task      {id}"), format!("status    {}", task.status())];
    let times =
        [("submitted", &output.submit_time), ("begun", &output.scheduled_time), ("ended", &output.end_time)];
    lines.extend(times.iter().filter_map(|(what, time)| Some(format!("{what:<9} {}", when(time.as_ref()?)))));
    lines.extend(task.usage.iter().map(|usage| format!("billed    {} s", usage.duration)));
    lines.extend(reason(output.code.as_ref(), output.message.as_ref()).map(|why| format!("reason    {why}")));
    lines.extend(task.results().iter().map(|subtask| {
        let line = format!("{:<9} {}", subtask.subtask_status.as_str(), subtask.file_url);
        let why = reason(subtask.code.as_ref(), subtask.message.as_ref());
        why.map_or(line.clone(), |why| format!("{line}: {why}"))
    }));
    lines.iter().map(|line| format!("{}\n", legible(line))).collect()
}

/// As `valet list` has it, and in the service's own words, which name no zone.
fn when(stamp: &TimeStamp) -> String {
    let at = stamp.time().and_then(|at| Timestamp::try_from(at).ok());
    let at = at.and_then(|at| Timestamp::from_second(at.as_second()).ok());
    at.map_or_else(|| stamp.to_string(), |at| format!("{at} (the service says {stamp}, without a zone)"))
}

fn reason(code: Option<&String>, message: Option<&String>) -> Option<String> {
    match (code, message) {
        (Some(code), Some(message)) => Some(format!("{message} ({code})")),
        (one, other) => one.or(other).cloned(),
    }
}

/// A task that goes on is no failure; one that is not known was perhaps misspelt.
fn exit(task: &Task) -> Exit {
    let failed = |subtask: &Subtask| subtask.subtask_status == Status::Failed && !subtask.has_no_speech();
    let some_failed = task.results().iter().any(failed);
    match task.status() {
        Status::Unknown => Exit::Refused,
        Status::Canceled => Exit::Failed,
        Status::Failed if task.results().is_empty() => Exit::Failed,
        _ if some_failed => Exit::Partial,
        _ => Exit::Done,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn task(output: &Value) -> Task {
        serde_json::from_value(json!({ "output": output, "usage": { "duration": 9 } })).unwrap()
    }

    #[test]
    fn a_task_is_told_with_its_recordings() {
        let task = task(&json!({
            "task_id": "t-1", "task_status": "SUCCEEDED", "end_time": "2024-09-12 15:11:40.903",
            "results": [
                { "file_url": "https://a", "transcription_url": "https://r", "subtask_status": "SUCCEEDED" },
                { "file_url": "https://b", "code": "DECODE_ERROR", "message": "no audio", "subtask_status": "FAILED" },
            ],
        }));
        let lines = "task      t-1\nstatus    SUCCEEDED\nended     2024-09-12T07:11:40Z (the service \
                     says 2024-09-12 15:11:40.903, without a zone)\nbilled    9 s\n\
                     SUCCEEDED https://a\nFAILED    https://b: no audio (DECODE_ERROR)\n";
        assert_eq!(told(&task), lines);
        assert_eq!(exit(&task), Exit::Partial);
    }

    #[test]
    fn the_exit_code_tells_the_end_of_a_task() {
        let ended = |status: &str| exit(&task(&json!({ "task_id": "t-1", "task_status": status })));
        for going_well in ["PENDING", "RUNNING", "SUSPENDED", "SUCCEEDED", "NEWER"] {
            assert_eq!(ended(going_well), Exit::Done, "{going_well}");
        }
        assert_eq!(ended("UNKNOWN"), Exit::Refused);
        assert_eq!((ended("FAILED"), ended("CANCELED")), (Exit::Failed, Exit::Failed));
    }
}
