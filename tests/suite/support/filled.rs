//! Stores on SQLite with so many mappings that it would take hours to make them by operations: their rows are written straight
//! into the files.

use std::path::Path;

use shardlet::rusqlite::{Connection, params};
use shardlet::{EncodedKey, MappingStatus, ShardId, ShardMapId};
use uuid::Uuid;

/// A mapping to write: its shard, its low bound and its high bound.
pub type Row = (ShardId, EncodedKey, Option<EncodedKey>);

/// Writes mappings of a map into the file of the global store, and into nothing else. Their ids count up from `first`.
pub fn fill_global(file: &Path, map: ShardMapId, first: u128, rows: impl IntoIterator<Item = Row>) {
    let sql = r#"INSERT INTO "__ShardManagement.ShardMappingsGlobal"
                     ("MappingId", "Readable", "ShardId", "ShardMapId", "MinValue", "MaxValue", "Status")
                 VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6)"#;
    fill(file, sql, map, first, rows);
}

/// Writes mappings of a map into the file of a shard's store. Their ids count up from `first`.
#[allow(dead_code, reason = "for tests of shards; lookups need the global store only")]
pub fn fill_local(file: &Path, map: ShardMapId, first: u128, rows: impl IntoIterator<Item = Row>) {
    let sql = r#"INSERT INTO "__ShardManagement.ShardMappingsLocal"
                     ("MappingId", "ShardId", "ShardMapId", "MinValue", "MaxValue", "Status")
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)"#;
    fill(file, sql, map, first, rows);
}

fn fill(file: &Path, sql: &str, map: ShardMapId, first: u128, rows: impl IntoIterator<Item = Row>) {
    let mut connection = Connection::open(file).unwrap();
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000").unwrap();
    let transaction = connection.transaction().unwrap();
    let map = map.to_string();
    {
        let mut statement = transaction.prepare(sql).unwrap();
        for (id, (shard, low, high)) in (first..).zip(rows) {
            let high = high.as_ref().map(EncodedKey::as_bytes);
            let row = params![
                Uuid::from_u128(id).to_string(),
                shard.to_string(),
                map,
                low.as_bytes(),
                high,
                MappingStatus::Online as i64
            ];
            statement.execute(row).unwrap();
        }
    }
    transaction.commit().unwrap();
}
