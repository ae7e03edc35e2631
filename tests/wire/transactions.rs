//! Transactions of applications on the wire.

use shardlet::{ErrorKind, tiberius::IsolationLevel};

use crate::backend::{ECHO, RESET, backend, count, echo, number, patient, resets, shard_server, validated};
use crate::endpoint::{Answer, Endpoint, Request};

/// What came over a connection after its validation, in short.
fn kinds(server: &Endpoint, connection: usize) -> Vec<&'static str> {
    let short = |request: &Request| match request {
        Request::Begin { .. } => "begin",
        Request::Commit => "commit",
        Request::Rollback => "rollback",
        Request::Statement { .. } => "statement",
        Request::Procedure { name, .. } if name == RESET => "reset",
        Request::Procedure { .. } => "validation",
        Request::Batch(_) => "batch",
        _ => "other",
    };
    server.requests_of(connection).iter().map(|call| short(call.request())).collect()
}

#[tokio::test]
async fn statements_belong_to_the_transaction_until_it_ends() {
    let server = shard_server().await;
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    let mut transaction = connection.begin_with(IsolationLevel::Serializable).await.unwrap();
    assert_eq!(echo(&mut transaction, 1).await.unwrap(), Some(1));
    transaction.commit().await.unwrap();
    assert_eq!(echo(&mut connection, 2).await.unwrap(), Some(2));
    let requests = server.requests();
    assert_eq!(*requests[1].request(), Request::Begin { isolation: 4 });
    let transactions: Vec<_> = requests.iter().map(|call| call.transaction() != 0).collect();
    assert_eq!(transactions, [false, false, true, true, false]);
}

#[tokio::test]
async fn an_abandoned_transaction_is_rolled_back_before_anything_else() {
    let server = shard_server().await;
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    drop(connection.begin().await.unwrap());
    assert_eq!(echo(&mut connection, 1).await.unwrap(), Some(1));
    drop(connection.begin().await.unwrap());
    connection.begin().await.unwrap().commit().await.unwrap();
    // Not even asked, a commit leaves it open.
    drop(connection.begin().await.unwrap().commit());
    assert_eq!(connection.execute(ECHO, &[&2_i32]).await.unwrap(), 1);
    drop(connection.begin().await.unwrap());
    let _raw = connection.into_raw().await.unwrap();
    let seen = kinds(&server, 1);
    let expected = [
        "validation",
        "begin",
        "rollback",
        "statement",
        "begin",
        "rollback",
        "begin",
        "commit",
        "begin",
        "rollback",
        "statement",
        "begin",
        "rollback",
    ];
    assert_eq!(seen, expected);
    let after: Vec<_> = server.requests().iter().map(|call| call.transaction()).collect();
    assert_eq!((after[3], after[10]), (0, 0));
}

#[tokio::test]
async fn an_abandoned_transaction_does_not_reach_the_next_user() {
    let server = shard_server().await;
    let backend = backend(&server, patient().max_connections_per_shard(2));
    let _held = validated(&backend, &server).await;
    let mut connection = validated(&backend, &server).await;
    let mut transaction = connection.begin().await.unwrap();
    let _ = echo(&mut transaction, 1).await.unwrap();
    drop(transaction);
    drop(connection);
    let mut next = validated(&backend, &server).await;
    assert_eq!(echo(&mut next, 2).await.unwrap(), Some(2));
    assert_eq!((server.connections().len(), count(&server, RESET)), (2, 1));
    let last = server.requests_of(2).pop().unwrap();
    assert_eq!(last.transaction(), 0, "{:?}", kinds(&server, 2));
}

