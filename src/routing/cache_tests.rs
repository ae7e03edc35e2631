//! What each call of the cache does, one at a time.

use std::sync::Arc;
use std::time::Duration;

use super::testing::{TestWord, mapping};
use super::{CacheOptions, CacheStatistics, MappingCache};
use crate::model::{LockToken, MappingId, MappingRecord, ShardMapKind};

const BOTH: [ShardMapKind; 2] = [ShardMapKind::List, ShardMapKind::Range];

type Change = fn(&MappingCache<u64>, &Arc<MappingRecord>);

fn cache(kind: ShardMapKind, options: &CacheOptions) -> MappingCache<u64> {
    MappingCache::new(kind, options)
}

fn ranges() -> MappingCache<u64> {
    cache(ShardMapKind::Range, &CacheOptions::default())
}

fn range(low: u32, high: u32) -> Arc<MappingRecord> {
    mapping::<u64>(low, Some(high))
}

fn load(cache: &MappingCache<u64>, record: &Arc<MappingRecord>) -> bool {
    cache.insert_loaded(record, cache.epoch())
}

fn id_at(cache: &MappingCache<u64>, key: u32) -> Option<MappingId> {
    cache.peek(&u64::word(key)).map(|record| record.id)
}

#[test]
fn filling_with_neighbours_evicts_none_of_them() {
    let ascending: Vec<u32> = (0..1_000).collect();
    let descending = ascending.iter().rev().copied().collect();
    let scattered = ascending.iter().map(|place| place * 617 % 1_000).collect();
    for order in [ascending, descending, scattered] {
        let cache = ranges();
        let records: Vec<_> = (0..1_000).map(|place| range(place * 10, place * 10 + 10)).collect();
        for place in order {
            assert!(load(&cache, &records[place as usize]));
        }
        assert_eq!(cache.len(), 1_000);
        for key in 0..10_000 {
            assert_eq!(id_at(&cache, key), Some(records[key as usize / 10].id));
        }
        assert_eq!(id_at(&cache, 10_000), None);
        let statistics = cache.statistics();
        assert_eq!((statistics.loads, statistics.invalidations, statistics.evictions), (1_000, 0, 0));
        cache.assert_agreement();
    }
}

#[test]
fn a_load_that_raced_with_a_change_is_refused() {
    let old = range(0, 10);
    let changes: [Change; 5] = [
        |cache, old| assert!(cache.invalidate(old)),
        |cache, _| assert!(!cache.invalidate(&range(50, 60))),
        |cache, old| cache.apply(&[Arc::clone(old)], &[]),
        |cache, _| cache.clear(),
        |cache, _| assert!(cache.replace_all(Vec::new(), cache.epoch())),
    ];
    for change in changes {
        let cache = ranges();
        assert!(load(&cache, &old));
        let begun = cache.epoch();
        change(&cache, &old);
        let before = id_at(&cache, 5);
        assert!(!cache.insert_loaded(&old, begun));
        assert!(!cache.replace_all(vec![Arc::clone(&old)], begun));
        assert_eq!(id_at(&cache, 5), before);
        assert_eq!(cache.statistics().refused_loads, 2);
        assert!(load(&cache, &old), "a load that begins afterwards is taken");
    }
}

#[test]
fn loads_do_not_refuse_each_other() {
    let cache = ranges();
    let begun = cache.epoch();
    assert!(cache.insert_loaded(&range(0, 10), begun));
    assert!(cache.insert_loaded(&range(10, 20), begun));
    assert!(cache.insert_loaded(&range(5, 15), begun), "it displaces both");
    assert_eq!((cache.len(), cache.statistics().invalidations), (1, 2));
    cache.assert_agreement();
}

#[test]
fn late_news_of_an_old_state_leave_the_new_one() {
    for kind in BOTH {
        let cache = cache(kind, &CacheOptions::default());
        let (old, new) = (mapping::<u64>(5, None), mapping::<u64>(5, None));
        assert!(load(&cache, &old));
        cache.apply(&[Arc::clone(&old)], &[Arc::clone(&new)]);
        assert!(!cache.invalidate(&old));
        cache.apply(&[Arc::clone(&old)], &[]);
        assert_eq!(id_at(&cache, 5), Some(new.id));
        cache.assert_agreement();
    }
}

#[test]
fn operations_that_report_in_the_wrong_order_bring_nothing_back() {
    for kind in BOTH {
        let cache = cache(kind, &CacheOptions::default());
        let [first, second, third] = [5, 5, 5].map(|low| mapping::<u64>(low, None));
        cache.apply(&[Arc::clone(&second)], &[Arc::clone(&third)]);
        cache.apply(&[Arc::clone(&first)], &[Arc::clone(&second)]);
        assert_eq!(id_at(&cache, 5), Some(third.id));
        cache.apply(&[Arc::clone(&third)], &[]);
        cache.apply(&[], &[Arc::clone(&third)]);
        assert_eq!(id_at(&cache, 5), None);
    }
}

#[test]
fn a_lock_changes_a_mapping_under_its_id() {
    let cache = ranges();
    let free = range(0, 10);
    let locked = Arc::new(MappingRecord { lock_owner: LockToken::random(), ..(*free).clone() });
    for (before, after) in [(&free, &locked), (&locked, &free), (&free, &locked)] {
        cache.apply(&[Arc::clone(before)], &[Arc::clone(after)]);
        let found = cache.peek(&u64::word(3)).map(|record| record.lock_owner);
        assert_eq!(found, Some(after.lock_owner));
    }
    cache.assert_agreement();
}

