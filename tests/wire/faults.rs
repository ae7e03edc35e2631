//! What errors of the server are to a caller, and what of the connection.

use shardlet::gsm::GlobalStore;
use shardlet::{ErrorCode, ErrorKind, Limit, Place, Validation};

use crate::backend::{
    ECHO, MAP, MAP_COLUMNS, backend, count, echo, number, patient, procedure, routed, shard_at, shard_server, soon,
    validated,
};
use crate::endpoint::{Answer, Endpoint, Type};

/// A store's errors by number, and what they are to a caller of a request that reads and of one that changes.
const STORE: [(i32, ErrorKind); 21] = [
    (1205, ErrorKind::Transient),
    (40501, ErrorKind::Transient),
    (40613, ErrorKind::Transient),
    (10928, ErrorKind::Transient),
    (10929, ErrorKind::Transient),
    (3960, ErrorKind::Transient),
    (49920, ErrorKind::Transient),
    (1222, ErrorKind::TimedOut),
    (229, ErrorKind::Credentials),
    (262, ErrorKind::Credentials),
    (916, ErrorKind::Credentials),
    (3701, ErrorKind::Credentials),
    (4060, ErrorKind::Unavailable),
    (3906, ErrorKind::Unavailable),
    (9002, ErrorKind::Unavailable),
    (2627, ErrorKind::StoreDamaged),
    (2601, ErrorKind::StoreDamaged),
    (547, ErrorKind::StoreDamaged),
    (515, ErrorKind::StoreDamaged),
    (208, ErrorKind::StoreDamaged),
    (8144, ErrorKind::StoreDamaged),
];

/// After these it is not known how far a request had come.
const IN_DOUBT: [i32; 9] = [20, 64, 233, 10053, 10054, 10060, 40143, 40197, 40613];

#[tokio::test]
async fn errors_of_stores_are_told_by_their_numbers() {
    let server = shard_server().await;
    let backend = backend(&server, patient());
    for (number, kind) in STORE {
        for name in ["ListShardMaps", "RemoveShardMap", "ValidateMapping"] {
            server.on_procedure(&procedure(name), move |_| Answer::failed(number, "text of the server")).times(1);
        }
        let reading = backend.shard_maps().await.map(drop);
        match reading {
            // A connection that has served before may have been lost since, and is read from again once.
            Ok(()) => assert_eq!(kind, ErrorKind::Transient, "{number}"),
            Err(error) => {
                assert_eq!((error.kind(), error.place()), (kind, Some(&Place::Global)), "{number}: {error:?}");
                // What the server says of a constraint quotes keys, and is not kept.
                let quotes = [515, 547, 2601, 2627].contains(&number);
                assert_eq!(std::error::Error::source(&error).is_none(), quotes, "{number}");
                assert!(!error.to_string().contains("text of the server"));
            }
        }
        let error = backend.remove_shard_map(MAP.into()).await.unwrap_err();
        // A change may have been committed when the server or the network failed.
        let changing = if IN_DOUBT.contains(&number) { ErrorKind::OutcomeUnknown } else { kind };
        assert_eq!((error.kind(), error.place()), (changing, Some(&Place::Global)), "{number}: {error:?}");
        if kind == ErrorKind::TimedOut {
            assert_eq!(error.limit(), Some(Limit::Command));
        }
        if let Err(error) = routed(&backend, &server, Validation::Validate).await {
            let place = Place::Shard(shard_at(&server, "shard_0"));
            assert_eq!((error.kind(), error.place()), (kind, Some(&place)), "{number}: {error:?}");
        } else {
            assert_eq!(kind, ErrorKind::Transient, "{number}");
        }
    }
}

