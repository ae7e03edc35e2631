//! Making and opening stores, and the shard maps of a store by name.

use std::sync::Arc;

use shardlet::{
    CreateMode, ErrorCode, ErrorKind, KeyType, ListShardMap, LoadPolicy, LockToken, NoCredentials, Operation, Options,
    PointMapping, RangeMapping, RangeShardMap, Shard, ShardMapKind, ShardMapManager, Sqlite, SqliteConnection,
    Validation,
};
use uuid::Uuid;

use super::refused;
use crate::support::contents::{closed, contents, global_file, spoil};
use crate::support::polled::poll_times;
use crate::support::probe::{Call, Probe};
use crate::support::{directory, location, manager, shards, sqlite};

fn shareable<T: Clone + Send + Sync + 'static>() {}
fn movable<T: Send>(_: &T) {}

#[test]
fn handles_are_cheap_to_share_between_threads() {
    shareable::<ShardMapManager<Sqlite>>();
    shareable::<ListShardMap<Uuid, Sqlite>>();
    shareable::<RangeShardMap<i64, Sqlite>>();
    shareable::<PointMapping<Vec<u8>>>();
    shareable::<RangeMapping<i32>>();
    shareable::<Shard>();
    shareable::<LockToken>();
    assert_eq!(size_of::<ShardMapManager<Sqlite>>(), size_of::<usize>());
    assert_eq!(size_of::<RangeShardMap<i64, Sqlite>>(), size_of::<usize>());
    fn sendable<T: Send>() {}
    sendable::<SqliteConnection>();
    sendable::<Operation<PointMapping<i32>>>();
}

#[tokio::test]
async fn futures_can_go_to_another_thread() {
    let manager = manager().await;
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    movable(&manager.list_shard_map::<i32>("m"));
    movable(&map.create_shard(&location(0)));
    movable(&map.lookup_mapping(&1));
    movable(&map.open_connection_for_key(&1, &NoCredentials, Validation::Validate));
}

#[tokio::test]
async fn a_new_place_holds_no_store() {
    for (case, backend, _kept) in [("memory", Sqlite::in_memory(), None), {
        let directory = directory();
        ("directory", sqlite(&directory), Some(directory))
    }] {
        assert!(ShardMapManager::try_open(backend.clone(), Options::default()).await.unwrap().is_none(), "{case}");
        let opened = ShardMapManager::open(backend.clone(), Options::default()).await;
        let _ = refused(opened, ErrorKind::NotFound, ErrorCode::ShardMapManagerStoreDoesNotExist, case);
        let again = ShardMapManager::try_open(backend, Options::default()).await.unwrap();
        assert!(again.is_none(), "{case}: looking for a store has made one");
    }
}

#[tokio::test]
async fn looking_for_a_store_makes_no_file() {
    let parent = directory();
    let place = parent.path().join("not/there/yet");
    let backend = Sqlite::open(&place).unwrap();
    assert!(ShardMapManager::try_open(backend, Options::default()).await.unwrap().is_none());
    assert!(!parent.path().join("not").exists());
}

#[tokio::test]
async fn an_existing_store_is_kept_unless_it_is_to_be_replaced() {
    let directory = directory();
    let create = |mode| ShardMapManager::create(sqlite(&directory), mode, Options::default());
    let first = create(CreateMode::Keep).await.unwrap();
    let map = first.create_range_shard_map::<i64>("orders").await.unwrap();
    let shard = map.create_shard(&location(0)).await.unwrap();
    let _ = map.create_mapping(0..10, &shard).await.unwrap();
    let before = contents(&first).await;

    let kept = create(CreateMode::Keep).await;
    let _ = refused(kept, ErrorKind::AlreadyExists, ErrorCode::ShardMapManagerStoreAlreadyExists, "keep");
    assert_eq!(contents(&first).await, before);
    let opened = ShardMapManager::open(sqlite(&directory), Options::default()).await.unwrap();
    assert_eq!(contents(&opened).await, before);

    let replaced = create(CreateMode::Replace).await.unwrap();
    assert_eq!(contents(&replaced).await, "");
    // The old handle names a map that is gone, whatever its cache says.
    let gone = map.mappings().await;
    let _ = refused(gone, ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, "a map of the replaced store");
    // The shard's own store is left, and does not stand in the way of a map of the old name.
    let map = replaced.create_range_shard_map::<i64>("orders").await.unwrap();
    let shard = map.create_shard(&location(0)).await.unwrap();
    let _ = map.create_mapping(0..10, &shard).await.unwrap();
    let _ = map.open_connection_for_key(&5, &NoCredentials, Validation::Validate).await.unwrap();
}

