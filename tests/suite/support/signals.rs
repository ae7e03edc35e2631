//! Stopping a process from outside, and letting it go on.

use std::path::Path;
use std::process::Command;

fn signal(process: u32, name: &str) {
    // The shell's own `kill`, which is there where there is a shell.
    let sent = Command::new("sh").args(["-c", &format!("kill -s {name} {process}")]).status().unwrap();
    assert!(sent.success(), "{name}");
}

/// Stops a process wherever it is.
pub async fn stop(process: u32) {
    signal(process, "STOP");
    // The signal is on its way to all its threads; where the system tells, we wait until it has reached them.
    let threads = format!("/proc/{process}/task");
    if Path::new(&threads).exists() {
        while !all_stopped(&threads) {
            tokio::task::yield_now().await;
        }
    }
}

/// Lets a process that was stopped go on.
pub fn go_on(process: u32) {
    signal(process, "CONT");
}

fn all_stopped(threads: &str) -> bool {
    std::fs::read_dir(threads).unwrap().all(|thread| {
        // A thread may end while we look.
        let status = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default();
        // The state comes after the name, which is in parentheses and may hold any.
        status.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    })
}
