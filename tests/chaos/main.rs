//! Chaos: many clients on shared stores, random operations, faults, dropped futures and deaths, all from a seed.
//!
//! `world` is deterministic: it lets the requests of all clients through one at a time, so that a failing seed fails again at
//! the same step. `processes` is not: real processes and threads, some of them killed. How much is done is set by environment
//! variables, see `settings`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers need no documentation"
)]

mod client;
mod dice;
mod gate;
mod ground;
mod keys;
mod ledger;
mod picture;
mod processes;
mod report;
mod settings;
#[path = "../suite/support"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod support {
    pub mod consistency;
    pub mod contents;
    pub mod create_many;

    use shardlet::{Durability, ShardLocation, Sqlite, SqliteOptions};
    use tempfile::TempDir;

    pub fn directory() -> TempDir {
        tempfile::tempdir().unwrap()
    }

    pub fn sqlite(directory: &TempDir) -> Sqlite {
        open(directory.path())
    }

    pub fn open(directory: &std::path::Path) -> Sqlite {
        Sqlite::open_with(directory, options()).unwrap()
    }

    /// Without waits for the disk, which nothing here depends on, and with room for the connections that all clients keep.
    pub fn options() -> SqliteOptions {
        SqliteOptions::default().durability(Durability::Process).max_connections_per_database(64)
    }

    pub fn location(number: usize) -> ShardLocation {
        ShardLocation::new("server", format!("shard_{number}"))
    }
}
mod trace;
mod world;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::report::Tally;
use crate::settings::Settings;
use crate::world::World;

/// Futures of whole operations are large where they are not optimised.
const STACK: usize = 16 << 20;

/// Runs something in a runtime of one thread whose time is paused.
fn paused<T: Send>(run: impl AsyncFnOnce() -> T + Send) -> T {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || runtime().block_on(run()));
        thread.unwrap().join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What a seed does: the tally, and a sum of all that happened.
fn seeded(seed: u64, operations: usize, clients: usize) -> (Tally, u64) {
    paused(async || {
        let begun = std::time::Instant::now();
        let mut world = World::new(seed, clients).await;
        if let Err(wrong) = world.run(operations).await {
            let wrong = world.named(&wrong);
            panic!(
                "{}\n\nseed {seed}, {clients} clients, step {}: {wrong}\n\nonce more: SHARDLET_CHAOS_SEED={seed} \
                 SHARDLET_CHAOS_SEEDS=1 SHARDLET_CHAOS_OPERATIONS={operations} SHARDLET_CHAOS_CLIENTS={clients} \
                 cargo test --test chaos seed_{seed}",
                world.trace(),
                world.steps()
            );
        }
        let (tally, sum) = (world.tally().clone(), world.trace().sum());
        println!(
            "seed {seed}: {} operations in {} steps and {:?}\n{tally}{}",
            tally.total(),
            world.steps(),
            begun.elapsed(),
            world.ends()
        );
        (tally, sum)
    })
}

fn main() {
    if processes::child() {
        return;
    }
    let arguments = Arguments::from_args();
    let settings = Settings::from_environment();
    let mut trials: Vec<_> = (settings.seed..settings.seed + settings.seeds)
        .map(|seed| {
            let settings = settings.clone();
            Trial::test(format!("seed_{seed}"), move || {
                let _ = seeded(seed, settings.operations, settings.clients);
                Ok(())
            })
        })
        .collect();
    let (seed, operations) = (settings.seed, settings.in_processes);
    trials.push(Trial::test("processes", move || {
        let tally = processes::run(seed, operations);
        if tally.of("visit", "Ok") == 0 || tally.of("process", "killed") == 0 {
            return Err(Failed::from("nobody was routed, or nobody was killed"));
        }
        Ok(())
    }));
    trials.push(Trial::test("a_seed_does_the_same_again", move || {
        for seed in [settings.seed, settings.seed + 1] {
            let (first, second) = (seeded(seed, 200, settings.clients), seeded(seed, 200, settings.clients));
            if first != second {
                return Err(Failed::from(format!("seed {seed}: {first:?}, then {second:?}")));
            }
        }
        Ok(())
    }));
    libtest_mimic::run(&arguments, trials).exit();
}
