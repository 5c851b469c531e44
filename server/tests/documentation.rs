//! The generated documentation is up to date, and what the written one shows works.

use std::{fs, path::Path};

use tempfile::TempDir;
use toml::{Table, toml};
use valet_server::config::{Config, Environment};

fn page(name: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(page).unwrap_or_else(|error| panic!("{name} can be read: {error}"))
}

#[test]
fn the_page_of_errors_is_the_catalogue() {
    assert!(
        page("docs/errors.md") == valet_server::http::catalogue_markdown(),
        "docs/errors.md is out of date: cargo run -p valet-server -- errors > docs/errors.md"
    );
}

/// The blocks of TOML on a page.
fn shown(page: &str) -> impl Iterator<Item = &str> {
    page.split("\n```toml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default())
}

/// What is shown, with what it leaves out: an app, an upstream, the folder of the relay.
fn completed(text: &str, folder: &Path) -> Table {
    let here = |path: &str| folder.join(path).display().to_string();
    let text = text
        .replace("sha256:…", &format!("sha256:{:064}", 1))
        .replace("\"/run/secrets/", &format!("\"{}/", here("secrets")))
        .replace("\"/var/lib/valet\"", &format!("\"{}\"", here("state")));
    let mut table: Table = text.parse().unwrap_or_else(|error| panic!("{error} in\n{text}"));
    let secret = format!("sha256:{:064}", 2);
    let rest = toml! {
        public_url = "https://valet.example.com"
        [upstreams.beijing]
        base_url = "https://dashscope.aliyuncs.com/api/v1"
        keys = [{ env = "DASHSCOPE_API_KEY" }]
        [apps.acme]
        mode = "relay"
        secrets = [secret]
    };
    for (name, value) in rest {
        table.entry(name).or_insert(value);
    }
    let state = toml! { state = (here("state")) };
    if table["apps"].to_string().contains("\"relay\"") {
        table.entry("relay").or_insert(state.into());
    }
    table
}

#[test]
fn every_configuration_that_is_shown_is_one_that_the_broker_takes() {
    let folder = TempDir::new().unwrap();
    for name in ["secrets", "state"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    for name in ["redis_password", "sealing_key"] {
        fs::write(folder.path().join("secrets").join(name), "x".repeat(32)).unwrap();
    }
    let environment: Environment = [("DASHSCOPE_API_KEY", "sk-1")].into_iter().collect();
    let mut count = 0;
    for name in [
        "README.md",
        "docs/audit.md",
        "docs/identity.md",
        "docs/phones.md",
        "docs/playground.md",
        "docs/relay.md",
        "docs/scale.md",
        "web/README.md",
    ] {
        for text in shown(&page(name)) {
            let table = completed(text, folder.path());
            let read = Config::read(&table.to_string(), &environment);
            if let Err(mistakes) = read {
                panic!("{name} shows what the broker does not take: {mistakes}\n{text}");
            }
            count += 1;
        }
    }
    assert!(count > 10, "they are found: {count}");
}
