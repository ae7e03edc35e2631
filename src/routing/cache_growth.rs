//! What calls cost does not grow with the number of mappings in the cache: counted, not timed.
//!
//! Counted are the keys that are compared or hashed, the entries that are cloned, and the bytes that are asked of the
//! allocator, all by the thread that calls. Calls that load or forget the whole map are linear and not meant.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use allocation_counter::measure;

use super::entry::CLONES;
use super::testing::{TestWord, mapping};
use super::{CacheOptions, MappingCache};
use crate::key::{EncodedKey, Word};
use crate::model::{MappingRecord, ShardMapKind};

const SMALL: u32 = 1_000;
const LARGE: u32 = 100_000;

/// How much more a call may cost in the large cache: there the tree has one more level, of up to 64 children, and blocks
/// of 32 mappings leave where single ones do in the small one. To go through all would be a hundred thousand more.
const ALLOWED: Cost = Cost { keys: 3_000, clones: 100, bytes: 24_000 };

/// Mappings begin this far apart.
const WIDTH: u32 = 10;

thread_local! {
    /// How often this thread has compared or hashed a key.
    static KEYS: Cell<u64> = const { Cell::new(0) };
}

fn count_key() {
    KEYS.set(KEYS.get() + 1);
}

/// A word that counts what is done with it.
#[derive(Clone, Copy, Debug)]
struct Counted(u64);

impl Word for Counted {
    fn from_encoded(key: &EncodedKey) -> Self {
        Self(u64::from_encoded(key))
    }
}

impl TestWord for Counted {
    fn key(number: u32) -> EncodedKey {
        u64::key(number)
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Counted {}

impl PartialOrd for Counted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Counted {
    fn cmp(&self, other: &Self) -> Ordering {
        count_key();
        self.0.cmp(&other.0)
    }
}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        count_key();
        self.0.hash(state);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    keys: u64,
    clones: u64,
    bytes: u64,
}

/// The dearest of each kind of call.
#[derive(Debug, Default)]
struct Meter(BTreeMap<&'static str, Cost>);

impl Meter {
    fn of(&mut self, call: &'static str, work: impl FnOnce()) {
        KEYS.set(0);
        CLONES.set(0);
        let bytes = measure(work).bytes_total;
        let most = self.0.entry(call).or_default();
        *most = Cost {
            keys: most.keys.max(KEYS.get()),
            clones: most.clones.max(CLONES.get()),
            bytes: most.bytes.max(bytes),
        };
    }
}

type Counting = MappingCache<Counted>;

/// A mapping that leaves the second half of the keys up to the next one free.
fn record(number: u32) -> Arc<MappingRecord> {
    mapping::<Counted>(number * WIDTH, Some(number * WIDTH + WIDTH / 2))
}

fn load(cache: &Counting, record: &Arc<MappingRecord>) {
    assert!(cache.insert_loaded(record, cache.epoch()));
}

fn look_up(cache: &Counting, number: u32) -> bool {
    cache.get(&Counted::word(number * WIDTH)).is_some()
}

/// A cache that holds so many, and those mappings.
fn filled(kind: ShardMapKind, count: u32, capacity: u32) -> (Counting, Vec<Arc<MappingRecord>>) {
    let cache = MappingCache::new(kind, &CacheOptions::default().capacity(u64::from(capacity)));
    let records: Vec<_> = (0..count).map(record).collect();
    assert!(cache.replace_all(records.clone(), cache.epoch()));
    assert_eq!(cache.len(), records.len());
    (cache, records)
}

fn costs(kind: ShardMapKind, count: u32) -> Meter {
    let mut meter = Meter::default();
    // All over it.
    let places = || (1..20).map(|place| count / 20 * place);

    let (cache, mut records) = filled(kind, count, 2 * count);
    for place in places() {
        meter.of("lookup", || assert!(look_up(&cache, place)));
        meter.of("lookup of what is missing", || assert!(cache.get(&Counted::word(place * WIDTH + 7)).is_none()));
    }
    for place in places() {
        let new = mapping::<Counted>(place * WIDTH + 5, Some(place * WIDTH + 8));
        meter.of("load beside others", || load(&cache, &new));
        let above = record(count + place);
        meter.of("load above all", || load(&cache, &above));
    }
    for place in places() {
        let old = &mut records[place as usize + 1];
        meter.of("load again", || load(&cache, old));
        let new = mapping::<Counted>((place + 1) * WIDTH, Some((place + 1) * WIDTH + 5));
        meter.of("operation", || cache.apply(&[Arc::clone(old)], &[Arc::clone(&new)]));
        *old = new;
    }
    for place in places() {
        meter.of("invalidation", || assert!(cache.invalidate(&records[place as usize])));
    }
    cache.assert_agreement();

    let (cache, _) = filled(kind, count, count);
    for newcomer in 0..100 {
        let new = record(count + newcomer);
        meter.of("load into a full cache", || load(&cache, &new));
    }
    assert!(cache.statistics().evictions >= 100);
    assert!((128..count).all(|number| look_up(&cache, number)));
    for newcomer in 100..200 {
        let new = record(count + newcomer);
        meter.of("load into a full cache in use", || load(&cache, &new));
    }
    cache.assert_agreement();
    meter
}

#[test]
fn no_call_costs_more_in_a_large_cache() {
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let (small, large) = (costs(kind, SMALL), costs(kind, LARGE));
        for (call, before) in small.0 {
            let after = large.0[call];
            println!("{kind}, {call}: {before:?} becomes {after:?}");
            let grown = after.keys > before.keys + ALLOWED.keys
                || after.clones > before.clones + ALLOWED.clones
                || after.bytes > before.bytes + ALLOWED.bytes;
            assert!(!grown, "{kind}, {call}: {before:?} becomes {after:?}");
            assert!(before.keys > 0, "{kind}, {call}: nothing is counted");
        }
    }
}
