//! Memory: what a cached token costs above a bare moka entry with the same key, at a million of them; and what an
//! idle broker takes.

mod held;
mod mint;

use std::{process::Stdio, time::Duration};

use clap::{Args, value_parser};
use tokio::{io::AsyncWriteExt, process::Command};
use valet_clock::{ClockExt, SystemClock};

use self::{held::Held, mint::Mint};
pub(crate) use self::{
    held::{Job, hold},
    mint::serve as serve_mint,
};
use crate::{
    Outcome, cores, printer,
    process::resident,
    server::{Broker, Upstream},
    steady,
    target::{Bound, Verdict},
};

/// How long a broker has idled when it is looked at.
const IDLE: Duration = Duration::from_secs(3);

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How many tokens are cached
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u32).range(10_000..=10_000_000))]
    tokens: u32,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let tokens = options.tokens;
    printer::line(&format!(
        "memory: an idle broker; then {tokens} bare moka entries, and as many cached tokens, each in a process of its own \
         on core 0, and an upstream that mints on core 1"
    ))?;
    let idle = idle().await?;
    printer::line(&format!("an idle broker: {idle} bytes resident"))?;
    let bare = filled(&Job { tokens, upstream: None }).await?;
    printer::line(&format!("bare moka: {:.1} bytes an entry", bare.each(tokens)))?;
    let mint = Mint::start().await?;
    let cached = filled(&Job { tokens, upstream: Some(mint.base_url()) }).await?;
    printer::line(&format!("the broker's cache: {:.1} bytes a token", cached.each(tokens)))?;
    printer::verdicts(&[
        Verdict {
            name: "memory, bytes of a cached token above bare moka".into(),
            measured: Some(cached.each(tokens) - bare.each(tokens)),
            bound: Bound::AtMost(300.0),
        },
        Verdict {
            name: "memory, MiB of an idle broker".into(),
            measured: Some(idle as f64 / f64::from(1 << 20)),
            bound: Bound::AtMost(20.0),
        },
    ])?;
    Ok(())
}

/// The resident memory of a broker that has handed out a token, and then has nothing to do.
async fn idle() -> Outcome<u64> {
    let upstream = Upstream::start().await?;
    let broker = Broker::start(&upstream).await?;
    steady::warm(&broker).await?;
    SystemClock.sleep(IDLE).await;
    let resident = resident(broker.endpoint.pid)?;
    broker.stop().await?;
    Ok(resident)
}

/// Has a process of its own do `job`.
async fn filled(job: &Job) -> Outcome<Held> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("hold").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut process = cores::on(cores::SERVER, || command.spawn())?;
    let mut input = process.stdin.take().ok_or("the process has no input")?;
    input.write_all(&serde_json::to_vec(job)?).await?;
    drop(input);
    let output = process.wait_with_output().await?;
    if !output.status.success() {
        return Err("the cache could not be filled".into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
