//! What a warm lookup costs in memory: nothing. A program of its own, because it replaces the allocator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers need no documentation"
)]

use std::hint::black_box;

use allocation_counter::measure;
use futures::FutureExt;
use shardlet::{
    ListShardMap, MappingStatus, Options, RangeShardMap, Shard, ShardKey, ShardLocation, ShardMapManager, Sqlite,
};
use uuid::Uuid;

const LOOKUPS: usize = 100;

async fn manager() -> ShardMapManager<Sqlite> {
    ShardMapManager::open_or_create(Sqlite::in_memory(), Options::default()).await.unwrap()
}

/// A list map and a range map with these keys in their caches; the keys ascend.
async fn warm_maps<K: ShardKey>(keys: &[K]) -> (ListShardMap<K, Sqlite>, RangeShardMap<K, Sqlite>) {
    let manager = manager().await;
    let location = ShardLocation::new("server", "database");
    let list: ListShardMap<K, _> = manager.create_list_shard_map("list").await.unwrap();
    let shard: Shard = list.create_shard(&location).await.unwrap();
    for key in keys {
        let _ = list.create_mapping_with(key.clone(), &shard, MappingStatus::Online).await.unwrap();
    }
    let range: RangeShardMap<K, _> = manager.create_range_shard_map("range").await.unwrap();
    let shard = range.create_shard(&location).await.unwrap();
    for bounds in keys.windows(2) {
        let [low, high] = bounds else { panic!("windows of two") };
        let _ = range.create_mapping(low.clone()..high.clone(), &shard).await.unwrap();
    }
    let _ = range.create_mapping(keys.last().unwrap().clone().., &shard).await.unwrap();
    (list, range)
}

/// Looks every key up in both maps and both ways, and says how many allocations that took in which case.
async fn allocations<K: ShardKey>(keys: Vec<K>) -> Vec<(&'static str, u64)> {
    let (list, range) = warm_maps(&keys).await;
    let count = |lookups: &dyn Fn(&K)| {
        // The first lookups of a thread may set up what all later ones use.
        keys.iter().for_each(lookups);
        measure(|| (0..LOOKUPS).for_each(|_| keys.iter().for_each(lookups))).count_total
    };
    vec![
        ("list, cached_mapping", count(&|key| assert!(black_box(list.cached_mapping(key)).is_some()))),
        ("range, cached_mapping", count(&|key| assert!(black_box(range.cached_mapping(key)).is_some()))),
        (
            "list, lookup_mapping",
            count(&|key| assert!(black_box(list.lookup_mapping(key).now_or_never()).unwrap().is_ok())),
        ),
        (
            "range, lookup_mapping",
            count(&|key| assert!(black_box(range.lookup_mapping(key).now_or_never()).unwrap().is_ok())),
        ),
    ]
}

fn assert_none(key_type: &str, counted: &[(&str, u64)]) {
    for (case, count) in counted {
        assert_eq!(*count, 0, "{key_type}, {case}: allocations of {LOOKUPS} warm lookups of each key");
    }
}

#[tokio::test]
async fn a_warm_lookup_allocates_nothing() {
    assert_none("i64", &allocations((-20..20_i64).collect()).await);
    assert_none("i32", &allocations((-20..20_i32).collect()).await);
    // In the order of the stores the last six bytes of a GUID count first.
    assert_none("Uuid", &allocations((1..40_u128).map(Uuid::from_u128).collect()).await);
    let binary = |length: usize| (1..40_u8).map(|first| vec![first; length]).collect::<Vec<_>>();
    for length in [1, 8, 16, 17, 128] {
        assert_none(&format!("Vec<u8> of {length} bytes"), &allocations(binary(length)).await);
    }
}

#[tokio::test]
async fn the_counter_counts() {
    // Without this, a counter that is not linked in would pass the test above.
    assert_eq!(measure(|| drop(black_box(vec![1_u8; 100]))).count_total, 1);
    let (list, _) = warm_maps(&[1_i64, 2]).await;
    assert!(measure(|| drop(black_box(list.cached_mapping(&1).map(|mapping| mapping.to_string())))).count_total > 0);
}
