//! What becomes of open connections when mappings go offline.

use std::sync::mpsc;
use std::time::Duration;

use futures::future::BoxFuture;
use shardlet::{
    ErrorCode, ErrorKind, ListShardMap, Mapping, NoCredentials, Options, RangeMapping, RangeShardMap, SessionPolicy,
    ShardMap, ShardMapManager, Sqlite, SqliteConnection, Stores, Validation,
};
use tempfile::TempDir;

use crate::support::contents::{raw, shard_file};
use crate::support::probe::{Call, Probe};
use crate::support::{directory, location, manager, shards, sqlite};

type Range<B = Sqlite> = RangeShardMap<i64, B>;

const LONG: Duration = Duration::from_secs(3600);

async fn open<M, B>(map: &ShardMap<M, B>, key: i64) -> SqliteConnection
where
    M: Mapping<Key = i64>,
    B: Stores<Credentials = NoCredentials, Connection = SqliteConnection>,
{
    map.open_connection_for_key(&key, &NoCredentials, Validation::Validate).await.unwrap()
}

async fn is_alive(connection: &mut SqliteConnection) -> bool {
    match connection.read(|transaction| transaction.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))).await {
        Ok(one) => one == 1,
        Err(error) => {
            assert_eq!((error.kind(), error.code()), (ErrorKind::Offline, ErrorCode::SessionEnded), "{error:?}");
            false
        }
    }
}

/// A range map on a store; what is there already is opened.
async fn ranges<B: Stores>(store: B) -> Range<B> {
    let manager = ShardMapManager::open_or_create(store, Options::default()).await.unwrap();
    manager.range_shard_map_or_create("ranges").await.unwrap()
}

/// A range map with `[0, 20)` and `[20, 30)` on one shard, which has a table `item`.
async fn on_one_shard<B>(map: &Range<B>) -> (RangeMapping<i64>, RangeMapping<i64>)
where
    B: Stores<Credentials = NoCredentials, Connection = SqliteConnection>,
{
    let shards = shards(map, 1).await;
    let mappings =
        (map.create_mapping(0..20, &shards[0]).await.unwrap(), map.create_mapping(20..30, &shards[0]).await.unwrap());
    open(map, 0).await.execute_batch("CREATE TABLE item (id INTEGER PRIMARY KEY)").await.unwrap();
    mappings
}

async fn items(map: &Range<impl Stores<Credentials = NoCredentials, Connection = SqliteConnection>>) -> i64 {
    let shard = map.shard(&location(0)).await.unwrap();
    let mut connection = map.open_connection_to_shard(&shard, &NoCredentials, Validation::None).await.unwrap();
    let count = |transaction: &shardlet::SqliteTransaction<'_>| {
        transaction.query_row("SELECT count(*) FROM item", [], |row| row.get(0))
    };
    connection.read(count).await.unwrap()
}

#[tokio::test]
async fn offline_ends_the_sessions_of_one_range_mapping_and_of_no_other() {
    let manager = manager().await;
    let map: Range = manager.create_range_shard_map("ranges").await.unwrap();
    let (low, _) = on_one_shard(&map).await;
    // The same keys, shard and database in another map.
    let other: Range = manager.create_range_shard_map("others").await.unwrap();
    let other_shard = shards(&other, 1).await.remove(0);
    let _ = other.create_mapping(0..30, &other_shard).await.unwrap();

    let (mut first, mut second, mut neighbour) = (open(&map, 0).await, open(&map, 19).await, open(&map, 20).await);
    let mut in_other = open(&other, 5).await;
    let mut to_shard = map.open_connection_to_shard(low.shard(), &NoCredentials, Validation::None).await.unwrap();
    let (_, ended) = map.mark_mapping_offline_with(low, SessionPolicy::EndNow).await.unwrap();
    assert_eq!(ended.ended, 2);
    for (name, connection, alive) in [
        ("first", &mut first, false),
        ("last key", &mut second, false),
        ("neighbour", &mut neighbour, true),
        ("other map", &mut in_other, true),
        ("by shard", &mut to_shard, true),
    ] {
        assert_eq!(is_alive(connection).await, alive, "{name}");
        assert_eq!(is_alive(connection).await, alive, "{name}, used again");
        let written = connection.execute("INSERT INTO item DEFAULT VALUES", []).await;
        assert_eq!(written.is_ok(), alive, "{name}, writing");
    }
}

