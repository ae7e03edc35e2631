//! What an application does with a store, by subject: each call in its usual use, at its edges, and refused.

mod bad_input;
mod bulk;
mod bulk_beside_others;
mod date_times;
mod error_table;
mod hostile_names;
mod keys;
mod list_mappings;
mod locks;
mod lookup_cache;
mod manager;
mod range_mappings;
mod schema_infos;
mod shards;
mod spoilt_columns;
mod spoilt_rows;
mod unusable_places;
mod updates;

use std::fmt::Debug;

use shardlet::{
    Error, ErrorCode, ErrorKind, Mapping, MappingId, MappingStatus, PointMapping, RangeMapping, Shard, ShardKey,
};

/// What scenarios that are alike for points and ranges look at.
trait Handle: Mapping {
    fn state_id(&self) -> MappingId;
    fn marked(&self) -> MappingStatus;
    fn is_on(&self) -> &Shard;
}

macro_rules! handle {
    ($mapping:ident) => {
        impl<K: ShardKey> Handle for $mapping<K> {
            fn state_id(&self) -> MappingId {
                $mapping::id(self)
            }

            fn marked(&self) -> MappingStatus {
                $mapping::status(self)
            }

            fn is_on(&self) -> &Shard {
                $mapping::shard(self)
            }
        }
    };
}
handle!(PointMapping);
handle!(RangeMapping);

/// The error of a call that has to fail, and to fail so.
#[track_caller]
fn refused<T: Debug>(result: shardlet::Result<T>, kind: ErrorKind, code: ErrorCode, case: &str) -> Error {
    match result {
        Ok(value) => panic!("{case}: succeeded with {value:?}"),
        Err(error) => {
            assert_eq!((error.kind(), error.code()), (kind, code), "{case}: {error:?}");
            error
        }
    }
}
