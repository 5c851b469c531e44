//! Several upstreams: each app's tokens are of its own, and the trouble of one is not the other's.

use std::fs;

use reqwest::Method;
use tokio::sync::oneshot;
use valet_demo::StackSettings;
use valet_sandbox::{Operation, Sandbox, Settings};
use valet_server::secret::AppSecret;

use crate::{
    harness::{SECOND, Stage, UNHURRIED, answered, promptly},
    reload::reload,
};

#[tokio::test]
async fn an_upstream_that_is_added_serves_its_apps_whatever_becomes_of_the_other() {
    let app = format!("upstream = \"sandbox\"\n{UNHURRIED}");
    let stage = Stage::with(StackSettings { app, follow: true, ..StackSettings::default() }).await;
    let first = stage.ask().await;
    assert_eq!(first.json()["base_url"], stage.stack.sandbox_url);

    let second =
        Sandbox::bind(Settings::default().with_key("sk-second"), stage.clock.handle("second")).await.unwrap();
    let (url, second_sandbox, (_stop, stopped)) =
        (second.base_url(), second.handle(), oneshot::channel::<()>());
    tokio::spawn(second.run(async {
        let _ = stopped.await;
    }));
    let (secret, file) = (AppSecret::generate(), stage.stack.folder().join("second"));
    fs::write(&file, "sk-second\n").unwrap();
    let added = format!(
        "{}\n[upstreams.second]\nbase_url = {url:?}\nkeys = [{{ file = {file:?} }}]\n\
         [apps.other]\nupstream = \"second\"\nsecrets = [\"{}\"]\n",
        stage.stack.config,
        secret.hash()
    );
    reload(&stage, &added).await;
    let other = || answered(stage.request(Method::POST, "/v1/tokens").bearer_auth(secret.expose()));
    assert_eq!(other().await.json()["base_url"], url);
    assert_eq!(stage.ask().await.token(), first.token(), "it is nothing to the first app");
    assert_eq!((stage.mints(), second_sandbox.count(Operation::Mint)), (1, 1));

    stage.stack.sandbox.revoke_key(&stage.stack.sandbox_key);
    stage.clock.advance(SECOND * 30);
    // Each broker finds out for itself.
    for answer in stage.ask_each().await {
        answer.token();
    }
    promptly(async { while stage.metric("valet_key_usable").await != stage.each(1) {} }).await;
    for answer in stage.ask_each().await {
        assert_eq!(answer.refusal(), (503, "no_upstream_key".into(), Some(1)));
    }
    other().await.token();
    assert_eq!(stage.page("/readyz").await.status, 200, "there are apps to be served");
    let page = stage.metrics().await;
    for upstream in ["sandbox", "second"] {
        let minted = format!("valet_mints_total{{upstream=\"{upstream}\",");
        assert!(page.contains(&minted), "{minted} is not in:\n{page}");
    }
    stage.stop().await;
}
