//! Tests of the SQL Server backend against a server, given as a connection string in `SHARDLET_TEST_SQLSERVER`; without one
//! they are ignored. Each test makes databases of its own and drops them.
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
mod trials;

#[path = "../suite/conformance/mod.rs"]
mod conformance;
mod environment;
mod server;
#[path = "../suite/support"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod support {
    pub mod consistency;
}

conformance::conformance!(every_call, crate::environment::Live);
conformance::conformance_with_access!(versions, crate::environment::Live);

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    let trials = [every_call::trials(), versions::trials()].into_iter().flatten().collect();
    libtest_mimic::run(&arguments, trials).exit();
}
