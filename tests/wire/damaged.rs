//! Stores that are not as this library installs them: columns, codes, versions, missing procedures.

use shardlet::gsm::{GlobalStore, LockChange, LockOutcome, RecordFilter, SchemaInfoEntry};
use shardlet::lsm::LocalStore;
use shardlet::{
    ErrorCode, ErrorKind, KeyType, LockToken, Place, ShardKey, ShardLocation, ShardMapInfo, ShardMapKind, ShardMapName,
    StoreVersion, Validation,
};

use crate::backend::{
    MAP, MAPPING, SHARD, VERSION, application, backend, count, echo, no_maps, patient, procedure, resets, route,
    routed, shard_at, shard_server, soon, validated,
};
use crate::endpoint::{Answer, Call, Endpoint, Request, Type, Value};
use crate::store::{Kind, kind};

fn tenants() -> ShardMapInfo {
    ShardMapInfo::new(MAP.into(), ShardMapName::new("tenants").unwrap(), ShardMapKind::Range, KeyType::Int64)
}

/// Columns with good values, and for each what it must not hold.
type Columns = Vec<(&'static str, Type, Value, Vec<(Type, Value)>)>;

fn map_columns() -> Columns {
    vec![
        ("ShardMapId", Type::Uuid, MAP.into(), vec![(Type::Uuid, Value::Null), (Type::Int, 1.into())]),
        (
            "Name",
            Type::Text,
            "tenants".into(),
            vec![
                (Type::Text, Value::Null),
                (Type::Text, "".into()),
                (Type::Text, "n".repeat(51).into()),
                (Type::Int, 1.into()),
            ],
        ),
        ("ShardMapType", Type::Int, 2.into(), numbers(&[0, 3])),
        ("KeyType", Type::Int, 2.into(), numbers(&[0, 8, i32::MIN])),
    ]
}

/// What a column of numbers must not hold: these, NULL and other types.
fn numbers(wrong: &[i32]) -> Vec<(Type, Value)> {
    let mut all: Vec<_> = wrong.iter().map(|number| (Type::Int, Value::from(*number))).collect();
    all.extend([(Type::Int, Value::Null), (Type::Text, "1".into()), (Type::BigInt, 1_i64.into())]);
    all
}

fn guids() -> Vec<(Type, Value)> {
    vec![(Type::Uuid, Value::Null), (Type::Text, "x".into()), (Type::LongBytes, vec![1_u8; 16].into())]
}

fn shard_columns() -> Columns {
    let name = |column, value: &str| {
        let wrong = vec![(Type::Text, Value::Null), (Type::Text, "".into()), (Type::Text, "n".repeat(129).into())];
        (column, Type::Text, value.into(), wrong)
    };
    vec![
        ("ShardId", Type::Uuid, SHARD.into(), guids()),
        ("Version", Type::Uuid, VERSION.into(), guids()),
        ("ShardMapId", Type::Uuid, MAP.into(), guids()),
        ("Protocol", Type::Int, 1.into(), numbers(&[-1, 99])),
        name("ServerName", "server"),
        ("Port", Type::Int, 1433.into(), numbers(&[-1, 65_536])),
        name("DatabaseName", "shard_0"),
        ("Status", Type::Int, 1.into(), numbers(&[-1, 7])),
    ]
}

fn mapping_columns() -> Columns {
    let key = |bytes: &[u8]| (Type::Bytes, Value::from(bytes));
    let mut columns: Columns = vec![
        ("MappingId", Type::Uuid, MAPPING.into(), guids()),
        ("ShardMapId", Type::Uuid, MAP.into(), guids()),
        (
            "MinValue",
            Type::Bytes,
            low().into(),
            vec![(Type::Bytes, Value::Null), key(&[1, 2, 3]), (Type::Text, "k".into())],
        ),
        ("MaxValue", Type::Bytes, high().into(), vec![key(&[1]), key(&low()), key(&[]), (Type::Int, 4.into())]),
        ("Status", Type::Int, 1.into(), numbers(&[-1, 2])),
        ("LockOwnerId", Type::Uuid, uuid::Uuid::nil().into(), guids()),
    ];
    columns.extend(shard_columns());
    columns
}

fn low() -> Vec<u8> {
    0_i64.encode().unwrap().as_bytes().to_vec()
}

fn high() -> Vec<u8> {
    100_i64.encode().unwrap().as_bytes().to_vec()
}

/// The row with one column changed.
fn answer(columns: &Columns, changed: Option<(usize, Type, Value)>) -> Answer {
    let mut names: Vec<_> = columns.iter().map(|(name, of, _, _)| (*name, *of)).collect();
    let mut row: Vec<_> = columns.iter().map(|(_, _, value, _)| value.clone()).collect();
    if let Some((at, of, value)) = changed {
        names[at].1 = of;
        row[at] = value;
    }
    Answer::rows(names, [row]).code(1)
}

/// The error that the first columns of the row lead to.
fn cut_off(columns: &Columns, left: usize) -> Answer {
    let names = columns.iter().take(left).map(|(name, of, _, _)| (*name, *of));
    Answer::rows(names, [columns.iter().take(left).map(|(_, _, value, _)| value.clone()).collect::<Vec<_>>()]).code(1)
}

/// Asks with each column wrong in each way, and with columns missing.
async fn each_column_is_checked<T: std::fmt::Debug>(
    name: &str,
    columns: Columns,
    ask: impl AsyncFn(&Endpoint) -> shardlet::Result<T>,
) {
    let server = shard_server().await;
    let right = answer(&columns, None);
    let _ = server.on_procedure(&procedure(name), move |_| right.clone());
    drop(ask(&server).await.unwrap());
    for (at, (column, _, _, wrong)) in columns.iter().enumerate() {
        for (of, value) in wrong {
            let damaged = answer(&columns, Some((at, *of, value.clone())));
            let _ = server.on_procedure(&procedure(name), move |_| damaged.clone());
            let error = ask(&server).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{column} {value:?}: {error:?}");
            assert!(error.to_string().contains(column), "{column} {value:?}: {error}");
            assert!(error.place().is_some(), "{error:?}");
        }
        let short = cut_off(&columns, at.max(1));
        let _ = server.on_procedure(&procedure(name), move |_| short.clone());
        let error = ask(&server).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{at} columns: {error:?}");
    }
}

#[tokio::test]
async fn the_columns_of_shard_maps_are_checked() {
    each_column_is_checked("ListShardMaps", map_columns(), async |server| {
        backend(server, patient()).shard_maps().await
    })
    .await;
}

#[tokio::test]
async fn the_columns_of_shards_are_checked() {
    each_column_is_checked("ListShards", shard_columns(), async |server| {
        backend(server, patient()).shards(MAP.into()).await
    })
    .await;
}

#[tokio::test]
async fn the_columns_of_mappings_are_checked() {
    each_column_is_checked("ListMappings", mapping_columns(), async |server| {
        backend(server, patient()).mappings(&tenants(), &RecordFilter::default()).await
    })
    .await;
}

#[tokio::test]
async fn the_columns_of_a_found_mapping_are_checked() {
    each_column_is_checked("FindMappingByKey", mapping_columns(), async |server| {
        backend(server, patient()).find_mapping_by_key(&tenants(), &7_i64.encode().unwrap()).await
    })
    .await;
}

#[tokio::test]
async fn the_columns_of_a_shards_own_store_are_checked() {
    let mut columns = map_columns();
    columns.extend(shard_columns());
    each_column_is_checked("ListLocalShards", columns, async |server| {
        backend(server, patient()).local_shards(&shard_at(server, "shard_0")).await
    })
    .await;
}

#[tokio::test]
async fn the_columns_of_the_log_are_checked() {
    let id = uuid::Uuid::from_u128(1);
    let columns: Columns = vec![
        ("OperationId", Type::Uuid, id.into(), guids()),
        ("OperationCode", Type::Int, 4.into(), numbers(&[])),
        ("Data", Type::LongText, "<x/>".into(), vec![(Type::LongText, Value::Null), (Type::Int, 1.into())]),
        ("UndoStartState", Type::Int, 100.into(), numbers(&[])),
        ("ShardVersionRemoves", Type::Uuid, Value::Null, vec![(Type::Int, 1.into())]),
        ("ShardVersionAdds", Type::Uuid, Value::Null, vec![(Type::Int, 1.into())]),
    ];
    each_column_is_checked("ListOperations", columns, async |server| {
        backend(server, patient()).pending_operations().await
    })
    .await;
}

#[tokio::test]
async fn the_columns_of_descriptions_are_checked() {
    let wrong = vec![(Type::Text, Value::Null), (Type::Int, 1.into())];
    let columns: Columns =
        vec![("ShardId", Type::Uuid, SHARD.into(), guids()), ("Description", Type::Text, "north".into(), wrong)];
    each_column_is_checked("ListShardDescriptions", columns, async |server| {
        backend(server, patient()).shard_descriptions(MAP.into()).await
    })
    .await;
}

fn schema_info_columns() -> Columns {
    let wrong = || vec![(Type::LongText, Value::Null), (Type::Int, 1.into())];
    // As Babelfish answers: with the byte order mark that a driver has sent.
    let document = "\u{feff}<Schema/>";
    vec![
        ("Name", Type::Text, "orders".into(), vec![(Type::Text, Value::Null), (Type::Int, 1.into())]),
        ("SchemaInfo", Type::LongText, document.into(), wrong()),
    ]
}

#[tokio::test]
async fn the_columns_of_schema_information_are_checked() {
    let entry = || SchemaInfoEntry { name: "orders".to_owned(), document: "<Schema/>".to_owned() };
    each_column_is_checked("ListSchemaInfos", schema_info_columns(), async |server| {
        let all = backend(server, patient()).schema_infos().await;
        assert!(all.as_ref().is_ok_and(|all| *all == [entry()]) || all.is_err(), "{all:?}");
        all
    })
    .await;
    each_column_is_checked("FindSchemaInfo", schema_info_columns(), async |server| {
        let found = backend(server, patient()).find_schema_info("orders").await;
        assert!(found.as_ref().is_ok_and(|found| *found == Some(entry())) || found.is_err(), "{found:?}");
        found
    })
    .await;
}

#[tokio::test]
async fn a_pending_operation_without_its_log_row_is_damage() {
    let server = shard_server().await;
    let _ = server.on_procedure(&procedure("ChangeLock"), |_| Answer::return_code(52));
    let backend = backend(&server, patient());
    let change = LockChange::UnlockAll(LockToken::random());
    let error = backend.change_lock(MAP.into(), &change).await.unwrap_err();
    assert_eq!((error.kind(), error.place()), (ErrorKind::StoreDamaged, Some(&Place::Global)));
    // Without a number the change was made all the same.
    let _ = server.on_procedure(&procedure("ChangeLock"), |_| Answer::return_code(1));
    let changed = backend.change_lock(MAP.into(), &change).await.unwrap();
    assert!(matches!(changed, LockOutcome::Changed(0)), "{changed:?}");
}

#[tokio::test]
async fn a_lock_that_is_answered_by_something_else_is_not_taken() {
    let server = shard_server().await;
    for answer in [
        Answer::done(),
        Answer::rows([("got", Type::Int)], [[0.into()]]),
        Answer::rows([("got", Type::Text), ("resource", Type::Text)], [["0".into(), "x".into()]]),
        Answer::rows([("got", Type::Int), ("resource", Type::Text)], [[Value::Null, Value::Null]]),
    ] {
        let _ = server.on_statement("sp_getapplock", move |_| answer.clone());
        let backend = backend(&server, patient());
        assert!(backend.lock_operation(shardlet::OperationId::random()).await.is_err());
        // It may be held all the same, so it ends with its session.
        soon(server.until(|server| server.open() == 0)).await;
    }
}

const VERSION_COLUMNS: [(&str, Type); 2] = [("StoreVersionMajor", Type::Int), ("StoreVersionMinor", Type::Int)];

#[tokio::test]
async fn another_version_is_told_by_every_request() {
    let server = shard_server().await;
    let refused = |major: i32, minor: i32| Answer::rows(VERSION_COLUMNS, [[major.into(), minor.into()]]).code(51);
    let _ = server.on_procedure(&procedure("ListShardMaps"), move |_| refused(2, 0));
    let _ = server.on_procedure(&procedure("ValidateMapping"), move |_| refused(0, 9));
    let backend = backend(&server, patient());
    let error = backend.shard_maps().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::VersionMismatch, ErrorCode::GlobalStoreVersionMismatch));
    assert!(error.to_string().contains("2.0") && error.to_string().contains("this library is older"), "{error}");
    let error = routed(&backend, &server, Validation::Validate).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::VersionMismatch, ErrorCode::LocalStoreVersionMismatch));
    assert!(error.to_string().contains("0.9") && error.to_string().contains("older than any"), "{error}");
    let _ = server.on_procedure(&procedure("ListShardMaps"), |_| Answer::return_code(51));
    assert_eq!(backend.shard_maps().await.unwrap_err().kind(), ErrorKind::StoreDamaged);
}

