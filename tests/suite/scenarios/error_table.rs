//! Which kind, code and category each refusal of a store has for the caller, as the reference library's tables say.

use shardlet::error::Refusal;
use shardlet::gsm::GlobalStore;
use shardlet::{
    CreateMode, Error, ErrorCategory, ErrorCode, ErrorKind, Limit, LockToken, MappingStatus, NoCredentials, Options,
    RetryPolicy, SchemaInfo, ShardMapManager, ShardStatus, Sqlite, SqliteOptions, Timeouts, Validation,
};

use crate::support::contents::{contents, global_file, shard_file, spoil};
use crate::support::probe::{Call, Fault, Probe};
use crate::support::{directory, location, manager, quick, shards, sqlite};
use ErrorCategory as Category;
use ErrorKind as Kind;

/// Kind, number of the code, category.
type Told = (ErrorKind, u32, ErrorCategory);

fn told<T: std::fmt::Debug>(outcome: shardlet::Result<T>) -> Told {
    let error = outcome.unwrap_err();
    (error.kind(), error.code() as u32, error.category())
}

#[test]
fn each_refusal_has_its_kind_and_number() {
    let table = [
        (Refusal::MissingParameters, 50, Kind::Internal, 8),
        (Refusal::StoreVersionMismatch, 51, Kind::VersionMismatch, 6),
        (Refusal::ShardMapExists, 101, Kind::AlreadyExists, 3),
        (Refusal::ShardMapDoesNotExist, 102, Kind::NotFound, 18),
        (Refusal::ShardMapHasShards, 103, Kind::InUse, 5),
        (Refusal::ShardExists, 201, Kind::AlreadyExists, 12),
        (Refusal::ShardDoesNotExist, 202, Kind::NotFound, 19),
        (Refusal::ShardHasMappings, 203, Kind::InUse, 11),
        (Refusal::ShardVersionMismatch, 204, Kind::Stale, 14),
        (Refusal::ShardLocationExists, 205, Kind::AlreadyExists, 13),
        (Refusal::MappingDoesNotExist, 301, Kind::Stale, 23),
        (Refusal::MappingRangeAlreadyMapped, 302, Kind::Overlaps, 16),
        (Refusal::MappingPointAlreadyMapped, 303, Kind::AlreadyExists, 15),
        (Refusal::MappingNotFoundForKey, 304, Kind::NotFound, 24),
        (Refusal::UnableToKillSessions, 305, Kind::Unavailable, 26),
        (Refusal::MappingIsNotOffline, 306, Kind::NotOffline, 27),
        (Refusal::MappingLockOwnerIdDoesNotMatch, 307, Kind::Locked, 28),
        (Refusal::MappingIsAlreadyLocked, 308, Kind::Locked, 29),
        (Refusal::MappingIsOffline, 309, Kind::Offline, 25),
        (Refusal::SchemaInfoNameDoesNotExist, 401, Kind::NotFound, 1009),
        (Refusal::SchemaInfoNameConflict, 402, Kind::AlreadyExists, 1010),
        (Refusal::ShardIsDisabled, 1201, Kind::Disabled, 1012),
    ];
    for (refusal, result, kind, code) in table {
        let error = refusal.into_error();
        assert_eq!(refusal as i32, result, "{refusal:?}");
        assert_eq!(Refusal::from_code(refusal as u32), Some(refusal), "{refusal:?}");
        assert_eq!((error.kind(), error.code() as u32), (kind, code), "{refusal:?}");
        assert!(!error.to_string().is_empty(), "{refusal:?}");
    }
}

#[tokio::test]
async fn refusals_about_stores_and_maps() {
    let backend = Sqlite::in_memory();
    let opened = ShardMapManager::open(backend.clone(), Options::default()).await;
    assert_eq!(told(opened), (Kind::NotFound, 2, Category::ShardMapManagerFactory), "no store");
    let manager = ShardMapManager::create(backend.clone(), CreateMode::Keep, Options::default()).await.unwrap();
    let created = ShardMapManager::create(backend, CreateMode::Keep, Options::default()).await;
    assert_eq!(told(created), (Kind::AlreadyExists, 1, Category::ShardMapManagerFactory), "a store is there");

    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let twice = manager.create_range_shard_map::<i32>("M").await;
    assert_eq!(told(twice), (Kind::AlreadyExists, 3, Category::ShardMapManager), "101");
    let missing = manager.list_shard_map::<i32>("other").await;
    assert_eq!(told(missing), (Kind::NotFound, 4, Category::ShardMapManager), "lookup");
    let wrong = manager.list_shard_map::<i64>("m").await;
    assert_eq!(told(wrong), (Kind::WrongKeyType, 10, Category::ShardMapManager), "conversion");
    let shard = map.create_shard(&location(0)).await.unwrap();
    assert_eq!(told(manager.delete_shard_map("m").await), (Kind::InUse, 5, Category::ShardMapManager), "103");
    map.delete_shard(shard).await.unwrap();
    manager.delete_shard_map("m").await.unwrap();
}

