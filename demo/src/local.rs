//! The loop on this machine, from the sandbox to the transcripts.

use std::{collections::BTreeMap, error::Error, path::Path};

use futures_util::future::try_join_all;
use tempfile::TempDir;
use valet_client::{Client, FileTranscription, TranscriptionRequest};
use valet_clock::{Clock, SystemClock};
use valet_demo::{
    APP, Stack, StackSettings,
    expected::{self, Expected},
    recordings::Recordings,
};
use valet_sandbox::Operation;

use crate::show::{self, Progress};

/// Whether every outcome is the expected one.
pub(crate) async fn run(folder: &Path, serve: bool) -> Result<bool, Box<dyn Error>> {
    let began = SystemClock.now();
    let expected = expected::read(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let recordings = Recordings::serve(folder).await?;
    let state = TempDir::new()?;
    let playground = serve.then(|| state.path().to_owned());
    // Two apps, on one account that is nobody's.
    let upstream = if serve { "shared_account = \"visible-to-all\"" } else { "" };
    let stack =
        Stack::start(StackSettings { playground, upstream: upstream.into(), ..StackSettings::default() })
            .await?;
    let sandbox = stack.sandbox.clone();
    println!("Valet on this machine, with the sandbox in DashScope's place.\n");
    show::line("sandbox", &stack.sandbox_url);
    show::line("broker", &stack.broker_url);
    show::line("app", format!("{APP}, registered with a new secret"));

    let client = stack.client();
    let token = client.token().await?;
    let life = token.life().unwrap_or_default().as_secs();
    show::line("token", format!("{}… lives {life} s, works at {}", &token.expose()[..6], token.base_url()));
    let files = transcribe(&client, &recordings, &expected).await?;
    println!();
    let as_expected = compare(&recordings, &expected, &files);

    if serve {
        keep_up(stack, &recordings).await?;
        return Ok(as_expected);
    }
    let remains = stack.stop().await?;
    let (minted, polls) = (sandbox.count(Operation::Mint), sandbox.count(Operation::Query));
    show::summary(minted, remains.issued() as u64, polls, SystemClock.now().duration_since(began));
    show::verdict(as_expected);
    Ok(as_expected)
}

/// Two tasks at a time: the recordings of one speaker, and those with a speaker on each channel.
async fn transcribe(
    client: &Client,
    recordings: &Recordings,
    expected: &BTreeMap<String, Expected>,
) -> Result<Vec<FileTranscription>, Box<dyn Error>> {
    let (many, one): (Vec<_>, Vec<_>) = expected.iter().partition(|(_, expected)| expected.texts.len() > 1);
    let urls =
        |part: &[(&String, &Expected)]| part.iter().map(|(name, _)| recordings.url(name)).collect::<Vec<_>>();
    let requests = [
        ("one channel", TranscriptionRequest::new(urls(&one))),
        ("two channels", TranscriptionRequest::new(urls(&many)).channels([0, 1])),
    ];
    let progress = Progress::new();
    let transcriptions = try_join_all(requests.iter().map(async |(name, request)| {
        let task = client.submit(request).await?;
        progress.looked(name, &task);
        let task = client.wait(task.id()).on_progress(|task| progress.looked(name, task)).await?;
        client.collect(task, request.urls()).await
    }))
    .await?;
    progress.finish();
    Ok(transcriptions.iter().flat_map(|transcription| transcription.files().to_vec()).collect())
}

/// Prints every outcome beside what was expected of it.
fn compare(
    recordings: &Recordings,
    expected: &BTreeMap<String, Expected>,
    files: &[FileTranscription],
) -> bool {
    let mut as_expected = true;
    for (name, expected) in expected {
        let url = recordings.url(name);
        let Some(file) = files.iter().find(|file| file.url() == url) else {
            println!("  ✗ {name:<13} is missing");
            as_expected = false;
            continue;
        };
        let difference = expected.difference(file);
        as_expected &= difference.is_none();
        show::file(name, file, difference.as_deref());
    }
    as_expected
}

/// Keeps everything running until Ctrl-C, and says what to try.
async fn keep_up(stack: Stack, recordings: &Recordings) -> Result<(), Box<dyn Error>> {
    let (broker, secret) = (&stack.broker_url, stack.secret.expose());
    println!("\nEverything keeps running until Ctrl-C. In another terminal, try:\n");
    println!("  curl -X POST -u {APP}:{secret} {broker}/v1/tokens");
    println!(
        "  curl -X POST -H 'Authorization: Bearer {secret}' '{broker}/api/v1/tokens?expire_in_seconds=60'"
    );
    println!("  curl http://{}/metrics", stack.metrics_addr);
    println!("\n  export VALET_URL={broker} VALET_APP={APP} VALET_SECRET={secret}");
    println!("  cargo run -p valet-cli -- token");
    println!("  cargo run -p valet-cli -- transcribe {}", recordings.url("market.wav"));
    println!("\nIn a browser, open the playground, and give it {}:\n", recordings.url("train.mp3"));
    println!("  {broker}/playground/");
    tokio::signal::ctrl_c().await?;
    stack.stop().await?;
    Ok(())
}
