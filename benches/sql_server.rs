//! Times opens on a server, given as a connection string in `SHARDLET_TEST_SQLSERVER` with the right to create databases; without
//! one it says so and does nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    unused_results,
    reason = "a bench fails by panicking"
)]

use std::time::Duration;

use criterion::{BatchSize, Criterion};
use shardlet::tiberius::Command;
use shardlet::{Options, RangeShardMap, ShardMapManager, SqlCredentials, SqlServer, SqlServerOptions, Validation};
use tokio::runtime::Runtime;

#[path = "../tests/live/server.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod server;

use server::{Databases, credentials};

type Ranges = RangeShardMap<i64, SqlServer>;

fn main() {
    if server::address().is_none() {
        println!("skipped: {}", server::NEEDED);
        return;
    }
    let runtime = Runtime::new().unwrap();
    let databases = runtime.block_on(Databases::create(2));
    let mut criterion = Criterion::default().configure_from_args().measurement_time(Duration::from_secs(5));
    let map = runtime.block_on(async {
        let backend = databases.backend(SqlServerOptions::default());
        let manager = ShardMapManager::open_or_create(backend, Options::default()).await.unwrap();
        let map: Ranges = manager.create_range_shard_map("ranges").await.unwrap();
        for number in 0..2 {
            let _ = map.create_shard(&databases.location(number)).await.unwrap();
        }
        map
    });
    opens(&mut criterion, &runtime, &databases, &map);
    criterion.final_summary();
    drop(map);
    drop(runtime);
    drop(databases);
}

fn opens(criterion: &mut Criterion, runtime: &Runtime, databases: &Databases, map: &Ranges) {
    let credentials = credentials();
    let mapping = runtime.block_on(async {
        let shard = map.shard(&databases.location(0)).await.unwrap();
        map.create_mapping(0..10, &shard).await.unwrap()
    });
    let mut group = criterion.benchmark_group("open");

    // The call that a validation makes, on a connection of the same pool and nothing around it.
    let client = runtime.block_on(async {
        let routed = map.open_connection_for_key(&5, &credentials, Validation::Validate).await.unwrap();
        tokio::sync::Mutex::new(routed.into_raw().await.unwrap())
    });
    let (map_id, mapping_id, stamp) = (*map.id().as_uuid(), *mapping.id().as_uuid(), [7_u8; 45]);
    group.bench_function("bare_procedure_call", |bencher| {
        bencher.to_async(runtime).iter(async || {
            let mut client = client.lock().await;
            let mut call = Command::new("__ShardManagement.shardlet1_ValidateMapping");
            call.bind_param("@map", map_id);
            call.bind_param("@mapping", mapping_id);
            call.bind_param("@stamp", stamp.as_slice());
            let answer = call.exec(&mut client).await.unwrap().into_command_result().await.unwrap();
            assert_eq!(answer.return_code(), 1);
        });
    });
    group.bench_function("warm_validated", |bencher| {
        bencher
            .to_async(runtime)
            .iter(async || map.open_connection_for_key(&5, &credentials, Validation::Validate).await.unwrap());
    });
    group.bench_function("warm_validated_and_one_statement", |bencher| {
        bencher.to_async(runtime).iter(async || {
            let mut connection = map.open_connection_for_key(&5, &credentials, Validation::Validate).await.unwrap();
            connection.query("SELECT 1", &[]).await.unwrap().into_first_result().await.unwrap()
        });
    });
    group.bench_function("warm_not_validated", |bencher| {
        bencher
            .to_async(runtime)
            .iter(async || map.open_connection_for_key(&5, &credentials, Validation::None).await.unwrap());
    });
    group.sample_size(20);
    group.bench_function("cold_connect", |bencher| {
        bencher.to_async(runtime).iter_batched(
            || (),
            async |()| {
                // Credentials of its own have a pool of their own.
                let fresh = fresh_credentials();
                map.open_connection_for_key(&5, &fresh, Validation::Validate).await.unwrap()
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
    runtime.block_on(async {
        let offline = map.mark_mapping_offline(mapping).await.unwrap();
        map.delete_mapping(offline).await.unwrap();
    });
}

/// The same login under another application name.
fn fresh_credentials() -> SqlCredentials {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    SqlCredentials::parse(&format!("{};Application Name=b{number}", server::login())).unwrap()
}
