//! Futures that are dropped at each of their awaits: the next caller gets its own rows, bounds hold, no place is lost.

use std::future::Future;

use futures::future::BoxFuture;
use shardlet::gsm::{GlobalSession, GlobalStore};
use shardlet::lsm::LocalStore;
use shardlet::{OperationId, SqlServer, SqlServerConnection, Validation};

use crate::backend::{
    ECHO, MAP, application, backend, echo, echoed, lock_given, no_maps, patient, procedure, route, routed, script,
    shard_at, soon, validated,
};
use crate::endpoint::{Answer, Call, Endpoint};
use crate::gate::Gate;
use crate::polled::poll_times;

/// Sends an answer in pieces, with time in between for the client to look.
fn in_pieces(mut answer: Answer) -> Answer {
    for at in [1, 7] {
        let gate = Gate::new();
        answer = answer.hold_at(at, &gate);
        drop(tokio::spawn(async move {
            gate.reached().await;
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            gate.open();
        }));
    }
    answer
}

/// An endpoint that answers in pieces.
async fn slow_server() -> Endpoint {
    let server = Endpoint::start().await;
    script(&server);
    for name in ["ValidateMapping", "RemoveShardMap", "FindOperation"] {
        let _ = server.on_procedure(&procedure(name), |_| in_pieces(Answer::return_code(1)));
    }
    let _ = server.on_login(|call| in_pieces(call.usual()));
    let _ = server.on_statement(ECHO, |call| in_pieces(echoed(&call)));
    let _ = server.on_statement("sp_getapplock", |call| in_pieces(lock_given(&call)));
    let _ = server.on_statement("SET CONTEXT_INFO", |_| in_pieces(Answer::done()));
    let _ = server.on_procedure(&procedure("ListShardMaps"), |_| in_pieces(no_maps()));
    let _ = server.on_begin(|call: Call| in_pieces(call.usual()));
    let _ = server.on_commit(|call: Call| in_pieces(call.usual()));
    let _ = server.on_rollback(|call: Call| in_pieces(call.usual()));
    server
}

/// Drops the future after each number of polls until it ends, and looks each time how the next callers fare.
async fn dropped_everywhere<'a, F>(server: &'a Endpoint, backend: &'a SqlServer, work: impl Fn(i32) -> F)
where
    F: Future<Output = ()> + 'a,
{
    let mut times = 0;
    loop {
        let number = i32::try_from(times).unwrap();
        let over = soon(poll_times(work(number), times)).await.is_some();
        let mut next = soon(validated(backend, server)).await;
        assert_eq!(echo(&mut next, 1_000 + number).await.unwrap(), Some(1_000 + number), "after {times} polls");
        drop(next);
        assert_eq!(backend.shard_maps().await.unwrap(), []);
        soon(server.until(|server| server.open() <= 6)).await;
        if over {
            break;
        }
        times += 1;
    }
    assert!(times > 3, "dropped only {times} times");
    // As many as the bounds allow can be held at once: no place was lost.
    soon(async {
        let (mut one, mut two) = (validated(backend, server).await, validated(backend, server).await);
        let other = route(shard_at(server, "shard_1"));
        let app = application();
        let mut three = backend.open_routed(&other, &app, Validation::Validate).await.unwrap();
        let mut four = backend.open_routed(&other, &app, Validation::Validate).await.unwrap();
        for (value, connection) in [(1, &mut one), (2, &mut two), (3, &mut three), (4, &mut four)] {
            assert_eq!(echo(connection, value).await.unwrap(), Some(value));
        }
        server.until(|server| on_shards(server) == 4).await;
    })
    .await;
}

fn on_shards(server: &Endpoint) -> usize {
    let connections = server.connections();
    let open = connections.iter().filter(|connection| connection.is_open());
    open.filter(|connection| connection.find_login().is_some_and(|login| login.database != "global")).count()
}

