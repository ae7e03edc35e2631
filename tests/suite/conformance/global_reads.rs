//! What readers of the global store see.

use shardlet::error::Refusal;
use shardlet::gsm::{GlobalStore, MappingStep, OperationCode, RecordFilter, ShardStep};
use shardlet::model::MappingRecord;
use shardlet::{
    EncodedKey, EncodedRange, LockToken, MappingId, MappingStatus, Protocol, Shard, ShardId, ShardLocation,
    ShardMapInfo, ShardMapKind, ShardStatus, ShardVersion,
};

use super::Environment;
use super::fixture::{Fixture, add, key, map_named, offline, on_mappings, on_shard, record, refused, update};
use crate::support::consistency::{mapping_facts, shard_facts};

fn shard_lines(shards: &[Shard]) -> Vec<String> {
    let mut lines: Vec<_> = shards.iter().map(shard_facts).collect();
    lines.sort();
    lines
}

pub async fn shards_are_listed_and_found_by_their_exact_location<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let store = fixture.store();
    let (map, other) = (fixture.map("map", ShardMapKind::List).await, fixture.map("other", ShardMapKind::List).await);
    assert_eq!(store.shards(map.id()).await.unwrap(), []);

    let base = fixture.environment.location(0);
    let places = [
        base.clone(),
        base.clone().with_port(2433),
        base.clone().with_protocol(Protocol::Tcp),
        base.clone().with_protocol(Protocol::NamedPipes).with_port(65535),
        fixture.environment.location(1),
    ];
    let mut shards = Vec::new();
    for (number, place) in places.iter().enumerate() {
        let status = if number % 2 == 0 { ShardStatus::Online } else { ShardStatus::Offline };
        let shard = Shard::new(ShardId::random(), ShardVersion::random(), map.id(), place.clone(), status);
        fixture.perform(&on_shard(OperationCode::AddShard, &map, ShardStep::Add(shard.clone()))).await;
        shards.push(shard);
    }
    assert_eq!(shard_lines(&store.shards(map.id()).await.unwrap()), shard_lines(&shards));
    assert_eq!(store.shards(other.id()).await.unwrap(), [], "another map has its own");
    for (place, shard) in places.iter().zip(&shards) {
        let found = store.find_shard(map.id(), place).await.unwrap();
        assert_eq!(found.as_ref().map(shard_facts), Some(shard_facts(shard)), "{place}");
        assert_eq!(store.find_shard(other.id(), place).await.unwrap(), None, "{place} in another map");
    }
    let upper = ShardLocation::new(base.server().to_uppercase(), format!("{} ", base.database().to_uppercase()))
        .with_port(base.port().unwrap_or_default());
    assert_eq!(store.find_shard(map.id(), &upper).await.unwrap().as_ref(), Some(&shards[0]), "in other letters");
    for place in [base.clone().with_port(1434), base.with_protocol(Protocol::SharedMemory)] {
        assert_eq!(store.find_shard(map.id(), &place).await.unwrap(), None, "{place}");
    }
}

pub async fn shard_locations_are_distinct_over_all_maps<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    assert_eq!(fixture.store().shard_locations().await.unwrap(), []);
    let (first, second) = (fixture.map("a", ShardMapKind::List).await, fixture.map("b", ShardMapKind::Range).await);
    for (map, number) in [(&first, 0), (&first, 1), (&second, 1), (&second, 2)] {
        let _ = fixture.shard(map, number).await;
    }
    let adding = on_shard(OperationCode::AddShard, &first, ShardStep::Add(fixture.new_shard(&first, 3)));
    fixture.start(&adding).await;
    let mut locations = fixture.store().shard_locations().await.unwrap();
    locations.sort();
    assert_eq!(locations, [0, 1, 2].map(|number| fixture.environment.location(number)));
}

