//! What is asked of the global store, and what it answers.
//!
//! Inert values. An operation's steps are those of the reference library's request documents, so that a log record can be
//! written from them and read back into them.

use crate::key::EncodedRange;
use crate::model::{LockToken, MappingId, MappingRecord, OperationId, Shard, ShardId, ShardMapInfo, ShardVersion};

/// What to do with a store that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CreateMode {
    /// Fail with kind [`AlreadyExists`](crate::ErrorKind::AlreadyExists).
    #[default]
    Keep,
    /// Drop it with everything in it, then make a new one. Shards keep their local stores.
    Replace,
}

/// The kinds of operations. The numbers are the stored ones, those of the reference library's `StoreOperationCode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say it all")]
pub enum OperationCode {
    AddShard = 1,
    RemoveShard = 2,
    UpdateShard = 3,
    AddPointMapping = 4,
    RemovePointMapping = 5,
    UpdatePointMapping = 6,
    UpdatePointMappingWithOffline = 7,
    AddRangeMapping = 8,
    RemoveRangeMapping = 9,
    UpdateRangeMapping = 10,
    UpdateRangeMappingWithOffline = 11,
    SplitMapping = 14,
    MergeMappings = 15,
    AttachShard = 16,
}

impl OperationCode {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::AddShard,
        Self::RemoveShard,
        Self::UpdateShard,
        Self::AddPointMapping,
        Self::RemovePointMapping,
        Self::UpdatePointMapping,
        Self::UpdatePointMappingWithOffline,
        Self::AddRangeMapping,
        Self::RemoveRangeMapping,
        Self::UpdateRangeMapping,
        Self::UpdateRangeMappingWithOffline,
        Self::SplitMapping,
        Self::MergeMappings,
        Self::AttachShard,
    ];

    /// The kind of a stored number, or `None` for a number that no client writes.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|known| *known as i64 == code)
    }

    /// The name of the public call, as the reference library reports it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AddShard => "CreateShard",
            Self::RemoveShard => "DeleteShard",
            Self::UpdateShard => "UpdateShard",
            Self::AddPointMapping => "AddPointMapping",
            Self::RemovePointMapping => "RemovePointMapping",
            Self::UpdatePointMapping => "UpdatePointMapping",
            Self::UpdatePointMappingWithOffline => "UpdatePointMappingMarkOffline",
            Self::AddRangeMapping => "AddRangeMapping",
            Self::RemoveRangeMapping => "RemoveRangeMapping",
            Self::UpdateRangeMapping => "UpdateRangeMapping",
            Self::UpdateRangeMappingWithOffline => "UpdateRangeMappingMarkOffline",
            Self::SplitMapping => "SplitMapping",
            Self::MergeMappings => "MergeMappings",
            Self::AttachShard => "AttachShard",
        }
    }

    /// True if a mapping that the operation removes has to be offline.
    #[must_use]
    pub fn removes_offline_only(self) -> bool {
        matches!(self, Self::RemovePointMapping | Self::RemoveRangeMapping)
    }

    /// True if the operation takes a mapping offline.
    #[must_use]
    pub fn takes_offline(self) -> bool {
        matches!(self, Self::UpdatePointMappingWithOffline | Self::UpdateRangeMappingWithOffline)
    }
}

/// An operation as the global store sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalOperation {
    /// Its id, also the name of its lock.
    pub id: OperationId,
    /// What it is.
    pub code: OperationCode,
    /// The map that it changes.
    pub map: ShardMapInfo,
    /// What it changes.
    pub steps: OperationSteps,
}

impl GlobalOperation {
    /// The shards that it is about: that which changes or gives up mappings, as it was, and that which it becomes or which gets them.
    /// Often the same.
    #[must_use]
    pub fn shards(&self) -> [&Shard; 2] {
        match &self.steps {
            OperationSteps::Shard(step) => [step.shard(), step.becomes()],
            OperationSteps::Mappings { removes, adds, .. } => [removes, adds],
        }
    }
}

/// The changes of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OperationSteps {
    /// Codes 1, 2, 3 and 16.
    Shard(ShardStep),
    /// The others.
    Mappings {
        /// The shard that mappings are removed from, at its version after the operation.
        removes: Shard,
        /// The shard that mappings are added to, at its version after the operation. Often the same.
        adds: Shard,
        /// The steps, in order.
        steps: Vec<MappingStep>,
        /// Whether sessions of the mapping are ended, for updates; `None` for every other code.
        ends_sessions: Option<bool>,
    },
}

/// A change of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardStep {
    /// Takes the shard out of its map. Its version has to be the store's.
    Remove(Shard),
    /// Changes the shard's status. The first one's version has to be the store's.
    Update(Shard, Shard),
    /// Puts the shard into its map.
    Add(Shard),
    /// Writes the shard's row anew, its place included, and puts its mappings right. In the log it is an [`Update`](Self::Update),
    /// so that every client can undo it.
    Mend(Box<ShardMending>),
}

