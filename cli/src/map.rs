//! Shard maps whose kind and key type are known only when the command runs.
//!
//! [`AnyMap`] is a map of any of them; keys and mappings are in their stored form. [`Change`] is an operation on it that can show its
//! plan. [`AnyBulk`] is the creation of many mappings.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeDelta};
use shardlet::model::MappingRecord;
use shardlet::operation::Stores;
use shardlet::{
    BulkCreation, BulkOptions, BulkProgress, EncodedKey, EncodedRange, Error, KeyRange, KeyType, LockToken, Mapping,
    MappingFilter, MappingStatus, MappingUpdate, Operation, Plan, PointMapping, RangeMapping, Result, SessionsEnded,
    Shard, ShardId, ShardKey, ShardLocation, ShardMap, ShardMapInfo, ShardMapKind, ShardMapManager, ShardStatus,
    Validation,
};
use uuid::Uuid;

/// A mapping in its stored form.
pub(crate) type Record = Arc<MappingRecord>;

/// What a call on a map is waiting for.
pub(crate) type Job<'m, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'm>>;

/// A change that has not been made yet.
pub(crate) struct Change<T> {
    pub(crate) plan: Result<Plan>,
    pub(crate) work: Job<'static, T>,
}

impl<T: 'static> Change<T> {
    /// An operation, and what is made of its result.
    pub(crate) fn of<U: Send + 'static>(operation: Operation<U>, then: impl FnOnce(U) -> T + Send + 'static) -> Self {
        Self { plan: operation.plan(), work: Box::pin(async move { operation.await.map(then) }) }
    }

    fn refused(error: Error) -> Self
    where
        T: Send,
    {
        Self { plan: Err(error.clone()), work: Box::pin(std::future::ready(Err(error))) }
    }
}

/// A shard map of any kind and key type. Keys and records have to be those of the map.
pub(crate) trait AnyMap<B: Stores>: Send + Sync {
    fn info(&self) -> &ShardMapInfo;
    fn shards(&self) -> Job<'_, Vec<Shard>>;
    fn shard<'m>(&'m self, location: &'m ShardLocation) -> Job<'m, Shard>;
    fn find_shard<'m>(&'m self, location: &'m ShardLocation) -> Job<'m, Option<Shard>>;
    fn create_shard(&self, location: &ShardLocation) -> Operation<Shard>;
    fn update_shard(&self, shard: Shard, status: ShardStatus) -> Operation<Shard>;
    fn delete_shard(&self, shard: Shard) -> Operation<()>;
    fn describe_shard<'m>(&'m self, shard: &'m Shard, description: &'m str) -> Job<'m, ()>;
    fn descriptions(&self) -> Job<'_, HashMap<ShardId, String>>;
    /// The mappings in a range and on a shard, where these are given.
    fn mappings<'m>(&'m self, range: Option<&EncodedRange>, shard: Option<&Shard>) -> Job<'m, Vec<Record>>;
    /// The mapping that holds a key, as the global store has it.
    fn holder<'m>(&'m self, key: &'m EncodedKey) -> Job<'m, Record>;
    /// The mapping that holds a key, if the cache has it.
    fn cached(&self, key: &EncodedKey) -> Option<Record>;
    /// The mapping that holds a key, from the cache or the global store.
    fn lookup<'m>(&'m self, key: &'m EncodedKey) -> Job<'m, Record>;
    /// Opens a validated connection for a key and closes it.
    fn try_open<'m>(&'m self, key: &'m EncodedKey, credentials: &'m B::Credentials) -> Job<'m, ()>;
    fn create(&self, keys: &EncodedRange, shard: &Shard, status: MappingStatus) -> Change<Record>;
    fn update(&self, mapping: &Record, token: LockToken, update: &MappingUpdate) -> Change<(Record, SessionsEnded)>;
    fn delete(&self, mapping: &Record, token: LockToken) -> Change<()>;
    fn split(&self, mapping: &Record, token: LockToken, at: &EncodedKey) -> Change<[Record; 2]>;
    fn merge(&self, left: &Record, right: &Record, token: LockToken) -> Change<Record>;
    fn lock<'m>(&'m self, mapping: &Record, token: LockToken) -> Job<'m, ()>;
    fn unlock<'m>(&'m self, mapping: &Record, token: LockToken) -> Job<'m, ()>;
    fn unlock_all(&self, token: LockToken) -> Job<'_, usize>;
    fn create_many(&self, mappings: Vec<(EncodedRange, Shard)>, options: &BulkOptions) -> Result<Box<dyn AnyBulk>>;
}

