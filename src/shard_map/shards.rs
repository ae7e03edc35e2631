//! The shards of a map.

use std::collections::HashMap;

use super::{Operation, ShardMap};
use crate::error::{ErrorCategory, ErrorKind, Refusal, Result};
use crate::gsm::OperationCode;
use crate::model::{Mapping, Shard, ShardId, ShardLocation, ShardStatus};
use crate::operation::{Request, Stores, add_shard, remove_shard, update_shard};

impl<M: Mapping, B: Stores> ShardMap<M, B> {
    /// Registers a database as a shard, and installs a local store in it if it has none. The database may be a shard of other
    /// maps too. On SQLite its file is made if there is none; on a server the database must exist.
    ///
    /// # Errors
    /// `AlreadyExists` if the location is a shard of this map; `InvalidInput` for its names; `Unavailable` for either
    /// store; `NotFound` if the map is gone.
    pub fn create_shard(&self, location: &ShardLocation) -> Operation<Shard> {
        match add_shard::request(self.info(), location) {
            Ok(request) => self.shard_operation(request),
            Err(error) => Operation::refused(OperationCode::AddShard.name(), self.about_shards(error)),
        }
    }

    /// The shard at a location: exactly this one, with protocol and port. One read of the global store.
    ///
    /// # Errors
    /// `NotFound` if there is none, or the map is gone.
    pub async fn shard(&self, location: &ShardLocation) -> Result<Shard> {
        self.find_shard(location).await?.ok_or_else(|| {
            let error = Refusal::ShardDoesNotExist.into_error().with_message("the location is not a shard of the map");
            self.about_shards(error.with_operation("GetShard")).at_shard(location)
        })
    }

    /// The shard at a location, if there is one. One read of the global store; none for a name that no shard can have
    /// ([`ShardLocation::check`]).
    ///
    /// # Errors
    /// `NotFound` if the map is gone.
    pub async fn find_shard(&self, location: &ShardLocation) -> Result<Option<Shard>> {
        // A server would compare with the beginning of a name that is too long, or refuse the whole request.
        if location.check().is_err() {
            return Ok(None);
        }
        let found = self.stores().find_shard(self.id(), location).await;
        found.map_err(|error| self.about_shards(error.with_operation("TryGetShard")))
    }

    /// The shard at a location, registered if it is none yet. Idempotent, also for two clients at once. One read of the global
    /// store, and the operation where the shard is new.
    ///
    /// # Errors
    /// As [`create_shard`](Self::create_shard), but for `AlreadyExists`.
    pub async fn shard_or_create(&self, location: &ShardLocation) -> Result<Shard> {
        if let Some(shard) = self.find_shard(location).await? {
            return Ok(shard);
        }
        match self.create_shard(location).await {
            // Another client was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.shard(location).await,
            created => created,
        }
    }

    /// All shards, ordered by location. One read of the global store.
    ///
    /// # Errors
    /// `NotFound` if the map is gone.
    pub async fn shards(&self) -> Result<Vec<Shard>> {
        let shards = self.stores().shards(self.id()).await;
        let mut shards = shards.map_err(|error| self.about_shards(error.with_operation("GetShards")))?;
        shards.sort_by(|a, b| a.location().cmp(b.location()));
        Ok(shards)
    }

    /// Takes a shard out of the map. Its database stays, with the tables of the local store. A shard that had mappings created or
    /// changed since it was read has to be read again: see [`shard`](Self::shard).
    ///
    /// # Errors
    /// `InUse` while it has mappings; `Stale` if it, or a mapping on it, was changed since it was read; `NotFound`;
    /// `InvalidInput` if it belongs to another map.
    pub fn delete_shard(&self, shard: Shard) -> Operation<()> {
        let name = OperationCode::RemoveShard.name();
        if let Err(error) = self.own_shard(&shard) {
            return Operation::refused(name, self.about_shards(error));
        }
        let request = remove_shard::request(self.info(), &shard);
        let (map, todo) = (self.clone(), request.clone());
        Operation::new(request, async move {
            let _ = map.run(&todo).await?;
            map.stores().forget_shard(shard.location());
            Ok(())
        })
    }