pub async fn reads_of_a_missing_map_are_refused<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let store = fixture.store();
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let map = map_named("gone", kind);
        let missing = Refusal::ShardMapDoesNotExist;
        refused(store.shards(map.id()).await, missing, "shards");
        refused(store.find_shard(map.id(), &fixture.environment.location(0)).await, missing, "find_shard");
        refused(store.mappings(&map, &RecordFilter::default()).await, missing, "mappings");
        refused(store.find_mapping_by_key(&map, &key(1)).await, missing, "find_mapping_by_key");
        refused(store.find_mapping_by_id(&map, MappingId::random()).await, missing, "find_mapping_by_id");
    }
}

fn range(low: Option<i32>, high: Option<i32>) -> EncodedRange {
    EncodedRange { low: low.map_or_else(EncodedKey::minimum, key), high: high.map(key) }
}

/// The numbers of the mappings that a filter lets through, in the order of the answer.
async fn filtered<E: Environment>(
    fixture: &Fixture<E>,
    map: &ShardMapInfo,
    all: &[MappingRecord],
    filter: &RecordFilter,
) -> Vec<usize> {
    let found = fixture.store().mappings(map, filter).await.unwrap();
    found.iter().map(|found| all.iter().position(|mapping| mapping.id == found.id).unwrap()).collect()
}

pub async fn mappings_of_a_list_map_are_filtered_by_keys_in_the_range<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let shard = fixture.shard(&map, 0).await;
    let mut all = Vec::new();
    // Created out of order: the answer is in the order of keys, negative ones first.
    for number in [3, 0, 2, 1] {
        let point = [i32::MIN, -1, 5, i32::MAX][number];
        all.push((number, fixture.mapping(&map, record(&shard, point, None)).await));
    }
    all.sort_by_key(|(number, _)| *number);
    let all: Vec<_> = all.into_iter().map(|(_, mapping)| mapping).collect();
    for (low, high, expected) in [
        (None, None, vec![0, 1, 2, 3]),
        (None, Some(-1), vec![0]),
        (None, Some(0), vec![0, 1]),
        (Some(-1), Some(5), vec![1]),
        (Some(-1), Some(6), vec![1, 2]),
        (Some(0), Some(5), vec![]),
        (Some(5), None, vec![2, 3]),
        (Some(6), Some(i32::MAX), vec![]),
        (Some(i32::MAX), None, vec![3]),
    ] {
        let filter = RecordFilter { range: Some(range(low, high)), shard: None };
        assert_eq!(filtered(&fixture, &map, &all, &filter).await, expected, "{low:?} to {high:?}");
    }
    assert_eq!(filtered(&fixture, &map, &all, &RecordFilter::default()).await, [0, 1, 2, 3]);
}

pub async fn mappings_of_a_range_map_are_filtered_by_intersection<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::Range).await;
    let shard = fixture.shard(&map, 0).await;
    let mut all = Vec::new();
    for (low, high) in [(i32::MIN, Some(-10)), (0, Some(10)), (10, Some(20)), (30, None)] {
        all.push(fixture.mapping(&map, record(&shard, low, high)).await);
    }
    for (low, high, expected) in [
        (None, None, vec![0, 1, 2, 3]),
        (None, Some(-10), vec![0]),
        (Some(-10), Some(0), vec![]),
        (Some(-11), Some(1), vec![0, 1]),
        (Some(9), Some(10), vec![1]),
        (Some(9), Some(11), vec![1, 2]),
        (Some(10), Some(20), vec![2]),
        (Some(20), Some(30), vec![]),
        (Some(19), Some(31), vec![2, 3]),
        (Some(3), Some(4), vec![1]),
        (Some(i32::MAX), None, vec![3]),
        (Some(20), None, vec![3]),
    ] {
        let filter = RecordFilter { range: Some(range(low, high)), shard: None };
        assert_eq!(filtered(&fixture, &map, &all, &filter).await, expected, "{low:?} to {high:?}");
    }
}

