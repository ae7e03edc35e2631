//! Puts the rows of a shard right in both stores: what recovery is made of.
//!
//! In the log it is an `UpdateShard`, which any client can undo: the shard's rows go back to their version, and the global store
//! has lost nothing. Its own store may by then hold what it was to hold, which the next look at the two shows.

use super::Request;
use crate::gsm::{OperationCode, ShardMending, ShardStep};
use crate::key::EncodedRange;
use crate::lsm::{LocalContent, SessionEnding};
use crate::model::{
    MappingId, MappingRecord, SessionPolicy, Shard, ShardId, ShardLocation, ShardMapInfo, ShardStatus, ShardVersion,
};

/// What a shard's own store is to hold.
#[derive(Debug)]
pub(crate) struct Content {
    /// Its mappings.
    pub(crate) mappings: Vec<MappingRecord>,
    /// Other shards of the map in its database.
    pub(crate) neighbours: Vec<ShardId>,
    /// The version that its row has to have, if it matters.
    pub(crate) expected: Option<ShardVersion>,
    /// The mappings that it does not serve any more.
    pub(crate) lost: Vec<(MappingId, EncodedRange)>,
}

/// Gives the shard a place, a mark, and mappings: `removed` and `added` in the global store, and `content` in its own, where `None`
/// changes nothing but the shard's row.
pub(crate) fn request(
    name: &'static str,
    map: &ShardMapInfo,
    shard: &Shard,
    (location, status): (&ShardLocation, ShardStatus),
    (removed, added): (Vec<MappingId>, Vec<MappingRecord>),
    content: Option<Content>,
) -> Request {
    // An undo goes to the place where the shard's own store is now.
    let before = Shard { location: location.clone(), ..shard.clone() };
    let after = Shard { status, ..before.at_version(ShardVersion::random()) };
    let mending = ShardMending { before, after: after.clone(), removed, added };
    let mut request = Request::on_shard(OperationCode::UpdateShard, map, ShardStep::Mend(Box::new(mending)));
    request.name = name;
    let operation = request.operation.id;
    request.content = content.map(|content| LocalContent {
        operation,
        map: map.clone(),
        shard: after,
        mappings: content.mappings,
        neighbours: content.neighbours,
        expected: content.expected,
        ending: (!content.lost.is_empty()).then(|| SessionEnding {
            map: map.id(),
            kind: map.kind(),
            mappings: content.lost,
            policy: SessionPolicy::EndNow,
        }),
    });
    request
}