#[tokio::test]
async fn replace_makes_a_store_where_there_is_none() {
    let manager = ShardMapManager::create(Sqlite::in_memory(), CreateMode::Replace, Options::default()).await.unwrap();
    assert_eq!(manager.shard_maps().await.unwrap(), []);
}

#[tokio::test]
async fn a_store_is_dropped_and_none_is_made_to_be_dropped() {
    let directory = directory();
    let below = directory.path().join("below");
    assert!(!ShardMapManager::drop_store(&Sqlite::open(&below).unwrap()).await.unwrap());
    assert!(!below.exists(), "nothing was made");

    let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
    let map = manager.create_range_shard_map::<i64>("orders").await.unwrap();
    let shard = map.create_shard(&location(0)).await.unwrap();
    let _ = map.create_mapping(0..10, &shard).await.unwrap();
    assert!(ShardMapManager::drop_store(&sqlite(&directory)).await.unwrap());
    assert!(ShardMapManager::try_open(sqlite(&directory), Options::default()).await.unwrap().is_none());
    // Who has the map open routes on: the shard knows its keys.
    let _ = map.open_connection_for_key(&5, &NoCredentials, Validation::Validate).await.unwrap();
    let gone = manager.shard_maps().await.unwrap_err();
    assert_eq!((gone.kind(), gone.code()), (ErrorKind::NotFound, ErrorCode::ShardMapManagerStoreDoesNotExist));

    let manager = ShardMapManager::create(sqlite(&directory), CreateMode::Keep, Options::default()).await.unwrap();
    let recovery = manager.recovery();
    let _ = recovery.restore_shard_map(&location(0), "orders").await.unwrap();
    let _ = recovery.attach(&location(0), "orders").await.unwrap();
    recovery.rebuild_shard_map("orders", &[location(0)]).await.unwrap();
    let back = manager.range_shard_map::<i64>("orders").await.unwrap().mappings().await.unwrap();
    assert_eq!(back.len(), 1, "what the shard knows comes back");
}

#[tokio::test]
async fn a_drop_of_a_store_that_is_abandoned_has_happened_or_not() {
    for polls in 0.. {
        let directory = directory();
        let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
        let _ = manager.create_list_shard_map::<i32>("m").await.unwrap();
        drop(manager);
        let result = poll_times(ShardMapManager::drop_store(&sqlite(&directory)), polls).await;
        closed(&global_file(directory.path())).await;

        let left = ShardMapManager::try_open(sqlite(&directory), Options::default()).await.unwrap();
        let is_there = left.is_some();
        if let Some(left) = left {
            assert_eq!(left.shard_maps().await.unwrap().len(), 1, "{polls}: whole");
        }
        assert!(polls > 0 || is_there, "it did nothing before it was awaited");
        assert_eq!(ShardMapManager::drop_store(&sqlite(&directory)).await.unwrap(), is_there, "{polls}");
        if let Some(result) = result {
            assert!(result.unwrap() && !is_there, "{polls}");
            return;
        }
    }
}

