//! What becomes of sessions on the server when mappings go offline.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;
use shardlet::{
    ErrorKind, ListShardMap, Mapping, Options, RangeMapping, RangeShardMap, SessionPolicy, Shard, ShardMap,
    ShardMapManager, SqlServer, SqlServerConnection, SqlServerOptions, Stores, Validation,
};

use crate::conformance::Environment;
use crate::environment::Live;
use crate::server::{Direct, connection_string, credentials};
use crate::support::consistency::assert_consistent;
use crate::support::probe::{Call, Probe};

trials! { sessions {
    offline_ends_the_sessions_of_one_mapping_and_of_no_other,
    sessions_without_validation_and_used_ones_end,
    a_statement_that_runs_is_interrupted,
    the_caller_chooses_what_becomes_of_sessions,
    draining_waits_for_the_last_session_and_no_longer_than_it_may,
    sessions_from_before_splits_and_merges_end,
    no_statement_succeeds_once_the_mapping_is_offline,
    sessions_of_the_reference_library_end_on_demand,
} }

type Range<B = SqlServer> = RangeShardMap<i64, B>;

const LONG: Duration = Duration::from_secs(3600);

async fn try_open<M, B>(map: &ShardMap<M, B>, key: i64, validation: Validation) -> shardlet::Result<SqlServerConnection>
where
    M: Mapping<Key = i64>,
    B: Stores<Credentials = shardlet::SqlCredentials, Connection = SqlServerConnection>,
{
    map.open_connection_for_key(&key, &credentials(), validation).await
}

async fn open<M, B>(map: &ShardMap<M, B>, key: i64) -> SqlServerConnection
where
    M: Mapping<Key = i64>,
    B: Stores<Credentials = shardlet::SqlCredentials, Connection = SqlServerConnection>,
{
    try_open(map, key, Validation::Validate).await.unwrap()
}

async fn answers(connection: &mut SqlServerConnection) -> bool {
    match connection.query("SELECT 1", &[]).await {
        Ok(rows) => rows.into_row().await.is_ok(),
        Err(_) => false,
    }
}

async fn spid(connection: &mut SqlServerConnection) -> i32 {
    let rows = connection.query("SELECT CONVERT(int, @@SPID)", &[]).await.unwrap();
    rows.into_row().await.unwrap().unwrap().get(0).unwrap()
}

/// `[0, 20)` and `[20, 30)` on shard 0.
async fn on_one_shard<B: Stores>(env: &Live, map: &Range<B>) -> (RangeMapping<i64>, RangeMapping<i64>, Shard) {
    let shard = env.shards(map, 1).await.remove(0);
    let low = map.create_mapping(0..20, &shard).await.unwrap();
    (low, map.create_mapping(20..30, &shard).await.unwrap(), shard)
}

async fn offline_ends_the_sessions_of_one_mapping_and_of_no_other() {
    let env = Live::new().await;
    let manager = env.manager().await;
    let map: Range = manager.create_range_shard_map("ranges").await.unwrap();
    let (low, _, shard) = on_one_shard(&env, &map).await;
    let second = env.shards(&map, 2).await.remove(1);
    let _ = map.create_mapping(30..40, &second).await.unwrap();
    // The same keys, shard and database in other maps.
    let others: Range = manager.create_range_shard_map("others").await.unwrap();
    let points: ListShardMap<i64, _> = manager.create_list_shard_map("points").await.unwrap();
    let (other_shard, point_shard) = (env.shards(&others, 1).await.remove(0), env.shards(&points, 1).await.remove(0));
    let _ = others.create_mapping(0..30, &other_shard).await.unwrap();
    let point = points.create_mapping(5, &point_shard).await.unwrap();
    for neighbour in [4, 6] {
        let _ = points.create_mapping(neighbour, &point_shard).await.unwrap();
    }

    let mut first = open(&map, 0).await;
    let mut last = open(&map, 19).await;
    let mut neighbour = open(&map, 20).await;
    let mut elsewhere = open(&map, 35).await;
    let mut in_others = open(&others, 5).await;
    let mut in_points = [open(&points, 4).await, open(&points, 5).await, open(&points, 6).await];
    let shard = map.shard(shard.location()).await.unwrap();
    let mut by_shard = map.open_connection_to_shard(&shard, &credentials(), Validation::Validate).await.unwrap();
    let mut direct = Direct::to(shard.location().database()).await;

    let (_, ended) = map.mark_mapping_offline_with(low, SessionPolicy::EndNow).await.unwrap();
    assert_eq!(ended.ended, 2);
    for (name, connection, alive) in [
        ("first key", &mut first, false),
        ("last key", &mut last, false),
        ("neighbour", &mut neighbour, true),
        ("other shard", &mut elsewhere, true),
        ("other map", &mut in_others, true),
        ("by shard", &mut by_shard, true),
    ] {
        assert_eq!(answers(connection).await, alive, "{name}");
        assert_eq!(answers(connection).await, alive, "{name}, used again");
    }
    direct.run("SELECT 1").await;

    let (offline, ended) = points.mark_mapping_offline_with(point, SessionPolicy::EndNow).await.unwrap();
    assert_eq!(ended.ended, 1);
    for (number, alive) in [(0, true), (1, false), (2, true)] {
        assert_eq!(answers(&mut in_points[number]).await, alive, "point {number}");
    }
    assert!(answers(&mut in_others).await && answers(&mut neighbour).await);
    let refused = try_open(&points, 5, Validation::Validate).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Offline);
    let _ = points.mark_mapping_online(offline).await.unwrap();
    assert!(answers(&mut open(&points, 5).await).await);
    assert!(!answers(&mut in_points[1]).await, "an ended session stays ended");
    assert_consistent(env.backend(), &env.places(), "after all").await;
}

