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

mod bad_input;
mod chaos;
#[path = "../suite/conformance/mod.rs"]
mod conformance;
mod cuts;
mod environment;
#[path = "../suite/faults"]
#[allow(dead_code, reason = "the tests on files use the rest")]
mod faults {
    pub mod case;
    pub mod world;
}
#[path = "../wire/gate.rs"]
#[allow(dead_code, reason = "the wire tests use the rest")]
mod gate;
#[path = "../suite/golden/mod.rs"]
mod golden;
mod golden_databases;
#[path = "../suite/scenarios/hostile_names.rs"]
mod hostile_names;
mod limits;
#[path = "../wire/listener.rs"]
#[allow(dead_code, reason = "the wire tests use the rest")]
mod listener;
#[path = "../suite/model/mod.rs"]
mod model;
#[path = "../suite/neighbours/mod.rs"]
mod neighbours;
mod operations;
mod permissions;
mod processes;
#[path = "../wire/proxy.rs"]
#[allow(dead_code, reason = "the wire tests use the rest")]
mod proxy;
mod recovering;
#[path = "../suite/recovery/mod.rs"]
mod recovery;
mod restored;
mod rights;
mod routing;
#[path = "../suite/scenarios/keys.rs"]
#[allow(dead_code, reason = "the scenarios use the rest")]
mod sample_keys;
mod server;
mod sessions;
// Nothing but the signals of Unix stops a process from outside.
#[cfg(unix)]
mod stopped;
mod upgrade;
#[path = "../suite/support"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod support {
    pub mod child;
    pub mod consistency;
    pub mod create_many;
    pub mod declared;
    pub mod golden_files;
    pub mod polled;
    pub mod probe;
    pub mod raw_stores;
    #[cfg(unix)]
    pub mod signals;
}

conformance::conformance!(every_call, crate::environment::Live);
conformance::conformance_with_access!(versions, crate::environment::Live);
recovery::recovery_tests!(recovery_of_any, crate::environment::Live);
recovery::recovery_tests_with_damage!(recovery_from_damage, crate::environment::Live);
neighbours::neighbour_tests!(beside_each_other, crate::environment::Live);
golden::golden_tests!(golden_data, crate::golden_databases::GoldenDatabases);
golden::half_done_tests!(half_done_states, crate::golden_databases::GoldenDatabases);

fn main() {
    if processes::child() {
        return;
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let trials = [
        every_call::trials(),
        versions::trials(),
        golden_data::trials(),
        recovery_of_any::trials(),
        recovery_from_damage::trials(),
        recovering::trials(),
        half_done_states::trials(),
        operations::trials(),
        chaos::trials(),
        beside_each_other::trials(),
        limits::trials(),
        sessions::trials(),
        routing::trials(),
        upgrade::trials(),
        cuts::trials(),
        processes::trials(),
        #[cfg(unix)]
        stopped::trials(),
        permissions::trials(),
        rights::trials(),
        bad_input::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
