//! Sends everything through an HTTP client of one's own: a proxy, root certificates, other limits.
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{env, fs, time::Duration};

use reqwest::{Certificate, Proxy, redirect};
use valet_client::{AppCredential, Client, Transcript, TranscriptionRequest};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut http = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .pool_idle_timeout(Duration::from_secs(25));
    if let Ok(proxy) = env::var("MY_PROXY") {
        http = http.proxy(Proxy::all(proxy)?);
    }
    if let Ok(path) = env::var("MY_ROOT_CERTIFICATE") {
        http = http.tls_certs_merge([Certificate::from_pem(&fs::read(path)?)?]);
    }

    let variable = |name| env::var(name).unwrap_or_default();
    let credential = AppCredential::new(variable("VALET_APP"), variable("VALET_SECRET"));
    let builder = Client::builder().broker(&variable("VALET_URL"), credential)?;
    let client = builder.http(http.build()?).client_reference_id("own-http-client").build()?;

    for file in client.transcribe(&TranscriptionRequest::new(env::args().skip(1))).await?.files() {
        println!("{}", file.transcript().map_or_else(ToString::to_string, Transcript::text));
    }
    Ok(())
}
