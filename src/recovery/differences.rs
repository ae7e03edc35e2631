//! What differs between the global store and a shard's own, as values that a person can read.

use std::fmt;

use crate::error::Error;
use crate::key::{EncodedRange, KeyRange, KeyType, ShardKey};
use crate::model::{
    MappingRecord, OperationId, Shard, ShardId, ShardLocation, ShardMapInfo, ShardMapKind, ShardStatus,
};

/// What the global store and the store of one shard say differently of one shard map: made by
/// [`RecoveryManager::detect`](super::RecoveryManager::detect).
///
/// A value: it stays what it was when the stores go on. Its `Display` is a line for each difference, with keys: show it to
/// people, do not log it.
#[derive(Clone, Debug)]
pub struct ShardDifferences {
    pub(super) map: ShardMapInfo,
    pub(super) location: ShardLocation,
    /// The shard in the global store.
    pub(super) global: Option<Shard>,
    /// The shard's row in its own store.
    pub(super) local: Option<Shard>,
    /// Other shards of the map in the same database.
    pub(super) neighbours: Vec<ShardId>,
    /// Of this shard, in the global store.
    pub(super) global_mappings: Vec<MappingRecord>,
    /// All of the map in the shard's own store that are not its neighbours'.
    pub(super) local_mappings: Vec<MappingRecord>,
    pub(super) shard: Vec<ShardDifference>,
    pub(super) mappings: Vec<MappingDifference>,
    pub(super) unfinished: Vec<OperationId>,
}

/// A way in which the rows of a shard differ.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardDifference {
    /// The global store does not have the shard map.
    /// [`RecoveryManager::restore_shard_map`](super::RecoveryManager::restore_shard_map) puts it back.
    MapNotInGlobal,
    /// The map is called otherwise in the shard's own store.
    MapName(String),
    /// The global store does not have the shard. [`RecoveryManager::attach`](super::RecoveryManager::attach) adds it.
    NotInGlobal,
    /// The global store has the shard at another place. [`RecoveryManager::relocate`](super::RecoveryManager::relocate) tells
    /// it of the new one.
    Elsewhere(ShardLocation),
    /// The database has no local store.
    NoLocalStore,
    /// The local store is only half installed, or holds what no client writes; the text says what.
    LocalStoreDamaged(String),
    /// The local store does not know the shard.
    NotInLocal,
    /// The local store holds rows of a shard that is not here: the database may be a copy of that one's.
    OtherShard(ShardId),
    /// The local store has the shard at another place.
    Location(ShardLocation),
    /// The marks of the shard: in the global store, and in its own.
    Status(ShardStatus, ShardStatus),
    /// The versions differ, though nothing else of the shard's row does: one of the stores is older than the other.
    Version,
}

/// On which side a range of keys, or a key, is mapped to the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DifferenceKind {
    /// The global store maps it to the shard, which knows nothing of that.
    InGlobalOnly,
    /// The shard's own store says that it owns it; the global store has no mapping for it.
    InLocalOnly,
    /// Both have a mapping, and not the same: another id, other bounds, another status, or the global one is to another shard.
    InBoth,
}

/// A key or a range of keys that the two stores do not agree about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingDifference {
    pub(super) kind: ShardMapKind,
    pub(super) key_type: KeyType,
    pub(super) keys: EncodedRange,
    pub(super) global: Option<MappingRecord>,
    pub(super) local: Option<MappingRecord>,
}

impl ShardDifferences {
    /// The shard map.
    #[must_use]
    pub fn shard_map(&self) -> &ShardMapInfo {
        &self.map
    }

    /// The place that was looked at.
    #[must_use]
    pub fn location(&self) -> &ShardLocation {
        &self.location
    }

    /// The shard as the global store has it.
    #[must_use]
    pub fn shard(&self) -> Option<&Shard> {
        self.global.as_ref()
    }

    /// How the rows of the shard differ.
    #[must_use]
    pub fn of_shard(&self) -> &[ShardDifference] {
        &self.shard
    }

    /// How the mappings differ, in the order of their keys.
    #[must_use]
    pub fn of_mappings(&self) -> &[MappingDifference] {
        &self.mappings
    }

    /// Operations on the shard that were unfinished at the time: what they change may be among the differences, and is none
    /// once they are done or undone.
    #[must_use]
    pub fn unfinished_operations(&self) -> &[OperationId] {
        &self.unfinished
    }

