//! Routing when something is down: the global store, a shard, a load, a caller.

use std::fs;
use std::path::{Path, PathBuf};

use futures::future::join_all;
use futures::poll;
use shardlet::{
    Error, ErrorCode, ErrorKind, NoCredentials, Options, Place, RangeShardMap, ShardMapManager, Sqlite,
    SqliteConnection, Validation, rusqlite,
};
use tempfile::TempDir;

use crate::support::contents::parts;
use crate::support::probe::{Call, Fault, Probe};
use crate::support::{directory, location, shards, sqlite};

type Range = RangeShardMap<i64, Probe<Sqlite>>;

async fn client(store: &Sqlite) -> (Probe<Sqlite>, Range) {
    let probe = Probe::new(store.clone());
    let manager = ShardMapManager::open_or_create(probe.clone(), Options::default()).await.unwrap();
    let map = manager.range_shard_map_or_create("ranges").await.unwrap();
    probe.reset();
    (probe, map)
}

/// `[0, 100)` on shard 0 and `[100, 200)` on shard 1, in a table `place` of each the number of the shard.
async fn two_shards(store: &Sqlite) {
    let (_, map) = client(store).await;
    let shards = shards(&map, 2).await;
    for (number, shard) in (0_i64..).zip(&shards) {
        let _ = map.create_mapping(number * 100..number * 100 + 100, shard).await.unwrap();
        let mut connection = open(&map, number * 100, Validation::Validate).await.unwrap();
        connection.execute_batch("CREATE TABLE place (number INTEGER)").await.unwrap();
        assert_eq!(connection.execute("INSERT INTO place VALUES (?1)", [number]).await.unwrap(), 1);
    }
}

async fn open(map: &Range, key: i64, validation: Validation) -> shardlet::Result<SqliteConnection> {
    map.open_connection_for_key(&key, &NoCredentials, validation).await
}

async fn place(map: &Range, key: i64, validation: Validation) -> shardlet::Result<i64> {
    let mut connection = open(map, key, validation).await?;
    connection.read(|transaction| transaction.query_row("SELECT number FROM place", [], |row| row.get(0))).await
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "injected").at_global()
}

fn shard_file(directory: &TempDir, number: usize) -> PathBuf {
    let found = directory.path().join("shards").join("server").join(format!("shard_{number}.db"));
    assert!(found.exists(), "{}", found.display());
    found
}

fn rename_all(from: &Path, to: &Path) {
    for (from, to) in parts(from).iter().zip(parts(to)) {
        if from.exists() {
            fs::rename(from, to).unwrap();
        }
    }
}

/// A copy of a database as of now, whatever is still in its log.
fn copy(database: &Path, to: &Path) {
    let source = rusqlite::Connection::open(database).unwrap();
    let busy: i64 = source.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert_eq!(busy, 0, "nobody uses the database");
    let _ = fs::copy(database, to).unwrap();
}

