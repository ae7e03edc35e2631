//! The index of a shard map of either kind.
//!
//! Only the choice between the two lives here. Lookups go through it; changes come from `cache`, which holds the
//! writer's lock.
//!
//! Invariant: a list map holds only points, a range map only ranges.

use std::sync::Arc;

use super::entry::{Entry, Span};
use super::point_index::PointIndex;
use super::range_index::RangeIndex;
use crate::key::Word;
use crate::model::{MappingRecord, ShardMapKind};

/// Mappings by key.
pub(super) enum Index<W> {
    Points(PointIndex<W>),
    Ranges(RangeIndex<W>),
}

impl<W: Word> Index<W> {
    pub(super) fn new(kind: ShardMapKind) -> Self {
        match kind {
            ShardMapKind::List => Self::Points(PointIndex::new()),
            ShardMapKind::Range => Self::Ranges(RangeIndex::new()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Points(points) => points.len(),
            Self::Ranges(ranges) => ranges.len(),
        }
    }

    /// The mapping that holds the key, marked as used. Neither locks nor allocates.
    pub(super) fn get(&self, key: &W) -> Option<Arc<MappingRecord>> {
        match self {
            Self::Points(points) => points.get(key),
            Self::Ranges(ranges) => ranges.get(key),
        }
    }

    /// What `look` makes of the mapping whose least key is `low`.
    pub(super) fn at<T>(&self, low: &W, look: impl FnOnce(&Entry) -> T) -> Option<T> {
        match self {
            Self::Points(points) => points.at(low, look),
            Self::Ranges(ranges) => ranges.at(low, look),
        }
    }

    /// The mappings that share a key with the span.
    pub(super) fn overlapping(&self, span: &Span<W>) -> Vec<(Span<W>, Entry)> {
        match (self, span) {
            (Self::Ranges(ranges), Span::Range(low, high)) => ranges.overlapping(low, high.as_ref()),
            (_, span) => self.at(&span.low(), Entry::clone).map(|entry| (*span, entry)).into_iter().collect(),
        }
    }

    /// Sets (`Some`) or removes (`None`) mappings by their least keys, which ascend strictly.
    pub(super) fn edit(&self, edits: &[(Span<W>, Option<Entry>)]) {
        match self {
            Self::Points(points) => points.edit(edits),
            Self::Ranges(ranges) => ranges.edit(edits),
        }
    }

    /// Holds just these from now on. They are in order and do not overlap. To drop the answer may take long.
    pub(super) fn replace(&self, entries: Vec<(Span<W>, Entry)>) -> Option<impl Send + use<W>> {
        match self {
            Self::Points(points) => {
                points.replace(&entries);
                None
            }
            Self::Ranges(ranges) => Some(ranges.replace(entries)),
        }
    }

    #[cfg(test)]
    pub(super) fn snapshot(&self) -> Vec<(W, Entry)> {
        match self {
            Self::Points(points) => points.snapshot(),
            Self::Ranges(ranges) => ranges.snapshot(),
        }
    }
}
