//! The cache as an application sees it: warm lookups by one thread and by two at once, against a plain map, a binary
//! search and moka, all of the same mappings; filling it, and invalidating in it; and what it takes in memory.
//!
//! The mappings are written into the tables of a store directly, since a million operations would take hours, and are read
//! by opening the manager with the eager load policy. Keys are drawn at random before the measurement; all contenders
//! see the same ones in the same order, and each gives out a counted reference to the mapping.
//!
//! In the groups that end in `_2t` each of two threads looks up the keys of its own half of the mappings, and the time of a
//! lookup is the time of both threads divided by the lookups of both: with two cores, half of what one thread takes.
//! The figures of memory are printed on standard error: the heap that is freed with the last handle of a map.

use std::collections::HashMap;
use std::error::Error;
use std::hash::Hash;
use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use futures::FutureExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use shardlet::{
    CacheOptions, KeyRange, ListShardMap, LoadPolicy, Mapping, Options, PointMapping, RangeMapping, RangeShardMap,
    ShardKey, ShardLocation, ShardMap, ShardMapManager, Sqlite,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

#[path = "../tests/suite/support/filled.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a file of the tests, which use the rest"
)]
mod filled;

type Outcome<T> = Result<T, Box<dyn Error>>;

const SHARDS: usize = 16;
/// At least this many keys are looked up in turn, each of them at random.
const LOOKUPS: usize = 1 << 16;
/// The width of each range, in keys.
const WIDTH: u64 = 1_000;

fn main() -> Outcome<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (name, size) in [("list_warm_10k", 10_000), ("list_warm_1m", 1_000_000)] {
        list::<i64>(&mut criterion, &runtime, name, size)?;
        list::<Uuid>(&mut criterion, &runtime, name, size)?;
    }
    for (name, size) in [("range_warm_1k", 1_000), ("range_warm_100k", 100_000)] {
        range::<i64>(&mut criterion, &runtime, name, size)?;
        range::<Uuid>(&mut criterion, &runtime, name, size)?;
    }
    changes(&mut criterion, &runtime)?;
    criterion.final_summary();
    Ok(())
}

/// A type of key that is measured.
trait Key: ShardKey + Copy + Ord + Hash {
    const NAME: &'static str;

    /// A key that lies at any place.
    fn anywhere(random: &mut StdRng) -> Self;

    /// The key at a place among those that the store and the language put in the same order.
    fn at(place: u64) -> Self;
}

impl Key for i64 {
    const NAME: &'static str = "i64";

    fn anywhere(random: &mut StdRng) -> Self {
        random.random()
    }

    fn at(place: u64) -> Self {
        place.cast_signed()
    }
}

impl Key for Uuid {
    const NAME: &'static str = "uuid";

    fn anywhere(random: &mut StdRng) -> Self {
        Self::from_u128(random.random())
    }

    fn at(place: u64) -> Self {
        // Of the last six bytes the order is the same.
        Self::from_u128(u128::from(place))
    }
}

fn list<K: Key>(criterion: &mut Criterion, runtime: &Runtime, name: &str, size: usize) -> Outcome<()> {
    let mut random = StdRng::seed_from_u64(7);
    let points: Vec<K> = (0..size).map(|_| K::anywhere(&mut random)).collect();
    let directory = tempfile::tempdir()?;
    let map = list_map(runtime, &directory, name, &points)?;
    let mut keys = points.repeat(LOOKUPS.div_ceil(size));
    keys.shuffle(&mut random);
    check_warm(&map, &keys)?;

    let mappings: HashMap<K, Arc<PointMapping<K>>> =
        runtime.block_on(map.mappings())?.into_iter().map(|mapping| (mapping.key(), Arc::new(mapping))).collect();
    let cache = moka::sync::Cache::new(u64::try_from(size)? * 2);
    for (key, mapping) in &mappings {
        cache.insert(*key, Arc::clone(mapping));
    }
    cache.run_pending_tasks();
    let raw = ArcSwap::from_pointee(mappings);

    let lookup = |key: &K| raw.load().get(key).cloned();
    compare(criterion, name, &map, &keys, lookup, |group| {
        measure(group, &format!("moka_{}", K::NAME), &keys, |key| cache.get(key));
    });
    drop((raw, cache));
    report_memory::<K, _>(name, map, size)
}

fn range<K: Key>(criterion: &mut Criterion, runtime: &Runtime, name: &str, size: usize) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let map = range_map::<K>(runtime, &directory, name, size)?;
    let mut random = StdRng::seed_from_u64(7);
    let top = u64::try_from(size)? * WIDTH;
    let keys: Vec<_> = (0..LOOKUPS.max(size)).map(|_| K::at(random.random_range(0..top))).collect();
    check_warm(&map, &keys)?;

    let mappings = runtime.block_on(map.mappings())?;
    let raw = ArcSwap::from_pointee(SortedRanges {
        bounds: mappings.iter().map(|mapping| bounds(&mapping.range())).collect(),
        values: mappings.into_iter().map(Arc::new).collect(),
    });

    compare(criterion, name, &map, &keys, |key| raw.load().get(*key), |_| {});
    drop(raw);
    report_memory::<K, _>(name, map, size)
}

