//! `valet token`: a temporary token, for calls by other means.

use serde_json::json;
use valet_client::Client;
use valet_clock::{Clock, SystemClock};

use crate::{
    arguments::{ConnectionArguments, TokenArguments},
    exit::{Exit, Failure},
    printer::Sink,
};

pub(crate) async fn run(
    client: &Client,
    connection: &ConnectionArguments,
    arguments: &TokenArguments,
) -> Result<Exit, Failure> {
    if connection.base_url.is_some() {
        return Err(Failure::usage("tokens come from a broker: `valet token` goes without --base-url"));
    }
    let asked = SystemClock.unix();
    let token = client.token().await?;
    let line = if arguments.json {
        json!({
            "token": token.expose(),
            "token_type": "Bearer",
            "base_url": token.base_url(),
            "expires_in": token.life().map(|life| life.as_secs()),
            "expires_at": token.life().map(|life| asked.saturating_add(life).as_secs()),
            "queries_per_second": token.queries_per_second(),
        })
        .to_string()
    } else {
        token.expose().to_owned()
    };
    Sink::open(None)?.write(|to| writeln!(to, "{line}"))?;
    Ok(Exit::Done)
}
