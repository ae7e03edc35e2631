//! The shards of a map.

use super::{Operation, ShardMap};
use crate::error::{ErrorCategory, ErrorKind, Refusal, Result};
use crate::gsm::OperationCode;
use crate::model::{Mapping, Shard, ShardLocation, ShardStatus};
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
