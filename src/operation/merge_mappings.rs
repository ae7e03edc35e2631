//! Joins two adjacent ranges of one shard: `MergeMappings`.

use std::sync::Arc;

use super::Request;
use crate::error::{Error, Result};
use crate::gsm::{MappingStep, OperationCode};
use crate::model::{LockToken, MappingId, MappingRecord, Shard, ShardMapInfo};

/// The result has the status of both and the lock of the left one.
pub(crate) fn request(
    map: &ShardMapInfo,
    (left, left_lock): (&MappingRecord, LockToken),
    (right, right_lock): (&MappingRecord, LockToken),
) -> Result<Request> {
    if left.shard.id() != right.shard.id() {
        return Err(Error::invalid_input("the ranges are on different shards; move one of them first"));
    }
    if left.high.as_ref() != Some(&right.low) {
        return Err(Error::invalid_input("the left range does not end where the right one begins"));
    }
    if left.status != right.status {
        return Err(Error::invalid_input("one range is online and the other offline"));
    }
    let steps = |shard: &Arc<Shard>| {
        let merged = MappingRecord {
            id: MappingId::random(),
            shard: Arc::clone(shard),
            high: right.high.clone(),
            lock_owner: left_lock,
            ..left.clone()
        };
        vec![
            MappingStep::Remove { mapping: left.clone(), lock: left_lock },
            MappingStep::Remove { mapping: right.clone(), lock: right_lock },
            MappingStep::Add { mapping: merged, validate: false },
        ]
    };
    Ok(Request::on_mappings(OperationCode::MergeMappings, map, (&left.shard, &left.shard), steps, None))
}
