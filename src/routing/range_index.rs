//! The index of a range map: from a key to the range that holds it.
//!
//! An immutable `Tree` behind an atomic pointer: a lookup reads the tree that was current when it began, a change
//! puts a new one in its place. What is in range maps is ordered and does not overlap; who displaces whom is decided
//! in `cache`.
//!
//! Invariant: ranges do not overlap, so the only one that can hold a key is the last that starts at or below it.
//! Invariant: a change of several ranges, such as a split, is seen as a whole or not at all.

use std::ops::ControlFlow;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::entry::{Entry, Span};
use super::tree::Tree;
use crate::key::Word;
use crate::model::MappingRecord;

/// Ranges in memory.
pub(super) struct RangeIndex<W> {
    tree: ArcSwap<Tree<W, Bounded<W>>>,
}

/// A mapping with the first key above its range; `None` is +infinity.
#[derive(Clone)]
struct Bounded<W> {
    high: Option<W>,
    entry: Entry,
}

impl<W: Word> Bounded<W> {
    fn reaches_above(&self, key: &W) -> bool {
        self.high.is_none_or(|high| *key < high)
    }
}

impl<W: Word> RangeIndex<W> {
    pub(super) fn new() -> Self {
        Self { tree: ArcSwap::from_pointee(Tree::new()) }
    }

    pub(super) fn len(&self) -> usize {
        self.tree.load().len()
    }

    /// The mapping whose range holds the key, marked as used. Neither locks nor allocates.
    pub(super) fn get(&self, key: &W) -> Option<Arc<MappingRecord>> {
        let tree = self.tree.load();
        let (_, range) = tree.at_or_below(key)?;
        if range.reaches_above(key) { range.entry.find() } else { None }
    }

    /// What `look` makes of the mapping whose range starts at `low`.
    pub(super) fn at<T>(&self, low: &W, look: impl FnOnce(&Entry) -> T) -> Option<T> {
        let tree = self.tree.load();
        let (found, range) = tree.at_or_below(low)?;
        (found == low).then(|| look(&range.entry))
    }

    /// The mappings that share a key with `[low, high)`, in order. One that starts at `high` does not.
    pub(super) fn overlapping(&self, low: &W, high: Option<&W>) -> Vec<(Span<W>, Entry)> {
        let tree = self.tree.load();
        let mut found = Vec::new();
        let mut add = |low: &W, range: &Bounded<W>| found.push((Span::Range(*low, range.high), range.entry.clone()));
        match tree.at_or_below(low) {
            Some((first, range)) if first < low && range.reaches_above(low) => add(first, range),
            _ => {}
        }
        tree.visit_from(low, &mut |start, range| {
            if high.is_some_and(|high| start >= high) {
                return ControlFlow::Break(());
            }
            add(start, range);
            ControlFlow::Continue(())
        });
        found
    }

    /// Sets (`Some`) or removes (`None`) ranges by their low bounds, which ascend strictly. The caller sees to it that
    /// what results does not overlap.
    pub(super) fn edit(&self, edits: &[(Span<W>, Option<Entry>)]) {
        let edits: Vec<_> =
            edits.iter().map(|(span, entry)| (span.low(), entry.clone().map(|entry| bounded(span, entry)))).collect();
        // One writer at a time, so nobody puts another tree in between.
        self.tree.store(Arc::new(self.tree.load().edited(&edits)));
    }

    /// Holds just these from now on. They are in order and do not overlap. The answer is what was held before.
    pub(super) fn replace(&self, ranges: Vec<(Span<W>, Entry)>) -> impl Send + use<W> {
        let pairs = ranges.into_iter().map(|(span, entry)| (span.low(), bounded(&span, entry))).collect();
        self.tree.swap(Arc::new(Tree::from_sorted(pairs)))
    }

    #[cfg(test)]
    pub(super) fn snapshot(&self) -> Vec<(W, Entry)> {
        self.tree.load().pairs().into_iter().map(|(low, range)| (low, range.entry)).collect()
    }
}

fn bounded<W: Word>(span: &Span<W>, entry: Entry) -> Bounded<W> {
    let high = match span {
        Span::Range(_, high) => *high,
        Span::Point(_) => None,
    };
    Bounded { high, entry }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{KEYS, Known, Model, Place, TestWord, for_each_word, place};
    use super::*;
    use crate::model::ShardMapKind;

    const KIND: ShardMapKind = ShardMapKind::Range;

    /// Each step takes ranges out by position and puts one in where it displaces what it overlaps.
    fn like_the_model<W: TestWord>(steps: &[(Place, Vec<usize>)]) {
        let (index, mut model) = (RangeIndex::<W>::new(), Model::new(KIND));
        for (place, removed) in steps {
            let new = Known::new::<W>(KIND, *place);
            let overlapping = index.overlapping(&W::word(new.low), new.high.map(W::word).as_ref());
            let expected: Vec<_> = model.held.values().filter(|old| old.overlaps(KIND, &new)).collect();
            assert!(
                overlapping
                    .iter()
                    .map(|(span, entry)| (*span, entry.record.id))
                    .eq(expected.iter().map(|old| (old.span(KIND), old.record.id)))
            );

            let mut edits: std::collections::BTreeMap<_, _> =
                overlapping.into_iter().map(|(span, _)| (span.low(), (span, None))).collect();
            for at in removed {
                if let Some(old) = model.held.values().nth(*at).cloned() {
                    let _ = model.remove(&old);
                    let _ = edits.insert(W::word(old.low), (old.span(KIND), None));
                }
            }
            let _ = edits.insert(W::word(new.low), (new.span(KIND), Some(new.entry())));
            model.insert(&new);
            index.edit(&edits.into_values().collect::<Vec<_>>());

            assert_eq!(index.len(), model.held.len());
            for key in 0..2 * KEYS {
                let found = index.get(&W::word(key)).map(|record| record.id);
                assert_eq!(found, model.get(key).map(|record| record.id));
                let found = index.at(&W::word(key), |entry| entry.record.id);
                assert_eq!(found, model.held.get(&key).map(|known| known.record.id));
            }
        }
        let all = model.held.values().map(|known| (known.span(KIND), known.entry())).collect();
        let copy = RangeIndex::<W>::new();
        drop(copy.replace(all));
        let ids = |index: &RangeIndex<W>| -> Vec<_> {
            index.snapshot().into_iter().map(|(low, entry)| (low, entry.record.id)).collect()
        };
        assert_eq!(ids(&copy), ids(&index));
        drop(copy.replace(Vec::new()));
        assert_eq!(copy.len(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn ranges_are_found_as_in_the_model(
            steps in prop::collection::vec((place(), prop::collection::vec(0..KEYS as usize, 0..3)), 1..40),
        ) {
            for_each_word!(like_the_model(&steps));
        }
    }
}
