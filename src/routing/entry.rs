//! What the indexes hold for a mapping, and the keys that a mapping covers.
//!
//! No index lives here, only what both have in common.
//!
//! Invariant: a `Span` is never empty.

use std::num::NonZeroU64;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::key::Word;
use crate::model::{MappingRecord, ShardMapKind};

/// A cached mapping. Indexes hold many, so it is kept small.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) record: Arc<MappingRecord>,
    /// When its lifetime is over; `None` is never.
    pub(super) expires: Option<Expiry>,
}

impl Entry {
    /// The mapping, unless its lifetime is over. Reads the clock only for an entry with a lifetime.
    pub(super) fn into_live(self) -> Option<Arc<MappingRecord>> {
        match self.expires {
            Some(expiry) if expiry.is_over() => None,
            _ => Some(self.record),
        }
    }
}

/// A moment in eight bytes where an `Option<Instant>` takes sixteen: nanoseconds since the first use of this clock.
#[derive(Clone, Copy)]
pub(super) struct Expiry(NonZeroU64);

impl Expiry {
    /// The moment when a lifetime that begins now is over.
    pub(super) fn after(lifetime: Duration) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos(elapsed().saturating_add(lifetime))))
    }

    fn is_over(self) -> bool {
        nanos(elapsed()) >= self.0.get() - 1
    }
}

fn elapsed() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// Five hundred years fit.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
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
        let entry = |lifetime| Entry { record: mapping::<u64>(1, None), expires: Some(Expiry::after(lifetime)) };
        assert!(entry(Duration::ZERO).into_live().is_none());
        assert!(entry(Duration::from_secs(3_600)).into_live().is_some());
        assert!(entry(Duration::MAX).into_live().is_some());
    }

    #[test]
    fn entries_are_small() {
        assert_eq!(size_of::<Entry>(), 16);
    }
}
