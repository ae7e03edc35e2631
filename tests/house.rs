//! Keeps the house in order: who may use whom, and which toolchain is enough.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The modules below `src`, from the ground up, each with what it may use. `Error` and `Result` of the crate are `error`'s.
const LAYERS: [(&str, &[&str]); 12] = [
    ("fault_point", &[]),
    ("key", &["error", "model"]),
    ("model", &["error", "key"]),
    ("error", &["key", "model"]),
    ("telemetry", &["error"]),
    ("xml", &[]),
    ("schema_info", &["error", "model", "xml"]),
    ("backend", &["fault_point", "error", "key", "model", "telemetry"]),
    ("gsm", &["fault_point", "error", "key", "model", "backend"]),
    ("lsm", &["fault_point", "error", "key", "model", "backend"]),
    ("operation", &["fault_point", "error", "key", "model", "telemetry", "xml", "backend", "gsm", "lsm"]),
    ("routing", &["error", "key", "model", "telemetry", "backend", "gsm", "lsm"]),
];

/// The facade, which may use all.
const FACADE: [&str; 7] = ["lib", "list_map", "manager", "options", "range_map", "recovery", "shard_map"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The files below `src` with the module that each belongs to.
fn sources() -> Vec<(PathBuf, String)> {
    let src = root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let module = |file: &Path| {
        let first = file.strip_prefix(&src).unwrap().components().next().unwrap();
        first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
    };
    files.into_iter().map(|file| (file.clone(), module(&file))).collect()
}

/// The modules that a file names as `crate::module`, outside of comments.
fn used(text: &str) -> BTreeSet<String> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code = code.collect::<Vec<_>>().join("\n");
    let mut used = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let names = rest.strip_prefix('{').map_or(rest, |group| group.split('}').next().unwrap_or_default());
        let first = names.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
        let _ = used.insert(match first {
            "Error" | "ErrorKind" | "ErrorCode" | "Result" => "error".to_owned(),
            "KeyRange" => "key".to_owned(),
            name => name.to_owned(),
        });
    }
    used
}

#[test]
fn modules_use_only_what_their_layer_allows() {
    let mut wrong = Vec::new();
    for (file, module) in sources() {
        if FACADE.contains(&module.as_str()) {
            continue;
        }
        let allowed = LAYERS.iter().find(|(name, _)| *name == module);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{} is in no layer", file.display()));
        for name in used(&fs::read_to_string(&file).unwrap()) {
            if name != module && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{} uses {name}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Calls of `GlobalStore` and `LocalStore` that write.
const WRITES: [&str; 14] = [
    "create_global",
    "drop_global",
    "upgrade_global",
    "upgrade_local",
    "add_shard_map",
    "remove_shard_map",
    "detach_shard",
    "describe_shard",
    "add_schema_info",
    "update_schema_info",
    "remove_schema_info",
    "change_lock",
    "lock_operation",
    "lock_operation_at",
];

#[test]
fn routing_writes_to_no_store() {
    let mut wrong = Vec::new();
    for (file, _) in sources().into_iter().filter(|(_, module)| module == "routing") {
        let text = fs::read_to_string(&file).unwrap();
        wrong
            .extend(WRITES.iter().filter(|call| text.contains(&format!(".{call}("))).map(|call| (file.clone(), *call)));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_files_that_the_documents_name_are_there() {
    let mut wrong = Vec::new();
    let documents = [
        "README.md",
        "Cargo.toml",
        "docs/architecture.md",
        "docs/differences.md",
        "docs/testing.md",
        "docs/cli-output.md",
    ];
    for document in documents {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for word in text.split(|c: char| !(c.is_alphanumeric() || "/._-".contains(c))) {
            let word = word.trim_end_matches('.');
            let ours = ["cli/", "src/", "tests/", "docs/", "examples/", "benches/", "sql/"];
            if ours.iter().any(|folder| word.starts_with(folder)) && !root().join(word).exists() {
                wrong.push(format!("{document} names {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_a_backends_own_files_know_its_driver() {
    for (driver, own) in [("rusqlite", "sqlite"), ("tiberius", "sql_server")] {
        let wrong: Vec<_> = sources()
            .into_iter()
            .filter(|(file, module)| module != "lib" && !file.to_str().unwrap().contains(own))
            .filter(|(file, _)| {
                let text = fs::read_to_string(file).unwrap();
                text.lines().any(|line| line.split("//").next().unwrap_or_default().contains(driver))
            })
            .collect();
        assert!(wrong.is_empty(), "{driver}: {wrong:#?}");
    }
}

#[test]
fn every_module_says_what_lives_there() {
    let mut files: Vec<_> = sources().into_iter().map(|(file, _)| file).collect();
    rust_files(&root().join("cli"), &mut files);
    files.retain(|file| !fs::read_to_string(file).unwrap().starts_with("//! "));
    assert!(files.is_empty(), "{files:#?}");
}

fn version(text: &str) -> Vec<u64> {
    let mut parts: Vec<_> = text.split('.').map(|part| part.parse().unwrap()).collect();
    parts.resize(3, 0);
    parts
}

#[test]
fn the_stated_toolchain_is_enough_for_every_dependency() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--all-features"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let stated = packages.iter().find(|package| package["name"] == "shardlet").unwrap();
    let stated = version(stated["rust_version"].as_str().unwrap());
    let newer: Vec<_> = packages
        .iter()
        .filter_map(|package| Some((package["name"].as_str()?, package["rust_version"].as_str()?)))
        .filter(|(_, needed)| version(needed) > stated)
        .collect();
    assert!(newer.is_empty(), "need a newer toolchain than Cargo.toml states: {newer:?}");
    assert!(packages.len() > 20, "the metadata holds only {} packages", packages.len());
}