#[tokio::test]
async fn a_second_transaction_on_a_connection_is_refused() {
    let server = shard_server().await;
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    let mut transaction = connection.begin().await.unwrap();
    assert_eq!(transaction.begin().await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(echo(&mut transaction, 1).await.unwrap(), Some(1));
    transaction.commit().await.unwrap();
    assert_eq!(kinds(&server, 1), ["validation", "begin", "statement", "commit"]);
}

#[tokio::test]
async fn a_refused_commit_changed_nothing() {
    let server = shard_server().await;
    let _ = server.on_commit(|_| Answer::failed(3902, "no transaction").rolled_back());
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    let transaction = connection.begin().await.unwrap();
    assert_eq!(transaction.commit().await.unwrap_err().kind(), ErrorKind::Statement);
    assert_eq!(echo(&mut connection, 1).await.unwrap(), Some(1));
    drop(connection);
    resets(&server, 1).await;
}

/// The server rolls a transaction back with the first statement of it, as it does with the victim of a deadlock, and has
/// none to commit or roll back afterwards.
async fn rolls_back() -> Endpoint {
    let server = shard_server().await;
    server.on_statement(ECHO, |_| Answer::done().rolled_back().error(1205, 1, 13, "deadlock")).times(1);
    server.on_rollback(|_| Answer::failed(3903, "no transaction")).times(1);
    server.on_commit(|_| Answer::failed(3902, "no transaction")).times(1);
    server
}

#[tokio::test]
async fn a_transaction_that_the_server_rolled_back_is_begun_again() {
    for asked_again in [false, true] {
        let server = rolls_back().await;
        let backend = backend(&server, patient());
        let mut connection = validated(&backend, &server).await;
        let mut transaction = connection.begin().await.unwrap();
        let error = echo(&mut transaction, 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        if asked_again {
            assert_eq!(echo(&mut transaction, 1).await.unwrap_err().kind(), ErrorKind::Statement);
        }
        drop(transaction);
        let mut transaction = connection.begin().await.unwrap();
        assert_eq!(echo(&mut transaction, 2).await.unwrap(), Some(2));
        server.on_commit(|call| call.usual()).times(1);
        transaction.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_transaction_that_the_server_rolled_back_is_rolled_back() {
    let server = rolls_back().await;
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    let mut transaction = connection.begin().await.unwrap();
    assert!(echo(&mut transaction, 1).await.is_err());
    transaction.rollback().await.unwrap();
    assert_eq!(kinds(&server, 1), ["validation", "begin", "statement", "statement"]);
    assert_eq!(echo(&mut connection, 2).await.unwrap(), Some(2));
    assert_eq!(count(&server, "SELECT @@TRANCOUNT"), 1);
}

#[tokio::test]
async fn nothing_commits_by_itself_once_the_server_has_rolled_a_transaction_back() {
    let server = rolls_back().await;
    let _ = server.on_batch("INSERT", |_| Answer::done().affected(1));
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    let mut transaction = connection.begin().await.unwrap();
    assert!(echo(&mut transaction, 1).await.is_err());
    // The application goes on as if nothing had happened.
    for _ in 0..2 {
        let executed = transaction.execute(ECHO, &[&2_i32]).await.map(drop);
        let queried = transaction.query(ECHO, &[&2_i32]).await.map(drop);
        let batch = transaction.simple_query("INSERT").await.map(drop);
        let bulk = transaction.bulk_insert("items", &["id"]).await.map(drop);
        let begun = transaction.begin().await.map(drop);
        for error in [executed, queried, batch, bulk, begun].map(Result::unwrap_err) {
            assert_eq!(error.kind(), ErrorKind::Statement, "{error:?}");
            assert!(error.to_string().contains("rolled the transaction back"), "{error}");
        }
    }
    assert_eq!(transaction.commit().await.unwrap_err().kind(), ErrorKind::Statement);
    // The second statement is the question whether it is still open.
    assert_eq!(kinds(&server, 1), ["validation", "begin", "statement", "statement"]);
    assert_eq!(count(&server, "SELECT @@TRANCOUNT"), 1);
    assert_eq!(echo(&mut connection, 3).await.unwrap(), Some(3));
}

#[tokio::test]
async fn a_refused_statement_that_left_the_transaction_open_is_followed_by_others() {
    let server = shard_server().await;
    let refused = || Answer::failed(2627, "there already");
    server.on_statement(ECHO, move |_| refused()).times(1);
    server.on_batch("rows, then an error", |_| number(1).error(8134, 1, 16, "divide by zero")).times(1);
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    let mut transaction = connection.begin().await.unwrap();
    assert_eq!(echo(&mut transaction, 1).await.unwrap_err().kind(), ErrorKind::Statement);
    for value in [2, 3] {
        assert_eq!(echo(&mut transaction, value).await.unwrap(), Some(value));
    }
    let rows = transaction.simple_query("rows, then an error").await.unwrap();
    assert_eq!(rows.into_results().await.unwrap_err().kind(), ErrorKind::Statement);
    assert_eq!(echo(&mut transaction, 4).await.unwrap(), Some(4));
    transaction.commit().await.unwrap();
    // One question after each refusal.
    assert_eq!(count(&server, "@@TRANCOUNT"), 2);
    let inside: Vec<_> = server.requests_of(1).iter().skip(2).map(|call| call.transaction()).collect();
    assert!(inside.iter().all(|transaction| *transaction != 0), "{inside:?}");
}