#[tokio::test]
async fn a_change_is_not_sent_again_for_an_error_that_passes() {
    let server = shard_server().await;
    let backend = backend(&server, patient());
    let _ = backend.shard_maps().await.unwrap();
    let _ = server.on_procedure(&procedure("RemoveShardMap"), |_| Answer::failed(1205, "deadlock"));
    let error = backend.remove_shard_map(MAP.into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert_eq!(count(&server, &procedure("RemoveShardMap")), 1);
    // The server answered, so the connection is as good as before.
    assert_eq!(backend.shard_maps().await.unwrap(), []);
    assert_eq!(server.connections().len(), 1);
}

#[tokio::test]
async fn an_error_of_a_statement_is_the_applications_and_leaves_the_connection_well() {
    let server = shard_server().await;
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    for number in [102, 207, 208, 547, 2627, 8134, 50000] {
        let _ = server.on_statement("wrong", move |_| Answer::failed(number, "text of the server"));
        let _ = server.on_batch("wrong", move |_| Answer::failed(number, "text of the server"));
        let query = connection.query("wrong", &[]).await.map(drop);
        let execute = connection.execute("wrong", &[]).await.map(drop);
        let batch = connection.simple_query("wrong").await.map(drop);
        for error in [query, execute, batch].map(Result::unwrap_err) {
            assert_eq!(
                (error.kind(), error.code()),
                (ErrorKind::Statement, ErrorCode::StatementFailed),
                "{number}: {error:?}"
            );
            let source = std::error::Error::source(&error).unwrap();
            let source = source.downcast_ref::<shardlet::tiberius::error::Error>().unwrap();
            assert_eq!(source.code(), Some(number.unsigned_abs()));
        }
        assert_eq!(echo(&mut connection, number).await.unwrap(), Some(number));
    }
    assert_eq!(server.connections().len(), 1);
}

#[tokio::test]
async fn an_error_after_rows_comes_after_them() {
    let server = shard_server().await;
    let _ = server.on_statement("half", |_| number(1).row([2.into()]).error(8134, 1, 16, "divide by zero"));
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    let mut rows = connection.query("half", &[]).await.unwrap();
    for value in [1, 2] {
        assert_eq!(rows.next().await.unwrap().unwrap().get::<i32, _>(0), Some(value));
    }
    assert_eq!(rows.next().await.unwrap_err().kind(), ErrorKind::Statement);
    assert!(rows.next().await.unwrap().is_none(), "the stream is over");
    drop(rows);
    let all = connection.query("half", &[]).await.unwrap().into_first_result().await;
    assert_eq!(all.unwrap_err().kind(), ErrorKind::Statement);
    assert_eq!(echo(&mut connection, 3).await.unwrap(), Some(3));
}

#[tokio::test]
async fn statements_meet_throttling_missing_permissions_and_lock_waits() {
    let server = shard_server().await;
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    for (number, kind) in [
        (1205, ErrorKind::Transient),
        (40501, ErrorKind::Transient),
        (229, ErrorKind::Credentials),
        (1222, ErrorKind::TimedOut),
        (3906, ErrorKind::Unavailable),
        // A table of the application's own, which may well not be there.
        (3701, ErrorKind::Statement),
    ] {
        server.on_statement(ECHO, move |_| Answer::failed(number, "no")).times(1);
        let error = echo(&mut connection, 1).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{number}: {error:?}");
        assert_eq!(error.place(), Some(&Place::Shard(shard_at(&server, "shard_0"))));
        assert_eq!(echo(&mut connection, 2).await.unwrap(), Some(2), "{number}");
    }
}

#[tokio::test]
async fn a_killed_session_is_lost() {
    for (number, class) in [(596, 21), (596, 16), (6005, 16), (50000, 20)] {
        let server = shard_server().await;
        server.on_statement(ECHO, move |_| Answer::done().error(number, 1, class, "killed")).times(1);
        let backend = backend(&server, patient());
        let mut connection = validated(&backend, &server).await;
        assert!(echo(&mut connection, 1).await.is_err());
        let error = echo(&mut connection, 2).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient, "{number}: {error:?}");
        drop(connection);
        soon(server.until(|server| server.open() == 0)).await;
        let mut connection = validated(&backend, &server).await;
        assert_eq!(echo(&mut connection, 3).await.unwrap(), Some(3));
    }
}

/// The number under which Babelfish reports what it has no number for.
const BABELFISH: i32 = 33_557_097;

