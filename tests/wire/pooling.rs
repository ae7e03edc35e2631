//! Pools on the wire: bounds, waits, reuse, and what is done to a connection before its next user gets it.

use std::time::Duration;

use futures::TryStreamExt;
use futures::future::join_all;
use shardlet::backend::Backend;
use shardlet::gsm::GlobalStore;
use shardlet::lsm::LocalStore;
use shardlet::{Limit, SqlServerOptions, Timeouts, Validation};

use crate::backend::{
    ECHO, ENGINE, RELEASE, RESET, ROLLBACK, SHORT, application, backend, called, count, echo, echoed, later, no_maps,
    number, patient, procedure, releases, resets, route, routed, shard_at, shard_server, soon, validated,
};
use crate::endpoint::{Answer, Endpoint, Request, Type};
use crate::gate::{End, Gate};

/// Room for two connections to each shard.
fn two() -> SqlServerOptions {
    patient().max_connections_per_shard(2)
}

/// Uses a connection and gives it back, while another one holds the other place of two: the next one has to be this.
async fn used(backend: &shardlet::SqlServer, server: &Endpoint) {
    let mut connection = validated(backend, server).await;
    assert_eq!(echo(&mut connection, 1).await.unwrap(), Some(1));
}

/// What follows each reset: the isolation level, which older servers keep, and the stamp, which Babelfish keeps.
const CLEARED: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                       DECLARE @none varbinary(128); SET @none = 0x; SET CONTEXT_INFO @none; SELECT DB_NAME()";

/// The texts of what came over a connection.
fn texts(server: &Endpoint, connection: usize) -> Vec<String> {
    server.requests_of(connection).iter().map(|call| call.text().to_owned()).collect()
}

#[tokio::test]
async fn a_connection_is_reset_and_used_again() {
    let server = shard_server().await;
    let backend = backend(&server, two());
    let _held = validated(&backend, &server).await;
    for _ in 0..3 {
        used(&backend, &server).await;
    }
    resets(&server, 3).await;
    let round = [procedure("ValidateMapping"), ECHO.to_owned(), RESET.to_owned(), CLEARED.to_owned()];
    assert_eq!(texts(&server, 2), round.iter().cycle().take(12).cloned().collect::<Vec<_>>());
    assert_eq!(server.connections().len(), 2);
}

#[tokio::test]
async fn each_reset_sets_the_isolation_level_back() {
    let server = shard_server().await;
    let _ = server.on_batch("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", |_| Answer::done());
    let backend = backend(&server, two());
    let _held = validated(&backend, &server).await;
    let mut connection = validated(&backend, &server).await;
    let set = connection.simple_query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await.unwrap();
    assert!(set.into_results().await.unwrap().is_empty());
    drop(connection);
    // The same connection, for the other place is taken.
    let mut connection = validated(&backend, &server).await;
    let seen = count(&server, "READ COMMITTED");
    assert_eq!((seen, server.connections().len()), (1, 2));
    let _ = echo(&mut connection, 1).await.unwrap();
    drop(connection);
    let mut connection = validated(&backend, &server).await;
    assert_eq!(count(&server, "READ COMMITTED"), 2);
    connection.begin().await.unwrap().rollback().await.unwrap();
    drop(connection);
    let _connection = validated(&backend, &server).await;
    assert_eq!(count(&server, "READ COMMITTED"), 3);
    // Only the text that may have begun a transaction had the server asked to end it.
    assert_eq!((count(&server, ROLLBACK), count(&server, ENGINE), server.connections().len()), (1, 0, 2));
}

#[tokio::test]
async fn a_connection_that_cannot_be_reset_is_closed() {
    for answer in [
        Answer::failed(50000, "no"),
        Answer::done().cut_at(0, End::Reset),
        Answer::done().cut_at(3, End::Close),
        Answer::done().held(&Gate::new()),
    ] {
        let server = shard_server().await;
        let reset = answer.clone();
        server.on_procedure(RESET, move |_| reset.clone()).times(1);
        let limits = patient().timeouts.command(SHORT);
        let backend = backend(&server, two().timeouts(limits));
        let _held = validated(&backend, &server).await;
        used(&backend, &server).await;
        used(&backend, &server).await;
        assert_eq!(server.connections().len(), 3, "{answer:?}");
        soon(server.until(|server| !server.connection(2).is_open())).await;
    }
}

