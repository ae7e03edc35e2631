//! The global store: the authority on shard maps, shards and mappings.
//!
//! [`GlobalStore`] is the contract that a backend fulfils and [`GlobalSession`] the part of it that works under the lock
//! of an operation; `request` holds what is asked. Each call is one request to the store in one transaction. What to ask,
//! in which order, and what to do about a refusal, is decided above.
//!
//! Invariant: a call that fails has changed nothing, unless its error is of kind
//! [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown). Every call compares the store's version first and answers
//! [`Refusal::StoreVersionMismatch`](crate::error::Refusal::StoreVersionMismatch) if it is not
//! [usable](crate::StoreVersion::is_usable); an upgrade is there for one that is older. Excepted are the calls that are about the
//! store as a whole, whatever version it has: [`global_version`](GlobalStore::global_version),
//! [`global_rights`](GlobalStore::global_rights), [`upgrade_global`](GlobalStore::upgrade_global),
//! [`create_global`](GlobalStore::create_global) and [`drop_global`](GlobalStore::drop_global); and
//! [`lock_operation`](GlobalStore::lock_operation), which reads nothing of it.

mod request;
#[cfg(feature = "sql-server")]
mod sql_server;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt::Debug;
use std::future::Future;

pub use request::{
    Begin, CreateMode, Detaching, Direction, GlobalOperation, LockChange, LockOutcome, LogEntry, MappingStep,
    OperationCode, OperationSteps, RecordFilter, SchemaInfoEntry, ShardMending, ShardStep,
};

#[cfg(feature = "sql-server")]
pub use sql_server::SqlServerGlobalSession;
#[cfg(feature = "sql-server")]
#[doc(hidden)]
pub use sql_server::steps_as_json;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteGlobalSession;

use crate::backend::Backend;
use crate::error::Result;
use crate::key::EncodedKey;
use crate::model::{
    MappingId, MappingRecord, OperationId, Shard, ShardId, ShardLocation, ShardMapId, ShardMapInfo, ShardMapName,
    StoreRights, StoreUpgrade, StoreVersion,
};

/// The global store of a backend.
///
/// Errors are those of [`Refusal`](crate::error::Refusal), named at each call, and those of the connection. Reads see only
/// rows that are readable: what an unfinished operation adds is not there yet, what it removes still is. Every future may
/// be dropped: the request then happens or does not happen, and no connection is left in an unknown state.
pub trait GlobalStore: Backend {
    /// A connection that holds the lock of one operation.
    type Session: GlobalSession;

    /// The version of the store, or `None` where there is none. Whatever version it is, it is a value here. A store of whose
    /// tables only some are there may be `StoreDamaged`.
    fn global_version(&self) -> impl Future<Output = Result<Option<StoreVersion>>> + Send;

    /// What the login of the backend may do at the store, whether it is installed or not. Changes nothing, and makes nothing. A
    /// database that cannot be reached, or that does not let the login in, is an error.
    fn global_rights(&self) -> impl Future<Output = Result<StoreRights>> + Send;

    /// Brings the store to [`StoreVersion::CURRENT`], step by step from version to version. One that has that version already,
    /// or a later one of the same major version, is left as it is; clients that work with it wait while it goes on.
    ///
    /// Two clients at once: both succeed. A call that fails, or whose future is dropped, leaves the version that was there, or a
    /// later one, and never a mixture; the next call goes on from there. Without a store it fails with code
    /// [`ShardMapManagerStoreDoesNotExist`](crate::ErrorCode::ShardMapManagerStoreDoesNotExist); one of another major version
    /// is refused, and one with a table missing is `StoreDamaged`, both as they are.
    fn upgrade_global(&self) -> impl Future<Output = Result<StoreUpgrade>> + Send;

    /// Makes the store at [`StoreVersion::CURRENT`]. With [`CreateMode::Keep`] a store that is there is an error with code
    /// [`ShardMapManagerStoreAlreadyExists`](crate::ErrorCode::ShardMapManagerStoreAlreadyExists); with
    /// [`CreateMode::Replace`] it is dropped first. Two clients at once: one of them makes it.
    fn create_global(&self, mode: CreateMode) -> impl Future<Output = Result<()>> + Send;

