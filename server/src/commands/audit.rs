//! `valet-server audit`: checks of trails.

use std::{fs, path::PathBuf};

use clap::Subcommand;
use valet_server::{
    audit,
    config::{AuditKey, Environment},
};

use super::{Done, FAILED, INVALID, failed};

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Find lines of an audit trail that were altered, added or removed.
    ///
    /// Exits with 0 only if every line is covered by a right signature. What the broker itself noted as
    /// a gap, such as a stop without warning, is a finding as well.
    Verify {
        /// The files of the trail, oldest first.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The file that holds the key [default: the last FILE with ".key" after its name].
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// The environment variable that holds the key.
        #[arg(long, value_name = "NAME", conflicts_with = "key_file")]
        key_env: Option<String>,
    },
}

impl Audit {
    pub(super) fn run(self) -> Done {
        match self {
            Self::Verify { files, key_file, key_env } => verify(&files, key_file, key_env.as_deref()),
        }
    }
}

fn verify(files: &[PathBuf], key_file: Option<PathBuf>, key_env: Option<&str>) -> Done {
    let (from, text) = match (key_file, key_env) {
        (None, Some(name)) => {
            let environment = Environment::of_process();
            (name.to_owned(), environment.get(name).unwrap_or_default().to_owned())
        }
        (file, _) => {
            let path = file.or_else(|| files.last().map(|last| audit::key_beside(last))).unwrap_or_default();
            let read = fs::read_to_string(&path);
            let text = read.map_err(|error| {
                (INVALID, format!("{}: {error}; name the key with --key-file", path.display()))
            })?;
            (path.display().to_string(), text)
        }
    };
    let key = AuditKey::parse(text.trim());
    let key = key.ok_or_else(|| (INVALID, format!("{from} holds no audit key: 32 characters at least")))?;
    let report = audit::verify(files, &key).map_err(failed)?;
    for finding in &report.findings {
        println!("{finding}");
    }
    println!("{} lines are covered by {} right signatures", report.lines, report.signatures);
    if !report.closed {
        println!(
            "The trail does not end with a stop of the broker: if it does not run any more, lines of its last \
             minute may be missing."
        );
    }
    match report.findings.len() {
        0 => Ok(()),
        count => Err((FAILED, format!("{count} findings"))),
    }
}
