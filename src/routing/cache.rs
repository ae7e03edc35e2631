//! The cache of one shard map's mappings.
//!
//! Puts together the index, which lookups read, and the bounds, which say what has to go. Nothing is loaded here and no
//! store is known: whoever loads takes the epoch first and hands in what it read together with that epoch.
//!
//! Invariant: index and bounds change together, under the writer's lock, which no lookup takes.
//! Invariant: what a load read is put in only if nothing was changed or found stale since the load began.
//! Invariant: a mapping is dropped as stale only if the cache still holds that very state of it.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::bounds::{Bounds, Evicted};
use super::entry::{Entry, Expiry, Span, disjoint};
use super::index::Index;
use super::missing::MissingKeys;
use super::options::CacheOptions;
use super::retired::Retired;
use super::statistics::{CacheStatistics, Counters};
use crate::backend::off_thread;
use crate::key::Word;
use crate::model::{MappingRecord, ShardMapKind};

/// The longest lifetime that is told from no lifetime: a hundred years. `moka` panics from a thousand on.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What is to become of mappings in the index, by their least keys.
type Edits<W> = BTreeMap<W, (Span<W>, Option<Entry>)>;

/// The mappings of one shard map in memory.
pub(crate) struct MappingCache<W> {
    kind: ShardMapKind,
    capacity: usize,
    time_to_live: Option<Duration>,
    index: Index<W>,
    epoch: AtomicU64,
    missing: Option<MissingKeys<W>>,
    counters: Counters,
    writer: Mutex<Writer<W>>,
}

/// What only a change touches.
struct Writer<W> {
    bounds: Bounds<W>,
    retired: Retired,
}

impl<W: Word> MappingCache<W> {
    pub(crate) fn new(kind: ShardMapKind, options: &CacheOptions) -> Self {
        let time_to_live = options.time_to_live.map(|lifetime| lifetime.min(LONGEST));
        let capacity = usize::try_from(options.capacity).unwrap_or(usize::MAX);
        let bounds = Bounds::new(capacity, time_to_live);
        Self {
            kind,
            capacity,
            time_to_live,
            index: Index::new(kind),
            epoch: AtomicU64::new(0),
            missing: options.missing_key_time.map(|time| MissingKeys::new(time.min(LONGEST))),
            counters: Counters::default(),
            writer: Mutex::new(Writer { bounds, retired: Retired::default() }),
        }
    }

    /// The mapping that holds the key. Counts a miss, but no hit.
    pub(crate) fn get(&self, key: &W) -> Option<Arc<MappingRecord>> {
        let found = self.peek(key);
        if found.is_none() {
            self.counters.missed();
        }
        found
    }

    /// As [`Self::get`], without counting: for a load that looks again before it asks the store.
    pub(crate) fn peek(&self, key: &W) -> Option<Arc<MappingRecord>> {
        self.index.get(key)
    }

    /// A number that changes when a mapping is changed or found stale. A load takes it before it reads the store.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Puts in what a load that began at `epoch` has read, in place of all that shares keys with it. False, and nothing
    /// is done, if anything was changed or found stale since, or if nothing can be kept.
    pub(crate) fn insert_loaded(&self, record: &Arc<MappingRecord>, epoch: u64) -> bool {
        let Some(span) = Span::of(self.kind, record).filter(|_| self.capacity > 0) else {
            return false;
        };
        let mut writer = self.write();
        if self.epoch() != epoch {
            self.counters.refused(1);
            return false;
        }
        let mut edits = Edits::new();
        self.plan(&mut edits, span, self.entry(record));
        self.counters.loaded(1);
        self.commit(&mut writer, edits);
        true
    }

    /// Takes over a committed operation: what it removed goes, what it added replaces all that shares keys with it.
    ///
    /// Operations may report in another order than they committed in: a late one drops no newer mapping, and what it
    /// added and another has removed since stays out.
    pub(crate) fn apply(&self, removed: &[Arc<MappingRecord>], added: &[Arc<MappingRecord>]) {
        let mut writer = self.write();
        self.next_epoch();
        let added_ids: HashSet<_> = added.iter().map(|record| record.id).collect();
        let mut edits = Edits::new();
        for record in removed {
            if let Some(span) = self.cached(record) {
                let _ = edits.insert(span.low(), (span, None));
            }
            // Locking gives a mapping no new id: what comes back under the same id is not gone.
            if !added_ids.contains(&record.id) {
                writer.retired.add(record.id);
            }
        }
        self.counters.invalidated(edits.len());
        if self.capacity > 0 {
            let current = added.iter().filter(|record| !writer.retired.contains(record.id)).cloned();
            for (span, record) in disjoint(self.kind, current) {
                self.plan(&mut edits, span, self.entry(&record));
            }
        }
        self.commit(&mut writer, edits);
    }