/// The creation of many mappings.
pub(crate) trait AnyBulk: Send + Sync {
    fn skip_existing(&self) -> Job<'_, usize>;
    /// The next batch, with the number of its mappings as the result.
    fn next_batch(&self) -> Option<Change<usize>>;
    fn progress(&self) -> BulkProgress;
}

/// What differs between mappings of points and of ranges.
trait Kind: Mapping {
    fn create<B: Stores>(
        map: &ShardMap<Self, B>,
        keys: &EncodedRange,
        shard: &Shard,
        status: MappingStatus,
    ) -> Operation<Self>;
    fn create_many<B: Stores>(
        map: &ShardMap<Self, B>,
        mappings: Vec<(EncodedRange, Shard)>,
        options: &BulkOptions,
    ) -> Result<BulkCreation<Self, B>>;
    fn split<B: Stores>(map: &ShardMap<Self, B>, mapping: Self, at: &EncodedKey) -> Result<Operation<(Self, Self)>>;
    fn merge<B: Stores>(map: &ShardMap<Self, B>, left: Self, right: Self) -> Result<Operation<Self>>;
}

fn points_have_no_ranges() -> Error {
    Error::invalid_input("the shard map maps single keys: there are no ranges to split or merge")
}

impl<K: ShardKey> Kind for PointMapping<K> {
    fn create<B: Stores>(
        map: &ShardMap<Self, B>,
        keys: &EncodedRange,
        shard: &Shard,
        status: MappingStatus,
    ) -> Operation<Self> {
        map.create_mapping_with(K::decode(&keys.low), shard, status)
    }

    fn create_many<B: Stores>(
        map: &ShardMap<Self, B>,
        mappings: Vec<(EncodedRange, Shard)>,
        options: &BulkOptions,
    ) -> Result<BulkCreation<Self, B>> {
        map.create_mappings(mappings.into_iter().map(|(keys, shard)| (K::decode(&keys.low), shard)), options)
    }

    fn split<B: Stores>(_: &ShardMap<Self, B>, _: Self, _: &EncodedKey) -> Result<Operation<(Self, Self)>> {
        Err(points_have_no_ranges())
    }

    fn merge<B: Stores>(_: &ShardMap<Self, B>, _: Self, _: Self) -> Result<Operation<Self>> {
        Err(points_have_no_ranges())
    }
}

impl<K: ShardKey> Kind for RangeMapping<K> {
    fn create<B: Stores>(
        map: &ShardMap<Self, B>,
        keys: &EncodedRange,
        shard: &Shard,
        status: MappingStatus,
    ) -> Operation<Self> {
        map.create_mapping_with(KeyRange::decode(keys), shard, status)
    }

    fn create_many<B: Stores>(
        map: &ShardMap<Self, B>,
        mappings: Vec<(EncodedRange, Shard)>,
        options: &BulkOptions,
    ) -> Result<BulkCreation<Self, B>> {
        map.create_mappings(mappings.into_iter().map(|(keys, shard)| (KeyRange::decode(&keys), shard)), options)
    }

    fn split<B: Stores>(map: &ShardMap<Self, B>, mapping: Self, at: &EncodedKey) -> Result<Operation<(Self, Self)>> {
        Ok(map.split_mapping(mapping, K::decode(at)))
    }

    fn merge<B: Stores>(map: &ShardMap<Self, B>, left: Self, right: Self) -> Result<Operation<Self>> {
        Ok(map.merge_mappings(left, right))
    }
}

fn record<M: Mapping>(mapping: M) -> Record {
    Arc::clone(mapping.record())
}

