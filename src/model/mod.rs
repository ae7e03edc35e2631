//! Inert values: what a shard map is made of, without any behaviour of a store.
//!
//! Ids, locations, shards, mappings, their states, lock tokens, and the record of a shard map. Handles that do something
//! (open a connection, change a mapping) live in the facade; rows and documents live with the stores.
//!
//! Invariant: nothing here does I/O, and every value can be cloned cheaply and sent between threads.

mod description;
mod id;
mod location;
mod mapping;
mod name;
mod rights;
mod sessions;
mod shard;
mod shard_map;
mod status;
mod version;

#[cfg(any(feature = "sqlite", feature = "sql-server"))]
pub(crate) use description::readable_description;
pub use id::{LockToken, MappingId, OperationId, ShardId, ShardMapId, ShardVersion};
pub use location::{Place, Protocol, ShardLocation};
pub use mapping::{
    KeyedMapping, Mapping, MappingFilter, MappingRecord, PointMapping, Points, RangeMapping, Ranges, Shape,
};
pub use name::ShardMapName;
pub(crate) use name::{check_text, folded};
pub use rights::StoreRights;
pub use sessions::{SessionPolicy, SessionsEnded};
pub use shard::Shard;
pub use shard_map::{ShardMapInfo, ShardMapKind};
pub use status::{MappingStatus, ShardStatus};
pub use version::{StoreUpgrade, StoreVersion};
