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

use super::bounds::Bounds;
use super::entry::{Entry, Expiry, Span, disjoint};
use super::index::Index;
use super::missing::MissingKeys;
use super::options::CacheOptions;
use super::retired::Retired;
use super::statistics::{CacheStatistics, Counters};
use crate::key::Word;
use crate::model::{MappingRecord, ShardMapKind};

/// The longest lifetime that is told from no lifetime: a hundred years. `moka` panics from a thousand on.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What is to become of mappings in the index, by their least keys.
type Edits<W> = BTreeMap<W, (Span<W>, Option<Entry>)>;

/// The mappings of one shard map in memory.
pub(crate) struct MappingCache<W: Word> {
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
        let bounds = Bounds::new(options.capacity, time_to_live);
        Self {
            kind,
            capacity: usize::try_from(options.capacity).unwrap_or(usize::MAX),
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
        self.index.get(key).and_then(Entry::into_live)
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
        let writer = self.write();
        if self.epoch() != epoch {
            self.counters.refused(1);
            return false;
        }
        let mut edits = Edits::new();
        self.plan(&mut edits, span, self.entry(record));
        self.counters.loaded(1);
        self.commit(&writer, edits);
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
        self.commit(&writer, edits);
    }

    /// Drops a mapping that was found stale, if the cache still holds that very state of it; tells whether it did. Loads
    /// under way are refused in any case.
    pub(crate) fn invalidate(&self, stale: &MappingRecord) -> bool {
        let writer = self.write();
        self.next_epoch();
        let Some(span) = self.cached(stale) else {
            return false;
        };
        self.counters.invalidated(1);
        self.commit(&writer, Edits::from([(span.low(), (span, None))]));
        true
    }

    /// Holds just what a load of the whole map, begun at `epoch`, has read, up to the capacity. False, and nothing is
    /// done, if anything was changed or found stale since. Linear in the number of mappings.
    pub(crate) fn replace_all(&self, records: Vec<Arc<MappingRecord>>, epoch: u64) -> bool {
        let total = records.len();
        let mut spans = disjoint(self.kind, records);
        let surplus = spans.len().saturating_sub(self.capacity);
        spans.truncate(self.capacity);
        // The long part is done before the lock is taken, so that other changes do not wait for it.
        let expires = self.expiry();
        let mut bounds = self.new_bounds();
        for (span, record) in &spans {
            bounds.insert(span.low(), Arc::clone(record));
        }
        let entries: Vec<_> = spans.into_iter().map(|(span, record)| (span, Entry { record, expires })).collect();

        let mut writer = self.write();
        if self.epoch() != epoch {
            self.counters.refused(total);
            return false;
        }
        self.next_epoch();
        self.counters.loaded(entries.len());
        self.counters.evicted(surplus);
        self.index.replace(entries);
        std::mem::swap(&mut writer.bounds, &mut bounds);
        self.settle(&writer);
        drop(writer);
        // Nor do they wait for what was held before to be freed.
        drop(bounds);
        true
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        let mut bounds = self.new_bounds();
        let mut writer = self.write();
        self.next_epoch();
        self.counters.invalidated(self.index.len());
        self.index.replace(Vec::new());
        std::mem::swap(&mut writer.bounds, &mut bounds);
        drop(writer);
        drop(bounds);
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
        self.index.at(&span.low()).filter(|entry| entry.record.id == record.id).map(|_| span)
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

    fn commit(&self, writer: &Writer<W>, edits: Edits<W>) {
        let edits: Vec<_> = edits.into_values().collect();
        self.index.edit(&edits);
        for (span, entry) in edits {
            match entry {
                Some(entry) => writer.bounds.insert(span.low(), entry.record),
                None => writer.bounds.remove(&span.low()),
            }
        }
        self.settle(writer);
    }

    /// Takes out of the index what has left the bounds.
    fn settle(&self, writer: &Writer<W>) {
        let left: Vec<_> = writer.bounds.settle().into_iter().map(|low| (Span::Point(low), None)).collect();
        if !left.is_empty() {
            self.index.edit(&left);
            self.counters.evicted(left.len());
        }
    }

    fn entry(&self, record: &Arc<MappingRecord>) -> Entry {
        Entry { record: Arc::clone(record), expires: self.expiry() }
    }

    /// When what is put in now expires. Taken before `moka` takes its own time, so that no entry outlives the index's.
    fn expiry(&self) -> Option<Expiry> {
        self.time_to_live.map(Expiry::after)
    }

    fn new_bounds(&self) -> Bounds<W> {
        Bounds::new(u64::try_from(self.capacity).unwrap_or(u64::MAX), self.time_to_live)
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

impl<W: Word> fmt::Debug for MappingCache<W> {
    /// Without the keys, which logs must not hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappingCache").field("kind", &self.kind).field("len", &self.len()).finish_non_exhaustive()
    }
}