async fn sessions_without_validation_and_used_ones_end() {
    let env = Live::new().await;
    let manager = env.manager().await;
    let map: Range = manager.create_range_shard_map("ranges").await.unwrap();
    let (mut low, ..) = on_one_shard(&env, &map).await;
    let _ = map.lookup_mapping(&1).await.unwrap();

    let mut unused = try_open(&map, 1, Validation::None).await.unwrap();
    let mut used = try_open(&map, 2, Validation::None).await.unwrap();
    assert!(answers(&mut used).await);
    let mut in_transaction = open(&map, 3).await;
    assert_eq!(in_transaction.execute("CREATE TABLE dbo.item (id int NOT NULL)", &[]).await.unwrap(), 0);
    let mut transaction = in_transaction.begin().await.unwrap();
    assert_eq!(transaction.execute("INSERT INTO dbo.item VALUES (1)", &[]).await.unwrap(), 1);
    let raw = open(&map, 4).await.into_raw().await.unwrap();
    let mut raw_unstamped = try_open(&map, 5, Validation::None).await.unwrap().into_raw().await.unwrap();
    let mut neighbour = try_open(&map, 25, Validation::None).await.unwrap();
    assert!(answers(&mut neighbour).await);

    // The unused one has sent nothing yet: there is no session of the mapping to end.
    let (offline, ended) = map.mark_mapping_offline_with(low, SessionPolicy::EndNow).await.unwrap();
    assert_eq!(ended.ended, 4);
    assert!(!answers(&mut used).await);
    assert!(transaction.commit().await.is_err(), "the transaction of an ended session");
    let mut raw = raw;
    for raw in [&mut raw, &mut raw_unstamped] {
        assert!(raw.execute("SELECT 1", &[]).await.is_err());
    }
    assert!(answers(&mut neighbour).await);
    let items = Direct::to(&env.databases.shard(0)).await.rows("SELECT id FROM dbo.item", &[]).await;
    assert_eq!(items.len(), 0);

    // It was opened for a mapping that is offline when it is used, and nobody asked to know; the next one that takes the
    // mapping offline ends it.
    assert!(answers(&mut unused).await);
    low = map.mark_mapping_online(offline).await.unwrap();
    let (_, ended) = map.mark_mapping_offline_with(low, SessionPolicy::EndNow).await.unwrap();
    assert_eq!(ended.ended, 1);
    assert!(!answers(&mut unused).await);
}

async fn a_statement_that_runs_is_interrupted() {
    let env = Live::new().await;
    let manager = env.manager().await;
    let map: Range = manager.create_range_shard_map("ranges").await.unwrap();
    let (low, ..) = on_one_shard(&env, &map).await;
    for (validation, key) in [(Validation::Validate, 5), (Validation::None, 6)] {
        let current = map.mapping_for_key(&0).await.unwrap();
        let _ = map.mark_mapping_online(current).await.unwrap();
        let mut session = try_open(&map, key, validation).await.unwrap();
        let id = spid(&mut session).await;
        let endless = "DECLARE @n bigint = 0; WHILE @n >= 0 SET @n = @n % 1000 + 1";
        let running = async { session.simple_query(endless).await?.into_results().await.map(drop) };
        let ending = async {
            let mut direct = Direct::to("master").await;
            let status = "SELECT status FROM sys.dm_exec_sessions WHERE session_id = @P1";
            while !direct
                .rows(status, &[&id])
                .await
                .iter()
                .any(|row| ["running", "active"].contains(&row.get::<&str, _>(0).unwrap_or_default().trim()))
            {
            }
            let current = map.mapping_for_key(&0).await.unwrap();
            map.mark_mapping_offline_with(current, SessionPolicy::EndNow).await.unwrap().1
        };
        let (refused, ended) = tokio::join!(running, ending);
        let refused = refused.unwrap_err();
        assert_eq!(ended.ended, 1, "{validation:?}");
        assert_eq!(refused.kind(), ErrorKind::OutcomeUnknown, "{validation:?}: {refused:?}");
        assert!(!answers(&mut session).await, "{validation:?}");
    }
    drop(low);
}

