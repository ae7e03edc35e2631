//! How many requests each public call makes: the table in docs/architecture.md.

use std::time::Duration;

use shardlet::gsm::GlobalStore;
use shardlet::lsm::LocalStore;
use shardlet::{
    BulkOptions, ErrorKind, LoadPolicy, LockToken, MappingStatus, NoCredentials, OperationId, Options, RangeShardMap,
    SchemaInfo, SessionPolicy, ShardMapManager, ShardStatus, Sqlite, Validation,
};

use crate::support::probe::{Call, Fault, Probe};
use crate::support::{location, shards};

/// Requests to the global store and to shards since the last look. Locks of operations are not requests.
fn taken(probe: &Probe<Sqlite>, at: &[usize]) -> (usize, usize) {
    let on_shards: usize = at
        .iter()
        .flat_map(|shard| {
            let changes = [false, true].map(|undoing| Call::ChangeLocal { at: location(*shard), undoing });
            changes.into_iter().chain([Call::UpgradeLocal(location(*shard))])
        })
        .chain([Call::OpenRouted, Call::LocalMappings, Call::LocalShards, Call::LocalVersion, Call::LocalRights])
        .map(|call| probe.count(&call))
        .sum();
    let not_requests: usize = at
        .iter()
        .map(|shard| Call::LockOperationAt(location(*shard)))
        .chain([Call::LockOperation, Call::EndSessions])
        .map(|call| probe.count(&call))
        .sum();
    let taken = (probe.total() - on_shards - not_requests, on_shards);
    probe.reset();
    taken
}

