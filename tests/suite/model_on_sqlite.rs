//! The model against SQLite.

use shardlet::{ShardLocation, SqliteConnection, Timeouts};

use crate::conformance::Environment;
use crate::conformance_on_sqlite::SqliteInMemory;
use crate::model::{Ground, against_the_model, list_map_does_what_the_model_does, range_map_does_what_the_model_does};

impl Ground for SqliteInMemory {
    fn place(connection: &SqliteConnection) -> ShardLocation {
        connection.location().clone()
    }
}

#[test]
fn list_maps_do_what_the_model_does() {
    against_the_model(async |steps| {
        let env = SqliteInMemory::fresh(Timeouts::default()).await;
        list_map_does_what_the_model_does(&env, "map", &steps).await
    });
}

#[test]
fn range_maps_do_what_the_model_does() {
    against_the_model(async |steps| {
        let env = SqliteInMemory::fresh(Timeouts::default()).await;
        range_map_does_what_the_model_does(&env, "map", &steps).await
    });
}
