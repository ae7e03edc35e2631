//! Puts a shard into its map: `CreateShard`.

use super::Request;
use crate::error::Result;
use crate::gsm::{OperationCode, ShardStep};
use crate::model::{Shard, ShardId, ShardLocation, ShardMapInfo, ShardStatus, ShardVersion};

pub(crate) fn request(map: &ShardMapInfo, location: &ShardLocation) -> Result<Request> {
    location.check()?;
    let shard = Shard::new(ShardId::random(), ShardVersion::random(), map.id(), location.clone(), ShardStatus::Online);
    Ok(Request::on_shard(OperationCode::AddShard, map, ShardStep::Add(shard)))
}