pub async fn mappings_are_filtered_by_shard<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::Range).await;
    let shards = [fixture.shard(&map, 0).await, fixture.shard(&map, 1).await, fixture.shard(&map, 2).await];
    let mut all = Vec::new();
    for (number, shard) in [(0, 0), (1, 1), (2, 0), (3, 1)] {
        all.push(fixture.mapping(&map, record(&shards[shard], number * 10, Some(number * 10 + 10))).await);
    }
    for (shard, bounds, expected) in [
        (0, None, vec![0, 2]),
        (1, None, vec![1, 3]),
        (2, None, vec![]),
        (0, Some((5, 15)), vec![0]),
        (1, Some((5, 31)), vec![1, 3]),
        (0, Some((10, 20)), vec![]),
    ] {
        let range = bounds.map(|(low, high)| range(Some(low), Some(high)));
        let filter = RecordFilter { range, shard: Some(shards[shard].id()) };
        assert_eq!(filtered(&fixture, &map, &all, &filter).await, expected, "shard {shard}, {bounds:?}");
    }

    let other = fixture.map("other", ShardMapKind::Range).await;
    let foreign = fixture.shard(&other, 0).await;
    let unreadable = fixture.new_shard(&map, 3);
    fixture.start(&on_shard(OperationCode::AddShard, &map, ShardStep::Add(unreadable.clone()))).await;
    for (about, shard) in
        [("unknown", ShardId::random()), ("of another map", foreign.id()), ("being added", unreadable.id())]
    {
        let filter = RecordFilter { range: None, shard: Some(shard) };
        refused(fixture.store().mappings(&map, &filter).await, Refusal::ShardDoesNotExist, about);
    }
}

pub async fn mappings_are_found_by_key<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let list = fixture.map("list", ShardMapKind::List).await;
    let ranges = fixture.map("ranges", ShardMapKind::Range).await;
    let (list_shard, range_shard) = (fixture.shard(&list, 0).await, fixture.shard(&ranges, 0).await);
    let mut points = Vec::new();
    for point in [i32::MIN, 5, i32::MAX] {
        points.push(fixture.mapping(&list, record(&list_shard, point, None)).await.id);
    }
    let mut parts = Vec::new();
    for (low, high) in [(i32::MIN, Some(0)), (0, Some(10)), (20, None)] {
        parts.push(fixture.mapping(&ranges, record(&range_shard, low, high)).await.id);
    }
    for (map, ids, value, expected) in [
        (&list, &points, i32::MIN, Some(0)),
        (&list, &points, 5, Some(1)),
        (&list, &points, i32::MAX, Some(2)),
        (&list, &points, 4, None),
        (&list, &points, 6, None),
        (&ranges, &parts, i32::MIN, Some(0)),
        (&ranges, &parts, -1, Some(0)),
        (&ranges, &parts, 0, Some(1)),
        (&ranges, &parts, 9, Some(1)),
        (&ranges, &parts, 10, None),
        (&ranges, &parts, 19, None),
        (&ranges, &parts, 20, Some(2)),
        (&ranges, &parts, i32::MAX, Some(2)),
    ] {
        let found = fixture.store().find_mapping_by_key(map, &key(value)).await.unwrap();
        assert_eq!(found.map(|mapping| mapping.id), expected.map(|index| ids[index]), "{} {value}", map.name());
    }
}

pub async fn mappings_are_found_by_id<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (map, other) = (fixture.map("map", ShardMapKind::Range).await, fixture.map("other", ShardMapKind::Range).await);
    let (shard, other_shard) = (fixture.shard(&map, 0).await, fixture.shard(&other, 0).await);
    let mapping = fixture.mapping(&map, record(&shard, 0, Some(10))).await;
    let foreign = fixture.mapping(&other, record(&other_shard, 0, Some(10))).await;
    let find = async |map, id| fixture.store().find_mapping_by_id(map, id).await.unwrap().map(|found| found.id);
    assert_eq!(find(&map, mapping.id).await, Some(mapping.id));
    assert_eq!(find(&other, foreign.id).await, Some(foreign.id));
    assert_eq!(find(&map, foreign.id).await, None, "of another map");
    assert_eq!(find(&map, MappingId::random()).await, None, "unknown");
}

