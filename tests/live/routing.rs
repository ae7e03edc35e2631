//! Opening connections for keys, what is done on them, and that nothing of one user reaches the next.

use std::time::Duration;

use shardlet::tiberius::{IntoSql, IsolationLevel, Row, TokenRow};
use shardlet::{
    ErrorKind, ListShardMap, LoadPolicy, Options, RangeShardMap, SessionPolicy, ShardMapManager, SqlCredentials,
    SqlServer, SqlServerConnection, SqlServerOptions, Stores, Validation,
};

use crate::conformance::Environment;
use crate::environment::Live;
use crate::server::{Direct, credentials, is_babelfish};
use crate::support::probe::{Call, Probe};

trials! { routing {
    a_connection_leads_to_the_shard_of_its_key,
    a_stale_route_is_read_again_once,
    an_eager_client_reads_everything_once,
    what_cannot_be_opened_says_why,
    statements_transactions_and_bulk_inserts,
    nothing_of_one_user_reaches_the_next,
    a_connection_that_was_abandoned_is_not_used_again,
} }

type Range<B = SqlServer> = RangeShardMap<i64, B>;

async fn open<B>(map: &Range<B>, key: i64, validation: Validation) -> shardlet::Result<SqlServerConnection>
where
    B: Stores<Credentials = SqlCredentials, Connection = SqlServerConnection>,
{
    map.open_connection_for_key(&key, &credentials(), validation).await
}

async fn row(connection: &mut SqlServerConnection, sql: &str) -> Row {
    connection.query(sql, &[]).await.unwrap().into_row().await.unwrap().unwrap()
}

async fn database(connection: &mut SqlServerConnection) -> String {
    row(connection, "SELECT DB_NAME()").await.get::<&str, _>(0).unwrap().to_owned()
}

async fn spid(connection: &mut SqlServerConnection) -> i32 {
    row(connection, "SELECT CONVERT(int, @@SPID)").await.get(0).unwrap()
}

/// `[0, 100)` on shard 0 and `[100, 200)` on shard 1.
async fn two_ranges(env: &Live) -> Range {
    let map: Range = env.manager().await.create_range_shard_map("ranges").await.unwrap();
    let shards = env.shards(&map, 2).await;
    let _ = map.create_mapping(0..100, &shards[0]).await.unwrap();
    let _ = map.create_mapping(100..200, &shards[1]).await.unwrap();
    map
}

/// A client with counts, pools and a cache of its own.
async fn counted(env: &Live, options: Options) -> (Probe<SqlServer>, Range<Probe<SqlServer>>) {
    let probe = Probe::new(env.databases.backend(SqlServerOptions::default()));
    let manager = ShardMapManager::open(probe.clone(), options).await.unwrap();
    let map = manager.range_shard_map("ranges").await.unwrap();
    (probe, map)
}

fn requests(probe: &Probe<SqlServer>) -> (usize, usize, usize) {
    (probe.count(&Call::FindMappingByKey), probe.count(&Call::OpenRouted), probe.total())
}

