//! Routing: what lookups and opens cost in requests, what they answer, and what they do about mappings that others changed.

use std::time::Duration;

use futures::future::join_all;
use shardlet::{
    CacheOptions, ErrorCode, ErrorKind, ListShardMap, LoadPolicy, MappingStatus, NoCredentials, Options, RangeMapping,
    RangeShardMap, ShardLocation, ShardMapManager, Sqlite, SqliteConnection, Validation,
};

use crate::support::probe::{Call, Fault, Probe};
use crate::support::{location, shards};

type Range = RangeShardMap<i64, Probe<Sqlite>>;
type List = ListShardMap<i64, Probe<Sqlite>>;

/// A client of a store with a cache and counts of its own.
async fn client_with(store: &Sqlite, options: Options) -> (Probe<Sqlite>, ShardMapManager<Probe<Sqlite>>) {
    let probe = Probe::new(store.clone());
    let manager = ShardMapManager::open_or_create(probe.clone(), options).await.unwrap();
    probe.reset();
    (probe, manager)
}

async fn range_client_with(store: &Sqlite, options: Options) -> (Probe<Sqlite>, Range) {
    let (probe, manager) = client_with(store, options).await;
    let map = manager.range_shard_map_or_create("ranges").await.unwrap();
    probe.reset();
    (probe, map)
}

async fn range_client(store: &Sqlite) -> (Probe<Sqlite>, Range) {
    range_client_with(store, Options::default()).await
}

async fn list_client(store: &Sqlite) -> (Probe<Sqlite>, List) {
    let (probe, manager) = client_with(store, Options::default()).await;
    let map = manager.list_shard_map_or_create("points").await.unwrap();
    probe.reset();
    (probe, map)
}

/// `[0, 100)` on shard 0 and `[100, 200)` on shard 1.
async fn two_ranges(store: &Sqlite) -> (RangeMapping<i64>, RangeMapping<i64>) {
    let (_, map) = range_client(store).await;
    let shards = shards(&map, 2).await;
    let low = map.create_mapping(0..100, &shards[0]).await.unwrap();
    (low, map.create_mapping(100..200, &shards[1]).await.unwrap())
}

async fn open(map: &Range, key: i64, validation: Validation) -> shardlet::Result<SqliteConnection> {
    map.open_connection_for_key(&key, &NoCredentials, validation).await
}

/// Where a validated open leads, or the kind of its error.
async fn routed(map: &Range, key: i64) -> Result<ShardLocation, ErrorKind> {
    match open(map, key, Validation::Validate).await {
        Ok(connection) => Ok(connection.location().clone()),
        Err(error) => Err(error.kind()),
    }
}

/// Reads of the global store by key, opens at shards, and requests of any kind.
fn requests(probe: &Probe<Sqlite>) -> (usize, usize, usize) {
    (probe.count(&Call::FindMappingByKey), probe.count(&Call::OpenRouted), probe.total())
}

#[tokio::test]
async fn a_cold_open_costs_one_read_and_a_warm_one_none() {
    for validation in [Validation::Validate, Validation::None] {
        let store = Sqlite::in_memory();
        let _ = two_ranges(&store).await;
        let (probe, map) = range_client(&store).await;
        let connection = open(&map, 7, validation).await.unwrap();
        assert_eq!(connection.location(), &location(0), "range, {validation:?}");
        assert_eq!(requests(&probe), (1, 1, 2), "range, cold, {validation:?}");
        probe.reset();
        // Another key of the same mapping.
        assert_eq!(open(&map, 99, validation).await.unwrap().location(), &location(0), "range, {validation:?}");
        assert_eq!(requests(&probe), (0, 1, 1), "range, warm, {validation:?}");
        assert_eq!(open(&map, 100, validation).await.unwrap().location(), &location(1), "range, {validation:?}");
        assert_eq!(requests(&probe), (1, 2, 3), "range, the neighbour is cold, {validation:?}");

        let (_, writer) = list_client(&store).await;
        let shards = shards(&writer, 2).await;
        let _ = writer.create_mapping(1, &shards[0]).await.unwrap();
        let _ = writer.create_mapping(2, &shards[1]).await.unwrap();
        let (probe, map) = list_client(&store).await;
        for (key, state, expected) in [(2, "cold", (1, 1, 2)), (2, "warm", (0, 1, 1)), (1, "cold", (1, 1, 2))] {
            probe.reset();
            let connection = map.open_connection_for_key(&key, &NoCredentials, validation).await.unwrap();
            assert_eq!(connection.location(), &location(usize::from(key == 2)), "list, {key}, {state}");
            assert_eq!(requests(&probe), expected, "list, {key}, {state}, {validation:?}");
        }
    }
}