#[tokio::test]
async fn an_isolation_level_that_cannot_be_reset_closes_the_connection() {
    let server = shard_server().await;
    server.on_batch("READ COMMITTED", |_| Answer::failed(50000, "no")).times(1);
    let backend = backend(&server, two());
    let _held = validated(&backend, &server).await;
    let mut connection = validated(&backend, &server).await;
    drop(connection.begin().await.unwrap());
    drop(connection);
    let _next = validated(&backend, &server).await;
    assert_eq!(server.connections().len(), 3);
    soon(server.until(|server| !server.connection(2).is_open())).await;
}

#[tokio::test]
async fn a_transaction_that_may_be_open_is_ended_before_the_reset() {
    let server = shard_server().await;
    let _ = server.on_statement("wrong", |_| Answer::failed(208, "no such table"));
    let backend = backend(&server, two());
    let _held = validated(&backend, &server).await;
    let cleaned = [ROLLBACK.to_owned(), RESET.to_owned(), CLEARED.to_owned()];
    let mut connection = validated(&backend, &server).await;
    drop(connection.begin().await.unwrap());
    drop(connection);
    resets(&server, 1).await;
    assert_eq!(texts(&server, 2).split_off(2), cleaned);
    // A refused statement may have left one open or ended one, whoever began it.
    let mut connection = validated(&backend, &server).await;
    assert!(connection.execute("wrong", &[]).await.is_err());
    drop(connection);
    resets(&server, 2).await;
    assert_eq!(texts(&server, 2).split_off(7), cleaned);
    // That is forgotten with it.
    used(&backend, &server).await;
    resets(&server, 3).await;
    assert_eq!((count(&server, ROLLBACK), server.connections().len()), (2, 2));
}

#[tokio::test]
async fn a_session_context_is_reset_where_the_engine_does_so() {
    for (babelfish, connections) in [(0, 2), (1, 3)] {
        let server = shard_server().await;
        let _ = server.on_statement("Session_Context", |_| number(1));
        let _ = server.on_batch(ENGINE, move |_| number(babelfish));
        let backend = backend(&server, two());
        let _held = validated(&backend, &server).await;
        let mut connection = validated(&backend, &server).await;
        let _ = connection.execute("EXEC sp_set_Session_Context N'a', @P1", &[&1_i32]).await.unwrap();
        drop(connection);
        used(&backend, &server).await;
        used(&backend, &server).await;
        assert_eq!((count(&server, ENGINE), server.connections().len()), (1, connections), "{babelfish}");
    }
}

#[tokio::test]
async fn a_connection_whose_lock_cannot_be_released_is_closed() {
    for answer in [Answer::failed(1223, "not held"), Answer::done().cut_at(0, End::Reset)] {
        let server = shard_server().await;
        server.on_statement(RELEASE, move |_| answer.clone()).times(1);
        let backend = backend(&server, two());
        drop(backend.lock_operation_at(&shard_at(&server, "shard_0"), shardlet::OperationId::random()).await.unwrap());
        soon(server.until(|server| count(server, RELEASE) == 1 && server.open() == 0)).await;
    }
}

#[tokio::test]
async fn the_bound_of_a_pool_holds_and_the_wait_for_it_has_a_limit() {
    let server = shard_server().await;
    let limits = patient().timeouts.pool_wait(SHORT);
    let backend = backend(&server, two().timeouts(limits));
    let (one, two) = (validated(&backend, &server).await, validated(&backend, &server).await);
    let error = routed(&backend, &server, Validation::Validate).await.unwrap_err();
    assert_eq!(error.limit(), Some(Limit::PoolWait));
    assert!(error.to_string().contains("all 2 connections"), "{error}");
    // Other shards are not in its way.
    let elsewhere = route(shard_at(&server, "shard_1"));
    let _other = backend.open_routed(&elsewhere, &application(), Validation::Validate).await.unwrap();
    assert_eq!(server.connections().len(), 3);
    drop((one, two));
}