#[tokio::test]
async fn offline_ends_the_sessions_of_one_point_mapping_and_of_no_other() {
    let manager = manager().await;
    let map: ListShardMap<i64, _> = manager.create_list_shard_map("points").await.unwrap();
    let shard = shards(&map, 1).await.remove(0);
    let point = map.create_mapping(5, &shard).await.unwrap();
    for neighbour in [4, 6] {
        let _ = map.create_mapping(neighbour, &shard).await.unwrap();
    }
    let mut sessions = [open(&map, 4).await, open(&map, 5).await, open(&map, 6).await, open(&map, 5).await];
    let (offline, ended) = map.mark_mapping_offline_with(point, SessionPolicy::EndNow).await.unwrap();
    assert_eq!(ended.ended, 2);
    for (number, alive) in [(0, true), (1, false), (2, true), (3, false)] {
        assert_eq!(is_alive(&mut sessions[number]).await, alive, "session {number}");
    }
    // Ended sessions stay ended; new ones are as good as ever.
    let _ = map.mark_mapping_online(offline).await.unwrap();
    assert!(!is_alive(&mut sessions[1]).await);
    assert!(is_alive(&mut open(&map, 5).await).await);
}

#[tokio::test]
async fn a_statement_that_runs_is_interrupted() {
    let manager = manager().await;
    let map: Range = manager.create_range_shard_map("ranges").await.unwrap();
    let (low, _) = on_one_shard(&map).await;
    let mut session = open(&map, 5).await;
    let (started, starts) = mpsc::channel();
    let running = tokio::spawn(async move {
        let endless = move |transaction: &shardlet::SqliteTransaction<'_>| {
            let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
            let mut statement = transaction.prepare(sql)?;
            let mut rows = statement.query([])?;
            let _ = rows.next()?;
            started.send(()).unwrap();
            while rows.next()?.is_some() {}
            Ok(())
        };
        session.read(endless).await
    });
    tokio::task::spawn_blocking(move || starts.recv().unwrap()).await.unwrap();
    let (_, ended) = map.mark_mapping_offline_with(low, SessionPolicy::EndNow).await.unwrap();
    assert_eq!(ended.ended, 1);
    let refused = running.await.unwrap().unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Offline, ErrorCode::SessionEnded), "{refused:?}");
}

#[tokio::test]
async fn a_statement_that_starts_in_an_ended_session_is_interrupted_too() {
    // In files, where a reader does not hold up a writer; in memory the change would wait for this session.
    let directory = directory();
    let map = ranges(sqlite(&directory)).await;
    let (low, _) = on_one_shard(&map).await;
    let mut session = open(&map, 5).await;
    let (started, starts) = mpsc::channel();
    let (go, gate) = mpsc::channel();
    let running = tokio::spawn(async move {
        let late = move |transaction: &shardlet::SqliteTransaction<'_>| {
            started.send(()).unwrap();
            gate.recv().unwrap();
            let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) \
                       SELECT count(*) FROM n";
            // What an application might do that goes on after an error.
            Ok((0..3).map(|_| transaction.query_row(sql, [], |row| row.get::<_, i64>(0)).is_ok()).collect::<Vec<_>>())
        };
        let (report, reported) = mpsc::channel();
        let outcome = session.read(move |transaction| late(transaction).map(|done| report.send(done).unwrap())).await;
        (outcome, reported.recv().unwrap())
    });
    tokio::task::spawn_blocking(move || starts.recv().unwrap()).await.unwrap();
    let _ = map.mark_mapping_offline(low).await.unwrap();
    go.send(()).unwrap();
    let (outcome, statements) = running.await.unwrap();
    assert_eq!(outcome.unwrap_err().code(), ErrorCode::SessionEnded);
    assert_eq!(statements, [false; 3], "statements that ran to their end after the session was ended");
}

