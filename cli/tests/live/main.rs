//! The command `shardlet` on a server, given as a connection string in `SHARDLET_TEST_SQLSERVER`; without one these are ignored. Each
//! test makes databases of its own and drops them.
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
#[path = "../../../tests/live/trials.rs"]
#[allow(unused_macros, reason = "the library's tests use the rest")]
mod trials;

mod flows;
#[path = "../suite/support/running.rs"]
#[allow(dead_code, reason = "the tests on SQLite use the rest")]
mod running;
#[path = "../../../tests/live/server.rs"]
#[allow(dead_code, reason = "the library's tests use the rest")]
mod server;

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, flows::trials()).exit();
}