    /// Marks a shard offline or online. One that is marked offline takes no new mappings: creating one on it, or moving one to it, is
    /// refused with kind `Disabled`, also to other clients of this library whose handles were read before. Those on it stay,
    /// and can be split, merged, taken offline and online, moved away and deleted. Routing does not look at the mark, and neither do
    /// undo and recovery.
    ///
    /// # Errors
    /// `Stale` if the shard, or a mapping on it, was changed since it was read; `NotFound`; `InvalidInput` if it belongs
    /// to another map.
    pub fn update_shard(&self, shard: Shard, status: ShardStatus) -> Operation<Shard> {
        match self.own_shard(&shard) {
            Ok(()) => self.shard_operation(update_shard::request(self.info(), &shard, status)),
            Err(error) => Operation::refused(OperationCode::UpdateShard.name(), self.about_shards(error)),
        }
    }

    /// Describes a shard, for those who administer it: free text of up to [`Shard::MAX_DESCRIPTION_LENGTH`] UTF-16 code units, which
    /// may have several lines. An empty text takes the description away. Nothing tells whether another client has described the
    /// shard since.
    ///
    /// It is no property of the shard: it does not matter at which version the handle was read, and the version stays. It is kept
    /// in the global store only, as long as the shard is in the map. Of one that was deleted or
    /// [detached](crate::RecoveryManager::detach) it is forgotten when the next shard of the map is described, or
    /// of any map if the map is gone, too: one that is attached before that has it back. One request to the global store, which reads through all descriptions in it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> shardlet::Result<()> {
    /// # use shardlet::{Options, RangeShardMap, ShardLocation, ShardMapManager, Sqlite};
    /// # let manager = ShardMapManager::open_or_create(Sqlite::in_memory(), Options::default()).await?;
    /// # let orders: RangeShardMap<i64, _> = manager.create_range_shard_map("orders").await?;
    /// let shard = orders.create_shard(&ShardLocation::new("server-a", "sample_shard_0")).await?;
    /// orders.describe_shard(&shard, "customers of the north").await?;
    /// assert_eq!(orders.shard_descriptions().await?[&shard.id()], "customers of the north");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `NotFound` if the shard or the map is gone; `InvalidInput` for a text that is too long or holds control characters other than
    /// tabs and line feeds, and if the shard belongs to another map; `OutcomeUnknown` if the answer was lost.
    ///
    /// # Cancel safety
    /// Dropping the future describes the shard or does not.
    pub async fn describe_shard(&self, shard: &Shard, description: &str) -> Result<()> {
        let about = |error: crate::Error| self.about_shards(error.with_operation("DescribeShard"));
        self.own_shard(shard).map_err(about)?;
        Shard::check_description(description).map_err(about)?;
        self.stores().describe_shard(self.id(), shard.id(), description).await.map_err(about)
    }

    /// The descriptions of the shards of the map, of those that have one. One read of the global store. What was written into
    /// it by hand and [`describe_shard`](Self::describe_shard) would refuse is shown as U+FFFD, and CR LF as a line feed.
    ///
    /// # Errors
    /// `NotFound` if the map is gone.
    pub async fn shard_descriptions(&self) -> Result<HashMap<ShardId, String>> {
        let descriptions = self.stores().shard_descriptions(self.id()).await;
        let about = |error: crate::Error| self.about_shards(error.with_operation("GetShardDescriptions"));
        Ok(descriptions.map_err(about)?.into_iter().collect())
    }

    /// An operation that returns the shard it changed.
    fn shard_operation(&self, request: Request) -> Operation<Shard> {
        let (map, todo) = (self.clone(), request.clone());
        Operation::new(request, async move {
            let changed = map.run(&todo).await?;
            changed.shard.ok_or_else(|| crate::Error::internal("an operation on a shard returned none"))
        })
    }

    fn about_shards(&self, error: crate::Error) -> crate::Error {
        self.about(error.or_category(ErrorCategory::ShardMap))
    }
}