#[tokio::test]
async fn refusals_about_schema_information() {
    let manager = manager().await;
    let (info, other) = (SchemaInfo::new(), Category::SchemaInfoCollection);
    let missing = (Kind::NotFound, 1009, other);
    assert_eq!(told(manager.schema_info("a").await), missing, "401: get");
    assert_eq!(told(manager.update_schema_info("a", &info).await), missing, "401: update");
    assert_eq!(told(manager.delete_schema_info("a").await), missing, "401: delete");
    manager.create_schema_info("a", &info).await.unwrap();
    assert_eq!(told(manager.create_schema_info("A", &info).await), (Kind::AlreadyExists, 1010, other), "402");
    assert_eq!(told(manager.create_schema_info("", &info).await), (Kind::InvalidInput, 1000, other), "no name");
    manager.backend().update_schema_info("a", "<b/>").await.unwrap();
    assert_eq!(told(manager.schema_info("a").await), (Kind::StoreDamaged, 1003, other), "damaged");
    assert_eq!(told(manager.schema_infos().await), (Kind::StoreDamaged, 1003, other), "damaged");
}

#[tokio::test]
async fn refusals_for_a_map_that_is_gone() {
    let manager = manager().await;
    let list = manager.create_list_shard_map::<i32>("list").await.unwrap();
    let range = manager.create_range_shard_map::<i32>("range").await.unwrap();
    let (point_shard, range_shard) = (shards(&list, 1).await.remove(0), shards(&range, 1).await.remove(0));
    list.delete_shard(point_shard.clone()).await.unwrap();
    range.delete_shard(range_shard.clone()).await.unwrap();
    manager.delete_shard_map("list").await.unwrap();
    manager.delete_shard_map("range").await.unwrap();
    let gone = |category| (Kind::NotFound, 18, category);
    for (case, outcome) in [
        ("create shard", told(list.create_shard(&location(0)).await)),
        ("delete shard", told(list.delete_shard(point_shard.clone()).await)),
        ("update shard", told(list.update_shard(point_shard.clone(), ShardStatus::Offline).await)),
        ("shards", told(list.shards().await)),
        ("find shard", told(list.find_shard(&location(0)).await)),
    ] {
        assert_eq!(outcome, gone(Category::ShardMap), "102: {case}");
    }
    for (case, outcome) in [
        ("create", told(list.create_mapping(1, &point_shard).await)),
        ("find", told(list.find_mapping_for_key(&1).await)),
        ("look up", told(list.lookup_mapping(&1).await)),
        ("list", told(list.mappings().await)),
        ("unlock", told(list.unlock_mappings(LockToken::random()).await)),
    ] {
        assert_eq!(outcome, gone(Category::ListShardMap), "102: list {case}");
    }
    for (case, outcome) in [
        ("create", told(range.create_mapping(.., &range_shard).await)),
        ("find", told(range.mapping_for_key(&1).await)),
        ("list", told(range.mappings().await)),
    ] {
        assert_eq!(outcome, gone(Category::RangeShardMap), "102: range {case}");
    }
}

