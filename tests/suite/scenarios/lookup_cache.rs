//! What the cache of one client knows while another changes the store, and how many requests lookups cost.

use shardlet::{
    CacheOptions, ErrorCode, ErrorKind, ListShardMap, LoadPolicy, MappingStatus, NoCredentials, Options, PointMapping,
    RangeShardMap, ShardMapManager, Sqlite, Validation,
};

use super::refused;
use crate::support::probe::{Call, Probe};
use crate::support::{location, shards};

type Client = (Probe<Sqlite>, ShardMapManager<Probe<Sqlite>>);

async fn client(backend: &Sqlite, options: Options) -> Client {
    let probe = Probe::new(backend.clone());
    let manager = ShardMapManager::open_or_create(probe.clone(), options).await.unwrap();
    probe.reset();
    (probe, manager)
}

/// Two clients with a cache each, and a list map that both have open.
struct Two {
    a: Probe<Sqlite>,
    b: Probe<Sqlite>,
    at_a: ListShardMap<i32, Probe<Sqlite>>,
    at_b: ListShardMap<i32, Probe<Sqlite>>,
}

async fn two() -> Two {
    let backend = Sqlite::in_memory();
    let (a, manager_a) = client(&backend, Options::default()).await;
    let (b, manager_b) = client(&backend, Options::default()).await;
    let at_a = manager_a.create_list_shard_map::<i32>("m").await.unwrap();
    let at_b = manager_b.list_shard_map::<i32>("m").await.unwrap();
    let _ = shards(&at_a, 2).await;
    Two { a, b, at_a, at_b }
}

impl Two {
    fn reset(&self) {
        self.a.reset();
        self.b.reset();
    }

    /// Mapped by the first client, online.
    async fn map_key(&self, key: i32) -> PointMapping<i32> {
        let shard = self.at_a.shard(&location(0)).await.unwrap();
        let mapping = self.at_a.create_mapping(key, &shard).await.unwrap();
        self.reset();
        mapping
    }
}

#[tokio::test]
async fn what_a_client_makes_is_in_its_cache_and_in_no_other() {
    let two = two().await;
    let mapping = two.map_key(1).await;
    assert_eq!(two.at_a.cached_mapping(&1), Some(mapping.clone()));
    assert_eq!(two.at_a.lookup_mapping(&1).await.unwrap(), mapping);
    assert_eq!((two.a.total(), two.b.total()), (0, 0), "the maker knows it");

    assert_eq!(two.at_b.cached_mapping(&1), None);
    assert_eq!(two.at_b.lookup_mapping(&1).await.unwrap(), mapping);
    assert_eq!((two.b.count(&Call::FindMappingByKey), two.b.total()), (1, 1), "the other reads it once");
    assert_eq!(two.at_b.cached_mapping(&1), Some(mapping.clone()));
    for _ in 0..100 {
        assert_eq!(two.at_b.lookup_mapping(&1).await.unwrap(), mapping);
    }
    assert_eq!(two.b.total(), 1, "a warm lookup makes no request");
}

#[tokio::test]
async fn reading_from_the_store_fills_and_refreshes_the_cache() {
    let two = two().await;
    let mapping = two.map_key(1).await;
    assert_eq!(two.at_b.mapping_for_key(&1).await.unwrap(), mapping);
    assert_eq!(two.at_b.cached_mapping(&1), Some(mapping.clone()));

    let offline = two.at_a.mark_mapping_offline(mapping.clone()).await.unwrap();
    two.reset();
    assert_eq!(two.at_a.cached_mapping(&1), Some(offline.clone()), "who changes it knows at once");
    assert_eq!(two.at_b.lookup_mapping(&1).await.unwrap(), mapping, "the other's cache is old");
    assert_eq!(two.b.total(), 0);
    assert_eq!(two.at_b.mapping_for_key(&1).await.unwrap(), offline, "the store is asked anew");
    assert_eq!(two.b.count(&Call::FindMappingByKey), 1);
    assert_eq!(two.at_b.lookup_mapping(&1).await.unwrap(), offline, "and the cache follows");
    assert_eq!(two.b.total(), 1);
    let _ = two.at_b.mapping_for_key(&1).await.unwrap();
    assert_eq!(two.b.total(), 2, "asking the store is never answered by the cache");
}

