//! The structure of the broker, read from its source: which module may use which, and who alone may
//! turn a grant into what it is for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Every module, with the modules it may use. A module stands behind all that it uses: the lines are
/// the stages of a request's path in its order, and what surrounds them.
const ALLOWED: &[(&str, &[&str])] = &[
    ("secret", &[]),
    ("request_id", &[]),
    ("net", &[]),
    ("jwt", &[]),
    ("keyring", &["jwt"]),
    ("relay_token", &["jwt", "keyring"]),
    ("config", &["jwt", "keyring", "net", "secret"]),
    ("shared_redis", &["config", "secret"]),
    ("identity", &["config", "jwt", "keyring", "net", "relay_token", "secret", "shared_redis"]),
    ("policy", &["config", "identity", "relay_token"]),
    ("admission", &["config", "identity", "policy", "shared_redis"]),
    ("token", &["config", "policy", "secret", "shared_redis"]),
    ("audit", &["config", "request_id"]),
    ("ledger", &[]),
    ("telemetry", &["audit"]),
    ("site", &["admission", "config", "identity", "keyring", "policy", "shared_redis", "token"]),
    (
        "issue",
        &[
            "admission",
            "audit",
            "config",
            "identity",
            "policy",
            "relay_token",
            "request_id",
            "shared_redis",
            "site",
            "telemetry",
            "token",
        ],
    ),
    (
        "relay",
        &[
            "admission",
            "audit",
            "config",
            "identity",
            "issue",
            "keyring",
            "ledger",
            "net",
            "policy",
            "relay_token",
            "shared_redis",
            "site",
            "token",
        ],
    ),
    ("reload", &["audit", "config", "issue", "ledger", "relay", "site", "token"]),
    ("doctor", &["config", "keyring", "shared_redis", "token"]),
    ("lifecycle", &[]),
    (
        "http",
        &[
            "audit",
            "config",
            "identity",
            "issue",
            "jwt",
            "keyring",
            "lifecycle",
            "policy",
            "relay",
            "request_id",
            "site",
            "token",
        ],
    ),
    (
        "broker",
        &[
            "admission",
            "audit",
            "config",
            "http",
            "issue",
            "keyring",
            "ledger",
            "lifecycle",
            "relay",
            "reload",
            "request_id",
            "shared_redis",
            "site",
            "telemetry",
            "token",
        ],
    ),
];

/// The library's root and the binary's files: they see the library from outside.
const ROOTS: &[&str] = &["lib", "main", "commands"];

#[test]
fn modules_use_only_what_stands_before_them() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut before = BTreeSet::new();
    for (module, uses) in ALLOWED {
        for used in *uses {
            assert!(before.contains(used), "{module} is listed before {used}, which it uses");
        }
        before.insert(module);
    }
    for (module, file) in source_files() {
        if ROOTS.contains(&module.as_str()) {
            continue;
        }
        let uses = allowed.get(module.as_str());
        let uses = uses.unwrap_or_else(|| panic!("{module} is no module that this test knows: list it"));
        for used in crate_paths(&code(&file)) {
            assert!(
                used == module || uses.contains(&used.as_str()),
                "{} uses {used}, which {module} may not",
                file.display()
            );
        }
    }
}

#[test]
fn only_admission_turns_a_grant_into_what_it_is_for() {
    for (module, file) in source_files() {
        let calls = code(&file).matches(".granted()").count();
        let may = match module.as_str() {
            "admission" => true,
            // On what admission returns, whose method has the same name.
            "issue" => code(&file).contains("admission::admit(") && calls == 1,
            _ => false,
        };
        assert!(calls == 0 || may, "{} skips admission", file.display());
    }
}

#[test]
fn nothing_below_http_knows_a_status_code() {
    for (module, file) in source_files() {
        // The token stage speaks HTTP to the upstream, whose statuses are its own affair.
        let speaks = matches!(module.as_str(), "http" | "commands") || file.ends_with("token/dashscope.rs");
        assert!(speaks || !code(&file).contains("StatusCode"), "{} knows a status", file.display());
    }
}

/// Every source file with the module it belongs to.
fn source_files() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the source can be read") {
            let path = entry.expect("the source can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let inner = path.strip_prefix(&root).expect("it lies below the root");
                let first = inner.components().next().expect("it has a name").as_os_str();
                let module = Path::new(first).with_extension("").display().to_string();
                files.push((module, path));
            }
        }
    }
    assert!(files.len() > 20, "the source was not found");
    files
}

/// The code of a file without its tests and comments.
fn code(file: &Path) -> String {
    if file.ends_with("tests.rs") {
        return String::new();
    }
    let text = fs::read_to_string(file).expect("the source can be read");
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The modules that follow `crate::`, alone or in a group.
fn crate_paths(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.extend([word(rest)]),
        }
    }
    found
}

/// The first words of the parts of a `{…}` group, whatever is nested in them.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut start) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && (c.is_alphanumeric() || c == '_') => {
                heads.push(word(&group[at..]));
                start = false;
            }
            _ => {}
        }
    }
    heads
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn the_reader_of_imports_sees_groups_and_paths() {
    let code = "use crate::{\n    a::{B, c},\n    d,\n};\nfn f() { crate::e::g() }";
    assert_eq!(crate_paths(code).into_iter().collect::<Vec<_>>(), ["a", "d", "e"]);
}
