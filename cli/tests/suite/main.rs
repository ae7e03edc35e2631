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

mod exit_codes;
mod printed;
mod questions;
mod support;