async fn the_caller_chooses_what_becomes_of_sessions() {
    let env = Live::new().await;
    let manager = env.manager().await;
    let map: Range = manager.create_range_shard_map("ranges").await.unwrap();
    let (mut low, ..) = on_one_shard(&env, &map).await;
    let mut neighbour = open(&map, 25).await;
    for (policy, ended, alive) in [
        (SessionPolicy::EndNow, 2, false),
        (SessionPolicy::Drain(Duration::ZERO), 2, false),
        (SessionPolicy::Drain(Duration::from_millis(200)), 2, false),
        (SessionPolicy::Leave, 0, true),
    ] {
        let mut sessions = [open(&map, 1).await, open(&map, 2).await];
        let (offline, outcome) = map.mark_mapping_offline_with(low, policy).await.unwrap();
        assert_eq!(outcome.ended, ended, "{policy:?}");
        for session in &mut sessions {
            assert_eq!(answers(session).await, alive, "{policy:?}");
        }
        assert!(answers(&mut neighbour).await, "{policy:?}");
        let refused = try_open(&map, 1, Validation::Validate).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Offline, "{policy:?}");
        low = map.mark_mapping_online(offline).await.unwrap();
    }
}

async fn draining_waits_for_the_last_session_and_no_longer_than_it_may() {
    let env = Live::new().await;
    let probe = Probe::new(env.backend().clone());
    let manager = ShardMapManager::open_or_create(probe.clone(), Options::default()).await.unwrap();
    let map: Range<Probe<SqlServer>> = manager.create_range_shard_map("ranges").await.unwrap();
    let (low, ..) = on_one_shard(&env, &map).await;
    let (mut first, second, mut neighbour) = (open(&map, 1).await, open(&map, 2).await, open(&map, 25).await);
    probe.reset();
    let offline = tokio::spawn(map.mark_mapping_offline_with(low, SessionPolicy::Drain(LONG)));
    while probe.count(&Call::EndSessions) == 0 {
        tokio::task::yield_now().await;
    }
    let refused = try_open(&map, 1, Validation::Validate).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::PendingOperation | ErrorKind::Offline), "{refused:?}");
    assert!(answers(&mut first).await, "those inside may finish");
    drop(second);
    assert!(answers(&mut first).await, "one of two is closed");
    assert!(!offline.is_finished());
    drop(first);
    let (low, outcome) = offline.await.unwrap().unwrap();
    assert_eq!(outcome.ended, 0, "all went by themselves");
    assert!(answers(&mut neighbour).await);

    // One goes, one stays.
    let low = map.mark_mapping_online(low).await.unwrap();
    let (goes, mut stays) = (open(&map, 1).await, open(&map, 2).await);
    probe.reset();
    let policy = SessionPolicy::Drain(Duration::from_millis(500));
    let offline = tokio::spawn(map.mark_mapping_offline_with(low, policy));
    while probe.count(&Call::EndSessions) == 0 {
        tokio::task::yield_now().await;
    }
    drop(goes);
    let (_, outcome) = offline.await.unwrap().unwrap();
    assert_eq!(outcome.ended, 1);
    assert!(!answers(&mut stays).await);
    assert!(answers(&mut neighbour).await);
}

async fn sessions_from_before_splits_and_merges_end() {
    let env = Live::new().await;
    let manager = env.manager().await;
    let map: Range = manager.create_range_shard_map("ranges").await.unwrap();
    let (low, high, _) = on_one_shard(&env, &map).await;
    let mut sessions = [open(&map, 2).await, open(&map, 5).await, open(&map, 15).await, open(&map, 25).await];
    let (left, right) = map.split_mapping(low, 10).await.unwrap();
    let right = map.merge_mappings(right, high).await.unwrap();
    let (_, middle) = map.split_mapping(left, 3).await.unwrap();
    let (_, ended) = map.mark_mapping_offline_with(middle, SessionPolicy::EndNow).await.unwrap();
    assert_eq!(ended.ended, 1);
    for (number, alive) in [(0, true), (1, false), (2, true), (3, true)] {
        assert_eq!(answers(&mut sessions[number]).await, alive, "session {number}");
    }
    let (_, ended) = map.mark_mapping_offline_with(right, SessionPolicy::EndNow).await.unwrap();
    assert_eq!(ended.ended, 2);
    for (number, alive) in [(0, true), (2, false), (3, false)] {
        assert_eq!(answers(&mut sessions[number]).await, alive, "session {number}");
    }
}

