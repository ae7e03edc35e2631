//! The tour of the README, as a new user would go through it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Stdio};

const HEADING: &str = "## Five minutes in a terminal";

/// The commands of the section.
fn commands(readme: &str) -> String {
    let section = readme.split(HEADING).nth(1).expect("the README has the tour").split("\n## ").next().unwrap();
    let block = section.split("```sh\n").nth(1).expect("the tour has commands").split("```").next().unwrap();
    block.to_owned()
}

#[test]
fn the_tour_of_the_readme_works() {
    let binary = Path::new(env!("CARGO_BIN_EXE_shardlet"));
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let script = commands(&std::fs::read_to_string(readme).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let done = Command::new("sh")
        .args(["-eux", "-c", &script])
        .current_dir(&directory)
        .env("PATH", path)
        .env("HOME", directory.path())
        .env_remove("SHARDLET_PROFILE")
        .env_remove("SHARDLET_CONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, printed) = (String::from_utf8_lossy(&done.stderr), String::from_utf8_lossy(&done.stdout));
    assert!(done.status.success(), "{}\n{printed}\n{said}", done.status);
    let line = |words: &[&str]| {
        printed.lines().any(|line| line.split_whitespace().take(words.len()).eq(words.iter().copied()))
    };
    // Routed before the move, and where the mapping is after it.
    assert!(line(&["500", "server-a/sample_1", "100..", "global", "store", "true"]), "{printed}");
    assert!(line(&["50", "100", "server-a/sample_1", "online"]), "{printed}");
    assert!(printed.contains("\"key\": \"2\""), "{printed}");
    assert!(std::fs::read_to_string(directory.path().join("orders.html")).unwrap().contains("<html"));
}