#[tokio::test]
async fn a_warm_lookup_makes_no_request() {
    let store = Sqlite::in_memory();
    let (low, _) = two_ranges(&store).await;
    let (probe, map) = range_client(&store).await;
    assert!(map.cached_mapping(&5).is_none());
    assert_eq!(map.lookup_mapping(&5).await.unwrap(), low);
    assert_eq!(requests(&probe), (1, 0, 1), "cold");
    probe.reset();
    for key in [0, 5, 99] {
        assert_eq!(map.lookup_mapping(&key).await.unwrap(), low, "{key}");
        assert_eq!(map.cached_mapping(&key), Some(low.clone()), "{key}");
    }
    assert_eq!(probe.total(), 0, "warm");
    // The authoritative lookup asks each time.
    assert_eq!(map.mapping_for_key(&5).await.unwrap(), low);
    assert_eq!(requests(&probe), (1, 0, 1));
    // What the client itself created is warm from the start.
    let (probe, map) = range_client(&store).await;
    let shard = map.shard(&location(0)).await.unwrap();
    let created = map.create_mapping(500..600, &shard).await.unwrap();
    probe.reset();
    assert_eq!(map.lookup_mapping(&555).await.unwrap(), created);
    assert_eq!(probe.total(), 0, "created by this client");
}

#[tokio::test]
async fn an_eager_client_reads_everything_once() {
    let store = Sqlite::in_memory();
    let _ = two_ranges(&store).await;
    let probe = Probe::new(store.clone());
    let eager = Options::default().load_policy(LoadPolicy::Eager);
    let manager = ShardMapManager::open(probe.clone(), eager).await.unwrap();
    assert_eq!((probe.count(&Call::LoadAll), probe.total()), (1, 2), "the version and one read");
    let map: Range = manager.range_shard_map("ranges").await.unwrap();
    probe.reset();
    assert_eq!(routed(&map, 50).await, Ok(location(0)));
    assert_eq!(routed(&map, 150).await, Ok(location(1)));
    assert_eq!(requests(&probe), (0, 2, 2));
    assert_eq!(routed(&map, 500).await, Err(ErrorKind::NotFound));
    assert_eq!(requests(&probe), (1, 2, 3), "what it has not read it asks for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_callers_of_a_cold_key_share_one_read() {
    let store = Sqlite::in_memory();
    let (low, _) = two_ranges(&store).await;

    let (probe, map) = range_client(&store).await;
    let found = join_all((0..100).map(|_| map.lookup_mapping(&7))).await;
    assert!(found.iter().all(|mapping| mapping.as_ref().unwrap() == &low));
    assert_eq!(requests(&probe), (1, 0, 1), "lookups in one task");

    let (probe, map) = range_client(&store).await;
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let map = map.clone();
            tokio::spawn(async move { map.lookup_mapping(&7).await.unwrap() })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), low);
    }
    assert_eq!(requests(&probe), (1, 0, 1), "lookups in a hundred tasks");

    let (probe, map) = range_client(&store).await;
    // Each gives its connection back at once, so that the pool is enough for all of them.
    let opened = join_all((0..100).map(|_| async { routed(&map, 7).await })).await;
    assert!(opened.iter().all(|place| place == &Ok(location(0))), "{opened:?}");
    assert_eq!(requests(&probe), (1, 100, 101), "opens");
}

