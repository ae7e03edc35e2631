//! Cuts a range into two on the same shard: `SplitMapping`.

use std::sync::Arc;

use super::Request;
use crate::error::{Error, Result};
use crate::gsm::{MappingStep, OperationCode};
use crate::key::EncodedKey;
use crate::model::{LockToken, MappingId, MappingRecord, Shard, ShardMapInfo};

/// Both parts keep status and lock.
pub(crate) fn request(map: &ShardMapInfo, mapping: &MappingRecord, lock: LockToken, at: EncodedKey) -> Result<Request> {
    if at == mapping.low || !mapping.range().contains(&at) {
        return Err(Error::invalid_input("the split key does not lie inside the range, above its low bound"));
    }
    let steps = |shard: &Arc<Shard>| {
        let part = |low: EncodedKey, high: Option<EncodedKey>| MappingStep::Add {
            mapping: MappingRecord {
                id: MappingId::random(),
                shard: Arc::clone(shard),
                low,
                high,
                lock_owner: lock,
                ..mapping.clone()
            },
            validate: false,
        };
        vec![
            MappingStep::Remove { mapping: mapping.clone(), lock },
            part(mapping.low.clone(), Some(at.clone())),
            part(at, mapping.high.clone()),
        ]
    };
    Ok(Request::on_mappings(OperationCode::SplitMapping, map, (&mapping.shard, &mapping.shard), steps, None))
}
