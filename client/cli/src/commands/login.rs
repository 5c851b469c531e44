//! `valet login`: stores the app's credential, after it was tried.

use std::io::{self, BufRead, IsTerminal, Read};

use valet_client::{AppCredential, Client};

use crate::{
    arguments::{ConnectionArguments, LoginArguments},
    connection::{present, secret_in},
    credential::{MAX_SECRET, Stored},
    exit::{Exit, Failure},
    progress::Progress,
};

pub(crate) async fn run(
    connection: &ConnectionArguments,
    arguments: &LoginArguments,
    progress: &Progress,
) -> Result<Exit, Failure> {
    let needed = |said: &Option<String>, what: &str| {
        present(said.clone()).ok_or_else(|| Failure::usage(format!("say {what}")))
    };
    if connection.base_url.is_some() {
        return Err(Failure::usage("a credential is for a broker: `valet login` goes without --base-url"));
    }
    let url = needed(&connection.url, "the broker's URL with --url or VALET_URL")?;
    let app = needed(&connection.app, "the app's id with --app or VALET_APP")?;
    let secret = match &connection.secret_file {
        Some(path) => secret_in(path)?,
        None => secret(&app)?,
    };
    let client =
        Client::builder().broker(&url, AppCredential::new(app.as_str(), secret.as_str()))?.build()?;
    if !arguments.untried {
        client.token().await?;
    }
    let path = Stored { url, app, secret }.write()?;
    progress.note(&format!("stored in {}", path.display()));
    Ok(Exit::Done)
}

/// Typed on the terminal without being shown, or the first line of standard input.
fn secret(app: &str) -> Result<String, Failure> {
    let read = if io::stdin().is_terminal() {
        rpassword::prompt_password(format!("Secret of {app}: "))
    } else {
        let mut line = String::new();
        io::stdin().lock().take(MAX_SECRET + 1).read_line(&mut line).map(|_| line)
    };
    let secret = read.map_err(|error| Failure::files(format!("the secret cannot be read: {error}")))?;
    if secret.len() as u64 > MAX_SECRET {
        return Err(Failure::usage("the secret is too large to be one"));
    }
    present(Some(secret)).ok_or_else(|| Failure::usage("the secret is empty"))
}
