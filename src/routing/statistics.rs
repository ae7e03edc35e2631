//! What a cache counts.
//!
//! Only events off the warm path are counted. Hits are not: one counter that every lookup bumps would be a cache line
//! that all threads fight for, and would cost more than the lookup.
//!
//! Invariant: counting a lookup that finds its mapping costs nothing, because it is not counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the cache of one shard map holds and has done since it was made.
///
/// Hits are not counted: a counter that each lookup bumps would slow all of them down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStatistics {
    /// Mappings held now, including those past their lifetime that no write has cleared away yet.
    pub entries: u64,
    /// Lookups that found no mapping.
    pub misses: u64,
    /// Mappings that were loaded and put in.
    pub loads: u64,
    /// Mappings that were loaded and not put in, because something changed while they were being read.
    pub refused_loads: u64,
    /// Mappings that were dropped because they were changed, found stale, displaced by a newer one, or cleared.
    pub invalidations: u64,
    /// Mappings that were dropped for want of room or because their lifetime was over.
    pub evictions: u64,
}

/// The counters behind [`CacheStatistics`]. Each is only a number: none orders anything.
#[derive(Debug, Default)]
pub(super) struct Counters {
    misses: AtomicU64,
    loads: AtomicU64,
    refused_loads: AtomicU64,
    invalidations: AtomicU64,
    evictions: AtomicU64,
}

impl Counters {
    pub(super) fn missed(&self) {
        add(&self.misses, 1);
    }

    pub(super) fn loaded(&self, mappings: usize) {
        add(&self.loads, mappings);
    }

    pub(super) fn refused(&self, mappings: usize) {
        add(&self.refused_loads, mappings);
    }

    pub(super) fn invalidated(&self, mappings: usize) {
        add(&self.invalidations, mappings);
    }

    pub(super) fn evicted(&self, mappings: usize) {
        add(&self.evictions, mappings);
    }

    pub(super) fn read(&self, entries: usize) -> CacheStatistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStatistics {
            entries: wide(entries),
            misses: read(&self.misses),
            loads: read(&self.loads),
            refused_loads: read(&self.refused_loads),
            invalidations: read(&self.invalidations),
            evictions: read(&self.evictions),
        }
    }
}

fn add(counter: &AtomicU64, count: usize) {
    let _ = counter.fetch_add(wide(count), Ordering::Relaxed);
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
