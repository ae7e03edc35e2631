//! Databases on the server whose stores are put back to saved rows, which is much cheaper than making new ones.

use shardlet::tiberius::Row;
use shardlet::{ShardLocation, SqlCredentials, SqlServer, SqlServerConnection, SqlServerOptions};
use uuid::Uuid;

use crate::faults::case::{Case, NEW_SHARD};
use crate::faults::world::{Ground, World};
use crate::server::{Databases, Direct, credentials, login};
use crate::support::raw_stores::{GLOBAL_TABLES, LOCAL_TABLES};

/// A store of four shards, filled for the operations of points or of ranges.
pub struct Restored {
    /// Host and port that clients connect to.
    address: (String, u16),
    /// A connection to each database, that of the global store first, past what clients connect to, and the statements that put it back.
    stores: Vec<(Direct, String)>,
    databases: Databases,
    /// Whether the database of the shard that is to be created holds an empty store, or none.
    pub new_store: bool,
}

impl Restored {
    /// Stores that clients reach at an address, as they are before a case, with such clients. Their pools are not the same.
    pub async fn fill(address: (String, u16), case: Case) -> (Self, World<SqlServer>) {
        let databases = Databases::create(NEW_SHARD + 1).await;
        let mut restored = Self { address, stores: Vec::new(), databases, new_store: true };
        let world = World::fill(restored.backend(), restored.backend(), restored.places(), case).await;
        // Every database has a store from now on: its installation would be the most of an operation.
        let map = &world.sound.points;
        for place in &restored.places()[2..] {
            if map.find_shard(place).await.unwrap().is_none() {
                map.delete_shard(map.create_shard(place).await.unwrap()).await.unwrap();
            }
        }
        let shards = (0..=NEW_SHARD).map(|number| (restored.databases.shard(number), &LOCAL_TABLES[..]));
        let stores: Vec<_> = std::iter::once((restored.databases.global(), &GLOBAL_TABLES[..])).chain(shards).collect();
        for (database, tables) in stores {
            let mut direct = Direct::to(&database).await;
            let statements = save(&mut direct, tables).await;
            restored.stores.push((direct, statements));
        }
        (restored, world)
    }

    pub fn prefix(&self) -> &str {
        self.databases.prefix()
    }

    /// A client with pools of its own.
    pub fn backend(&self) -> SqlServer {
        backend_of(&self.address, self.prefix())
    }

    pub fn places(&self) -> Vec<ShardLocation> {
        places_of(&self.address, self.prefix())
    }

    /// Puts all rows back.
    pub async fn restore(&mut self) {
        let drop: Vec<_> =
            LOCAL_TABLES.iter().rev().map(|it| format!("DROP TABLE IF EXISTS __ShardManagement.{it};")).collect();
        for (number, (direct, statements)) in self.stores.iter_mut().enumerate() {
            if number == NEW_SHARD + 1 && !self.new_store {
                direct.run(&drop.concat()).await;
            } else {
                direct.run(statements).await;
            }
        }
    }

    /// Fails if a row of the global store is stamped or not readable.
    pub async fn assert_no_stamps(&mut self, about: &str) {
        let stamped = "SELECT (SELECT COUNT(*) FROM __ShardManagement.ShardsGlobal \
                               WHERE OperationId IS NOT NULL OR Readable <> 1) \
                            + (SELECT COUNT(*) FROM __ShardManagement.ShardMappingsGlobal \
                               WHERE OperationId IS NOT NULL OR Readable <> 1)";
        let rows = self.stores[0].0.rows(stamped, &[]).await;
        assert_eq!(rows[0].get::<i32, _>(0), Some(0), "{about}: rows that are still stamped");
    }
}

/// A client of the stores whose databases' names begin so, by way of an address.
pub fn backend_of((host, port): &(String, u16), prefix: &str) -> SqlServer {
    let string = format!("Server=tcp:{host},{port};Database={prefix}_gsm;{}", login());
    SqlServer::open_with(&string, SqlServerOptions::default()).unwrap()
}

/// The places of the shards whose databases' names begin so, by way of an address.
pub fn places_of((host, port): &(String, u16), prefix: &str) -> Vec<ShardLocation> {
    let place = |number| ShardLocation::new(host.as_str(), format!("{prefix}_s{number}")).with_port(*port);
    (0..=NEW_SHARD).map(place).collect()
}

/// One batch that deletes all rows of the tables and inserts those that are there now.
async fn save(direct: &mut Direct, tables: &[&str]) -> String {
    let mut batch = "SET XACT_ABORT ON; BEGIN TRANSACTION;\n".to_owned();
    for table in tables.iter().rev() {
        batch.push_str(&format!("DELETE FROM __ShardManagement.{table};\n"));
    }
    for table in tables {
        for row in direct.rows(&format!("SELECT * FROM __ShardManagement.{table}"), &[]).await {
            let columns: Vec<_> = row.columns().iter().map(|column| format!("[{}]", column.name())).collect();
            let values: Vec<_> = (0..columns.len()).map(|at| literal(&row, at)).collect();
            let (columns, values) = (columns.join(", "), values.join(", "));
            batch.push_str(&format!("INSERT INTO __ShardManagement.{table} ({columns}) VALUES ({values});\n"));
        }
    }
    batch.push_str("COMMIT TRANSACTION;");
    batch
}

/// A value as the text of a statement has it.
fn literal(row: &Row, at: usize) -> String {
    let value = None
        .or_else(|| row.try_get::<Uuid, _>(at).ok().map(|id| id.map(|id| format!("'{id}'"))))
        .or_else(|| row.try_get::<i32, _>(at).ok().map(|number| number.map(|number| number.to_string())))
        .or_else(|| row.try_get::<bool, _>(at).ok().map(|bit| bit.map(|bit| u8::from(bit).to_string())))
        .or_else(|| {
            row.try_get::<&str, _>(at).ok().map(|text| text.map(|text| format!("N'{}'", text.replace('\'', "''"))))
        })
        .or_else(|| row.try_get::<&[u8], _>(at).ok().map(|bytes| bytes.map(hex)));
    value.expect("a column of a type that no store has").unwrap_or_else(|| "NULL".to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

impl Ground for SqlServer {
    fn credentials() -> SqlCredentials {
        credentials()
    }

    fn place(connection: &SqlServerConnection) -> ShardLocation {
        connection.location().clone()
    }
}
