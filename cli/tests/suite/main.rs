//! The command `shardlet` through its real binary, on SQLite: every verb, every exit code, what it prints, and what it leaves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers need no documentation"
)]

mod administrators;
mod exit_codes;
mod importing;
// Signals are those of Unix.
#[cfg(unix)]
mod interrupted;
mod key_types;
mod malformed;
mod manual;
mod pages;
mod printed;
mod questions;
mod recovery;
mod secrets;
mod stores;
mod support;
mod unfinished;
