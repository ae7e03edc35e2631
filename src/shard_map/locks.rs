//! Locks on mappings, by which administrators keep each other off.

use super::ShardMap;
use crate::error::{Error, ErrorCode, Refusal, Result};
use crate::gsm::{LockChange, LockOutcome};
use crate::model::{LockToken, Mapping};
use crate::operation::{Coordinator, Others, Stores};

impl<M: Mapping, B: Stores> ShardMap<M, B> {
    /// Locks a mapping: from now on it is changed only through handles that present the token, as the returned one does.
    /// Routing is not affected. One write to the global store.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> shardlet::Result<()> {
    /// # use shardlet::{ErrorKind, LockToken, Options, RangeShardMap, ShardLocation, ShardMapManager, Sqlite};
    /// # let manager = ShardMapManager::open_or_create(Sqlite::in_memory(), Options::default()).await?;
    /// # let orders: RangeShardMap<i64, _> = manager.create_range_shard_map("orders").await?;
    /// # let shard = orders.create_shard(&ShardLocation::new("server-a", "sample_shard_0")).await?;
    /// # let mapping = orders.create_mapping(0..50, &shard).await?;
    /// let token = LockToken::random();
    /// let mine = orders.lock_mapping(mapping, token).await?;
    /// let mine = orders.mark_mapping_offline(mine).await?;    // the new handle presents the token, too
    ///
    /// // A handle that was read anew does not, until it is told to.
    /// let read = orders.mapping_for_key(&25).await?;
    /// let refused = orders.mark_mapping_online(read.clone()).await.unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::Locked);
    /// let online = orders.mark_mapping_online(read.holding(token)).await?;
    /// orders.unlock_mapping(online, token).await?;
    /// # drop(mine);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Locked` if it is locked already; `Stale`; `InvalidInput` for [`LockToken::FORCE_UNLOCK`] or [`LockToken::NONE`].
    pub async fn lock_mapping(&self, mapping: M, token: LockToken) -> Result<M> {
        let operation = "LockMapping";
        if token == LockToken::FORCE_UNLOCK || token == LockToken::NONE {
            let error = Error::invalid_input("this token cannot own a lock; make one with LockToken::random()");
            return Err(self.about(error.with_operation(operation)));
        }
        let _ = self.change_lock(operation, Some(&mapping), LockChange::Lock(mapping.record().id, token)).await?;
        Ok(M::from_record(mapping.record().clone(), token))
    }

    /// Unlocks a mapping with the owner's token, or with [`LockToken::FORCE_UNLOCK`] whoever owns it. The returned handle
    /// presents no token. One write to the global store.
    ///
    /// # Errors
    /// `Locked` if the token is not the owner's; `Stale`.
    pub async fn unlock_mapping(&self, mapping: M, token: LockToken) -> Result<M> {
        let change = LockChange::Unlock(mapping.record().id, token);
        let _ = self.change_lock("UnlockMapping", Some(&mapping), change).await?;
        Ok(M::from_record(mapping.record().clone(), LockToken::NONE))
    }

    /// Unlocks every mapping of the map that the token owns, and says how many those were. One write to the global store.
    ///
    /// # Errors
    /// `NotFound` if the map is gone.
    pub async fn unlock_mappings(&self, token: LockToken) -> Result<usize> {
        if token == LockToken::NONE {
            return Ok(0);
        }
        self.change_lock("UnlockMapping", None, LockChange::UnlockAll(token)).await
    }

    /// The owner of a mapping's lock now, or [`LockToken::NONE`]. One read of the global store.
    ///
    /// # Errors
    /// `Stale` if the mapping was changed since it was read.
    pub async fn mapping_lock_owner(&self, mapping: &M) -> Result<LockToken> {
        let about = |error: Error| self.about(error.with_operation("GetMappingLockOwner"));
        self.own_mapping(mapping).map_err(about)?;
        let found = self.stores().find_mapping_by_id(self.info(), mapping.record().id).await.map_err(about)?;
        match found {
            Some(record) => Ok(record.lock_owner),
            None => {
                let _ = self.router().cache().invalidate(mapping.record());
                Err(about(Refusal::MappingDoesNotExist.into_error()))
            }
        }
    }

    async fn change_lock(&self, operation: &'static str, mapping: Option<&M>, change: LockChange) -> Result<usize> {
        let about = |error: Error| self.about(error.with_operation(operation));
        if let Some(mapping) = mapping {
            self.own_mapping(mapping).map_err(about)?;
        }
        let retry = &self.manager().options().retry;
        let coordinator = Coordinator::new(self.stores(), retry);
        let mut others = Others::new(retry);
        loop {
            match self.stores().change_lock(self.id(), &change).await {
                Ok(LockOutcome::Changed(count)) => return Ok(count),
                Ok(LockOutcome::Pending(entry)) => {
                    others.meet(&coordinator, &entry).await.map_err(about)?;
                }
                Err(error) => {
                    if error.code() == ErrorCode::MappingDoesNotExist
                        && let Some(mapping) = mapping
                    {
                        let _ = self.router().cache().invalidate(mapping.record());
                    }
                    return Err(about(error));
                }
            }
        }
    }
}
