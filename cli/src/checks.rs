//! What a store would refuse, told before a question is asked, and in a dry run.
//!
//! The store decides all the same: what is told here was so when it was read.

use shardlet::error::Refusal;
use shardlet::model::MappingRecord;
use shardlet::operation::Stores;
use shardlet::{EncodedRange, ErrorCode, LockToken, Shard, ShardMapKind, ShardStatus};

use crate::failure::{Failure, Result};
use crate::keys;
use crate::location;
use crate::map::AnyMap;

/// Refuses what is locked by another than this token.
pub(crate) fn is_owner(mapping: &MappingRecord, token: LockToken) -> Result<()> {
    match mapping.lock_owner == token {
        true => Ok(()),
        false => Err(Failure::Library(Refusal::MappingLockOwnerIdDoesNotMatch.into_error())),
    }
}

/// Refuses what is locked.
pub(crate) fn is_unlocked(mapping: &MappingRecord) -> Result<()> {
    match mapping.lock_owner == LockToken::NONE {
        true => Ok(()),
        false => Err(Failure::Library(Refusal::MappingIsAlreadyLocked.into_error())),
    }
}

/// Refuses a shard that is disabled.
pub(crate) fn takes_mappings(shard: &Shard) -> Result<()> {
    match shard.status() {
        ShardStatus::Online => Ok(()),
        ShardStatus::Offline => Err(Failure::Library(Refusal::ShardIsDisabled.into_error())),
    }
}

/// Refuses keys of which one is mapped already, and names the mapping in the way.
pub(crate) async fn are_free<B: Stores>(map: &dyn AnyMap<B>, keys: &EncodedRange) -> Result<()> {
    let (found, refusal) = match map.info().kind() {
        ShardMapKind::List => match map.holder(&keys.low).await {
            Ok(found) => (Some(found), Refusal::MappingPointAlreadyMapped),
            Err(error) if error.code() == ErrorCode::MappingNotFoundForKey => return Ok(()),
            Err(error) => return Err(error.into()),
        },
        // Without any in the way nothing is read.
        ShardMapKind::Range => {
            let found = map.mappings(Some(keys), None).await?.into_iter().next();
            (found, Refusal::MappingRangeAlreadyMapped)
        }
    };
    let Some(found) = found else { return Ok(()) };
    let (shown, place) = (keys::show_keys(map.info(), &found), location::show(found.shard.location()));
    let advice = format!("{shown} on {place} is in the way: choose other keys, or move or delete that mapping first");
    Err(Failure::Library(refusal.into_error()).next(advice))
}
