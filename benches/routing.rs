//! Warm lookups: the public lookup of a shard map against a plain map and against moka, all of the same mappings.
//!
//! The mappings are written into the tables of a store directly, since a million operations would take hours, and are read
//! by opening the manager with the eager load policy. Keys are drawn at random before the measurement; all contenders
//! see the same ones in the same order, and each gives out a counted reference to the mapping.

use std::collections::HashMap;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use futures::FutureExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use shardlet::rusqlite::{Connection, params};
use shardlet::{
    CacheOptions, KeyRange, ListShardMap, LoadPolicy, Mapping, MappingStatus, Options, PointMapping, RangeMapping,
    RangeShardMap, ShardKey, ShardLocation, ShardMap, ShardMapManager, Sqlite,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

type Outcome<T> = Result<T, Box<dyn Error>>;

const SHARDS: usize = 16;
/// At least this many keys are looked up in turn, each of them at random.
const LOOKUPS: usize = 1 << 16;
/// The width of each range, in keys.
const WIDTH: i64 = 1_000;

fn main() -> Outcome<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    list(&mut criterion, &runtime, "list_warm_10k", 10_000)?;
    list(&mut criterion, &runtime, "list_warm_1m", 1_000_000)?;
    range(&mut criterion, &runtime, "range_warm_1k", 1_000)?;
    range(&mut criterion, &runtime, "range_warm_100k", 100_000)?;
    criterion.final_summary();
    Ok(())
}

fn list(criterion: &mut Criterion, runtime: &Runtime, name: &str, size: usize) -> Outcome<()> {
    let mut random = StdRng::seed_from_u64(7);
    let points: Vec<i64> = (0..size).map(|_| random.random()).collect();
    let rows = points.iter().map(|point| (*point, None));
    let directory = tempfile::tempdir()?;
    let map: ListShardMap<i64, _> = runtime.block_on(async {
        let manager = manager(&directory, size).await?;
        fill(&manager.create_list_shard_map::<i64>(name).await?, directory.path(), rows).await?;
        Ok::<_, Box<dyn Error>>(self::manager(&directory, size).await?.list_shard_map(name).await?)
    })?;
    let mut keys = points.repeat(LOOKUPS.div_ceil(size));
    keys.shuffle(&mut random);
    check_warm(&map, &keys)?;

    let mappings: HashMap<i64, Arc<PointMapping<i64>>> =
        runtime.block_on(map.mappings())?.into_iter().map(|mapping| (mapping.key(), Arc::new(mapping))).collect();
    let cache = moka::sync::Cache::new(u64::try_from(size)? * 2);
    for (key, mapping) in &mappings {
        cache.insert(*key, Arc::clone(mapping));
    }
    cache.run_pending_tasks();
    let raw = ArcSwap::from_pointee(mappings);

    let mut group = group(criterion, name);
    shardlet(&mut group, &map, &keys);
    measure(&mut group, "raw_i64", &keys, |key| raw.load().get(key).cloned());
    measure(&mut group, "moka_i64", &keys, |key| cache.get(key));
    group.finish();
    Ok(())
}

fn range(criterion: &mut Criterion, runtime: &Runtime, name: &str, size: i64) -> Outcome<()> {
    let capacity = usize::try_from(size)?;
    let rows = (0..size).map(|number| (number * WIDTH, Some((number + 1) * WIDTH)));
    let directory = tempfile::tempdir()?;
    let map: RangeShardMap<i64, _> = runtime.block_on(async {
        let manager = manager(&directory, capacity).await?;
        fill(&manager.create_range_shard_map::<i64>(name).await?, directory.path(), rows).await?;
        Ok::<_, Box<dyn Error>>(self::manager(&directory, capacity).await?.range_shard_map(name).await?)
    })?;
    let mut random = StdRng::seed_from_u64(7);
    let keys: Vec<i64> = (0..LOOKUPS.max(capacity)).map(|_| random.random_range(0..size * WIDTH)).collect();
    check_warm(&map, &keys)?;

    let mappings = runtime.block_on(map.mappings())?;
    let raw = ArcSwap::from_pointee(SortedRanges {
        bounds: mappings.iter().map(|mapping| bounds(&mapping.range())).collect(),
        values: mappings.into_iter().map(Arc::new).collect(),
    });

    let mut group = group(criterion, name);
    shardlet(&mut group, &map, &keys);
    measure(&mut group, "raw_i64", &keys, |key| raw.load().get(*key));
    group.finish();
    Ok(())
}

