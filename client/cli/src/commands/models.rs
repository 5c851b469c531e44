//! `valet models`: the models that this version knows, and their languages.

use valet_client::request::Model;

use crate::{
    exit::{Exit, Failure},
    printer::Sink,
};

pub(crate) fn run() -> Result<Exit, Failure> {
    let mut sink = Sink::stdout();
    for model in Model::KNOWN {
        let languages = model.languages().unwrap_or_default().join(" ");
        sink.write(|to| writeln!(to, "{:<24} {languages}", model.name()))?;
    }
    Ok(Exit::Done)
}
