//! Shards that are gone.

use super::{Forget, RecoveryManager, about};
use crate::error::{Error, ErrorCode, ErrorKind, Refusal, Result};
use crate::gsm::Detaching;
use crate::model::{Shard, ShardLocation};
use crate::operation::{Absent, Instead, Stores};

impl<B: Stores> RecoveryManager<B> {
    /// Takes a shard that is gone out of the named shard map, and of no other, with all its mappings, locked or not; gives the
    /// number of those. The shard is not asked and not told: if its database lives, its own store still says that it owns its
    /// keys, and [`attach`](Self::attach) puts it back.
    ///
    /// Only for a shard that applications cannot reach any more: one that they can still reach serves, for as long as they have
    /// its mappings in their caches, keys that may be mapped to another shard by then. To take a living shard out of a map,
    /// move its mappings and delete it.
    ///
    /// Unfinished operations on the shard are undone first: at the global store and at other shards, not at this one. Then it
    /// is one transaction.
    ///
    /// Cost: four requests to the global store, and the undos.
    ///
    /// # Errors
    /// `NotFound` if there is no such map, or it has no shard there; `PendingOperation` if an unfinished operation could not be
    /// undone, or others begin all the time.
    pub async fn detach(&self, location: &ShardLocation, map: &str) -> Result<usize> {
        self.detach_shard(location, map).await.map_err(|error| about(error, "DetachShard"))
    }

    async fn detach_shard(&self, location: &ShardLocation, map: &str) -> Result<usize> {
        let map = self.map(map).await?;
        let _forget = Forget { manager: self.manager(), map: &map };
        let shard = self.stores().find_shard(map.id(), location).await?;
        let gone = Absent { place: Some(location), shard: shard.as_ref().map(Shard::id), instead: Instead::Nothing };
        for entry in self.unfinished(&map, |shard| gone.is(shard)).await? {
            let _ = self.coordinator().undo_around(&entry, gone).await?;
        }
        let shard = shard.ok_or_else(|| {
            let error = Refusal::ShardDoesNotExist.into_error().with_message("the location is not a shard of the map");
            error.at_shard(location)
        })?;
        for _ in 0..=self.manager().options().retry.undone_operations {
            match self.stores().detach_shard(map.id(), shard.id()).await? {
                Detaching::Detached(mappings) => {
                    self.stores().forget_shard(location);
                    return Ok(mappings);
                }
                Detaching::Pending(entry) => {
                    let _ = self.coordinator().undo_around(&entry, gone).await?;
                }
            }
        }
        let message = "operations on the shard begin all the time";
        Err(Error::new(ErrorKind::PendingOperation, ErrorCode::OperationPending, message).at_global())
    }
}
