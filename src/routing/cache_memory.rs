//! What a cached mapping costs in memory, counted by the allocator.
//!
//! At most 128 bytes beyond the mapping itself, and at most 256 with it, also just after a table has grown. Counted are
//! the bytes that were asked for on this thread and not given back, with all that `moka` and the index keep for
//! themselves. All is loaded at once: what is replaced is freed later and by any thread, which cannot be counted here.

use std::sync::Arc;

use allocation_counter::measure;

use super::testing::{TestWord, mapping};
use super::{CacheOptions, MappingCache};
use crate::model::{MappingRecord, ShardMapKind};

const BEYOND: u64 = 128;
const IN_ALL: u64 = 256;

fn bytes(work: impl FnOnce()) -> u64 {
    u64::try_from(measure(work).bytes_current).unwrap()
}

/// What a mapping takes without its shard, which thousands share.
fn of_a_mapping<W: TestWord>() -> u64 {
    let record = mapping::<W>(1, Some(2));
    let mut copy = None;
    let bytes = bytes(|| copy = Some(Arc::new((*record).clone())));
    assert!(bytes > 100, "the counter counts");
    drop(copy);
    bytes
}

fn records<W: TestWord>(count: u32) -> Vec<Arc<MappingRecord>> {
    (0..count).map(|key| mapping::<W>(key * 2, Some(key * 2 + 2))).collect()
}

fn assert_small<W: TestWord>(beyond: u64, count: u64, case: &str) {
    let (beyond, mapping) = (beyond / count, of_a_mapping::<W>());
    println!("{case}, {count} mappings: {beyond} bytes each beyond the {mapping} of the mapping");
    assert!(beyond <= BEYOND, "{case}, {count} mappings: {beyond} bytes each");
    assert!(beyond + mapping <= IN_ALL, "{case}, {count} mappings: {beyond} bytes each and {mapping} of the mapping");
}

fn loaded<W: TestWord>(case: &str) {
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        // A hash table of 65,536 places is three quarters full with the one before the first of these.
        for count in [49_153, 100_000] {
            let records = records::<W>(count);
            let mut cache = None;
            let beyond = bytes(|| {
                let new = MappingCache::<W>::new(kind, &CacheOptions::default());
                assert!(new.replace_all(records.clone(), new.epoch()));
                cache = Some(new);
            });
            assert_eq!(cache.map(|cache| cache.len()), Some(count as usize));
            assert_small::<W>(beyond, u64::from(count), &format!("{case} {kind:?}"));
        }
    }
}

#[test]
fn cached_mappings_are_small() {
    loaded::<u64>("i64");
    loaded::<u128>("uuid");
}
