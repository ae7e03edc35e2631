//! Changes the status of a shard: `UpdateShard`.

use super::Request;
use crate::gsm::{OperationCode, ShardStep};
use crate::model::{Shard, ShardMapInfo, ShardStatus, ShardVersion};

pub(crate) fn request(map: &ShardMapInfo, shard: &Shard, status: ShardStatus) -> Request {
    let mut new = shard.at_version(ShardVersion::random());
    new.status = status;
    Request::on_shard(OperationCode::UpdateShard, map, ShardStep::Update(shard.clone(), new))
}
