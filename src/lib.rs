//! shardlet

pub mod backend;
pub mod error;
pub mod gsm;
pub mod key;
mod list_map;
pub mod lsm;
mod manager;
pub mod model;
pub mod operation;
mod options;
mod range_map;
mod routing;
mod shard_map;
mod telemetry;

pub use backend::Timeouts;
#[cfg(feature = "sqlite")]
pub use backend::sqlite::{Durability, NoCredentials, Sqlite, SqliteConnection, SqliteOptions, SqliteTransaction};
pub use error::{Error, ErrorCategory, ErrorCode, ErrorKind, Limit, Result};
pub use gsm::CreateMode;
pub use key::{EncodedKey, EncodedRange, KeyRange, KeyType, ShardKey};
pub use list_map::ListShardMap;
pub use lsm::Validation;
pub use manager::ShardMapManager;
pub use model::{
    LockToken, Mapping, MappingFilter, MappingId, MappingStatus, OperationId, Place, PointMapping, Protocol,
    RangeMapping, SessionPolicy, SessionsEnded, Shard, ShardId, ShardLocation, ShardMapId, ShardMapInfo, ShardMapKind,
    ShardMapName, ShardStatus, ShardVersion, StoreVersion,
};
pub use operation::{Plan, PlanAction, PlanStep, RetryPolicy, Stores};
pub use options::{LoadPolicy, Options};
pub use range_map::RangeShardMap;
pub use routing::{CacheOptions, CacheStatistics};
#[cfg(feature = "sqlite")]
pub use rusqlite;
pub use shard_map::{MappingUpdate, Operation, ShardMap};