#[tokio::test]
async fn the_bound_of_all_pools_holds_and_idle_ones_make_room() {
    let server = shard_server().await;
    let limits = patient().timeouts.pool_wait(SHORT);
    let backend = backend(&server, patient().max_connections(4).timeouts(limits));
    let at = |number: usize| route(shard_at(&server, &format!("shard_{number}")));
    let app = application();
    let open = |number| {
        let (backend, route, app) = (backend.clone(), at(number), app.clone());
        async move { backend.open_routed(&route, &app, Validation::None).await }
    };
    let mut held = Vec::new();
    for number in 0..4 {
        held.push(open(number).await.unwrap());
    }
    let error = open(4).await.unwrap_err();
    assert_eq!(error.limit(), Some(Limit::PoolWait));
    assert_eq!(server.connections().len(), 4);
    // Not used, it is idle at once, and closed for the one that needs its place.
    drop(held.remove(0));
    let _fifth = open(4).await.unwrap();
    soon(server.until(|server| !server.connection(1).is_open())).await;
    assert_eq!(server.open(), 4);
    // The global store is not in the way of the shards.
    assert_eq!(backend.shard_maps().await.unwrap(), []);
}

#[tokio::test]
async fn many_callers_on_few_connections_get_their_own_rows() {
    let server = shard_server().await;
    let backend = backend(&server, patient().max_connections(4).max_connections_per_shard(3));
    let callers = join_all((0..60).map(|caller: i32| {
        let (backend, place) = (backend.clone(), shard_at(&server, &format!("shard_{}", caller % 3)));
        async move {
            for round in 0..5 {
                let mut connection =
                    backend.open_routed(&route(place.clone()), &application(), Validation::Validate).await.unwrap();
                let asked = caller * 100 + round;
                assert_eq!(echo(&mut connection, asked).await.unwrap(), Some(asked));
            }
        }
    }));
    let _ = soon(callers).await;
    soon(server.until(|server| server.open() <= 4)).await;
    assert_eq!(count(&server, ECHO), 300);
}

#[tokio::test]
async fn a_connection_that_was_idle_for_long_is_not_used_again() {
    let server = shard_server().await;
    let backend = backend(&server, two().idle_time(Duration::ZERO));
    for _ in 0..3 {
        drop(routed(&backend, &server, Validation::None).await.unwrap());
    }
    assert_eq!(server.connections().len(), 3);
    soon(server.until(|server| server.open() == 1)).await;
}

#[tokio::test]
async fn a_connection_is_idle_from_when_it_goes_back() {
    let server = shard_server().await;
    let minute = Duration::from_secs(60);
    let backend = backend(&server, two().idle_time(minute));
    let long_in_use = routed(&backend, &server, Validation::None).await.unwrap();
    later(minute * 2).await;
    drop(long_in_use);
    drop(routed(&backend, &server, Validation::None).await.unwrap());
    assert_eq!(server.connections().len(), 1);
    later(minute * 2).await;
    drop(routed(&backend, &server, Validation::None).await.unwrap());
    assert_eq!(server.connections().len(), 2);
    soon(server.until(|server| server.open() == 1)).await;
}

#[tokio::test]
async fn a_connection_past_its_age_is_not_used_again() {
    let server = shard_server().await;
    let backend = backend(&server, two().max_age(Duration::ZERO));
    for _ in 0..3 {
        drop(routed(&backend, &server, Validation::None).await.unwrap());
    }
    assert_eq!(server.connections().len(), 3);
    soon(server.until(|server| server.open() == 1)).await;
}

#[tokio::test]
async fn a_shard_that_is_forgotten_loses_its_idle_connections() {
    let server = shard_server().await;
    let backend = backend(&server, two());
    drop(routed(&backend, &server, Validation::None).await.unwrap());
    let mut in_use = routed(&backend, &server, Validation::None).await.unwrap();
    drop(routed(&backend, &server, Validation::None).await.unwrap());
    backend.forget_shard(&shard_at(&server, "shard_0"));
    soon(server.until(|server| server.open() == 1)).await;
    assert_eq!(echo(&mut in_use, 4).await.unwrap(), Some(4));
    drop(in_use);
    soon(server.until(|server| server.open() == 0)).await;
}

#[tokio::test]
async fn a_raw_connection_leaves_the_pool_for_good() {
    let server = shard_server().await;
    let backend = backend(&server, two().max_connections(4));
    let mut raw = Vec::new();
    for _ in 0..6 {
        raw.push(validated(&backend, &server).await.into_raw().await.unwrap());
    }
    // None of them counts in the bounds.
    let (mut one, two) = (validated(&backend, &server).await, validated(&backend, &server).await);
    assert_eq!(echo(&mut one, 9).await.unwrap(), Some(9));
    assert_eq!(server.open(), 8);
    let row = raw[0].query(ECHO, &[&3_i32]).await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<i32, _>(0), Some(3));
    drop(raw);
    soon(server.until(|server| server.open() == 2)).await;
    assert_eq!(count(&server, RESET), 0);
    drop((one, two));
}