async fn a_connection_leads_to_the_shard_of_its_key() {
    let env = Live::new().await;
    let map = two_ranges(&env).await;
    let points: ListShardMap<i64, _> = map.manager().create_list_shard_map("points").await.unwrap();
    let shards = env.shards(&points, 2).await;
    let _ = points.create_mapping(7, &shards[1]).await.unwrap();
    let _ = points.create_mapping(-7, &shards[0]).await.unwrap();
    for validation in [Validation::Validate, Validation::None] {
        for (key, number) in [(0, 0), (99, 0), (100, 1), (199, 1)] {
            let mut connection = open(&map, key, validation).await.unwrap();
            assert_eq!(connection.location(), &env.location(number), "{key}");
            assert_eq!(database(&mut connection).await, env.databases.shard(number), "{key}");
        }
        for (key, number) in [(7, 1), (-7, 0)] {
            let mut connection = points.open_connection_for_key(&key, &credentials(), validation).await.unwrap();
            assert_eq!(database(&mut connection).await, env.databases.shard(number), "point {key}");
        }
        for shard in map.shards().await.unwrap() {
            let mut connection = map.open_connection_to_shard(&shard, &credentials(), validation).await.unwrap();
            assert_eq!(database(&mut connection).await, shard.location().database());
        }
        let missing = open(&map, 200, validation).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}

async fn a_stale_route_is_read_again_once() {
    let env = Live::new().await;
    let admin = two_ranges(&env).await;
    let (probe, map) = counted(&env, Options::default()).await;
    probe.reset();
    assert!(open(&map, 5, Validation::Validate).await.is_ok());
    assert_eq!(requests(&probe), (1, 1, 2), "cold");
    assert!(open(&map, 6, Validation::Validate).await.is_ok());
    assert_eq!(requests(&probe), (1, 2, 3), "warm");

    let shards = admin.shards().await.unwrap();
    let target = shards.iter().find(|shard| shard.location() == &env.location(1)).unwrap();
    let mapping = admin.mark_mapping_offline(admin.mapping_for_key(&5).await.unwrap()).await.unwrap();
    probe.reset();
    let offline = open(&map, 5, Validation::Validate).await.unwrap_err();
    assert_eq!(offline.kind(), ErrorKind::Offline);
    assert!(probe.count(&Call::FindMappingByKey) <= 1 && probe.count(&Call::OpenRouted) <= 2, "{:?}", requests(&probe));
    let moved = admin.move_mapping(mapping, target).await.unwrap();
    let _ = admin.mark_mapping_online(moved).await.unwrap();
    let mut connection = open(&map, 5, Validation::Validate).await.unwrap();
    assert_eq!(database(&mut connection).await, env.databases.shard(1));
    drop(connection);

    // Warm, and the mapping goes back behind the client's back: its shard refuses, the global store is asked once.
    let mapping = admin.mark_mapping_offline(admin.mapping_for_key(&5).await.unwrap()).await.unwrap();
    let source = shards.iter().find(|shard| shard.location() == &env.location(0)).unwrap();
    let moved = admin.move_mapping(mapping, source).await.unwrap();
    let _ = admin.mark_mapping_online(moved).await.unwrap();
    probe.reset();
    let mut connection = open(&map, 5, Validation::Validate).await.unwrap();
    assert_eq!(database(&mut connection).await, env.databases.shard(0));
    assert_eq!(requests(&probe), (1, 2, 3), "stale");
}

async fn an_eager_client_reads_everything_once() {
    let env = Live::new().await;
    let _ = two_ranges(&env).await;
    let (probe, map) = counted(&env, Options::default().load_policy(LoadPolicy::Eager)).await;
    assert_eq!(probe.count(&Call::LoadAll), 1);
    probe.reset();
    for (key, number) in [(50, 0), (150, 1)] {
        let connection = open(&map, key, Validation::Validate).await.unwrap();
        assert_eq!(connection.location(), &env.location(number));
    }
    assert_eq!(requests(&probe), (0, 2, 2));
    assert_eq!(open(&map, 500, Validation::Validate).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(requests(&probe), (1, 2, 3), "what it has not read it asks for");
}

async fn what_cannot_be_opened_says_why() {
    let env = Live::new().await;
    let map = two_ranges(&env).await;
    // A connection string that trusts the server's certificate as the backend's does.
    let nobody = SqlCredentials::login("shardlet_no_such_login", "Wrong_password_1");
    for validation in [Validation::Validate, Validation::None] {
        let refused = map.open_connection_for_key(&5, &nobody, validation).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Credentials, "{refused:?}");
        let text = format!("{refused} {refused:?}");
        assert!(!text.contains("Wrong_password_1"), "{text}");
    }
    assert!(open(&map, 5, Validation::Validate).await.is_ok(), "others are not concerned");

    let mapping = map.mark_mapping_offline(map.mapping_for_key(&150).await.unwrap()).await.unwrap();
    for validation in [Validation::Validate, Validation::None] {
        let refused = open(&map, 150, validation).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Offline, "{validation:?}: {refused:?}");
    }
    let _ = map.mark_mapping_online(mapping).await.unwrap();

    // The shard's database is gone.
    env.databases.drop_shard(1).await;
    let other: Range = env.other_manager().await.range_shard_map("ranges").await.unwrap();
    for validation in [Validation::Validate, Validation::None] {
        let refused = open(&other, 150, validation).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "{validation:?}: {refused:?}");
    }
    assert!(open(&other, 5, Validation::Validate).await.is_ok(), "the other shard is there");
    let mapping = other.mapping_for_key(&150).await.unwrap();
    let refused = other.mark_mapping_offline_with(mapping, SessionPolicy::Leave).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused:?}");
}