#[tokio::test]
async fn filling_a_range_map_costs_one_read_for_each_range_in_any_order() {
    const RANGES: i64 = 1_000;
    let store = Sqlite::in_memory();
    let (_, writer) = range_client(&store).await;
    let shard = writer.shard_or_create(&location(0)).await.unwrap();
    let mut rest = writer.create_mapping(0..RANGES * 10, &shard).await.unwrap();
    for number in 1..RANGES {
        (_, rest) = writer.split_mapping(rest, number * 10).await.unwrap();
    }
    type Order = fn(i64) -> i64;
    let orders: [(&str, Order); 3] = [
        ("ascending", |number| number),
        ("descending", |number| RANGES - 1 - number),
        // 617 shares no factor with 1,000, so that this visits each range once.
        ("shuffled", |number| number * 617 % RANGES),
    ];
    for (order, nth) in orders {
        let (probe, map) = range_client(&store).await;
        for number in (0..RANGES).map(nth) {
            let key = number * 10 + number % 10;
            assert!(map.lookup_mapping(&key).await.unwrap().range().contains(&key), "{order}, {key}");
        }
        assert_eq!(requests(&probe), (1_000, 0, 1_000), "{order}, filling");
        for number in (0..RANGES).map(nth) {
            let _ = map.lookup_mapping(&(number * 10)).await.unwrap();
            let _ = map.lookup_mapping(&(number * 10 + 9)).await.unwrap();
        }
        assert_eq!(requests(&probe), (1_000, 0, 1_000), "{order}, full");
        assert_eq!(map.cache_statistics().entries, 1_000, "{order}");
    }
}

/// What another client does to the mapping `[0, 100)` on shard 0.
async fn change(case: &str, map: &Range, low: RangeMapping<i64>, high: RangeMapping<i64>) {
    let other = map.shard(&location(1)).await.unwrap();
    match case {
        "moved" => {
            let moved = map.move_mapping(map.mark_mapping_offline(low).await.unwrap(), &other).await.unwrap();
            let _ = map.mark_mapping_online(moved).await.unwrap();
        }
        "split" => drop(map.split_mapping(low, 50).await.unwrap()),
        "merged" => {
            let moved = map.move_mapping(map.mark_mapping_offline(low).await.unwrap(), &other).await.unwrap();
            let online = map.mark_mapping_online(moved).await.unwrap();
            drop(map.merge_mappings(online, high).await.unwrap());
        }
        "off and on" => {
            let offline = map.mark_mapping_offline(low).await.unwrap();
            drop(map.mark_mapping_online(offline).await.unwrap());
        }
        "deleted" => map.delete_mapping(map.mark_mapping_offline(low).await.unwrap()).await.unwrap(),
        "created anew" => {
            map.delete_mapping(map.mark_mapping_offline(low).await.unwrap()).await.unwrap();
            drop(map.create_mapping(40..80, &other).await.unwrap());
        }
        "offline" => drop(map.mark_mapping_offline(low).await.unwrap()),
        _ => panic!("no such case: {case}"),
    }
}

