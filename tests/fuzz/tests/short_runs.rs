//! A short run of each target, the same one each time: its seeds, and a few thousand changes to it.

use std::{fs, path::Path};

use valet_fuzz::{Target, mutation::mutated, targets};

const CHANGES: u32 = 5000;

fn run(name: &str, target: Target) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let mut paths: Vec<_> =
        fs::read_dir(&folder).expect("its seeds").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("a seed")).collect();
    assert!(seeds.len() >= 3, "{name} has too few seeds");
    seeds.iter().for_each(|seed| target(seed));
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..CHANGES {
        target(&mutated(&seeds, &mut rng));
    }
}

#[test]
fn config() {
    run("config", targets::config);
}

#[test]
fn body() {
    run("body", targets::body);
}

#[test]
fn authorization() {
    run("authorization", targets::authorization);
}

#[test]
fn token() {
    run("token", targets::token);
}

#[test]
fn jwks() {
    run("jwks", targets::jwks);
}

#[test]
fn mint() {
    run("mint", targets::mint);
}

#[test]
fn documents() {
    run("documents", targets::documents);
}

#[test]
fn submit() {
    run("submit", targets::submit);
}

#[test]
fn told() {
    run("told", targets::told);
}