#[tokio::test]
async fn with_the_global_store_down_cached_keys_keep_routing() {
    let store = Sqlite::in_memory();
    two_shards(&store).await;
    let (probe, map) = client(&store).await;
    assert_eq!(place(&map, 7, Validation::Validate).await.unwrap(), 0);
    for call in [Call::FindMappingByKey, Call::Mappings, Call::FindMappingById, Call::LockOperation] {
        probe.inject(call, usize::MAX, Fault::FailBefore(unavailable()));
    }
    for validation in [Validation::Validate, Validation::None] {
        for _ in 0..3 {
            assert_eq!(place(&map, 7, validation).await.unwrap(), 0, "{validation:?}");
        }
        let refused = open(&map, 150, validation).await.unwrap_err();
        assert_eq!((refused.kind(), refused.place()), (ErrorKind::Unavailable, Some(&Place::Global)), "{validation:?}");
    }
    assert!(map.lookup_mapping(&7).await.is_ok());
    assert_eq!(map.mapping_for_key(&7).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(map.cached_mapping(&7), Some(map.lookup_mapping(&7).await.unwrap()), "a failed read drops nothing");
    probe.reset();
    assert_eq!(place(&map, 150, Validation::Validate).await.unwrap(), 1, "up again");
}

#[tokio::test]
async fn a_global_store_that_is_really_gone_hurts_only_uncached_keys() {
    for (case, kind) in [("missing", ErrorKind::Unavailable), ("garbage", ErrorKind::StoreDamaged)] {
        let directory = directory();
        let store = sqlite(&directory);
        two_shards(&store).await;
        let (_, map) = client(&store).await;
        assert_eq!(place(&map, 7, Validation::Validate).await.unwrap(), 0, "{case}");
        let (file, aside) = (directory.path().join("gsm.db"), directory.path().join("aside.db"));
        rename_all(&file, &aside);
        if case == "garbage" {
            fs::write(&file, "this is no database, and long enough to have been one: ".repeat(100)).unwrap();
        }
        for validation in [Validation::Validate, Validation::None] {
            for _ in 0..3 {
                assert_eq!(place(&map, 7, validation).await.unwrap(), 0, "{case}, {validation:?}");
                let refused = open(&map, 150, validation).await.unwrap_err();
                assert_eq!(
                    (refused.kind(), refused.place()),
                    (kind, Some(&Place::Global)),
                    "{case}, {validation:?}: {refused:?}"
                );
            }
        }
        // Nothing has made a new, empty store in its place.
        assert_eq!(file.exists(), case == "garbage", "{case}");
        rename_all(&aside, &file);
        assert_eq!(place(&map, 150, Validation::Validate).await.unwrap(), 1, "{case}: it is back");
        assert_eq!(map.mappings().await.unwrap().len(), 2, "{case}");
    }
}

#[tokio::test]
async fn a_dead_shard_hurts_only_its_own_keys_and_costs_one_lookup() {
    for cached in [true, false] {
        let directory = directory();
        let store = sqlite(&directory);
        two_shards(&store).await;
        let (probe, map) = client(&store).await;
        if cached {
            assert_eq!(place(&map, 7, Validation::Validate).await.unwrap(), 0);
            assert_eq!(place(&map, 150, Validation::Validate).await.unwrap(), 1);
        }
        let (file, aside) = (shard_file(&directory, 0), directory.path().join("aside.db"));
        rename_all(&file, &aside);
        probe.reset();
        for _ in 0..10 {
            let refused = open(&map, 7, Validation::Validate).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unavailable, "cached: {cached}: {refused:?}");
            assert_eq!(refused.place(), Some(&Place::Shard(location(0))), "cached: {cached}");
        }
        // One to ask whether the mapping has moved; before it, an uncached one was read in the first place.
        let reads = if cached { 1 } else { 2 };
        assert_eq!(probe.count(&Call::FindMappingByKey), reads, "cached: {cached}");
        assert_eq!(probe.count(&Call::OpenRouted), 11, "cached: {cached}: one more try in all");
        assert_eq!(place(&map, 150, Validation::Validate).await.unwrap(), 1, "cached: {cached}: the other shard");
        assert!(!file.exists(), "a lost shard is not replaced by an empty one");

        rename_all(&aside, &file);
        probe.reset();
        assert_eq!(place(&map, 7, Validation::Validate).await.unwrap(), 0, "cached: {cached}: it is back");
        assert_eq!(probe.count(&Call::FindMappingByKey), 0, "cached: {cached}: and its mapping was kept");
    }
}

#[tokio::test]
async fn a_shard_that_moved_while_it_was_dead_is_found() {
    let directory = directory();
    let store = sqlite(&directory);
    two_shards(&store).await;
    let (probe, map) = client(&store).await;
    assert_eq!(place(&map, 7, Validation::Validate).await.unwrap(), 0);
    let (_, other) = client(&store).await;
    let offline = other.mark_mapping_offline(other.mapping_for_key(&7).await.unwrap()).await.unwrap();
    let moved = other.move_mapping(offline, &other.shard(&location(1)).await.unwrap()).await.unwrap();
    let _ = other.mark_mapping_online(moved).await.unwrap();
    rename_all(&shard_file(&directory, 0), &directory.path().join("aside.db"));
    probe.reset();
    assert_eq!(place(&map, 7, Validation::Validate).await.unwrap(), 1);
    assert_eq!((probe.count(&Call::FindMappingByKey), probe.count(&Call::OpenRouted)), (1, 2));
}

#[tokio::test]
async fn a_shard_and_the_global_store_both_down_leave_the_mapping_in_the_cache() {
    let directory = directory();
    let store = sqlite(&directory);
    two_shards(&store).await;
    let (probe, map) = client(&store).await;
    assert_eq!(place(&map, 7, Validation::Validate).await.unwrap(), 0);
    let (file, aside) = (shard_file(&directory, 0), directory.path().join("aside.db"));
    rename_all(&file, &aside);
    probe.inject(Call::FindMappingByKey, usize::MAX, Fault::FailBefore(unavailable()));
    let refused = open(&map, 7, Validation::Validate).await.unwrap_err();
    assert_eq!(refused.place(), Some(&Place::Shard(location(0))), "the shard is what the caller should know of");
    // The shard comes back before the global store does.
    rename_all(&aside, &file);
    assert_eq!(place(&map, 7, Validation::Validate).await.unwrap(), 0);
}