    /// Drops a mapping that was found stale, if the cache still holds that very state of it; tells whether it did.
    /// Loads under way are refused in any case.
    pub(crate) fn invalidate(&self, stale: &MappingRecord) -> bool {
        let mut writer = self.write();
        self.next_epoch();
        let Some(span) = self.cached(stale) else {
            return false;
        };
        self.counters.invalidated(1);
        self.commit(&mut writer, Edits::from([(span.low(), (span, None))]));
        true
    }

    /// Holds just what a load of the whole map, begun at `epoch`, has read, up to the capacity. False, and nothing is
    /// done, if anything was changed or found stale since.
    ///
    /// Linear, but seconds for a million mappings: to be called where blocking is allowed. So is [`Self::clear`].
    pub(crate) fn replace_all(&self, records: Vec<Arc<MappingRecord>>, epoch: u64) -> bool {
        let total = records.len();
        let mut spans = disjoint(self.kind, records);
        let surplus = spans.len().saturating_sub(self.capacity);
        spans.truncate(self.capacity);
        // What can be done before the lock is taken is, so that other changes do not wait for it.
        let expires = self.expiry();
        let entries: Vec<_> = spans.into_iter().map(|(span, record)| (span, Entry::new(record, expires))).collect();
        let mut bounds = self.new_bounds();
        put(&mut bounds, &entries.iter().map(|(span, entry)| (span.low(), entry)).collect::<Vec<_>>());

        let mut writer = self.write();
        if self.epoch() != epoch {
            self.counters.refused(total);
            return false;
        }
        self.next_epoch();
        self.counters.loaded(entries.len());
        self.counters.evicted(surplus);
        let newcomers = entries.len();
        let index = self.index.replace(entries);
        std::mem::swap(&mut writer.bounds, &mut bounds);
        self.settle(&mut writer, newcomers);
        drop(writer);
        // Nor do they wait for what was held before to be freed, which takes long for a large cache.
        off_thread(move || drop((index, bounds)));
        true
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        let mut bounds = self.new_bounds();
        let mut writer = self.write();
        self.next_epoch();
        self.counters.invalidated(self.index.len());
        let index = self.index.replace(Vec::new());
        std::mem::swap(&mut writer.bounds, &mut bounds);
        drop(writer);
        off_thread(move || drop((index, bounds)));
    }

    /// Remembers that a load begun at `epoch` found no mapping for the key, if the options ask for it.
    pub(crate) fn remember_missing(&self, key: W, epoch: u64) {
        if let Some(missing) = &self.missing {
            missing.remember(key, epoch);
        }
    }

    /// True if it is remembered that the key has no mapping, and nothing has changed since. To be asked after `get`.
    pub(crate) fn is_missing(&self, key: &W) -> bool {
        self.missing.as_ref().is_some_and(|missing| missing.contains(key, self.epoch()))
    }

