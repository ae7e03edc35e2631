//! The bounds of a cache: how many mappings it holds and for how long.
//!
//! A `moka` cache of the mappings by their least keys decides which have to go. Lookups never come here, so it sees
//! only what is put in and taken out. It is used by one writer at a time and does its housekeeping in the writer's
//! thread.
//!
//! Invariant: after `settle`, and after the caller removed what it answers, index and bounds hold the same keys.
//! Invariant: the listener takes no lock but that of its own list, which nobody holds while calling `moka`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::hasher::{WordHasher, random_hasher};
use crate::key::Word;
use crate::model::MappingRecord;

/// What is held, in the order of its loading.
pub(super) struct Bounds<W> {
    held: Cache<W, Arc<MappingRecord>, WordHasher>,
    left: Arc<Mutex<Vec<W>>>,
}

impl<W: Word> Bounds<W> {
    pub(super) fn new(capacity: u64, time_to_live: Option<Duration>) -> Self {
        let left = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&left);
        let mut builder = Cache::builder()
            .max_capacity(capacity)
            // The default policy may refuse a newcomer when the cache is full; then its key would be loaded for ever.
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |low: Arc<W>, _, cause| {
                // What the writer replaces or removes, it takes out of the index itself.
                if cause.was_evicted() {
                    lock(&listener).push(*low);
                }
            });
        if let Some(lifetime) = time_to_live {
            builder = builder.time_to_live(lifetime);
        }
        Self { held: builder.build_with_hasher(random_hasher()), left }
    }

    pub(super) fn insert(&self, low: W, record: Arc<MappingRecord>) {
        self.held.insert(low, record);
    }

    pub(super) fn remove(&self, low: &W) {
        self.held.invalidate(low);
    }

    /// Lets go of what is too much or too old, and answers which keys have left since the last call, in order.
    pub(super) fn settle(&self) -> Vec<W> {
        self.held.run_pending_tasks();
        let mut left = std::mem::take(&mut *lock(&self.left));
        // A key may have left and been put in again since.
        left.retain(|low| !self.held.contains_key(low));
        left.sort_unstable();
        left.dedup();
        left
    }

    #[cfg(test)]
    pub(super) fn snapshot(&self) -> Vec<(W, Arc<MappingRecord>)> {
        let mut all: Vec<_> = self.held.iter().map(|(low, record)| (*low, record)).collect();
        all.sort_by_key(|(low, _)| *low);
        all
    }
}

/// The list is whole at any time, so a panic elsewhere does not make it unusable.
fn lock<W>(list: &Mutex<Vec<W>>) -> MutexGuard<'_, Vec<W>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
