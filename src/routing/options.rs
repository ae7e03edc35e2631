//! The options of the cache.
//!
//! Plain values with documented defaults; what they do is done in `cache`.
//!
//! Invariant: the defaults are right for an application that sets nothing.

use std::time::Duration;

/// How many mappings of a shard map are kept in memory, and for how long.
///
/// ```
/// use std::time::Duration;
/// use shardlet::CacheOptions;
/// let options = CacheOptions::default().capacity(50_000).time_to_live(Duration::from_secs(600));
/// # let _ = options;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    pub(super) capacity: u64,
    pub(super) time_to_live: Option<Duration>,
    pub(super) missing_key_time: Option<Duration>,
}

impl CacheOptions {
    /// The capacity of a cache that was given none: a million mappings.
    pub const DEFAULT_CAPACITY: u64 = 1_000_000;

    /// How many mappings of one shard map are kept at most; a million unless it is set. With 0 nothing is kept, and
    /// each lookup reads the global store.
    ///
    /// When the cache is full, the mappings that were loaded longest ago make room, except those that were used since:
    /// a lookup marks the mapping that it finds, and a marked one is kept once more as if it had just been loaded. One
    /// write keeps at most 64 that way, so where nearly all are in use, some of them leave too. Mappings leave one by
    /// one up to a capacity of 2,047, and in blocks above it: of a thousandth of the capacity, 32 at the most.
    ///
    /// A mapping takes about 200 bytes with a number as its key, and 250 with a GUID.
    #[must_use]
    pub fn capacity(mut self, mappings: u64) -> Self {
        self.capacity = mappings;
        self
    }

    /// How long a mapping is used after it was loaded; for ever unless it is set.
    ///
    /// A lifetime is not needed for correctness where connections are opened with validation: a mapping that another
    /// client has changed is noticed there. It bounds how long a change stays unnoticed without validation. The
    /// lifetime is exact, and costs each lookup a look at the clock.
    #[must_use]
    pub fn time_to_live(mut self, lifetime: Duration) -> Self {
        self.time_to_live = Some(lifetime);
        self
    }

    /// How long it is remembered that a key has no mapping; not at all unless it is set.
    ///
    /// Spares the global store from repeated lookups of keys that are not there. The price: a mapping that another
    /// client creates for such a key is seen up to this much later. Changes made through the same manager are seen at
    /// once.
    #[must_use]
    pub fn missing_key_time(mut self, time: Duration) -> Self {
        self.missing_key_time = Some(time);
        self
    }
}

impl Default for CacheOptions {
    /// A million mappings for ever, and no memory of missing keys.
    fn default() -> Self {
        Self { capacity: Self::DEFAULT_CAPACITY, time_to_live: None, missing_key_time: None }
    }
}
