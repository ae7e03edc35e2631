//! What leaves a full cache, and what stays.
//!
//! Caches of up to 2,047 mappings let them go one by one and are held to an exact model; larger ones let go of blocks of
//! up to 32, and are held to what is promised for all sizes.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::testing::{TestWord, mapping};
use super::{CacheOptions, MappingCache};
use crate::model::{MappingRecord, ShardMapKind};

const BOTH: [ShardMapKind; 2] = [ShardMapKind::List, ShardMapKind::Range];

/// As many as one write gives.
const SECOND_CHANCES: u64 = 64;

fn cache(kind: ShardMapKind, capacity: u64) -> MappingCache<u64> {
    MappingCache::new(kind, &CacheOptions::default().capacity(capacity))
}

fn record(key: u64) -> Arc<MappingRecord> {
    let key = u32::try_from(key).unwrap();
    mapping::<u64>(key, Some(key + 1))
}

fn load(cache: &MappingCache<u64>, key: u64) {
    assert!(cache.insert_loaded(&record(key), cache.epoch()));
}

fn look_up(cache: &MappingCache<u64>, key: u64) -> Option<Arc<MappingRecord>> {
    cache.get(&u64::word(u32::try_from(key).unwrap()))
}

/// The keys that are held, found without looking them up.
fn held(cache: &MappingCache<u64>) -> BTreeSet<u64> {
    let first = u64::word(0);
    cache.lows().into_iter().map(|low| low - first).collect()
}

#[test]
fn what_is_used_survives_a_scan_of_ten_times_the_capacity() {
    for kind in BOTH {
        // Blocks of 1, 1, 2 and 32. The last is scanned until its used half has been considered, for time.
        for (capacity, scanned) in [(20, 200), (1_000, 10_000), (2_500, 25_000), (33_000, 14_000)] {
            let cache = cache(kind, capacity);
            let hot = || (0..capacity / 2).step_by(5);
            assert!(cache.replace_all((0..capacity).map(record).collect(), cache.epoch()));
            hot().for_each(|key| drop(look_up(&cache, key)));
            for key in capacity..capacity + scanned {
                load(&cache, key);
                assert!(cache.len() as u64 <= capacity);
                if key % (capacity / 4) == 0 {
                    hot().for_each(|key| assert!(look_up(&cache, key).is_some(), "{key} of {capacity}"));
                }
            }
            assert!(hot().all(|key| look_up(&cache, key).is_some()));
            assert!(cache.len() as u64 >= capacity - capacity / 1_024);
            cache.assert_agreement();
        }
    }
}

#[test]
fn what_is_not_used_makes_room_in_the_order_of_loading() {
    for kind in BOTH {
        let cache = cache(kind, 100);
        (0..100).for_each(|key| load(&cache, key));
        (0..50).for_each(|key| drop(look_up(&cache, key)));
        (100..120).for_each(|key| load(&cache, key));
        let expected = (0..50).chain(70..120).collect();
        assert_eq!(held(&cache), expected);
        // A second chance counts like being loaded at that time, here just after the first newcomer.
        (120..151).for_each(|key| load(&cache, key));
        assert_eq!(held(&cache), (0..50).chain(101..151).collect());
        (151..161).for_each(|key| load(&cache, key));
        assert_eq!(held(&cache), (10..50).chain(101..161).collect());
        cache.assert_agreement();
    }
}

#[test]
fn so_many_second_chances_and_no_more() {
    for kind in BOTH {
        let capacity = 500;
        let cache = cache(kind, capacity);
        (0..capacity).for_each(|key| load(&cache, key));
        (0..capacity).for_each(|key| drop(look_up(&cache, key)));
        let mut expected: BTreeSet<_> = (0..capacity).collect();
        for round in 0..3 {
            load(&cache, capacity + round);
            assert!(expected.insert(capacity + round));
            assert!(expected.remove(&(round * (SECOND_CHANCES + 1) + SECOND_CHANCES)));
            assert_eq!(held(&cache), expected);
        }
        assert_eq!(cache.statistics().evictions, 3);
        cache.assert_agreement();
    }
}

/// Many newcomers at once leave no time for second chances.
#[test]
fn a_batch_that_fills_the_cache_is_held_in_full() {
    for kind in BOTH {
        for capacity in [1, 2, 3, 100] {
            let cache = cache(kind, capacity);
            (0..capacity).for_each(|key| load(&cache, key));
            for batch in 1..=capacity {
                held(&cache).into_iter().for_each(|key| drop(look_up(&cache, key)));
                let first = 1_000 * batch;
                cache.apply(&[], &(first..first + batch).map(record).collect::<Vec<_>>());
                assert!((first..first + batch).all(|key| held(&cache).contains(&key)), "{batch} of {capacity}");
                assert_eq!(cache.len() as u64, capacity);
                cache.assert_agreement();
            }
        }
    }
}

