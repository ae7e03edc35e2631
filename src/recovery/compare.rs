//! Holding the mappings of two stores against each other.
//!
//! Pure. Neither list has to be sorted or free of overlaps: damaged stores are what this is for.

use std::collections::BTreeMap;

use crate::key::{EncodedKey, EncodedRange};
use crate::model::{MappingRecord, ShardId, ShardMapKind};

/// Keys, as many as both lists treat alike, with what each says of them. At least one says something.
#[derive(Clone, Debug)]
pub(super) struct Piece<'m> {
    pub(super) keys: EncodedRange,
    pub(super) global: Option<&'m MappingRecord>,
    pub(super) local: Option<&'m MappingRecord>,
}

impl Piece<'_> {
    /// True if both lists hold the same mapping, and it is of the shard.
    pub(super) fn agrees(&self, shard: Option<ShardId>) -> bool {
        match (self.global, self.local) {
            (Some(global), Some(local)) => {
                (global.id, &global.low, &global.high, global.status)
                    == (local.id, &local.low, &local.high, local.status)
                    && Some(global.shard.id()) == shard
            }
            _ => false,
        }
    }
}

/// The pieces of two lists that a shard is concerned by, in the order of their keys. What another shard has in the global store
/// beside what this one claims is its own affair.
pub(super) fn concerning<'m>(
    kind: ShardMapKind,
    shard: Option<ShardId>,
    global: &'m [MappingRecord],
    local: &'m [MappingRecord],
) -> Vec<Piece<'m>> {
    let mut all = pieces(kind, global, local);
    all.retain(|piece| piece.local.is_some() || piece.global.is_some_and(|it| Some(it.shard.id()) == shard));
    all
}

/// The pieces of two lists, in the order of their keys.
fn pieces<'m>(kind: ShardMapKind, global: &'m [MappingRecord], local: &'m [MappingRecord]) -> Vec<Piece<'m>> {
    match kind {
        ShardMapKind::List => points(global, local),
        ShardMapKind::Range => ranges(global, local),
    }
}

fn points<'m>(global: &'m [MappingRecord], local: &'m [MappingRecord]) -> Vec<Piece<'m>> {
    let mut sides: BTreeMap<&EncodedKey, (Option<&MappingRecord>, Option<&MappingRecord>)> = BTreeMap::new();
    for mapping in global {
        sides.entry(&mapping.low).or_default().0 = Some(mapping);
    }
    for mapping in local {
        sides.entry(&mapping.low).or_default().1 = Some(mapping);
    }
    let piece = |(low, (global, local)): (&EncodedKey, _)| Piece {
        keys: EncodedRange { low: low.clone(), high: None },
        global,
        local,
    };
    sides.into_iter().map(piece).collect()
}

/// The mapping that says what becomes of keys, going up through them. Of several that overlap it is the one that begins last.
struct Cursor<'m> {
    rest: std::iter::Peekable<std::vec::IntoIter<&'m MappingRecord>>,
    /// Begun and not ended.
    open: Vec<&'m MappingRecord>,
}

impl<'m> Cursor<'m> {
    fn new(mappings: &'m [MappingRecord]) -> Self {
        let mut sorted: Vec<_> = mappings.iter().collect();
        sorted.sort_by(|a, b| a.low.cmp(&b.low));
        Self { rest: sorted.into_iter().peekable(), open: Vec::new() }
    }

    /// What holds the keys from `low` to the next bound; asked with rising bounds.
    fn at(&mut self, low: &EncodedKey) -> Option<&'m MappingRecord> {
        while let Some(next) = self.rest.next_if(|next| next.low <= *low) {
            self.open.push(next);
        }
        self.open.retain(|mapping| mapping.high.as_ref().is_none_or(|high| high > low));
        self.open.last().copied()
    }
}

fn ranges<'m>(global: &'m [MappingRecord], local: &'m [MappingRecord]) -> Vec<Piece<'m>> {
    let both = || global.iter().chain(local);
    let mut bounds: Vec<&EncodedKey> =
        both().flat_map(|mapping| std::iter::once(&mapping.low).chain(&mapping.high)).collect();
    bounds.sort();
    bounds.dedup();
    let (mut globals, mut locals) = (Cursor::new(global), Cursor::new(local));
    let mut pieces: Vec<Piece<'m>> = Vec::new();
    for (index, low) in bounds.iter().enumerate() {
        let (global, local) = (globals.at(low), locals.at(low));
        if global.is_none() && local.is_none() {
            continue;
        }
        let high = bounds.get(index + 1).map(|high| (*high).clone());
        let same = |a: Option<&MappingRecord>, b: Option<&MappingRecord>| match (a, b) {
            (Some(a), Some(b)) => std::ptr::eq(a, b),
            (None, None) => true,
            _ => false,
        };
        match pieces.last_mut() {
            // A bound of a mapping that another one hides.
            Some(last)
                if last.keys.high.as_ref() == Some(*low) && same(last.global, global) && same(last.local, local) =>
            {
                last.keys.high = high;
            }
            _ => pieces.push(Piece { keys: EncodedRange { low: (*low).clone(), high }, global, local }),
        }
    }
    pieces
}

/// Keys that are claimed, to ask whether a mapping shares one of them.
pub(super) struct Claims<'m> {
    kind: ShardMapKind,
    /// In the order of their low bounds.
    claims: Vec<&'m MappingRecord>,
    /// How far each of them or one before it reaches; `None` for one without an end. In damaged stores they overlap.
    reach: Vec<Option<&'m EncodedKey>>,
}

impl<'m> Claims<'m> {
    pub(super) fn new(kind: ShardMapKind, claims: &[&'m MappingRecord]) -> Self {
        let mut claims = claims.to_vec();
        claims.sort_by(|a, b| a.low.cmp(&b.low));
        let further = |reach: &mut Option<Option<&'m EncodedKey>>, claim: &&'m MappingRecord| {
            let high = claim.high.as_ref();
            *reach = Some(reach.map_or(high, |before| before.zip(high).map(|(before, high)| before.max(high))));
            *reach
        };
        let reach = claims.iter().scan(None, further).collect();
        Self { kind, claims, reach }
    }

    pub(super) fn meet(&self, mapping: &MappingRecord) -> bool {
        match self.kind {
            ShardMapKind::List => self.claims.binary_search_by(|claim| claim.low.cmp(&mapping.low)).is_ok(),
            ShardMapKind::Range => {
                let below = |claim: &&MappingRecord| mapping.high.as_ref().is_none_or(|high| claim.low < *high);
                let last = self.claims.partition_point(below).checked_sub(1);
                let reach = last.and_then(|last| self.reach.get(last));
                reach.is_some_and(|reach| reach.is_none_or(|reach| *reach > mapping.low))
            }
        }
    }
}