#[test]
fn a_split_and_a_merge_are_taken_over() {
    let cache = ranges();
    let (whole, left, right) = (range(0, 10), range(0, 4), range(4, 10));
    assert!(load(&cache, &whole));
    cache.apply(&[Arc::clone(&whole)], &[Arc::clone(&left), Arc::clone(&right)]);
    assert_eq!([3, 4].map(|key| id_at(&cache, key)), [Some(left.id), Some(right.id)]);
    let merged = range(0, 10);
    cache.apply(&[left, right], &[Arc::clone(&merged)]);
    assert_eq!([3, 4].map(|key| id_at(&cache, key)), [Some(merged.id); 2]);
    assert_eq!(cache.len(), 1);
    cache.assert_agreement();
}

#[test]
fn a_range_without_keys_is_not_taken() {
    let cache = ranges();
    let stays = range(0, 10);
    assert!(load(&cache, &stays));
    assert!(!load(&cache, &range(5, 5)));
    cache.apply(&[], &[range(6, 3)]);
    assert_eq!(cache.len(), 1);
    assert_eq!(id_at(&cache, 5), Some(stays.id));
}

#[test]
fn the_oldest_make_room() {
    for kind in BOTH {
        let cache = cache(kind, &CacheOptions::default().capacity(100));
        let records: Vec<_> = (0..1_000).map(|key| mapping::<u64>(key, Some(key + 1))).collect();
        for record in &records {
            assert!(load(&cache, record));
            assert!(cache.len() <= 100);
        }
        assert_eq!(cache.len(), 100);
        assert!((0..1_000).all(|key| id_at(&cache, key).is_some() == (key >= 900)));
        assert_eq!(cache.statistics().evictions, 900);
        cache.assert_agreement();

        // Those that are held already make room too, and then come in again.
        cache.apply(&[], &records[450..950]);
        assert!((0..1_000).all(|key| id_at(&cache, key).is_some() == (850..950).contains(&key)));
        cache.assert_agreement();

        assert!(cache.replace_all(records, cache.epoch()));
        assert_eq!(cache.len(), 100);
        cache.assert_agreement();
    }
}

#[test]
fn without_room_nothing_is_kept() {
    for kind in BOTH {
        let cache = cache(kind, &CacheOptions::default().capacity(0));
        let record = mapping::<u64>(1, Some(2));
        assert!(!load(&cache, &record));
        cache.apply(&[], &[Arc::clone(&record)]);
        assert!(cache.replace_all(vec![record], cache.epoch()));
        assert_eq!((cache.len(), id_at(&cache, 1)), (0, None));
    }
}

#[test]
fn a_lifetime_ends_everywhere() {
    for kind in BOTH {
        let cache = cache(kind, &CacheOptions::default().time_to_live(Duration::ZERO));
        let record = mapping::<u64>(1, Some(2));
        assert!(load(&cache, &record));
        assert_eq!(id_at(&cache, 1), None);
        cache.apply(&[], &[Arc::clone(&record)]);
        assert_eq!(id_at(&cache, 1), None);
        assert!(cache.replace_all(vec![record], cache.epoch()));
        assert_eq!((id_at(&cache, 1), cache.len()), (None, 0));
        assert_eq!(cache.statistics().evictions, 3);
        cache.assert_agreement();
    }
}

#[test]
fn a_lifetime_that_lasts_changes_nothing() {
    for lifetime in [Duration::from_secs(3_600), Duration::MAX] {
        for kind in BOTH {
            let cache = cache(kind, &CacheOptions::default().time_to_live(lifetime));
            let record = mapping::<u64>(1, Some(2));
            assert!(load(&cache, &record));
            assert!(load(&cache, &record), "loading it again renews it");
            assert_eq!(id_at(&cache, 1), Some(record.id));
            assert_eq!(cache.statistics().invalidations, 0);
            cache.assert_agreement();
        }
    }
}

#[test]
fn missing_keys_are_remembered_on_demand_until_something_changes() {
    let key = u64::word(7);
    let off = ranges();
    off.remember_missing(key, off.epoch());
    assert!(!off.is_missing(&key));

    let expired = cache(ShardMapKind::List, &CacheOptions::default().missing_key_time(Duration::ZERO));
    expired.remember_missing(key, expired.epoch());
    assert!(!expired.is_missing(&key));

    let cache = cache(ShardMapKind::List, &CacheOptions::default().missing_key_time(Duration::MAX));
    cache.remember_missing(key, cache.epoch());
    assert!(cache.is_missing(&key));
    assert!(!cache.is_missing(&u64::word(8)));
    assert!(load(&cache, &mapping::<u64>(8, None)));
    assert!(cache.is_missing(&key), "a load changes nothing");
    let begun = cache.epoch();
    cache.apply(&[], &[mapping::<u64>(9, None)]);
    assert!(!cache.is_missing(&key));
    cache.remember_missing(key, begun);
    assert!(!cache.is_missing(&key), "what was read before the change does not count");
}

#[test]
fn lookups_that_find_nothing_are_counted() {
    let cache = ranges();
    assert!(cache.get(&u64::word(1)).is_none());
    assert!(cache.peek(&u64::word(1)).is_none());
    assert!(load(&cache, &range(0, 5)));
    assert!(cache.get(&u64::word(1)).is_some());
    cache.clear();
    let expected = CacheStatistics { misses: 1, loads: 1, invalidations: 1, ..CacheStatistics::default() };
    assert_eq!(cache.statistics(), expected);
}

#[test]
fn no_key_is_logged() {
    let cache = ranges();
    assert!(load(&cache, &range(0x77, 0x78)));
    assert_eq!(format!("{cache:?}"), "MappingCache { kind: Range, len: 1, .. }");
}