#[tokio::test]
async fn a_transaction_that_waits_for_another_writer_is_told_that_its_session_was_ended() {
    let directory = directory();
    let probe = Probe::new(sqlite(&directory));
    let map = ranges(probe.clone()).await;
    let (low, _) = on_one_shard(&map).await;
    let (mut session, mut other) = (open(&map, 5).await, open(&map, 25).await);
    let writer = raw(&shard_file(directory.path(), 0));
    // With so many endings of others that to look through them takes a while.
    let endings = r#"BEGIN IMMEDIATE;
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
        INSERT INTO "__ShardManagement.SessionsEndedLocal" ("ShardMapId", "MinValue", "MaxValue")
        SELECT '00000000-0000-0000-0000-000000000000', x'80', NULL FROM n"#;
    writer.execute_batch(endings).unwrap();
    let waiting = tokio::spawn(async move { session.execute("INSERT INTO item DEFAULT VALUES", []).await });
    // By then it has got as far as it can.
    for _ in 0..20 {
        assert!(is_alive(&mut other).await);
    }
    probe.reset();
    let offline = tokio::spawn(map.mark_mapping_offline(low));
    // From this request on the session is ended; the change itself waits, too.
    while probe.count(&Call::ChangeLocal { at: location(0), undoing: false }) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(is_alive(&mut other).await);
    writer.execute_batch("COMMIT").unwrap();
    let refused = waiting.await.unwrap().unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Offline, ErrorCode::SessionEnded), "{refused:?}");
    let _ = offline.await.unwrap().unwrap();
    assert_eq!(items(&map).await, 0);
}

#[tokio::test]
async fn an_open_write_transaction_does_not_commit() {
    let probe = Probe::new(Sqlite::in_memory());
    let map = ranges(probe.clone()).await;
    let (low, _) = on_one_shard(&map).await;
    let mut session = open(&map, 5).await;
    let (started, starts) = mpsc::channel();
    let (go, gate) = mpsc::channel();
    let writing = tokio::spawn(async move {
        let write = move |transaction: &shardlet::SqliteTransaction<'_>| {
            let written = transaction.execute("INSERT INTO item DEFAULT VALUES", [])?;
            started.send(()).unwrap();
            gate.recv().unwrap();
            Ok(written)
        };
        session.write(write).await
    });
    tokio::task::spawn_blocking(move || starts.recv().unwrap()).await.unwrap();
    probe.reset();
    let offline = tokio::spawn(map.mark_mapping_offline(low));
    // From this request on the session is ended; the change itself waits for the writer.
    while probe.count(&Call::ChangeLocal { at: location(0), undoing: false }) == 0 {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    let refused = writing.await.unwrap().unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Offline, ErrorCode::SessionEnded), "{refused:?}");
    let _ = offline.await.unwrap().unwrap();
    assert_eq!(items(&map).await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_caller_chooses_what_becomes_of_sessions() {
    // Sessions that are open, and how many are ended.
    for (policy, ended, alive) in [
        (SessionPolicy::EndNow, 3, false),
        (SessionPolicy::Drain(Duration::ZERO), 3, false),
        (SessionPolicy::Drain(LONG), 3, false),
        (SessionPolicy::Leave, 0, true),
    ] {
        let manager = manager().await;
        let map: Range = manager.create_range_shard_map("ranges").await.unwrap();
        let (low, _) = on_one_shard(&map).await;
        let mut sessions = [open(&map, 1).await, open(&map, 2).await, open(&map, 3).await, open(&map, 25).await];
        let (_, outcome) = map.mark_mapping_offline_with(low, policy).await.unwrap();
        assert_eq!(outcome.ended, ended, "{policy:?}");
        for (number, session) in sessions.iter_mut().enumerate() {
            assert_eq!(is_alive(session).await, alive || number == 3, "{policy:?}, session {number}");
        }
        let refused = map.open_connection_for_key(&1, &NoCredentials, Validation::Validate).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Offline, "{policy:?}: a new open is refused");
    }
}

