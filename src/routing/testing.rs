//! What the tests of this layer share: keys, mappings, and a proof that index and bounds agree.

use std::sync::Arc;

use crate::key::{BinaryWord, EncodedKey, ShardKey, Word};
use crate::model::{
    LockToken, MappingId, MappingRecord, MappingStatus, Shard, ShardId, ShardLocation, ShardMapId, ShardStatus,
    ShardVersion,
};

/// A word that tests make from small numbers, in their order.
pub(super) trait TestWord: Word {
    fn key(number: u32) -> EncodedKey;

    fn word(number: u32) -> Self {
        Self::from_encoded(&Self::key(number))
    }
}

impl TestWord for u64 {
    fn key(number: u32) -> EncodedKey {
        (i64::MIN + i64::from(number)).encode().unwrap()
    }
}

impl TestWord for u128 {
    fn key(number: u32) -> EncodedKey {
        chrono::DateTime::from_timestamp(i64::from(number), 0).unwrap().encode().unwrap()
    }
}

impl TestWord for BinaryWord {
    fn key(number: u32) -> EncodedKey {
        number.to_be_bytes().to_vec().encode().unwrap()
    }
}

/// A new mapping of `[low, high)`; without `high` also of the point `low`.
pub(super) fn mapping<W: TestWord>(low: u32, high: Option<u32>) -> Arc<MappingRecord> {
    let map = ShardMapId::from(uuid::Uuid::nil());
    let shard = Shard::new(
        ShardId::random(),
        ShardVersion::random(),
        map,
        ShardLocation::new("server", "database"),
        ShardStatus::Online,
    );
    Arc::new(MappingRecord {
        id: MappingId::random(),
        map,
        shard: Arc::new(shard),
        low: W::key(low),
        high: high.map(W::key),
        status: MappingStatus::Online,
        lock_owner: LockToken::NONE,
    })
}
