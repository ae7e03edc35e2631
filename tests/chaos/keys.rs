//! What list and range maps do each in their own way.

use shardlet::{
    KeyRange, ListShardMap, LockToken, MappingStatus, Operation, PointMapping, RangeMapping, RangeShardMap, Shard,
    ShardMap, Stores,
};

use crate::support::create_many::CreateMany;

/// Keys are below this; few, so that clients meet.
pub const KEYS: i64 = 12;

/// The mappings of a kind of map.
pub trait Keyed: CreateMany {
    /// The least key, and the one above the greatest.
    fn bounds(&self) -> (i64, Option<i64>);
    fn holding(self, token: LockToken) -> Self;
    fn create<B: Stores>(
        map: &ShardMap<Self, B>,
        low: i64,
        length: i64,
        shard: &Shard,
        status: MappingStatus,
    ) -> Operation<Self>;
    /// `None` where the kind of map has no such operation.
    fn split<B: Stores>(map: &ShardMap<Self, B>, mapping: Self, at: i64) -> Option<Operation<(Self, Self)>>;
    fn merge<B: Stores>(map: &ShardMap<Self, B>, left: Self, right: Self) -> Option<Operation<Self>>;
}

impl Keyed for PointMapping<i64> {
    fn bounds(&self) -> (i64, Option<i64>) {
        (self.key(), Some(self.key() + 1))
    }

    fn holding(self, token: LockToken) -> Self {
        self.holding(token)
    }

    fn create<B: Stores>(
        map: &ListShardMap<i64, B>,
        low: i64,
        _: i64,
        shard: &Shard,
        status: MappingStatus,
    ) -> Operation<Self> {
        map.create_mapping_with(low, shard, status)
    }

    fn split<B: Stores>(_: &ListShardMap<i64, B>, _: Self, _: i64) -> Option<Operation<(Self, Self)>> {
        None
    }

    fn merge<B: Stores>(_: &ListShardMap<i64, B>, _: Self, _: Self) -> Option<Operation<Self>> {
        None
    }
}

impl Keyed for RangeMapping<i64> {
    fn bounds(&self) -> (i64, Option<i64>) {
        (*self.range().low(), self.range().high().copied())
    }

    fn holding(self, token: LockToken) -> Self {
        self.holding(token)
    }

    /// A range that would end above all keys has no end.
    fn create<B: Stores>(
        map: &RangeShardMap<i64, B>,
        low: i64,
        length: i64,
        shard: &Shard,
        status: MappingStatus,
    ) -> Operation<Self> {
        let high = (low + length <= KEYS).then_some(low + length);
        map.create_mapping_with(KeyRange::new(Some(low), high), shard, status)
    }

    fn split<B: Stores>(map: &RangeShardMap<i64, B>, mapping: Self, at: i64) -> Option<Operation<(Self, Self)>> {
        Some(map.split_mapping(mapping, at))
    }

    fn merge<B: Stores>(map: &RangeShardMap<i64, B>, left: Self, right: Self) -> Option<Operation<Self>> {
        Some(map.merge_mappings(left, right))
    }
}