#[tokio::test]
async fn refusals_about_shards() {
    let manager = manager().await;
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let other = manager.create_list_shard_map::<i32>("other").await.unwrap();
    let _keeps_rows = other.create_shard(&location(0)).await.unwrap();
    let shard = map.create_shard(&location(0)).await.unwrap();
    let twice = map.create_shard(&location(0)).await;
    assert_eq!(told(twice), (Kind::AlreadyExists, 13, Category::ShardMap), "205");
    let mapping = map.create_mapping_with(1, &shard, MappingStatus::Offline).await.unwrap();
    let stale = shard;
    let current = map.shard(&location(0)).await.unwrap();
    let version = (Kind::Stale, 14, Category::ShardMap);
    assert_eq!(told(map.delete_shard(stale.clone()).await), version, "204");
    assert_eq!(told(map.update_shard(stale.clone(), ShardStatus::Offline).await), version, "204");
    let opened = map.open_connection_to_shard(&stale, &NoCredentials, Validation::Validate).await;
    assert_eq!(told(opened), (Kind::Stale, 14, Category::Validation), "204 on a connection");
    assert_eq!(told(map.delete_shard(current).await), (Kind::InUse, 11, Category::ShardMap), "203");
    map.delete_mapping(mapping).await.unwrap();
    let current = map.shard(&location(0)).await.unwrap();
    map.delete_shard(current.clone()).await.unwrap();

    let gone = |category| (Kind::NotFound, 19, category);
    assert_eq!(told(map.delete_shard(current.clone()).await), gone(Category::ShardMap), "202");
    assert_eq!(told(map.shard(&location(0)).await), gone(Category::ShardMap), "202");
    assert_eq!(told(map.create_mapping(2, &current).await), gone(Category::ListShardMap), "202 for a mapping");
    let opened = map.open_connection_to_shard(&current, &NoCredentials, Validation::Validate).await;
    assert_eq!(told(opened), (Kind::NotFound, 18, Category::Validation), "102 on a connection");
    let _ = map.create_shard(&location(0).with_port(1)).await.unwrap();
    let opened = map.open_connection_to_shard(&current, &NoCredentials, Validation::Validate).await;
    assert_eq!(told(opened), gone(Category::Validation), "202 on a connection");
}

#[tokio::test]
async fn refusals_about_points() {
    let map = manager().await.create_list_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 2).await;
    let cat = Category::ListShardMap;
    let mapping = map.create_mapping(1, &on[0]).await.unwrap();
    assert_eq!(told(map.create_mapping(1, &on[1]).await), (Kind::AlreadyExists, 15, cat), "303");
    assert_eq!(told(map.mapping_for_key(&2).await), (Kind::NotFound, 24, cat), "304");
    let opened = map.open_connection_for_key(&2, &NoCredentials, Validation::Validate).await;
    assert_eq!(told(opened), (Kind::NotFound, 24, cat), "304");
    assert_eq!(told(map.delete_mapping(mapping.clone()).await), (Kind::NotOffline, 27, cat), "306");
    assert_eq!(told(map.move_mapping(mapping.clone(), &on[1]).await), (Kind::NotOffline, 27, cat), "306");
    let token = LockToken::random();
    let locked = map.lock_mapping(mapping.clone(), token).await.unwrap();
    assert_eq!(told(map.lock_mapping(mapping.clone(), token).await), (Kind::Locked, 29, cat), "308");
    assert_eq!(told(map.mark_mapping_offline(mapping.clone()).await), (Kind::Locked, 28, cat), "307");
    let unlocked = map.unlock_mapping(mapping.clone(), LockToken::random()).await;
    assert_eq!(told(unlocked), (Kind::Locked, 28, cat), "307");
    let offline = map.mark_mapping_offline(locked).await.unwrap();
    let opened = map.open_connection_for_key(&1, &NoCredentials, Validation::Validate).await;
    assert_eq!(told(opened), (Kind::Offline, 25, Category::Validation), "309");
    map.delete_mapping(offline).await.unwrap();
    let gone = (Kind::Stale, 23, cat);
    assert_eq!(told(map.delete_mapping(mapping.clone()).await), gone, "301");
    assert_eq!(told(map.mark_mapping_online(mapping.clone()).await), gone, "301");
    assert_eq!(told(map.lock_mapping(mapping.clone(), token).await), gone, "301");
    assert_eq!(told(map.mapping_lock_owner(&mapping).await), gone, "301");
}