/// How the rows of a shard in the global store are put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMending {
    /// The shard as it was, at the place where its own store is now. Its version has to be the store's.
    pub before: Shard,
    /// The shard as it becomes.
    pub after: Shard,
    /// Mappings that leave the shard.
    pub removed: Vec<MappingId>,
    /// Mappings that it gets, each owned by its `lock_owner`.
    pub added: Vec<MappingRecord>,
}

impl ShardStep {
    /// The shard as it was before, or as it is added.
    #[must_use]
    pub fn shard(&self) -> &Shard {
        match self {
            Self::Remove(shard) | Self::Update(shard, _) | Self::Add(shard) => shard,
            Self::Mend(mending) => &mending.before,
        }
    }

    /// The shard as it becomes, or as it was where it is removed.
    #[must_use]
    pub fn becomes(&self) -> &Shard {
        match self {
            Self::Remove(shard) | Self::Update(_, shard) | Self::Add(shard) => shard,
            Self::Mend(mending) => &mending.after,
        }
    }
}

/// A change of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MappingStep {
    /// Removes a mapping; `lock` has to be the owner of its lock.
    Remove {
        /// The mapping.
        mapping: MappingRecord,
        /// The token presented.
        lock: LockToken,
    },
    /// Replaces id, shard and status of a mapping; `lock` has to be the owner of its lock.
    Update {
        /// The mapping as it was.
        old: MappingRecord,
        /// The mapping as it becomes.
        new: MappingRecord,
        /// The token presented.
        lock: LockToken,
    },
    /// Adds a mapping, owned by its `lock_owner`.
    Add {
        /// The mapping.
        mapping: MappingRecord,
        /// Whether it must not collide with others. Not for what replaces mappings removed in the same operation.
        validate: bool,
    },
    /// Leaves a mapping of the shard that mappings are added to as it is, and only looks that it is there.
    ///
    /// In the log it is a [`Remove`](Self::Remove): clients of the reference library undo many additions at once only together
    /// with a mapping that they put back where it is missing, and this one is not.
    Keep {
        /// The mapping.
        mapping: MappingRecord,
    },
}

impl MappingStep {
    /// True if the steps remove and update nothing.
    #[cfg(any(feature = "sql-server", feature = "sqlite"))]
    pub(super) fn only_add(steps: &[Self]) -> bool {
        steps.iter().all(|step| matches!(step, Self::Add { .. } | Self::Keep { .. }))
    }
}

/// Whether an operation goes on or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards the new state.
    Do,
    /// Back to the old state.
    Undo,
}

/// How taking a shard out of the global store went.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Detaching {
    /// The shard is gone, and that many mappings with it.
    Detached(usize),
    /// An unfinished operation holds the shard. Nothing was changed; undo that operation and try again.
    Pending(Box<LogEntry>),
}

/// How a begin step went.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Begin {
    /// The operation has begun.
    Begun,
    /// Another operation holds a row. Nothing was changed; undo that operation and begin again.
    Pending(Box<LogEntry>),
}

/// A row of the operations log.
#[derive(Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The operation.
    pub id: OperationId,
    /// What it is; a number, because another client may know more codes than we do.
    pub code: i32,
    /// The request document that began it.
    pub data: String,
    /// From where an undo has to start: 100 for everything, else what an earlier undo left.
    pub undo_start: i32,
    /// The version of the shard that mappings are removed from, before the operation.
    pub version_removes: Option<ShardVersion>,
    /// The version of the shard that mappings are added to, before the operation.
    pub version_adds: Option<ShardVersion>,
}

impl LogEntry {
    /// The [`undo_start`](Self::undo_start) of an operation of which nobody knows how far it came: everything is undone.
    pub const UNDO_ALL: i32 = 100;
}

impl std::fmt::Debug for LogEntry {
    /// Without the document, which holds keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogEntry({}, code {}, undo from {})", self.id, self.code, self.undo_start)
    }
}

/// A row of schema information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaInfoEntry {
    /// The name that it is stored under, as it was written when it was added.
    pub name: String,
    /// Its document, XML.
    pub document: String,
}

/// Which mappings to list.
#[derive(Clone, Debug, Default)]
pub struct RecordFilter {
    /// Only those that intersect the range.
    pub range: Option<EncodedRange>,
    /// Only those on the shard.
    pub shard: Option<ShardId>,
}

/// A change of locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockChange {
    /// Lock a mapping that nobody has locked.
    Lock(MappingId, LockToken),
    /// Unlock a mapping that the token owns, or any with [`LockToken::FORCE_UNLOCK`].
    Unlock(MappingId, LockToken),
    /// Unlock every mapping of the map that the token owns.
    UnlockAll(LockToken),
}

/// How a change of locks went.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LockOutcome {
    /// That many mappings were locked or unlocked.
    Changed(usize),
    /// An unfinished operation holds the mapping. Nothing was changed; undo that operation and try again.
    Pending(Box<LogEntry>),
}
