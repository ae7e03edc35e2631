//! Shards that are at another place now.

use super::{RecoveryManager, about};
use crate::error::{ErrorCode, Refusal, Result};
use crate::model::{Shard, ShardLocation};
use crate::operation::{Absent, Instead, Stores, mend_shard};

impl<B: Stores> RecoveryManager<B> {
    /// Tells both stores that the shard at `from` is at `to` now: its database was renamed, restored under another name, or
    /// moved to another server. For every shard map that has a shard at `from`, one after another; gives the shards as they are
    /// now. Calling it again after a failure goes on with those that are left. Mappings stay as they are:
    /// [`detect`](Self::detect) shows whether the database at the new place has an older state.
    ///
    /// The database at `from` must not be reachable for applications any more, or be the same: a second copy would go on to
    /// serve those that have its mappings in their caches.
    ///
    /// Cost: one read of the global store, and for each map four more and an operation on the shard.
    ///
    /// # Errors
    /// `NotFound` if no map has a shard at `from`, or the database at `to` does not know the shard; `AlreadyExists` if a map
    /// has another shard at `to`: then nothing is changed in any map.
    pub async fn relocate(&self, from: &ShardLocation, to: &ShardLocation) -> Result<Vec<Shard>> {
        self.relocate_all(from, to).await.map_err(|error| about(error, "RelocateShard"))
    }

    async fn relocate_all(&self, from: &ShardLocation, to: &ShardLocation) -> Result<Vec<Shard>> {
        to.check()?;
        let mut shards = Vec::new();
        for map in self.stores().shard_maps().await? {
            let Some(shard) = self.stores().find_shard(map.id(), from).await? else { continue };
            let there = self.stores().find_shard(map.id(), to).await?;
            if there.is_some_and(|there| there.id() != shard.id()) {
                let error = Refusal::ShardLocationExists.into_error().at_shard(to);
                return Err(error.with_map(map.shared_name(), map.key_type()));
            }
            shards.push((map, shard));
        }
        let mut moved = Vec::new();
        for (map, shard) in shards {
            let absent = Absent { place: Some(from), shard: Some(shard.id()), instead: Instead::Elsewhere(to) };
            for entry in self.unfinished(&map, |shard| absent.is(shard)).await? {
                let _ = self.coordinator().undo_around(&entry, absent).await?;
            }
            let request = mend_shard::request(
                "RelocateShard",
                &map,
                &shard,
                (to, shard.status()),
                (Vec::new(), Vec::new()),
                None,
            );
            self.run(&request).await.map_err(|error| match error.code() {
                ErrorCode::ShardDoesNotExist => {
                    error.with_message("the local store of the database does not know the shard: it is another one's")
                }
                _ => error,
            })?;
            self.stores().forget_shard(from);
            moved.extend(self.stores().find_shard(map.id(), to).await?);
        }
        if moved.is_empty() {
            let error = Refusal::ShardDoesNotExist.into_error().with_message("no shard map has a shard at this place");
            return Err(error.at_shard(from));
        }
        Ok(moved)
    }
}
