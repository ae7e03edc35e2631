//! Where the stores of a run are: in memory, or in a directory where each client is a backend of its own.

use shardlet::{
    ListShardMap, NoCredentials, Options, RangeShardMap, Result, ShardLocation, ShardMapManager, Sqlite,
    SqliteConnection, Validation,
};
use tempfile::TempDir;

use crate::client::{Applied, POINTS, RANGES};
use crate::ledger::{Verdict, check};
use crate::support::contents::rows;
use crate::support::{directory, location, options, sqlite};

/// How many places there are for shards.
pub const PLACES: usize = 4;

pub enum Ground {
    Memory(Sqlite),
    Directory(TempDir),
}

impl Applied for Sqlite {
    fn credentials() -> NoCredentials {
        NoCredentials
    }

    fn place(connection: &SqliteConnection) -> ShardLocation {
        connection.location().clone()
    }

    async fn see(connection: &mut SqliteConnection) -> Result<String> {
        connection.read(|transaction| transaction.query_row("SELECT name FROM place", [], |row| row.get(0))).await
    }
}

pub fn places() -> Vec<ShardLocation> {
    (0..PLACES).map(location).collect()
}

impl Ground {
    pub fn in_memory() -> Self {
        Self::Memory(Sqlite::in_memory_with(options()))
    }

    pub fn in_a_directory() -> Self {
        Self::Directory(directory())
    }

    /// The stores, as a client of its own sees them.
    pub fn store(&self) -> Sqlite {
        match self {
            Self::Memory(store) => store.clone(),
            Self::Directory(directory) => sqlite(directory),
        }
    }

    /// Both maps with a shard at every place but the last and some mappings, and in every database its name.
    pub async fn set_up(&self) {
        let manager = ShardMapManager::open_or_create(self.store(), Options::default()).await.unwrap();
        let points: ListShardMap<i64, _> = manager.create_list_shard_map(POINTS).await.unwrap();
        let ranges: RangeShardMap<i64, _> = manager.create_range_shard_map(RANGES).await.unwrap();
        for (number, place) in places().iter().enumerate() {
            let shard = ranges.create_shard(place).await.unwrap();
            let mut connection =
                ranges.open_connection_to_shard(&shard, &NoCredentials, Validation::None).await.unwrap();
            connection
                .execute_batch("CREATE TABLE place (name TEXT NOT NULL, visits INTEGER NOT NULL DEFAULT 0)")
                .await
                .unwrap();
            let named = connection.execute("INSERT INTO place (name) VALUES (?1)", [place.database().to_owned()]).await;
            assert_eq!(named.unwrap(), 1);
            if number + 1 == PLACES {
                ranges.delete_shard(shard).await.unwrap();
                continue;
            }
            let low = i64::try_from(number).unwrap() * 4;
            let _ = ranges.create_mapping(low..low + 4, &shard).await.unwrap();
            let shard = points.create_shard(place).await.unwrap();
            for key in low..low + 3 {
                let _ = points.create_mapping(key, &shard).await.unwrap();
            }
        }
    }

    /// Fails if an operation has left a mark in the tables, where they can be read.
    pub fn nothing_is_left(&self) -> Verdict {
        let Self::Directory(directory) = self else { return Ok(()) };
        for (file, rows) in rows(directory.path()) {
            for row in rows {
                // An id of an operation, or a row that is not readable: in the columns that readers never see.
                let marked = match row.split_once(": ") {
                    Some((table, _)) if table.ends_with("OperationsLogGlobal") => true,
                    Some((table, cells)) if table.ends_with("ShardsGlobal") => left(cells, 4, 1),
                    Some((table, cells)) if table.ends_with("ShardMappingsGlobal") => left(cells, 4, 1),
                    _ => false,
                };
                check(!marked, || format!("{} still holds {row}", file.display()))?;
            }
        }
        Ok(())
    }
}

/// True if a row has a stamp, or is not readable.
fn left(cells: &str, stamp: usize, readable: usize) -> bool {
    let cells: Vec<_> = cells.split(", ").collect();
    cells[stamp] != "Null" || cells[readable] != "Integer(1)"
}
