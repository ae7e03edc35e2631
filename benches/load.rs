//! How fast all mappings are read: by the store alone (`load_all`), and by opening a manager with the eager load policy, which
//! fills the cache as well. Prints mappings per second.
//!
//! Not by criterion: a run takes seconds, and a few tell enough.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    unused_results,
    reason = "a bench fails by panicking"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use shardlet::gsm::GlobalStore;
use shardlet::{
    CacheOptions, LoadPolicy, Mapping, Options, ShardId, ShardKey, ShardLocation, ShardMap, ShardMapManager, Sqlite,
};

#[path = "../tests/suite/support/filled.rs"]
mod filled;

const SHARDS: usize = 16;
const RUNS: usize = 5;
/// The width of each range, in keys.
const WIDTH: i64 = 1_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for size in [100_000, 1_000_000] {
        runtime.block_on(list(size));
        runtime.block_on(range(size));
    }
}

async fn list(size: i64) {
    let directory = tempfile::tempdir().unwrap();
    let manager = ShardMapManager::open_or_create(backend(directory.path()), Options::default()).await.unwrap();
    let map = manager.create_list_shard_map::<i64>("list").await.unwrap();
    let shards = shards(&map).await;
    // Spread over all keys, in no order.
    let points = (0..size).map(|number| number.wrapping_mul(0x5851_f42d_4c95_7f2d).encode().unwrap());
    let rows = (1..).zip(points).zip(shards.iter().cycle());
    let rows = rows.map(|((id, low), shard)| filled::Row { id, shard: *shard, low, high: None });
    filled::fill_global(&directory.path().join("gsm.db"), map.id(), rows);
    measure("list", size, directory.path()).await;
}

async fn range(size: i64) {
    let directory = tempfile::tempdir().unwrap();
    let manager = ShardMapManager::open_or_create(backend(directory.path()), Options::default()).await.unwrap();
    let map = manager.create_range_shard_map::<i64>("range").await.unwrap();
    let shards = shards(&map).await;
    let bound = |number: i64| (number * WIDTH).encode().unwrap();
    let rows = (1..).zip(0..size).zip(shards.iter().cycle()).map(|((id, number), shard)| filled::Row {
        id,
        shard: *shard,
        low: bound(number),
        high: Some(bound(number + 1)),
    });
    filled::fill_global(&directory.path().join("gsm.db"), map.id(), rows);
    measure("range", size, directory.path()).await;
}

fn backend(directory: &Path) -> Sqlite {
    Sqlite::open(directory).unwrap()
}

async fn shards<M: Mapping>(map: &ShardMap<M, Sqlite>) -> Vec<ShardId> {
    let mut shards = Vec::new();
    for number in 0..SHARDS {
        let location = ShardLocation::new("server", format!("shard_{number}"));
        shards.push(map.create_shard(&location).await.unwrap().id());
    }
    shards
}

async fn measure(kind: &str, size: i64, directory: &Path) {
    let expected = usize::try_from(size).unwrap();
    let stores = backend(directory);
    let mut reads = Vec::new();
    let mut opens = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let loaded = stores.load_all().await.unwrap();
        reads.push(begun.elapsed());
        assert_eq!(loaded.iter().map(|(_, mappings)| mappings.len()).sum::<usize>(), expected);
        drop(loaded);

        let cache = CacheOptions::default().capacity(u64::try_from(size).unwrap() * 2);
        let options = Options::default().load_policy(LoadPolicy::Eager).cache(cache);
        let begun = Instant::now();
        let manager = ShardMapManager::open(stores.clone(), options).await.unwrap();
        opens.push(begun.elapsed());
        drop(manager);
    }
    println!("{kind:5} {size:>9} mappings: store's read {}, eager open {}", rate(reads, size), rate(opens, size));
}

/// The median, as mappings per second.
fn rate(mut times: Vec<Duration>, size: i64) -> String {
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let per_second = u128::try_from(size).unwrap() * 1_000_000_000 / median.as_nanos().max(1);
    format!("{per_second:>9}/s ({median:.1?})")
}
