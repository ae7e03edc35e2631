//! The handle of a shard map, as far as list and range maps are alike.
//!
//! [`ShardMap`] is generic over its kind of mapping; [`ListShardMap`](crate::ListShardMap) and
//! [`RangeShardMap`](crate::RangeShardMap) are its two forms. `shards`, `mappings`, `bulk`, `locks` and `routing` hold its calls by
//! subject, `change` the operation that such a call returns.
//!
//! Invariant: the cache follows every operation that is done through a handle, after its last step and in no other case.

mod bulk;
mod change;
mod locks;
mod mappings;
mod routing;
mod shards;

use std::fmt;
use std::sync::Arc;

pub use bulk::{BulkCreation, BulkOptions, BulkProgress};
pub use change::Operation;
pub use mappings::MappingUpdate;

use crate::backend::Backend;
use crate::error::{Error, ErrorCategory, ErrorCode, ErrorKind, Result};
use crate::key::ShardKey;
use crate::manager::ShardMapManager;
use crate::model::{Mapping, Shard, ShardMapId, ShardMapInfo, ShardMapKind};
use crate::operation::{Changed, Coordinator, Request, Stores};
use crate::routing::{MappingCache, Router};

type Word<M> = <<M as Mapping>::Key as ShardKey>::Word;

/// A shard map: shards, and the mappings of keys to them. Made by a [`ShardMapManager`].
///
/// Cloning costs a reference count; clones share the cache. All calls may be made from any number of tasks at once.
///
/// Calls that change something return an [`Operation`], which does nothing until it is awaited and can show its plan. All
/// of them change metadata only; rows of the application are never touched.
///
/// # Errors
/// Each call names its own. Beside those any call that asks a store may fail with `Unavailable`, `TimedOut`, `Transient`,
/// `VersionMismatch` or `StoreDamaged`, and [`Error::place`] says which store. Only operations are tried again by themselves.
///
/// # Cancel safety
/// Every future may be dropped at any await. A read then has no effect; a change of locks happens or does not; for operations see
/// [`Operation`].
pub struct ShardMap<M: Mapping, B: Backend> {
    shared: Arc<Shared<M, B>>,
}

struct Shared<M: Mapping, B: Backend> {
    manager: ShardMapManager<B>,
    info: ShardMapInfo,
    router: Arc<Router<Word<M>>>,
}

impl<M: Mapping, B: Stores> ShardMap<M, B> {
    pub(crate) fn new(manager: ShardMapManager<B>, info: ShardMapInfo, router: Arc<Router<Word<M>>>) -> Self {
        Self { shared: Arc::new(Shared { manager, info, router }) }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.shared.info.name()
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> ShardMapId {
        self.shared.info.id()
    }

    /// Name, id, kind and key type.
    #[must_use]
    pub fn info(&self) -> &ShardMapInfo {
        &self.shared.info
    }

    /// The manager that made this handle.
    #[must_use]
    pub fn manager(&self) -> &ShardMapManager<B> {
        &self.shared.manager
    }

    fn stores(&self) -> &B {
        self.shared.manager.backend()
    }

    fn router(&self) -> &Arc<Router<Word<M>>> {
        &self.shared.router
    }

    /// Does an operation and brings the cache up to date.
    async fn run(&self, request: &Request) -> Result<Changed> {
        let coordinator = Coordinator::new(self.stores(), &self.shared.manager.options().retry);
        let cache = self.router().cache();
        let mut doubtful = Doubtful { cache, request, doubted: true };
        let done = coordinator.run(request).await;
        match &done {
            Ok(changed) => {
                doubtful.doubted = false;
                if !(changed.removed.is_empty() && changed.added.is_empty()) {
                    cache.apply(&changed.removed, &changed.added);
                }
            }
            Err(error) => {
                doubtful.doubted =
                    error.code() == ErrorCode::MappingDoesNotExist || error.kind() == ErrorKind::OutcomeUnknown;
                self.router().forget_if_gone(error);
            }
        }
        done
    }

    /// Refuses what belongs to another map.
    fn own(&self, map: ShardMapId, what: &str) -> Result<()> {
        if map == self.id() {
            return Ok(());
        }
        let error = Error::invalid_input(format!("the {what} belongs to another shard map"));
        Err(self.about(error.with_code(ErrorCode::ForeignObject)))
    }

    fn own_shard(&self, shard: &Shard) -> Result<()> {
        self.own(shard.shard_map_id(), "shard")
    }

    /// The category of errors about mappings of this map.
    fn category(&self) -> ErrorCategory {
        match M::KIND {
            ShardMapKind::List => ErrorCategory::ListShardMap,
            ShardMapKind::Range => ErrorCategory::RangeShardMap,
        }
    }

    /// Adds the map to an error.
    fn about(&self, error: Error) -> Error {
        self.router().forget_if_gone(&error);
        error.with_map(self.shared.info.shared_name(), self.shared.info.key_type()).or_category(self.category())
    }
}

/// Drops from the cache what an operation was to change, where it is not known whether it did: also when its future is
/// dropped, perhaps after the last commit and before the cache was told.
struct Doubtful<'r, W: crate::key::Word> {
    cache: &'r MappingCache<W>,
    request: &'r Request,
    doubted: bool,
}

impl<W: crate::key::Word> Drop for Doubtful<'_, W> {
    fn drop(&mut self) {
        if self.doubted {
            for mapping in self.request.sources() {
                let _ = self.cache.invalidate(&mapping);
            }
        }
    }
}

impl<M: Mapping, B: Backend> Clone for ShardMap<M, B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M: Mapping, B: Backend> fmt::Debug for ShardMap<M, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = &self.shared.info;
        write!(f, "ShardMap[{}:{}:{}]", info.kind(), info.key_type(), info.name())
    }
}
