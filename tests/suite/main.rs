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

mod conformance;
mod faults;
mod golden_pending;
mod hygiene;
mod log_records;
mod model;
mod pending;
mod processes;
mod requests;
mod routing;
mod routing_faults;
mod scenarios;
mod sessions;
mod support;
