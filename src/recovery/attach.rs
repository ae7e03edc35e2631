//! Shards and maps that the global store does not know, and that a shard's own store does.

use super::{RecoveryManager, about};
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::model::{Shard, ShardLocation, ShardMapInfo, ShardMapName};
use crate::operation::{Stores, attach_shard};

impl<B: Stores> RecoveryManager<B> {
    /// Puts a shard into a shard map that its own store says it belongs to: one that was [detached](Self::detach), was restored
    /// under another name, or that a restored global store does not have. The shard keeps its id; its own store is told the
    /// place.
    ///
    /// Its mappings are not taken along: [`detect`](Self::detect) shows them, and [`resolve`](Self::resolve) decides. Until
    /// then a program that still has one of them in its cache is served by the shard: do both before applications can reach it.
    ///
    /// Cost: one read of each store, then an operation.
    ///
    /// # Errors
    /// `NotFound` if the database has no local store, or that knows no such map, or the global store does not have the map
    /// ([`restore_shard_map`](Self::restore_shard_map)); `AlreadyExists` if the map has a shard at this location, or has this
    /// shard elsewhere ([`relocate`](Self::relocate)).
    pub async fn attach(&self, location: &ShardLocation, map: &str) -> Result<Shard> {
        self.attach_shard(location, map).await.map_err(|error| about(error, "AttachShard"))
    }

    async fn attach_shard(&self, location: &ShardLocation, map: &str) -> Result<Shard> {
        location.check()?;
        let (local, shard) = self.known_to(location, map).await?;
        let global = self.map(map).await?;
        if global.id() != local.id() {
            let message = "the global store has another shard map of this name";
            return Err(Error::new(ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, message).at_global());
        }
        let request = attach_shard::request(&global, &shard, location);
        let changed = match self.coordinator().run(&request).await {
            Err(error) if error.code() == ErrorCode::ShardAlreadyExists => {
                let here = self.stores().find_shard(global.id(), location).await?.is_some();
                let elsewhere = "the map has this shard at another place: relocate it";
                return Err(if here { error } else { error.with_message(elsewhere) });
            }
            attached => attached?,
        };
        changed.shard.ok_or_else(|| Error::internal("an operation on a shard returned none"))
    }

    /// Puts a shard map into the global store that a shard belongs to and the global store does not have: with its id, so that
    /// its shards can be [attached](Self::attach). Idempotent. One read of the shard and one request to the global store.
    ///
    /// # Errors
    /// `NotFound` if the database has no local store, or that knows no such map; `AlreadyExists` if the global store has
    /// another shard map of this name.
    pub async fn restore_shard_map(&self, location: &ShardLocation, map: &str) -> Result<ShardMapInfo> {
        self.restore_map(location, map).await.map_err(|error| about(error, "RestoreShardMap"))
    }

    async fn restore_map(&self, location: &ShardLocation, map: &str) -> Result<ShardMapInfo> {
        location.check()?;
        let (info, _) = self.known_to(location, map).await?;
        match self.stores().add_shard_map(&info).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let there = self.stores().find_shard_map(&ShardMapName::new(map)?).await?;
                there.filter(|there| there.id() == info.id()).ok_or(error)
            }
            added => added.map(|()| info),
        }
    }

    /// The map and the shard of a database, by what its own store says.
    async fn known_to(&self, location: &ShardLocation, map: &str) -> Result<(ShardMapInfo, Shard)> {
        let name = ShardMapName::new(map)?;
        let not_found =
            |message: String| Error::new(ErrorKind::NotFound, ErrorCode::ShardNotValid, message).at_shard(location);
        if self.stores().local_version(location).await?.is_none() {
            return Err(not_found("the database has no local store".to_owned()));
        }
        let mut rows = self.stores().local_shards(location).await?;
        rows.retain(|(info, _)| ShardMapName::new(info.name()).is_ok_and(|known| known == name));
        // The same database may be several shards of a map, by other ports for example.
        let here = rows.iter().position(|(_, shard)| shard.location() == location);
        match (here, rows.len()) {
            (Some(index), _) => Ok(rows.swap_remove(index)),
            (None, 1) => Ok(rows.swap_remove(0)),
            (None, 0) => Err(not_found(format!("the local store knows no shard map {map:?}"))),
            (None, _) => Err(not_found(format!("the local store has several shards of {map:?}, none of them here"))),
        }
    }
}
