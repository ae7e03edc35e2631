//! Times opens, single operations and the reading of all mappings on a server, given as a connection string in `SHARDLET_TEST_SQLSERVER` with the right to
//! create databases; without one it says so and does nothing.
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

use std::fmt::Write;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion};
use shardlet::gsm::GlobalStore;
use shardlet::tiberius::Command;
use shardlet::{
    MappingStatus, Options, RangeShardMap, ShardKey, ShardMapManager, SqlCredentials, SqlServer, SqlServerOptions,
    Validation,
};
use tokio::runtime::Runtime;

#[path = "../tests/live/server.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod server;

use server::{Databases, Direct, credentials};

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
    runtime.block_on(loads(&databases));
    opens(&mut criterion, &runtime, &databases, &map);
    operations(&mut criterion, &runtime, &databases, &map);
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

/// Prints how fast the store reads all mappings, per second: `load_all`, without the cache.
async fn loads(databases: &Databases) {
    const RUNS: usize = 3;
    for size in [100_000, 1_000_000] {
        let stores = databases.backend(SqlServerOptions::default());
        let manager = ShardMapManager::open_or_create(stores.clone(), Options::default()).await.unwrap();
        let map: Ranges = manager.create_range_shard_map("loaded").await.unwrap();
        let shards = [
            map.create_shard(&databases.location(0)).await.unwrap(),
            map.create_shard(&databases.location(1)).await.unwrap(),
        ];
        let mut direct = Direct::to(&databases.global()).await;
        fill(&mut direct, &map, shards.each_ref().map(|shard| *shard.id().as_uuid()), size).await;
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let begun = Instant::now();
            let loaded = stores.load_all().await.unwrap();
            times.push(begun.elapsed());
            assert_eq!(loaded.iter().map(|(_, mappings)| mappings.len()).sum::<usize>(), size);
        }
        times.sort();
        let median = times[RUNS / 2];
        let per_second = u128::try_from(size).unwrap() * 1_000_000_000 / median.as_nanos();
        println!("load of {size:>9} mappings: {per_second:>9}/s ({median:.1?})");
        direct.run("TRUNCATE TABLE __ShardManagement.ShardMappingsGlobal").await;
        for shard in shards {
            map.delete_shard(map.shard(shard.location()).await.unwrap()).await.unwrap();
        }
        manager.delete_shard_map("loaded").await.unwrap();
    }
}

/// Writes that many mappings into the global store, straight into its table.
async fn fill(direct: &mut Direct, map: &Ranges, shards: [uuid::Uuid; 2], size: usize) {
    const ROWS: usize = 10_000;
    let bound = |number: usize| i64::try_from(number * 10).unwrap().encode().unwrap();
    let insert = "INSERT INTO __ShardManagement.ShardMappingsGlobal \
                      (MappingId, Readable, ShardId, ShardMapId, MinValue, MaxValue, Status) \
                  SELECT NEWID(), 1, CONVERT(uniqueidentifier, s), @P1, CONVERT(varbinary(128), l, 1), \
                      CONVERT(varbinary(128), h, 1), 1 \
                  FROM OPENJSON(@P2) WITH (s nvarchar(36) '$.s', l nvarchar(300) '$.l', h nvarchar(300) '$.h')";
    for first in (0..size).step_by(ROWS) {
        let mut rows = String::from("[");
        for number in first..size.min(first + ROWS) {
            let comma = if number == first { "" } else { "," };
            let (shard, low, high) = (shards[number % 2], bound(number), bound(number + 1));
            write!(rows, r#"{comma}{{"s":"{shard}","l":"{low}","h":"{high}"}}"#).unwrap();
        }
        rows.push(']');
        direct.execute(insert, &[map.id().as_uuid(), &rows]).await;
    }
}

/// The same login under another application name.
fn fresh_credentials() -> SqlCredentials {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    SqlCredentials::parse(&format!("{};Application Name=b{number}", server::login())).unwrap()
}

fn operations(criterion: &mut Criterion, runtime: &Runtime, databases: &Databases, map: &Ranges) {
    let shards = runtime.block_on(async {
        [map.shard(&databases.location(0)).await.unwrap(), map.shard(&databases.location(1)).await.unwrap()]
    });
    let next = std::cell::Cell::new(0_i64);
    let range = || {
        next.set(next.get() + 10);
        next.get()..next.get() + 10
    };
    let mut group = criterion.benchmark_group("operation");
    group.sample_size(50);
    let online = || runtime.block_on(async { map.create_mapping(range(), &shards[0]).await.unwrap() });
    let offline = || {
        let status = MappingStatus::Offline;
        runtime.block_on(async { map.create_mapping_with(range(), &shards[0], status).await.unwrap() })
    };
    group.bench_function("create_mapping", |bencher| {
        bencher.iter_batched(
            range,
            |range| runtime.block_on(async { map.create_mapping(range, &shards[0]).await.unwrap() }),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("split_mapping", |bencher| {
        bencher.iter_batched(
            || {
                let mapping = online();
                let at = mapping.range().low() + 5;
                (mapping, at)
            },
            |(mapping, at)| runtime.block_on(async { map.split_mapping(mapping, at).await.unwrap() }),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("merge_mappings", |bencher| {
        bencher.iter_batched(
            || {
                let mapping = online();
                let at = mapping.range().low() + 5;
                runtime.block_on(async { map.split_mapping(mapping, at).await.unwrap() })
            },
            |(low, high)| runtime.block_on(async { map.merge_mappings(low, high).await.unwrap() }),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("mark_mapping_offline", |bencher| {
        bencher.iter_batched(
            online,
            |mapping| runtime.block_on(async { map.mark_mapping_offline(mapping).await.unwrap() }),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("move_mapping", |bencher| {
        bencher.iter_batched(
            offline,
            |mapping| runtime.block_on(async { map.move_mapping(mapping, &shards[1]).await.unwrap() }),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("delete_mapping", |bencher| {
        bencher.iter_batched(
            offline,
            |mapping| runtime.block_on(async { map.delete_mapping(mapping).await.unwrap() }),
            BatchSize::PerIteration,
        );
    });
    let mapping = online();
    group.bench_function("lookup_in_the_store", |bencher| {
        let key = *mapping.range().low();
        bencher.to_async(runtime).iter(async || map.mapping_for_key(&key).await.unwrap());
    });
    group.finish();
}
