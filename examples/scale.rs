//! A map of a million tenants over a thousand shards, on SQLite: builds it, loads it, routes, splits and merges, and prints what
//! that took.
//!
//! `cargo run --release --example scale -- --tenants 1000000 --shards 1000 --lookups 1000000 --ranges 1000`
//!
//! Without `--directory PATH` it works in a temporary directory, which is gone afterwards. A directory has to be new.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use shardlet::{
    BulkOptions, CacheOptions, ListShardMap, LoadPolicy, Mapping, Options, RangeShardMap, Shard, ShardLocation,
    ShardMap, ShardMapManager, Sqlite, SqliteOptions,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What the flags say.
struct Sizes {
    tenants: usize,
    shards: usize,
    lookups: u64,
    ranges: i64,
    directory: Option<PathBuf>,
}

/// A line of the table.
struct Line {
    what: &'static str,
    number: u64,
    took: Duration,
    /// What the process held then, in bytes, where the system says it.
    memory: Option<u64>,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let sizes = sizes()?;
    let temporary = tempfile::tempdir()?;
    let directory = sizes.directory.as_deref().unwrap_or(temporary.path());
    let mut table = Table::default();

    let manager = open(directory, LoadPolicy::Lazy).await?;
    let tenants: ListShardMap<i64, _> = manager.create_list_shard_map("tenants").await?;
    let shards = create_shards(&mut table, &tenants, sizes.shards, "shards created").await?;
    create_tenants(&mut table, &tenants, &shards, sizes.tenants).await?;
    drop((tenants, manager));

    let clock = Clock::new();
    let manager = open(directory, LoadPolicy::Eager).await?;
    let tenants: ListShardMap<i64, _> = manager.list_shard_map("tenants").await?;
    table.add("mappings loaded eagerly", tenants.cache_statistics().entries, &clock);
    route(&mut table, &tenants, sizes.tenants, sizes.lookups)?;

    let ranges: RangeShardMap<i64, _> = manager.create_range_shard_map("ranges").await?;
    let on = create_shards(&mut table, &ranges, sizes.shards.min(10), "shards added to a second map").await?;
    split_and_merge(&mut table, &ranges, &on, sizes.ranges).await?;
    table.print();
    println!(
        "\n{:<30} {:>10} {:>10} {:>12} {:>13} {:>10}",
        "cache", "mappings", "misses", "loads", "invalidations", "evictions"
    );
    for (name, cache) in [("tenants", tenants.cache_statistics()), ("ranges", ranges.cache_statistics())] {
        let [held, misses, loads] = [cache.entries, cache.misses, cache.loads];
        println!("{name:<30} {held:>10} {misses:>10} {loads:>12} {:>13} {:>10}", cache.invalidations, cache.evictions);
    }
    Ok(())
}

