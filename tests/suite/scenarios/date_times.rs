//! Maps of dates, times and spans of time.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use shardlet::{
    ErrorCode, ErrorKind, KeyRange, ListShardMap, MappingFilter, PointMapping, RangeShardMap, ShardKey, Sqlite,
};

use super::keys::{at, first, last, noon, tick};
use super::refused;
use crate::support::contents::contents;
use crate::support::{manager, shards};

async fn list_of<K: ShardKey>() -> ListShardMap<K, Sqlite> {
    manager().await.create_list_shard_map::<K>("m").await.unwrap()
}

#[tokio::test]
async fn dates_are_listed_by_range_and_by_shard() {
    let map = list_of::<NaiveDateTime>().await;
    let on = shards(&map, 2).await;
    let times = [noon(), noon() + TimeDelta::minutes(10), noon() + TimeDelta::minutes(20)];
    for (time, shard) in times.iter().zip([0, 1, 0]) {
        let _ = map.create_mapping(*time, &on[shard]).await.unwrap();
    }
    let all = MappingFilter::all;
    let around = times[2] - TimeDelta::minutes(5)..times[2] + TimeDelta::minutes(15);
    let upper = times[1] - TimeDelta::minutes(5)..times[2] + TimeDelta::minutes(15);
    for (case, filter, expected) in [
        ("all", all(), vec![times[0], times[1], times[2]]),
        ("the later two", all().in_range(upper.clone()), vec![times[1], times[2]]),
        ("the last", all().in_range(around), vec![times[2]]),
        ("shard 0", all().on_shard(&on[0]), vec![times[0], times[2]]),
        ("both", all().in_range(upper).on_shard(&on[0]), vec![times[2]]),
    ] {
        let found = map.mappings_matching(&filter).await.unwrap();
        assert_eq!(found.iter().map(PointMapping::key).collect::<Vec<_>>(), expected, "{case}");
    }
}

#[tokio::test]
async fn a_date_is_mapped_once_and_deleted_once() {
    let map = list_of::<NaiveDateTime>().await;
    let on = shards(&map, 1).await;
    let mapping = map.create_mapping(noon(), &on[0]).await.unwrap();
    let twice = map.create_mapping(noon(), &on[0]).await;
    let _ = refused(twice, ErrorKind::AlreadyExists, ErrorCode::MappingPointAlreadyMapped, "twice");
    let beside = map.create_mapping(noon() + tick(), &on[0]).await.expect("one tick later is another key");
    let offline = map.mark_mapping_offline(mapping).await.unwrap();
    map.delete_mapping(offline.clone()).await.unwrap();
    let found = map.mapping_for_key(&noon()).await;
    let _ = refused(found, ErrorKind::NotFound, ErrorCode::MappingNotFoundForKey, "deleted");
    let again = map.delete_mapping(offline).await;
    let _ = refused(again, ErrorKind::Stale, ErrorCode::MappingDoesNotExist, "deleted twice");
    assert_eq!(map.mappings().await.unwrap(), [beside]);
}

#[tokio::test]
async fn the_earliest_dates_are_keys_like_others() {
    let dates = list_of::<NaiveDateTime>().await;
    let on = shards(&dates, 1).await;
    let mapping = dates.create_mapping(first(), &on[0]).await.unwrap();
    assert_eq!(mapping.key(), first());
    assert_eq!(mapping.to_string(), format!("P[{}:0001-01-01 00:00:00]", mapping.id()));
    assert_eq!(dates.mappings().await.unwrap()[0].key(), first());

    let offsets = list_of::<DateTime<FixedOffset>>().await;
    let on = shards(&offsets, 1).await;
    let mapping = offsets.create_mapping(at(first(), 0), &on[0]).await.unwrap();
    assert_eq!(mapping.key(), at(first(), 0));
    // At the first instant the offset does not count: the stored key holds none.
    let twice = offsets.create_mapping(at(first(), 14), &on[0]).await;
    let _ = refused(twice, ErrorKind::AlreadyExists, ErrorCode::MappingPointAlreadyMapped, "another offset");

    let all = manager().await.create_range_shard_map::<NaiveDateTime>("all").await.unwrap();
    let on = shards(&all, 1).await;
    let whole = all.create_mapping(.., &on[0]).await.unwrap();
    assert_eq!(whole.range(), KeyRange::from(first()..));
    let (year_one, _) = all.split_mapping(whole, first() + tick()).await.unwrap();
    assert_eq!(all.mapping_for_key(&first()).await.unwrap(), year_one);
    assert_ne!(all.mapping_for_key(&last()).await.unwrap(), year_one);
}