/// The same for a use of a connection, which is validated first, or is not.
async fn uses(
    validation: Validation,
    work: impl for<'c> Fn(&'c mut SqlServerConnection, i32) -> BoxFuture<'c, ()> + Copy,
) {
    let server = slow_server().await;
    let backend = backend(&server, patient().max_connections(4).max_connections_per_shard(2));
    let (server, backend) = (&server, &backend);
    dropped_everywhere(server, backend, |number| async move {
        let mut connection = routed(backend, server, validation).await.unwrap();
        work(&mut connection, number).await;
    })
    .await;
    // And where the connection outlives the future: it either works or says that it does not.
    for times in 0.. {
        let mut connection = routed(backend, server, validation).await.unwrap();
        let over = poll_times(work(&mut connection, 1), times).await.is_some();
        match echo(&mut connection, 77).await {
            Ok(echoed) => assert_eq!(echoed, Some(77), "after {times} polls"),
            Err(error) => assert_eq!(error.kind(), shardlet::ErrorKind::Transient, "{error:?}"),
        }
        if over {
            break;
        }
    }
}

fn query(connection: &mut SqlServerConnection, number: i32) -> BoxFuture<'_, ()> {
    Box::pin(async move { assert_eq!(echo(connection, number).await.unwrap(), Some(number)) })
}

fn execute(connection: &mut SqlServerConnection, number: i32) -> BoxFuture<'_, ()> {
    Box::pin(async move { assert_eq!(connection.execute(ECHO, &[&number]).await.unwrap(), 1) })
}

fn rollback(connection: &mut SqlServerConnection, number: i32) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let mut transaction = connection.begin().await.unwrap();
        assert_eq!(echo(&mut transaction, number).await.unwrap(), Some(number));
        transaction.rollback().await.unwrap();
    })
}

fn commit(connection: &mut SqlServerConnection, number: i32) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let mut transaction = connection.begin().await.unwrap();
        assert_eq!(echo(&mut transaction, number).await.unwrap(), Some(number));
        transaction.commit().await.unwrap();
    })
}

#[tokio::test]
async fn a_query() {
    uses(Validation::Validate, query).await;
}

#[tokio::test]
async fn the_first_use_of_a_connection_that_was_not_validated() {
    uses(Validation::None, query).await;
}

#[tokio::test]
async fn an_execution() {
    uses(Validation::Validate, execute).await;
}

#[tokio::test]
async fn a_transaction_with_its_commit() {
    uses(Validation::Validate, commit).await;
}

#[tokio::test]
async fn a_transaction_with_its_rollback() {
    uses(Validation::Validate, rollback).await;
}

#[tokio::test]
async fn taking_the_raw_connection() {
    let server = slow_server().await;
    let backend = backend(&server, patient().max_connections(4).max_connections_per_shard(2));
    let (server, backend) = (&server, &backend);
    dropped_everywhere(server, backend, |_| async move {
        let connection = routed(backend, server, Validation::None).await.unwrap();
        drop(connection.into_raw().await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn requests_to_the_stores() {
    let server = slow_server().await;
    let backend = backend(&server, patient().max_connections(4).max_connections_per_shard(2));
    let (server, backend) = (&server, &backend);
    dropped_everywhere(server, backend, |_| async move {
        assert_eq!(backend.shard_maps().await.unwrap(), []);
        backend.remove_shard_map(MAP.into()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_locks_of_an_operation() {
    let server = slow_server().await;
    let backend = backend(&server, patient().max_connections(4).max_connections_per_shard(2));
    let (server, backend) = (&server, &backend);
    let id = OperationId::random();
    dropped_everywhere(server, backend, |_| async move {
        let mut global = backend.lock_operation(id).await.unwrap();
        let _local = backend.lock_operation_at(&shard_at(server, "shard_0"), id).await.unwrap();
        assert_eq!(global.find_operation(id, 100).await.unwrap(), None);
    })
    .await;
}