async fn statements_transactions_and_bulk_inserts() {
    const ROWS: i32 = 100_000;
    let env = Live::new().await;
    let map = two_ranges(&env).await;
    let mut connection = open(&map, 5, Validation::Validate).await.unwrap();
    let table = "CREATE TABLE dbo.[odd. name] (id int NOT NULL PRIMARY KEY, [the text] nvarchar(50) NULL)";
    let _ = connection.simple_query(table).await.unwrap().into_results().await.unwrap();

    let results = connection.simple_query("SELECT 1; SELECT 2, 3 WHERE 1 = 0; SELECT 4").await.unwrap();
    let results = results.into_results().await.unwrap();
    assert_eq!(results.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 1]);
    let mut rows =
        connection.query("SELECT @P1 AS a UNION ALL SELECT @P2 ORDER BY a", &[&1_i32, &2_i32]).await.unwrap();
    for expected in [1, 2] {
        assert_eq!(rows.next().await.unwrap().unwrap().get::<i32, _>(0), Some(expected));
    }
    assert!(rows.next().await.unwrap().is_none());
    drop(rows);

    let insert = "INSERT INTO dbo.[odd. name] (id, [the text]) VALUES (@P1, @P2)";
    let emoji = "a \u{1f980} and '";
    assert_eq!(connection.execute(insert, &[&-1_i32, &emoji]).await.unwrap(), 1);
    let refused = connection.execute(insert, &[&-1_i32, &"twice"]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Statement, "{refused:?}");
    let refused = connection.query("SELECT nothing FROM nowhere", &[]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Statement, "{refused:?}");
    assert_eq!(database(&mut connection).await, env.databases.shard(0), "it is as good as before");

    let count = "SELECT COUNT(*) FROM dbo.[odd. name]";
    let mut transaction = connection.begin().await.unwrap();
    assert_eq!(transaction.execute(insert, &[&-2_i32, &"rolled back"]).await.unwrap(), 1);
    transaction.rollback().await.unwrap();
    let mut transaction = connection.begin_with(IsolationLevel::ReadCommitted).await.unwrap();
    assert_eq!(transaction.execute(insert, &[&-3_i32, &"committed"]).await.unwrap(), 1);
    let inner = transaction.begin().await.map(drop).unwrap_err();
    assert_eq!(inner.kind(), ErrorKind::InvalidInput);
    transaction.commit().await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    assert_eq!(transaction.execute(insert, &[&-4_i32, &"dropped"]).await.unwrap(), 1);
    drop(transaction);
    assert_eq!(row(&mut connection, count).await.get::<i32, _>(0), Some(2));
    let text = row(&mut connection, "SELECT [the text] FROM dbo.[odd. name] WHERE id = -1").await;
    assert_eq!(text.get::<&str, _>(0), Some(emoji));

    let columns = ["id", "[the text]"];
    let mut bulk = connection.bulk_insert("dbo.[odd. name]", &columns).await.unwrap();
    for number in 0..ROWS {
        let mut cells = TokenRow::new();
        cells.push(number.into_sql());
        cells.push((number % 3 != 0).then(|| format!("row {number}")).into_sql());
        bulk.send(cells).await.unwrap();
    }
    assert_eq!(bulk.finish().await.unwrap(), u64::from(ROWS.unsigned_abs()));
    let sums = "SELECT COUNT(*), SUM(CONVERT(bigint, id)), COUNT([the text]) FROM dbo.[odd. name] WHERE id >= 0";
    let sums = row(&mut connection, sums).await;
    let (rows, sum, texts) = (sums.get::<i32, _>(0), sums.get::<i64, _>(1), sums.get::<i32, _>(2));
    assert_eq!((rows, sum, texts), (Some(ROWS), Some(i64::from(ROWS) * i64::from(ROWS - 1) / 2), Some(66_666)));

    let raw = connection.into_raw().await.unwrap();
    let mut raw = raw;
    let answer = raw.query("SELECT DB_NAME()", &[]).await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(answer.get::<&str, _>(0), Some(env.databases.shard(0).as_str()));
}