/// Asserts that a key is refused by every call that takes one.
async fn is_no_key<K: ShardKey>(case: &str, key: K) {
    let manager = manager().await;
    let list = manager.create_list_shard_map::<K>("list").await.unwrap();
    let range: RangeShardMap<K, _> = manager.create_range_shard_map::<K>("range").await.unwrap();
    let (point_shards, range_shards) = (shards(&list, 1).await, shards(&range, 1).await);
    let whole = range.create_mapping(.., &range_shards[0]).await.unwrap();
    let before = contents(&manager).await;
    let filter = MappingFilter::all().in_range(key.clone()..);
    let credentials = shardlet::NoCredentials;
    for (call, outcome) in [
        ("create", list.create_mapping(key.clone(), &point_shards[0]).await.map(|_| ())),
        ("create from", range.create_mapping(key.clone().., &range_shards[0]).await.map(|_| ())),
        ("create to", range.create_mapping(..key.clone(), &range_shards[0]).await.map(|_| ())),
        ("split", range.split_mapping(whole.clone(), key.clone()).await.map(|_| ())),
        ("find", list.find_mapping_for_key(&key).await.map(|_| ())),
        ("get", list.mapping_for_key(&key).await.map(|_| ())),
        ("look up", range.lookup_mapping(&key).await.map(|_| ())),
        ("list", list.mappings_matching(&filter).await.map(|_| ())),
        ("open", range.open_connection_for_key(&key, &credentials, shardlet::Validation::Validate).await.map(|_| ())),
    ] {
        let error = refused(outcome, ErrorKind::InvalidInput, ErrorCode::InvalidArgument, &format!("{case}: {call}"));
        assert!(error.operation().is_some() && error.shard_map().is_some(), "{case}: {call}: {error}");
    }
    assert!(list.cached_mapping(&key).is_none(), "{case}");
    assert!(range.cached_mapping(&key).is_none(), "{case}");
    assert_eq!(contents(&manager).await, before, "{case}");
}

