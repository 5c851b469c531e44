//! The generated documentation is up to date.

use std::{fs, path::Path};

#[test]
fn the_page_of_errors_is_the_catalogue() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let written = fs::read_to_string(page).expect("docs/errors.md can be read");
    assert!(
        written == valet_server::http::catalogue_markdown(),
        "docs/errors.md is out of date: cargo run -p valet-server -- errors > docs/errors.md"
    );
}
