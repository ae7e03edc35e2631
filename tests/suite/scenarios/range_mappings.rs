//! Mappings of range maps: ranges of keys of every type, splitting and merging.

use shardlet::{
    ErrorCategory, ErrorCode, ErrorKind, KeyRange, MappingFilter, MappingStatus, NoCredentials, Place, PlanAction,
    RangeMapping, RangeShardMap, ShardKey, ShardLocation, ShardMapManager, Sqlite, Validation,
};

use super::keys::{Sample, for_each_key_type};
use super::refused;
use crate::support::contents::contents;
use crate::support::{location, manager, shards};

async fn range_of<K: ShardKey>() -> RangeShardMap<K, Sqlite> {
    manager().await.create_range_shard_map::<K>("m").await.unwrap()
}

fn texts(mappings: &[RangeMapping<i32>]) -> Vec<String> {
    mappings.iter().map(|mapping| mapping.range().to_string()).collect()
}

async fn ranges_are_mapped_found_and_opened<K: Sample>() {
    let map = range_of::<K>().await;
    let on = shards(&map, 2).await;
    let keys = K::ascending();
    let bounds: Vec<(K, Option<K>)> =
        keys.iter().cloned().zip(keys.iter().skip(1).cloned().map(Some).chain([None])).collect();
    let mut made = Vec::new();
    for (index, (low, high)) in bounds.iter().enumerate().rev() {
        let range = KeyRange::new(Some(low.clone()), high.clone());
        let case = format!("{} {range:?}", K::KEY_TYPE);
        let mapping = map.create_mapping(range.clone(), &on[index % 2]).await;
        let mapping = mapping.unwrap_or_else(|error| panic!("{case}: {error:?}"));
        assert_eq!(mapping.range(), range, "{case}");
        made.insert(0, mapping);
    }
    assert_eq!(map.mappings().await.unwrap(), made, "{}: the order of the keys", K::KEY_TYPE);
    for (index, (low, _)) in bounds.iter().enumerate() {
        let case = format!("{} {low:?}", K::KEY_TYPE);
        assert_eq!(map.mapping_for_key(low).await.unwrap(), made[index], "{case}: a low bound is in its range");
        map.clear_cache();
        assert_eq!(map.lookup_mapping(low).await.unwrap(), made[index], "{case}");
        assert_eq!(map.cached_mapping(low).as_ref(), Some(&made[index]), "{case}");
        if let Some(below) = index.checked_sub(1) {
            assert!(map.cached_mapping(&bounds[below].0).is_none(), "{case}: only what was asked for is cached");
        }
        let connection = map.open_connection_for_key(low, &NoCredentials, Validation::Validate).await.unwrap();
        assert_eq!(*connection.location(), location(index % 2), "{case}");
        let twice = map.create_mapping(KeyRange::new(Some(low.clone()), None), &on[0]).await;
        let _ = refused(twice, ErrorKind::Overlaps, ErrorCode::MappingRangeAlreadyMapped, &case);
    }
    // The whole as one range again, and cut at every key.
    let mut whole = gathered(&map, made, &on[0]).await;
    assert_eq!(whole.range(), KeyRange::from(..));
    for key in keys.iter().skip(1) {
        let (_, above) = map.split_mapping(whole, key.clone()).await.unwrap();
        whole = above;
    }
    let lows: Vec<_> =
        map.mappings().await.unwrap().iter().map(|mapping| mapping.range().low().encode().unwrap()).collect();
    assert_eq!(lows, keys.iter().map(|key| key.encode().unwrap()).collect::<Vec<_>>(), "{}", K::KEY_TYPE);
}

/// Moves the parts of a range to one shard and joins them.
async fn gathered<K: ShardKey>(
    map: &RangeShardMap<K, Sqlite>,
    parts: Vec<RangeMapping<K>>,
    shard: &shardlet::Shard,
) -> RangeMapping<K> {
    let mut whole: Option<RangeMapping<K>> = None;
    for part in parts {
        let part = map.mark_mapping_offline(part).await.unwrap();
        let part = map.move_mapping(part, shard).await.unwrap();
        whole = Some(match whole {
            None => part,
            Some(left) => map.merge_mappings(left, part).await.unwrap(),
        });
    }
    map.mark_mapping_online(whole.unwrap()).await.unwrap()
}

