//! What both stores are to hold once it is decided, piece by piece, which of them is right.
//!
//! Pure. A mapping that both stores get has one id in both, and never one under which somebody may hold other bounds: an id
//! names one state of a mapping for ever, and routing believes it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::Resolution;
use super::compare::Piece;
use crate::key::EncodedRange;
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
    // What both stores or the global one get, and what only the local one keeps.
    let mut sides: [Vec<(EncodedRange, Part<'_>)>; 2] = [Vec::new(), Vec::new()];
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
        for (parts, part) in sides.iter_mut().zip([in_global, in_local]) {
            let Some(part) = part else { continue };
            match parts.last_mut() {
                // A run of pieces that comes from one mapping is one part again.
                Some((keys, before))
                    if kind == ShardMapKind::Range
                        && part.continues(before)
                        && keys.high.as_ref() == Some(&piece.keys.low) =>
                {
                    keys.high = piece.keys.high.clone();
                }
                _ => parts.push((piece.keys.clone(), part)),
            }
        }
    }
    finish(settlement, shard, global, pieces, sides.concat())
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

/// Takes keys away from mappings: what is left of them, where each part that lost something has a new id, and what each lost.
pub(super) fn without(
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
            let (outside, inside): (Vec<_>, Vec<_>) = rest.into_iter().partition(|range| !range.intersects(keys));
            rest = outside;
            for range in inside {
                let (below, shared, above) = cut(range, keys);
                lost.push((mapping.id, shared));
                rest.extend([below, above].into_iter().flatten());
            }
        }
        if lost.len() == before {
            left.push(mapping.clone());
            continue;
        }
        let part = |range: EncodedRange| MappingRecord {
            id: MappingId::random(),
            low: range.low,
            high: range.high,
            ..mapping.clone()
        };
        left.extend(rest.into_iter().map(part));
    }
    (left, lost)
}

/// The parts of a range below, in and above one that it intersects.
fn cut(range: EncodedRange, keys: &EncodedRange) -> (Option<EncodedRange>, EncodedRange, Option<EncodedRange>) {
    let high = match (&range.high, &keys.high) {
        (Some(a), Some(b)) => Some(a.min(b).clone()),
        (a, b) => a.as_ref().or(b.as_ref()).cloned(),
    };
    let shared = EncodedRange { low: range.low.clone().max(keys.low.clone()), high };
    let below = EncodedRange { low: range.low, high: Some(keys.low.clone()) };
    let above = keys.high.clone().map(|low| EncodedRange { low, high: range.high });
    let full = |part: &EncodedRange| !part.is_empty();
    (Some(below).filter(full), shared, above.filter(full))
}