fn handle<M: Mapping>(mapping: &Record, token: LockToken) -> M {
    M::from_record(Arc::clone(mapping), token)
}

impl<M: Kind, B: Stores> AnyMap<B> for ShardMap<M, B> {
    fn info(&self) -> &ShardMapInfo {
        self.info()
    }

    fn shards(&self) -> Job<'_, Vec<Shard>> {
        Box::pin(self.shards())
    }

    fn shard<'m>(&'m self, location: &'m ShardLocation) -> Job<'m, Shard> {
        Box::pin(self.shard(location))
    }

    fn find_shard<'m>(&'m self, location: &'m ShardLocation) -> Job<'m, Option<Shard>> {
        Box::pin(self.find_shard(location))
    }

    fn create_shard(&self, location: &ShardLocation) -> Operation<Shard> {
        self.create_shard(location)
    }

    fn update_shard(&self, shard: Shard, status: ShardStatus) -> Operation<Shard> {
        self.update_shard(shard, status)
    }

    fn delete_shard(&self, shard: Shard) -> Operation<()> {
        self.delete_shard(shard)
    }

    fn describe_shard<'m>(&'m self, shard: &'m Shard, description: &'m str) -> Job<'m, ()> {
        Box::pin(self.describe_shard(shard, description))
    }

    fn descriptions(&self) -> Job<'_, HashMap<ShardId, String>> {
        Box::pin(self.shard_descriptions())
    }

    fn mappings<'m>(&'m self, range: Option<&EncodedRange>, shard: Option<&Shard>) -> Job<'m, Vec<Record>> {
        let mut filter = MappingFilter::<M::Key>::all();
        if let Some(range) = range {
            filter = filter.in_range(KeyRange::decode(range));
        }
        if let Some(shard) = shard {
            filter = filter.on_shard(shard);
        }
        Box::pin(async move { Ok(self.mappings_matching(&filter).await?.into_iter().map(record).collect()) })
    }

    fn holder<'m>(&'m self, key: &'m EncodedKey) -> Job<'m, Record> {
        Box::pin(async move { self.mapping_for_key(&M::Key::decode(key)).await.map(record) })
    }

    fn cached(&self, key: &EncodedKey) -> Option<Record> {
        self.cached_mapping(&M::Key::decode(key)).map(record)
    }

    fn lookup<'m>(&'m self, key: &'m EncodedKey) -> Job<'m, Record> {
        Box::pin(async move { self.lookup_mapping(&M::Key::decode(key)).await.map(record) })
    }

    fn try_open<'m>(&'m self, key: &'m EncodedKey, credentials: &'m B::Credentials) -> Job<'m, ()> {
        Box::pin(async move {
            let key = M::Key::decode(key);
            self.open_connection_for_key(&key, credentials, Validation::Validate).await.map(drop)
        })
    }

    fn create(&self, keys: &EncodedRange, shard: &Shard, status: MappingStatus) -> Change<Record> {
        Change::of(M::create(self, keys, shard, status), record)
    }

    fn update(&self, mapping: &Record, token: LockToken, update: &MappingUpdate) -> Change<(Record, SessionsEnded)> {
        let operation = self.update_mapping_with(handle(mapping, token), update);
        Change::of(operation, |(mapping, ended)| (record(mapping), ended))
    }

    fn delete(&self, mapping: &Record, token: LockToken) -> Change<()> {
        Change::of(self.delete_mapping(handle(mapping, token)), |()| ())
    }

    fn split(&self, mapping: &Record, token: LockToken, at: &EncodedKey) -> Change<[Record; 2]> {
        match M::split(self, handle(mapping, token), at) {
            Ok(operation) => Change::of(operation, |(low, high)| [record(low), record(high)]),
            Err(error) => Change::refused(error),
        }
    }

    fn merge(&self, left: &Record, right: &Record, token: LockToken) -> Change<Record> {
        match M::merge(self, handle(left, token), handle(right, token)) {
            Ok(operation) => Change::of(operation, record),
            Err(error) => Change::refused(error),
        }
    }

    fn lock<'m>(&'m self, mapping: &Record, token: LockToken) -> Job<'m, ()> {
        let mapping = handle(mapping, LockToken::NONE);
        Box::pin(async move { self.lock_mapping(mapping, token).await.map(drop) })
    }

    fn unlock<'m>(&'m self, mapping: &Record, token: LockToken) -> Job<'m, ()> {
        let mapping = handle(mapping, token);
        Box::pin(async move { self.unlock_mapping(mapping, token).await.map(drop) })
    }

    fn unlock_all(&self, token: LockToken) -> Job<'_, usize> {
        Box::pin(self.unlock_mappings(token))
    }

    fn create_many(&self, mappings: Vec<(EncodedRange, Shard)>, options: &BulkOptions) -> Result<Box<dyn AnyBulk>> {
        Ok(Box::new(M::create_many(self, mappings, options)?))
    }
}

