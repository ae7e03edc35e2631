//! Tests of the whole library through its public API, on the embedded backend.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers need no documentation"
)]

#[macro_use]
mod cases;

mod conformance;
mod conformance_on_sqlite;
mod faults;
mod golden;
mod golden_on_sqlite;
mod hygiene;
mod limits;
mod log_records;
mod model;
mod model_on_sqlite;
mod neighbours;
mod neighbours_on_sqlite;
mod pending;
mod processes;
mod recovery;
mod recovery_files;
mod recovery_on_sqlite;
mod requests;
mod rights;
mod routing;
mod routing_faults;
mod scenarios;
mod sessions;
// Nothing but the signals of Unix stops a process from outside.
#[cfg(unix)]
mod stopped;
mod support;
mod tries;
mod upgrade;
