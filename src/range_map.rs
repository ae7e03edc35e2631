//! Range maps: ranges of keys on shards.

use std::borrow::Borrow;

use crate::error::{Error, Result};
use crate::gsm::OperationCode;
use crate::key::{KeyRange, ShardKey};
use crate::model::{LockToken, Mapping, MappingStatus, RangeMapping, Shard};
use crate::operation::{Stores, merge_mappings, split_mapping};
use crate::shard_map::{BulkCreation, BulkOptions, Operation, ShardMap};

/// A map of ranges `[low, high)` of keys to shards; ranges do not overlap, and gaps are allowed. See [`ShardMap`] for what
/// it has in common with list maps.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> shardlet::Result<()> {
/// use shardlet::{Options, RangeShardMap, ShardLocation, ShardMapManager, Sqlite};
/// let manager = ShardMapManager::open_or_create(Sqlite::in_memory(), Options::default()).await?;
/// let orders: RangeShardMap<i64, _> = manager.range_shard_map_or_create("orders").await?;
/// let shard = orders.shard_or_create(&ShardLocation::new("server-a", "sample_shard_0")).await?;
/// let range = orders.create_mapping(0..50, &shard).await?;
/// let (low, high) = orders.split_mapping(range, 25).await?;
/// assert_eq!(low.range().to_string(), "[0:25)");
/// let whole = orders.merge_mappings(low, high).await?;
/// assert_eq!(whole.range().to_string(), "[0:50)");
/// // Delete the mapping of key 25, after taking it offline.
/// orders.delete_mapping(orders.mark_mapping_offline(orders.mapping_for_key(&25).await?).await?).await?;
/// # Ok(()) }
/// ```
pub type RangeShardMap<K, B> = ShardMap<RangeMapping<K>, B>;

impl<K: ShardKey, B: Stores> ShardMap<RangeMapping<K>, B> {
    /// Maps a range of keys to a shard, online. Takes `0..50`, `200..`, `..50` and `..`.
    ///
    /// # Errors
    /// `Overlaps` if a key of the range is mapped; `InvalidInput` if the range is empty, inverted or outside its type's
    /// range, or the shard belongs to another map; `NotFound` if the shard is gone; `Disabled` if it is
    /// [marked offline](Self::update_shard).
    pub fn create_mapping(&self, range: impl Into<KeyRange<K>>, shard: &Shard) -> Operation<RangeMapping<K>> {
        self.create_mapping_with(range, shard, MappingStatus::Online)
    }

    /// Maps a range of keys to a shard, online or offline.
    ///
    /// # Errors
    /// As [`create_mapping`](Self::create_mapping).
    pub fn create_mapping_with(
        &self,
        range: impl Into<KeyRange<K>>,
        shard: &Shard,
        status: MappingStatus,
    ) -> Operation<RangeMapping<K>> {
        self.add(range.into().encode().map(|range| (range.low, range.high)), shard, status)
    }

    /// Prepares the creation of many mappings, batch by batch: see [`BulkCreation`]. No request; it sorts them, so with very many it is
    /// to be called where blocking is allowed.
    ///
    /// # Errors
    /// `InvalidInput` if a range is empty, inverted or outside its type's range, or two share a key, or a shard belongs to another
    /// map; the message names the place in the sequence.
    pub fn create_mappings<R: Into<KeyRange<K>>, S: Borrow<Shard>>(
        &self,
        mappings: impl IntoIterator<Item = (R, S)>,
        options: &BulkOptions,
    ) -> Result<BulkCreation<RangeMapping<K>, B>> {
        self.create_all(mappings.into_iter().map(|(range, shard)| (range.into().encode(), shard)), options)
    }

    /// Cuts a mapping into `[low, at)` and `[at, high)`, both on its shard, with its status and lock. Open connections
    /// live on.
    ///
    /// # Errors
    /// `InvalidInput` if `at` is not inside the range, above its low bound; `Stale`; `Locked`.
    pub fn split_mapping(&self, mapping: RangeMapping<K>, at: K) -> Operation<(RangeMapping<K>, RangeMapping<K>)> {
        let token = mapping.presented();
        let request = self
            .own_mapping(&mapping)
            .and_then(|()| at.encode())
            .and_then(|at| split_mapping::request(self.info(), mapping.record(), token, at));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Operation::refused(OperationCode::SplitMapping.name(), self.blame(error)),
        };
        let (map, todo) = (self.clone(), request.clone());
        Operation::new(request, async move {
            match <[_; 2]>::try_from(map.run_request(&todo).await?) {
                Ok([low, high]) => Ok((RangeMapping::from_record(low, token), RangeMapping::from_record(high, token))),
                Err(_) => Err(Error::internal("a split made another number of mappings than two")),
            }
        })
    }

    /// Joins two adjacent mappings of one shard and status. The result keeps the left one's lock. Open connections live on.
    ///
    /// # Errors
    /// `InvalidInput` if `left` does not end where `right` begins, or their shards or states differ; `Stale`; `Locked` if
    /// either token presented is not the owner's.
    pub fn merge_mappings(&self, left: RangeMapping<K>, right: RangeMapping<K>) -> Operation<RangeMapping<K>> {
        let token: LockToken = left.presented();
        let request = self.own_mapping(&left).and_then(|()| self.own_mapping(&right)).and_then(|()| {
            merge_mappings::request(self.info(), (left.record(), token), (right.record(), right.presented()))
        });
        match request {
            Ok(request) => self.mapping_operation(request, token, |mapping, _| mapping),
            Err(error) => Operation::refused(OperationCode::MergeMappings.name(), self.blame(error)),
        }
    }
}
