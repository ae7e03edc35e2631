//! Pools: what the next user of a connection gets, and how many there are.

use std::sync::mpsc;
use std::time::Duration;

use futures::future::join_all;
use futures::poll;
use shardlet::{
    ErrorKind, Limit, ListShardMap, NoCredentials, Options, Place, ShardMapManager, Sqlite, SqliteConnection,
    SqliteOptions, SqliteTransaction, Timeouts, Validation, rusqlite,
};

use crate::support::{directory, quick, shards, sqlite};

type Points = ListShardMap<i64, Sqlite>;

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

/// An hour for whoever waits for a connection. Where the clock is paused it passes at once when nothing else is left to
/// happen, and never while a connection is being opened or closed.
fn patient() -> Timeouts {
    let mut timeouts = Timeouts::default();
    timeouts.pool_wait = Duration::from_secs(3600);
    timeouts
}

/// A list map with key `n` on shard `n`, each with a table `item`, in the cache.
async fn points(store: Sqlite, count: usize) -> Points {
    let manager = ShardMapManager::open_or_create(store, Options::default()).await.unwrap();
    let map: Points = manager.create_list_shard_map("points").await.unwrap();
    for (key, shard) in (0_i64..).zip(shards(&map, count).await) {
        let _ = map.create_mapping(key, &shard).await.unwrap();
        open(&map, key).await.unwrap().execute_batch("CREATE TABLE item (id INTEGER PRIMARY KEY)").await.unwrap();
    }
    map
}

async fn open(map: &Points, key: i64) -> shardlet::Result<SqliteConnection> {
    map.open_connection_for_key(&key, &NoCredentials, Validation::Validate).await
}

/// Everything on a connection that an earlier user could have left.
async fn state(map: &Points) -> String {
    let mut connection = open(map, 0).await.unwrap();
    let look = |transaction: &SqliteTransaction<'_>| {
        let one = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, shardlet::rusqlite::types::Value>(0));
        let mut seen = Vec::new();
        for sql in [
            "SELECT count(*) FROM sqlite_temp_master",
            "SELECT count(*) FROM pragma_database_list WHERE name NOT IN ('main', 'temp')",
            "PRAGMA foreign_keys",
            "PRAGMA recursive_triggers",
            "PRAGMA query_only",
            "PRAGMA reverse_unordered_selects",
            "PRAGMA cache_size",
            "PRAGMA synchronous",
            "PRAGMA busy_timeout",
            "SELECT 'a' LIKE 'A'",
            "SELECT count(*) FROM item",
        ] {
            seen.push(format!("{sql}: {:?}", one(sql)?));
        }
        Ok(seen.join("\n"))
    };
    connection.read(look).await.unwrap()
}

fn one_connection() -> SqliteOptions {
    SqliteOptions::default().max_connections_per_database(1)
}

#[tokio::test]
async fn the_next_user_gets_a_clean_connection() {
    let map = points(Sqlite::in_memory_with(one_connection()), 1).await;
    let clean = state(&map).await;
    assert!(clean.contains("PRAGMA foreign_keys: Integer(1)"), "{clean}");
    let directory = directory();
    let file = directory.path().join("attached.db");
    let attach = format!("COMMIT; ATTACH '{}' AS mine; BEGIN", file.display());
    let cases = [
        "CREATE TEMP TABLE mine (id INTEGER)",
        "CREATE TEMP VIEW mine AS SELECT 1",
        "CREATE TEMP TRIGGER mine AFTER INSERT ON item BEGIN SELECT 1; END",
        "CREATE TABLE temp.mine AS SELECT 1",
        "CREATE TEMP TABLE mine (id INTEGER); CREATE INDEX temp.index_of_mine ON mine (id)",
        "CREATE VIRTUAL TABLE temp.mine USING dbstat",
        "CREATE VIRTUAL TABLE temp.mine USING fts5(words)",
        "PRAGMA recursive_triggers = 1",
        "PRAGMA query_only = 1",
        "PRAGMA reverse_unordered_selects = 1",
        "PRAGMA cache_size = 7",
        "PRAGMA busy_timeout = 7",
        "PRAGMA case_sensitive_like = 1",
        "COMMIT; PRAGMA foreign_keys = 0; BEGIN",
        "COMMIT; PRAGMA synchronous = OFF; BEGIN",
        "COMMIT; ATTACH ':memory:' AS mine; BEGIN",
        &attach,
        "COMMIT",
        "ROLLBACK",
        "COMMIT; BEGIN",
        "COMMIT; BEGIN IMMEDIATE",
        "ROLLBACK; BEGIN EXCLUSIVE",
        "COMMIT; SAVEPOINT mine",
        "SAVEPOINT mine",
        "BEGIN",
        "no statement at all",
    ];
    for sql in cases {
        for fails in [false, true] {
            let mut connection = open(&map, 0).await.unwrap();
            // Some of these are refused, and some make the commit fail. Whatever they do, they do it to themselves.
            let script = sql.to_owned();
            let outcome = connection
                .write(move |transaction| {
                    transaction.execute_batch(&script)?;
                    if fails { Err(shardlet::rusqlite::Error::InvalidQuery) } else { Ok(()) }
                })
                .await;
            assert!(!fails || outcome.is_err(), "{sql}");
            drop(connection);
            assert_eq!(state(&map).await, clean, "after {sql:?}, failing: {fails}");
        }
    }
}