fn group<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    let _ = group.throughput(Throughput::Elements(1));
    group
}

/// Measures the two public lookups: of the cache alone, and the async one, which is ready at once when warm.
fn shardlet<M: Mapping<Key = i64>>(group: &mut BenchmarkGroup<'_, WallTime>, map: &ShardMap<M, Sqlite>, keys: &[i64]) {
    measure(group, "shardlet_i64", keys, |key| map.cached_mapping(key));
    measure(group, "lookup_mapping_i64", keys, |key| map.lookup_mapping(key).now_or_never());
}

fn measure<T>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, keys: &[i64], lookup: impl Fn(&i64) -> Option<T>) {
    let _ = group.bench_function(name, |bencher| {
        let mut keys = keys.iter().cycle();
        bencher.iter(|| keys.next().and_then(|key| lookup(black_box(key))));
    });
}

/// Sorted bounds beside their values: what one would write by hand for ranges that never change.
struct SortedRanges {
    bounds: Vec<(i64, Option<i64>)>,
    values: Vec<Arc<RangeMapping<i64>>>,
}

impl SortedRanges {
    fn get(&self, key: i64) -> Option<Arc<RangeMapping<i64>>> {
        let index = self.bounds.partition_point(|(low, _)| *low <= key).checked_sub(1)?;
        let (_, high) = self.bounds.get(index)?;
        if high.is_some_and(|high| key >= high) {
            return None;
        }
        self.values.get(index).cloned()
    }
}

fn bounds(range: &KeyRange<i64>) -> (i64, Option<i64>) {
    (*range.low(), range.high().copied())
}

/// A manager that has read every mapping there is.
async fn manager(directory: &TempDir, size: usize) -> Outcome<ShardMapManager<Sqlite>> {
    let cache = CacheOptions::default().capacity(u64::try_from(size)? * 2);
    let options = Options::default().load_policy(LoadPolicy::Eager).cache(cache);
    Ok(ShardMapManager::open_or_create(Sqlite::open(directory.path())?, options).await?)
}

/// Writes mappings of a new map, in turn on each of its shards, into the global store.
async fn fill<M: Mapping>(
    map: &ShardMap<M, Sqlite>,
    directory: &Path,
    rows: impl Iterator<Item = (i64, Option<i64>)>,
) -> Outcome<()> {
    let mut shards = Vec::new();
    for number in 0..SHARDS {
        let shard = map.create_shard(&ShardLocation::new("server", format!("shard_{number}"))).await?;
        shards.push(shard.id().to_string());
    }
    let mut connection = Connection::open(directory.join("gsm.db"))?;
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000")?;
    let transaction = connection.transaction()?;
    {
        let sql = r#"INSERT INTO "__ShardManagement.ShardMappingsGlobal"
                     ("MappingId", "Readable", "ShardId", "ShardMapId", "MinValue", "MaxValue", "Status")
                     VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6)"#;
        let mut statement = transaction.prepare(sql)?;
        let online = MappingStatus::Online as i64;
        for ((number, (low, high)), shard) in (1..).zip(rows).zip(shards.iter().cycle()) {
            let (id, low) = (Uuid::from_u128(number).to_string(), low.encode()?);
            let high = high.map(|high| high.encode()).transpose()?;
            let high = high.as_ref().map(|high| high.as_bytes());
            let _ = statement.execute(params![id, shard, map.id().to_string(), low.as_bytes(), high, online])?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Fails unless every key is found in the cache, so that hits are measured and nothing else.
fn check_warm<M: Mapping<Key = i64>>(map: &ShardMap<M, Sqlite>, keys: &[i64]) -> Outcome<()> {
    match keys.iter().filter(|key| map.cached_mapping(key).is_none()).count() {
        0 => Ok(()),
        cold => Err(format!("{cold} of {} keys are not in the cache of {}", keys.len(), map.name()).into()),
    }
}
