//! The cache read and written by several threads at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::testing::{TestWord, mapping};
use super::{CacheOptions, MappingCache};
use crate::model::{MappingRecord, ShardMapKind};

fn range(low: u32, high: u32) -> Arc<MappingRecord> {
    mapping::<u64>(low, Some(high))
}

/// A range is split and merged while threads read: they always find a mapping, and one that holds their key.
#[test]
fn readers_see_a_split_as_a_whole() {
    let cache = MappingCache::<u64>::new(ShardMapKind::Range, &CacheOptions::default());
    let mut parts = vec![range(0, 100)];
    assert!(cache.insert_loaded(&parts[0], cache.epoch()));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for start in 0..2 {
            let (cache, done) = (&cache, &done);
            let _ = scope.spawn(move || {
                for key in (start..100).cycle() {
                    let found = cache.get(&u64::word(key)).expect("some mapping always holds the key");
                    assert!(found.range().contains(&u64::key(key)));
                    if key == 99 && done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        for round in 0..2_000 {
            let middle = 1 + round % 99;
            let added = if parts.len() == 1 { vec![range(0, middle), range(middle, 100)] } else { vec![range(0, 100)] };
            cache.apply(&parts, &added);
            parts = added;
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(cache.statistics().misses, 0);
    cache.assert_agreement();
}

/// Everything at once on a small cache: what is read holds the key that it was read for.
#[test]
fn many_threads_read_and_write() {
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let cache = MappingCache::<u64>::new(kind, &CacheOptions::default().capacity(50));
        thread::scope(|scope| {
            for writer in 0..2_u32 {
                let cache = &cache;
                let _ = scope.spawn(move || {
                    for round in 0..1_000_u32 {
                        let low = (round * 31 + writer * 17) % 200;
                        let record = mapping::<u64>(low, Some(low + 1 + round % 7));
                        match round % 5 {
                            0 => cache.apply(&[], &[record]),
                            1 => drop(cache.get(&u64::word(low)).map(|stale| cache.invalidate(&stale))),
                            _ => drop(cache.insert_loaded(&record, cache.epoch())),
                        }
                        if round % 250 == 249 {
                            cache.clear();
                        }
                    }
                });
            }
            for reader in 0..2_u32 {
                let cache = &cache;
                let _ = scope.spawn(move || {
                    for round in 0..20_000_u32 {
                        let key = (round * 7 + reader) % 210;
                        if let Some(found) = cache.get(&u64::word(key)) {
                            assert!(match kind {
                                ShardMapKind::List => found.low == u64::key(key),
                                ShardMapKind::Range => found.range().contains(&u64::key(key)),
                            });
                        }
                    }
                });
            }
        });
        assert!(cache.len() <= 50);
        cache.assert_agreement();
    }
}