#[tokio::test]
async fn ranges_of_every_type_are_mapped_found_and_opened() {
    for_each_key_type!(ranges_are_mapped_found_and_opened);
}

#[tokio::test]
async fn a_range_that_shares_a_key_is_refused() {
    let map = range_of::<i32>().await;
    let on = shards(&map, 2).await;
    let _ = map.create_mapping(0..10, &on[0]).await.unwrap();
    let upper = map.create_mapping(20..30, &on[1]).await.unwrap();
    let overlapping = [
        KeyRange::from(0..10),
        KeyRange::from(5..15),
        KeyRange::from(5..7),
        KeyRange::from(9..10),
        KeyRange::from(-5..5),
        KeyRange::from(-5..1),
        KeyRange::from(-5..15),
        KeyRange::from(-5..10),
        KeyRange::from(15..25),
        KeyRange::from(5..25),
        KeyRange::from(29..31),
        KeyRange::from(i32::MIN..i32::MAX),
        KeyRange::from(..1),
        KeyRange::from(29..),
        KeyRange::from(..),
    ];
    let _ = map.mark_mapping_offline(upper).await.unwrap();
    let before = contents(map.manager()).await;
    for range in overlapping {
        for shard in &on {
            let outcome = map.create_mapping(range.clone(), shard).await;
            let error = refused(outcome, ErrorKind::Overlaps, ErrorCode::MappingRangeAlreadyMapped, &range.to_string());
            assert_eq!(error.category(), ErrorCategory::RangeShardMap);
            assert_eq!(error.operation(), Some("AddRangeMapping"));
        }
        assert_eq!(contents(map.manager()).await, before, "{range}");
    }
    for range in [KeyRange::from(10..20), KeyRange::from(..0), KeyRange::from(30..)] {
        let _ = map.create_mapping(range.clone(), &on[0]).await.unwrap_or_else(|error| panic!("{range}: {error:?}"));
    }
    let expected = ["[-2147483648:0)", "[0:10)", "[10:20)", "[20:30)", "[30:+inf)"];
    assert_eq!(texts(&map.mappings().await.unwrap()), expected);
}

#[tokio::test]
async fn the_full_range_holds_every_key() {
    let map = range_of::<i32>().await;
    let on = shards(&map, 1).await;
    let all = map.create_mapping(.., &on[0]).await.unwrap();
    assert_eq!((all.range().high(), all.range().to_string()), (None, "[-2147483648:+inf)".to_owned()));
    for key in [i32::MIN, -1, 0, 1, i32::MAX] {
        assert_eq!(map.mapping_for_key(&key).await.unwrap(), all, "{key}");
        assert_eq!(map.cached_mapping(&key), Some(all.clone()), "{key}");
    }
}

#[tokio::test]
async fn ranges_at_the_ends_of_the_type_lie_side_by_side() {
    let map = range_of::<i32>().await;
    let on = shards(&map, 1).await;
    let ranges = [
        KeyRange::from(..i32::MIN + 1),
        KeyRange::from(i32::MIN + 1..i32::MAX - 1),
        KeyRange::from(i32::MAX - 1..i32::MAX),
        KeyRange::from(i32::MAX..),
    ];
    let mut made = Vec::new();
    for range in ranges {
        made.push(map.create_mapping(range, &on[0]).await.unwrap());
    }
    for (key, index) in [(i32::MIN, 0), (i32::MIN + 1, 1), (0, 1), (i32::MAX - 2, 1), (i32::MAX - 1, 2), (i32::MAX, 3)]
    {
        assert_eq!(map.mapping_for_key(&key).await.unwrap(), made[index], "{key}");
        let _ = map.open_connection_for_key(&key, &NoCredentials, Validation::Validate).await.unwrap();
    }
}

#[tokio::test]
async fn keys_between_ranges_are_not_mapped() {
    let map = range_of::<i32>().await;
    let on = shards(&map, 1).await;
    let _ = map.create_mapping(0..10, &on[0]).await.unwrap();
    let _ = map.create_mapping(20..30, &on[0]).await.unwrap();
    for key in [i32::MIN, -1, 10, 15, 19, 30, i32::MAX] {
        assert!(map.find_mapping_for_key(&key).await.unwrap().is_none(), "{key}");
        let found = map.lookup_mapping(&key).await;
        let _ = refused(found, ErrorKind::NotFound, ErrorCode::MappingNotFoundForKey, &key.to_string());
        let opened = map.open_connection_for_key(&key, &NoCredentials, Validation::Validate).await;
        let error = refused(opened, ErrorKind::NotFound, ErrorCode::MappingNotFoundForKey, &key.to_string());
        assert_eq!(error.category(), ErrorCategory::RangeShardMap);
    }
}

