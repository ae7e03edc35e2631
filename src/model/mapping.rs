//! Mappings: which shard holds a key or a range of keys.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use super::{LockToken, MappingId, MappingStatus, Shard, ShardMapId, ShardMapKind};
use crate::key::{EncodedKey, EncodedRange, KeyRange, ShardKey};

/// A mapping as the stores hold it, without the type of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingRecord {
    /// The id of this state of the mapping.
    pub id: MappingId,
    /// The map that it belongs to.
    pub map: ShardMapId,
    /// The shard that its keys are on.
    pub shard: Arc<Shard>,
    /// The key of a point mapping, the low bound of a range mapping.
    pub low: EncodedKey,
    /// The high bound of a range mapping; `None` is +infinity, and is what point mappings have.
    pub high: Option<EncodedKey>,
    /// Whether its keys are served.
    pub status: MappingStatus,
    /// The owner of its lock when it was read. Local stores do not know it and say [`LockToken::NONE`].
    pub lock_owner: LockToken,
}

impl MappingRecord {
    /// The range of a range mapping.
    #[must_use]
    pub fn range(&self) -> EncodedRange {
        EncodedRange { low: self.low.clone(), high: self.high.clone() }
    }
}

/// What point and range mappings have in common, for code that is generic over them. Sealed.
pub trait Mapping: sealed::Sealed + Clone + fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// The type of the keys.
    type Key: ShardKey;

    /// The kind of map that holds these.
    const KIND: ShardMapKind;

    /// The record behind the handle: id, shard, status, encoded keys.
    fn record(&self) -> &Arc<MappingRecord>;

    /// The token that operations through this handle present.
    #[doc(hidden)]
    fn presented(&self) -> LockToken;

    /// A handle of a record, which presents the token. Nothing is checked: only for records that a map of this kind and this type of
    /// keys has given, unchanged. For tools that keep records, because they know the type of a map's keys only when they run.
    fn from_record(record: Arc<MappingRecord>, presented: LockToken) -> Self;
}

/// What a mapping maps: single keys or ranges. Sealed.
pub trait Shape: sealed::Sealed + fmt::Debug + Send + Sync + 'static {
    /// The kind of map that holds such mappings.
    const KIND: ShardMapKind;

    /// Writes the keys of a mapping as the reference library does.
    #[doc(hidden)]
    fn write<K: ShardKey>(mapping: &KeyedMapping<K, Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result
    where
        Self: Sized;
}

/// Mappings of single keys.
#[derive(Debug)]
pub enum Points {}

/// Mappings of ranges of keys.
#[derive(Debug)]
pub enum Ranges {}

mod sealed {
    #[expect(unnameable_types, reason = "sealed: users call the trait's methods and cannot implement it")]
    pub trait Sealed {}
}

impl sealed::Sealed for Points {}
impl sealed::Sealed for Ranges {}

/// Which shard a key of a list map is on: see [`KeyedMapping`].
pub type PointMapping<K> = KeyedMapping<K, Points>;

/// Which shard a range of keys is on: see [`KeyedMapping`].
pub type RangeMapping<K> = KeyedMapping<K, Ranges>;

/// Which shard a key or a range of keys is on. An immutable value; every change returns a new one and makes this one stale.
///
/// Cloning costs a reference count. Two values are equal if their ids are.
pub struct KeyedMapping<K, S> {
    record: Arc<MappingRecord>,
    presented: LockToken,
    keys: PhantomData<fn() -> (K, S)>,
}

impl<K: ShardKey> PointMapping<K> {
    /// The key.
    #[must_use]
    pub fn key(&self) -> K {
        K::decode(&self.record.low)
    }
}

impl<K: ShardKey> RangeMapping<K> {
    /// The range.
    #[must_use]
    pub fn range(&self) -> KeyRange<K> {
        KeyRange::decode(&self.record.range())
    }
}

impl<K, S> KeyedMapping<K, S> {
    /// The id of this state of the mapping.
    #[must_use]
    pub fn id(&self) -> MappingId {
        self.record.id
    }

    /// Whether its keys are served.
    #[must_use]
    pub fn status(&self) -> MappingStatus {
        self.record.status
    }

    /// The shard that its keys are on.
    #[must_use]
    pub fn shard(&self) -> &Shard {
        &self.record.shard
    }

    /// The same mapping, changed from now on in the name of the lock's owner. Needed for as long as it is locked.
    #[must_use]
    pub fn holding(mut self, token: LockToken) -> Self {
        self.presented = token;
        self
    }
}

impl Shape for Points {
    const KIND: ShardMapKind = ShardMapKind::List;

    fn write<K: ShardKey>(mapping: &PointMapping<K>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P[{}:", mapping.id())?;
        mapping.key().write(f)?;
        f.write_str("]")
    }
}

impl Shape for Ranges {
    const KIND: ShardMapKind = ShardMapKind::Range;

    fn write<K: ShardKey>(mapping: &RangeMapping<K>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "R[{}:{}]", mapping.id(), mapping.range())
    }
}

impl<K: ShardKey, S: Shape> sealed::Sealed for KeyedMapping<K, S> {}
impl<K: ShardKey, S: Shape> Mapping for KeyedMapping<K, S> {
    type Key = K;
    const KIND: ShardMapKind = S::KIND;

    fn record(&self) -> &Arc<MappingRecord> {
        &self.record
    }

    fn presented(&self) -> LockToken {
        self.presented
    }

    fn from_record(record: Arc<MappingRecord>, presented: LockToken) -> Self {
        Self { record, presented, keys: PhantomData }
    }
}

impl<K, S> Clone for KeyedMapping<K, S> {
    fn clone(&self) -> Self {
        Self { record: Arc::clone(&self.record), presented: self.presented, keys: PhantomData }
    }
}

impl<K, S> PartialEq for KeyedMapping<K, S> {
    fn eq(&self, other: &Self) -> bool {
        self.record.id == other.record.id
    }
}

impl<K, S> Eq for KeyedMapping<K, S> {}

impl<K, S> Hash for KeyedMapping<K, S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.record.id.hash(state);
    }
}

impl<K: ShardKey, S: Shape> fmt::Display for KeyedMapping<K, S> {
    /// `P[id:key]` or `R[id:[low:high)]`, as in the reference library.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        S::write(self, f)
    }
}

impl<K, S> fmt::Debug for KeyedMapping<K, S> {
    /// Without the keys, which logs must not hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({}, {} on {})", self.record.id, self.record.status, self.record.shard)
    }
}

/// Which mappings of a map to list: all, or those on a shard, or those in a range of keys, or both.
///
/// ```
/// use shardlet::MappingFilter;
/// let in_range = MappingFilter::<i64>::all().in_range(0..50);
/// # let _ = in_range;
/// ```
#[derive(Clone, Debug)]
pub struct MappingFilter<K> {
    pub(crate) range: Option<KeyRange<K>>,
    pub(crate) shard: Option<Shard>,
}

impl<K: ShardKey> MappingFilter<K> {
    /// Every mapping.
    #[must_use]
    pub fn all() -> Self {
        Self { range: None, shard: None }
    }

    /// Only those that have a key in common with the range.
    #[must_use]
    pub fn in_range(mut self, range: impl Into<KeyRange<K>>) -> Self {
        self.range = Some(range.into());
        self
    }

    /// Only those on the shard. Its version does not matter.
    #[must_use]
    pub fn on_shard(mut self, shard: &Shard) -> Self {
        self.shard = Some(shard.clone());
        self
    }
}