#[tokio::test]
async fn a_mapping_that_another_client_changed_is_refreshed_once_and_tried_once() {
    // Key 70: where it leads after the change, the requests of the first open, and those of the second.
    let cases = [
        ("moved", Ok(location(1)), (1, 2, 3), (0, 1, 1)),
        ("split", Ok(location(0)), (1, 2, 3), (0, 1, 1)),
        ("merged", Ok(location(1)), (1, 2, 3), (0, 1, 1)),
        ("off and on", Ok(location(0)), (1, 2, 3), (0, 1, 1)),
        ("created anew", Ok(location(1)), (1, 2, 3), (0, 1, 1)),
        ("deleted", Err(ErrorKind::NotFound), (1, 1, 2), (1, 0, 1)),
        ("offline", Err(ErrorKind::Offline), (1, 2, 3), (0, 1, 1)),
    ];
    for (case, expected, first, second) in cases {
        let store = Sqlite::in_memory();
        let (low, high) = two_ranges(&store).await;
        let (probe, map) = range_client(&store).await;
        assert_eq!(routed(&map, 70).await, Ok(location(0)), "{case}");
        let (_, other) = range_client(&store).await;
        change(case, &other, low.clone(), high).await;
        assert_eq!(map.cached_mapping(&70), Some(low), "{case}: this client does not know yet");

        probe.reset();
        assert_eq!(routed(&map, 70).await, expected, "{case}");
        assert_eq!(requests(&probe), first, "{case}, the first open");
        probe.reset();
        assert_eq!(routed(&map, 70).await, expected, "{case}");
        assert_eq!(requests(&probe), second, "{case}, the second open");
    }
}

#[tokio::test]
async fn many_callers_of_a_stale_mapping_share_the_refresh() {
    let store = Sqlite::in_memory();
    let (low, high) = two_ranges(&store).await;
    let (probe, map) = range_client(&store).await;
    assert_eq!(routed(&map, 70).await, Ok(location(0)));
    let (_, other) = range_client(&store).await;
    change("moved", &other, low, high).await;
    probe.reset();
    let opened = join_all((0..20).map(|_| routed(&map, 70))).await;
    assert!(opened.iter().all(|place| place == &Ok(location(1))), "{opened:?}");
    assert_eq!(probe.count(&Call::FindMappingByKey), 1);
}

#[tokio::test]
async fn a_change_that_is_under_way_elsewhere_is_told_and_not_waited_for() {
    for case in ["offline", "moved"] {
        for cached in [true, false] {
            let store = Sqlite::in_memory();
            let (mut low, _) = two_ranges(&store).await;
            let (changing, changer) = range_client(&store).await;
            if case == "moved" {
                low = changer.mark_mapping_offline(low).await.unwrap();
            }
            let (probe, map) = range_client(&store).await;
            if cached {
                let _ = map.lookup_mapping(&7).await.unwrap();
            }
            // The shards have it, the global store not yet.
            changing.inject(Call::EndDo, 1, Fault::HoldBefore);
            let operation = match case {
                "moved" => changer.move_mapping(low.clone(), &changer.shard(&location(1)).await.unwrap()),
                _ => changer.mark_mapping_offline(low.clone()),
            };
            let operation = tokio::spawn(operation);
            changing.held().await;

            probe.reset();
            let refused = open(&map, 7, Validation::Validate).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::PendingOperation, "{case}, cached: {cached}: {refused:?}");
            assert!(refused.is_transient(), "{case}, cached: {cached}");
            let reads = if cached { 1 } else { 2 };
            assert_eq!(requests(&probe), (reads, 2, reads + 2), "{case}, cached: {cached}");
            assert_eq!(routed(&map, 150).await, Ok(location(1)), "{case}: the neighbour is not concerned");

            // The changer goes away; the next operation undoes what it left, and the key is served or offline as before.
            operation.abort();
            assert!(operation.await.unwrap_err().is_cancelled());
            let again = match case {
                "moved" => map.mark_mapping_online(low).await.unwrap(),
                _ => map.split_mapping(low, 50).await.unwrap().0,
            };
            assert_eq!(routed(&map, 7).await, Ok(location(0)), "{case}, cached: {cached}");
            assert_eq!(map.cached_mapping(&7), Some(again), "{case}, cached: {cached}");
        }
    }
}