#[tokio::test]
async fn the_documents_way_to_open_or_create() {
    let directory = directory();
    for expected in [false, true, true] {
        let found = ShardMapManager::try_open(sqlite(&directory), Options::default()).await.unwrap();
        assert_eq!(found.is_some(), expected);
        let manager = match found {
            Some(manager) => manager,
            None => ShardMapManager::create(sqlite(&directory), CreateMode::Keep, Options::default()).await.unwrap(),
        };
        let _ = manager.range_shard_map_or_create::<i32>("orders").await.unwrap();
        assert_eq!(manager.shard_maps().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn many_clients_that_open_or_create_at_once_get_one_store() {
    let directory = directory();
    let clients = (0..8).map(|client| {
        let backend = sqlite(&directory);
        tokio::spawn(async move {
            let manager = ShardMapManager::open_or_create(backend, Options::default()).await.unwrap();
            let map = manager.list_shard_map_or_create::<i32>("shared").await.unwrap();
            let shard = map.shard_or_create(&location(0)).await.unwrap();
            let _ = map.create_mapping(client, &shard).await.unwrap();
            map.id()
        })
    });
    let ids = futures::future::join_all(clients).await;
    let first = *ids[0].as_ref().unwrap();
    assert!(ids.iter().all(|id| *id.as_ref().unwrap() == first), "{ids:?}");
    let manager = ShardMapManager::open(sqlite(&directory), Options::default()).await.unwrap();
    let map = manager.list_shard_map::<i32>("shared").await.unwrap();
    let keys: Vec<i32> = map.mappings().await.unwrap().iter().map(PointMapping::key).collect();
    assert_eq!(keys, (0..8).collect::<Vec<_>>());
    assert_eq!(map.shards().await.unwrap().len(), 1);
}

#[tokio::test]
async fn of_many_clients_that_create_at_once_one_succeeds() {
    let directory = directory();
    let clients = (0..8).map(|_| {
        let backend = sqlite(&directory);
        tokio::spawn(async move { ShardMapManager::create(backend, CreateMode::Keep, Options::default()).await })
    });
    let mut created = 0;
    for outcome in futures::future::join_all(clients).await {
        match outcome.unwrap() {
            Ok(_) => created += 1,
            Err(error) => assert_eq!(error.code(), ErrorCode::ShardMapManagerStoreAlreadyExists, "{error:?}"),
        }
    }
    assert_eq!(created, 1);
}

#[tokio::test]
async fn eager_reads_all_mappings_once_and_lazy_reads_none() {
    let backend = Sqlite::in_memory();
    let writer = ShardMapManager::open_or_create(backend.clone(), Options::default()).await.unwrap();
    let list = writer.create_list_shard_map::<Uuid>("list").await.unwrap();
    let range = writer.create_range_shard_map::<i32>("range").await.unwrap();
    let (on, _) = (shards(&list, 1).await, shards(&range, 1).await);
    let tenant = Uuid::from_u128(7);
    let _ = list.create_mapping(tenant, &on[0]).await.unwrap();
    let on = range.shard(&location(0)).await.unwrap();
    let _ = range.create_mapping(..0, &on).await.unwrap();
    let _ = range.create_mapping(0.., &on).await.unwrap();

    for (policy, loads, cached) in [(LoadPolicy::Lazy, 0, false), (LoadPolicy::Eager, 1, true)] {
        let probe = Probe::new(backend.clone());
        let manager = ShardMapManager::open(probe.clone(), Options::default().load_policy(policy)).await.unwrap();
        assert_eq!(probe.count(&Call::LoadAll), loads, "{policy:?}");
        let list = manager.list_shard_map::<Uuid>("list").await.unwrap();
        let range = manager.range_shard_map::<i32>("range").await.unwrap();
        probe.reset();
        assert_eq!(list.cached_mapping(&tenant).is_some(), cached, "{policy:?}");
        for key in [i32::MIN, -1, 0, i32::MAX] {
            assert_eq!(range.cached_mapping(&key).is_some(), cached, "{policy:?} {key}");
        }
        let _ = list.lookup_mapping(&tenant).await.unwrap();
        let _ = range.lookup_mapping(&3).await.unwrap();
        assert_eq!(probe.total(), if cached { 0 } else { 2 }, "{policy:?}");
    }
}

#[tokio::test]
async fn a_store_of_another_major_version_is_refused_by_every_call() {
    for (version, older) in [(2, "this library is older"), (0, "the store is older")] {
        let directory = directory();
        let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
        let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
        let shard = map.create_shard(&location(0)).await.unwrap();
        let mapping = map.create_mapping(1, &shard).await.unwrap();
        let sql = format!(r#"UPDATE "__ShardManagement.ShardMapManagerGlobal" SET "StoreVersionMajor" = {version}"#);
        spoil(&global_file(directory.path()), &sql);
        let before = crate::support::contents::rows(directory.path());

        let (kind, code) = (ErrorKind::VersionMismatch, ErrorCode::GlobalStoreVersionMismatch);
        let eager = Options::default().load_policy(LoadPolicy::Eager);
        for (case, error) in [
            ("open", refused(ShardMapManager::open(sqlite(&directory), Options::default()).await, kind, code, "open")),
            ("eager", refused(ShardMapManager::open(sqlite(&directory), eager).await, kind, code, "eager")),
            (
                "try_open",
                refused(
                    ShardMapManager::try_open(sqlite(&directory), Options::default()).await,
                    kind,
                    code,
                    "try_open",
                ),
            ),
            (
                "open_or_create",
                refused(
                    ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await,
                    kind,
                    code,
                    "or",
                ),
            ),
            ("maps", refused(manager.shard_maps().await, kind, code, "maps")),
            ("create map", refused(manager.create_list_shard_map::<i32>("n").await, kind, code, "create map")),
            ("shards", refused(map.shards().await, kind, code, "shards")),
            ("create shard", refused(map.create_shard(&location(1)).await, kind, code, "create shard")),
            ("create mapping", refused(map.create_mapping(2, &shard).await, kind, code, "create mapping")),
            ("mark offline", refused(map.mark_mapping_offline(mapping.clone()).await, kind, code, "mark offline")),
            ("lock", refused(map.lock_mapping(mapping.clone(), LockToken::random()).await, kind, code, "lock")),
            ("mapping", refused(map.mapping_for_key(&1).await, kind, code, "mapping")),
        ] {
            let text = error.to_string();
            assert!(text.contains(older) && text.contains(&format!("{version}.2")), "{case}: {text}");
        }
        assert_eq!(crate::support::contents::rows(directory.path()), before);
        // What is cached is routed all the same: the shard's own store is of our version.
        let _ = map.open_connection_for_key(&1, &NoCredentials, Validation::Validate).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_of_another_minor_version_is_used() {
    let directory = directory();
    drop(ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap());
    for minor in [1, 3] {
        let sql = format!(r#"UPDATE "__ShardManagement.ShardMapManagerGlobal" SET "StoreVersionMinor" = {minor}"#);
        spoil(&global_file(directory.path()), &sql);
        let manager = ShardMapManager::open(sqlite(&directory), Options::default()).await.unwrap();
        let _ = manager.create_list_shard_map::<i32>(&format!("m{minor}")).await.unwrap();
    }
}

#[tokio::test]
async fn maps_are_made_found_listed_and_deleted_by_name() {
    let manager = manager().await;
    let orders = manager.create_range_shard_map::<i64>("orders").await.unwrap();
    let tenants = manager.create_list_shard_map::<Uuid>("Tenants").await.unwrap();
    assert_eq!(
        (orders.name(), orders.info().kind(), orders.info().key_type()),
        ("orders", ShardMapKind::Range, KeyType::Int64)
    );
    assert_eq!(format!("{tenants:?}"), "ShardMap[list:Guid:Tenants]");

    assert_eq!(manager.range_shard_map::<i64>("orders").await.unwrap().id(), orders.id());
    assert_eq!(manager.find_list_shard_map::<Uuid>("tenants").await.unwrap().unwrap().id(), tenants.id());
    assert!(manager.find_list_shard_map::<Uuid>("others").await.unwrap().is_none());
    assert!(manager.find_range_shard_map::<i32>("others").await.unwrap().is_none());
    assert!(manager.find_shard_map("others").await.unwrap().is_none());
    assert_eq!(manager.shard_map("ORDERS").await.unwrap(), *orders.info());
    let listed = manager.shard_maps().await.unwrap();
    assert_eq!(listed, [orders.info().clone(), tenants.info().clone()]);

    for missing in [
        manager.shard_map("others").await.map(|_| ()),
        manager.list_shard_map::<i32>("others").await.map(|_| ()),
        manager.range_shard_map::<i32>("others").await.map(|_| ()),
    ] {
        let _ = refused(missing, ErrorKind::NotFound, ErrorCode::ShardMapLookupFailure, "a missing map");
    }

    manager.delete_shard_map("Orders").await.unwrap();
    assert_eq!(manager.shard_maps().await.unwrap(), [tenants.info().clone()]);
    manager.delete_shard_map("orders").await.expect("deleting what is gone succeeds");
    manager.delete_shard_map("never there").await.expect("deleting what never was succeeds");
}

#[tokio::test]
async fn names_are_unique_whatever_the_kind_and_the_case() {
    let manager = manager().await;
    let first = manager.create_list_shard_map::<i32>("Été").await.unwrap();
    let before = contents(&manager).await;
    for name in ["Été", "été", "ÉTÉ", "été  "] {
        let list = manager.create_list_shard_map::<i32>(name).await;
        let _ = refused(list, ErrorKind::AlreadyExists, ErrorCode::ShardMapAlreadyExists, name);
        let range = manager.create_range_shard_map::<i64>(name).await;
        let _ = refused(range, ErrorKind::AlreadyExists, ErrorCode::ShardMapAlreadyExists, name);
        assert_eq!(manager.list_shard_map::<i32>(name).await.unwrap().id(), first.id(), "{name}");
        assert_eq!(manager.list_shard_map_or_create::<i32>(name).await.unwrap().id(), first.id(), "{name}");
    }
    assert_eq!(contents(&manager).await, before);
    let other = manager.create_list_shard_map::<i32>("Ete").await.unwrap();
    assert_ne!(other.id(), first.id(), "accents distinguish names");
}

#[tokio::test]
async fn a_name_has_1_to_50_characters_of_any_script() {
    let manager = manager().await;
    let good = [
        "a".to_owned(),
        "-".to_owned(),
        "a".repeat(50),
        "表".repeat(50),
        "😀".repeat(25),
        "'; DROP TABLE x; --".to_owned(),
        "\"quoted\" [brackets] `ticks`".to_owned(),
        "<&>]]>\t\n".to_owned(),
        "\u{202e}right to left \u{5d0}".to_owned(),
        "%_*?".to_owned(),
        "e\u{301}".to_owned(),
    ];
    for name in &good {
        let map = manager.create_list_shard_map::<i32>(name).await.unwrap_or_else(|error| panic!("{name:?}: {error}"));
        let shard = map.create_shard(&location(0)).await.unwrap_or_else(|error| panic!("{name:?}: {error}"));
        let mapping = map.create_mapping(1, &shard).await.unwrap_or_else(|error| panic!("{name:?}: {error}"));
        let found = manager.list_shard_map::<i32>(name).await.unwrap();
        assert_eq!((found.id(), found.name()), (map.id(), name.as_str()));
        assert_eq!(found.mapping_for_key(&1).await.unwrap(), mapping, "{name:?}");
    }
    assert_eq!(manager.shard_maps().await.unwrap().len(), good.len());

    let before = contents(&manager).await;
    let bad =
        ["".to_owned(), "a".repeat(51), "表".repeat(51), "😀".repeat(26), "a\0b".to_owned(), "\u{1b}[0m".to_owned()];
    for name in &bad {
        for outcome in [
            manager.create_list_shard_map::<i32>(name).await.map(|_| ()),
            manager.create_range_shard_map::<i32>(name).await.map(|_| ()),
            manager.list_shard_map::<i32>(name).await.map(|_| ()),
            manager.find_range_shard_map::<i32>(name).await.map(|_| ()),
            manager.list_shard_map_or_create::<i32>(name).await.map(|_| ()),
            manager.shard_map(name).await.map(|_| ()),
            manager.delete_shard_map(name).await,
        ] {
            let _ = refused(outcome, ErrorKind::InvalidInput, ErrorCode::InvalidArgument, &format!("{name:?}"));
        }
    }
    assert_eq!(contents(&manager).await, before);
}

#[tokio::test]
async fn a_map_opens_only_as_what_it_is() {
    let manager = manager().await;
    let _ = manager.create_list_shard_map::<i32>("list").await.unwrap();
    let _ = manager.create_range_shard_map::<i64>("range").await.unwrap();
    let wrong = [
        ("list map of another key type", manager.list_shard_map::<i64>("list").await.map(|_| ())),
        ("list map as a range map", manager.range_shard_map::<i32>("list").await.map(|_| ())),
        ("list map as a range map of another key type", manager.range_shard_map::<Uuid>("list").await.map(|_| ())),
        ("range map of another key type", manager.range_shard_map::<i32>("range").await.map(|_| ())),
        ("range map as a list map", manager.list_shard_map::<i64>("range").await.map(|_| ())),
        ("found of another key type", manager.find_list_shard_map::<Vec<u8>>("list").await.map(|_| ())),
        ("found as another kind", manager.find_list_shard_map::<i64>("range").await.map(|_| ())),
        ("or created of another key type", manager.list_shard_map_or_create::<i64>("list").await.map(|_| ())),
        ("or created as another kind", manager.range_shard_map_or_create::<i32>("list").await.map(|_| ())),
    ];
    for (case, outcome) in wrong {
        let error = refused(outcome, ErrorKind::WrongKeyType, ErrorCode::ShardMapTypeConversionError, case);
        assert!(error.shard_map().is_some(), "{case}: {error}");
    }
    assert_eq!(manager.shard_maps().await.unwrap().len(), 2, "asking created nothing");
    // Two Rust types of one key type are one.
    let binary = manager.create_list_shard_map::<Vec<u8>>("binary").await.unwrap();
    assert_eq!(manager.list_shard_map::<bytes::Bytes>("binary").await.unwrap().id(), binary.id());
}

#[tokio::test]
async fn a_map_with_shards_is_not_deleted() {
    let manager = manager().await;
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let shard = map.create_shard(&location(0)).await.unwrap();
    let before = contents(&manager).await;
    let _ =
        refused(manager.delete_shard_map("m").await, ErrorKind::InUse, ErrorCode::ShardMapHasShards, "with a shard");
    assert_eq!(contents(&manager).await, before);
    map.delete_shard(shard).await.unwrap();
    manager.delete_shard_map("m").await.unwrap();
    let used = map.create_shard(&location(0)).await;
    let _ = refused(used, ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, "a handle of a deleted map");
    let _ = refused(map.shards().await, ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, "shards");
    let _ = refused(map.find_shard(&location(0)).await, ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, "shard");
    let _ = refused(map.mappings().await, ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, "mappings");
    let unlocked = map.unlock_mappings(LockToken::random()).await;
    let _ = refused(unlocked, ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, "unlock");
}

#[tokio::test]
async fn a_map_of_an_old_name_inherits_nothing() {
    let backend = Sqlite::in_memory();
    let ours = ShardMapManager::open_or_create(backend.clone(), Options::default()).await.unwrap();
    let other = ShardMapManager::open(backend, Options::default()).await.unwrap();
    for deleted_by in [&ours, &other] {
        let old = ours.create_list_shard_map::<i32>("m").await.unwrap();
        let shard = old.create_shard(&location(0)).await.unwrap();
        let mapping = old.create_mapping(1, &shard).await.unwrap();
        assert!(old.cached_mapping(&1).is_some());

        let map = deleted_by.list_shard_map::<i32>("m").await.unwrap();
        map.delete_mapping(map.mark_mapping_offline(mapping).await.unwrap()).await.unwrap();
        map.delete_shard(map.shard(&location(0)).await.unwrap()).await.unwrap();
        deleted_by.delete_shard_map("m").await.unwrap();

        let new = ours.create_list_shard_map::<i32>("M").await.unwrap();
        assert_ne!(new.id(), old.id());
        assert!(new.cached_mapping(&1).is_none());
        let _ = refused(new.lookup_mapping(&1).await, ErrorKind::NotFound, ErrorCode::MappingNotFoundForKey, "new map");
        assert_eq!(new.shards().await.unwrap(), []);
        let opened = old.open_connection_for_key(&1, &NoCredentials, Validation::Validate).await;
        let _ = refused(opened, ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, "old handle");
        ours.delete_shard_map("m").await.unwrap();
    }
}

#[tokio::test]
async fn many_tasks_use_one_manager_at_once() {
    let manager = manager().await;
    let tasks = (0..16).map(|task: usize| {
        let manager = manager.clone();
        tokio::spawn(async move {
            let map = manager.create_range_shard_map::<i32>(&format!("map {}", task % 4)).await;
            match map {
                Ok(map) => Some(map.id()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
                Err(error) => panic!("{error:?}"),
            }
        })
    });
    let created = futures::future::join_all(tasks).await.into_iter().filter_map(Result::unwrap).count();
    assert_eq!(created, 4);
    assert_eq!(manager.shard_maps().await.unwrap().len(), 4);
    let same = Arc::new(manager.clone());
    assert_eq!(same.shard_maps().await.unwrap(), manager.shard_maps().await.unwrap());
}