pub async fn records_are_read_as_they_were_written<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let map = fixture.map(&format!("{kind}"), kind).await;
        let shard = fixture.shard(&map, 0).await;
        let high = (kind == ShardMapKind::Range).then_some(7);
        let written = MappingRecord { lock_owner: LockToken::random(), ..offline(record(&shard, i32::MIN, high)) };
        let operation = add(&map, &written);
        fixture.perform(&operation).await;
        // The operation gave the shard a new version.
        let shard = fixture.store().find_shard(map.id(), shard.location()).await.unwrap().unwrap();
        let reads = [
            fixture.store().mappings(&map, &RecordFilter::default()).await.unwrap().remove(0),
            fixture.store().find_mapping_by_id(&map, written.id).await.unwrap().unwrap(),
            fixture.store().find_mapping_by_key(&map, &key(i32::MIN)).await.unwrap().unwrap(),
        ];
        for (number, read) in reads.iter().enumerate() {
            assert_eq!(mapping_facts(read), mapping_facts(&written), "{kind}, read {number}");
            assert_eq!(read.lock_owner, written.lock_owner, "{kind}, read {number}");
            assert_eq!(shard_facts(&read.shard), shard_facts(&shard), "{kind}, read {number}");
        }
    }
}

pub async fn everything_is_loaded_at_once<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    assert_eq!(fixture.store().load_all().await.unwrap(), []);
    let empty = fixture.map("empty", ShardMapKind::List).await;
    let full = fixture.map("full", ShardMapKind::Range).await;
    let shard = fixture.shard(&full, 0).await;
    for low in [10, 0] {
        let _ = fixture.mapping(&full, record(&shard, low, Some(low + 10))).await;
    }
    let mut loaded = fixture.store().load_all().await.unwrap();
    loaded.sort_by(|(a, _), (b, _)| a.name().cmp(b.name()));
    let of_full = fixture.store().mappings(&full, &RecordFilter::default()).await.unwrap();
    assert_eq!(of_full.len(), 2);
    assert_eq!(loaded, [(empty, vec![]), (full, of_full)]);
}

pub async fn reads_do_not_see_what_an_unfinished_operation_adds<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let store = fixture.store();
    let map = fixture.map("map", ShardMapKind::Range).await;
    let shards = [fixture.shard(&map, 0).await, fixture.shard(&map, 1).await, fixture.shard(&map, 2).await];
    let split = fixture.mapping(&map, record(&shards[0], 0, Some(10))).await;
    let moved = fixture.mapping(&map, offline(record(&shards[1], 10, Some(20)))).await;
    let before = fixture.state().await.0;

    // A split: both parts are there, one of them with the low bound of the whole. A move, and two operations on shards.
    let parts = [record(&shards[0], 0, Some(5)), record(&shards[0], 5, Some(10))];
    let mut steps = vec![MappingStep::Remove { mapping: split.clone(), lock: LockToken::NONE }];
    steps.extend(parts.clone().map(|mapping| MappingStep::Add { mapping, validate: false }));
    fixture.start(&on_mappings(OperationCode::SplitMapping, &map, (&shards[0], &shards[0]), steps)).await;
    let (moving, new) = update(&map, &moved, MappingStatus::Online, &shards[1], LockToken::NONE);
    fixture.start(&moving).await;
    fixture.start(&on_shard(OperationCode::RemoveShard, &map, ShardStep::Remove(shards[2].clone()))).await;
    let adding = fixture.new_shard(&map, 3);
    fixture.start(&on_shard(OperationCode::AddShard, &map, ShardStep::Add(adding.clone()))).await;

    let (now, pending) = fixture.state().await;
    assert_eq!((now, pending.len()), (before, 4));
    assert_eq!(store.find_shard(map.id(), adding.location()).await.unwrap(), None);
    for id in [parts[0].id, parts[1].id, new.id] {
        assert_eq!(store.find_mapping_by_id(&map, id).await.unwrap(), None);
    }
    // By id and by key it is the whole, with its own bounds.
    let by_id = store.find_mapping_by_id(&map, split.id).await.unwrap().unwrap();
    assert_eq!(mapping_facts(&by_id), mapping_facts(&split));
    for value in [0, 5, 9] {
        let by_key = store.find_mapping_by_key(&map, &key(value)).await.unwrap().unwrap();
        assert_eq!(mapping_facts(&by_key), mapping_facts(&split), "key {value}");
    }
}