#[tokio::test]
async fn an_offline_mapping_is_not_opened() {
    let store = Sqlite::in_memory();
    let (low, _) = two_ranges(&store).await;
    let (probe, map) = range_client(&store).await;
    let offline = map.mark_mapping_offline(low).await.unwrap();
    probe.reset();
    let refused = open(&map, 7, Validation::Validate).await.unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Offline, ErrorCode::MappingIsOffline));
    assert_eq!(requests(&probe), (0, 1, 1), "the shard says so");
    // Without validation nobody would say so; what the cache believes is checked with the global store.
    probe.reset();
    let refused = open(&map, 7, Validation::None).await.unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Offline, ErrorCode::MappingIsOffline));
    assert_eq!(requests(&probe), (1, 0, 1), "the global store says so");
    let (_, other) = range_client(&store).await;
    let _ = other.mark_mapping_online(offline).await.unwrap();
    assert!(open(&map, 7, Validation::None).await.is_ok(), "online again by another client");
}

#[tokio::test]
async fn without_validation_a_route_may_be_old() {
    for case in ["moved", "offline", "deleted"] {
        let store = Sqlite::in_memory();
        let (low, high) = two_ranges(&store).await;
        let (probe, map) = range_client(&store).await;
        let _ = map.lookup_mapping(&70).await.unwrap();
        let (_, other) = range_client(&store).await;
        change(case, &other, low, high).await;
        probe.reset();
        let connection = open(&map, 70, Validation::None).await.unwrap();
        assert_eq!(connection.location(), &location(0), "{case}: the cache is believed");
        assert_eq!(requests(&probe), (0, 1, 1), "{case}");
        let place = match case {
            "moved" => Ok(location(1)),
            "offline" => Err(ErrorKind::Offline),
            _ => Err(ErrorKind::NotFound),
        };
        assert_eq!(routed(&map, 70).await, place, "{case}: validation finds out");
        let unvalidated = open(&map, 70, Validation::None).await;
        let unvalidated = unvalidated.map(|open| open.location().clone()).map_err(|error| error.kind());
        assert_eq!(unvalidated, place, "{case}: and from then on the cache knows");
    }
}

