//! Puts a shard into its map that its own store knows already: `AttachShard`.

use super::Request;
use crate::gsm::{OperationCode, ShardStep};
use crate::model::{Shard, ShardLocation, ShardMapInfo};

/// `shard` is as its own store has it; the location is where it is.
pub(crate) fn request(map: &ShardMapInfo, shard: &Shard, location: &ShardLocation) -> Request {
    let shard = Shard { location: location.clone(), ..shard.clone() };
    Request::on_shard(OperationCode::AttachShard, map, ShardStep::Add(shard))
}
