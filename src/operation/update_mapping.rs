//! Changes status or shard of a mapping: `UpdatePointMapping`, `UpdateRangeMapping`, and their forms that mark it offline.

use std::sync::Arc;

use super::Request;
use crate::gsm::{MappingStep, OperationCode};
use crate::model::{
    LockToken, MappingId, MappingRecord, MappingStatus, SessionPolicy, Shard, ShardMapInfo, ShardMapKind,
};

pub(crate) fn request(
    map: &ShardMapInfo,
    mapping: &MappingRecord,
    lock: LockToken,
    shard: &Shard,
    status: MappingStatus,
    sessions: SessionPolicy,
) -> Request {
    let goes_offline = mapping.status == MappingStatus::Online && status == MappingStatus::Offline;
    let code = match (map.kind(), goes_offline) {
        (ShardMapKind::List, false) => OperationCode::UpdatePointMapping,
        (ShardMapKind::List, true) => OperationCode::UpdatePointMappingWithOffline,
        (ShardMapKind::Range, false) => OperationCode::UpdateRangeMapping,
        (ShardMapKind::Range, true) => OperationCode::UpdateRangeMappingWithOffline,
    };
    let steps = |shard: &Arc<Shard>| {
        let new = MappingRecord {
            id: MappingId::random(),
            shard: Arc::clone(shard),
            status,
            lock_owner: lock,
            ..mapping.clone()
        };
        vec![MappingStep::Update { old: mapping.clone(), new, lock }]
    };
    Request::on_mappings(code, map, (&mapping.shard, shard), steps, Some(sessions))
}