    /// True if both stores say the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shard.is_empty() && self.mappings.is_empty()
    }

    /// True if another look found the same.
    pub(super) fn same(&self, other: &Self) -> bool {
        // Shards compare by id and version.
        let place = |shard: &Option<Shard>| shard.as_ref().map(|shard| (shard.location().clone(), shard.status()));
        (self.map.id(), &self.location, &self.global, &self.local)
            == (other.map.id(), &other.location, &other.global, &other.local)
            && (place(&self.global), place(&self.local)) == (place(&other.global), place(&other.local))
            && (&self.global_mappings, &self.local_mappings) == (&other.global_mappings, &other.local_mappings)
            && (&self.shard, &self.mappings) == (&other.shard, &other.mappings)
    }

    pub(super) fn damaged(error: &Error) -> ShardDifference {
        ShardDifference::LocalStoreDamaged(error.to_string())
    }
}

impl MappingDifference {
    /// On which side the keys are mapped.
    #[must_use]
    pub fn kind(&self) -> DifferenceKind {
        match (&self.global, &self.local) {
            (Some(_), None) => DifferenceKind::InGlobalOnly,
            (None, _) => DifferenceKind::InLocalOnly,
            (Some(_), Some(_)) => DifferenceKind::InBoth,
        }
    }

    /// The keys, in their stored form; of a point mapping the low bound is the key.
    #[must_use]
    pub fn keys(&self) -> &EncodedRange {
        &self.keys
    }

    /// The keys; of a point mapping the low bound is the key. `None` if `K` is not the type of the map's keys.
    #[must_use]
    pub fn range<K: ShardKey>(&self) -> Option<KeyRange<K>> {
        (K::KEY_TYPE == self.key_type).then(|| KeyRange::decode(&self.keys))
    }

    /// The mapping in the global store, which may be to another shard, and may reach beyond the keys.
    #[must_use]
    pub fn global(&self) -> Option<&MappingRecord> {
        self.global.as_ref()
    }

    /// The mapping in the shard's own store, which may reach beyond the keys.
    #[must_use]
    pub fn local(&self) -> Option<&MappingRecord> {
        self.local.as_ref()
    }
}

impl fmt::Display for ShardDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MapNotInGlobal => f.write_str("the global store does not have the shard map"),
            Self::MapName(name) => write!(f, "the local store calls the shard map {name:?}"),
            Self::NotInGlobal => f.write_str("the global store does not have the shard"),
            Self::Elsewhere(location) => write!(f, "the global store has the shard at {location}"),
            Self::NoLocalStore => f.write_str("the database has no local store"),
            Self::LocalStoreDamaged(what) => write!(f, "the local store is damaged: {what}"),
            Self::NotInLocal => f.write_str("the local store does not know the shard"),
            Self::OtherShard(id) => write!(f, "the local store holds rows of shard {id}, which is not here"),
            Self::Location(location) => write!(f, "the local store has the shard at {location}"),
            Self::Status(global, local) => {
                write!(f, "the shard is {global} in the global store and {local} in the local store")
            }
            Self::Version => f.write_str("the shard has different versions in the two stores"),
        }
    }
}

impl fmt::Display for MappingDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = |key| self.key_type.show(key);
        match (self.kind, &self.keys.high) {
            (ShardMapKind::List, _) => write!(f, "{}: ", key(&self.keys.low))?,
            (ShardMapKind::Range, None) => write!(f, "[{}:+inf): ", key(&self.keys.low))?,
            (ShardMapKind::Range, Some(high)) => write!(f, "[{}:{}): ", key(&self.keys.low), key(high))?,
        }
        match &self.global {
            Some(mapping) => write!(f, "{} on {} in the global store", mapping.status, mapping.shard)?,
            None => f.write_str("not mapped in the global store")?,
        }
        match &self.local {
            Some(mapping) => write!(f, ", {} in the local store", mapping.status),
            None => f.write_str(", not known to the local store"),
        }
    }
}

impl fmt::Display for ShardDifferences {
    /// A line for the shard and the map, then one for each difference.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in shard map {:?}:", self.location, self.map.name())?;
        if self.is_empty() {
            f.write_str(" no differences")?;
        }
        self.shard.iter().try_for_each(|difference| write!(f, "\n  {difference}"))?;
        self.mappings.iter().try_for_each(|difference| write!(f, "\n  {difference}"))?;
        self.unfinished.iter().try_for_each(|id| write!(f, "\n  operation {id} is unfinished"))
    }
}
