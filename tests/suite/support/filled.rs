//! Stores on SQLite with so many mappings that it would take hours to make them by operations: their rows are written straight
//! into the files.

use std::path::Path;

use shardlet::rusqlite::{Connection, params};
use shardlet::{EncodedKey, MappingStatus, ShardId, ShardMapId};
use uuid::Uuid;

/// A mapping to write.
pub struct Row {
    pub id: u128,
    pub shard: ShardId,
    pub low: EncodedKey,
    pub high: Option<EncodedKey>,
}

/// Writes mappings of a map into the file of the global store, and into nothing else.
pub fn fill_global(file: &Path, map: ShardMapId, rows: impl IntoIterator<Item = Row>) {
    let sql = r#"INSERT INTO "__ShardManagement.ShardMappingsGlobal"
                     ("MappingId", "Readable", "ShardId", "ShardMapId", "MinValue", "MaxValue", "Status")
                 VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6)"#;
    fill(file, &[sql], map, rows);
}

/// Writes mappings of a map into the file of a shard's store, each of which was offline once.
#[allow(dead_code, reason = "for tests of shards; lookups need the global store only")]
pub fn fill_local(file: &Path, map: ShardMapId, rows: impl IntoIterator<Item = Row>) {
    let mapping = r#"INSERT INTO "__ShardManagement.ShardMappingsLocal"
                         ("MappingId", "ShardId", "ShardMapId", "MinValue", "MaxValue", "Status")
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)"#;
    let ending = r#"INSERT INTO "__ShardManagement.SessionsEndedLocal" ("ShardMapId", "MinValue", "MaxValue")
                    SELECT ?3, ?4, ?5 WHERE ?1 <> ?2 AND ?6 = 1"#;
    fill(file, &[mapping, ending], map, rows);
}

fn fill(file: &Path, statements: &[&str], map: ShardMapId, rows: impl IntoIterator<Item = Row>) {
    let mut connection = Connection::open(file).unwrap();
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000").unwrap();
    let transaction = connection.transaction().unwrap();
    let map = map.to_string();
    {
        let mut statements: Vec<_> = statements.iter().map(|sql| transaction.prepare(sql).unwrap()).collect();
        for row in rows {
            for statement in &mut statements {
                let _ = statement
                    .execute(params![
                        Uuid::from_u128(row.id).to_string(),
                        row.shard.to_string(),
                        map,
                        row.low.as_bytes(),
                        row.high.as_ref().map(EncodedKey::as_bytes),
                        MappingStatus::Online as i64
                    ])
                    .unwrap();
            }
        }
    }
    transaction.commit().unwrap();
}
