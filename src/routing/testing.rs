//! What the tests of this layer share: keys, mappings, and a naive model of what a cache should hold.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::entry::{Entry, Span};
use crate::key::{BinaryWord, EncodedKey, ShardKey, Word};
use crate::model::{
    LockToken, MappingId, MappingRecord, MappingStatus, Shard, ShardId, ShardLocation, ShardMapId, ShardMapKind,
    ShardStatus, ShardVersion,
};

/// The keys of model tests are below this.
pub(super) const KEYS: u32 = 40;

/// A word that tests make from small numbers, in their order.
pub(super) trait TestWord: Word {
    fn key(number: u32) -> EncodedKey;

    fn word(number: u32) -> Self {
        Self::from_encoded(&Self::key(number))
    }
}

impl TestWord for u64 {
    fn key(number: u32) -> EncodedKey {
        (i64::MIN + i64::from(number)).encode().unwrap()
    }
}

impl TestWord for u128 {
    fn key(number: u32) -> EncodedKey {
        chrono::DateTime::from_timestamp(i64::from(number), 0).unwrap().encode().unwrap()
    }
}

impl TestWord for BinaryWord {
    fn key(number: u32) -> EncodedKey {
        number.to_be_bytes().to_vec().encode().unwrap()
    }
}

/// A new mapping of `[low, high)`; without `high` also of the point `low`.
pub(super) fn mapping<W: TestWord>(low: u32, high: Option<u32>) -> Arc<MappingRecord> {
    let map = ShardMapId::from(uuid::Uuid::nil());
    let shard = Shard::new(
        ShardId::random(),
        ShardVersion::random(),
        map,
        ShardLocation::new("server", "database"),
        ShardStatus::Online,
    );
    Arc::new(MappingRecord {
        id: MappingId::random(),
        map,
        shard: Arc::new(shard),
        low: W::key(low),
        high: high.map(W::key),
        status: MappingStatus::Online,
        lock_owner: LockToken::NONE,
    })
}

/// Where a mapping lies: its low bound, and how many keys it has; none is up to +infinity. Points use only the first.
pub(super) type Place = (u32, Option<u32>);

/// A place of a mapping, most of them small.
pub(super) fn place() -> impl Strategy<Value = Place> {
    (0..KEYS, prop::option::weighted(0.9, 1..12_u32))
}

/// A mapping with its keys as numbers.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) low: u32,
    pub(super) high: Option<u32>,
    pub(super) record: Arc<MappingRecord>,
}

impl Known {
    pub(super) fn new<W: TestWord>(kind: ShardMapKind, (low, size): Place) -> Self {
        let high = match kind {
            ShardMapKind::List => None,
            ShardMapKind::Range => size.map(|size| low + size),
        };
        Self { low, high, record: mapping::<W>(low, high) }
    }

    pub(super) fn span<W: TestWord>(&self, kind: ShardMapKind) -> Span<W> {
        Span::of(kind, &self.record).unwrap()
    }

    pub(super) fn entry(&self) -> Entry {
        Entry::new(Arc::clone(&self.record), None)
    }

    fn holds(&self, kind: ShardMapKind, key: u32) -> bool {
        match kind {
            ShardMapKind::List => key == self.low,
            ShardMapKind::Range => key >= self.low && self.high.is_none_or(|high| key < high),
        }
    }

    /// Slow and plain: looks at each key, and at one above all bounds, which stands for +infinity.
    pub(super) fn overlaps(&self, kind: ShardMapKind, other: &Self) -> bool {
        (0..=2 * KEYS).any(|key| self.holds(kind, key) && other.holds(kind, key))
    }
}

/// What a cache without bounds holds, in the plainest form.
pub(super) struct Model {
    pub(super) kind: ShardMapKind,
    pub(super) held: BTreeMap<u32, Known>,
    pub(super) retired: HashSet<MappingId>,
}

impl Model {
    pub(super) fn new(kind: ShardMapKind) -> Self {
        Self { kind, held: BTreeMap::new(), retired: HashSet::new() }
    }

    pub(super) fn get(&self, key: u32) -> Option<&Arc<MappingRecord>> {
        self.held.values().find(|known| known.holds(self.kind, key)).map(|known| &known.record)
    }

    pub(super) fn insert(&mut self, new: &Known) {
        self.held.retain(|_, old| !old.overlaps(self.kind, new));
        let _ = self.held.insert(new.low, new.clone());
    }

    /// True if just this state was held.
    pub(super) fn remove(&mut self, old: &Known) -> bool {
        let held = self.held.get(&old.low).is_some_and(|known| known.record.id == old.record.id);
        if held {
            let _ = self.held.remove(&old.low);
        }
        held
    }

    /// Those of the list that share no key with one before them, by low bounds and then by place in the list.
    pub(super) fn disjoint(&self, mut list: Vec<Known>) -> Vec<Known> {
        list.sort_by_key(|known| known.low);
        let mut kept: Vec<Known> = Vec::new();
        for known in list {
            if !kept.iter().any(|earlier| earlier.overlaps(self.kind, &known)) {
                kept.push(known);
            }
        }
        kept
    }
}

/// Runs a generic function of a word for each type of word.
macro_rules! for_each_word {
    ($function:ident($($argument:expr),*)) => {
        $function::<u64>($($argument),*);
        $function::<u128>($($argument),*);
        $function::<$crate::key::BinaryWord>($($argument),*);
    };
}
pub(super) use for_each_word;