/// A list map with a mapping of each key, all in its cache.
fn list_map<K: Key>(
    runtime: &Runtime,
    directory: &TempDir,
    name: &str,
    points: &[K],
) -> Outcome<ListShardMap<K, Sqlite>> {
    let rows = points.iter().map(|point| (*point, None));
    runtime.block_on(async {
        let manager = manager(directory, points.len()).await?;
        fill(&manager.create_list_shard_map::<K>(name).await?, directory.path(), rows).await?;
        Ok(self::manager(directory, points.len()).await?.list_shard_map(name).await?)
    })
}

/// A range map with so many ranges next to each other, all in its cache.
fn range_map<K: Key>(
    runtime: &Runtime,
    directory: &TempDir,
    name: &str,
    size: usize,
) -> Outcome<RangeShardMap<K, Sqlite>> {
    let rows = (0..u64::try_from(size)?).map(|number| (K::at(number * WIDTH), Some(K::at((number + 1) * WIDTH))));
    runtime.block_on(async {
        let manager = manager(directory, size).await?;
        fill(&manager.create_range_shard_map::<K>(name).await?, directory.path(), rows).await?;
        Ok(self::manager(directory, size).await?.range_shard_map(name).await?)
    })
}

/// The group of a name: the two public lookups (of the cache alone, and the async one, which is ready at once when
/// warm), the raw one, and more; and the group for two threads.
fn compare<K: Key, M: Mapping<Key = K>, T>(
    criterion: &mut Criterion,
    name: &str,
    map: &ShardMap<M, Sqlite>,
    keys: &[K],
    raw: impl Fn(&K) -> Option<T> + Sync,
    more: impl FnOnce(&mut BenchmarkGroup<'_, WallTime>),
) {
    let name_of = |contender: &str| format!("{contender}_{}", K::NAME);
    let mut group = criterion.benchmark_group(name);
    let _ = group.throughput(Throughput::Elements(1));
    measure(&mut group, &name_of("shardlet"), keys, |key| map.cached_mapping(key));
    measure(&mut group, &name_of("raw"), keys, &raw);
    measure(&mut group, &name_of("lookup_mapping"), keys, |key| map.lookup_mapping(key).now_or_never());
    more(&mut group);
    group.finish();

    let mut sorted = keys.to_vec();
    let (_, middle, _) = sorted.select_nth_unstable(keys.len() / 2);
    let (low, high) = keys.iter().partition(|key| *key < middle);
    let halves: [Vec<K>; 2] = [low, high];
    let mut group = criterion.benchmark_group(format!("{name}_2t"));
    let _ = group.throughput(Throughput::Elements(1));
    measure_two(&mut group, &name_of("shardlet"), &halves, |key| map.cached_mapping(key));
    measure_two(&mut group, &name_of("raw"), &halves, &raw);
    group.finish();
}

fn measure<K, T>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, keys: &[K], lookup: impl Fn(&K) -> Option<T>) {
    let _ = group.bench_function(name, |bencher| {
        let mut keys = keys.iter().cycle();
        bencher.iter(|| keys.next().and_then(|key| lookup(black_box(key))));
    });
}

fn measure_two<K: Sync, T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    halves: &[Vec<K>; 2],
    lookup: impl Fn(&K) -> Option<T> + Sync,
) {
    let _ = group.bench_function(name, |bencher| {
        bencher.iter_custom(|count| {
            let start = Barrier::new(halves.len());
            let run = |keys: &[K]| {
                let mut keys = keys.iter().cycle();
                let _ = start.wait();
                let begun = Instant::now();
                for _ in 0..count.div_ceil(2) {
                    drop(black_box(keys.next().and_then(|key| lookup(black_box(key)))));
                }
                (begun, Instant::now())
            };
            let times = thread::scope(|scope| {
                halves.each_ref().map(|keys| scope.spawn(|| run(keys))).map(|thread| thread.join().ok())
            });
            let begun = times.iter().flatten().map(|(begun, _)| *begun).min();
            let ended = times.iter().flatten().map(|(_, ended)| *ended).max();
            begun.zip(ended).map_or(Duration::MAX, |(begun, ended)| ended - begun)
        });
    });
}

