//! Routing: from a key to its mapping in the cache, and to a connection.

use super::ShardMap;
use super::mappings::handle;
use crate::error::{Error, Result};
use crate::key::ShardKey;
use crate::lsm::{Route, RouteTarget, Validation};
use crate::model::{Mapping, Shard};
use crate::operation::Stores;
use crate::routing::{self, CacheStatistics};

impl<M: Mapping, B: Stores> ShardMap<M, B> {
    /// Opens a connection to the shard that holds the key: data-dependent routing.
    ///
    /// The mapping comes from the cache, or by one read of the global store that all callers of the moment share. With
    /// [`Validation::Validate`] the shard is asked, in at most one round trip, whether the mapping is still the truth; if it is
    /// not, the mapping is read anew once and tried once more. A connection that was validated is never one to a shard that
    /// does not own the key. With the global store down, keys in the cache are routed all the same.
    ///
    /// # Errors
    /// `NotFound` if no mapping holds the key; `Offline`; `PendingOperation` if global store and shard disagree because a
    /// change is under way; `Stale` if it changed again between the refresh and the second try; `Unavailable` with the
    /// store or shard in [`Error::place`]; `TimedOut` with the limit; `InvalidInput` if the key is outside its type's range;
    /// `Credentials`.
    ///
    /// # Cancel safety
    /// Dropping the future opens nothing. A load that others wait for goes on.
    #[tracing::instrument(level = "debug", skip_all, fields(map = self.name()))]
    pub async fn open_connection_for_key(
        &self,
        key: &M::Key,
        credentials: &B::Credentials,
        validation: Validation,
    ) -> Result<B::Connection> {
        let about = |error: Error| self.about(error.with_operation("OpenConnectionForKey"));
        let key = Self::routed(key).map_err(about)?;
        self.router().open(self.stores(), &key, credentials, validation).await.map_err(about)
    }

    /// Opens a connection to a shard by name, for work on the shard as a whole: schema changes, moving rows. It does not end
    /// when a mapping goes offline. Validation compares the shard's version: any change of the shard or of a mapping on
    /// it since the shard was read is `Stale`. At most one round trip to the shard, none without validation.
    ///
    /// # Errors
    /// `Stale` or `NotFound` from validation; `Unavailable`; `TimedOut`; `InvalidInput` for a shard of another map.
    #[tracing::instrument(level = "debug", skip_all, fields(shard = %shard))]
    pub async fn open_connection_to_shard(
        &self,
        shard: &Shard,
        credentials: &B::Credentials,
        validation: Validation,
    ) -> Result<B::Connection> {
        let about = |error: Error| self.about(error.with_operation("OpenConnection"));
        self.own_shard(shard).map_err(about)?;
        let route = Route {
            location: shard.location().clone(),
            map: self.id(),
            target: RouteTarget::Shard { shard: shard.id(), version: shard.version() },
        };
        routing::open(self.stores(), &route, credentials, validation).await.map_err(about)
    }

    /// The mapping that holds a key, from the cache, else by one read of the global store that all callers of the moment
    /// share. What the cache says may be old by as much as was changed elsewhere.
    ///
    /// # Errors
    /// `NotFound` if no mapping holds the key, or the map is gone; `InvalidInput` if the key is outside its type's range.
    pub async fn lookup_mapping(&self, key: &M::Key) -> Result<M> {
        match self.cached_mapping(key) {
            Some(found) => Ok(found),
            // Boxed, so that a warm lookup does not carry the state of a cold one around.
            None => Box::pin(self.load_mapping(key)).await,
        }
    }

    async fn load_mapping(&self, key: &M::Key) -> Result<M> {
        let about = |error: Error| self.about(error.with_operation("GetMappingForKey"));
        let key = Self::routed(key).map_err(about)?;
        let found = self.router().find(self.stores(), &key).await.map_err(about)?;
        found.map(handle).ok_or_else(|| self.not_mapped("GetMappingForKey"))
    }

    /// The mapping that holds a key, if the cache has it. No I/O, no lock, no allocation.
    #[must_use]
    pub fn cached_mapping(&self, key: &M::Key) -> Option<M> {
        let word = key.word().ok()?;
        self.router().cached(&word).map(handle)
    }

    /// Forgets every cached mapping of this map.
    pub fn clear_cache(&self) {
        self.router().cache().clear();
    }

    /// Figures of this map's cache.
    #[must_use]
    pub fn cache_statistics(&self) -> CacheStatistics {
        self.router().statistics()
    }
}

/// Changes of the cache without any store, for benches to time.
#[cfg(feature = "fault-points")]
impl<M: Mapping, B: Stores> ShardMap<M, B> {
    /// Drops a mapping from the cache as a stale one.
    #[doc(hidden)]
    #[must_use]
    pub fn drop_cached(&self, mapping: &M) -> bool {
        self.router().cache().invalidate(mapping.record())
    }

    /// Fills the cache as an eager load does.
    #[doc(hidden)]
    #[must_use]
    pub fn fill_cache(&self, mappings: &[M]) -> bool {
        let cache = self.router().cache();
        let epoch = cache.epoch();
        cache.replace_all(mappings.iter().map(|mapping| std::sync::Arc::clone(mapping.record())).collect(), epoch)
    }
}
