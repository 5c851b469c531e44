//! `valet token`: a temporary token, for calls by other means.

use std::{ffi::OsString, process::Command};

use serde_json::json;
use valet_client::{Client, Token, token::Mode};
use valet_clock::Clock;

use crate::{
    arguments::{ConnectionArguments, TokenArguments, TokenFormat},
    exit::{Exit, Failure},
    printer::Sink,
};

const KEY: &str = "DASHSCOPE_API_KEY";
const BASE_URL: &str = "DASHSCOPE_HTTP_BASE_URL";

pub(crate) async fn run(
    client: &Client,
    clock: &dyn Clock,
    connection: &ConnectionArguments,
    arguments: &TokenArguments,
) -> Result<Exit, Failure> {
    if connection.base_url.is_some() {
        return Err(Failure::usage("tokens come from a broker: `valet token` goes without --base-url"));
    }
    let asked = clock.unix();
    let token = client.token().await?;
    let line = match arguments.format {
        _ if !arguments.exec.is_empty() => return Err(execute(&arguments.exec, &token)),
        TokenFormat::Token => token.expose().to_owned(),
        TokenFormat::Header => format!("Authorization: Bearer {}", token.expose()),
        TokenFormat::Env => {
            let [token, base_url] = [token.expose(), token.base_url()].map(quoted);
            format!("export {KEY}={token}\nexport {BASE_URL}={base_url}")
        }
        TokenFormat::Json => json!({
            "token": token.expose(),
            "token_type": "Bearer",
            "base_url": token.base_url(),
            "expires_in": token.life().map(|life| life.as_secs()),
            "expires_at": token.life().map(|life| asked.saturating_add(life).as_secs()),
            "queries_per_second": token.queries_per_second(),
            "mode": mode(&token),
        })
        .to_string(),
    };
    Sink::stdout().write(|to| writeln!(to, "{line}"))?;
    Ok(Exit::Done)
}

/// Becomes the command, which gets the token and not the app's secret. Returns only if that failed.
fn execute(words: &[OsString], token: &Token) -> Failure {
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .env(KEY, token.expose())
        .env(BASE_URL, token.base_url())
        .env_remove("VALET_SECRET");
    let error = becoming(command);
    Failure::usage(format!("--exec {}: {error}", words[0].to_string_lossy()))
}

#[cfg(unix)]
fn becoming(mut command: Command) -> std::io::Error {
    std::os::unix::process::CommandExt::exec(&mut command)
}

/// Where a process cannot become another one, it waits for it and ends like it.
#[cfg(not(unix))]
fn becoming(mut command: Command) -> std::io::Error {
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    }
}

/// As the broker names it.
fn mode(token: &Token) -> &'static str {
    if token.mode() == Mode::Relay { "relay" } else { "direct" }
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_is_one_word_to_a_shell() {
        assert_eq!(quoted("st-1"), "'st-1'");
        assert_eq!(quoted("a'; rm -r /"), r"'a'\''; rm -r /'");
    }
}
