//! What the tests share: stores of their own, and a backend that counts requests and fails them on demand.

pub mod child;
pub mod consistency;
pub mod contents;
pub mod create_many;
pub mod declared;
pub mod golden_files;
pub mod polled;
pub mod probe;
pub mod raw_stores;
#[cfg(unix)]
pub mod signals;
pub mod sqlite_files;

use shardlet::{Durability, Options, Shard, ShardLocation, ShardMap, ShardMapManager, Sqlite, SqliteOptions};
use shardlet::{Mapping, Stores};
use tempfile::TempDir;

/// A manager on a new store in memory.
pub async fn manager() -> ShardMapManager<Sqlite> {
    ShardMapManager::open_or_create(Sqlite::in_memory(), Options::default()).await.unwrap()
}

/// A new directory for a store, removed when it is dropped.
pub fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The embedded backend on a directory, without waits for the disk.
pub fn sqlite(directory: &TempDir) -> Sqlite {
    Sqlite::open_with(directory.path(), quick()).unwrap()
}

/// Options without waits for the disk, which no test here depends on.
pub fn quick() -> SqliteOptions {
    SqliteOptions::default().durability(Durability::Process)
}

/// The location of the numbered test shard.
pub fn location(number: usize) -> ShardLocation {
    ShardLocation::new("server", format!("shard_{number}"))
}

/// That many shards in a map.
pub async fn shards<M: Mapping, B: Stores>(map: &ShardMap<M, B>, count: usize) -> Vec<Shard> {
    let mut shards = Vec::new();
    for number in 0..count {
        shards.push(map.shard_or_create(&location(number)).await.unwrap());
    }
    shards
}
