//! Recovery end to end, on files: what an operator does after databases were copied back, renamed or lost.
//!
//! `scenarios` are whole stories; `history` is about operations that a restored global store believes to be unfinished.

mod history;
mod scenarios;

use std::path::{Path, PathBuf};

use shardlet::{
    NoCredentials, Options, RangeShardMap, ShardDifferences, ShardLocation, ShardMapManager, Sqlite, SqliteConnection,
    Validation,
};
use tempfile::TempDir;

use crate::support::consistency::assert_consistent;
use crate::support::contents::{closed, raw, shard_file};
use crate::support::{directory, location, sqlite};

/// A range map in files, with `[0, 100)` on shard 0 and `[100, 200)` on shard 1; shard 2 is empty. Each shard has a table that
/// says which one it is.
struct Files {
    directory: TempDir,
}

impl Files {
    async fn new() -> Self {
        let files = Self { directory: directory() };
        let manager = ShardMapManager::open_or_create(files.backend(), Options::default()).await.unwrap();
        let map: RangeShardMap<i64, _> = manager.create_range_shard_map("orders").await.unwrap();
        for number in 0..3 {
            let shard = map.create_shard(&location(number)).await.unwrap();
            let mut connection =
                map.open_connection_to_shard(&shard, &NoCredentials, Validation::Validate).await.unwrap();
            let sql = format!("CREATE TABLE name (shard INTEGER); INSERT INTO name VALUES ({number})");
            connection.execute_batch(&sql).await.unwrap();
            let low = 100 * i64::try_from(number).unwrap();
            if number < 2 {
                let _ = map.create_mapping(low..low + 100, &shard).await.unwrap();
            }
        }
        files
    }

    fn backend(&self) -> Sqlite {
        sqlite(&self.directory)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A process of its own, as far as caches and pools go.
    async fn process(&self) -> RangeShardMap<i64, Sqlite> {
        let manager = ShardMapManager::open(self.backend(), Options::default()).await.unwrap();
        manager.range_shard_map("orders").await.unwrap()
    }

    fn global(&self) -> PathBuf {
        self.path().join("gsm.db")
    }

    fn shard(&self, number: usize) -> PathBuf {
        shard_file(self.path(), number)
    }

    /// A backup of a database, taken as SQLite takes them.
    fn backup(&self, file: &Path) -> PathBuf {
        let backup = file.with_extension("backup");
        let _ = std::fs::remove_file(&backup);
        let sql = format!("VACUUM INTO '{}'", backup.display());
        raw(file).execute_batch(&sql).unwrap();
        backup
    }
}

/// Puts a file in the place of a database when nobody has it open any more.
async fn restore(backup: &Path, file: &Path) {
    closed(file).await;
    let _ = std::fs::copy(backup, file).unwrap();
}

/// Which shard a key is led to, by what is written there.
async fn led_to(map: &RangeShardMap<i64, Sqlite>, key: i64) -> Result<i64, shardlet::ErrorKind> {
    let opened = map.open_connection_for_key(&key, &NoCredentials, Validation::Validate).await;
    name_of(&mut opened.map_err(|error| error.kind())?).await.map_err(|error| error.kind())
}

async fn name_of(connection: &mut SqliteConnection) -> shardlet::Result<i64> {
    connection.read(|transaction| transaction.query_row("SELECT shard FROM name", [], |row| row.get(0))).await
}

/// The differences at a place, of the only map.
async fn look(map: &RangeShardMap<i64, Sqlite>, place: &ShardLocation) -> ShardDifferences {
    let mut found = map.manager().recovery().detect(place).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

async fn assert_agree(map: &RangeShardMap<i64, Sqlite>, case: &str) {
    assert_consistent(map.manager().backend(), &[], case).await;
    for place in map.manager().shard_locations().await.unwrap() {
        let differences = look(map, &place).await;
        assert!(differences.is_empty(), "{case}: {differences}");
    }
}
