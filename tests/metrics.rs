//! The counters that an application sees through the `metrics` facade.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use shardlet::{
    ListShardMap, NoCredentials, Options, PointMapping, ShardLocation, ShardMapManager, Sqlite, Validation,
};

#[tokio::test]
async fn operations_lookups_and_opens_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let guard = metrics::set_default_local_recorder(&recorder);

    let manager = ShardMapManager::open_or_create(Sqlite::in_memory(), Options::default()).await.unwrap();
    let map: ListShardMap<i32, _> = manager.create_list_shard_map("tenants").await.unwrap();
    let shard = map.create_shard(&ShardLocation::new("server", "a")).await.unwrap();
    let _: PointMapping<i32> = map.create_mapping(1, &shard).await.unwrap();
    let _ = map.create_mapping(1, &shard).await.unwrap_err();
    map.clear_cache();
    drop(map.open_connection_for_key(&1, &NoCredentials, Validation::Validate).await.unwrap());
    drop(map.open_connection_for_key(&1, &NoCredentials, Validation::None).await.unwrap());
    let _ = map.open_connection_for_key(&2, &NoCredentials, Validation::Validate).await.unwrap_err();
    drop(guard);

    let mut seen = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let key = key.key();
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let count = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Histogram(samples) => u64::try_from(samples.len()).unwrap(),
            DebugValue::Gauge(_) => panic!("there are no gauges"),
        };
        let _ = seen.insert(format!("{}{{{}}}", key.name(), labels.join(",")), count);
    }
    let expected = [
        ("shardlet_lookup_misses_total{}", 2),
        ("shardlet_mapping_loads_total{outcome=ok}", 2),
        ("shardlet_open_seconds{}", 2),
        ("shardlet_operations_total{operation=AddPointMapping,outcome=failed}", 1),
        ("shardlet_operations_total{operation=AddPointMapping,outcome=ok}", 1),
        ("shardlet_operations_total{operation=CreateShard,outcome=ok}", 1),
        ("shardlet_opens_total{validation=none,outcome=ok}", 1),
        ("shardlet_opens_total{validation=validate,outcome=ok}", 1),
    ];
    let expected: BTreeMap<_, _> = expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    assert_eq!(seen, expected);
}
