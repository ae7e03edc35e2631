//! Many callers on few connections while everything goes wrong that can: nobody gets another's rows, bounds hold, and
//! afterwards all is as it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shardlet::gsm::GlobalStore;
use shardlet::lsm::LocalStore;
use shardlet::{ErrorKind, SqlServer, SqlServerConnection, Validation};

use crate::backend::{
    ECHO, application, backend, echo, echoed, no_maps, patient, procedure, route, shard_at, shard_server, soon,
};
use crate::endpoint::{Answer, Call, Endpoint};
use crate::gate::End;
use crate::polled::poll_times;

const SHARDS: usize = 3;
const BOUND: usize = 5;

/// What the server does about a statement, by the last digit of the number in it.
fn fate(call: &Call) -> Answer {
    let answer = echoed(call);
    match call.get::<i32>("@P1") % 10 {
        0 => answer.cut_at(17, End::Close),
        1 => answer.cut_at(0, End::Reset),
        2 => Answer::failed(1205, "deadlock"),
        3 => Answer::done().error(596, 1, 21, "killed"),
        4 => Answer::failed(50000, "no"),
        _ => answer,
    }
}

/// One caller's turn: rows, if there are any, have to be its own.
async fn turn(backend: &SqlServer, server: &Endpoint, random: &mut StdRng, number: i32) {
    let place = shard_at(server, &format!("shard_{}", random.random_range(0..SHARDS)));
    let validation = if random.random() { Validation::Validate } else { Validation::None };
    match backend.open_routed(&route(place), &application(), validation).await {
        Ok(mut connection) => use_it(&mut connection, random, number).await,
        Err(error) => assert!(expected(error.kind()), "{error:?}"),
    }
    match backend.shard_maps().await {
        Ok(maps) => assert_eq!(maps, []),
        Err(error) => assert!(expected(error.kind()), "{error:?}"),
    }
}

fn expected(kind: ErrorKind) -> bool {
    use ErrorKind::{Credentials, OutcomeUnknown, Statement, Transient, Unavailable};
    matches!(kind, Credentials | OutcomeUnknown | Statement | Transient | Unavailable)
}

async fn use_it(connection: &mut SqlServerConnection, random: &mut StdRng, number: i32) {
    let times = random.random_range(0..12);
    let asked = match random.random_range(0..5) {
        0 => poll_times(echo(connection, number), times).await,
        1 => match connection.begin().await {
            Ok(mut transaction) => Some(echo(&mut transaction, number).await),
            Err(error) => Some(Err(error)),
        },
        2 => {
            if let Ok(mut rows) = connection.query(ECHO, &[&number]).await {
                let _ = poll_times(rows.next(), times).await;
            }
            None
        }
        3 => poll_times(connection.begin(), times).await.map(|begun| begun.map(|_| Some(number))),
        _ => Some(echo(connection, number).await),
    };
    match asked {
        Some(Ok(value)) => assert_eq!(value, Some(number)),
        Some(Err(error)) => assert!(expected(error.kind()), "{error:?}"),
        None => {}
    }
    // Once more on what is left of the connection, this time with an answer that nothing happens to.
    let again = number / 10 * 10 + 9;
    match echo(connection, again).await {
        Ok(value) => assert_eq!(value, Some(again)),
        Err(error) => assert!(expected(error.kind()), "{error:?}"),
    }
}

#[tokio::test]
async fn a_pool_under_everything_at_once() {
    for seed in 0..4 {
        storm(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pool_under_everything_at_once_on_several_threads() {
    for seed in 4..8 {
        storm(seed).await;
    }
}

async fn storm(seed: u64) {
    let server = Arc::new(shard_server().await);
    let _ = server.on_statement(ECHO, |call| fate(&call));
    let mut dice = StdRng::seed_from_u64(seed);
    let fates: Vec<u8> = (0..4_000).map(|_| dice.random_range(0..12)).collect();
    let thrown = AtomicUsize::new(0);
    let next = move || fates[thrown.fetch_add(1, Ordering::Relaxed) % 4_000];
    let next = Arc::new(next);
    let (logins, maps, validations, resets) = (next.clone(), next.clone(), next.clone(), next);
    let _ = server.on_login(move |call| match logins() {
        0 => Answer::login_failed("application"),
        1 => call.usual().cut_at(20, End::Reset),
        2 => Answer::failed(40613, "not now"),
        _ => call.usual(),
    });
    let _ = server.on_procedure(&procedure("ListShardMaps"), move |_| match maps() {
        0 => no_maps().cut_at(30, End::Close),
        1 => Answer::failed(40501, "busy"),
        _ => no_maps(),
    });
    let _ = server.on_procedure(&procedure("ValidateMapping"), move |_| match validations() {
        0 => Answer::return_code(1).cut_at(2, End::Reset),
        1 => Answer::failed(1205, "deadlock"),
        _ => Answer::return_code(1),
    });
    let _ = server.on_procedure(crate::backend::RESET, move |call| match resets() {
        0 => Answer::done().cut_at(0, End::Close),
        1 => Answer::failed(50000, "no"),
        _ if call.transaction() == 0 => Answer::done(),
        _ => Answer::done().rolled_back(),
    });
    let backend = backend(&server, patient().max_connections(BOUND).max_connections_per_shard(3));
    let callers = (0..24).map(|caller| {
        let (backend, server) = (backend.clone(), Arc::clone(&server));
        let mut random = StdRng::seed_from_u64(seed * 100 + u64::try_from(caller).unwrap());
        tokio::spawn(async move {
            for round in 0..12 {
                turn(&backend, &server, &mut random, caller * 1_000 + round * 10 + round % 10).await;
            }
        })
    });
    for ended in soon(join_all(callers)).await {
        ended.unwrap();
    }
    well_again(&server, &backend).await;
}

/// The storm is over: all places can be had, and each gives its own rows.
async fn well_again(server: &Endpoint, backend: &SqlServer) {
    let _ = server.on_login(|call| call.usual());
    let _ = server.on_procedure(&procedure("ValidateMapping"), |_| Answer::return_code(1));
    soon(async {
        let mut held = Vec::new();
        for number in 0..BOUND {
            let place = shard_at(server, &format!("shard_{}", number % SHARDS));
            held.push(backend.open_routed(&route(place), &application(), Validation::Validate).await.unwrap());
        }
        for (number, connection) in (0..).zip(&mut held) {
            let asked = number * 10 + 7;
            assert_eq!(echo(connection, asked).await.unwrap(), Some(asked));
        }
        server.until(|server| on_shards(server) == BOUND).await;
    })
    .await;
}

/// How many connections to shards are open.
fn on_shards(server: &Endpoint) -> usize {
    let connections = server.connections();
    let open = connections.iter().filter(|connection| connection.is_open());
    open.filter(|connection| connection.find_login().is_some_and(|login| login.database != "global")).count()
}
