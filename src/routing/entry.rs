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
