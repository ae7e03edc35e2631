//! Creating many mappings of a map of either kind.

use std::borrow::Borrow;

use shardlet::{
    BulkCreation, BulkOptions, KeyRange, ListShardMap, Mapping, PointMapping, RangeMapping, RangeShardMap, Result,
    Shard, ShardMap, Stores,
};

/// The least key, and the one above the greatest; `None` is +infinity.
pub type Bounds = (i64, Option<i64>);

pub trait CreateMany: Mapping<Key = i64> {
    /// Of bounds and shards; points ignore the high bound.
    fn create_many<B: Stores, S: Borrow<Shard>>(
        map: &ShardMap<Self, B>,
        mappings: impl IntoIterator<Item = (Bounds, S)>,
        options: &BulkOptions,
    ) -> Result<BulkCreation<Self, B>>;
}

impl CreateMany for PointMapping<i64> {
    fn create_many<B: Stores, S: Borrow<Shard>>(
        map: &ListShardMap<i64, B>,
        mappings: impl IntoIterator<Item = (Bounds, S)>,
        options: &BulkOptions,
    ) -> Result<BulkCreation<Self, B>> {
        map.create_mappings(mappings.into_iter().map(|((key, _), shard)| (key, shard)), options)
    }
}

impl CreateMany for RangeMapping<i64> {
    fn create_many<B: Stores, S: Borrow<Shard>>(
        map: &RangeShardMap<i64, B>,
        mappings: impl IntoIterator<Item = (Bounds, S)>,
        options: &BulkOptions,
    ) -> Result<BulkCreation<Self, B>> {
        let range = |(low, high)| KeyRange::new(Some(low), high);
        map.create_mappings(mappings.into_iter().map(|(bounds, shard)| (range(bounds), shard)), options)
    }
}
