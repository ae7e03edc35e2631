//! Random clients on a server: tasks, each with pools and a cache of its own, that operate and route, and drop what they do when
//! another one has come to an end. The clients are those of `tests/chaos/`.

#[path = "../chaos/client.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod client;
#[path = "../chaos/dice.rs"]
mod dice;
#[path = "../chaos/gate.rs"]
#[allow(dead_code, reason = "nobody schedules here")]
mod gate;
#[path = "../chaos/keys.rs"]
mod keys;
#[path = "../chaos/report.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod report;

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join_all;
use shardlet::{
    ErrorKind, ListShardMap, MappingStatus, Options, RangeShardMap, Result, ShardLocation, ShardMap, SqlCredentials,
    SqlServer, SqlServerConnection, SqlServerOptions, Validation,
};
use tokio::sync::watch;

use self::client::{Applied, Client, Manner, POINTS, RANGES};
use self::dice::Dice;
use self::gate::{Gate, Hub};
use self::keys::{KEYS, Keyed};
use self::report::{Report, Tally, is_ordinary, outcome_of};
use crate::conformance::Environment;
use crate::environment::Live;
use crate::server::credentials;
use crate::support::consistency::assert_consistent;

trials! { chaos {
    random_clients_leave_stores_that_agree,
} }

const CLIENTS: usize = 4;
/// Of each client.
const OPERATIONS: usize = 60;
/// Places for shards.
const PLACES: usize = 4;

impl Applied for SqlServer {
    fn credentials() -> SqlCredentials {
        credentials()
    }

    fn place(connection: &SqlServerConnection) -> ShardLocation {
        connection.location().clone()
    }

    async fn see(connection: &mut SqlServerConnection) -> Result<String> {
        let row = connection.query("SELECT DB_NAME()", &[]).await?.into_row().await?;
        Ok(row.unwrap().get::<&str, _>(0).unwrap().to_owned())
    }
}

/// Operations at random. `ends` tells all clients of each that has come to an end.
async fn act(env: &Live, number: usize, ends: &watch::Sender<()>) -> Tally {
    let seed = u64::try_from(number).unwrap() + 1;
    let mut dice = Dice::new(seed);
    let (hub, mut others) = (Hub::open(), ends.subscribe());
    let gate = Gate::new(env.databases.backend(SqlServerOptions::default()), number, hub.clone());
    let places = (0..PLACES).map(|number| env.location(number)).collect();
    let manner = Manner { options: Options::default(), ends_sessions: false };
    let client = Arc::new(Client::new(gate, places, manner));
    let (mut tally, mut opened) = (Tally::default(), HashMap::new());
    for _ in 0..OPERATIONS {
        let acts = Box::pin(Arc::clone(&client).act(dice.any()));
        if dice.in_thousand(150) {
            others.mark_unchanged();
            tokio::select! {
                () = acts => {}
                _ = others.changed() => tally.count("anything", "dropped"),
            }
        } else {
            acts.await;
        }
        ends.send_replace(());
        for (_, report) in hub.take_reports() {
            let Some(name) = report.name() else { continue };
            match &report {
                Report::Opened { outcome: Ok(location), session, .. } => {
                    let _ = opened.insert(*session, location.clone());
                }
                Report::Stated { session, outcome: Ok(place) } => {
                    assert_eq!(place, opened[session].database(), "seed {seed}: session {session}");
                }
                _ => {}
            }
            // A session that is ended is a broken connection.
            let broken = [ErrorKind::Transient, ErrorKind::Unavailable, ErrorKind::OutcomeUnknown];
            let error = report.error();
            let ordinary =
                error.is_none_or(|error| is_ordinary(error) || (name == "statement" && broken.contains(&error.kind())));
            assert!(ordinary, "seed {seed}: {name}: {error:?}");
            tally.count(name, &outcome_of(error));
        }
    }
    tally
}

async fn random_clients_leave_stores_that_agree() {
    let env = Live::new().await;
    let manager = env.manager().await;
    let points: ListShardMap<i64, _> = manager.create_list_shard_map(POINTS).await.unwrap();
    let ranges: RangeShardMap<i64, _> = manager.create_range_shard_map(RANGES).await.unwrap();
    let (of_points, of_ranges) = (env.shards(&points, PLACES - 1).await, env.shards(&ranges, PLACES - 1).await);
    for (low, (point, range)) in (0..).step_by(4).zip(of_points.iter().zip(&of_ranges)) {
        let _ = ranges.create_mapping(low..low + 4, range).await.unwrap();
        let _ = points.create_mapping(low, point).await.unwrap();
    }
    let ends = watch::Sender::new(());
    let mut tally = Tally::default();
    for of_one in join_all((0..CLIENTS).map(|number| act(&env, number, &ends))).await {
        tally.join(&of_one);
    }
    println!("{} operations\n{tally}", tally.total());
    let _ = manager.undo_pending_operations().await.unwrap();
    assert_consistent(env.backend(), &env.places(), "after all").await;
    for key in 0..KEYS {
        opens_as_mapped(&points, key).await;
        opens_as_mapped(&ranges, key).await;
    }
}

async fn opens_as_mapped<M: Keyed>(map: &ShardMap<M, SqlServer>, key: i64) {
    let expected = match map.find_mapping_for_key(&key).await.unwrap() {
        None => Err(ErrorKind::NotFound),
        Some(mapping) if mapping.record().status == MappingStatus::Offline => Err(ErrorKind::Offline),
        Some(mapping) => Ok(mapping.record().shard.location().clone()),
    };
    let opened = map.open_connection_for_key(&key, &credentials(), Validation::Validate).await;
    assert_eq!(opened.map(|open| open.location().clone()).map_err(|error| error.kind()), expected, "key {key}");
}