#[tokio::test]
async fn versions_are_read_from_old_and_new_stores() {
    let server = shard_server().await;
    let backend = backend(&server, patient());
    let ask = async |answer: Answer| {
        let _ = server.on_statement("ShardMapManagerGlobal", move |_| answer.clone());
        backend.global_version().await
    };
    let new = Answer::rows(VERSION_COLUMNS, [[1.into(), 2.into()]]);
    assert_eq!(ask(new).await.unwrap(), Some(StoreVersion::CURRENT));
    let old = Answer::rows([("StoreVersion", Type::Int)], [[1.into()]]);
    assert_eq!(ask(old).await.unwrap(), Some(StoreVersion { major: 1, minor: 0 }));
    assert_eq!(ask(Answer::done()).await.unwrap(), None);
    for half in [
        Answer::done().columns(VERSION_COLUMNS),
        Answer::rows(VERSION_COLUMNS, [[Value::Null, 1.into()]]),
        Answer::rows([("x", Type::Int)], [[1.into()]]),
        Answer::rows([("StoreVersion", Type::Text)], [["1".into()]]),
        Answer::rows([("NoVersionTable", Type::Int)], [[1.into()]]),
    ] {
        let error = ask(half).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{error:?}");
        assert!(error.to_string().contains("ShardMapManagerGlobal"), "{error}");
    }
}