/// Filling the cache and invalidating in it, at two sizes: the one is to be linear, the other not to depend on the size.
fn changes(criterion: &mut Criterion, runtime: &Runtime) -> Outcome<()> {
    for (name, size) in [("100k", 100_000), ("1m", 1_000_000)] {
        let mut random = StdRng::seed_from_u64(7);
        let points: Vec<i64> = (0..size).map(|_| i64::anywhere(&mut random)).collect();
        let directory = tempfile::tempdir()?;
        change(criterion, runtime, &format!("list_{name}"), &list_map(runtime, &directory, name, &points)?)?;
        let directory = tempfile::tempdir()?;
        change(criterion, runtime, &format!("range_{name}"), &range_map::<i64>(runtime, &directory, name, size)?)?;
    }
    Ok(())
}

fn change<M: Mapping>(
    criterion: &mut Criterion,
    runtime: &Runtime,
    name: &str,
    map: &ShardMap<M, Sqlite>,
) -> Outcome<()> {
    let mappings = runtime.block_on(map.mappings())?;
    let mut group = criterion.benchmark_group("cache_fill");
    let _ = group.sample_size(10).sampling_mode(SamplingMode::Flat);
    let _ = group.throughput(Throughput::Elements(u64::try_from(mappings.len())?));
    let _ = group.bench_function(name, |bencher| bencher.iter(|| assert!(map.fill_cache(&mappings))));
    group.finish();

    let mut scattered = mappings.clone();
    scattered.shuffle(&mut StdRng::seed_from_u64(8));
    scattered.truncate(mappings.len() / 2);
    // When half of them are gone all is filled in again: the size is never far from the one that is named. What a fill
    // has replaced is freed in part by the next few writes, which are not those to be measured.
    let filled = || {
        assert!(map.fill_cache(&mappings));
        let (first, rest) = scattered.split_at(1_000);
        assert!(first.iter().all(|mapping| map.drop_cached(mapping)));
        rest
    };
    let mut stale = filled();
    let mut group = criterion.benchmark_group("cache_invalidate");
    let _ = group.bench_function(name, |bencher| {
        bencher.iter_custom(|count| {
            let mut time = Duration::ZERO;
            let mut left = usize::try_from(count).unwrap_or(usize::MAX);
            while left > 0 {
                if stale.is_empty() {
                    stale = filled();
                }
                let (now, later) = stale.split_at(left.min(stale.len()));
                let begun = Instant::now();
                assert!(now.iter().all(|mapping| map.drop_cached(mapping)));
                time += begun.elapsed();
                left -= now.len();
                stale = later;
            }
            time
        });
    });
    group.finish();
    Ok(())
}

/// Drops the last handle of a map, and says what that has freed.
fn report_memory<K: Key, M: Mapping>(name: &str, map: ShardMap<M, Sqlite>, size: usize) -> Outcome<()> {
    let freed = -allocation_counter::measure(|| drop(map)).bytes_current;
    let each = freed / i64::try_from(size)?;
    eprintln!("{name}, {}: {each} bytes of heap per cached mapping in all", K::NAME);
    Ok(())
}

/// Sorted bounds beside their values: what one would write by hand for ranges that never change.
struct SortedRanges<K> {
    bounds: Vec<(K, Option<K>)>,
    values: Vec<Arc<RangeMapping<K>>>,
}

impl<K: Key> SortedRanges<K> {
    fn get(&self, key: K) -> Option<Arc<RangeMapping<K>>> {
        let index = self.bounds.partition_point(|(low, _)| *low <= key).checked_sub(1)?;
        let (_, high) = self.bounds.get(index)?;
        if high.is_some_and(|high| key >= high) {
            return None;
        }
        self.values.get(index).cloned()
    }
}

fn bounds<K: Key>(range: &KeyRange<K>) -> (K, Option<K>) {
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
    rows: impl Iterator<Item = (M::Key, Option<M::Key>)>,
) -> Outcome<()> {
    let mut shards = Vec::new();
    for number in 0..SHARDS {
        let shard = map.create_shard(&ShardLocation::new("server", format!("shard_{number}"))).await?;
        shards.push(shard.id());
    }
    let rows = (1..).zip(rows).zip(shards.into_iter().cycle()).map(|((id, (low, high)), shard)| {
        Ok(filled::Row { id, shard, low: low.encode()?, high: high.map(|high| high.encode()).transpose()? })
    });
    let rows = rows.collect::<shardlet::Result<Vec<_>>>()?;
    filled::fill_global(&directory.join("gsm.db"), map.id(), rows);
    Ok(())
}

/// Fails unless every key is found in the cache, so that hits are measured and nothing else.
fn check_warm<M: Mapping>(map: &ShardMap<M, Sqlite>, keys: &[M::Key]) -> Outcome<()> {
    match keys.iter().filter(|key| map.cached_mapping(key).is_none()).count() {
        0 => Ok(()),
        cold => Err(format!("{cold} of {} keys are not in the cache of {}", keys.len(), map.name()).into()),
    }
}
