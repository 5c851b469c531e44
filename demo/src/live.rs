//! The loop against the real service.

use std::{error::Error, sync::Arc};

use valet_client::{AppCredential, Client, TranscriptionRequest};
use valet_clock::SystemClock;
use valet_server::{
    broker::Broker,
    config::{Config, Environment},
    lifecycle::Shutdown,
    secret::AppSecret,
};

use crate::show::{self, Progress};

const KEY_VARIABLE: &str = "DASHSCOPE_API_KEY";

/// The samples that the vendor's own examples use (*Fun-ASR recording, Python SDK*).
const SAMPLES: [&str; 2] = [
    "https://dashscope.oss-cn-beijing.aliyuncs.com/samples/audio/paraformer/hello_world_female2.wav",
    "https://dashscope.oss-cn-beijing.aliyuncs.com/samples/audio/paraformer/hello_world_male2.wav",
];

/// Whether every file was transcribed.
pub(crate) async fn run(base_url: &str, urls: Vec<String>) -> Result<bool, Box<dyn Error>> {
    let process = Environment::of_process();
    let Some(key) = process.get(KEY_VARIABLE) else {
        return Err(format!("--live needs an API key: export {KEY_VARIABLE}=sk-…").into());
    };
    let environment: Environment = [(KEY_VARIABLE, key)].into_iter().collect();
    let secret = AppSecret::generate();
    let config = format!(
        "listen = \"127.0.0.1:0\"\n[audit]\npath = \"/dev/null\"\n\
         [upstreams.live]\nbase_url = {base_url:?}\nkeys = [{{ env = \"{KEY_VARIABLE}\" }}]\n\
         [apps.demo]\nmode = \"direct\"\nsecrets = [\"{}\"]\n",
        secret.hash()
    );
    let broker = Broker::bind(Config::read(&config, &environment)?, Arc::new(SystemClock)).await?;
    let broker_url = format!("http://{}", broker.local_addr());
    let shutdown = Shutdown::default();
    let running = tokio::spawn(broker.run(shutdown.clone()));
    println!("Valet on this machine, with the real service.\n");
    show::line("service", base_url);
    show::line("broker", &broker_url);

    let credential = AppCredential::new("demo", secret.expose());
    let client = Client::builder().broker(&broker_url, credential)?.build()?;
    let urls = if urls.is_empty() { SAMPLES.map(str::to_owned).to_vec() } else { urls };
    let request = TranscriptionRequest::new(urls);
    let progress = Progress::new();
    let task = client.submit(&request).await?;
    show::line("task", task.id());
    let task = client.wait(task.id()).on_progress(|task| progress.looked("task", task)).await?;
    progress.finish();
    println!();
    let transcription = client.collect(task, request.urls()).await?;
    for file in transcription.files() {
        let name = file.url().rsplit('/').next().unwrap_or_default();
        let failed = file.transcript().is_err().then_some("it should have been transcribed");
        show::file(name, file, failed);
    }
    shutdown.advance();
    running.await??;
    Ok(transcription.files().iter().all(|file| file.transcript().is_ok()))
}