#[tokio::test]
async fn reading_from_the_store_evicts_what_is_gone() {
    for by_find in [false, true] {
        let two = two().await;
        let mapping = two.map_key(1).await;
        let _ = two.at_b.lookup_mapping(&1).await.unwrap();
        two.at_a.delete_mapping(two.at_a.mark_mapping_offline(mapping.clone()).await.unwrap()).await.unwrap();
        two.reset();
        assert_eq!(two.at_a.cached_mapping(&1), None, "who deletes it knows at once");
        assert_eq!(two.at_b.lookup_mapping(&1).await.unwrap(), mapping, "the other's cache is old");
        assert_eq!(two.at_b.cached_mapping(&1), Some(mapping), "and stays so until the store is asked");
        if by_find {
            assert!(two.at_b.find_mapping_for_key(&1).await.unwrap().is_none());
        } else {
            let found = two.at_b.mapping_for_key(&1).await;
            let _ = refused(found, ErrorKind::NotFound, ErrorCode::MappingNotFoundForKey, "deleted");
        }
        assert_eq!(two.at_b.cached_mapping(&1), None, "the store's answer evicts it");
        let found = two.at_b.lookup_mapping(&1).await;
        let _ = refused(found, ErrorKind::NotFound, ErrorCode::MappingNotFoundForKey, "deleted");
    }
}

#[tokio::test]
async fn a_stale_cache_never_leads_a_validated_connection_astray() {
    let two = two().await;
    let mapping = two.map_key(1).await;
    let open = |validation| two.at_b.open_connection_for_key(&1, &NoCredentials, validation);
    assert_eq!(open(Validation::Validate).await.unwrap().location(), &location(0));
    two.reset();
    let _ = open(Validation::Validate).await.unwrap();
    assert_eq!((two.b.count(&Call::OpenRouted), two.b.total()), (1, 1), "a warm open asks the shard and nobody else");

    let to = two.at_a.shard(&location(1)).await.unwrap();
    let offline = two.at_a.mark_mapping_offline(mapping.clone()).await.unwrap();
    let moved = two.at_a.mark_mapping_online(two.at_a.move_mapping(offline, &to).await.unwrap()).await.unwrap();
    two.reset();
    assert_eq!(open(Validation::None).await.unwrap().location(), &location(0), "unvalidated, the cache decides");
    assert_eq!(two.b.total(), 1);
    two.reset();
    assert_eq!(open(Validation::Validate).await.unwrap().location(), &location(1));
    assert_eq!((two.b.count(&Call::OpenRouted), two.b.count(&Call::FindMappingByKey)), (2, 1), "one refresh");
    assert_eq!(two.at_b.cached_mapping(&1), Some(moved.clone()));

    let offline = two.at_a.mark_mapping_offline(moved).await.unwrap();
    let _ = refused(open(Validation::Validate).await, ErrorKind::Offline, ErrorCode::MappingIsOffline, "offline");
    two.at_a.delete_mapping(offline).await.unwrap();
    two.reset();
    let _ = refused(open(Validation::Validate).await, ErrorKind::NotFound, ErrorCode::MappingNotFoundForKey, "deleted");
    assert_eq!(two.b.count(&Call::FindMappingByKey), 1);
    assert_eq!(two.at_b.cached_mapping(&1), None);
}