/// The batches of the installation that came.
fn installed(server: &Endpoint) -> usize {
    let is_part = |call: &&Call| matches!(call.request(), Request::Batch(_)) && kind(call) != Kind::Cleaning;
    server.requests().iter().filter(is_part).count()
}

#[tokio::test]
async fn missing_procedures_are_installed_once() {
    let server = shard_server().await;
    let _ = server.on_statement("ShardMapManagerGlobal", |_| Answer::rows(VERSION_COLUMNS, [[1.into(), 2.into()]]));
    let _ = server.on_batch("", |_| Answer::done());
    server.on_procedure(&procedure("ListShardMaps"), |_| Answer::failed(2812, "no such procedure")).times(1);
    let backend = backend(&server, patient());
    assert_eq!(backend.shard_maps().await.unwrap(), []);
    // The scripts set what holds for the session, so it is reset when it goes back.
    resets(&server, 1).await;
    let mut requests = server.requests();
    requests.retain(|call| kind(call) != Kind::Cleaning);
    assert!(matches!(requests[0].request(), Request::Procedure { .. }));
    assert!(matches!(requests[1].request(), Request::Statement { text, .. } if text.contains("ShardMapManagerGlobal")));
    let first = requests[2].text();
    assert!(first.contains("BEGIN TRANSACTION") && first.contains("sp_getapplock"), "{first}");
    assert!(first.contains("SET ANSI_NULLS ON") && first.contains("SET QUOTED_IDENTIFIER ON"), "{first}");
    assert_eq!(requests[requests.len() - 2].text().trim(), "COMMIT TRANSACTION;");
    assert_eq!(installed(&server), requests.len() - 3);

    // A store where they are not there even then is given up.
    let before = installed(&server);
    let _ = server.on_procedure(&procedure("ListShardMaps"), |_| Answer::failed(2812, "no such procedure"));
    let error = backend.shard_maps().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{error:?}");
    assert_eq!(installed(&server), 2 * before);
}

