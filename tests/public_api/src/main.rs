//! Prints the public items of a crate, one a line, from rustdoc's description of it in JSON.

use std::{env, error::Error, io, io::Write};

use public_api::Builder;

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args().nth(1).ok_or("name rustdoc's description of a crate")?;
    // What is implemented for every type says nothing of the crate; what is derived, and what it may be sent to, does.
    let api = Builder::from_rustdoc_json(path).omit_blanket_impls(true).build()?;
    Ok(write!(io::stdout().lock(), "{api}")?)
}
