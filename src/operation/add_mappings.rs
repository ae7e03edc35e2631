//! Maps many keys or ranges to one shard in one operation.
//!
//! In the log it is a `SplitMapping` (code 14) of a mapping that the shard has already: the only kind of record from which
//! clients of the reference library undo more than one addition. That mapping stays as it is.

use std::sync::Arc;

use super::Request;
use crate::gsm::{MappingStep, OperationCode};
use crate::key::EncodedRange;
use crate::model::{LockToken, MappingId, MappingRecord, MappingStatus, Shard, ShardMapInfo};

/// The public call, for errors and plans.
pub(crate) const NAME: &str = "CreateMappings";

/// For points, the low bounds are the keys. `kept` is a mapping of the shard.
pub(crate) fn request<'k>(
    map: &ShardMapInfo,
    kept: &MappingRecord,
    keys: impl Iterator<Item = &'k EncodedRange>,
    shard: &Shard,
    status: MappingStatus,
) -> Request {
    let steps = |shard: &Arc<Shard>| {
        let added = keys.map(|keys| MappingStep::Add {
            mapping: MappingRecord {
                id: MappingId::random(),
                map: map.id(),
                shard: Arc::clone(shard),
                low: keys.low.clone(),
                high: keys.high.clone(),
                status,
                lock_owner: LockToken::NONE,
            },
            validate: true,
        });
        std::iter::once(MappingStep::Keep { mapping: kept.clone() }).chain(added).collect()
    };
    let request = Request::on_mappings(OperationCode::SplitMapping, map, (shard, shard), steps, None);
    Request { name: NAME, ..request }
}
