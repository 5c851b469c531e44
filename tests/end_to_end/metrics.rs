//! The page of metrics says what its documentation says, and counts what happens.

use std::collections::BTreeSet;

use valet_demo::StackSettings;

use crate::{
    harness::{SECOND, Stage, promptly},
    relayed::Relayed,
    wire::Wire,
};

/// The names in the tables of the documentation; what is shared is counted only where something is.
fn documented(is_shared: bool) -> BTreeSet<String> {
    let page = include_str!("../../docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `valet_")?.split_once('`'));
    rows.map(|(name, _)| format!("valet_{name}"))
        .map(|name| name.trim_end_matches("_total").trim_end_matches("_info").to_owned())
        .filter(|name| is_shared || !name.starts_with("valet_shared_"))
        .collect()
}

#[tokio::test]
async fn what_is_served_is_what_is_documented() {
    let app = "rate = { per_second = 1, burst = 1 }".into();
    let stage = Stage::with(StackSettings { app, follow: true, ..StackSettings::default() }).await;
    stage.ask().await.token();
    // A counter with labels is there once it has counted.
    assert_eq!(stage.ask().await.status, 429);
    let page = stage.metrics().await;
    assert!(page.ends_with("# EOF\n"));
    let is_shared = stage.redis.is_some();
    stage.stop().await;
    let relayed = if is_shared { Relayed::of_replicas(3, "").await } else { Relayed::new().await };
    let bearer = relayed.token(None).await;
    let handle = relayed.submitted(&bearer).await;
    relayed.ended(&handle, &bearer).await;
    let relays = relayed.stage.metrics().await;
    relayed.stage.stop().await;
    let served: BTreeSet<String> = [page, relays].iter().flat_map(|page| served(page)).collect();
    assert_eq!(served, documented(is_shared));
}

fn served(page: &str) -> impl Iterator<Item = String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, _)| name.to_owned())
}

#[tokio::test]
async fn remaining_lives_and_reached_limits_are_counted() {
    let stage = Stage::with_app("rate = { per_second = 1, burst = 2 }").await;
    stage.ask().await.token();
    // Before any jitter makes it due for a refresh.
    stage.clock.advance(SECOND * 14);
    stage.ask().await.token();
    stage.ask().await.token();
    assert_eq!(stage.ask().await.status, 429);
    for (series, sum) in [
        ("valet_limit_refusals_total{limit=\"rate\"}", 1.0),
        ("valet_remaining_life_seconds_count", 3.0),
        ("valet_remaining_life_seconds_sum", 152.0),
        ("valet_remaining_life_seconds_bucket{le=\"40.0\"}", 0.0),
    ] {
        assert_eq!(stage.series::<f64>(series).await.to_string(), sum.to_string(), "{series}");
    }
    let misses = stage.each(1).min(3);
    assert_eq!(
        stage.metric("valet_hits_total").await,
        3 - misses,
        "a broker has what it was asked for before"
    );
    stage.stop().await;
}

#[tokio::test]
async fn open_connections_are_counted_by_listener() {
    let stage = Stage::new().await;
    let open = async || stage.series::<u64>("valet_open_connections{listener=\"public\"}").await;
    assert_eq!(open().await, 0);
    let address = stage.stack.broker_addr;
    let held = [Wire::to(address).await, Wire::to(address).await, Wire::to(address).await];
    promptly(async { while open().await != 3 {} }).await;
    drop(held);
    promptly(async { while open().await != 0 {} }).await;
    stage.stop().await;
}
