//! Opening a routed connection on SQLite whose mapping is cached: alone, with and without validation, and by many callers at
//! once on a pool that is smaller than their number, where throughput, median and 99th percentile are printed.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use shardlet::{
    NoCredentials, Options, RangeShardMap, ShardLocation, ShardMapManager, Sqlite, SqliteOptions, Validation,
};
use tokio::runtime::Runtime;
use tokio::sync::Barrier;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The most connections to the shard.
const POOL: usize = 16;
const CALLERS: [usize; 3] = [1, POOL, 256];
/// Opens by all callers together, for each figure.
const OPENS: usize = 51_200;
const VALIDATIONS: [(&str, Validation); 2] = [("validated", Validation::Validate), ("not_validated", Validation::None)];

fn main() -> Outcome<()> {
    let runtime = Runtime::new()?;
    let directory = tempfile::tempdir()?;
    let backend = Sqlite::open_with(directory.path(), SqliteOptions::default().max_connections_per_database(POOL))?;
    let map: Arc<RangeShardMap<i64, _>> = runtime.block_on(async {
        let manager = ShardMapManager::open_or_create(backend, Options::default()).await?;
        let map = manager.create_range_shard_map("ranges").await?;
        let shard = map.create_shard(&ShardLocation::new("server", "shard")).await?;
        let _ = map.create_mapping(0..1_000, &shard).await?;
        Ok::<_, Box<dyn Error>>(Arc::new(map))
    })?;

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("open_warm");
    for (name, validation) in VALIDATIONS {
        let _ = group.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter(|| map.open_connection_for_key(&7, &NoCredentials, validation));
        });
    }
    // What a validation cannot do without: SQLite is waited for on a thread of its own.
    let _ = group.bench_function("blocking_thread_alone", |bencher| {
        bencher.to_async(&runtime).iter(|| tokio::task::spawn_blocking(|| ()));
    });
    group.finish();
    criterion.final_summary();

    // What criterion is asked for by name is no reason to run the rest.
    if std::env::args().skip(1).all(|argument| argument.starts_with("--")) {
        for (name, validation) in VALIDATIONS {
            for callers in CALLERS {
                let _ = runtime.block_on(crowd(&map, callers, validation))?;
                println!(
                    "open_many/{name}: {callers:>3} callers: {}",
                    runtime.block_on(crowd(&map, callers, validation))?
                );
            }
        }
    }
    Ok(())
}

/// How long the opens of many callers took.
struct Taken {
    all: Duration,
    /// Of each open, in ascending order.
    each: Vec<Duration>,
}

/// Each caller opens and drops, again and again.
async fn crowd(map: &Arc<RangeShardMap<i64, Sqlite>>, callers: usize, validation: Validation) -> Outcome<Taken> {
    let start = Arc::new(Barrier::new(callers + 1));
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (map, start) = (Arc::clone(map), Arc::clone(&start));
            tokio::spawn(async move {
                let mut each = Vec::with_capacity(OPENS / callers);
                let _ = start.wait().await;
                for _ in 0..OPENS / callers {
                    let begun = Instant::now();
                    let opened = map.open_connection_for_key(&7, &NoCredentials, validation).await?;
                    each.push(begun.elapsed());
                    drop(opened);
                }
                Ok::<_, shardlet::Error>(each)
            })
        })
        .collect();
    let _ = start.wait().await;
    let begun = Instant::now();
    let mut each = Vec::with_capacity(OPENS);
    for task in tasks {
        each.extend(task.await??);
    }
    let all = begun.elapsed();
    each.sort();
    Ok(Taken { all, each })
}

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |percent: usize| self.each.get(self.each.len() * percent / 100).copied().unwrap_or_default();
        let opens = u32::try_from(self.each.len()).unwrap_or(u32::MAX);
        let per_second = f64::from(opens) / self.all.as_secs_f64();
        write!(f, "{per_second:>9.0}/s, p50 {:>8.1?}, p99 {:>8.1?}", at(50), at(99))
    }
}
