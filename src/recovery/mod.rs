//! Finding and mending differences between the global store and the shards' own: what an operator does after a database was
//! restored, renamed, moved to another server, or lost.
//!
//! `detect` looks, `detector` at many shards, `differences` is what it finds, `resolve` does what is decided about it; `compare` and `settle` are the pure
//! parts of these. `attach`, `detach` and `relocate` tell the global store of shards that came, went or moved.
//!
//! Invariants: a change of a shard in both stores is one operation of the protocol, so that it excludes others on the shard,
//! can be abandoned at any moment, and is undone by the next client; a change of one store is one transaction. Nothing is
//! decided here: every loss of a mapping follows from a choice of the caller.

mod attach;
mod compare;
mod detach;
mod detect;
mod detector;
mod differences;
mod relocate;
mod resolve;
mod settle;

pub use detector::Detector;
pub use differences::{DifferenceKind, MappingDifference, ShardDifference, ShardDifferences};

use crate::backend::Backend;
use crate::error::{Error, ErrorCategory, ErrorCode, ErrorKind, Result};
use crate::gsm::LogEntry;
use crate::manager::ShardMapManager;
use crate::model::{Shard, ShardLocation, ShardMapInfo, ShardMapName};
use crate::operation::{Coordinator, LogRecord, Request, Stores};

/// Which of two stores is right about keys that they differ about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// The global store: the shard's own store is made to hold what that says.
    KeepGlobal,
    /// The shard's own store: the global store is made to hold what that says, and other shards that the keys are mapped to
    /// give them up.
    KeepLocal,
    /// Neither is touched.
    Leave,
}

/// Mends what the [operations](crate::Operation) cannot: differences between the global store and the shards' own, after one of
/// them was restored, renamed, moved or lost. From [`ShardMapManager::recovery`].
///
/// | What happened | What to do |
/// | --- | --- |
/// | a client died in the middle of an operation | nothing: the next operation undoes it, or [`ShardMapManager::undo_pending_operations`] |
/// | a shard's database was restored to an older state | before applications can reach it: [`detect`](Self::detect), [`resolve`](Self::resolve) with [`KeepGlobal`](Resolution::KeepGlobal), and look after the rows of keys that were moved since |
/// | a shard's local store is missing or damaged | [`rebuild_shard`](Self::rebuild_shard) |
/// | a shard's database was renamed, or moved to another server | [`relocate`](Self::relocate), then [`detect`](Self::detect) |
/// | the global store was restored to an older state | [`relocate`](Self::relocate), [`attach`](Self::attach) and [`detach`](Self::detach) what it misses or remembers, then [`rebuild_shard_map`](Self::rebuild_shard_map) |
/// | the global store was lost | a new one, then [`restore_shard_map`](Self::restore_shard_map) and [`attach`](Self::attach) for each shard, then [`rebuild_shard_map`](Self::rebuild_shard_map) |
/// | a shard is gone for ever | [`detach`](Self::detach) |
///
/// Rows of the application are never touched. Locks of mappings hold up no recovery: whoever calls it decides; a mapping that
/// stays as it is keeps its lock.
///
/// Other processes notice that a mapping has changed when they validate it. A connection that was open before lives on, unless
/// its shard lost the key in a [`resolve`](Self::resolve): that ends its sessions, as taking a mapping offline does.
///
/// # Errors
/// Each call names its own. Beside those any call may fail with `Unavailable`, `TimedOut`, `Transient`, `VersionMismatch` or
/// `StoreDamaged`, and [`Error::place`] says which store; with `PendingOperation` where an operation of another client could
/// not be undone first; with `OutcomeUnknown`.
///
/// # Cancel safety
/// Every future may be dropped at any await. A change of one shard is then done, not done, or unfinished and undone by the next
/// client (which may leave the shard's own store as it was to be); calls about several shards or maps say in which order they
/// go, and calling them again goes on.
#[derive(Debug)]
pub struct RecoveryManager<B: Backend> {
    manager: ShardMapManager<B>,
}

impl<B: Backend> Clone for RecoveryManager<B> {
    fn clone(&self) -> Self {
        Self { manager: self.manager.clone() }
    }
}

impl<B: Stores> RecoveryManager<B> {
    pub(crate) fn new(manager: ShardMapManager<B>) -> Self {
        Self { manager }
    }

    /// The manager that it was got from.
    #[must_use]
    pub fn manager(&self) -> &ShardMapManager<B> {
        &self.manager
    }

    fn stores(&self) -> &B {
        self.manager.backend()
    }

    fn coordinator(&self) -> Coordinator<'_, B> {
        Coordinator::new(self.stores(), &self.manager.options().retry)
    }

    /// The map of a name.
    async fn map(&self, name: &str) -> Result<ShardMapInfo> {
        let name = ShardMapName::new(name)?;
        self.stores().find_shard_map(&name).await?.ok_or_else(|| {
            let message = format!("the global store does not have the shard map {:?}", name.as_str());
            Error::new(ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, message).at_global()
        })
    }

    /// Does an operation, and forgets what was known of the map: other mappings than those of the request may have changed.
    async fn run(&self, request: &Request) -> Result<()> {
        let _forget = Forget { manager: &self.manager, map: &request.operation.map };
        self.coordinator().run(request).await.map(drop)
    }

    /// The unfinished operations of a map that concern one of the shards that `which` names. What cannot be read is not known
    /// to do so.
    async fn unfinished(&self, map: &ShardMapInfo, which: impl Fn(&Shard) -> bool) -> Result<Vec<LogEntry>> {
        let mut entries = self.stores().pending_operations().await?;
        entries.retain(|entry| {
            LogRecord::read(entry)
                .is_ok_and(|operation| operation.map.id() == map.id() && operation.shards().into_iter().any(&which))
        });
        Ok(entries)
    }

    /// Undoes the unfinished operations of a map at a place. Those of other shards are not waited for.
    async fn settle_operations(&self, map: &ShardMapInfo, location: &ShardLocation) -> Result<()> {
        for entry in self.unfinished(map, |shard| shard.location() == location).await? {
            let _ = self.coordinator().undo_pending(&entry).await?;
        }
        Ok(())
    }
}

/// Drops all that is cached of a map, also if the future that holds this is dropped.
struct Forget<'r, B: Backend> {
    manager: &'r ShardMapManager<B>,
    map: &'r ShardMapInfo,
}

impl<B: Backend> Drop for Forget<'_, B> {
    fn drop(&mut self) {
        self.manager.forget_mappings(self.map);
    }
}

/// Adds operation and category to the errors of a verb.
fn about(error: Error, operation: &'static str) -> Error {
    error.with_operation(operation).or_category(ErrorCategory::Recovery)
}