#[tokio::test]
async fn errors_without_a_number_of_their_own_are_told_by_their_text() {
    let server = shard_server().await;
    let backend = backend(&server, patient());
    for (text, kind) in [
        ("canceling statement due to lock timeout", ErrorKind::TimedOut),
        ("deadlock detected", ErrorKind::Transient),
        ("could not serialize access due to concurrent update", ErrorKind::Transient),
        ("sorry, too many clients already", ErrorKind::Transient),
        ("permission denied for schema master", ErrorKind::Credentials),
        ("must be owner of table ShardsGlobal", ErrorKind::Credentials),
        ("relation does not exist", ErrorKind::StoreDamaged),
    ] {
        let _ = server.on_procedure(&procedure("RemoveShardMap"), move |_| Answer::failed(BABELFISH, text));
        let error = backend.remove_shard_map(MAP.into()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{text}: {error:?}");
    }
    assert_eq!(server.connections().len(), 1);
}

#[tokio::test]
async fn a_session_that_was_killed_under_no_number_of_its_own_is_lost_too() {
    let server = shard_server().await;
    let killed = "terminating connection due to administrator command";
    server.on_statement(ECHO, move |_| Answer::failed(BABELFISH, killed)).times(1);
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    assert_eq!(echo(&mut connection, 1).await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(echo(&mut connection, 2).await.unwrap_err().kind(), ErrorKind::Transient);
    drop(connection);
    soon(server.until(|server| server.open() == 0)).await;
    assert_eq!(count(&server, ECHO), 1);
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_the_applications() {
    let server = shard_server().await;
    let _ = server.on_statement("SELECT TOP 0", |_| Answer::done());
    let columns = [("id", Type::Int)];
    let _ = server.on_batch("SELECT TOP 0 id FROM items", move |_| Answer::done().columns(columns));
    let _ = server.on_batch("INSERT BULK", |_| Answer::done());
    let _ = server.on_bulk_load(|_| Answer::done().affected(1));
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    let mut insert = connection.bulk_insert("items", &["id"]).await.unwrap();
    let mut wrong = shardlet::tiberius::TokenRow::new();
    wrong.push(shardlet::tiberius::ColumnData::String(Some("seven".into())));
    assert_eq!(insert.send(wrong).await.unwrap_err().kind(), ErrorKind::Statement);
    let mut right = shardlet::tiberius::TokenRow::new();
    right.push(shardlet::tiberius::ColumnData::I32(Some(7)));
    insert.send(right).await.unwrap();
    assert_eq!(insert.finish().await.unwrap(), 1);
    assert_eq!(echo(&mut connection, 3).await.unwrap(), Some(3));
}

#[tokio::test]
async fn a_bulk_insert_that_is_dropped_closes_the_connection() {
    let server = shard_server().await;
    let columns = [("id", Type::Int)];
    let _ = server.on_batch("SELECT TOP 0 id FROM items", move |_| Answer::done().columns(columns));
    let _ = server.on_batch("INSERT BULK", |_| Answer::done());
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    drop(connection.bulk_insert("items", &["id"]).await.unwrap());
    assert!(echo(&mut connection, 3).await.is_err());
    drop(connection);
    soon(server.until(|server| server.open() == 0)).await;
    let mut connection = validated(&backend, &server).await;
    assert_eq!(echo(&mut connection, 3).await.unwrap(), Some(3));
}

#[tokio::test]
async fn a_bulk_insert_that_is_refused_leaves_the_connection_well() {
    let server = shard_server().await;
    let columns = [("id", Type::Int)];
    let _ = server.on_batch("SELECT TOP 0 id FROM items", move |_| Answer::done().columns(columns));
    let _ = server.on_batch("SELECT TOP 0 id FROM missing", |_| Answer::failed(208, "no such table"));
    let _ = server.on_batch("INSERT BULK", |_| Answer::done());
    let _ = server.on_bulk_load(|_| Answer::failed(2627, "there already"));
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    let error = connection.bulk_insert("missing", &["id"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Statement, "{error:?}");
    let error = connection.bulk_insert("items]; DROP", &["id"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Statement, "{error:?}");
    assert_eq!(echo(&mut connection, 2).await.unwrap(), Some(2));
    let insert = connection.bulk_insert("items", &["id"]).await.unwrap();
    let error = insert.finish().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Statement, "{error:?}");
    assert_eq!(echo(&mut connection, 3).await.unwrap(), Some(3));
}

/// The error of a read of the global store that is answered so.
async fn read(server: &Endpoint, answer: Answer) -> shardlet::Error {
    let _ = server.on_procedure(&procedure("ListShardMaps"), move |_| answer.clone());
    backend(server, patient()).shard_maps().await.unwrap_err()
}

#[tokio::test]
async fn an_answer_that_is_no_answer_is_no_panic() {
    let server = shard_server().await;
    // A row of a store whose error comes after it does not count.
    let row = Answer::rows(MAP_COLUMNS, [[MAP.into(), "tenants".into(), 1.into(), 2.into()]]);
    let error = read(&server, row.error(208, 1, 16, "no")).await;
    assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{error:?}");
    for code in [0, 2, -1, 99, 1000, i32::MIN, i32::MAX] {
        let error = read(&server, Answer::return_code(code)).await;
        assert_eq!((error.kind(), error.place()), (ErrorKind::StoreDamaged, Some(&Place::Global)), "{error:?}");
    }
}
