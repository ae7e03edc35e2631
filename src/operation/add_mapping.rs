//! Maps a key or a range of keys to a shard: `AddPointMapping`, `AddRangeMapping`.

use std::sync::Arc;

use super::Request;
use crate::gsm::{MappingStep, OperationCode};
use crate::key::EncodedKey;
use crate::model::{LockToken, MappingId, MappingRecord, MappingStatus, Shard, ShardMapInfo, ShardMapKind};

/// For a point, `low` is the key and `high` is `None`.
pub(crate) fn request(
    map: &ShardMapInfo,
    low: EncodedKey,
    high: Option<EncodedKey>,
    shard: &Shard,
    status: MappingStatus,
) -> Request {
    let code = match map.kind() {
        ShardMapKind::List => OperationCode::AddPointMapping,
        ShardMapKind::Range => OperationCode::AddRangeMapping,
    };
    let step = |shard: &Arc<Shard>| {
        let mapping = MappingRecord {
            id: MappingId::random(),
            map: map.id(),
            shard: Arc::clone(shard),
            low,
            high,
            status,
            lock_owner: LockToken::NONE,
        };
        vec![MappingStep::Add { mapping, validate: true }]
    };
    Request::on_mappings(code, map, (shard, shard), step, None)
}
