//! What the indexes hold for a mapping, and the keys that a mapping covers.
//!
//! No index lives here, only what both have in common.
//!
//! Invariant: a `Span` is never empty.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::key::Word;
use crate::model::{MappingRecord, ShardMapKind};

/// A cached mapping. Indexes hold many, so it is kept small.
pub(super) struct Entry {
    pub(super) record: Arc<MappingRecord>,
    /// The moment when its lifetime is over, or 0 for never, above [`USED`].
    life: AtomicU64,
    /// The block of the bounds that holds it. Read and written under the writer's lock only.
    block: AtomicU64,
}

/// The bit that says that a lookup has found the mapping since it was last considered for making room.
const USED: u64 = 1;

impl Entry {
    pub(super) fn new(record: Arc<MappingRecord>, expires: Option<Expiry>) -> Self {
        let life = expires.map_or(0, |expiry| expiry.0.get() << 1);
        Self { record, life: AtomicU64::new(life), block: AtomicU64::new(0) }
    }

    /// The mapping, marked as used, unless its lifetime is over. Reads the clock only for an entry with a lifetime, and
    /// writes only what is not marked yet: what is looked up often is not written at all.
    pub(super) fn find(&self) -> Option<Arc<MappingRecord>> {
        let life = self.life.load(Ordering::Relaxed);
        if is_over(life) {
            return None;
        }
        if life & USED == 0 {
            // The other bits never change, so nothing can be lost between load and store but a mark that is taken.
            self.life.store(life | USED, Ordering::Relaxed);
        }
        Some(Arc::clone(&self.record))
    }

    /// True if it was used since this was last asked, and may go on being used.
    pub(super) fn take_use(&self) -> bool {
        let life = self.life.load(Ordering::Relaxed);
        self.life.store(life & !USED, Ordering::Relaxed);
        life & USED != 0 && !is_over(life)
    }

    pub(super) fn block(&self) -> u64 {
        self.block.load(Ordering::Relaxed)
    }

    pub(super) fn move_to(&self, block: u64) {
        self.block.store(block, Ordering::Relaxed);
    }
}

impl Clone for Entry {
    /// A mark that a lookup sets at this very moment may be lost with the original; it only makes the mapping look
    /// less used than it is.
    fn clone(&self) -> Self {
        #[cfg(test)]
        CLONES.set(CLONES.get() + 1);
        let copy = |number: &AtomicU64| AtomicU64::new(number.load(Ordering::Relaxed));
        Self { record: Arc::clone(&self.record), life: copy(&self.life), block: copy(&self.block) }
    }
}

#[cfg(test)]
thread_local! {
    /// How many entries this thread has cloned.
    pub(super) static CLONES: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn is_over(life: u64) -> bool {
    life > USED && nanos(elapsed()) >= (life >> 1) - 1
}

/// A moment in 63 bits where an `Option<Instant>` takes sixteen bytes: nanoseconds since the first use of this clock.
#[derive(Clone, Copy)]
pub(super) struct Expiry(NonZeroU64);

impl Expiry {
    /// The moment when a lifetime that begins now is over.
    pub(super) fn after(lifetime: Duration) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos(elapsed().saturating_add(lifetime))))
    }
}

fn elapsed() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// Almost three hundred years fit.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).min((u64::MAX >> 1) - 1)
}

/// The keys of a mapping: one key for a point, `[low, high)` for a range, where no `high` is +infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span<W> {
    Point(W),
    Range(W, Option<W>),
}

impl<W: Word> Span<W> {
    /// The keys of a mapping of such a map; `None` if there are none, which no store should hold.
    pub(super) fn of(kind: ShardMapKind, record: &MappingRecord) -> Option<Self> {
        let low = W::from_encoded(&record.low);
        match kind {
            ShardMapKind::List => Some(Self::Point(low)),
            ShardMapKind::Range => {
                let high = record.high.as_ref().map(W::from_encoded);
                high.is_none_or(|high| low < high).then_some(Self::Range(low, high))
            }
        }
    }

    pub(super) fn low(&self) -> W {
        match self {
            Self::Point(low) | Self::Range(low, _) => *low,
        }
    }

