//! The loop against the real service.

use std::{error::Error, sync::Arc};

use valet_client::{AppCredential, Client, FileTranscription, TranscriptionRequest};
use valet_clock::{Clock, SystemClock};
use valet_server::{
    broker::Broker,
    config::{Config, Environment},
    lifecycle::Shutdown,
    secret::AppSecret,
};

use crate::show::{self, Progress};

const KEY_VARIABLE: &str = "DASHSCOPE_API_KEY";

/// What is said in the samples, as far as every model writes it alike.
const SAID: &str = "阿里巴巴语音实验室";

/// The samples that the vendor's own examples use (*Fun-ASR recording, Python SDK*).
const SAMPLES: [&str; 2] = [
    "https://dashscope.oss-cn-beijing.aliyuncs.com/samples/audio/paraformer/hello_world_female2.wav",
    "https://dashscope.oss-cn-beijing.aliyuncs.com/samples/audio/paraformer/hello_world_male2.wav",
];

/// Whether every file was transcribed, and the samples as they should be.
pub(crate) async fn run(base_url: &str, urls: Vec<String>) -> Result<bool, Box<dyn Error>> {
    let began = SystemClock.now();
    let process = Environment::of_process();
    let Some(key) = process.get(KEY_VARIABLE) else {
        return Err(format!("--live needs an API key: export {KEY_VARIABLE}=sk-…").into());
    };
    let environment: Environment = [(KEY_VARIABLE, key)].into_iter().collect();
    let secret = AppSecret::generate();
    let config = format!(
        "listen = \"127.0.0.1:0\"\nmetrics_listen = \"127.0.0.1:0\"\n[audit]\npath = \"/dev/null\"\n\
         [upstreams.live]\nbase_url = {base_url:?}\nkeys = [{{ env = \"{KEY_VARIABLE}\" }}]\n\
         [apps.demo]\nmode = \"direct\"\nsecrets = [\"{}\"]\n",
        secret.hash()
    );
    let broker = Broker::bind(Config::read(&config, &environment)?, Arc::new(SystemClock)).await?;
    let broker_url = format!("http://{}", broker.local_addr());
    let metrics_url = broker.metrics_addr().map(|address| format!("http://{address}/metrics"));
    let shutdown = Shutdown::default();
    let running = tokio::spawn(broker.run(shutdown.clone()));
    println!("Valet on this machine, with the real service.\n");
    show::line("service", base_url);
    show::line("broker", &broker_url);

    let credential = AppCredential::new("demo", secret.expose());
    let client = Client::builder().broker(&broker_url, credential)?.build()?;
    let samples = urls.is_empty();
    let urls = if samples { SAMPLES.map(str::to_owned).to_vec() } else { urls };
    let request = TranscriptionRequest::new(urls);
    let (progress, mut polls) = (Progress::new(), 0);
    let task = client.submit(&request).await?;
    show::line("task", task.id());
    let wait = client.wait(task.id()).on_progress(|task| {
        polls += 1;
        progress.looked("task", task);
    });
    let task = wait.await?;
    progress.finish();
    println!();
    let transcription = client.collect(task, request.urls()).await?;
    let mut as_expected = true;
    for file in transcription.files() {
        let name = file.url().rsplit('/').next().unwrap_or_default();
        let difference = difference(file, samples);
        as_expected &= difference.is_none();
        show::file(name, file, difference.as_deref());
    }
    let page = match metrics_url {
        Some(url) => reqwest::get(url).await?.text().await?,
        None => String::new(),
    };
    shutdown.advance();
    running.await??;
    let minted = counter(&page, "valet_mints_total", "outcome=\"ok\"");
    let issued = counter(&page, "valet_decisions_total", "outcome=\"issued\"");
    show::summary(minted, issued, polls, SystemClock.now().duration_since(began));
    show::verdict(as_expected);
    Ok(as_expected)
}

/// How a file differs from what is expected; of a URL that the caller gave, only a transcript is.
fn difference(file: &FileTranscription, sample: bool) -> Option<String> {
    match file.transcript() {
        Err(_) => Some("it should have been transcribed".into()),
        Ok(transcript) if sample && !transcript.text().contains(SAID) => {
            Some(format!("the text should contain {SAID:?}"))
        }
        Ok(_) => None,
    }
}

/// The sum of a counter on a page of metrics, over the lines with a label.
fn counter(page: &str, name: &str, label: &str) -> u64 {
    let lines = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