#[tokio::test]
async fn a_raw_connection_that_was_not_validated_is_stamped_first() {
    let server = shard_server().await;
    let backend = backend(&server, two());
    let _raw = routed(&backend, &server, Validation::None).await.unwrap().into_raw().await.unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert!(matches!(requests[0].request(), Request::Statement { text, .. } if text.contains("SET CONTEXT_INFO")));
}

#[tokio::test]
async fn an_unvalidated_connection_is_stamped_once_as_a_validated_one_is() {
    let server = shard_server().await;
    let backend = backend(&server, two());
    let mut connection = routed(&backend, &server, Validation::None).await.unwrap();
    assert_eq!(server.requests().len(), 0);
    for value in [1, 2] {
        assert_eq!(echo(&mut connection, value).await.unwrap(), Some(value));
    }
    let _other = validated(&backend, &server).await;
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    let set: Vec<u8> = requests[0].get("@P1");
    let validated: Vec<u8> = requests[3].get("@stamp");
    assert_eq!(set, validated);
    drop(connection);
    resets(&server, 1).await;
}

#[tokio::test]
async fn a_stream_that_is_dropped_closes_the_connection() {
    let server = shard_server().await;
    let rest = Gate::new();
    let held = rest.clone();
    let _ = server.on_batch("two rows", move |_| number(1).hold(&held).row([2.into()]));
    let backend = backend(&server, two());
    let _held = validated(&backend, &server).await;
    let mut connection = validated(&backend, &server).await;
    let mut rows = connection.simple_query("two rows").await.unwrap();
    assert_eq!(rows.try_next().await.unwrap().unwrap().get::<i32, _>(0), Some(1));
    drop(rows);
    // It says so at once, without waiting for the rest.
    let error = echo(&mut connection, 1).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    drop(connection);
    soon(server.until(|server| !server.connection(2).is_open())).await;
    rest.open();
    used(&backend, &server).await;
    assert_eq!(server.connections().len(), 3);
}

#[tokio::test]
async fn a_stream_that_is_dropped_before_its_end_is_not_read_by_the_next_request() {
    // All of the answer has arrived, and the last row alone was not asked for.
    let server = shard_server().await;
    let columns = [("n", Type::Int)];
    let _ = server.on_batch("rows", move |_| Answer::rows(columns, [[1.into()], [2.into()]]));
    let backend = backend(&server, two());
    let mut connection = validated(&backend, &server).await;
    let mut rows = connection.simple_query("rows").await.unwrap();
    let _ = rows.next().await.unwrap();
    let _ = rows.next().await.unwrap();
    drop(rows);
    assert!(echo(&mut connection, 1).await.is_err());
    assert!(connection.simple_query("rows").await.is_err());
    drop(connection);
    soon(server.until(|server| server.open() == 0)).await;
}