    /// Drops the store with everything in it, as [`CreateMode::Replace`] does: whatever its version is, and what is left of one
    /// with tables missing. `false` where there was nothing of a store. Two clients at once: one of them drops it.
    fn drop_global(&self) -> impl Future<Output = Result<bool>> + Send;

    /// All shard maps, in no order.
    fn shard_maps(&self) -> impl Future<Output = Result<Vec<ShardMapInfo>>> + Send;

    /// The shard map of a name.
    fn find_shard_map(&self, name: &ShardMapName) -> impl Future<Output = Result<Option<ShardMapInfo>>> + Send;

    /// Adds a shard map. Refused with `ShardMapExists` if name or id are taken.
    fn add_shard_map(&self, map: &ShardMapInfo) -> impl Future<Output = Result<()>> + Send;

    /// Removes a shard map. Refused with `ShardMapDoesNotExist`, or `ShardMapHasShards` if it has any, pending ones included.
    fn remove_shard_map(&self, id: ShardMapId) -> impl Future<Output = Result<()>> + Send;

    /// The shards of a map. Refused with `ShardMapDoesNotExist`.
    fn shards(&self, map: ShardMapId) -> impl Future<Output = Result<Vec<Shard>>> + Send;

    /// The shard of a map at exactly this location. Refused with `ShardMapDoesNotExist`.
    fn find_shard(
        &self,
        map: ShardMapId,
        location: &ShardLocation,
    ) -> impl Future<Output = Result<Option<Shard>>> + Send;

    /// The distinct locations of the shards of all maps.
    fn shard_locations(&self) -> impl Future<Output = Result<Vec<ShardLocation>>> + Send;

    /// The mappings of a map, in the order of their keys. Refused with `ShardMapDoesNotExist`, and with `ShardDoesNotExist`
    /// where the filter names a shard that is not there.
    fn mappings(
        &self,
        map: &ShardMapInfo,
        filter: &RecordFilter,
    ) -> impl Future<Output = Result<Vec<MappingRecord>>> + Send;

    /// The mapping that holds a key. Refused with `ShardMapDoesNotExist`.
    fn find_mapping_by_key(
        &self,
        map: &ShardMapInfo,
        key: &EncodedKey,
    ) -> impl Future<Output = Result<Option<MappingRecord>>> + Send;

    /// The mapping of an id. Refused with `ShardMapDoesNotExist`.
    fn find_mapping_by_id(
        &self,
        map: &ShardMapInfo,
        id: MappingId,
    ) -> impl Future<Output = Result<Option<MappingRecord>>> + Send;

    /// All shard maps with all their mappings, in the order of their keys, as of one moment.
    fn load_all(&self) -> impl Future<Output = Result<Vec<(ShardMapInfo, Vec<MappingRecord>)>>> + Send;

    /// Locks or unlocks mappings. Refused with `ShardMapDoesNotExist`, `MappingDoesNotExist`, `MappingIsAlreadyLocked`,
    /// `MappingLockOwnerIdDoesNotMatch`; an unfinished operation on the mapping is an outcome, not an error.
    fn change_lock(&self, map: ShardMapId, change: &LockChange) -> impl Future<Output = Result<LockOutcome>> + Send;

    /// Takes a shard out of a map without asking the shard: its row and its mappings, locked or not. Refused with
    /// `ShardMapDoesNotExist` and `ShardDoesNotExist`; an unfinished operation on the shard is an outcome, not an error.
    fn detach_shard(&self, map: ShardMapId, shard: ShardId) -> impl Future<Output = Result<Detaching>> + Send;

    /// Describes a shard, or takes its description away where the text is empty. The text has at most
    /// [`Shard::MAX_DESCRIPTION_LENGTH`] UTF-16 code units. Descriptions of shards that are not in this map any more, or whose map
    /// is gone, are removed as well. Refused with `ShardMapDoesNotExist` and `ShardDoesNotExist`; an unfinished operation on the shard does not matter.
    fn describe_shard(
        &self,
        map: ShardMapId,
        shard: ShardId,
        description: &str,
    ) -> impl Future<Output = Result<()>> + Send;