    /// True if all keys of this span are below `low`.
    pub(super) fn ends_by(&self, low: W) -> bool {
        match self {
            Self::Point(key) => *key < low,
            Self::Range(_, high) => high.is_some_and(|high| high <= low),
        }
    }
}

/// The mappings with their keys, in order and without overlaps: of two that share keys the one listed first stays.
pub(super) fn disjoint<W: Word>(
    kind: ShardMapKind,
    records: impl IntoIterator<Item = Arc<MappingRecord>>,
) -> Vec<(Span<W>, Arc<MappingRecord>)> {
    let mut spans: Vec<_> = records.into_iter().filter_map(|record| Some((Span::of(kind, &record)?, record))).collect();
    // Stable, and linear for records that come in the order of their keys, as stores list them.
    spans.sort_by_key(|(span, _)| span.low());
    let mut last: Option<Span<W>> = None;
    spans.retain(|(span, _)| {
        let free = last.is_none_or(|last| last.ends_by(span.low()));
        if free {
            last = Some(*span);
        }
        free
    });
    spans
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestWord, mapping};
    use super::*;
    use crate::model::MappingId;

    #[test]
    fn a_range_without_keys_has_no_span() {
        let span = |low, high| Span::<u64>::of(ShardMapKind::Range, &mapping::<u64>(low, high));
        assert_eq!(span(3, Some(3)), None);
        assert_eq!(span(3, Some(2)), None);
        assert_eq!(span(3, Some(4)), Some(Span::Range(u64::word(3), Some(u64::word(4)))));
        assert_eq!(span(3, None), Some(Span::Range(u64::word(3), None)));
    }

    #[test]
    fn of_mappings_that_overlap_the_first_listed_stays() {
        let lows = |kind, records: &[Arc<MappingRecord>]| -> Vec<(u64, MappingId)> {
            disjoint::<u64>(kind, records.iter().cloned())
                .iter()
                .map(|(span, record)| (span.low(), record.id))
                .collect()
        };
        let (a, b) = (mapping::<u64>(5, Some(9)), mapping::<u64>(5, Some(7)));
        let (c, d) = (mapping::<u64>(8, Some(12)), mapping::<u64>(9, None));
        let records = [d.clone(), a.clone(), b, c, mapping::<u64>(20, Some(30))];
        assert_eq!(lows(ShardMapKind::Range, &records), [(u64::word(5), a.id), (u64::word(9), d.id)]);
        let points = [mapping::<u64>(2, None), mapping::<u64>(1, None), mapping::<u64>(2, None)];
        assert_eq!(lows(ShardMapKind::List, &points), [(u64::word(1), points[1].id), (u64::word(2), points[0].id)]);
    }

    #[test]
    fn a_lifetime_is_over_when_it_has_passed() {
        let entry = |lifetime| Entry::new(mapping::<u64>(1, None), Some(Expiry::after(lifetime)));
        assert!(entry(Duration::ZERO).find().is_none());
        assert!(entry(Duration::from_secs(3_600)).find().is_some());
        assert!(entry(Duration::MAX).find().is_some());
    }

    #[test]
    fn a_lookup_is_remembered_once() {
        for expires in [None, Some(Expiry::after(Duration::from_secs(3_600))), Some(Expiry::after(Duration::MAX))] {
            let entry = Entry::new(mapping::<u64>(1, None), expires);
            entry.move_to(7);
            assert!(!entry.take_use());
            for _ in 0..2 {
                assert!(entry.find().is_some());
                assert!(entry.find().is_some());
                assert!(entry.clone().take_use(), "a copy keeps the mark");
                assert!(entry.take_use());
                assert!(!entry.take_use());
            }
            assert_eq!(entry.clone().block(), 7);
        }
    }

    #[test]
    fn what_is_past_its_lifetime_is_not_used() {
        let entry = Entry::new(mapping::<u64>(1, None), Some(Expiry::after(Duration::ZERO)));
        assert!(entry.find().is_none());
        assert!(!entry.take_use());
    }

    #[test]
    fn entries_are_small() {
        assert_eq!(size_of::<Entry>(), 24);
    }
}