#[tokio::test]
async fn a_stream_that_was_read_to_its_end_leaves_the_connection_well() {
    let server = shard_server().await;
    let _ = server.on_batch("rows", |_| number(1).row([2.into()]).columns([("m", Type::Int)]).row([3.into()]));
    let backend = backend(&server, two());
    let mut connection = validated(&backend, &server).await;
    let mut rows = connection.simple_query("rows").await.unwrap();
    let mut seen = Vec::new();
    while let Some(row) = rows.next().await.unwrap() {
        seen.push(row.get::<i32, _>(0));
    }
    drop(rows);
    assert_eq!(seen, [Some(1), Some(2), Some(3)]);
    let results = connection.simple_query("rows").await.unwrap().into_results().await.unwrap();
    assert_eq!(results.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(echo(&mut connection, 6).await.unwrap(), Some(6));
}

#[tokio::test]
async fn the_locks_of_connections_that_go_back_are_released() {
    let server = shard_server().await;
    let backend = backend(&server, two());
    let (one, two) = (shardlet::OperationId::random(), shardlet::OperationId::random());
    let place = shard_at(&server, "shard_0");
    let held = backend.lock_operation_at(&place, one).await.unwrap();
    drop(backend.lock_operation_at(&place, two).await.unwrap());
    drop(backend.lock_operation_at(&place, two).await.unwrap());
    releases(&server, 2).await;
    assert_eq!(server.connections().len(), 2);
    let names = |name: &str| -> Vec<String> {
        server.requests().iter().filter(|call| called(call, name)).map(|call| call.get("@P1")).collect()
    };
    assert_eq!(names("sp_getapplock"), [one.to_string(), two.to_string(), two.to_string()]);
    assert_eq!(names(RELEASE), [two.to_string(), two.to_string()]);
    assert_eq!(server.requests().len(), 5, "no reset, nor anything else");
    drop(held);
}

#[tokio::test]
async fn the_lock_of_an_operation_has_a_limit() {
    let server = shard_server().await;
    let _ = server.on_statement("sp_getapplock", |call| {
        assert_eq!(call.get::<i32>("@P2"), 60_000);
        Answer::rows([("got", Type::Int), ("resource", Type::Text)], [[(-1).into(), "x".into()]])
    });
    let backend = backend(&server, two());
    let error = backend.lock_operation(shardlet::OperationId::random()).await.unwrap_err();
    assert_eq!(error.limit(), Some(Limit::OperationLock));
    soon(server.until(|server| server.open() == 0)).await;

    // A server that does not keep to it is given up as well, a command's time later.
    let never = Gate::new();
    let _ = server.on_statement("sp_getapplock", move |_| Answer::done().held(&never));
    let limits = Timeouts::default().operation_lock(SHORT).command(SHORT);
    let hasty = crate::backend::backend(&server, SqlServerOptions::default().timeouts(limits));
    let error = hasty.lock_operation(shardlet::OperationId::random()).await.unwrap_err();
    assert_eq!(error.limit(), Some(Limit::Command));
    soon(server.until(|server| server.open() == 0)).await;
}

#[tokio::test]
async fn opens_wait_for_connections_that_are_being_reset() {
    let server = shard_server().await;
    let gate = Gate::new();
    let held = gate.clone();
    let _ = server.on_procedure(RESET, move |_| Answer::done().held(&held));
    let backend = backend(&server, two());
    let (mut one, mut two) = (validated(&backend, &server).await, validated(&backend, &server).await);
    assert_eq!((echo(&mut one, 1).await.unwrap(), echo(&mut two, 2).await.unwrap()), (Some(1), Some(2)));
    drop((one, two));
    gate.reached_by(2).await;
    let (mut next, ()) = soon(async { tokio::join!(validated(&backend, &server), async { gate.open() }) }).await;
    assert_eq!(echo(&mut next, 8).await.unwrap(), Some(8));
    assert_eq!(server.connections().len(), 2);
}

#[tokio::test]
async fn a_store_request_has_a_limit() {
    let server = shard_server().await;
    let never = Gate::new();
    let held = never.clone();
    let _ = server.on_procedure(&procedure("ListShardMaps"), move |_| no_maps().hold_at(30, &held));
    let _ = server.on_procedure(&procedure("RemoveShardMap"), move |_| Answer::return_code(1).held(&never));
    let limits = patient().timeouts.command(SHORT);
    let backend = backend(&server, two().timeouts(limits));
    let error = backend.shard_maps().await.unwrap_err();
    assert_eq!(error.limit(), Some(Limit::Command));
    soon(server.until(|server| server.open() == 0)).await;
    let error = backend.remove_shard_map(crate::backend::MAP.into()).await.unwrap_err();
    assert_eq!((error.kind(), error.limit()), (shardlet::ErrorKind::OutcomeUnknown, None));
    soon(server.until(|server| server.open() == 0)).await;
    // Statements of the application have no limit of their own.
    let gate = Gate::new();
    let held = gate.clone();
    let _ = server.on_statement(ECHO, move |call| echoed(&call).held(&held));
    let mut connection = validated(&backend, &server).await;
    let late = async {
        gate.reached().await;
        // A request that runs into the limit meanwhile shows that it has passed.
        assert_eq!(backend.shard_maps().await.unwrap_err().limit(), Some(Limit::Command));
        gate.open();
    };
    let (echoed, ()) = tokio::join!(echo(&mut connection, 2), late);
    assert_eq!(echoed.unwrap(), Some(2));
}

#[test]
fn a_connection_that_is_dropped_outside_of_the_runtime_is_closed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (server, backend, connection) = runtime.block_on(async {
        let server = shard_server().await;
        let backend = backend(&server, two());
        let connection = validated(&backend, &server).await;
        (server, backend, connection)
    });
    drop(connection);
    runtime.block_on(async {
        soon(server.until(|server| server.open() == 0)).await;
        used(&backend, &server).await;
        assert_eq!(count(&server, ECHO), 1);
        drop(server);
    });
}