#[tokio::test]
async fn a_stale_handle_evicts_only_its_own_mapping() {
    let two = two().await;
    let first = two.map_key(1).await;
    let beside = two.map_key(2).await;
    let _ = (two.at_b.lookup_mapping(&1).await.unwrap(), two.at_b.lookup_mapping(&2).await.unwrap());
    let current = two.at_a.mark_mapping_offline(first.clone()).await.unwrap();
    let outcome = two.at_b.mark_mapping_offline(first.clone()).await;
    let _ = refused(outcome, ErrorKind::Stale, ErrorCode::MappingDoesNotExist, "changed by the other");
    assert_eq!(two.at_b.cached_mapping(&1), None, "what was found stale is not used any more");
    assert_eq!(two.at_b.cached_mapping(&2), Some(beside));
    assert_eq!(two.at_b.lookup_mapping(&1).await.unwrap(), current);
    let outcome = two.at_b.delete_mapping(first).await;
    let _ = refused(outcome, ErrorKind::Stale, ErrorCode::MappingDoesNotExist, "again");
    assert_eq!(two.at_b.cached_mapping(&1), Some(current), "an old handle does not drop newer data");
}

#[tokio::test]
async fn a_failed_change_leaves_the_cache_alone() {
    let two = two().await;
    let mapping = two.map_key(1).await;
    let shard = two.at_a.shard(&location(0)).await.unwrap();
    let _ = two.at_a.create_mapping(1, &shard).await.unwrap_err();
    let _ = two.at_a.delete_mapping(mapping.clone()).await.unwrap_err();
    let _ = two.at_a.move_mapping(mapping.clone(), &two.at_a.shard(&location(1)).await.unwrap()).await.unwrap_err();
    two.reset();
    assert_eq!(two.at_a.lookup_mapping(&1).await.unwrap(), mapping);
    assert_eq!(two.a.total(), 0);
}

#[tokio::test]
async fn clearing_the_cache_costs_each_key_one_read() {
    let two = two().await;
    let made = [two.map_key(1).await, two.map_key(2).await];
    let entries = two.at_a.cache_statistics().entries;
    assert_eq!(entries, 2);
    two.at_a.clear_cache();
    assert_eq!((two.at_a.cached_mapping(&1), two.at_a.cache_statistics().entries), (None, 0));
    for _ in 0..3 {
        assert_eq!(two.at_a.lookup_mapping(&1).await.unwrap(), made[0]);
        assert_eq!(two.at_a.lookup_mapping(&2).await.unwrap(), made[1]);
    }
    assert_eq!((two.a.count(&Call::FindMappingByKey), two.a.total()), (2, 2));
}

#[tokio::test]
async fn handles_and_clones_of_one_manager_share_the_cache() {
    let two = two().await;
    let mapping = two.map_key(1).await;
    let again = two.at_a.manager().clone().list_shard_map::<i32>("M").await.unwrap();
    two.reset();
    assert_eq!(again.lookup_mapping(&1).await.unwrap(), mapping);
    assert_eq!(two.a.total(), 0);
    again.clear_cache();
    assert_eq!(two.at_a.cached_mapping(&1), None);
}

#[tokio::test]
async fn a_missing_key_is_asked_for_each_time_unless_told_otherwise() {
    let backend = Sqlite::in_memory();
    let remembering = CacheOptions::default().missing_key_time(std::time::Duration::from_secs(3600));
    for (case, cache, reads) in [("default", CacheOptions::default(), 3), ("remembered", remembering, 1)] {
        let (probe, manager) = client(&backend, Options::default().cache(cache)).await;
        let map = manager.list_shard_map_or_create::<i32>(case).await.unwrap();
        let on = shards(&map, 1).await;
        probe.reset();
        for _ in 0..3 {
            let found = map.lookup_mapping(&7).await;
            let _ = refused(found, ErrorKind::NotFound, ErrorCode::MappingNotFoundForKey, case);
        }
        assert_eq!(probe.count(&Call::FindMappingByKey), reads, "{case}");
        let mapping = map.create_mapping(7, &on[0]).await.unwrap();
        assert_eq!(map.lookup_mapping(&7).await.unwrap(), mapping, "{case}: one's own change is seen at once");
    }
}