#[tokio::test]
async fn a_shard_file_that_was_replaced_under_its_pool_is_noticed() {
    for validation in [Validation::Validate, Validation::None] {
        let directory = directory();
        let store = sqlite(&directory);
        two_shards(&store).await;
        let (_, map) = client(&store).await;
        // Several connections are idle in the pool.
        let opened = join_all((0..3).map(|_| open(&map, 7, Validation::Validate))).await;
        assert!(opened.iter().all(Result::is_ok));
        drop(opened);
        let (file, aside, restored) =
            (shard_file(&directory, 0), directory.path().join("aside.db"), directory.path().join("restored.db"));
        copy(&file, &restored);
        let changed = rusqlite::Connection::open(&restored).unwrap();
        assert_eq!(changed.execute("UPDATE place SET number = 42", []).unwrap(), 1);
        drop(changed);
        rename_all(&file, &aside);
        rename_all(&restored, &file);
        let opened = join_all((0..5).map(|_| place(&map, 7, validation))).await;
        for found in opened {
            assert_eq!(found.unwrap(), 42, "{validation:?}: a connection still reads the old file");
        }
        let mut connection = open(&map, 7, validation).await.unwrap();
        assert_eq!(connection.execute("UPDATE place SET number = 43", []).await.unwrap(), 1);
        assert_eq!(place(&map, 7, validation).await.unwrap(), 43, "{validation:?}: the write went to the new file");
    }
}

#[tokio::test]
async fn a_failed_load_fails_those_who_wait_for_it_and_nobody_after_them() {
    let store = Sqlite::in_memory();
    two_shards(&store).await;
    let (probe, map) = client(&store).await;
    probe.inject(Call::FindMappingByKey, 1, Fault::FailOnRelease(unavailable()));
    let mut waiters = Box::pin(join_all((0..10).map(|_| map.lookup_mapping(&7))));
    assert!(poll!(&mut waiters).is_pending());
    probe.held().await;
    // Nothing here waits for another thread, so that after a few rounds all have joined the load.
    for _ in 0..100 {
        assert!(poll!(&mut waiters).is_pending());
        tokio::task::yield_now().await;
    }
    probe.release();
    let waiters = waiters.await;
    for waiter in waiters {
        let refused = waiter.unwrap_err();
        assert_eq!((refused.kind(), refused.place()), (ErrorKind::Unavailable, Some(&Place::Global)));
    }
    assert_eq!(probe.count(&Call::FindMappingByKey), 1);
    assert!(map.lookup_mapping(&7).await.is_ok());
    assert_eq!(probe.count(&Call::FindMappingByKey), 2);
}

#[tokio::test]
async fn a_caller_that_is_dropped_holds_up_nobody() {
    let store = Sqlite::in_memory();
    two_shards(&store).await;
    let (probe, map) = client(&store).await;
    let mut first = Box::pin(map.lookup_mapping(&7));
    let mut second = Box::pin(open(&map, 7, Validation::Validate));
    let mut third = Box::pin(map.lookup_mapping(&150));
    // The first one begins the load; the second one waits for the same key.
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
    drop(first);
    assert_eq!(second.await.unwrap().location(), &location(0));
    assert!(third.await.is_ok());
    assert_eq!(probe.count(&Call::FindMappingByKey), 2, "one load for each of the two keys");

    // One that is not polled any more, but not dropped either.
    let (probe, map) = client(&store).await;
    let mut idle = Box::pin(map.lookup_mapping(&7));
    assert!(poll!(&mut idle).is_pending());
    assert!(map.lookup_mapping(&7).await.is_ok());
    assert_eq!(probe.count(&Call::FindMappingByKey), 1);
    drop(idle);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_hangs_ends_at_its_deadline_and_holds_up_no_later_one() {
    let store = Sqlite::in_memory();
    two_shards(&store).await;
    let (probe, map) = client(&store).await;
    probe.inject(Call::FindMappingByKey, 1, Fault::HoldBefore);
    let refused = map.lookup_mapping(&7).await.unwrap_err();
    assert_eq!((refused.kind(), refused.limit()), (ErrorKind::TimedOut, Some(shardlet::Limit::Load)));
    assert!(map.lookup_mapping(&7).await.is_ok());
}
