//! The local store of a shard: its own copy of what concerns it, and the judge of routing.
//!
//! [`LocalStore`] is the contract that a backend fulfils and [`LocalSession`] the part of it that works under the lock of an
//! operation. Each call is one request in one transaction. Opening a connection for an application is here too, because
//! validating it is a question to this store.
//!
//! Invariant: a call that fails has changed nothing, unless its error is of kind
//! [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown). Every call compares the store's version first.

#[cfg(feature = "sql-server")]
mod sql_server;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt::Debug;
use std::future::Future;

#[cfg(feature = "sql-server")]
pub use sql_server::SqlServerLocalSession;
#[cfg(feature = "sql-server")]
#[doc(hidden)]
pub use sql_server::steps_as_json;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteLocalSession;

use crate::backend::Backend;
use crate::error::Result;
use crate::key::{EncodedKey, EncodedRange};
use crate::model::{
    MappingId, MappingRecord, OperationId, SessionPolicy, SessionsEnded, Shard, ShardId, ShardLocation, ShardMapId,
    ShardMapInfo, ShardMapKind, ShardVersion, StoreRights, StoreUpgrade, StoreVersion,
};

/// The local stores of a backend's shards.
pub trait LocalStore: Backend {
    /// A connection to a shard that works under the lock of one operation.
    type Session: LocalSession;

    /// The version of a shard's store, or `None` where the shard has none. A shard that cannot be reached is an error.
    fn local_version(&self, location: &ShardLocation) -> impl Future<Output = Result<Option<StoreVersion>>> + Send;

    /// What the login of the backend may do at a shard's store, whether it is installed or not, under the rules of
    /// [`global_rights`](crate::gsm::GlobalStore::global_rights).
    fn local_rights(&self, location: &ShardLocation) -> impl Future<Output = Result<StoreRights>> + Send;

    /// Brings a shard's store to [`StoreVersion::CURRENT`], under the rules of
    /// [`upgrade_global`](crate::gsm::GlobalStore::upgrade_global). Refused with `ShardMapDoesNotExist` where the shard has none:
    /// an upgrade installs no store.
    fn upgrade_local(&self, location: &ShardLocation) -> impl Future<Output = Result<StoreUpgrade>> + Send;

    /// What a shard's store knows of maps and shards: a row for each map that the database is part of.
    fn local_shards(&self, location: &ShardLocation)
    -> impl Future<Output = Result<Vec<(ShardMapInfo, Shard)>>> + Send;

    /// The mappings of a map that a shard's store holds, in the order of their keys. Refused with `ShardMapDoesNotExist`.
    fn local_mappings(
        &self,
        location: &ShardLocation,
        map: ShardMapId,
    ) -> impl Future<Output = Result<Vec<MappingRecord>>> + Send;

    /// Takes the lock that keeps other clients off an operation at this shard, and a connection to work under it.
    ///
    /// Waits at most [`Timeouts::operation_lock`](crate::backend::Timeouts::operation_lock).
    fn lock_operation_at(
        &self,
        location: &ShardLocation,
        id: OperationId,
    ) -> impl Future<Output = Result<<Self as LocalStore>::Session>> + Send;

    /// Opens a connection for an application, and with [`Validation::Validate`] asks the shard's store whether the route
    /// is still the truth, in at most one round trip more. Refusals: `ShardMapDoesNotExist`; for a mapping
    /// `MappingDoesNotExist` and `MappingIsOffline`; for a shard `ShardDoesNotExist` and `ShardVersionMismatch`.
    ///
    /// The connection ends when its mapping, or what became of it by splits and merges, goes offline with a policy that
    /// ends sessions. One that was not validated and has not been used yet may be known to its own process only.
    fn open_routed(
        &self,
        route: &Route,
        credentials: &Self::Credentials,
        validation: Validation,
    ) -> impl Future<Output = Result<Self::Connection>> + Send;
}

/// A connection to a shard's store that works under the lock of one operation.
///
/// As with [`GlobalSession`](crate::gsm::GlobalSession), the lock outlives whatever this session has sent.
pub trait LocalSession: Debug + Send {
    /// Installs the store where it is missing, then does a change of the shard's own rows. `Add` where the rows are there by
    /// this operation succeeds; so do `Remove` where they are gone, and undoing at a shard that has no store.
    fn change_shard(&mut self, change: &LocalShardChange) -> impl Future<Output = Result<()>> + Send;

    /// Removes and adds mappings and gives the shard its new version. Repeating it succeeds and changes nothing. Refused with
    /// `ShardDoesNotExist` where the store does not know the shard; undoing succeeds there.
    fn change_mappings(&mut self, change: &LocalMappingChange) -> impl Future<Output = Result<()>> + Send;

