//! Connections that were validated and not used: the next to open one has it as it is, and where nobody comes its stamp is
//! taken away.

use shardlet::backend::Backend;
use shardlet::lsm::{LocalStore, Route, RouteTarget};
use shardlet::{SqlServer, SqlServerConnection, SqlServerOptions, Validation};

use crate::backend::{
    ECHO, MAP, SHARD, VERSION, application, backend, count, echo, patient, procedure, resets, route, shard_at,
    shard_server, soon, takes_stamp_away, validated,
};
use crate::endpoint::{Answer, Endpoint};
use crate::gate::End;

/// Room for two connections to each shard: while one is held, all other opens have to share the second.
fn two() -> SqlServerOptions {
    patient().max_connections_per_shard(2)
}

fn validations(server: &Endpoint) -> usize {
    count(server, &procedure("ValidateMapping"))
}

/// How many stamps were taken away.
fn taken_away(server: &Endpoint) -> usize {
    server.requests().iter().filter(|call| takes_stamp_away(call)).count()
}

/// Opens a connection to the shard itself, for no key.
async fn to_shard(backend: &SqlServer, server: &Endpoint) -> SqlServerConnection {
    let target = RouteTarget::Shard { shard: SHARD.into(), version: VERSION.into() };
    let route = Route { location: shard_at(server, "shard_0"), map: MAP.into(), target };
    backend.open_routed(&route, &application(), Validation::None).await.unwrap()
}

#[tokio::test]
async fn the_next_one_to_open_has_it_as_it_is() {
    let server = shard_server().await;
    let backend = backend(&server, patient());
    for opened in 1..=3 {
        drop(validated(&backend, &server).await);
        assert_eq!((validations(&server), server.requests().len()), (opened, opened));
    }
    assert_eq!(server.connections().len(), 1);
}

#[tokio::test]
async fn where_nobody_comes_its_stamp_is_taken_away_once() {
    let server = shard_server().await;
    let backend = backend(&server, two());
    let _held = validated(&backend, &server).await;
    drop(validated(&backend, &server).await);
    drop(validated(&backend, &server).await);
    assert_eq!((validations(&server), server.requests().len()), (3, 3));
    soon(server.until(|server| taken_away(server) == 1)).await;
    // It went back after that, for this is it. Used, it is reset, which takes the stamp along.
    let mut connection = validated(&backend, &server).await;
    assert_eq!(echo(&mut connection, 1).await.unwrap(), Some(1));
    drop(connection);
    resets(&server, 1).await;
    // What is used next is not stamped, and nothing is left to take away.
    let mut connection = to_shard(&backend, &server).await;
    assert_eq!(echo(&mut connection, 2).await.unwrap(), Some(2));
    assert_eq!((validations(&server), taken_away(&server), count(&server, ECHO)), (4, 1, 2));
    assert_eq!((server.requests().len(), server.connections().len()), (9, 2));
}

#[tokio::test]
async fn a_stamp_that_is_still_there_is_replaced_before_the_first_statement_for_no_key() {
    let server = shard_server().await;
    let backend = backend(&server, two());
    let mut fresh = to_shard(&backend, &server).await;
    assert_eq!(echo(&mut fresh, 1).await.unwrap(), Some(1));
    assert_eq!(server.requests().len(), 1, "a fresh one carries none");
    fresh.close();
    drop(validated(&backend, &server).await);
    let mut connection = to_shard(&backend, &server).await;
    assert_eq!((server.requests().len(), taken_away(&server)), (2, 0));
    assert_eq!(echo(&mut connection, 2).await.unwrap(), Some(2));
    assert_eq!(echo(&mut connection, 3).await.unwrap(), Some(3));
    let requests = server.requests();
    assert!(takes_stamp_away(&requests[2]), "{:?}", requests[2]);
    assert_eq!((requests.len(), server.connections().len()), (5, 2));
}

#[tokio::test]
async fn one_that_waits_for_a_place_has_it_at_once() {
    let server = shard_server().await;
    let backend = backend(&server, two());
    let _held = validated(&backend, &server).await;
    let first = validated(&backend, &server).await;
    let (_second, ()) = soon(async { tokio::join!(validated(&backend, &server), async { drop(first) }) }).await;
    assert_eq!((validations(&server), server.requests().len(), server.connections().len()), (3, 3, 2));
}

#[tokio::test]
async fn it_makes_room_where_all_places_are_taken() {
    let server = shard_server().await;
    let backend = backend(&server, patient().max_connections(4));
    let mut held = Vec::new();
    for number in 0..6 {
        let route = route(shard_at(&server, &format!("shard_{number}")));
        let connection = soon(backend.open_routed(&route, &application(), Validation::Validate)).await.unwrap();
        let others = server.requests().iter().filter(|call| !takes_stamp_away(call)).count();
        assert_eq!((validations(&server), others), (number + 1, number + 1));
        if number < 3 {
            held.push(connection);
        }
    }
    assert_eq!(server.connections().len(), 6);
    soon(server.until(|server| server.open() == 4)).await;
}

#[tokio::test]
async fn one_that_ended_meanwhile_is_replaced() {
    for end in [End::Close, End::Reset] {
        let server = shard_server().await;
        let backend = backend(&server, two());
        drop(validated(&backend, &server).await);
        server.cut(end).await;
        let mut connection = soon(validated(&backend, &server)).await;
        assert_eq!(echo(&mut connection, 1).await.unwrap(), Some(1), "{end:?}");
        assert_eq!(server.connections().len(), 2);
    }
}

#[tokio::test]
async fn one_whose_stamp_cannot_be_taken_away_is_closed() {
    for answer in [Answer::failed(50000, "no"), Answer::done().cut_at(0, End::Reset)] {
        let server = shard_server().await;
        server.on(takes_stamp_away, move |_| answer.clone()).times(1);
        let backend = backend(&server, two());
        drop(validated(&backend, &server).await);
        soon(server.until(|server| taken_away(server) == 1 && server.open() == 0)).await;
        let mut connection = soon(validated(&backend, &server)).await;
        assert_eq!(echo(&mut connection, 1).await.unwrap(), Some(1));
    }
}

#[tokio::test]
async fn a_shard_that_is_forgotten_loses_it() {
    let server = shard_server().await;
    let backend = backend(&server, two());
    drop(validated(&backend, &server).await);
    backend.forget_shard(&shard_at(&server, "shard_0"));
    soon(server.until(|server| server.open() == 0)).await;
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn one_task_looks_after_all_of_them() {
    let server = shard_server().await;
    let backend = backend(&server, patient());
    drop(validated(&backend, &server).await);
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for _ in 0..20 {
        drop(validated(&backend, &server).await);
    }
    let now = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert!(now < tasks + 10, "{now} tasks, {tasks} before");
}