#[tokio::test]
async fn without_capacity_every_lookup_reads_the_store() {
    let (probe, manager) =
        client(&Sqlite::in_memory(), Options::default().cache(CacheOptions::default().capacity(0))).await;
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 1).await;
    let mapping = map.create_mapping(1, &on[0]).await.unwrap();
    probe.reset();
    for reads in 1..=3 {
        assert_eq!(map.lookup_mapping(&1).await.unwrap(), mapping);
        assert_eq!(probe.count(&Call::FindMappingByKey), reads);
    }
}

#[tokio::test]
async fn an_eager_client_reads_nothing_more() {
    let backend = Sqlite::in_memory();
    let (_, writer) = client(&backend, Options::default()).await;
    let map = writer.create_range_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 2).await;
    for step in 0..50 {
        let at = usize::try_from(step % 2).unwrap();
        let _ = map.create_mapping(step * 10..step * 10 + 10, &on[at]).await.unwrap();
    }
    let (probe, reader) = client(&backend, Options::default().load_policy(LoadPolicy::Eager)).await;
    let map: RangeShardMap<i32, _> = reader.range_shard_map("m").await.unwrap();
    probe.reset();
    for key in 0..500 {
        let found = map.lookup_mapping(&key).await.unwrap();
        assert!(found.range().contains(&key), "{key}: {found}");
    }
    assert_eq!(probe.total(), 0);
    // What changes later is asked for when it is needed.
    let changed = writer.range_shard_map::<i32>("m").await.unwrap();
    let mapping = changed.mark_mapping_offline(changed.mapping_for_key(&5).await.unwrap()).await.unwrap();
    assert_eq!(map.lookup_mapping(&5).await.unwrap().status(), MappingStatus::Online);
    assert_eq!(map.mapping_for_key(&5).await.unwrap(), mapping);
    assert_eq!(probe.count(&Call::FindMappingByKey), 1);
}

#[tokio::test]
async fn lists_and_shards_are_always_read_from_the_store() {
    let two = two().await;
    let _ = two.map_key(1).await;
    for reads in 1..=2 {
        assert_eq!(two.at_a.mappings().await.unwrap().len(), 1);
        assert_eq!(two.at_a.shards().await.unwrap().len(), 2);
        assert_eq!((two.a.count(&Call::Mappings), two.a.count(&Call::Shards)), (reads, reads));
    }
    assert_eq!(two.at_b.mappings().await.unwrap().len(), 1);
    assert_eq!(two.at_b.cached_mapping(&1), None, "a list leaves the cache alone");
}

#[tokio::test]
async fn a_shard_that_left_its_map_does_not_cost_the_cache() {
    let two = two().await;
    let mapping = two.map_key(1).await;
    let left = two.at_a.shard(&location(1)).await.unwrap();
    two.at_a.delete_shard(left.clone()).await.unwrap();
    let opened = two.at_a.open_connection_to_shard(&left, &NoCredentials, Validation::Validate).await;
    let _ = refused(opened, ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, "the shard is gone, not the map");
    two.reset();
    assert_eq!(two.at_a.lookup_mapping(&1).await.unwrap(), mapping);
    assert_eq!(two.a.total(), 0, "the mappings of other shards are still known");
}

#[tokio::test]
async fn with_the_global_store_down_cached_keys_are_routed() {
    let two = two().await;
    let _ = two.map_key(1).await;
    let down = shardlet::Error::new(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "down");
    two.a.inject(Call::FindMappingByKey, usize::MAX, crate::support::probe::Fault::FailBefore(down));
    for validation in [Validation::Validate, Validation::None] {
        let _ = two.at_a.open_connection_for_key(&1, &NoCredentials, validation).await.unwrap();
    }
    let _ = two.at_a.lookup_mapping(&1).await.unwrap();
    let other = two.at_a.open_connection_for_key(&2, &NoCredentials, Validation::Validate).await;
    let _ = refused(other, ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "an unknown key");
}