#[tokio::test]
async fn refusals_about_ranges() {
    let map = manager().await.create_range_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 2).await;
    let cat = Category::RangeShardMap;
    let mapping = map.create_mapping(0..10, &on[0]).await.unwrap();
    assert_eq!(told(map.create_mapping(5.., &on[1]).await), (Kind::Overlaps, 16, cat), "302");
    assert_eq!(told(map.mapping_for_key(&10).await), (Kind::NotFound, 24, cat), "304");
    assert_eq!(told(map.delete_mapping(mapping.clone()).await), (Kind::NotOffline, 27, cat), "306");
    let token = LockToken::random();
    let locked = map.lock_mapping(mapping.clone(), token).await.unwrap();
    assert_eq!(told(map.lock_mapping(mapping.clone(), token).await), (Kind::Locked, 29, cat), "308");
    assert_eq!(told(map.split_mapping(mapping.clone(), 5).await), (Kind::Locked, 28, cat), "307");
    let (low, high) = map.split_mapping(locked, 5).await.unwrap();
    assert_eq!(told(map.split_mapping(mapping.clone(), 5).await), (Kind::Stale, 23, cat), "301");
    let merged = map.merge_mappings(low.clone(), high.clone().holding(LockToken::NONE)).await;
    assert_eq!(told(merged), (Kind::Locked, 28, cat), "307");
    let _ = map.merge_mappings(low.clone(), high.clone()).await.unwrap();
    assert_eq!(told(map.merge_mappings(low, high).await), (Kind::Stale, 23, cat), "301");
}

#[tokio::test]
async fn sessions_that_cannot_be_ended_fail_the_operation() {
    let probe = Probe::new(Sqlite::in_memory());
    let manager = ShardMapManager::open_or_create(probe.clone(), Options::default()).await.unwrap();
    let list = manager.create_list_shard_map::<i32>("list").await.unwrap();
    let range = manager.create_range_shard_map::<i32>("range").await.unwrap();
    let point = list.create_mapping(1, &shards(&list, 1).await[0]).await.unwrap();
    let ranged = range.create_mapping(.., &shards(&range, 1).await[0]).await.unwrap();
    let fault = || Fault::FailBefore(Refusal::UnableToKillSessions.into_error());
    probe.inject(Call::EndSessions, 2, fault());
    let outcome = told(list.mark_mapping_offline(point.clone()).await);
    assert_eq!(outcome, (Kind::Unavailable, 26, Category::ListShardMap), "305");
    let outcome = told(range.mark_mapping_offline(ranged.clone()).await);
    assert_eq!(outcome, (Kind::Unavailable, 26, Category::RangeShardMap), "305");
    assert_eq!(list.mapping_for_key(&1).await.unwrap(), point, "undone");
    assert_eq!(range.mapping_for_key(&1).await.unwrap(), ranged, "undone");
    assert!(probe.pending_operations().await.unwrap().is_empty());
    let _ = list.mark_mapping_offline(point).await.unwrap();
}