#[tokio::test]
async fn an_open_installs_missing_procedures_as_the_backend() {
    let server = shard_server().await;
    let _ = server.on_statement("ShardMapManagerLocal", |_| Answer::rows(VERSION_COLUMNS, [[1.into(), 2.into()]]));
    let _ = server.on_batch("", |_| Answer::done());
    server.on_procedure(&procedure("ValidateMapping"), |_| Answer::failed(2812, "no such procedure")).times(1);
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    assert_eq!(echo(&mut connection, 1).await.unwrap(), Some(1));
    let users = |connection: usize| server.connection(connection).login().user;
    assert_eq!((&*users(1), &*users(2)), ("application", crate::endpoint::USER));
    assert!(server.requests_of(1).iter().all(|call| !matches!(call.request(), Request::Batch(_))));
    assert_eq!(count(&server, &procedure("ValidateMapping")), 2);
}

#[tokio::test]
async fn opens_that_fill_the_bound_still_install_what_is_missing() {
    let server = shard_server().await;
    let _ = server.on_statement("ShardMapManagerLocal", |_| Answer::rows(VERSION_COLUMNS, [[1.into(), 2.into()]]));
    let _ = server.on_batch("", |_| Answer::done());
    server.on_procedure(&procedure("ValidateMapping"), |_| Answer::failed(2812, "no such procedure")).times(4);
    let limits = patient().timeouts.pool_wait(std::time::Duration::from_secs(5));
    let backend = backend(&server, patient().max_connections(4).timeouts(limits));
    let place = shard_at(&server, "shard_0");
    let opens = (0..4).map(|_| async {
        drop(backend.open_routed(&route(place.clone()), &application(), Validation::Validate).await?);
        shardlet::Result::Ok(())
    });
    let opened = soon(futures::future::join_all(opens)).await;
    assert!(opened.iter().all(Result::is_ok), "{opened:?}");
}

