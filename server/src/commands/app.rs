//! `valet-server app`: the registration of apps.

use clap::Subcommand;
use valet_server::{config::is_app_id, secret::AppSecret};

use super::{Done, INVALID};

#[derive(Debug, Subcommand)]
pub(super) enum App {
    /// Make a secret for an app: prints it once, and the stanza to paste into the configuration.
    New {
        /// The app's id: 1 to 64 of a-z, 0-9, '-', '_', '.'.
        id: String,
        /// The upstream its tokens are for; needed where there are several.
        #[arg(long)]
        upstream: Option<String>,
    },
}

impl App {
    pub(super) fn run(self) -> Done {
        match self {
            Self::New { id, upstream } => new_app(&id, upstream.as_deref()),
        }
    }
}

fn new_app(id: &str, upstream: Option<&str>) -> Done {
    if !is_app_id(id) {
        return Err((
            INVALID,
            format!(
                "{id:?}: an app id has 1 to 64 of a-z, 0-9, '-', '_', '.', and begins with a letter or digit"
            ),
        ));
    }
    let secret = AppSecret::generate();
    eprintln!("The secret of {id}, shown only now. Give it to the app's owner, over a safe channel:\n");
    println!("{}", secret.expose());
    eprintln!("\nPaste this into the configuration; it holds only the secret's hash:\n");
    eprintln!("[apps.{}]", if id.contains('.') { format!("{id:?}") } else { id.to_owned() });
    eprintln!("mode = \"direct\"");
    if let Some(upstream) = upstream {
        eprintln!("upstream = {upstream:?}");
    }
    eprintln!("secrets = [\"{}\"]", secret.hash());
    Ok(())
}