    /// Makes what the store holds of a map exactly this: the shard's row, its mappings, and the neighbours it already holds.
    /// Installs the store, or what is missing of it. Repeating it succeeds and changes nothing. Refused with
    /// `ShardVersionMismatch` where a version is expected and the shard's row has another one, or is not there, and with
    /// `ShardLocationExists` where a neighbour has the shard's location.
    fn replace(&mut self, content: &LocalContent) -> impl Future<Output = Result<()>> + Send;

    /// Ends the sessions of mappings that the shard does not serve any more, as the policy says; called after the change that
    /// took them away is committed. Bounded by the policy's deadline.
    fn end_sessions(&mut self, ending: &SessionEnding) -> impl Future<Output = Result<SessionsEnded>> + Send;
}

/// A change of a shard's own rows in its local store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalShardChange {
    /// The operation.
    pub operation: OperationId,
    /// The map.
    pub map: ShardMapInfo,
    /// The shard, as it becomes.
    pub shard: Shard,
    /// What happens to it.
    pub action: ShardAction,
    /// True while undoing: rows that are there already are left alone, and a missing store is not installed.
    pub undoing: bool,
    /// While undoing: the versions of the shard before the operation and after it, if they are known. A row that has any other
    /// has a history that this operation is not part of, and is left as it is.
    pub known: Option<[ShardVersion; 2]>,
}

/// What happens to a shard's rows in its local store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardAction {
    /// They are added.
    Add,
    /// They are removed.
    Remove,
    /// Version, location and status are written. Refused with `ShardDoesNotExist`.
    Update,
}

/// A change of the mappings in a local store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalMappingChange {
    /// The operation.
    pub operation: OperationId,
    /// The map.
    pub map: ShardMapId,
    /// The shard, at the version that it gets.
    pub shard: Shard,
    /// The steps, in order.
    pub steps: Vec<LocalStep>,
    /// True while undoing: mappings that are there already are left alone.
    pub undoing: bool,
    /// As [`LocalShardChange::known`].
    pub known: Option<[ShardVersion; 2]>,
    /// What becomes of sessions, where the change takes a mapping offline. Backends that can end sessions in the same
    /// transaction do it here; the rest is done by [`LocalSession::end_sessions`].
    pub ending: Option<SessionEnding>,
}

/// A change of one mapping in a local store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocalStep {
    /// Removes it; succeeds where it is gone.
    Remove(MappingId),
    /// Adds it.
    Add(MappingRecord),
}

/// Everything that a local store is to hold of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalContent {
    /// The operation.
    pub operation: OperationId,
    /// The map.
    pub map: ShardMapInfo,
    /// The shard, as it becomes.
    pub shard: Shard,
    /// Its mappings.
    pub mappings: Vec<MappingRecord>,
    /// Other shards of the map in the same database (another port, say), whose rows stay.
    pub neighbours: Vec<ShardId>,
    /// The version that the shard's row has to have, if it matters what is replaced.
    pub expected: Option<ShardVersion>,
    /// Whose sessions end with it. Backends that can do it in the same transaction do it here; the rest is done by
    /// [`LocalSession::end_sessions`].
    pub ending: Option<SessionEnding>,
}

/// Whose sessions end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEnding {
    /// The map.
    pub map: ShardMapId,
    /// The kind of the map.
    pub kind: ShardMapKind,
    /// The mappings that the shard does not serve any more, by the ids under which sessions know them, and their keys; for a
    /// point mapping the low bound is the key.
    pub mappings: Vec<(MappingId, EncodedRange)>,
    /// What becomes of the sessions.
    pub policy: SessionPolicy,
}

#[cfg(any(feature = "sqlite", feature = "sql-server"))]
impl SessionEnding {
    /// The keys whose sessions end.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &EncodedRange> {
        self.mappings.iter().map(|(_, keys)| keys)
    }
}

/// Whether the shard is asked if a route is still the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validation {
    /// Ask. Costs at most one round trip and never gives a connection to a shard that does not own the key.
    #[default]
    Validate,
    /// Do not ask. A route from the cache may be old.
    None,
}

/// Where a connection goes and why.
#[derive(Clone, Debug)]
pub struct Route {
    /// The shard's place.
    pub location: ShardLocation,
    /// The map.
    pub map: ShardMapId,
    /// Why it goes there.
    pub target: RouteTarget,
}

/// Why a connection goes to a shard.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RouteTarget {
    /// A mapping says so.
    Mapping {
        /// The mapping.
        mapping: MappingId,
        /// The kind of its map.
        kind: ShardMapKind,
        /// The key that was routed.
        key: EncodedKey,
    },
    /// The application named the shard.
    Shard {
        /// The shard.
        shard: ShardId,
        /// Its version as the application knows it.
        version: ShardVersion,
    },
}