#[tokio::test]
async fn what_no_key_can_hold_is_refused_not_rounded() {
    let nano = TimeDelta::nanoseconds(1);
    let east = |seconds| FixedOffset::east_opt(seconds).unwrap();
    let with_offset = |instant, seconds| DateTime::<FixedOffset>::from_naive_utc_and_offset(instant, east(seconds));
    let year_0 = NaiveDate::from_ymd_opt(0, 12, 31).unwrap().and_hms_opt(23, 59, 59).unwrap();
    let year_10000 = NaiveDate::from_ymd_opt(10000, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap();
    let leap = NaiveDate::from_ymd_opt(2016, 12, 31).unwrap().and_hms_nano_opt(23, 59, 59, 1_000_000_000).unwrap();
    for (case, date) in [
        ("finer than a tick", noon() + nano),
        ("99 ns after the last tick", last() + nano * 99),
        ("before year 1", year_0),
        ("one tick before year 1", first() - tick()),
        ("after year 9999", year_10000),
        ("the first date of chrono", NaiveDateTime::MIN),
        ("the last date of chrono", NaiveDateTime::MAX),
        ("a leap second", leap),
    ] {
        is_no_key(case, date).await;
        is_no_key(&format!("{case}, UTC"), date.and_utc()).await;
    }
    for (case, date) in [
        ("finer than a tick", with_offset(noon() + nano, 3600)),
        ("an offset with seconds", with_offset(noon(), 3601)),
        ("an offset beyond 14 hours", with_offset(noon(), 14 * 3600 + 60)),
        ("an offset beyond -14 hours", with_offset(noon(), -14 * 3600 - 60)),
        ("a local time before year 1", with_offset(first() + tick(), -3600)),
        ("a local time after year 9999", with_offset(last(), 60)),
        ("an instant before year 1", with_offset(year_0, 3600)),
    ] {
        is_no_key(case, date).await;
    }
    for (case, span) in [
        ("finer than a tick", TimeDelta::nanoseconds(50)),
        ("the longest span of chrono", TimeDelta::MAX),
        ("the shortest span of chrono", TimeDelta::MIN),
        ("one tick too long", super::keys::ticks(i64::MAX) + tick()),
        ("one tick too short", super::keys::ticks(i64::MIN) - tick()),
    ] {
        is_no_key(case, span).await;
    }
}

#[tokio::test]
async fn an_offset_is_part_of_a_key() {
    let map = list_of::<DateTime<FixedOffset>>().await;
    let on = shards(&map, 1).await;
    let keys: Vec<_> = [-14, -1, 0, 2, 14].map(|hours| at(noon(), hours)).into();
    let mut made = Vec::new();
    for key in &keys {
        made.push(map.create_mapping(*key, &on[0]).await.unwrap());
    }
    for (key, mapping) in keys.iter().zip(&made) {
        let found = map.mapping_for_key(key).await.unwrap();
        assert_eq!(&found, mapping, "{key}");
        assert_eq!(found.key().offset(), key.offset(), "{key}: the offset is kept");
    }
    assert_eq!(map.mappings().await.unwrap(), made, "one instant is ordered by offset");
    assert!(map.find_mapping_for_key(&at(noon(), 1)).await.unwrap().is_none(), "an offset that is not mapped");

    // The same map through keys in UTC: only the key without an offset is one of them.
    let utc = map.manager().list_shard_map::<DateTime<Utc>>("m").await.unwrap();
    assert_eq!(utc.mapping_for_key(&noon().and_utc()).await.unwrap().id(), made[2].id());
    assert!(utc.mappings().await.unwrap().iter().all(|mapping| mapping.key() == noon().and_utc()));
}

#[tokio::test]
async fn ranges_of_instants_hold_all_offsets_of_the_instants_within() {
    let map = manager().await.create_range_shard_map::<DateTime<FixedOffset>>("m").await.unwrap();
    let on = shards(&map, 1).await;
    let hour = TimeDelta::hours(1);
    let mapping = map.create_mapping(at(noon(), 0)..at(noon() + hour, 0), &on[0]).await.unwrap();
    for (key, inside) in [
        (at(noon(), 0), true),
        (at(noon(), 5), true),
        (at(noon(), -5), false),
        (at(noon() + tick(), -14), true),
        (at(noon() + hour - tick(), 14), true),
        (at(noon() + hour, -14), true),
        (at(noon() + hour, 0), false),
    ] {
        let found = map.find_mapping_for_key(&key).await.unwrap();
        assert_eq!(found.is_some(), inside, "{key}");
        map.clear_cache();
        let looked_up = map.lookup_mapping(&key).await.ok();
        assert_eq!(looked_up, found, "{key}");
        assert_eq!(mapping.range().contains(&key), inside, "{key}");
    }
}

#[tokio::test]
async fn spans_of_time_are_signed() {
    let map = manager().await.create_range_shard_map::<TimeDelta>("m").await.unwrap();
    let on = shards(&map, 2).await;
    let below = map.create_mapping(..TimeDelta::zero(), &on[0]).await.unwrap();
    let above = map.create_mapping(TimeDelta::zero().., &on[1]).await.unwrap();
    for (span, mapping) in [
        (super::keys::ticks(i64::MIN), &below),
        (TimeDelta::days(-400), &below),
        (-tick(), &below),
        (TimeDelta::zero(), &above),
        (tick(), &above),
        (super::keys::ticks(i64::MAX), &above),
    ] {
        assert_eq!(map.mapping_for_key(&span).await.unwrap(), *mapping, "{span}");
        assert_eq!(map.cached_mapping(&span).as_ref(), Some(mapping), "{span}");
    }
}
