//! Times operations, lists and eager loads on SQLite, and on a server where `SHARDLET_TEST_SQLSERVER` holds a connection string with
//! the right to create databases.
//!
//! Single operations are measured by criterion, on an empty map and on one with 100,000 mappings. What takes seconds is done
//! once and printed with its rate: creating many mappings, which goes on to a million to show how it grows, listing, and eager loads.
//! With `--test` all of it is done once with a hundredth of the sizes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    missing_docs,
    unreachable_pub,
    unused_results,
    reason = "a bench fails by panicking"
)]

use std::cell::Cell;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion};
use shardlet::gsm::GlobalStore;
use shardlet::{
    BulkCreation, BulkOptions, CacheOptions, KeyRange, ListShardMap, LoadPolicy, Mapping, MappingStatus, Options,
    RangeShardMap, Shard, ShardLocation, ShardMap, ShardMapManager, Sqlite, Stores,
};
use tokio::runtime::Runtime;

#[cfg(feature = "sql-server")]
#[path = "../tests/live/server.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod server;

/// How many mappings there are in a large map.
const MANY: usize = 100_000;
/// Shards where there are many.
const SHARDS: usize = 100;
/// Shards where there are many, each of which takes a database that has to be made on a server.
#[cfg(feature = "sql-server")]
const SERVER_SHARDS: usize = 10;

/// Where stores can be made.
trait Ground {
    type Backend: Stores;

    const NAME: &'static str;

    /// A new place with so many databases.
    fn new(runtime: &Runtime, databases: usize) -> Self;

    /// A client, new each time.
    fn client(&self) -> Self::Backend;

    fn location(&self, number: usize) -> ShardLocation;
}

struct Files(tempfile::TempDir);

impl Ground for Files {
    type Backend = Sqlite;

    const NAME: &'static str = "sqlite";

    fn new(_: &Runtime, _: usize) -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn client(&self) -> Sqlite {
        Sqlite::open(self.0.path()).unwrap()
    }

    fn location(&self, number: usize) -> ShardLocation {
        ShardLocation::new("server", format!("shard_{number}"))
    }
}

#[cfg(feature = "sql-server")]
impl Ground for server::Databases {
    type Backend = shardlet::SqlServer;

    const NAME: &'static str = "server";

    fn new(runtime: &Runtime, databases: usize) -> Self {
        runtime.block_on(Self::create(databases))
    }

    fn client(&self) -> Self::Backend {
        self.backend(shardlet::SqlServerOptions::default())
    }

    fn location(&self, number: usize) -> ShardLocation {
        Self::location(self, number)
    }
}

/// How large the large ones are.
#[derive(Clone, Copy)]
struct Scale {
    divisor: usize,
}

impl Scale {
    fn of(&self, size: usize) -> usize {
        size / self.divisor
    }
}

fn main() {
    let scale = Scale { divisor: if std::env::args().any(|argument| argument == "--test") { 100 } else { 1 } };
    let mut criterion = Criterion::default().configure_from_args().measurement_time(Duration::from_secs(3));
    all::<Files>(&mut criterion, scale, SHARDS);
    #[cfg(feature = "sql-server")]
    if server::address().is_some() {
        all::<server::Databases>(&mut criterion, scale, SERVER_SHARDS);
    } else {
        println!("nothing on a server: {}", server::NEEDED);
    }
    criterion.final_summary();
}

fn all<G: Ground>(criterion: &mut Criterion, scale: Scale, shards: usize) {
    let runtime = Runtime::new().unwrap();
    for shards in [1, shards] {
        for size in [1_000, MANY] {
            let ground = G::new(&runtime, shards);
            let (list, on) = runtime.block_on(list_map(&ground, shards));
            let keys = scale.of(size);
            let (took, _) = runtime.block_on(created(&list, &on, 0..keys));
            report::<G>(&format!("create_points/{shards}_shards"), keys, took);
            let ground = G::new(&runtime, shards);
            let (ranges, on) = runtime.block_on(range_map(&ground, shards));
            let (took, _) = runtime.block_on(created_ranges(&ranges, &on, 0..keys));
            report::<G>(&format!("create_ranges/{shards}_shards"), keys, took);
            if size == MANY && shards == 1 {
                runtime.block_on(listed::<G, _>(&ranges, "ranges"));
            }
        }
    }
    for size in [0, MANY] {
        let ground = G::new(&runtime, 2);
        let (ranges, on) = runtime.block_on(range_map(&ground, 2));
        runtime.block_on(created_ranges(&ranges, &on, 0..scale.of(size)));
        single(criterion, &runtime, &format!("operation_{}_{size}", G::NAME), &ranges, &on);
    }
    runtime.block_on(million::<G>(&G::new(&runtime, 1), scale));
}

/// Creates a million points in ten parts and loads them eagerly on the way.
async fn million<G: Ground>(ground: &G, scale: Scale) {
    let (list, on) = list_map(ground, 1).await;
    for part in 0..10 {
        let keys = scale.of(MANY) * part..scale.of(MANY) * (part + 1);
        let (took, slowest) = created(&list, &on, keys.clone()).await;
        report::<G>(&format!("create_points/from_{}", keys.start), keys.len(), took);
        println!("{:>44} slowest batch {slowest:?}", "");
        if part == 0 {
            listed::<G, _>(&list, "points").await;
        }
        if part == 0 || part == 9 {
            let cache = CacheOptions::default().capacity(2_000_000);
            let options = Options::default().load_policy(LoadPolicy::Eager).cache(cache);
            let client = ground.client();
            let begun = Instant::now();
            let read: usize = client.load_all().await.unwrap().iter().map(|(_, mappings)| mappings.len()).sum();
            report::<G>("read_all/points", read, begun.elapsed());
            let client = ground.client();
            let begun = Instant::now();
            let manager = ShardMapManager::open(client, options).await.unwrap();
            report::<G>("eager_load/points", keys.end, begun.elapsed());
            let map: ListShardMap<i64, _> = manager.list_shard_map("map").await.unwrap();
            assert_eq!(map.cache_statistics().entries, u64::try_from(keys.end).unwrap());
        }
    }
}