#[tokio::test]
async fn the_documents_sample_reads_as_there() {
    let manager: ShardMapManager<Sqlite> = manager().await;
    for run in 0..2 {
        let map = match manager.find_range_shard_map::<i32>("orders").await.unwrap() {
            Some(map) => map,
            None => manager.create_range_shard_map::<i32>("orders").await.unwrap(),
        };
        let mut on = Vec::new();
        for database in ["sample_shard_0", "sample_shard_1"] {
            let at = ShardLocation::new("server", database);
            on.push(match map.find_shard(&at).await.unwrap() {
                Some(shard) => shard,
                None => map.create_shard(&at).await.unwrap(),
            });
        }
        for (low, high, shard) in [(0, 50, 0), (50, 100, 1), (100, 150, 0), (150, 200, 1), (200, 300, 0)] {
            let found = map.find_mapping_for_key(&low).await.unwrap();
            assert_eq!(found.is_some(), run == 1);
            if found.is_none() {
                let _ = map.create_mapping_with(low..high, &on[shard], MappingStatus::Online).await.unwrap();
            }
        }
        let listed: Vec<_> =
            map.mappings().await.unwrap().iter().map(|m| format!("{} {}", m.range(), m.shard())).collect();
        let expected = [("0:50", 0), ("50:100", 1), ("100:150", 0), ("150:200", 1), ("200:300", 0)]
            .map(|(range, shard)| format!("[{range}) [DataSource=server Database=sample_shard_{shard}]"));
        assert_eq!(listed, expected);
        assert_eq!(map.shards().await.unwrap().len(), 2);
    }
    // Delete the mapping of key 25, after taking it offline.
    let map = manager.range_shard_map::<i32>("orders").await.unwrap();
    map.delete_mapping(map.mark_mapping_offline(map.mapping_for_key(&25).await.unwrap()).await.unwrap()).await.unwrap();
    assert_eq!(map.mappings().await.unwrap().len(), 4);
}

#[tokio::test]
async fn mappings_are_listed_by_range_by_shard_and_by_both() {
    let map = range_of::<i32>().await;
    let on = shards(&map, 3).await;
    for (range, shard) in [(20..30, 0), (1..10, 0), (10..20, 1)] {
        let _ = map.create_mapping(range, &on[shard]).await.unwrap();
    }
    let all = MappingFilter::all;
    let (a, b, c) = ("[1:10)", "[10:20)", "[20:30)");
    let cases = [
        ("all", all(), vec![a, b, c]),
        ("[1, 15)", all().in_range(1..15), vec![a, b]),
        ("[1, 10)", all().in_range(1..10), vec![a]),
        ("[9, 10)", all().in_range(9..10), vec![a]),
        ("[9, 11)", all().in_range(9..11), vec![a, b]),
        ("[10, 11)", all().in_range(10..11), vec![b]),
        ("below 1", all().in_range(..1), vec![]),
        ("from 30", all().in_range(30..), vec![]),
        ("from 29", all().in_range(29..), vec![c]),
        ("the full range", all().in_range(..), vec![a, b, c]),
        ("shard 0", all().on_shard(&on[0]), vec![a, c]),
        ("shard 2", all().on_shard(&on[2]), vec![]),
        ("[1, 15) on shard 0", all().in_range(1..15).on_shard(&on[0]), vec![a]),
        ("[1, 15) on shard 1", all().in_range(1..15).on_shard(&on[1]), vec![b]),
        ("[1, 10) on shard 1", all().in_range(1..10).on_shard(&on[1]), vec![]),
    ];
    for (case, filter, expected) in cases {
        assert_eq!(texts(&map.mappings_matching(&filter).await.unwrap()), expected, "{case}");
    }
    // A range that reaches to +infinity is found from any key above its low bound.
    let _ = map.create_mapping(100.., &on[1]).await.unwrap();
    let found = map.mappings_matching(&all().in_range(i32::MAX - 1..i32::MAX)).await.unwrap();
    assert_eq!(texts(&found), ["[100:+inf)"]);
    for (case, low) in [("empty", 5), ("inverted", 6)] {
        let found = map.mappings_matching(&all().in_range(low..5)).await;
        let _ = refused(found, ErrorKind::InvalidInput, ErrorCode::InvalidArgument, case);
    }
}

