//! The index of a list map: from a key to its mapping.
//!
//! A concurrent hash map whose readers take no lock. It grows with what is put in and bounds nothing; that is done in
//! `bounds`.
//!
//! Invariant: changes come from one writer at a time, so that a change of many keys needs no transaction.

use std::sync::Arc;

use papaya::HashMap;

use super::entry::{Entry, Span};
use super::hasher::{WordHasher, random_hasher};
use crate::key::Word;
use crate::model::MappingRecord;

/// How many points are put in before what they replace can be freed.
const AT_ONCE: usize = 1_024;

/// Points in memory.
pub(super) struct PointIndex<W> {
    map: HashMap<W, Entry, WordHasher>,
}

impl<W: Word> PointIndex<W> {
    pub(super) fn new() -> Self {
        Self { map: HashMap::with_hasher(random_hasher()) }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// The mapping of the key, marked as used. Neither locks nor allocates.
    pub(super) fn get(&self, key: &W) -> Option<Arc<MappingRecord>> {
        self.map.pin().get(key).and_then(Entry::find)
    }

    /// What `look` makes of the mapping of the key.
    pub(super) fn at<T>(&self, key: &W, look: impl FnOnce(&Entry) -> T) -> Option<T> {
        self.map.pin().get(key).map(look)
    }

    /// Sets (`Some`) or removes (`None`) the mappings of the keys.
    pub(super) fn edit(&self, edits: &[(Span<W>, Option<Entry>)]) {
        let map = self.map.pin();
        for (span, entry) in edits {
            let _ = match entry {
                Some(entry) => map.insert(span.low(), entry.clone()),
                None => map.remove(&span.low()),
            };
        }
    }

    /// Holds just these from now on. They are in the order of their keys.
    pub(super) fn replace(&self, points: &[(Span<W>, Entry)]) {
        self.map.pin().reserve(points.len().saturating_sub(self.map.len()));
        // New ones first: a key that stays is never absent in between.
        for points in points.chunks(AT_ONCE) {
            let map = self.map.pin();
            for (span, entry) in points {
                let _ = map.insert(span.low(), entry.clone());
            }
        }
        let map = self.map.pin();
        if map.len() > points.len() {
            map.retain(|key, _| points.binary_search_by_key(key, |(span, _)| span.low()).is_ok());
        }
    }

    #[cfg(test)]
    pub(super) fn snapshot(&self) -> Vec<(W, Entry)> {
        let mut all: Vec<_> = self.map.pin().iter().map(|(key, entry)| (*key, entry.clone())).collect();
        all.sort_by_key(|(key, _)| *key);
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::testing::{KEYS, Known, TestWord, for_each_word};
    use super::*;
    use crate::model::ShardMapKind;

    const KIND: ShardMapKind = ShardMapKind::List;

    /// Each step sets or removes the points of a batch; one that is marked replaces all by what it sets.
    fn like_the_model<W: TestWord>(steps: &[(bool, BTreeMap<u32, bool>)]) {
        let (index, mut model) = (PointIndex::<W>::new(), BTreeMap::new());
        for (replace, batch) in steps {
            let points: Vec<_> =
                batch.iter().map(|(key, set)| (Known::new::<W>(KIND, (*key, None)), *set || *replace)).collect();
            if *replace {
                model.clear();
                index.replace(&points.iter().map(|(known, _)| (known.span(KIND), known.entry())).collect::<Vec<_>>());
            } else {
                let edits: Vec<_> =
                    points.iter().map(|(known, set)| (known.span(KIND), set.then(|| known.entry()))).collect();
                index.edit(&edits);
            }
            for (known, set) in points {
                let _ = if set { model.insert(known.low, known.record.id) } else { model.remove(&known.low) };
            }
            assert_eq!(index.len(), model.len());
            for key in 0..KEYS {
                assert_eq!(index.get(&W::word(key)).map(|record| record.id), model.get(&key).copied());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn points_are_found_as_in_the_model(
            steps in prop::collection::vec(
                (prop::bool::weighted(0.1), prop::collection::btree_map(0..KEYS, any::<bool>(), 0..20)),
                1..30,
            ),
        ) {
            for_each_word!(like_the_model(&steps));
        }
    }
}