impl<M: Mapping, B: Stores> AnyBulk for BulkCreation<M, B> {
    fn skip_existing(&self) -> Job<'_, usize> {
        Box::pin(self.skip_existing())
    }

    fn next_batch(&self) -> Option<Change<usize>> {
        Some(Change::of(self.next_batch()?, |mappings| mappings.len()))
    }

    fn progress(&self) -> BulkProgress {
        self.progress()
    }
}

/// Does something with a map of the type of keys that is known by now.
macro_rules! of_key_type {
    ($key_type:expr, $list:ident, $range:ident, $kind:expr, $manager:expr, $name:expr) => {
        match ($kind, $key_type) {
            (ShardMapKind::List, KeyType::Int32) => Box::new($manager.$list::<i32>($name).await?),
            (ShardMapKind::List, KeyType::Int64) => Box::new($manager.$list::<i64>($name).await?),
            (ShardMapKind::List, KeyType::Guid) => Box::new($manager.$list::<Uuid>($name).await?),
            (ShardMapKind::List, KeyType::Binary) => Box::new($manager.$list::<Vec<u8>>($name).await?),
            (ShardMapKind::List, KeyType::DateTime) => Box::new($manager.$list::<NaiveDateTime>($name).await?),
            (ShardMapKind::List, KeyType::TimeSpan) => Box::new($manager.$list::<TimeDelta>($name).await?),
            (ShardMapKind::List, KeyType::DateTimeOffset) => {
                Box::new($manager.$list::<DateTime<FixedOffset>>($name).await?)
            }
            (ShardMapKind::Range, KeyType::Int32) => Box::new($manager.$range::<i32>($name).await?),
            (ShardMapKind::Range, KeyType::Int64) => Box::new($manager.$range::<i64>($name).await?),
            (ShardMapKind::Range, KeyType::Guid) => Box::new($manager.$range::<Uuid>($name).await?),
            (ShardMapKind::Range, KeyType::Binary) => Box::new($manager.$range::<Vec<u8>>($name).await?),
            (ShardMapKind::Range, KeyType::DateTime) => Box::new($manager.$range::<NaiveDateTime>($name).await?),
            (ShardMapKind::Range, KeyType::TimeSpan) => Box::new($manager.$range::<TimeDelta>($name).await?),
            (ShardMapKind::Range, KeyType::DateTimeOffset) => {
                Box::new($manager.$range::<DateTime<FixedOffset>>($name).await?)
            }
            _ => return Err(Error::invalid_input("this command does not know the key type of the shard map")),
        }
    };
}

/// The map of a name.
pub(crate) async fn open<B: Stores>(manager: &ShardMapManager<B>, name: &str) -> Result<Box<dyn AnyMap<B>>> {
    let info = manager.shard_map(name).await?;
    Ok(of_key_type!(info.key_type(), list_shard_map, range_shard_map, info.kind(), manager, name))
}

/// A new map.
pub(crate) async fn create<B: Stores>(
    manager: &ShardMapManager<B>,
    name: &str,
    kind: ShardMapKind,
    key_type: KeyType,
) -> Result<Box<dyn AnyMap<B>>> {
    Ok(of_key_type!(key_type, create_list_shard_map, create_range_shard_map, kind, manager, name))
}