#[test]
fn blocks_of_which_little_is_left_are_joined() {
    for kind in BOTH {
        let cache = cache(kind, 1_000_000);
        let records: Vec<_> = (0..6_400).map(record).collect();
        cache.apply(&[], &records);
        assert_eq!(cache.blocks(), 200);
        for (key, record) in records.iter().enumerate() {
            if key % 32 != 5 {
                assert!(cache.invalidate(record));
            }
        }
        cache.assert_agreement();
        assert_eq!(held(&cache), (0..6_400).filter(|key| key % 32 == 5).collect());
        assert!(cache.blocks() <= 200 / 8, "{} blocks for 200 mappings", cache.blocks());
    }
}

#[test]
fn mappings_that_are_replaced_many_at_a_time_are_counted_once() {
    for kind in BOTH {
        for capacity in [100, 2_048, 5_000] {
            let cache = cache(kind, capacity);
            for _ in 0..3 {
                cache.apply(&[], &(0..capacity).map(record).collect::<Vec<_>>());
                assert_eq!(held(&cache), (0..capacity).collect());
            }
            load(&cache, capacity);
            assert!(cache.len() as u64 > capacity - 4);
            cache.assert_agreement();
        }
    }
}

#[test]
fn whole_blocks_past_their_lifetime_leave_without_a_second_chance() {
    for kind in BOTH {
        let cache = MappingCache::<u64>::new(kind, &CacheOptions::default().time_to_live(Duration::ZERO));
        let records: Vec<_> = (0..1_000).map(record).collect();
        cache.apply(&[], &records);
        assert!((0..1_000).all(|key| look_up(&cache, key).is_none()));
        assert!(cache.replace_all(records, cache.epoch()));
        cache.assert_agreement();
        assert_eq!((cache.len(), cache.statistics().evictions), (0, 2_000));
    }
}

/// One mapping after the other in the order in which they are considered, each with whether it was used.
struct Clock {
    capacity: usize,
    order: VecDeque<(u64, bool)>,
}

impl Clock {
    fn remove(&mut self, key: u64) -> bool {
        let before = self.order.len();
        self.order.retain(|(held, _)| *held != key);
        self.order.len() < before
    }

    fn look_up(&mut self, key: u64) -> bool {
        let found = self.order.iter_mut().find(|(held, _)| *held == key);
        found.map(|(_, used)| *used = true).is_some()
    }

    fn load(&mut self, key: u64) {
        let _ = self.remove(key);
        self.order.push_back((key, false));
        let mut chances = self.capacity - 1;
        while self.order.len() > self.capacity {
            let (first, used) = self.order.pop_front().unwrap();
            if used && chances > 0 {
                chances -= 1;
                self.order.push_back((first, false));
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Load(u64),
    LookUp(u64),
    Invalidate(u64),
}

fn step(keys: u64) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..keys).prop_map(Step::Load),
        4 => (0..keys).prop_map(Step::LookUp),
        1 => (0..keys).prop_map(Step::Invalidate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_small_cache_is_a_clock(capacity in 1..12_usize, steps in prop::collection::vec(step(20), 1..200)) {
        for kind in BOTH {
            let cache = cache(kind, capacity as u64);
            let mut clock = Clock { capacity, order: VecDeque::new() };
            for step in &steps {
                match *step {
                    Step::Load(key) => {
                        load(&cache, key);
                        clock.load(key);
                    }
                    Step::LookUp(key) => assert_eq!(look_up(&cache, key).is_some(), clock.look_up(key)),
                    Step::Invalidate(key) => {
                        // What is invalidated must be known, and looking it up uses it, which is forgotten with it.
                        let known = look_up(&cache, key);
                        assert_eq!(known.is_some_and(|record| cache.invalidate(&record)), clock.remove(key));
                    }
                }
                assert_eq!(held(&cache), clock.order.iter().map(|(key, _)| *key).collect());
            }
            cache.assert_agreement();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Runs of neighbours are loaded, looked up and invalidated in caches whose blocks hold 2 and 4 mappings.
    #[test]
    fn a_cache_of_blocks_keeps_its_promises(
        capacity in prop::sample::select(vec![2_048_usize, 5_000]),
        steps in prop::collection::vec((step(9_000), 1..900_u64), 1..40),
    ) {
        for kind in BOTH {
            let cache = cache(kind, capacity as u64);
            for (step, count) in &steps {
                match *step {
                    Step::Load(first) => {
                        let whole = held(&cache);
                        if *count % 3 == 0 {
                            let records: Vec<_> = (first..first + count).map(record).collect();
                            cache.apply(&[], &records);
                        } else {
                            (first..first + count).for_each(|key| load(&cache, key));
                        }
                        let held = held(&cache);
                        assert!((first..first + count).all(|key| held.contains(&key)), "newcomers are never refused");
                        let all = whole.union(&(first..first + count).collect()).count();
                        assert!(held.len() >= all.min(capacity - 4), "{} of {all} left in {capacity}", held.len());
                    }
                    Step::LookUp(first) => (first..first + count).for_each(|key| drop(look_up(&cache, key))),
                    Step::Invalidate(first) => {
                        for key in first..first + count {
                            let _ = look_up(&cache, key).map(|record| assert!(cache.invalidate(&record)));
                        }
                    }
                }
                assert!(cache.len() <= capacity);
                cache.assert_agreement();
            }
        }
    }
}