#[tokio::test]
async fn only_an_offline_range_is_deleted_and_only_once() {
    let map = range_of::<i32>().await;
    let on = shards(&map, 1).await;
    let online = map.create_mapping(0..10, &on[0]).await.unwrap();
    let before = contents(map.manager()).await;
    let refusal = map.delete_mapping(online.clone()).await;
    let error = refused(refusal, ErrorKind::NotOffline, ErrorCode::MappingIsNotOffline, "online");
    assert_eq!((error.operation(), error.category()), (Some("RemoveRangeMapping"), ErrorCategory::RangeShardMap));
    assert_eq!(contents(map.manager()).await, before);
    let offline = map.mark_mapping_offline(online.clone()).await.unwrap();
    let stale = map.delete_mapping(online).await;
    let _ = refused(stale, ErrorKind::Stale, ErrorCode::MappingDoesNotExist, "the handle before the update");
    map.delete_mapping(offline.clone()).await.unwrap();
    let twice = map.delete_mapping(offline).await;
    let _ = refused(twice, ErrorKind::Stale, ErrorCode::MappingDoesNotExist, "twice");
    assert!(map.find_mapping_for_key(&5).await.unwrap().is_none());
    let _ = map.create_mapping(..20, &on[0]).await.unwrap();
}

#[tokio::test]
async fn a_split_makes_two_ranges_on_the_same_shard() {
    for status in [MappingStatus::Online, MappingStatus::Offline] {
        let map = range_of::<i32>().await;
        let on = shards(&map, 1).await;
        let whole = map.create_mapping_with(1..20, &on[0], status).await.unwrap();
        let (low, high) = map.split_mapping(whole.clone(), 10).await.unwrap();
        assert_eq!(texts(&[low.clone(), high.clone()]), ["[1:10)", "[10:20)"], "{status}");
        assert_eq!((low.status(), high.status()), (status, status));
        assert_eq!((low.shard(), high.shard().id()), (high.shard(), on[0].id()));
        assert_eq!(map.mappings().await.unwrap(), [low.clone(), high.clone()]);
        for (key, part) in [(1, &low), (9, &low), (10, &high), (19, &high)] {
            assert_eq!(map.cached_mapping(&key).as_ref(), Some(part), "{status} {key}");
            assert_eq!(map.mapping_for_key(&key).await.unwrap(), *part, "{status} {key}");
        }
        let before = contents(map.manager()).await;
        let stale = map.split_mapping(whole.clone(), 10).await;
        let _ = refused(stale, ErrorKind::Stale, ErrorCode::MappingDoesNotExist, "split twice");
        let stale = map.mark_mapping_offline(whole).await;
        let _ = refused(stale, ErrorKind::Stale, ErrorCode::MappingDoesNotExist, "the handle before the split");
        assert_eq!(contents(map.manager()).await, before);
    }
}

#[tokio::test]
async fn a_split_has_to_lie_inside() {
    let map = range_of::<i32>().await;
    let on = shards(&map, 1).await;
    let finite = map.create_mapping(1..20, &on[0]).await.unwrap();
    let to_infinity = map.create_mapping(20.., &on[0]).await.unwrap();
    let before = contents(map.manager()).await;
    for (mapping, at) in [
        (&finite, 1),
        (&finite, 20),
        (&finite, 31),
        (&finite, 0),
        (&finite, i32::MIN),
        (&to_infinity, 20),
        (&to_infinity, 19),
    ] {
        let operation = map.split_mapping(mapping.clone(), at);
        let case = format!("{} at {at}", mapping.range());
        let _ = refused(operation.plan(), ErrorKind::InvalidInput, ErrorCode::InvalidArgument, &case);
        let error = refused(operation.await, ErrorKind::InvalidInput, ErrorCode::InvalidArgument, &case);
        assert_eq!((error.operation(), error.category()), (Some("SplitMapping"), ErrorCategory::RangeShardMap));
    }
    assert_eq!(contents(map.manager()).await, before);
    let (_, last) = map.split_mapping(to_infinity, i32::MAX).await.unwrap();
    assert_eq!(last.range().to_string(), "[2147483647:+inf)");
    let (first, _) = map.split_mapping(finite, 2).await.unwrap();
    assert_eq!(first.range().to_string(), "[1:2)");
}