/// What a session is, and what somebody may have left on it.
const STATE: &str = "SELECT CONVERT(nvarchar(max), N'transactions ' + CONVERT(nvarchar(9), @@TRANCOUNT) \
    + N', nocount ' + CONVERT(nvarchar(9), @@OPTIONS & 512) + N', xact_abort ' + CONVERT(nvarchar(9), @@OPTIONS & 16384) \
    + N', language ' + @@LANGUAGE + N', first day ' + CONVERT(nvarchar(9), @@DATEFIRST) \
    + N', text ' + CONVERT(nvarchar(20), @@TEXTSIZE) + N', lock timeout ' + CONVERT(nvarchar(20), @@LOCK_TIMEOUT) \
    + N', date ' + CONVERT(nvarchar(20), CONVERT(date, '01/02/2003'), 23) \
    + N', database ' + DB_NAME() + N', temporary ' + COALESCE(CONVERT(nvarchar(20), OBJECT_ID('tempdb..#left')), N'none') \
    + N', context ' + COALESCE(CONVERT(nvarchar(50), SESSION_CONTEXT(N'left')), N'none') \
    + N', isolation ' + (SELECT CONVERT(nvarchar(9), transaction_isolation_level) FROM sys.dm_exec_sessions \
       WHERE session_id = @@SPID))";

async fn state(connection: &mut SqlServerConnection) -> String {
    let mut sql = STATE.to_owned();
    if is_babelfish().await {
        // It does not know the one, and a connection whose user has named the other is closed there.
        sql = sql.replace("@@TEXTSIZE", "0").replace("SESSION_CONTEXT(N'left')", "NULL");
    }
    let rows = connection.simple_query(sql).await.unwrap();
    rows.into_row().await.unwrap().unwrap().get::<&str, _>(0).unwrap().to_owned()
}

/// Opens until the same physical connection comes round again; `None` if it was closed instead.
async fn same_again(map: &Range, id: i32) -> Option<SqlServerConnection> {
    let mut direct = Direct::to("master").await;
    let lives = "SELECT 1 FROM sys.dm_exec_sessions WHERE session_id = @P1";
    while !direct.rows(lives, &[&id]).await.is_empty() {
        let mut connection = open(map, 5, Validation::Validate).await.unwrap();
        if spid(&mut connection).await == id {
            return Some(connection);
        }
    }
    None
}