#[tokio::test]
async fn draining_ends_when_the_last_session_is_closed() {
    let probe = Probe::new(Sqlite::in_memory());
    let map = ranges(probe.clone()).await;
    let (low, _) = on_one_shard(&map).await;
    let (mut first, second, mut neighbour) = (open(&map, 1).await, open(&map, 2).await, open(&map, 25).await);
    probe.reset();
    let offline = tokio::spawn(map.mark_mapping_offline_with(low, SessionPolicy::Drain(LONG)));
    while probe.count(&Call::EndSessions) == 0 {
        tokio::task::yield_now().await;
    }
    // The mapping is offline at the shard, and those inside may finish.
    let refused = map.open_connection_for_key(&1, &NoCredentials, Validation::Validate).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::PendingOperation | ErrorKind::Offline), "{refused:?}");
    assert_eq!(first.execute("INSERT INTO item DEFAULT VALUES", []).await.unwrap(), 1);
    drop(second);
    assert!(is_alive(&mut first).await, "one of two is closed");
    assert!(!offline.is_finished());
    drop(first);
    let (_, outcome) = offline.await.unwrap().unwrap();
    assert_eq!(outcome.ended, 0, "all went by themselves");
    assert!(is_alive(&mut neighbour).await);
    assert_eq!(items(&map).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_given_up_ends_those_that_are_left() {
    let probe = Probe::new(Sqlite::in_memory());
    let map = ranges(probe.clone()).await;
    let (low, _) = on_one_shard(&map).await;
    let (closed, mut left) = (open(&map, 1).await, open(&map, 2).await);
    probe.reset();
    let offline = tokio::spawn(map.mark_mapping_offline_with(low, SessionPolicy::Drain(LONG)));
    while probe.count(&Call::EndSessions) == 0 {
        tokio::task::yield_now().await;
    }
    drop(closed);
    let (_, outcome) = offline.await.unwrap().unwrap();
    assert_eq!(outcome.ended, 1);
    assert!(!is_alive(&mut left).await);
}

/// Sessions for keys 5 and 15 in `[0, 20)`; then the change; then the mapping of key 5 goes offline.
async fn after_a_change<F>(change: F) -> [bool; 3]
where
    F: for<'m> FnOnce(&'m Range, RangeMapping<i64>, RangeMapping<i64>) -> BoxFuture<'m, ()>,
{
    let manager = manager().await;
    let map: Range = manager.create_range_shard_map("ranges").await.unwrap();
    let (low, high) = on_one_shard(&map).await;
    let mut sessions = [open(&map, 5).await, open(&map, 15).await, open(&map, 25).await];
    change(&map, low, high).await;
    for (number, session) in sessions.iter_mut().enumerate() {
        assert!(is_alive(session).await, "the change alone ends nothing, session {number}");
    }
    let offline = map.mapping_for_key(&5).await.unwrap();
    let (_, outcome) = map.mark_mapping_offline_with(offline, SessionPolicy::EndNow).await.unwrap();
    let mut alive = [false; 3];
    for (alive, session) in alive.iter_mut().zip(&mut sessions) {
        *alive = is_alive(session).await;
    }
    assert_eq!(outcome.ended, alive.iter().filter(|alive| !**alive).count());
    alive
}

#[tokio::test]
async fn sessions_follow_their_key_through_splits_and_merges() {
    let nothing = after_a_change(|_, _, _| Box::pin(async {})).await;
    assert_eq!(nothing, [false, false, true], "unchanged");
    let split = after_a_change(|map, low, _| Box::pin(async { drop(map.split_mapping(low, 10).await.unwrap()) })).await;
    assert_eq!(split, [false, true, true], "split between the keys");
    let split = after_a_change(|map, low, _| Box::pin(async { drop(map.split_mapping(low, 5).await.unwrap()) })).await;
    assert_eq!(split, [false, false, true], "split at the key");
    let merged =
        after_a_change(|map, low, high| Box::pin(async { drop(map.merge_mappings(low, high).await.unwrap()) })).await;
    assert_eq!(merged, [false, false, false], "merged");
    let both = after_a_change(|map, low, high| {
        Box::pin(async {
            let whole = map.merge_mappings(low, high).await.unwrap();
            drop(map.split_mapping(whole, 10).await.unwrap());
        })
    })
    .await;
    assert_eq!(both, [false, true, true], "merged and split elsewhere");
}

/// Two clients of one directory that know nothing of each other, as two processes.
async fn two_clients(directory: &TempDir) -> (Range, Range) {
    (ranges(sqlite(directory)).await, ranges(sqlite(directory)).await)
}

#[tokio::test]
async fn sessions_of_another_client_are_refused_at_their_next_use() {
    for policy in [SessionPolicy::EndNow, SessionPolicy::Drain(Duration::ZERO), SessionPolicy::Leave] {
        let directory = directory();
        let (map, elsewhere) = two_clients(&directory).await;
        let (low, _) = on_one_shard(&map).await;
        let (mut unused, mut used) = (open(&elsewhere, 5).await, open(&elsewhere, 5).await);
        let mut neighbour = open(&elsewhere, 25).await;
        assert!(is_alive(&mut used).await);
        let (_, outcome) = map.mark_mapping_offline_with(low, policy).await.unwrap();
        assert_eq!(outcome.ended, 0, "{policy:?}: those of others are not counted");
        let leaves = policy == SessionPolicy::Leave;
        for (name, session) in [("unused", &mut unused), ("used", &mut used)] {
            let written = session.execute("INSERT INTO item DEFAULT VALUES", []).await;
            assert_eq!(written.is_ok(), leaves, "{policy:?}, {name}");
            assert_eq!(is_alive(session).await, leaves, "{policy:?}, {name}");
        }
        assert!(is_alive(&mut neighbour).await, "{policy:?}");
        assert_eq!(items(&map).await, if leaves { 2 } else { 0 }, "{policy:?}");
    }
}