#[tokio::test]
async fn a_dropped_future_leaves_nothing_to_the_next_user() {
    for writes in [false, true] {
        let map = points(Sqlite::in_memory_with(one_connection()), 1).await;
        let clean = state(&map).await;
        let mut connection = open(&map, 0).await.unwrap();
        let (started, starts) = mpsc::channel();
        let work = move |transaction: &SqliteTransaction<'_>| {
            transaction.execute_batch("CREATE TEMP TABLE mine (id INTEGER)")?;
            if writes {
                let _ = transaction.execute("INSERT INTO item DEFAULT VALUES", [])?;
            }
            started.send(()).unwrap();
            transaction.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))
        };
        let running =
            tokio::spawn(
                async move { if writes { connection.write(work).await } else { connection.read(work).await } },
            );
        tokio::task::spawn_blocking(move || starts.recv().unwrap()).await.unwrap();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        assert_eq!(state(&map).await, clean, "writes: {writes}");
        // The abandoned writer has let go of the database.
        assert_eq!(open(&map, 0).await.unwrap().execute("INSERT INTO item DEFAULT VALUES", []).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_connection_goes_on_after_a_future_of_it_was_dropped() {
    let map = points(Sqlite::in_memory_with(one_connection()), 1).await;
    let mut connection = open(&map, 0).await.unwrap();
    let mut abandoned =
        Box::pin(connection.read(|transaction| transaction.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))));
    assert!(poll!(&mut abandoned).is_pending());
    drop(abandoned);
    assert_eq!(connection.execute("INSERT INTO item DEFAULT VALUES", []).await.unwrap(), 1);
    let count = |transaction: &SqliteTransaction<'_>| {
        transaction.query_row("SELECT count(*) FROM item", [], |row| row.get::<_, i64>(0))
    };
    assert_eq!(connection.read(count).await.unwrap(), 1);
}

#[tokio::test]
async fn a_panic_in_the_callers_work_costs_only_its_connection() {
    let map = points(Sqlite::in_memory_with(one_connection()), 1).await;
    let clean = state(&map).await;
    let mut connection = open(&map, 0).await.unwrap();
    let panicking = tokio::spawn(async move {
        let work = |transaction: &SqliteTransaction<'_>| -> shardlet::rusqlite::Result<()> {
            let _ = transaction.execute("INSERT INTO item DEFAULT VALUES", [])?;
            panic!("a fault of the application, meant to be")
        };
        connection.write(work).await
    });
    assert!(panicking.await.unwrap_err().is_panic());
    assert_eq!(state(&map).await, clean);
}

#[tokio::test(start_paused = true)]
async fn the_bound_of_a_database_holds() {
    let options = SqliteOptions::default().max_connections_per_database(2).timeouts(patient());
    let map = points(Sqlite::in_memory_with(options), 2).await;
    let (first, second) = (open(&map, 0).await.unwrap(), open(&map, 0).await.unwrap());
    let refused = open(&map, 0).await.unwrap_err();
    assert_eq!((refused.kind(), refused.limit()), (ErrorKind::TimedOut, Some(Limit::PoolWait)), "{refused:?}");
    assert!(open(&map, 1).await.is_ok(), "another shard has connections of its own");
    drop(first);
    let third = open(&map, 0).await.unwrap();
    // A raw connection does not count any more.
    let raw = third.into_raw().await.unwrap();
    let fourth = open(&map, 0).await.unwrap();
    assert_eq!(open(&map, 0).await.unwrap_err().limit(), Some(Limit::PoolWait));
    drop((second, raw, fourth));
}

