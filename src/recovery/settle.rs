//! What both stores are to hold once it is decided, piece by piece, which of them is right.
//!
//! Pure. A mapping that both stores get has one id in both, and never one under which somebody may hold other bounds: an id
//! names one state of a mapping for ever, and routing believes it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::Resolution;
use super::compare::Piece;
use crate::key::{EncodedKey, EncodedRange};
use crate::model::{MappingId, MappingRecord, MappingStatus, Shard, ShardId, ShardMapKind};

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    /// Mappings that the global store takes off the shard.
    pub(super) removed: Vec<MappingId>,
    /// Mappings that it puts onto it.
    pub(super) added: Vec<MappingRecord>,
    /// All mappings that the shard's own store holds afterwards.
    pub(super) local: Vec<MappingRecord>,
    /// What the shard does not serve any more.
    pub(super) lost: Vec<(MappingId, EncodedRange)>,
    /// What other shards give up to this one.
    pub(super) given_up: BTreeMap<ShardId, Vec<EncodedRange>>,
}

/// Who holds a part, and from which mapping it comes.
#[derive(Clone, Copy, Debug)]
enum Part<'m> {
    /// Both stores hold what the global one held.
    AsGlobal(&'m MappingRecord),
    /// Both stores hold what the local one held.
    AsLocal(&'m MappingRecord),
    /// Only the global store holds it, as before.
    Global(&'m MappingRecord),
    /// Only the local store holds it, as before.
    Local(&'m MappingRecord),
}

impl<'m> Part<'m> {
    fn of(&self) -> &'m MappingRecord {
        match self {
            Self::AsGlobal(mapping) | Self::AsLocal(mapping) | Self::Global(mapping) | Self::Local(mapping) => mapping,
        }
    }

    fn continues(&self, other: &Part<'_>) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && std::ptr::eq(self.of(), other.of())
    }
}

/// Decides about the pieces of a shard.
pub(super) fn settle(
    kind: ShardMapKind,
    shard: &Arc<Shard>,
    global: &[MappingRecord],
    pieces: &[Piece<'_>],
    mut choose: impl FnMut(&Piece<'_>) -> Resolution,
) -> Settlement {
    let mut settlement = Settlement::default();
    let mut parts: Vec<(EncodedRange, Part<'_>)> = Vec::new();
    // What each store holds of a run of pieces is joined again, where it comes from one mapping.
    let mut open: [Option<usize>; 2] = [None, None];
    for piece in pieces {
        let own = piece.global.filter(|mapping| mapping.shard.id() == shard.id());
        // What the store holds for another shard is not this one's claim.
        let claimed = piece.local.filter(|mapping| mapping.shard.id() == shard.id());
        let choice = if piece.agrees(Some(shard.id())) { Resolution::KeepGlobal } else { choose(piece) };
        let (in_global, in_local) = match choice {
            Resolution::KeepGlobal => (own.map(Part::AsGlobal), None),
            Resolution::KeepLocal => (claimed.map(Part::AsLocal), None),
            Resolution::Leave => (own.map(Part::Global), piece.local.map(Part::Local)),
        };
        if choice == Resolution::KeepLocal
            && claimed.is_some()
            && let Some(other) = piece.global.filter(|mapping| mapping.shard.id() != shard.id())
        {
            settlement.given_up.entry(other.shard.id()).or_default().push(piece.keys.clone());
        }
        if let Some(local) = piece.local {
            let served = match (in_global, in_local) {
                (Some(Part::AsGlobal(mapping) | Part::AsLocal(mapping)), _) => mapping.status == MappingStatus::Online,
                (_, Some(_)) => true,
                _ => false,
            };
            if local.status == MappingStatus::Online && !served {
                settlement.lost.push((local.id, piece.keys.clone()));
            }
        }
        for (side, part) in [in_global, in_local].into_iter().enumerate() {
            let Some(part) = part else {
                continue;
            };
            let Some(last) = open.get_mut(side) else { continue };
            let joined = last.and_then(|index| parts.get_mut(index)).filter(|(keys, before)| {
                kind == ShardMapKind::Range && part.continues(before) && keys.high.as_ref() == Some(&piece.keys.low)
            });
            match joined {
                Some((keys, _)) => keys.high = piece.keys.high.clone(),
                None => {
                    *last = Some(parts.len());
                    parts.push((piece.keys.clone(), part));
                }
            }
        }
    }
    finish(settlement, shard, global, pieces, parts)
}

/// Gives each part an id.
fn finish(
    mut settlement: Settlement,
    shard: &Arc<Shard>,
    global: &[MappingRecord],
    pieces: &[Piece<'_>],
    parts: Vec<(EncodedRange, Part<'_>)>,
) -> Settlement {
    // Ids under which the shard's own store holds other bounds than the global one.
    let doubtful: HashSet<MappingId> = {
        let locals = pieces.iter().filter_map(|piece| piece.local);
        let bounds: BTreeMap<MappingId, EncodedRange> =
            global.iter().map(|mapping| (mapping.id, mapping.range())).collect();
        locals
            .filter(|local| bounds.get(&local.id).is_some_and(|range| *range != local.range()))
            .map(|it| it.id)
            .collect()
    };
    let mut kept: HashSet<MappingId> = HashSet::new();
    for (keys, part) in parts {
        let source = part.of();
        let whole = keys == source.range();
        let record = |id| MappingRecord {
            id,
            shard: Arc::clone(shard),
            low: keys.low.clone(),
            high: keys.high.clone(),
            ..source.clone()
        };
        match part {
            Part::AsGlobal(_) if whole && !doubtful.contains(&source.id) => {
                let _ = kept.insert(source.id);
                settlement.local.push(record(source.id));
            }
            Part::AsGlobal(_) | Part::AsLocal(_) => {
                let mapping = record(MappingId::random());
                settlement.local.push(mapping.clone());
                settlement.added.push(mapping);
            }
            Part::Global(_) if whole => drop(kept.insert(source.id)),
            Part::Global(_) => settlement.added.push(record(MappingId::random())),
            Part::Local(_) => settlement.local.push(record(if whole { source.id } else { MappingId::random() })),
        }
    }
    let own = global.iter().filter(|mapping| mapping.shard.id() == shard.id());
    settlement.removed = own.map(|mapping| mapping.id).filter(|id| !kept.contains(id)).collect();
    settlement
}

/// Takes keys away from mappings: what is left of them, each part with an id that a second list of the same mappings gets too.
#[derive(Debug, Default)]
pub(super) struct Cut {
    ids: BTreeMap<(MappingId, EncodedKey, Option<EncodedKey>), MappingId>,
}

impl Cut {
    /// What is left of the mappings, and the mappings that lost something with what they lost.
    pub(super) fn without(
        &mut self,
        kind: ShardMapKind,
        mappings: &[MappingRecord],
        taken: &[EncodedRange],
    ) -> (Vec<MappingRecord>, Vec<(MappingId, EncodedRange)>) {
        let (mut left, mut lost) = (Vec::new(), Vec::new());
        for mapping in mappings {
            let mut rest = vec![mapping.range()];
            let before = lost.len();
            for keys in taken {
                if kind == ShardMapKind::List {
                    if mapping.low == keys.low {
                        rest.clear();
                        lost.push((mapping.id, keys.clone()));
                    }
                    continue;
                }
                rest = rest
                    .into_iter()
                    .flat_map(|range| {
                        if !range.intersects(keys) {
                            return vec![range];
                        }
                        let below = EncodedRange { low: range.low.clone(), high: Some(keys.low.clone()) };
                        let above = keys.high.clone().map(|low| EncodedRange { low, high: range.high.clone() });
                        let low = range.low.clone().max(keys.low.clone());
                        let high = match (&range.high, &keys.high) {
                            (Some(a), Some(b)) => Some(a.min(b).clone()),
                            (a, b) => a.as_ref().or(b.as_ref()).cloned(),
                        };
                        lost.push((mapping.id, EncodedRange { low, high }));
                        std::iter::once(below).chain(above).filter(|part| !part.is_empty()).collect()
                    })
                    .collect();
            }
            if lost.len() == before {
                left.push(mapping.clone());
                continue;
            }
            for part in rest {
                let part_of = (mapping.id, part.low.clone(), part.high.clone());
                let id = *self.ids.entry(part_of).or_insert_with(MappingId::random);
                left.push(MappingRecord { id, low: part.low, high: part.high, ..mapping.clone() });
            }
        }
        (left, lost)
    }
}