#[tokio::test]
async fn a_session_that_saw_the_endings_of_others_ends_with_its_own() {
    let directory = directory();
    let (map, elsewhere) = two_clients(&directory).await;
    let (mut low, high) = on_one_shard(&map).await;
    let (mut busy, mut idle) = (open(&elsewhere, 25).await, open(&elsewhere, 25).await);
    for _ in 0..2 {
        let offline = map.mark_mapping_offline(low).await.unwrap();
        low = map.mark_mapping_online(offline).await.unwrap();
        assert!(is_alive(&mut busy).await);
    }
    let offline = map.mark_mapping_offline(high).await.unwrap();
    let _ = map.mark_mapping_online(offline).await.unwrap();
    // One more of others, after its own.
    let _ = map.mark_mapping_offline(low).await.unwrap();
    for session in [&mut busy, &mut idle] {
        assert!(!is_alive(session).await);
        assert!(!is_alive(session).await, "and stays so");
    }
}

#[tokio::test]
async fn a_session_that_slept_while_its_mapping_was_offline_is_ended_as_well() {
    let directory = directory();
    let (map, elsewhere) = two_clients(&directory).await;
    let (low, _) = on_one_shard(&map).await;
    let (mut here, mut there) = (open(&map, 5).await, open(&elsewhere, 5).await);
    let mut neighbour = open(&elsewhere, 25).await;
    let offline = map.mark_mapping_offline(low).await.unwrap();
    let online = map.mark_mapping_online(offline).await.unwrap();
    // Opened after the ending, which does not concern them; and the next ending is one of its own.
    let (mut new_here, mut new_there) = (open(&map, 5).await, open(&elsewhere, 5).await);
    assert!(is_alive(&mut new_here).await && is_alive(&mut new_there).await);
    assert!(!is_alive(&mut here).await, "of the same client");
    assert!(!is_alive(&mut there).await, "of another client");
    let offline = map.mark_mapping_offline(online).await.unwrap();
    let _ = map.mark_mapping_online(offline).await.unwrap();
    assert!(!is_alive(&mut new_here).await && !is_alive(&mut new_there).await);
    assert!(is_alive(&mut neighbour).await);
}

#[tokio::test]
async fn sessions_of_a_mapping_that_moved_away_are_ended_at_the_old_shard() {
    let directory = directory();
    let (map, elsewhere) = two_clients(&directory).await;
    let (low, _) = on_one_shard(&map).await;
    let target = shards(&map, 2).await.remove(1);
    let (mut here, mut there) = (open(&map, 5).await, open(&elsewhere, 5).await);
    let moved = map.move_mapping(map.mark_mapping_offline(low).await.unwrap(), &target).await.unwrap();
    let _ = map.mark_mapping_online(moved).await.unwrap();
    assert!(!is_alive(&mut here).await && !is_alive(&mut there).await);
    assert_eq!(open(&elsewhere, 5).await.location(), &location(1));
}

#[tokio::test]
async fn unvalidated_sessions_are_ended_too() {
    let directory = directory();
    let (map, elsewhere) = two_clients(&directory).await;
    let (low, _) = on_one_shard(&map).await;
    let unvalidated =
        |map: Range| async move { map.open_connection_for_key(&5, &NoCredentials, Validation::None).await.unwrap() };
    let (mut used, mut unused) = (unvalidated(map.clone()).await, unvalidated(map.clone()).await);
    let mut there = unvalidated(elsewhere.clone()).await;
    assert!(is_alive(&mut used).await && is_alive(&mut there).await);
    let (_, outcome) = map.mark_mapping_offline_with(low, SessionPolicy::EndNow).await.unwrap();
    assert_eq!(outcome.ended, 2);
    assert!(!is_alive(&mut used).await, "used before");
    assert!(!is_alive(&mut unused).await, "not used before");
    assert!(!is_alive(&mut there).await, "of another client, used before");
}

