//! The keys that were looked for and have no mapping, remembered for a short time if the application asks for it.
//!
//! Off unless it is asked for. What has a mapping is not known here: the cache is asked first.
//!
//! Invariant: what is remembered holds only in the epoch in which it was read, so any change forgets all of it.

use std::time::Duration;

use moka::sync::Cache;

use super::hasher::{WordHasher, random_hasher};
use crate::key::Word;

/// Keys without a mapping are made up by callers at no cost, so their number is bounded apart from that of mappings.
const CAPACITY: u64 = 100_000;

/// Keys without a mapping, each with the epoch in which that was read.
pub(super) struct MissingKeys<W> {
    epochs: Cache<W, u64, WordHasher>,
}

impl<W: Word> MissingKeys<W> {
    pub(super) fn new(time: Duration) -> Self {
        // The default policy suits here: a key asked for once does not drive out one that is asked for often.
        let builder = Cache::builder().max_capacity(CAPACITY).time_to_live(time);
        Self { epochs: builder.build_with_hasher(random_hasher()) }
    }

    pub(super) fn remember(&self, key: W, epoch: u64) {
        self.epochs.insert(key, epoch);
    }

    pub(super) fn contains(&self, key: &W, epoch: u64) -> bool {
        self.epochs.get(key) == Some(epoch)
    }
}