async fn manager<G: Ground>(ground: &G) -> ShardMapManager<G::Backend> {
    ShardMapManager::open_or_create(ground.client(), Options::default()).await.unwrap()
}

async fn list_map<G: Ground>(ground: &G, shards: usize) -> (ListShardMap<i64, G::Backend>, Vec<Shard>) {
    let map = manager(ground).await.create_list_shard_map("map").await.unwrap();
    let shards = create_shards(ground, &map, shards).await;
    (map, shards)
}

async fn range_map<G: Ground>(ground: &G, shards: usize) -> (RangeShardMap<i64, G::Backend>, Vec<Shard>) {
    let map = manager(ground).await.create_range_shard_map("map").await.unwrap();
    let shards = create_shards(ground, &map, shards).await;
    (map, shards)
}

async fn create_shards<G: Ground, M: Mapping>(ground: &G, map: &ShardMap<M, G::Backend>, number: usize) -> Vec<Shard> {
    let mut shards = Vec::new();
    for number in 0..number {
        shards.push(map.create_shard(&ground.location(number)).await.unwrap());
    }
    shards
}

/// The `number`th key, far from those before it.
fn scattered(number: usize) -> i64 {
    i64::try_from(number).unwrap().wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed())
}

/// The `number`th range.
fn range(number: usize) -> KeyRange<i64> {
    let low = i64::try_from(number).unwrap() * 100;
    (low..low + 100).into()
}

async fn created<B: Stores>(
    map: &ListShardMap<i64, B>,
    shards: &[Shard],
    numbers: std::ops::Range<usize>,
) -> (Duration, Duration) {
    let begun = Instant::now();
    let keys = numbers.map(scattered).zip(shards.iter().cycle());
    let slowest = run(&map.create_mappings(keys, &BulkOptions::default()).unwrap()).await;
    (begun.elapsed(), slowest)
}

async fn created_ranges<B: Stores>(
    map: &RangeShardMap<i64, B>,
    shards: &[Shard],
    numbers: std::ops::Range<usize>,
) -> (Duration, Duration) {
    let begun = Instant::now();
    let ranges = numbers.map(range).zip(shards.iter().cycle());
    let slowest = run(&map.create_mappings(ranges, &BulkOptions::default()).unwrap()).await;
    (begun.elapsed(), slowest)
}

/// Does all batches, and says how long the slowest took.
async fn run<M: Mapping, B: Stores>(creation: &BulkCreation<M, B>) -> Duration {
    let mut slowest = Duration::ZERO;
    while let Some(batch) = creation.next_batch() {
        let begun = Instant::now();
        batch.await.unwrap();
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}

async fn listed<G: Ground, M: Mapping>(map: &ShardMap<M, G::Backend>, what: &str) {
    let begun = Instant::now();
    let listed = map.mappings().await.unwrap().len();
    report::<G>(&format!("list/{what}"), listed, begun.elapsed());
}

fn report<G: Ground>(what: &str, size: usize, took: Duration) {
    let rate = size as f64 / took.as_secs_f64();
    println!("{:<44} {size:>9} in {:>9.3} s  {rate:>10.0}/s", format!("{}/{what}", G::NAME), took.as_secs_f64());
}

/// Single operations on ranges that are beyond those which are there.
fn single<B: Stores>(
    criterion: &mut Criterion,
    runtime: &Runtime,
    name: &str,
    map: &RangeShardMap<i64, B>,
    shards: &[Shard],
) {
    let next = Cell::new(1_000_000);
    let fresh = || {
        next.set(next.get() + 1);
        range(next.get())
    };
    let create =
        |status| runtime.block_on(async { map.create_mapping_with(fresh(), &shards[0], status).await.unwrap() });
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20);
    group.bench_function("create", |bencher| {
        bencher.iter_batched(
            fresh,
            |range| runtime.block_on(async { map.create_mapping(range, &shards[0]).await.unwrap() }),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("split", |bencher| {
        bencher.iter_batched(
            || create(MappingStatus::Online),
            |mapping| {
                let at = mapping.range().low() + 50;
                runtime.block_on(async { map.split_mapping(mapping, at).await.unwrap() })
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("merge", |bencher| {
        bencher.iter_batched(
            || {
                let mapping = create(MappingStatus::Online);
                let at = mapping.range().low() + 50;
                runtime.block_on(async { map.split_mapping(mapping, at).await.unwrap() })
            },
            |(low, high)| runtime.block_on(async { map.merge_mappings(low, high).await.unwrap() }),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("move", |bencher| {
        bencher.iter_batched(
            || create(MappingStatus::Offline),
            |mapping| runtime.block_on(async { map.move_mapping(mapping, &shards[1]).await.unwrap() }),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("offline", |bencher| {
        bencher.iter_batched(
            || create(MappingStatus::Online),
            |mapping| runtime.block_on(async { map.mark_mapping_offline(mapping).await.unwrap() }),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("lookup_in_the_store", |bencher| {
        let mapping = create(MappingStatus::Online);
        let key = *mapping.range().low();
        bencher.iter(|| runtime.block_on(async { map.mapping_for_key(&key).await.unwrap() }));
    });
    group.finish();
}