async fn nothing_of_one_user_reaches_the_next() {
    let env = Live::new().await;
    let _ = two_ranges(&env).await;
    // Two at most, so that the same one comes back soon.
    let options = SqlServerOptions::default().max_connections_per_shard(2);
    let backend = env.databases.backend(options);
    let manager = ShardMapManager::open(backend, Options::default()).await.unwrap();
    let map: Range = manager.range_shard_map("ranges").await.unwrap();
    let mut connection = open(&map, 5, Validation::Validate).await.unwrap();
    let clean = state(&mut connection).await;
    assert_eq!(connection.execute("CREATE TABLE dbo.item (id int NOT NULL)", &[]).await.unwrap(), 0);
    let mut id = spid(&mut connection).await;
    drop(connection);

    let elsewhere = format!("USE [{}]", env.databases.shard(1));
    let left = [
        ("open transaction", "BEGIN TRANSACTION; INSERT INTO dbo.item VALUES (1)"),
        ("temporary table", "CREATE TABLE #left (id int)"),
        ("nocount", "SET NOCOUNT ON"),
        ("xact abort", "SET XACT_ABORT ON"),
        ("language", "SET LANGUAGE Deutsch"),
        ("date format", "SET DATEFORMAT dmy"),
        ("first day", "SET DATEFIRST 3"),
        ("text size", "SET TEXTSIZE 1234"),
        ("lock timeout", "SET LOCK_TIMEOUT 321"),
        ("isolation level", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
        ("lock", "EXEC sp_getapplock @Resource = N'left', @LockMode = N'Exclusive', @LockOwner = N'Session'"),
        ("session context", "EXEC sp_set_session_context N'left', N'something'"),
        ("context info", "SET CONTEXT_INFO 0x0123456789"),
        ("database", elsewhere.as_str()),
    ];
    // What Babelfish takes as said and does not do.
    let not_there: &[&str] =
        if is_babelfish().await { &["language", "date format", "text size", "isolation level"] } else { &[] };
    // What it takes closing the connection to get rid of there.
    let closes: &[&str] = if is_babelfish().await { &["session context"] } else { &[] };
    for (name, statement) in left {
        let mut connection = match same_again(&map, id).await {
            Some(connection) => connection,
            None => open(&map, 5, Validation::Validate).await.unwrap(),
        };
        id = spid(&mut connection).await;
        assert_eq!(state(&mut connection).await, clean, "before {name}");
        let outcome = match connection.simple_query(statement).await {
            Ok(rows) => rows.into_results().await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            assert!(not_there.contains(&name), "{name}: {error:?}");
        } else if !["lock", "context info"].contains(&name) && !closes.contains(&name) {
            let changed = state(&mut connection).await != clean;
            assert!(changed || not_there.contains(&name), "{name} changes nothing, so this is no test");
        }
        drop(connection);
        let Some(mut next) = same_again(&map, id).await else {
            assert!(closes.contains(&name), "the connection was closed after {name}");
            continue;
        };
        assert_eq!(state(&mut next).await, clean, "after {name}");
        let info = row(&mut next, "SELECT CONTEXT_INFO()").await;
        assert_eq!(info.get::<&[u8], _>(0).map(|info| &info[..4]), Some(&b"SLT1"[..]), "the stamp, after {name}");
        assert_eq!(row(&mut next, "SELECT COUNT(*) FROM dbo.item").await.get::<i32, _>(0), Some(0), "after {name}");
        let mut other = Direct::to(&env.databases.shard(0)).await;
        let lock = "DECLARE @got int; EXEC @got = sp_getapplock @Resource = N'left', @LockMode = N'Exclusive', \
                    @LockOwner = N'Session', @LockTimeout = 0; SELECT @got";
        let got = other.rows(lock, &[]).await;
        assert!(got[0].get::<i32, _>(0).unwrap() >= 0, "the lock is free after {name}");
    }
}

async fn a_connection_that_was_abandoned_is_not_used_again() {
    let env = Live::new().await;
    let map = two_ranges(&env).await;
    // A stream that is dropped before its end.
    let mut connection = open(&map, 5, Validation::Validate).await.unwrap();
    let id = spid(&mut connection).await;
    let mut rows = connection.simple_query("SELECT 1 UNION ALL SELECT 2").await.unwrap();
    assert!(rows.next().await.unwrap().is_some());
    drop(rows);
    assert_eq!(connection.execute("SELECT 1", &[]).await.unwrap_err().kind(), ErrorKind::Transient);
    drop(connection);
    assert!(same_again(&map, id).await.is_none(), "it is closed");

    // A statement that is given up.
    let mut connection = open(&map, 5, Validation::Validate).await.unwrap();
    let id = spid(&mut connection).await;
    let endless = "DECLARE @n bigint = 0; WHILE @n >= 0 SET @n = @n % 1000 + 1";
    let given_up = tokio::time::timeout(Duration::from_millis(50), async {
        connection.simple_query(endless).await?.into_results().await.map(drop)
    });
    assert!(given_up.await.is_err());
    assert_eq!(connection.execute("SELECT 1", &[]).await.unwrap_err().kind(), ErrorKind::Transient);
    drop(connection);
    let mut next = open(&map, 5, Validation::Validate).await.unwrap();
    assert_ne!(spid(&mut next).await, id);
    // The server goes on until it sees that nobody listens.
    let _ = Direct::to("master").await.try_run(&format!("KILL {id}")).await;
}
