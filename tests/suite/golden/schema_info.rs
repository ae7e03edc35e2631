//! Documents of schema information, `tests/data/schema-info.json`: our operations leave them alone.

use std::collections::BTreeSet;

use shardlet::{MappingStatus, Options, RangeShardMap, ShardMapManager};

use crate::support::consistency::assert_consistent;
use crate::support::golden_files::{DATABASES, golden_file};
use crate::support::raw_stores::{RawStores, assert_rows, golden_rows, lines, load_state, places, stored_rows};

const TABLE: &str = "ShardedDatabaseSchemaInfosGlobal";

pub async fn schema_information_is_left_alone<E: RawStores>() {
    let file = golden_file("schema-info.json");
    let env = E::empty_stores(&DATABASES).await;
    load_state(&env, &file).await;
    let golden = lines(&golden_rows(&env, &file));
    assert_rows(&env, &golden, "as loaded").await;
    let documents: BTreeSet<_> = golden.iter().filter(|line| line.contains(TABLE)).cloned().collect();
    assert_eq!(documents.len(), 4);

    let manager = ShardMapManager::open_or_create(env.backend(), Options::default()).await.unwrap();
    let map: RangeShardMap<i32, _> = manager.range_shard_map("orders").await.unwrap();
    let first = map.create_shard(&env.location("gold_s0")).await.unwrap();
    let second = map.create_shard(&env.location("gold_s1")).await.unwrap();
    let mapping = map.create_mapping_with(0..100, &first, MappingStatus::Offline).await.unwrap();
    let (low, high) = map.split_mapping(mapping, 50).await.unwrap();
    let moved = map.move_mapping(high, &second).await.unwrap();
    assert_consistent(manager.backend(), &places(&env), "in use").await;
    let with_use: BTreeSet<_> =
        lines(&stored_rows(&env).await).into_iter().filter(|line| line.contains(TABLE)).collect();
    assert_eq!(with_use, documents);

    for mapping in [low, moved] {
        map.delete_mapping(mapping).await.unwrap();
    }
    for shard in map.shards().await.unwrap() {
        map.delete_shard(shard).await.unwrap();
    }
    // The documents of a map outlive it, as in the reference library.
    assert_rows(&env, &golden, "after use").await;
    manager.delete_shard_map("orders").await.unwrap();
    let golden = golden.into_iter().filter(|line| !line.contains(" ShardMapsGlobal:")).collect();
    assert_rows(&env, &golden, "without the map").await;
}
