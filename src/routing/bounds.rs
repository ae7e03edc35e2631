//! The bounds of a cache: how many mappings it holds and for how long.
//!
//! A `moka` cache decides what has to go. It holds blocks of mappings that were put in one after the other, since an
//! entry of it takes more memory than a mapping does. It is used by one writer at a time and does its housekeeping in
//! the writer's thread. Lookups never come here: they mark what they use in the index, and the writer looks at the
//! marks when a block has to go, and puts in again what has been used (the second chance of the CLOCK algorithm).
//!
//! Invariant: after `settle`, and after the caller dealt with what it answers, index and bounds hold the same keys, and
//! the entries in the index name the blocks that hold them.
//! Invariant: the number of a block is never used again.
//! Invariant: the listener takes no lock but that of its own list, which nobody holds while calling `moka`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::hasher::{WordHasher, random_hasher};
use crate::key::Word;

/// The most mappings in a block. An entry of `moka` takes some 280 bytes, which is nine for each of so many.
const LARGEST_BLOCK: usize = 32;

/// The most second chances in one write, so that no write takes long however many mappings are in use.
const SECOND_CHANCES: usize = 64;

/// What is held, in the order in which it was put in.
pub(super) struct Bounds<W> {
    /// The least keys of the mappings, by the number of their block. Each key counts.
    held: Cache<u64, Arc<[W]>, WordHasher>,
    evicted: Arc<Mutex<Vec<Evicted<W>>>>,
    capacity: usize,
    block_size: usize,
    /// The block that is being filled.
    open: u64,
}

/// A block that is held no longer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Evicted<W> {
    pub(super) block: u64,
    pub(super) lows: Arc<[W]>,
    /// Its lifetime is over; otherwise there was no room.
    pub(super) expired: bool,
}

impl<W: Word> Bounds<W> {
    pub(super) fn new(capacity: usize, time_to_live: Option<Duration>) -> Self {
        let evicted = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&evicted);
        let mut builder = Cache::builder()
            .max_capacity(u64::try_from(capacity).unwrap_or(u64::MAX))
            .weigher(|_, lows: &Arc<[W]>| u32::try_from(lows.len()).unwrap_or(u32::MAX))
            // The default policy may refuse a newcomer when the cache is full; then its key would be loaded for ever.
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |block: Arc<u64>, lows, cause| {
                // What the writer replaces or removes, it takes out of the index itself.
                if cause.was_evicted() {
                    lock(&listener).push(Evicted { block: *block, lows, expired: cause == RemovalCause::Expired });
                }
            });
        if let Some(lifetime) = time_to_live {
            builder = builder.time_to_live(lifetime);
        }
        // A block that goes is less than a thousandth of what fits; in a small cache mappings go one by one.
        let block_size = (capacity / 1_024).clamp(1, LARGEST_BLOCK);
        Self { held: builder.build_with_hasher(random_hasher()), evicted, capacity, block_size, open: 0 }
    }

    /// Puts keys in that are not held, and tells of each, by its place in the list, the block that holds it now.
    pub(super) fn put(&mut self, lows: &[W], mut tell: impl FnMut(usize, u64)) {
        let mut rest = lows;
        while !rest.is_empty() {
            let mut block = match self.held.get(&self.open) {
                Some(begun) if begun.len() < self.block_size => begun.to_vec(),
                // Full, gone, or past its lifetime.
                _ => {
                    self.open += 1;
                    Vec::new()
                }
            };
            let (now, later) = rest.split_at(rest.len().min(self.block_size - block.len()));
            block.extend_from_slice(now);
            self.held.insert(self.open, block.into());
            let first = lows.len() - rest.len();
            (first..first + now.len()).for_each(|place| tell(place, self.open));
            rest = later;
        }
    }

    /// Removes a key from the block that holds it. The keys in the answer are removed with it and are to be put in
    /// again: a block of which little is left costs as much memory as a full one.
    #[must_use]
    pub(super) fn remove(&mut self, low: &W, block: u64) -> Vec<W> {
        // A block that has gone already is dealt with in `settle`.
        let Some(lows) = self.held.get(&block) else { return Vec::new() };
        let rest: Vec<_> = lows.iter().filter(|held| *held != low).copied().collect();
        if rest.is_empty() || (rest.len() <= self.block_size / 4 && block != self.open) {
            // `moka` loses count of weights where an entry is written and invalidated before it has seen to the write.
            self.held.run_pending_tasks();
            self.held.invalidate(&block);
            rest
        } else {
            self.held.insert(block, rest.into());
            Vec::new()
        }
    }

    /// Lets go of what is too much or too old, and answers the blocks that have gone since the last call, each once and by
    /// their numbers.
    pub(super) fn settle(&self) -> Vec<Evicted<W>> {
        self.held.run_pending_tasks();
        let evicted = std::mem::take(&mut *lock(&self.evicted));
        // A block whose lifetime ended while it was being written is still held, or has gone once more since, as it was
        // last written.
        let last: BTreeMap<_, _> = evicted.into_iter().map(|evicted| (evicted.block, evicted)).collect();
        last.into_values().filter(|evicted| !self.held.contains_key(&evicted.block)).collect()
    }

    /// How many mappings may be put in again in a write that puts in so many new ones. Few enough that others make
    /// room before it is the turn of the new ones.
    pub(super) fn second_chances(&self, newcomers: usize) -> usize {
        self.capacity.saturating_sub(newcomers.saturating_add(self.block_size - 1)).min(SECOND_CHANCES)
    }

    /// All keys with their blocks, in order.
    #[cfg(test)]
    pub(super) fn snapshot(&self) -> Vec<(W, u64)> {
        let blocks = self.held.iter();
        let mut all: Vec<_> =
            blocks.flat_map(|(block, lows)| lows.iter().map(|low| (*low, *block)).collect::<Vec<_>>()).collect();
        all.sort_by_key(|(low, _)| *low);
        all
    }
}

/// The list is whole at any time, so a panic elsewhere does not make it unusable.
fn lock<W>(list: &Mutex<Vec<Evicted<W>>>) -> MutexGuard<'_, Vec<Evicted<W>>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evicted(block: u64, lows: &[u64], expired: bool) -> Evicted<u64> {
        Evicted { block, lows: lows.into(), expired }
    }

    /// A block may expire while it is being written, and then go again for want of room.
    #[test]
    fn a_block_that_went_twice_is_told_of_once_as_it_was_last() {
        let mut bounds = Bounds::new(2, None);
        let mut open = 0;
        bounds.put(&[1], |_, block| open = block);
        let (twice, once) = (open + 2, open + 1);
        let list = [
            evicted(twice, &[3, 4], true),
            evicted(open, &[1, 2], true),
            evicted(once, &[6], true),
            evicted(twice, &[3, 5], false),
        ];
        lock(&bounds.evicted).extend(list);
        assert_eq!(bounds.settle(), [evicted(once, &[6], true), evicted(twice, &[3, 5], false)]);
        assert_eq!(bounds.settle(), []);
        assert_eq!(bounds.snapshot(), [(1, open)]);
    }
}
