//! Removes a mapping that is offline: `RemovePointMapping`, `RemoveRangeMapping`.

use super::Request;
use crate::gsm::{MappingStep, OperationCode};
use crate::model::{LockToken, MappingRecord, ShardMapInfo, ShardMapKind};

pub(crate) fn request(map: &ShardMapInfo, mapping: &MappingRecord, lock: LockToken) -> Request {
    let code = match map.kind() {
        ShardMapKind::List => OperationCode::RemovePointMapping,
        ShardMapKind::Range => OperationCode::RemoveRangeMapping,
    };
    let steps = |_: &_| vec![MappingStep::Remove { mapping: mapping.clone(), lock }];
    Request::on_mappings(code, map, (&mapping.shard, &mapping.shard), steps, None)
}
