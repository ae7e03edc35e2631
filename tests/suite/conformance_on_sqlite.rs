//! The conformance suite on SQLite.

use std::path::PathBuf;

use shardlet::rusqlite::Connection;
use shardlet::{NoCredentials, Place, ShardLocation, Sqlite, SqliteOptions, Timeouts};
use tempfile::TempDir;

use crate::conformance::{Access, Environment, conformance, conformance_with_access};
use crate::support::{directory, location, quick};

conformance!(in_memory, crate::conformance_on_sqlite::SqliteInMemory);
conformance!(in_a_directory, crate::conformance_on_sqlite::SqliteInDirectory);
conformance_with_access!(in_a_directory_with_access, crate::conformance_on_sqlite::SqliteInDirectory);

pub struct SqliteInMemory(Sqlite);

impl Environment for SqliteInMemory {
    type Backend = Sqlite;

    async fn fresh(timeouts: Timeouts) -> Self {
        Self(Sqlite::in_memory_with(SqliteOptions::default().timeouts(timeouts)))
    }

    fn backend(&self) -> &Sqlite {
        &self.0
    }

    fn credentials(&self) -> NoCredentials {
        NoCredentials
    }

    fn location(&self, number: usize) -> ShardLocation {
        location(number)
    }
}

pub struct SqliteInDirectory {
    backend: Sqlite,
    directory: TempDir,
}

impl Environment for SqliteInDirectory {
    type Backend = Sqlite;

    async fn fresh(timeouts: Timeouts) -> Self {
        let directory = directory();
        let backend = Sqlite::open_with(directory.path(), quick().timeouts(timeouts)).unwrap();
        Self { backend, directory }
    }

    fn backend(&self) -> &Sqlite {
        &self.backend
    }

    fn credentials(&self) -> NoCredentials {
        NoCredentials
    }

    fn location(&self, number: usize) -> ShardLocation {
        location(number)
    }
}

impl SqliteInDirectory {
    /// The file of a store.
    pub fn file(&self, place: &Place) -> PathBuf {
        let name = match place {
            Place::Shard(location) => format!("shards/{}/{}.db", location.server(), location.database()),
            _ => "gsm.db".to_owned(),
        };
        self.directory.path().join(name)
    }
}

impl Access for SqliteInDirectory {
    async fn make_database(&self, location: &ShardLocation) {
        let file = self.file(&Place::Shard(location.clone()));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        Connection::open(file).unwrap().execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY)").unwrap();
    }

    async fn set_version(&self, place: &Place, major: i32, minor: i32) {
        let table = version_table(place);
        let sql =
            format!(r#"UPDATE "__ShardManagement.{table}" SET "StoreVersionMajor" = ?1, "StoreVersionMinor" = ?2"#);
        let changed = Connection::open(self.file(place)).unwrap().execute(&sql, [major, minor]).unwrap();
        assert_eq!(changed, 1);
    }

    async fn set_version_1_0(&self, place: &Place) {
        let table = version_table(place);
        let sql = format!(
            r#"DROP TABLE "__ShardManagement.{table}";
               CREATE TABLE "__ShardManagement.{table}" (
                   "StoreVersion" INTEGER NOT NULL,
                   CONSTRAINT "pk{table}_StoreVersion" PRIMARY KEY ("StoreVersion")
               ) STRICT;
               INSERT INTO "__ShardManagement.{table}" ("StoreVersion") VALUES (1)"#
        );
        Connection::open(self.file(place)).unwrap().execute_batch(&sql).unwrap();
    }

    async fn empty_table(&self, place: &Place, table: &str) {
        let sql = format!(r#"DELETE FROM "__ShardManagement.{table}""#);
        let _ = Connection::open(self.file(place)).unwrap().execute(&sql, []).unwrap();
    }

    async fn drop_table(&self, place: &Place, table: &str) {
        let sql = format!(r#"DROP TABLE "__ShardManagement.{table}""#);
        Connection::open(self.file(place)).unwrap().execute_batch(&sql).unwrap();
    }
}

fn version_table(place: &Place) -> &'static str {
    match place {
        Place::Shard(_) => "ShardMapManagerLocal",
        _ => "ShardMapManagerGlobal",
    }
}