#[tokio::test]
async fn the_raw_connection_is_the_callers_own() {
    let manager = manager().await;
    let map: Range = manager.create_range_shard_map("ranges").await.unwrap();
    let (low, _) = on_one_shard(&map).await;
    let raw = open(&map, 5).await.into_raw().await.unwrap();
    let ended = open(&map, 5).await;
    let (_, outcome) = map.mark_mapping_offline_with(low, SessionPolicy::EndNow).await.unwrap();
    assert_eq!(outcome.ended, 1, "the raw one is no session any more");
    let written = tokio::task::spawn_blocking(move || {
        raw.execute_batch("PRAGMA recursive_triggers = 1; CREATE TEMP TABLE mine (id INTEGER)").unwrap();
        raw.execute("INSERT INTO item DEFAULT VALUES", []).unwrap()
    });
    assert_eq!(written.await.unwrap(), 1);
    assert_eq!(items(&map).await, 1);
    let refused = ended.into_raw().await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::SessionEnded, "an ended session does not become raw");
}

/// SQLite rolls a whole transaction back by itself when a write in it is interrupted. What a closure that does not stop then
/// executes must not be committed statement by statement: its keys are offline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closure_that_goes_on_after_its_session_was_ended_writes_nothing() {
    let directory = directory();
    let map = ranges(sqlite(&directory)).await;
    let (low, _) = on_one_shard(&map).await;
    let mut session = open(&map, 5).await;
    let (started, starts) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let work = move |transaction: &shardlet::SqliteTransaction<'_>| {
        started.send(()).unwrap();
        let endless =
            "INSERT INTO item WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
        assert!(transaction.execute(endless, []).is_err());
        may_go.recv().unwrap();
        let _ = transaction.execute("INSERT INTO item VALUES (-1)", []);
        let _ = transaction.execute_batch("BEGIN; INSERT INTO item VALUES (-2); COMMIT");
        let _ = transaction.execute_batch("SAVEPOINT mine; INSERT INTO item VALUES (-3); RELEASE mine");
        Ok(())
    };
    let running = tokio::spawn(async move { session.write(work).await });
    tokio::task::spawn_blocking(move || starts.recv().unwrap()).await.unwrap();
    let _ = map.mark_mapping_offline(low).await.unwrap();
    go.send(()).unwrap();
    let refused = running.await.unwrap().unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Offline, ErrorCode::SessionEnded), "{refused:?}");
    assert_eq!(items(&map).await, 0);
}

#[tokio::test]
async fn a_closure_neither_ends_its_transaction_nor_goes_on_without_it() {
    let manager = manager().await;
    let map: Range = manager.create_range_shard_map("ranges").await.unwrap();
    let _ = on_one_shard(&map).await;
    let mut session = open(&map, 5).await;
    for script in [
        "ROLLBACK; INSERT INTO item VALUES (1)",
        "INSERT INTO item VALUES (1); COMMIT; BEGIN",
        "COMMIT; INSERT INTO item VALUES (1)",
    ] {
        let refused = session.execute_batch(script).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Statement, "{script}: {refused:?}");
        assert_eq!(items(&map).await, 0, "{script}");
    }
    // A conflict that rolls back, and a closure that does not mind.
    let work = |transaction: &shardlet::SqliteTransaction<'_>| {
        let _ = transaction.execute("INSERT INTO item VALUES (1)", [])?;
        let _ = transaction.execute("INSERT OR ROLLBACK INTO item VALUES (1)", []);
        let _ = transaction.execute("INSERT INTO item VALUES (2)", []);
        Ok(())
    };
    let refused = session.write(work).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Statement, "{refused:?}");
    assert_eq!(items(&map).await, 0);
    assert_eq!(
        session.execute("INSERT INTO item VALUES (3)", []).await.unwrap(),
        1,
        "the session is as good as before"
    );
}

#[tokio::test]
async fn sessions_that_were_left_are_ended_by_marking_the_mapping_offline_again() {
    let manager = manager().await;
    let map: Range = manager.create_range_shard_map("ranges").await.unwrap();
    let (low, _) = on_one_shard(&map).await;
    let mut session = open(&map, 5).await;
    let (offline, _) = map.mark_mapping_offline_with(low, SessionPolicy::Leave).await.unwrap();
    assert!(is_alive(&mut session).await);
    let (_, ended) = map.mark_mapping_offline_with(offline, SessionPolicy::EndNow).await.unwrap();
    assert_eq!(ended.ended, 1);
    assert!(!is_alive(&mut session).await);
}