#[tokio::test]
async fn a_merge_joins_neighbours() {
    for status in [MappingStatus::Online, MappingStatus::Offline] {
        let map = range_of::<i32>().await;
        let on = shards(&map, 1).await;
        let left = map.create_mapping_with(1..10, &on[0], status).await.unwrap();
        let right = map.create_mapping_with(10.., &on[0], status).await.unwrap();
        let whole = map.merge_mappings(left.clone(), right.clone()).await.unwrap();
        assert_eq!((whole.range().to_string().as_str(), whole.status()), ("[1:+inf)", status));
        assert_eq!(map.mappings().await.unwrap(), std::slice::from_ref(&whole));
        for key in [1, 9, 10, i32::MAX] {
            assert_eq!(map.cached_mapping(&key).as_ref(), Some(&whole), "{status} {key}");
            assert_eq!(map.mapping_for_key(&key).await.unwrap(), whole, "{status} {key}");
        }
        let stale = map.merge_mappings(left, right).await;
        let _ = refused(stale, ErrorKind::Stale, ErrorCode::MappingDoesNotExist, "merge twice");
    }
}

#[tokio::test]
async fn only_neighbours_of_one_shard_and_status_are_merged() {
    let map = range_of::<i32>().await;
    let on = shards(&map, 2).await;
    let a = map.create_mapping(0..10, &on[0]).await.unwrap();
    let b = map.create_mapping(10..20, &on[1]).await.unwrap();
    let c = map.create_mapping_with(20..30, &on[1], MappingStatus::Offline).await.unwrap();
    let d = map.create_mapping(40.., &on[1]).await.unwrap();
    let before = contents(map.manager()).await;
    let cases = [
        ("different shards", &a, &b),
        ("different status", &b, &c),
        ("a gap between", &b, &d),
        ("the wrong way round", &d, &b),
        ("one with itself", &b, &b),
        ("none beyond infinity", &d, &a),
    ];
    for (case, left, right) in cases {
        let operation = map.merge_mappings(left.clone(), right.clone());
        let _ = refused(operation.plan(), ErrorKind::InvalidInput, ErrorCode::InvalidArgument, case);
        let error = refused(operation.await, ErrorKind::InvalidInput, ErrorCode::InvalidArgument, case);
        assert_eq!((error.operation(), error.category()), (Some("MergeMappings"), ErrorCategory::RangeShardMap));
        assert_eq!(contents(map.manager()).await, before, "{case}");
    }
    // With one handle stale neither is touched.
    let stale = b.clone();
    let b = map.mark_mapping_offline(b).await.unwrap();
    let b = map.mark_mapping_online(b).await.unwrap();
    let c = map.mark_mapping_online(c).await.unwrap();
    let before = contents(map.manager()).await;
    let outcome = map.merge_mappings(stale, c.clone()).await;
    let _ = refused(outcome, ErrorKind::Stale, ErrorCode::MappingDoesNotExist, "the left one is stale");
    assert_eq!(contents(map.manager()).await, before);
    let _ = map.merge_mappings(b, c).await.unwrap();
}

#[tokio::test]
async fn a_mapping_of_another_map_is_refused_by_split_and_merge() {
    let manager = manager().await;
    let map = manager.create_range_shard_map::<i32>("one").await.unwrap();
    let other = manager.create_range_shard_map::<i32>("other").await.unwrap();
    let (on, foreign_on) = (shards(&map, 1).await, shards(&other, 1).await);
    let own = map.create_mapping(0..10, &on[0]).await.unwrap();
    let foreign = other.create_mapping(10..20, &foreign_on[0]).await.unwrap();
    let before = contents(&manager).await;
    for (case, outcome) in [
        ("split", map.split_mapping(foreign.clone(), 15).await.map(|_| ())),
        ("merge to the right", map.merge_mappings(own.clone(), foreign.clone()).await.map(|_| ())),
        ("merge to the left", map.merge_mappings(foreign.clone(), own).await.map(|_| ())),
    ] {
        let _ = refused(outcome, ErrorKind::InvalidInput, ErrorCode::ForeignObject, case);
    }
    assert_eq!(contents(&manager).await, before);
}