#[tokio::test(start_paused = true)]
async fn the_bound_of_all_databases_holds_and_idle_connections_make_room() {
    let options = quick().max_connections(4).timeouts(patient());
    for (case, store) in [
        ("memory", Sqlite::in_memory_with(options.clone())),
        ("files", Sqlite::open_with(directory().path(), options).unwrap()),
    ] {
        // Eight shards one after the other: each leaves an idle connection, and the oldest has to go.
        let map = points(store, 8).await;
        for round in 0..3 {
            for key in 0..8 {
                assert!(open(&map, key).await.is_ok(), "{case}, round {round}, shard {key}");
            }
        }
        let held: Vec<_> = join_all((0..4).map(|key| open(&map, key))).await;
        assert!(held.iter().all(Result::is_ok), "{case}: {held:?}");
        for key in [0, 4] {
            let refused = open(&map, key).await.unwrap_err();
            assert_eq!(
                (refused.kind(), refused.limit()),
                (ErrorKind::TimedOut, Some(Limit::PoolWait)),
                "{case}, shard {key}: {refused:?}"
            );
        }
        drop(held);
        assert!(open(&map, 5).await.is_ok(), "{case}: room again");
        assert_eq!(map.mappings().await.unwrap().len(), 8, "{case}: and for the global store");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_becomes_idle_makes_room_for_one_who_waits() {
    let options = quick().max_connections(4).timeouts(patient());
    let map = points(Sqlite::in_memory_with(options), 6).await;
    let mut held: Vec<_> = join_all((0..4).map(|key| open(&map, key))).await.into_iter().map(Result::unwrap).collect();
    let mut waiting = vec![Box::pin(open(&map, 4)), Box::pin(open(&map, 5))];
    for open in &mut waiting {
        assert!(poll!(open).is_pending());
    }
    for open in waiting {
        // Goes back to the pool of its own shard while the others wait.
        drop(held.pop());
        held.insert(0, open.await.unwrap());
    }
}

/// Who waits counts as a user of that pool, too.
#[tokio::test(start_paused = true)]
async fn a_connection_that_becomes_idle_makes_room_for_one_who_waits_for_the_same_shard() {
    let options = quick().max_connections(4).max_connections_per_database(6).timeouts(patient());
    let map = points(Sqlite::in_memory_with(options), 2).await;
    let mut held: Vec<_> = join_all((0..4).map(|_| open(&map, 0))).await.into_iter().map(Result::unwrap).collect();
    let mut waiting = vec![Box::pin(open(&map, 0)), Box::pin(open(&map, 0))];
    for open in &mut waiting {
        assert!(poll!(open).is_pending());
    }
    drop(held.pop());
    let mut other = Box::pin(open(&map, 1));
    assert!(poll!(&mut other).is_pending());
    held.push(waiting.remove(0).await.unwrap());
    drop(held.pop());
    held.push(waiting.remove(0).await.unwrap());
    drop(held.pop());
    held.push(other.await.unwrap());
}

#[tokio::test]
async fn a_request_to_a_store_takes_no_longer_than_a_command_may() {
    let directory = directory();
    let map = {
        let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
        let map: ListShardMap<i64, _> = manager.create_list_shard_map("many").await.unwrap();
        let shard = shards(&map, 1).await.remove(0);
        let _ = map.create_mapping(0, &shard).await.unwrap();
        map
    };
    // Many rows, so that listing them is many steps.
    let database = rusqlite::Connection::open(directory.path().join("gsm.db")).unwrap();
    let many = r#"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
        INSERT INTO "__ShardManagement.ShardMappingsGlobal"
        SELECT printf('00000000-0000-0000-0000-%012d', i), 1, "ShardId", "ShardMapId", NULL,
               unhex(printf('81%014X', i)), NULL, 1, "LockOwnerId"
        FROM "__ShardManagement.ShardMappingsGlobal", n"#;
    assert_eq!(database.execute(many, []).unwrap(), 2000);
    assert_eq!(map.mappings().await.unwrap().len(), 2001);

    let hurried = quick().timeouts(Timeouts::default().command(Duration::ZERO));
    let store = Sqlite::open_with(directory.path(), hurried).unwrap();
    let manager = ShardMapManager::open(store, Options::default()).await.unwrap();
    let map: ListShardMap<i64, _> = manager.list_shard_map("many").await.unwrap();
    let late = map.mappings().await.unwrap_err();
    assert_eq!((late.kind(), late.limit()), (ErrorKind::TimedOut, Some(Limit::Command)), "{late:?}");
    assert_eq!(late.place(), Some(&Place::Global));
    // The connection is as good as before.
    assert!(map.find_mapping_for_key(&0).await.unwrap().is_some());
}

/// The place in a pool that an abandoned request leaves behind holds no connection, so closing it makes no room; the idle
/// connections of other databases do.
#[tokio::test(start_paused = true)]
async fn an_abandoned_request_does_not_keep_others_from_idle_connections() {
    let map = points(Sqlite::in_memory_with(quick().max_connections(4).timeouts(patient())), 4).await;
    let mut connection = open(&map, 0).await.unwrap();
    let mut abandoned =
        Box::pin(connection.read(|transaction| transaction.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))));
    assert!(poll!(&mut abandoned).is_pending());
    drop(abandoned);
    drop(connection);
    for key in 1..4 {
        assert!(open(&map, key).await.is_ok());
    }
    // The first of these may take the place of the abandoned connection, the second cannot.
    for (key, shard) in (0_i64..).zip(shards(&map, 6).await).skip(4) {
        let _ = map.create_mapping(key, &shard).await.unwrap();
        assert!(open(&map, key).await.is_ok(), "four connections are idle");
    }
}