#[tokio::test]
async fn each_call_makes_as_many_requests_as_documented() {
    let probe = Probe::new(Sqlite::in_memory());
    let manager = ShardMapManager::open_or_create(probe.clone(), Options::default()).await.unwrap();
    let at = [0, 1, 2];
    let mut seen: Vec<(&str, (usize, usize))> = Vec::new();
    probe.reset();

    let map: RangeShardMap<i64, _> = manager.range_shard_map_or_create("orders").await.unwrap();
    seen.push(("map or create, created: 2 + 0", taken(&probe, &at)));
    let _: RangeShardMap<i64, _> = manager.range_shard_map_or_create("orders").await.unwrap();
    seen.push(("map or create, there: 1 + 0", taken(&probe, &at)));
    let _ = manager.create_range_shard_map::<i32>("other").await.unwrap();
    seen.push(("create map: 1 + 0", taken(&probe, &at)));
    manager.delete_shard_map("other").await.unwrap();
    seen.push(("delete map: 2 + 0", taken(&probe, &at)));
    let shard = map.create_shard(&location(0)).await.unwrap();
    seen.push(("create shard: 2 + 1", taken(&probe, &at)));
    let _ = map.update_shard(shard, ShardStatus::Online).await.unwrap();
    seen.push(("update shard: 2 + 1", taken(&probe, &at)));
    let all = shards(&map, 3).await;
    let _ = taken(&probe, &at);
    map.delete_shard(all[2].clone()).await.unwrap();
    seen.push(("delete shard: 2 + 1", taken(&probe, &at)));
    let _ = map.shards().await.unwrap();
    seen.push(("list shards: 1 + 0", taken(&probe, &at)));
    map.describe_shard(&all[0], "north").await.unwrap();
    seen.push(("describe shard: 1 + 0", taken(&probe, &at)));
    let _ = map.shard_descriptions().await.unwrap();
    seen.push(("list descriptions: 1 + 0", taken(&probe, &at)));

    let range = map.create_mapping(0..100, &all[0]).await.unwrap();
    seen.push(("create mapping: 2 + 1", taken(&probe, &at)));
    let (low, high) = map.split_mapping(range, 50).await.unwrap();
    seen.push(("split: 2 + 1", taken(&probe, &at)));
    let range = map.merge_mappings(low, high).await.unwrap();
    seen.push(("merge: 2 + 1", taken(&probe, &at)));
    let range = map.mark_mapping_offline(range).await.unwrap();
    seen.push(("offline: 2 + 1", taken(&probe, &at)));
    let range = map.move_mapping(range, &all[1]).await.unwrap();
    seen.push(("move: 2 + 2", taken(&probe, &at)));
    let range = map.mark_mapping_online(range).await.unwrap();
    seen.push(("online: 2 + 1", taken(&probe, &at)));
    let token = LockToken::random();
    let range = map.lock_mapping(range, token).await.unwrap();
    seen.push(("lock: 1 + 0", taken(&probe, &at)));
    let _ = map.mapping_lock_owner(&range).await.unwrap();
    seen.push(("lock owner: 1 + 0", taken(&probe, &at)));
    let range = map.unlock_mapping(range, token).await.unwrap();
    seen.push(("unlock: 1 + 0", taken(&probe, &at)));
    let _ = map.mappings().await.unwrap();
    seen.push(("list mappings: 1 + 0", taken(&probe, &at)));

    let _ = map.unlock_mappings(token).await.unwrap();
    seen.push(("unlock all: 1 + 0", taken(&probe, &at)));
    let info = SchemaInfo::new();
    manager.create_schema_info("orders", &info).await.unwrap();
    seen.push(("create schema info: 1 + 0", taken(&probe, &at)));
    let _ = manager.schema_info("orders").await.unwrap();
    seen.push(("schema info: 1 + 0", taken(&probe, &at)));
    let _ = manager.schema_infos().await.unwrap();
    seen.push(("schema infos: 1 + 0", taken(&probe, &at)));
    manager.update_schema_info("orders", &info).await.unwrap();
    seen.push(("update schema info: 1 + 0", taken(&probe, &at)));
    manager.delete_schema_info("orders").await.unwrap();
    seen.push(("delete schema info: 1 + 0", taken(&probe, &at)));
    let _ = manager.shard_locations().await.unwrap();
    seen.push(("shard locations: 1 + 0", taken(&probe, &at)));
    assert_eq!(manager.undo_pending_operations().await.unwrap(), 0);
    seen.push(("undo, nothing pending: 1 + 0", taken(&probe, &at)));
    assert!(manager.pending_operations().await.unwrap().is_empty());
    seen.push(("pending operations: 1 + 0", taken(&probe, &at)));
    assert!(!manager.undo_operation(OperationId::random()).await.unwrap());
    seen.push(("undo of an operation that is not there: 1 + 0", taken(&probe, &at)));
    let extra = map.create_mapping_with(200..300, &all[1], MappingStatus::Offline).await.unwrap();
    let _ = taken(&probe, &at);
    map.delete_mapping(extra).await.unwrap();
    seen.push(("delete mapping: 2 + 1", taken(&probe, &at)));
    let many = (0..100).map(|number| (1_000 + 10 * number..1_010 + 10 * number, &all[1]));
    let creation = map.create_mappings(many, &BulkOptions::default()).unwrap().beside(&range);
    let made = creation.next_batch().unwrap().await.unwrap();
    assert_eq!((made.len(), creation.progress().left()), (100, 0));
    seen.push(("a batch of create mappings: 2 + 1", taken(&probe, &at)));
    let _ = creation.skip_existing().await.unwrap();
    seen.push(("skip existing: 1 + 0", taken(&probe, &at)));
    let fresh = map.shard(&location(1)).await.unwrap();
    let _ = taken(&probe, &at);
    drop(map.open_connection_to_shard(&fresh, &NoCredentials, Validation::Validate).await.unwrap());
    seen.push(("open to a shard: 0 + 1", taken(&probe, &at)));
    let lazy = Options::default;
    let _ = ShardMapManager::open(probe.clone(), lazy()).await.unwrap();
    seen.push(("open, lazy: 1 + 0", taken(&probe, &at)));
    let _ = ShardMapManager::open(probe.clone(), lazy().load_policy(LoadPolicy::Eager)).await.unwrap();
    seen.push(("open, eager: 2 + 0", taken(&probe, &at)));

    let other = Probe::new(Sqlite::in_memory());
    let _ = ShardMapManager::open_or_create(other.clone(), Options::default()).await.unwrap();
    other.reset();
    assert!(ShardMapManager::drop_store(&other).await.unwrap());
    seen.push(("drop: 1 + 0", taken(&other, &at)));

    let report = ShardMapManager::upgrade(&probe).await.unwrap();
    assert_eq!(report.shards.len(), 2);
    seen.push(("upgrade of two shards: 2 + 2", taken(&probe, &at)));
    let _ = manager.upgrade_shard(&location(1)).await.unwrap();
    seen.push(("upgrade of a shard: 0 + 1", taken(&probe, &at)));

    let _ = probe.global_rights().await.unwrap();
    seen.push(("global rights: 1 + 0", taken(&probe, &at)));
    let _ = probe.local_rights(&location(1)).await.unwrap();
    seen.push(("local rights: 0 + 1", taken(&probe, &at)));

    let open = |validation| map.open_connection_for_key(&7, &NoCredentials, validation);
    drop(open(Validation::Validate).await.unwrap());
    seen.push(("warm open: 0 + 1", taken(&probe, &at)));
    map.clear_cache();
    drop(open(Validation::Validate).await.unwrap());
    seen.push(("cold open: 1 + 1", taken(&probe, &at)));
    let _ = map.lookup_mapping(&8).await.unwrap();
    seen.push(("warm lookup: 0 + 0", taken(&probe, &at)));
    let _ = map.mapping_for_key(&8).await.unwrap();
    seen.push(("lookup in the store: 1 + 0", taken(&probe, &at)));

    let elsewhere = ShardMapManager::open(probe.inner().clone(), Options::default()).await.unwrap();
    let other: RangeShardMap<i64, _> = elsewhere.range_shard_map("orders").await.unwrap();
    let drain = SessionPolicy::Drain(Duration::ZERO);
    let (offline, _) = other.mark_mapping_offline_with(range, drain).await.unwrap();
    let _ = other.mark_mapping_online(offline).await.unwrap();
    drop(open(Validation::Validate).await.unwrap());
    seen.push(("stale open: 1 + 2", taken(&probe, &at)));

    // An operation left unfinished after its local step, undone by the next client on its way.
    let range = other.mapping_for_key(&7).await.unwrap();
    let lost = shardlet::Error::new(ErrorKind::Unavailable, shardlet::ErrorCode::StorageOperationFailure, "lost");
    probe.inject(Call::EndDo, 1, Fault::FailBefore(lost.clone()));
    probe.inject(Call::FindOperation, 1, Fault::FailBefore(lost));
    let _ = map.split_mapping(range.clone(), 50).await.unwrap_err();
    let _ = taken(&probe, &at);
    let _ = map.split_mapping(range, 50).await.unwrap();
    seen.push(("begin, refused: 1 + 0; undo: 2 + 1; split: 2 + 1; in all: 5 + 2", taken(&probe, &at)));

    for (case, (global, local)) in seen {
        assert!(case.ends_with(&format!(": {global} + {local}")), "{case}, took {global} + {local}");
    }
}
