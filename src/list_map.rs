//! List maps: single keys on shards.

use std::borrow::Borrow;

use crate::error::Result;
use crate::key::{EncodedRange, ShardKey};
use crate::model::{MappingStatus, PointMapping, Shard};
use crate::operation::Stores;
use crate::shard_map::{BulkCreation, BulkOptions, Operation, ShardMap};

/// A map of single keys to shards; many keys may share a shard. See [`ShardMap`] for what it has in common with range maps.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> shardlet::Result<()> {
/// use shardlet::{
///     ListShardMap, NoCredentials, Options, ShardLocation, ShardMapManager, Sqlite, Validation,
/// };
/// let manager = ShardMapManager::open_or_create(Sqlite::in_memory(), Options::default()).await?;
/// let tenants: ListShardMap<i32, _> = manager.create_list_shard_map("tenants").await?;
/// let a = tenants.create_shard(&ShardLocation::new("server", "database_a")).await?;
/// let b = tenants.create_shard(&ShardLocation::new("server", "database_b")).await?;
/// tenants.create_mapping(1, &a).await?;
/// tenants.create_mapping(3, &b).await?;
/// let connection = tenants.open_connection_for_key(&3, &NoCredentials, Validation::Validate).await?;
/// assert_eq!(connection.location().database(), "database_b");
/// # Ok(()) }
/// ```
pub type ListShardMap<K, B> = ShardMap<PointMapping<K>, B>;

impl<K: ShardKey, B: Stores> ShardMap<PointMapping<K>, B> {
    /// Maps a key to a shard, online.
    ///
    /// # Errors
    /// `AlreadyExists` if the key is mapped; `InvalidInput` if it is outside its type's range or the shard belongs to
    /// another map; `NotFound` if the shard is gone; `Disabled` if it is [marked offline](Self::update_shard).
    pub fn create_mapping(&self, key: K, shard: &Shard) -> Operation<PointMapping<K>> {
        self.create_mapping_with(key, shard, MappingStatus::Online)
    }

    /// Maps a key to a shard, online or offline.
    ///
    /// # Errors
    /// As [`create_mapping`](Self::create_mapping).
    pub fn create_mapping_with(&self, key: K, shard: &Shard, status: MappingStatus) -> Operation<PointMapping<K>> {
        self.add(key.encode().map(|key| (key, None)), shard, status)
    }

    /// Prepares the creation of many mappings, batch by batch: see [`BulkCreation`]. No request; it sorts them, so with very many it is
    /// to be called where blocking is allowed.
    ///
    /// # Errors
    /// `InvalidInput` if a key is outside its type's range or is there twice, or a shard belongs to another map; the message
    /// names the place in the sequence.
    pub fn create_mappings<S: Borrow<Shard>>(
        &self,
        mappings: impl IntoIterator<Item = (K, S)>,
        options: &BulkOptions,
    ) -> Result<BulkCreation<PointMapping<K>, B>> {
        let encoded = |(key, shard): (K, S)| (key.encode().map(|low| EncodedRange { low, high: None }), shard);
        self.create_all(mappings.into_iter().map(encoded), options)
    }
}