#[tokio::test]
async fn open_connections_live_through_split_and_merge() {
    let map = range_of::<i32>().await;
    let on = shards(&map, 1).await;
    let whole = map.create_mapping(0..10, &on[0]).await.unwrap();
    let mut connection = map.open_connection_for_key(&7, &NoCredentials, Validation::Validate).await.unwrap();
    let (low, high) = map.split_mapping(whole, 5).await.unwrap();
    connection.read(|_| Ok(())).await.unwrap();
    let low = map.mark_mapping_offline(low).await.unwrap();
    connection.read(|_| Ok(())).await.expect("the other part went offline");
    let low = map.mark_mapping_online(low).await.unwrap();
    let whole = map.merge_mappings(low, high).await.unwrap();
    connection.read(|_| Ok(())).await.unwrap();
    let _ = map.mark_mapping_offline(whole).await.unwrap();
    let ended = connection.read(|_| Ok(())).await;
    let _ = refused(ended, ErrorKind::Offline, ErrorCode::SessionEnded, "what became of its mapping went offline");
}

#[tokio::test]
async fn handles_are_values() {
    let map = range_of::<i64>().await;
    let on = shards(&map, 1).await;
    let first = map.create_mapping(-5..42, &on[0]).await.unwrap();
    assert_eq!(first.to_string(), format!("R[{}:[-5:42)]", first.id()));
    let copy = first.clone();
    let offline = map.mark_mapping_offline(first.clone()).await.unwrap();
    assert_eq!((copy.status(), &copy), (MappingStatus::Online, &first));
    assert_ne!(offline, first);
    let debug = format!("{offline:?}");
    assert!(debug.contains("Mapping(") && debug.contains("Offline") && !debug.contains("42,"), "{debug}");
    let rest = map.create_mapping(42.., &on[0]).await.unwrap();
    assert_eq!(rest.to_string(), format!("R[{}:[42:+inf)]", rest.id()));
    assert_eq!((rest.range().low(), rest.range().high()), (&42, None));
    assert!(rest.range().contains(&i64::MAX) && !rest.range().contains(&41));
}

#[tokio::test]
async fn plans_show_the_steps_and_take_none() {
    let map = range_of::<i32>().await;
    let on = shards(&map, 1).await;
    let place = Place::Shard(location(0));
    let steps = |plan: &shardlet::Plan| -> Vec<(Place, Vec<PlanAction>)> {
        plan.steps().iter().map(|step| (step.place().clone(), step.actions().to_vec())).collect()
    };
    let around = |actions: Vec<PlanAction>| {
        vec![
            (Place::Global, vec![PlanAction::BeginOperation]),
            (place.clone(), actions),
            (Place::Global, vec![PlanAction::EndOperation]),
        ]
    };
    let (remove, add) = (PlanAction::RemoveMapping, PlanAction::AddMapping);

    let create = map.create_mapping(0..10, &on[0]);
    let plan = create.plan().unwrap();
    let whole = create.await.unwrap();
    assert_eq!((plan.operation(), steps(&plan)), ("AddRangeMapping", around(vec![add(whole.id())])));

    let before = contents(map.manager()).await;
    let split = map.split_mapping(whole.clone(), 5);
    let plan = split.plan().unwrap();
    assert_eq!(contents(map.manager()).await, before);
    let (low, high) = split.await.unwrap();
    let expected = around(vec![remove(whole.id()), add(low.id()), add(high.id())]);
    assert_eq!((plan.operation(), steps(&plan)), ("SplitMapping", expected));

    let before = contents(map.manager()).await;
    let merge = map.merge_mappings(low.clone(), high.clone());
    let plan = merge.plan().unwrap();
    assert_eq!(contents(map.manager()).await, before);
    let whole = merge.await.unwrap();
    let expected = around(vec![remove(low.id()), remove(high.id()), add(whole.id())]);
    assert_eq!((plan.operation(), steps(&plan)), ("MergeMappings", expected));

    let before = contents(map.manager()).await;
    assert_eq!(map.mark_mapping_offline(whole.clone()).plan().unwrap().operation(), "UpdateRangeMappingMarkOffline");
    assert_eq!(map.mark_mapping_online(whole.clone()).plan().unwrap().operation(), "UpdateRangeMapping");
    let plan = map.delete_mapping(whole.clone()).plan().unwrap();
    assert_eq!((plan.operation(), steps(&plan)), ("RemoveRangeMapping", around(vec![remove(whole.id())])));
    assert_eq!(contents(map.manager()).await, before);
}