#[tokio::test]
async fn an_unmapped_key_is_asked_for_each_time_unless_the_caller_opts_in() {
    let store = Sqlite::in_memory();
    let _ = two_ranges(&store).await;
    let (probe, map) = range_client(&store).await;
    for asked in 1..=3 {
        let refused = open(&map, 777, Validation::Validate).await.unwrap_err();
        assert_eq!((refused.kind(), refused.code()), (ErrorKind::NotFound, ErrorCode::MappingNotFoundForKey));
        assert_eq!(requests(&probe), (asked, 0, asked));
    }
    assert_eq!(map.lookup_mapping(&777).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(requests(&probe), (4, 0, 4));
    // Created by another client, it is found at once.
    let (_, other) = range_client(&store).await;
    let shard = other.shard(&location(1)).await.unwrap();
    let _ = other.create_mapping(700..800, &shard).await.unwrap();
    assert_eq!(routed(&map, 777).await, Ok(location(1)));

    let cache = CacheOptions::default().missing_key_time(Duration::from_secs(3600));
    let (probe, map) = range_client_with(&store, Options::default().cache(cache)).await;
    for _ in 0..3 {
        assert_eq!(routed(&map, 999).await, Err(ErrorKind::NotFound));
        assert_eq!(map.lookup_mapping(&999).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert_eq!(requests(&probe), (1, 0, 1), "remembered");
    assert_eq!(routed(&map, 998).await, Err(ErrorKind::NotFound));
    assert_eq!(requests(&probe), (2, 0, 2), "each key for itself");
    // The price that the option names, and what it does not cost.
    let _ = other.create_mapping(990..1000, &shard).await.unwrap();
    assert_eq!(routed(&map, 999).await, Err(ErrorKind::NotFound), "created by another client");
    assert_eq!(map.find_mapping_for_key(&999).await.unwrap().map(|mapping| mapping.range()), Some((990..1000).into()));
    assert_eq!(routed(&map, 999).await, Ok(location(1)), "asked for with authority");
    assert_eq!(routed(&map, 2000).await, Err(ErrorKind::NotFound));
    let _ = map.create_mapping_with(2000.., &shard, MappingStatus::Online).await.unwrap();
    assert_eq!(routed(&map, 2000).await, Ok(location(1)), "created by this client");
}

#[tokio::test]
async fn the_cache_keeps_to_its_lifetime_and_capacity() {
    let store = Sqlite::in_memory();
    let (_, writer) = range_client(&store).await;
    let shard = writer.shard_or_create(&location(0)).await.unwrap();
    for low in 0..50 {
        let _ = writer.create_mapping(low * 10..low * 10 + 10, &shard).await.unwrap();
    }
    let cached = |cache: CacheOptions| range_client_with(&store, Options::default().cache(cache));
    for (lifetime, reads) in [(Duration::from_nanos(1), 5), (Duration::from_secs(3600), 1)] {
        let (probe, map) = cached(CacheOptions::default().time_to_live(lifetime)).await;
        for _ in 0..5 {
            assert_eq!(routed(&map, 7).await, Ok(location(0)), "{lifetime:?}");
        }
        assert_eq!(requests(&probe), (reads, 5, reads + 5), "{lifetime:?}");
    }
    for capacity in [0, 1, 10] {
        let (probe, map) = cached(CacheOptions::default().capacity(capacity)).await;
        for key in 0..500 {
            assert!(map.lookup_mapping(&key).await.unwrap().range().contains(&key), "{capacity}, {key}");
            let held = map.cache_statistics().entries;
            assert!(held <= capacity, "{held} mappings where {capacity} are allowed");
        }
        // In this order ten keys follow each other in one range, so that even one place is enough for them.
        let reads = if capacity == 0 { 500 } else { 50 };
        assert_eq!(requests(&probe), (reads, 0, reads), "capacity {capacity}");
        assert_eq!(map.cache_statistics().entries, capacity, "full");
        assert_eq!(map.cached_mapping(&499).is_some(), capacity > 0, "the newest is held");
        assert!(map.cached_mapping(&0).is_none(), "the oldest is not");
    }
    let (probe, map) = range_client(&store).await;
    let _ = map.lookup_mapping(&7).await.unwrap();
    map.clear_cache();
    let _ = map.lookup_mapping(&7).await.unwrap();
    assert_eq!(requests(&probe), (2, 0, 2), "after the cache was cleared");
}

#[tokio::test]
async fn a_map_that_was_created_again_under_its_name_inherits_nothing() {
    let store = Sqlite::in_memory();
    let (low, high) = two_ranges(&store).await;
    let (probe, map) = range_client(&store).await;
    assert_eq!(routed(&map, 7).await, Ok(location(0)));
    let (_, other) = range_client(&store).await;
    for mapping in [low, high] {
        other.delete_mapping(other.mark_mapping_offline(mapping).await.unwrap()).await.unwrap();
    }
    for shard in other.shards().await.unwrap() {
        other.delete_shard(shard).await.unwrap();
    }
    other.manager().delete_shard_map("ranges").await.unwrap();
    let (_, new) = range_client(&store).await;
    let shard = new.shard_or_create(&location(1)).await.unwrap();
    let _ = new.create_mapping(0..100, &shard).await.unwrap();

    probe.reset();
    let refused = open(&map, 7, Validation::Validate).await.unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist));
    assert_eq!(requests(&probe), (1, 1, 2), "the handle of the old map");
    assert_eq!(map.cache_statistics().entries, 0, "the handle of the old map");
    let again: Range = map.manager().range_shard_map("ranges").await.unwrap();
    assert_eq!(routed(&again, 7).await, Ok(location(1)), "a handle of the new one, of the same manager");
}