    /// The descriptions of the shards of a map that have one, in no order. Refused with `ShardMapDoesNotExist`.
    fn shard_descriptions(&self, map: ShardMapId) -> impl Future<Output = Result<Vec<(ShardId, String)>>> + Send;

    /// All schema information, in no order.
    fn schema_infos(&self) -> impl Future<Output = Result<Vec<SchemaInfoEntry>>> + Send;

    /// The schema information of a name. Names, here and in the calls below, have at most 128 UTF-16 code units and compare as
    /// names of shard maps do, on SQL Server by the collation of the database.
    fn find_schema_info(&self, name: &str) -> impl Future<Output = Result<Option<SchemaInfoEntry>>> + Send;

    /// Adds schema information. Refused with `SchemaInfoNameConflict` if the name is taken. The document is XML, and what comes
    /// back says the same, maybe in other words.
    fn add_schema_info(&self, name: &str, document: &str) -> impl Future<Output = Result<()>> + Send;

    /// Puts another document in place of that of a name. Refused with `SchemaInfoNameDoesNotExist`.
    fn update_schema_info(&self, name: &str, document: &str) -> impl Future<Output = Result<()>> + Send;

    /// Removes schema information. Refused with `SchemaInfoNameDoesNotExist`.
    fn remove_schema_info(&self, name: &str) -> impl Future<Output = Result<()>> + Send;

    /// The unfinished operations, in no order.
    fn pending_operations(&self) -> impl Future<Output = Result<Vec<LogEntry>>> + Send;

    /// Takes the lock that keeps other clients off an operation, and a connection to work under it.
    ///
    /// Waits at most [`Timeouts::operation_lock`](crate::backend::Timeouts::operation_lock) for another holder, then fails with
    /// [`Limit::OperationLock`](crate::Limit::OperationLock). The lock ends with the session, and with the process.
    fn lock_operation(&self, id: OperationId) -> impl Future<Output = Result<Self::Session>> + Send;
}

/// A connection to the global store that holds the lock of one operation.
///
/// The lock is held until the session is dropped *and* a request that was under way when its future was dropped has ended:
/// nobody else can get the lock while something of this session may still reach the store.
pub trait GlobalSession: Debug + Send {
    /// Begins an operation: writes its log row and stamps the rows concerned with its id. `data` is the log record.
    ///
    /// Repeating it for an operation that has begun succeeds and changes nothing. Rows stamped by another operation are
    /// [`Begin::Pending`]. Refusals: `ShardMapDoesNotExist`; for shards `ShardExists`, `ShardDoesNotExist`,
    /// `ShardVersionMismatch`, `ShardHasMappings`, `ShardLocationExists`; for mappings `ShardDoesNotExist`,
    /// `MappingDoesNotExist`, `MappingLockOwnerIdDoesNotMatch`, `MappingIsNotOffline`, `MappingPointAlreadyMapped`,
    /// `MappingRangeAlreadyMapped`, and `ShardIsDisabled` where the store has the status
    /// [`Offline`](crate::ShardStatus::Offline) for the shard that mappings are added to, unless they take the place of others on
    /// the same shard.
    fn begin(&mut self, operation: &GlobalOperation, data: &str) -> impl Future<Output = Result<Begin>> + Send;

    /// Ends an operation: its changes become readable, or are taken back; the stamps and the log row are gone. Repeating it
    /// is harmless. Refused with `ShardMapDoesNotExist`; a [mending](ShardStep::Mend) also with `ShardLocationExists`, and with
    /// `MappingPointAlreadyMapped` or `MappingRangeAlreadyMapped` where a mapping that is added collides with another, or
    /// kind [`PendingOperation`](crate::ErrorKind::PendingOperation) where that one is of an unfinished operation.
    fn end(&mut self, operation: &GlobalOperation, direction: Direction) -> impl Future<Output = Result<()>> + Send;

    /// The log row of an operation, after noting from where an undo starts; `None` if it is not pending any more.
    fn find_operation(
        &mut self,
        id: OperationId,
        undo_start: i32,
    ) -> impl Future<Output = Result<Option<LogEntry>>> + Send;
}