/// What one that opens and uses sessions has seen.
#[derive(Default)]
struct Seen {
    before: usize,
    /// Statements that began after the mapping was offline, and succeeded.
    after: usize,
}

/// Opens and uses sessions until one statement has been tried after the mapping went offline.
async fn hammer(map: &Range, key: i64, keep: bool, offline: Rc<Cell<bool>>) -> Seen {
    let mut seen = Seen::default();
    let mut kept: Option<SqlServerConnection> = None;
    loop {
        let late = offline.get();
        let mut session = match kept.take() {
            Some(session) => session,
            None => match try_open(map, key, Validation::Validate).await {
                Ok(session) => session,
                Err(_) if late => return seen,
                Err(_) => {
                    tokio::task::yield_now().await;
                    continue;
                }
            },
        };
        // Between the open and this the mapping may have gone.
        let late = offline.get();
        let answered = answers(&mut session).await;
        match (answered, late) {
            (true, false) => seen.before += 1,
            (true, true) => seen.after += 1,
            // An ended session answers at once.
            (false, _) => tokio::task::yield_now().await,
        }
        if late {
            return seen;
        }
        kept = (keep && answered).then_some(session);
    }
}

async fn no_statement_succeeds_once_the_mapping_is_offline() {
    let env = Live::new().await;
    let manager = env.manager().await;
    let map: Range = manager.create_range_shard_map("ranges").await.unwrap();
    let (mut low, ..) = on_one_shard(&env, &map).await;
    let mut neighbour = open(&map, 25).await;
    let admin = env.other_manager().await;
    let admin: Range = admin.range_shard_map("ranges").await.unwrap();
    for round in 0..5 {
        let offline = Rc::new(Cell::new(false));
        let users = join_all((0..8).map(|number| hammer(&map, number, number % 4 == 0, Rc::clone(&offline))));
        let ending = async {
            // Enough of them are at work.
            for _ in 0..40 + round * 7 {
                assert!(answers(&mut neighbour).await, "round {round}: the neighbour");
            }
            let (mapping, ended) = admin.mark_mapping_offline_with(low, SessionPolicy::EndNow).await.unwrap();
            offline.set(true);
            (mapping, ended)
        };
        let (seen, (mapping, _)) = tokio::join!(users, ending);
        let before: usize = seen.iter().map(|it| it.before).sum();
        let after: usize = seen.iter().map(|it| it.after).sum();
        assert!(before > 0, "round {round}: nobody was at work");
        assert_eq!(after, 0, "round {round}: statements that succeeded after the mapping was offline");
        low = admin.mark_mapping_online(mapping).await.unwrap();
    }
    assert!(answers(&mut neighbour).await);
    assert_consistent(env.backend(), &env.places(), "after all rounds").await;
}

async fn sessions_of_the_reference_library_end_on_demand() {
    let env = Live::new().await;
    let manager = env.manager().await;
    let map: Range = manager.create_range_shard_map("ranges").await.unwrap();
    let (low, _, shard) = on_one_shard(&env, &map).await;
    let other: Range = manager.create_range_shard_map("others").await.unwrap();

    // Some engines cut names of programs at 63 characters.
    let named = async |map: &Range| {
        let address = connection_string(shard.location().database());
        Direct::connect(&format!("{address};Application Name=aESC_SMMv2.0.0_User{}", map.id())).await
    };
    let (mut of_map, mut of_other) = (named(&map).await, named(&other).await);
    let (offline, ended) = map.mark_mapping_offline_with(low, SessionPolicy::EndNow).await.unwrap();
    assert_eq!(ended.ended, 0, "off unless set");
    of_map.run("SELECT 1").await;
    let low = map.mark_mapping_online(offline).await.unwrap();

    let backend = env.databases.backend(SqlServerOptions::default().ends_reference_sessions(true));
    let manager = ShardMapManager::open(backend, Options::default()).await.unwrap();
    let admin: Range = manager.range_shard_map("ranges").await.unwrap();
    let mut neighbour = open(&map, 25).await;
    let (low, ended) = admin.mark_mapping_offline_with(low, SessionPolicy::EndNow).await.unwrap();
    assert_eq!(ended.ended, 1, "and our own for other mappings live");
    assert!(of_map.try_run("SELECT 1").await.is_err());
    of_other.run("SELECT 1").await;
    assert!(answers(&mut neighbour).await);
    drop(low);
}
