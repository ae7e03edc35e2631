//! The cache compared with the model over random sequences of all that can be done to it.
//!
//! Without bounds the two must hold the same; with bounds the cache must hold part of what the model holds, the newest
//! included. Index and bounds must agree after every step.

use proptest::prelude::*;

use super::testing::{KEYS, Known, Model, Place, TestWord, for_each_word, place};
use super::{CacheOptions, MappingCache};
use crate::model::ShardMapKind;

/// A capacity that is never reached, and so large that mappings share blocks of the bounds.
const LARGE: u64 = 1_000_000;

/// Mappings are taken from all that ever were, by position; positions past the end wrap around.
#[derive(Clone, Debug)]
enum Step {
    /// A load ends. If it raced, something was found stale in between.
    Load { place: Place, raced: bool },
    /// What was loaded before is loaded again.
    LoadAgain { at: usize },
    /// An operation reports. What it adds is new or, as when it reports late, an old state.
    Apply { removed: Vec<usize>, added: Vec<Place>, late: Option<usize> },
    /// A mapping is found stale.
    Invalidate { at: usize },
    /// All is loaded.
    ReplaceAll { places: Vec<Place>, raced: bool },
    /// All is forgotten.
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let places = || prop::collection::vec(place(), 0..8);
    prop_oneof![
        8 => (place(), prop::bool::weighted(0.1)).prop_map(|(place, raced)| Step::Load { place, raced }),
        2 => any::<usize>().prop_map(|at| Step::LoadAgain { at }),
        4 => (prop::collection::vec(any::<usize>(), 0..4), places(), prop::option::weighted(0.3, any::<usize>()))
            .prop_map(|(removed, added, late)| Step::Apply { removed, added, late }),
        4 => any::<usize>().prop_map(|at| Step::Invalidate { at }),
        1 => (places(), prop::bool::weighted(0.1)).prop_map(|(places, raced)| Step::ReplaceAll { places, raced }),
        1 => Just(Step::Clear),
    ]
}

struct Run<W: TestWord> {
    kind: ShardMapKind,
    cache: MappingCache<W>,
    model: Model,
    ever: Vec<Known>,
}

impl<W: TestWord> Run<W> {
    fn new_mapping(&mut self, place: Place) -> Known {
        let known = Known::new::<W>(self.kind, place);
        self.ever.push(known.clone());
        known
    }

    fn old_mapping(&self, at: usize) -> Option<Known> {
        self.ever.get(at.checked_rem(self.ever.len())?).cloned()
    }

    /// The epoch of a load that ends now.
    fn epoch(&mut self, raced: bool) -> u64 {
        let epoch = self.cache.epoch();
        if raced {
            let unknown = Known::new::<W>(self.kind, (0, None));
            assert!(!self.cache.invalidate(&unknown.record));
        }
        epoch
    }

    fn load(&mut self, known: &Known, raced: bool) {
        let epoch = self.epoch(raced);
        assert_eq!(self.cache.insert_loaded(&known.record, epoch), !raced);
        if !raced {
            self.model.insert(known);
            let found = self.cache.get(&W::word(known.low)).map(|record| record.id);
            assert_eq!(found, Some(known.record.id), "a newcomer is never refused");
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Load { place, raced } => {
                let known = self.new_mapping(*place);
                self.load(&known, *raced);
            }
            Step::LoadAgain { at } => {
                if let Some(known) = self.old_mapping(*at) {
                    self.load(&known, false);
                }
            }
            Step::Apply { removed, added, late } => {
                let removed: Vec<_> = removed.iter().filter_map(|at| self.old_mapping(*at)).collect();
                let late = late.and_then(|at| self.old_mapping(at));
                let mut added: Vec<_> = added.iter().map(|place| self.new_mapping(*place)).collect();
                added.extend(late);
                let records = |list: &[Known]| list.iter().map(|known| known.record.clone()).collect::<Vec<_>>();
                let epoch = self.cache.epoch();
                self.cache.apply(&records(&removed), &records(&added));
                assert_ne!(self.cache.epoch(), epoch);

                for old in &removed {
                    let _ = self.model.remove(old);
                    if !added.iter().any(|new| new.record.id == old.record.id) {
                        let _ = self.model.retired.insert(old.record.id);
                    }
                }
                added.retain(|known| !self.model.retired.contains(&known.record.id));
                for known in self.model.disjoint(added) {
                    self.model.insert(&known);
                }
            }
            Step::Invalidate { at } => {
                if let Some(known) = self.old_mapping(*at) {
                    let epoch = self.cache.epoch();
                    let was_cached =
                        self.cache.peek(&W::word(known.low)).is_some_and(|found| found.id == known.record.id);
                    assert_eq!(self.cache.invalidate(&known.record), was_cached);
                    assert_ne!(self.cache.epoch(), epoch);
                    let _ = self.model.remove(&known);
                }
            }
            Step::ReplaceAll { places, raced } => {
                let list: Vec<_> = places.iter().map(|place| self.new_mapping(*place)).collect();
                let records = list.iter().map(|known| known.record.clone()).collect();
                let epoch = self.epoch(*raced);
                assert_eq!(self.cache.replace_all(records, epoch), !raced);
                if !raced {
                    self.model.held.clear();
                    for known in self.model.disjoint(list) {
                        self.model.insert(&known);
                    }
                }
            }
            Step::Clear => {
                self.cache.clear();
                self.model.held.clear();
            }
        }
    }
}

fn like_the_model<W: TestWord>(kind: ShardMapKind, capacity: Option<u64>, steps: &[Step]) {
    let options = CacheOptions::default().capacity(capacity.unwrap_or(LARGE));
    let cache = MappingCache::<W>::new(kind, &options);
    let mut run = Run { kind, cache, model: Model::new(kind), ever: Vec::new() };
    for step in steps {
        run.step(step);
        match capacity {
            Some(capacity) => assert!(run.cache.len() as u64 <= capacity),
            None => assert_eq!(run.cache.len(), run.model.held.len()),
        }
        run.cache.assert_agreement();
        for key in 0..2 * KEYS {
            let found = run.cache.get(&W::word(key)).map(|record| record.id);
            let expected = run.model.get(key).map(|record| record.id);
            match capacity {
                Some(_) => assert!(found.is_none() || found == expected),
                None => assert_eq!(found, expected),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_unbounded_cache_holds_what_the_model_holds(steps in prop::collection::vec(step(), 1..40)) {
        for kind in [ShardMapKind::List, ShardMapKind::Range] {
            for_each_word!(like_the_model(kind, None, &steps));
        }
    }

    #[test]
    fn a_bounded_cache_holds_part_of_it(capacity in 1..8_u64, steps in prop::collection::vec(step(), 1..40)) {
        for kind in [ShardMapKind::List, ShardMapKind::Range] {
            for_each_word!(like_the_model(kind, Some(capacity), &steps));
        }
    }
}
