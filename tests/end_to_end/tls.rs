//! TLS in the binary: a certificate of its own, replaced while it runs, and peers that speak none.

use std::fs;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::{Certificate, Client};
use valet_demo::{APP, StackSettings};

use crate::{
    harness::{Answer, SECOND, Stage, UNHURRIED, answered, promptly},
    wire::Wire,
};

/// A folder for the certificate that the configuration names before the stack has one.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> (Self, Certificate) {
        let files = Self(tempfile::tempdir().unwrap());
        let certificate = files.renew();
        (files, certificate)
    }

    /// Writes a new certificate and its key.
    fn renew(&self) -> Certificate {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        fs::write(self.0.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
        fs::write(self.0.path().join("certificate.pem"), cert.pem()).unwrap();
        Certificate::from_pem(cert.pem().as_bytes()).unwrap()
    }

    fn settings(&self) -> StackSettings {
        let folder = self.0.path();
        let config = format!(
            "[tls]\ncertificate = {:?}\nkey = {:?}\n[bounds]\nheader_seconds = 5\nconnections = 1\n",
            folder.join("certificate.pem"),
            folder.join("key.pem")
        );
        let app = UNHURRIED.into();
        StackSettings { config, app, follow: true, ..StackSettings::default() }
    }
}

/// A token over TLS, for a client that trusts `root` alone; an error if the broker shows another.
async fn ask(stage: &Stage, root: &Certificate) -> Result<Answer, reqwest::Error> {
    let client = Client::builder().no_proxy().tls_certs_only([root.clone()]).pool_max_idle_per_host(0);
    let url = format!("https://localhost:{}/v1/tokens", stage.stack.broker_addr.port());
    let request = client.build().unwrap().post(url).basic_auth(APP, Some(stage.stack.secret.expose()));
    let probe = request.try_clone().unwrap();
    promptly(probe.send()).await?;
    Ok(answered(request).await)
}

#[tokio::test]
async fn tokens_are_served_over_tls_and_the_certificate_is_replaced_while_it_runs() {
    let (files, first) = Files::new();
    let stage = Stage::with(files.settings()).await;
    ask(&stage, &first).await.unwrap().token();
    let second = files.renew();
    assert!(ask(&stage, &second).await.is_err(), "it is not in force yet");
    stage.stack.reconfigure(&stage.stack.config, true).unwrap();
    promptly(async { while ask(&stage, &second).await.is_err() {} }).await;
    ask(&stage, &second).await.unwrap().token();
    assert!(ask(&stage, &first).await.is_err());
    // A key that does not fit changes nothing.
    fs::write(files.0.path().join("key.pem"), "no key").unwrap();
    stage.stack.reconfigure(&stage.stack.config, true).unwrap();
    promptly(async { while stage.metric("valet_config_reloads_total").await < 3 {} }).await;
    ask(&stage, &second).await.unwrap().token();
    stage.stop().await;
}

#[tokio::test]
async fn a_peer_that_never_shakes_hands_is_gone_after_the_time_for_a_head() {
    let (files, root) = Files::new();
    // The connections of one process are bounded, and so is their time.
    let stage = Stage::of_one(files.settings()).await;
    let mut silent = Wire::to(stage.stack.broker_addr).await;
    // Half a record of a handshake, and nothing more: it holds the only connection there may be.
    silent.send(b"\x16\x03\x01\x02\x00\x01").await;
    promptly(stage.clock.asleep("broker", 3)).await;
    stage.clock.advance(SECOND * 5);
    assert_eq!(silent.rest().await, "");
    ask(&stage, &root).await.unwrap().token();
    // Plain HTTP is no handshake.
    let mut plain = Wire::to(stage.stack.broker_addr).await;
    plain.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    plain.end().await;
    promptly(async { while ask(&stage, &root).await.is_err() {} }).await;
    stage.stop().await;
}