    /// How many mappings are held.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn statistics(&self) -> CacheStatistics {
        self.counters.read(self.len())
    }

    /// Where this state of the mapping is in the cache, if it is.
    fn cached(&self, record: &MappingRecord) -> Option<Span<W>> {
        let span = Span::of(self.kind, record)?;
        self.index.at(&span.low(), |entry| entry.record.id == record.id)?.then_some(span)
    }

    /// Adds a mapping to the edits, and the removal of all that shares keys with it.
    fn plan(&self, edits: &mut Edits<W>, span: Span<W>, entry: Entry) {
        for (old, displaced) in self.index.overlapping(&span) {
            let _ = edits.entry(old.low()).or_insert_with(|| {
                // The same state read again is no change.
                self.counters.invalidated(usize::from(displaced.record.id != entry.record.id));
                (old, None)
            });
        }
        let _ = edits.insert(span.low(), (span, Some(entry)));
    }

    fn commit(&self, writer: &mut Writer<W>, edits: Edits<W>) {
        let edits: Vec<_> = edits.into_values().collect();
        for (span, _) in &edits {
            if let Some(block) = self.index.at(&span.low(), Entry::block) {
                let others = writer.bounds.remove(&span.low(), block);
                self.put_again(writer, &others);
            }
        }
        let newcomers: Vec<_> = edits.iter().filter_map(|(span, entry)| Some((span.low(), entry.as_ref()?))).collect();
        put(&mut writer.bounds, &newcomers);
        let newcomers = newcomers.len();
        self.index.edit(&edits);
        self.settle(writer, newcomers);
    }

    /// Takes out of the index what has left the bounds, except what was used since it was put in: that is put in again,
    /// a limited number of mappings at a time.
    fn settle(&self, writer: &mut Writer<W>, newcomers: usize) {
        let mut chances = writer.bounds.second_chances(newcomers);
        loop {
            let evicted = writer.bounds.settle();
            if evicted.is_empty() {
                return;
            }
            let (mut used, mut gone) = (Vec::new(), BTreeMap::new());
            for Evicted { block, lows, expired } in &evicted {
                for low in lows.iter() {
                    let stays = self.index.at(low, |entry| {
                        // What is in another block has been put in again since.
                        (entry.block() == *block).then(|| !expired && chances > 0 && entry.take_use())
                    });
                    match stays.flatten() {
                        Some(true) => {
                            chances -= 1;
                            used.push(*low);
                        }
                        Some(false) => drop(gone.insert(*low, (Span::Point(*low), None))),
                        None => {}
                    }
                }
            }
            self.counters.evicted(gone.len());
            self.index.edit(&gone.into_values().collect::<Vec<_>>());
            // For which others may have to go.
            self.put_again(writer, &used);
        }
    }

    /// Puts mappings in the index into the bounds once more.
    fn put_again(&self, writer: &mut Writer<W>, lows: &[W]) {
        writer.bounds.put(lows, |place, block| {
            let _ = lows.get(place).and_then(|low| self.index.at(low, |entry| entry.move_to(block)));
        });
    }

    fn entry(&self, record: &Arc<MappingRecord>) -> Entry {
        Entry::new(Arc::clone(record), self.expiry())
    }

    /// When what is put in now expires. Taken before `moka` takes its own time, so that no entry outlives the index's.
    fn expiry(&self) -> Option<Expiry> {
        self.time_to_live.map(Expiry::after)
    }

    /// Fails a test if index and bounds do not hold the very same.
    #[cfg(test)]
    pub(super) fn assert_agreement(&self) {
        let mut writer = self.write();
        self.settle(&mut writer, 0);
        let index: Vec<_> = self.index.snapshot().into_iter().map(|(low, entry)| (low, entry.block())).collect();
        assert_eq!(self.index.len(), index.len());
        assert_eq!(index, writer.bounds.snapshot());
    }

    /// The least keys of all that is held. Uses none of it.
    #[cfg(test)]
    pub(super) fn lows(&self) -> Vec<W> {
        self.index.snapshot().into_iter().map(|(low, _)| low).collect()
    }

    /// How many blocks the bounds hold.
    #[cfg(test)]
    pub(super) fn blocks(&self) -> usize {
        let held = self.write().bounds.snapshot();
        held.into_iter().map(|(_, block)| block).collect::<HashSet<_>>().len()
    }

    fn new_bounds(&self) -> Bounds<W> {
        Bounds::new(self.capacity, self.time_to_live)
    }

    /// Before anything is taken out: a load that begins after it is gone must not be refused, and one that began before
    /// must be.
    fn next_epoch(&self) {
        let _ = self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// The writer's lock. A panic under it leaves a cache whose entries are each still true, so it stays in use.
    fn write(&self) -> MutexGuard<'_, Writer<W>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts entries into the bounds that are not in the index yet.
fn put<W: Word>(bounds: &mut Bounds<W>, entries: &[(W, &Entry)]) {
    let lows: Vec<_> = entries.iter().map(|(low, _)| *low).collect();
    bounds.put(&lows, |place, block| {
        if let Some((_, entry)) = entries.get(place) {
            entry.move_to(block);
        }
    });
}

impl<W: Word> fmt::Debug for MappingCache<W> {
    /// Without the keys, which logs must not hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappingCache").field("kind", &self.kind).field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::super::testing::mapping;
    use super::*;

    #[test]
    fn a_panic_under_the_lock_does_not_end_the_cache() {
        let cache = MappingCache::<u64>::new(ShardMapKind::Range, &CacheOptions::default());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _writer = cache.write();
            panic!("under the lock");
        }));
        assert!(panicked.is_err());
        assert!(cache.writer.is_poisoned());
        assert!(cache.insert_loaded(&mapping::<u64>(0, Some(5)), cache.epoch()));
        cache.assert_agreement();
    }
}