#[tokio::test]
async fn a_mapping_that_the_shard_denies_twice_is_under_change() {
    let directory = directory();
    let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let shard = map.create_shard(&location(0)).await.unwrap();
    let _ = map.create_mapping(1, &shard).await.unwrap();
    spoil(&shard_file(directory.path(), 0), r#"DELETE FROM "__ShardManagement.ShardMappingsLocal""#);
    let opened = map.open_connection_for_key(&1, &NoCredentials, Validation::Validate).await;
    assert_eq!(told(opened), (Kind::PendingOperation, 23, Category::Validation), "301 on a connection");
}

#[tokio::test]
async fn another_major_version_is_in_the_category_of_validation() {
    let version = |code| (Kind::VersionMismatch, code, Category::Validation);
    for global in [false, true] {
        let directory = directory();
        let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
        let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
        let shard = map.create_shard(&location(0)).await.unwrap();
        let mapping = map.create_mapping(1, &shard).await.unwrap();
        let table = if global { "ShardMapManagerGlobal" } else { "ShardMapManagerLocal" };
        let file = if global { global_file(directory.path()) } else { shard_file(directory.path(), 0) };
        spoil(&file, &format!(r#"UPDATE "__ShardManagement.{table}" SET "StoreVersionMajor" = 2"#));
        let current = || async { map.update_shard(shard.clone(), ShardStatus::Offline).await };
        if global {
            assert_eq!(told(ShardMapManager::open(sqlite(&directory), Options::default()).await), version(6));
            assert_eq!(told(manager.shard_maps().await), version(6), "51: maps");
            assert_eq!(told(map.shards().await), version(6), "51: shards");
            assert_eq!(told(current().await), version(6), "51: update shard");
            assert_eq!(told(map.mapping_for_key(&1).await), version(6), "51: find");
            assert_eq!(told(map.mark_mapping_offline(mapping).await), version(6), "51: offline");
        } else {
            let before = contents_of_global(&manager).await;
            assert_eq!(told(map.mark_mapping_offline(mapping).await), version(7), "51: offline");
            assert_eq!(told(map.create_shard(&location(0).with_port(7)).await), version(7), "51: another shard there");
            let opened = map.open_connection_for_key(&1, &NoCredentials, Validation::Validate).await;
            assert_eq!(told(opened), version(7), "51 on a connection");
            assert_eq!(contents_of_global(&manager).await, before, "undone");
        }
    }
}

/// What the global store holds; a shard of another version does not tell what it holds.
async fn contents_of_global(manager: &ShardMapManager<Sqlite>) -> String {
    let mut text = String::new();
    for map in manager.shard_maps().await.unwrap() {
        text += &format!("{:?}\n", manager.backend().shards(map.id()).await.unwrap());
        let mappings = manager.backend().mappings(&map, &shardlet::gsm::RecordFilter::default()).await.unwrap();
        text += &format!("{mappings:?}\n");
    }
    text + &format!("{:?}", manager.backend().pending_operations().await.unwrap())
}

#[tokio::test]
async fn a_store_that_keeps_failing_is_a_storage_failure_of_the_operation() {
    let probe = Probe::new(Sqlite::in_memory());
    let options = Options::default()
        .retry(RetryPolicy::default().attempts(2).pauses(std::time::Duration::ZERO, std::time::Duration::ZERO));
    let manager = ShardMapManager::open_or_create(probe.clone(), options).await.unwrap();
    let list = manager.create_list_shard_map::<i32>("list").await.unwrap();
    let range = manager.create_range_shard_map::<i32>("range").await.unwrap();
    let (point_shard, range_shard) = (shards(&list, 1).await.remove(0), shards(&range, 1).await.remove(0));
    let before = contents(&manager).await;
    let passing = || Error::new(Kind::Transient, ErrorCode::StorageOperationFailure, "passing");
    let failing = |calls: usize| probe.inject(Call::Begin, calls, Fault::FailBefore(passing()));
    failing(2);
    let outcome = list.create_shard(&location(5)).await;
    assert_eq!(told(outcome), (Kind::Transient, 17, Category::ShardMap));
    failing(2);
    assert_eq!(told(list.create_mapping(1, &point_shard).await), (Kind::Transient, 17, Category::ListShardMap));
    failing(2);
    let error = range.create_mapping(.., &range_shard).await.unwrap_err();
    assert_eq!(told::<()>(Err(error.clone())), (Kind::Transient, 17, Category::RangeShardMap));
    assert!(error.to_string().contains("2 tries"), "{error}");
    assert!(std::error::Error::source(&error).is_some(), "the cause is kept");
    assert_eq!(contents(&manager).await, before);
    failing(1);
    let _ = list.create_mapping(1, &point_shard).await.expect("the second try succeeds");
    probe.inject(Call::AddShardMap, 1, Fault::FailBefore(passing()));
    let outcome = manager.create_list_shard_map::<i32>("n").await;
    assert_eq!(told(outcome), (Kind::Transient, 17, Category::ShardMapManager));
}

#[tokio::test]
async fn an_operation_whose_lock_is_held_is_told_apart() {
    let mut timeouts = Timeouts::default();
    timeouts.operation_lock = std::time::Duration::from_millis(1);
    let backend = Sqlite::in_memory_with(SqliteOptions::timeouts(quick(), timeouts));
    let probe = Probe::new(backend.clone());
    let manager = ShardMapManager::open_or_create(probe.clone(), Options::default()).await.unwrap();
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let shard = shards(&map, 1).await.remove(0);
    // Leaves an operation unfinished, then holds its lock as its owner would.
    let lost = || Fault::FailBefore(Error::new(Kind::Unavailable, ErrorCode::StorageOperationFailure, "lost"));
    probe.inject(Call::EndDo, 1, lost());
    probe.inject(Call::FindOperation, 1, lost());
    let _ = map.create_mapping(1, &shard).await.unwrap_err();
    let pending = backend.pending_operations().await.unwrap().remove(0);
    let held = backend.lock_operation(pending.id).await.unwrap();
    let error = map.create_mapping(2, &shard).await.unwrap_err();
    assert_eq!(error.limit(), Some(Limit::OperationLock));
    assert_eq!(told::<()>(Err(error)), (Kind::TimedOut, 20, Category::General), "lock not acquired");
    drop(held);
    let _ = map.create_mapping(2, &shard).await.expect("the owner is gone, so its operation is undone");
    assert!(map.find_mapping_for_key(&1).await.unwrap().is_none());
}