fn sizes() -> Outcome<Sizes> {
    use lexopt::ValueExt;
    let mut sizes = Sizes { tenants: 1_000_000, shards: 1_000, lookups: 1_000_000, ranges: 1_000, directory: None };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("tenants") => sizes.tenants = arguments.value()?.parse()?,
            lexopt::Arg::Long("shards") => sizes.shards = arguments.value()?.parse()?,
            lexopt::Arg::Long("lookups") => sizes.lookups = arguments.value()?.parse()?,
            lexopt::Arg::Long("ranges") => sizes.ranges = arguments.value()?.parse()?,
            lexopt::Arg::Long("directory") => sizes.directory = Some(arguments.value()?.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    if sizes.shards == 0 || sizes.tenants == 0 || sizes.ranges < 1 {
        return Err("there has to be at least one tenant, one shard and one range".into());
    }
    Ok(sizes)
}

async fn open(directory: &Path, policy: LoadPolicy) -> shardlet::Result<ShardMapManager<Sqlite>> {
    let store = Sqlite::open_with(directory, SqliteOptions::default())?;
    let cache = CacheOptions::default().capacity(4_000_000);
    ShardMapManager::open_or_create(store, Options::default().load_policy(policy).cache(cache)).await
}

async fn create_shards<M: Mapping>(
    table: &mut Table,
    map: &ShardMap<M, Sqlite>,
    number: usize,
    what: &'static str,
) -> Outcome<Vec<Shard>> {
    let bar = bar(what, number)?;
    let clock = Clock::new();
    let mut shards = Vec::with_capacity(number);
    for number in 0..number {
        shards.push(map.create_shard(&ShardLocation::new("server", format!("shard_{number}"))).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    table.add(what, shards.len() as u64, &clock);
    Ok(shards)
}

async fn create_tenants(
    table: &mut Table,
    map: &ListShardMap<i64, Sqlite>,
    shards: &[Shard],
    number: usize,
) -> Outcome<()> {
    let bar = bar("mappings created", number)?;
    let clock = Clock::new();
    let keys = (0..number).map(key).zip(shards.iter().cycle());
    let creation = map.create_mappings(keys, &BulkOptions::default())?;
    let progress = creation.run(|progress| bar.set_position(progress.created() as u64)).await?;
    bar.finish_and_clear();
    table.add("mappings created", progress.created() as u64, &clock);
    Ok(())
}

/// Routes keys at random, all of which have a mapping.
fn route(table: &mut Table, map: &ListShardMap<i64, Sqlite>, tenants: usize, lookups: u64) -> Outcome<()> {
    let clock = Clock::new();
    let mut place = 1_u64;
    for _ in 0..lookups {
        place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = key(usize::try_from(place >> 33)? % tenants);
        let mapping = map.cached_mapping(&key).ok_or("a tenant has no mapping in the cache")?;
        if mapping.key() != key {
            return Err("a key was routed by the mapping of another".into());
        }
    }
    table.add("random keys routed", lookups, &clock);
    Ok(())
}

async fn split_and_merge(
    table: &mut Table,
    map: &RangeShardMap<i64, Sqlite>,
    shards: &[Shard],
    number: i64,
) -> Outcome<()> {
    let clock = Clock::new();
    let ranges = (0..number).map(|number| number * 100..number * 100 + 100).zip(shards.iter().cycle());
    let _ = map.create_mappings(ranges, &BulkOptions::default())?.run(|_| ()).await?;
    table.add("ranges created", number.unsigned_abs(), &clock);

    let progress = bar("ranges split", usize::try_from(number)?)?;
    let clock = Clock::new();
    let mut halves = Vec::new();
    for mapping in map.mappings().await? {
        let at = mapping.range().low() + 50;
        halves.push(map.split_mapping(mapping, at).await?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    table.add("ranges split", halves.len() as u64, &clock);

    let progress = bar("ranges merged", halves.len())?;
    let clock = Clock::new();
    let merged = halves.len() as u64;
    for (low, high) in halves {
        let _ = map.merge_mappings(low, high).await?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    table.add("ranges merged", merged, &clock);
    Ok(())
}

/// The `number`th tenant, far from those before it.
fn key(number: usize) -> i64 {
    (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).cast_signed()
}

fn bar(what: &'static str, number: usize) -> Outcome<ProgressBar> {
    let style = ProgressStyle::with_template("{msg:<30} {wide_bar} {pos}/{len} {per_sec} {eta}")?;
    Ok(ProgressBar::new(number as u64).with_style(style).with_message(what))
}

struct Clock(Instant);

impl Clock {
    fn new() -> Self {
        Self(Instant::now())
    }
}

#[derive(Default)]
struct Table(Vec<Line>);

impl Table {
    fn add(&mut self, what: &'static str, number: u64, clock: &Clock) {
        self.0.push(Line { what, number, took: clock.0.elapsed(), memory: memory("VmRSS:") });
    }

    fn print(&self) {
        println!("{:<30} {:>10} {:>10} {:>12} {:>10}", "", "number", "seconds", "per second", "MiB held");
        for Line { what, number, took, memory } in &self.0 {
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let rate = *number as f64 / took.as_secs_f64();
            let held = memory.map_or_else(|| "?".to_owned(), |bytes| (bytes >> 20).to_string());
            println!("{what:<30} {number:>10} {:>10.3} {rate:>12.0} {held:>10}", took.as_secs_f64());
        }
        if let Some(most) = memory("VmHWM:") {
            println!("{:<30} {:>46} MiB", "most memory held", most >> 20);
        }
    }
}

/// What Linux says of this process's memory, in bytes.
fn memory(what: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(what))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024)
}
