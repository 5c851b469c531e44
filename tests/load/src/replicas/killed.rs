//! A replica is killed while clients of all of them have tasks under way.

use std::{net::Ipv4Addr, time::Duration};

use tokio::task::JoinSet;
use valet_clock::{ClockExt, SystemClock};
use valet_demo::{RoundRobin, recordings::Recordings};
use valet_sandbox::Settings;

use crate::{
    Outcome,
    direct_clients::{FOLDER, Job, RECORDING, client},
    printer,
    server::{Broker, Cluster, Upstream},
};

/// How long a task takes: some lives of a token.
const TASK: Duration = Duration::from_secs(40);
/// When the replica is killed: all have begun, and ask again and again for tokens that live a quarter of a minute.
const KILL: Duration = Duration::from_secs(15);

/// How many of so many clients did not get their transcript.
pub(super) async fn lost(clients: u32) -> Outcome<usize> {
    let settings = Settings::default().with_task_time(Duration::ZERO, TASK).with_queries_per_second(200);
    let upstream = Upstream::start_with(settings).await?;
    let recordings = Recordings::serve(FOLDER.as_ref()).await?;
    let mut cluster = Cluster::start(&upstream, 4, "tokens.lifetimes = [15]").await?;
    let addresses = cluster.brokers().iter().map(|replica| replica.endpoint.address).collect();
    let (app, secret) = Broker::credential();
    let balancer = RoundRobin::start((Ipv4Addr::LOCALHOST, 0).into(), addresses).await?;
    let broker = format!("http://{}", balancer.address());
    let job = Job { broker, app, secret, recording: recordings.url(RECORDING) };
    let mut running = JoinSet::new();
    for _ in 0..clients {
        running.spawn(client(job.clone()));
    }
    SystemClock.sleep(KILL).await;
    cluster.kill_one().await?;
    let (mut finished, mut slowest, mut errors) = (0, Duration::ZERO, Vec::new());
    while let Some(report) = running.join_next().await {
        let report = report??;
        slowest = slowest.max(report.took);
        match report.error {
            None => finished += 1,
            Some(error) => errors.push(error),
        }
    }
    cluster.stop().await?;
    printer::line(&format!(
        "one of 4 replicas is killed: {finished} of {clients} clients have their transcript, the slowest after {:.1} s; \
         {} mints in all",
        slowest.as_secs_f64(),
        upstream.mints()
    ))?;
    errors.iter().take(5).try_for_each(|error| printer::line(error))?;
    Ok(clients as usize - finished)
}
