//! Takes a shard out of its map: `DeleteShard`.

use super::Request;
use crate::gsm::{OperationCode, ShardStep};
use crate::model::{Shard, ShardMapInfo};

pub(crate) fn request(map: &ShardMapInfo, shard: &Shard) -> Request {
    Request::on_shard(OperationCode::RemoveShard, map, ShardStep::Remove(shard.clone()))
}
