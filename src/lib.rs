//! `shardlet` scales a SQL database out over many databases, the *shards*, and always opens the right one for a *sharding
//! key*.
//!
//! A *shard map* says which shard holds which keys: a [list map](ListShardMap) maps single keys, a [range map](RangeShardMap)
//! ranges `[low, high)`. The *global shard map* (GSM) in one database is the authority; each shard keeps a *local shard map*
//! (LSM) of what concerns it; each process caches what it has looked up. An application asks for a connection for a key and
//! gets one to the shard that owns it, checked by the shard itself. An administrator splits, merges and moves mappings and
//! takes them offline, while applications run.
//!
//! It does for Rust what Microsoft's Elastic Database client library does for .NET, with the same words, stores and rules.
//! It is not a proxy and not a query engine: SQL goes from the application to the shard, and rows are moved by the
//! application. It has two backends: the embedded one, [`Sqlite`], is a database file per shard in a directory, or everything
//! in memory; [`SqlServer`] is for SQL Server and Azure SQL.
//!
//! # Start
//!
//! ```
//! use shardlet::{
//!     NoCredentials, Options, RangeShardMap, ShardLocation, ShardMapManager, Sqlite, Validation,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> shardlet::Result<()> {
//! // `Sqlite::open("./data")?` keeps files; this is gone with the process.
//! let manager = ShardMapManager::open_or_create(Sqlite::in_memory(), Options::default()).await?;
//! let orders: RangeShardMap<i64, _> = manager.range_shard_map_or_create("orders").await?;
//!
//! let first = orders.shard_or_create(&ShardLocation::new("server-a", "sample_shard_0")).await?;
//! let second = orders.shard_or_create(&ShardLocation::new("server-a", "sample_shard_1")).await?;
//! orders.create_mapping(0..50, &first).await?;
//! let high = orders.create_mapping(50.., &second).await?;
//!
//! let mut connection = orders.open_connection_for_key(&7, &NoCredentials, Validation::Validate).await?;
//! assert_eq!(connection.location().database(), "sample_shard_0");
//! connection.execute_batch("CREATE TABLE orders (customer INTEGER, item TEXT)").await?;
//! connection.execute("INSERT INTO orders VALUES (?1, ?2)", (7, "book")).await?;
//!
//! let (middle, _) = orders.split_mapping(high, 100).await?;
//! let offline = orders.mark_mapping_offline(middle).await?;
//! let moved = orders.move_mapping(offline, &first).await?;    // metadata: the rows are yours to copy
//! orders.mark_mapping_online(moved).await?;
//! # Ok(()) }
//! ```
//!
//! Everything runs on a tokio runtime.
//!
//! # Promises
//!
//! - A connection that was validated is never one to a shard that did not own the key when it was opened.
//! - A lookup of a cached key does no I/O, takes no lock and allocates nothing; a cold one costs one read of the global store
//!   however many callers wait for it. With the global store down, cached keys keep routing.
//! - A client killed at any instruction, or a future dropped at any await, leaves the old state, the new state, or an
//!   unfinished operation that the next client undoes. Global and local stores agree again afterwards.
//! - Taking a mapping offline ends the sessions of its keys and nobody else's.
//! - A handle that is out of date is refused with kind [`Stale`](ErrorKind::Stale) and nothing is changed.
//! - No input makes it panic, no value is pasted into SQL, no message holds a secret or a key.
//!
//! # Where things are
//!
//! [`RecoveryManager`] mends what a restored, renamed, moved or lost database leaves behind; [`ShardMapManager`] opens
//! stores and maps, and stores what tables the shards have ([`SchemaInfo`]); [`ShardMap`] holds the calls that list and
//! range maps share; [`BulkCreation`] creates many mappings; [`Error`] says what to do about a failure; [`Sqlite`] and
//! [`SqliteConnection`] are the embedded backend, [`SqlServer`], [`SqlCredentials`] and [`SqlServerConnection`] that for
//! SQL Server. [`gsm`], [`lsm`] and [`backend`] are the contracts that a backend fulfils, [`operation`] the protocol over
//! both stores; applications need none of them by name.
//!
//! | Feature | Default | What it adds |
//! | --- | --- | --- |
//! | `sqlite` | yes | the embedded backend |
//! | `sql-server` | yes | the backend for SQL Server 2016 and later, Azure SQL Database, Managed Instance and Babelfish; TLS by rustls |
//! | `metrics` | no | counters and histograms through the `metrics` facade; spans and events go to `tracing` in any case |

pub mod backend;
pub mod error;
#[cfg(feature = "fault-points")]
#[doc(hidden)]
pub mod fault_point;
#[cfg(not(feature = "fault-points"))]
mod fault_point;
pub mod gsm;
pub mod key;
mod list_map;
pub mod lsm;
mod manager;
pub mod model;
pub mod operation;
mod options;
mod range_map;
mod recovery;
mod routing;
mod schema_info;
mod shard_map;
mod telemetry;
mod xml;

pub use backend::Timeouts;
#[cfg(feature = "sql-server")]
pub use backend::sql_server::{
    SqlCredentials, SqlServer, SqlServerBulkInsert, SqlServerConnection, SqlServerOptions, SqlServerRows,
    SqlServerTransaction,
};
#[cfg(feature = "sqlite")]
pub use backend::sqlite::{Durability, NoCredentials, Sqlite, SqliteConnection, SqliteOptions, SqliteTransaction};
pub use error::{Error, ErrorCategory, ErrorCode, ErrorKind, Limit, Result};
pub use gsm::CreateMode;
pub use key::{EncodedKey, EncodedRange, KeyRange, KeyText, KeyType, ShardKey};
pub use list_map::ListShardMap;
pub use lsm::Validation;
pub use manager::{PendingOperation, ShardMapManager, ShardUpgrade, UpgradeReport};
pub use model::{
    KeyedMapping, LockToken, Mapping, MappingFilter, MappingId, MappingStatus, OperationId, Place, PointMapping,
    Points, Protocol, RangeMapping, Ranges, SessionPolicy, SessionsEnded, Shard, ShardId, ShardLocation, ShardMapId,
    ShardMapInfo, ShardMapKind, ShardMapName, ShardStatus, ShardVersion, StoreRights, StoreUpgrade, StoreVersion,
};
pub use operation::{Plan, PlanAction, PlanStep, RetryPolicy, Stores};
pub use options::{LoadPolicy, Options};
pub use range_map::RangeShardMap;
pub use recovery::{
    Detector, DifferenceKind, MappingDifference, RecoveryManager, Resolution, ShardDifference, ShardDifferences,
};
pub use routing::{CacheOptions, CacheStatistics};
#[cfg(feature = "sqlite")]
pub use rusqlite;
pub use schema_info::{ReferenceTable, SchemaInfo, ShardedTable};
pub use shard_map::{BulkCreation, BulkOptions, BulkProgress, MappingUpdate, Operation, ShardMap};
#[cfg(feature = "sql-server")]
pub use tiberius;

/// The code of the README compiles and, where it needs no server, runs.
#[cfg(all(doctest, feature = "sqlite", feature = "sql-server"))]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct Readme;