#[tokio::test]
async fn a_database_without_a_store_is_told_apart() {
    let server = shard_server().await;
    let _ = server.on_statement("ShardMapManager", |_| Answer::done());
    for name in ["ListShardMaps", "ValidateMapping"] {
        let _ = server.on_procedure(&procedure(name), |_| Answer::failed(2812, "no such procedure"));
    }
    let backend = backend(&server, patient());
    let error = backend.shard_maps().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, ErrorCode::ShardMapManagerStoreDoesNotExist));
    let error = routed(&backend, &server, Validation::Validate).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist));
    assert_eq!(error.place(), Some(&Place::Shard(shard_at(&server, "shard_0"))));
    assert_eq!(installed(&server), 0);
}

#[tokio::test]
async fn nothing_is_installed_into_a_store_of_version_1_0() {
    let server = shard_server().await;
    let _ = server.on_statement("ShardMapManager", |_| Answer::rows([("StoreVersion", Type::Int)], [[1.into()]]));
    for name in ["ListShardMaps", "ValidateMapping"] {
        let _ = server.on_procedure(&procedure(name), |_| Answer::failed(2812, "no such procedure"));
    }
    let backend = backend(&server, patient());
    let error = backend.shard_maps().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::VersionMismatch, ErrorCode::GlobalStoreVersionMismatch));
    let error = routed(&backend, &server, Validation::Validate).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::VersionMismatch, ErrorCode::LocalStoreVersionMismatch));
    assert_eq!(installed(&server), 0);
}

#[tokio::test]
async fn an_installation_that_fails_leaves_no_open_transaction_behind() {
    let server = shard_server().await;
    let _ = server.on_statement("ShardMapManagerGlobal", |_| Answer::rows(VERSION_COLUMNS, [[1.into(), 2.into()]]));
    let _ = server.on_batch("", |_| Answer::done());
    let _ = server.on_batch("shardlet1_FindShardMap", |_| Answer::failed(262, "may not create procedures"));
    server.on_procedure(&procedure("ListShardMaps"), |_| Answer::failed(2812, "no such procedure")).times(1);
    let backend = backend(&server, patient());
    let error = backend.shard_maps().await.unwrap_err();
    assert_eq!((error.kind(), error.place()), (ErrorKind::Credentials, Some(&Place::Global)), "{error:?}");
    soon(server.until(|server| server.open() == 0)).await;
    let _ = server.on_procedure(&procedure("ListShardMaps"), |_| no_maps());
    assert_eq!(backend.shard_maps().await.unwrap(), []);
}

#[tokio::test]
async fn locations_that_a_store_holds_are_told_as_they_are() {
    let server = shard_server().await;
    let columns =
        [("Protocol", Type::Int), ("ServerName", Type::Text), ("Port", Type::Int), ("DatabaseName", Type::Text)];
    let _ = server.on_procedure(&procedure("ListShardLocations"), move |_| {
        Answer::rows(columns, [[1.into(), "Größe'; --".into(), 0.into(), "d]".into()]]).code(1)
    });
    let locations = backend(&server, patient()).shard_locations().await.unwrap();
    assert_eq!(locations, [ShardLocation::new("Größe'; --", "d]").with_protocol(shardlet::Protocol::Tcp)]);
}
