//! Stores that disagree: what the tests change behind the library's back.

use shardlet::gsm::{
    Begin, Direction, GlobalOperation, GlobalSession, GlobalStore, OperationCode, OperationSteps, RecordFilter,
    ShardMending, ShardStep,
};
use shardlet::lsm::{LocalContent, LocalSession, LocalStore};
use shardlet::model::MappingRecord;
use shardlet::{
    ErrorKind, KeyRange, LockToken, Mapping, MappingId, MappingStatus, OperationId, Options, RangeMapping,
    RangeShardMap, RecoveryManager, Shard, ShardDifferences, ShardLocation, ShardMapInfo, ShardMapManager,
    ShardVersion, Timeouts, Validation,
};

use crate::conformance::Environment;
use crate::support::consistency::assert_consistent;

/// A range map on shards 0 to 2: `[0, 100)` on 0, `[100, 200)` on 1, and 2 empty.
pub struct World<E: Environment> {
    pub env: E,
    pub map: RangeShardMap<i64, E::Backend>,
}

/// A mapping for short: bounds, status.
pub type Brief = (i64, i64, MappingStatus);

pub const ON: MappingStatus = MappingStatus::Online;
pub const OFF: MappingStatus = MappingStatus::Offline;

impl<E: Environment> World<E> {
    pub async fn new() -> Self {
        let env = E::fresh(Timeouts::default()).await;
        let manager = ShardMapManager::open_or_create(env.backend().clone(), Options::default()).await.unwrap();
        let map: RangeShardMap<i64, _> = manager.create_range_shard_map("ranges").await.unwrap();
        for number in 0..3 {
            let shard = map.create_shard(&env.location(number)).await.unwrap();
            if number < 2 {
                let low = 100 * i64::try_from(number).unwrap();
                let _ = map.create_mapping(low..low + 100, &shard).await.unwrap();
            }
        }
        Self { env, map }
    }

    pub fn recovery(&self) -> RecoveryManager<E::Backend> {
        self.map.manager().recovery()
    }

    pub fn place(&self, number: usize) -> ShardLocation {
        self.env.location(number)
    }

    pub fn places(&self) -> Vec<ShardLocation> {
        (0..3).map(|number| self.place(number)).collect()
    }

    pub async fn shard(&self, number: usize) -> Shard {
        self.map.shard(&self.place(number)).await.unwrap()
    }

    /// The differences of the map at a shard.
    pub async fn look(&self, number: usize) -> ShardDifferences {
        let mut found = self.recovery().detect(&self.place(number)).await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    pub async fn local(&self, number: usize) -> Vec<MappingRecord> {
        self.env.backend().local_mappings(&self.place(number), self.map.id()).await.unwrap()
    }

    pub async fn global(&self, number: usize) -> Vec<MappingRecord> {
        let shard = self.shard(number).await;
        let filter = RecordFilter { range: None, shard: Some(shard.id()) };
        self.env.backend().mappings(self.map.info(), &filter).await.unwrap()
    }

    /// Makes the store of a shard hold these mappings, at a version of its own, without a word to the global store.
    pub async fn set_local(&self, number: usize, mappings: Vec<MappingRecord>) {
        let operation = OperationId::random();
        let shard = at_version(&self.shard(number).await);
        let content = LocalContent {
            operation,
            map: self.map.info().clone(),
            shard,
            mappings,
            neighbours: Vec::new(),
            expected: None,
            ending: None,
        };
        let _lock = self.env.backend().lock_operation(operation).await.unwrap();
        let mut session = self.env.backend().lock_operation_at(&self.place(number), operation).await.unwrap();
        session.replace(&content).await.unwrap();
    }

    /// Makes the global store hold these mappings of a shard, without a word to it.
    pub async fn set_global(&self, number: usize, mappings: Vec<MappingRecord>) {
        let before = self.shard(number).await;
        let removed = self.global(number).await.iter().map(|mapping| mapping.id).collect();
        let after = at_version(&before);
        let mending = ShardMending { before: before.clone(), after, removed, added: mappings };
        self.change_global(ShardStep::Mend(Box::new(mending))).await;
    }

    async fn change_global(&self, step: ShardStep) {
        let operation = GlobalOperation {
            id: OperationId::random(),
            code: OperationCode::UpdateShard,
            map: self.map.info().clone(),
            steps: OperationSteps::Shard(step),
        };
        let mut session = self.env.backend().lock_operation(operation.id).await.unwrap();
        let data = shardlet::operation::LogRecord::write(&operation);
        assert!(matches!(session.begin(&operation, &data).await.unwrap(), Begin::Begun));
        session.end(&operation, Direction::Do).await.unwrap();
    }

    /// A mapping that no store holds.
    pub async fn record(&self, number: usize, (low, high, status): Brief) -> MappingRecord {
        record(self.map.info(), &self.shard(number).await, (low, high, status))
    }

    /// Where a validated open for a key leads, or how it is refused.
    pub async fn route(&self, key: i64) -> Result<RangeMapping<i64>, ErrorKind> {
        let opened = self.map.open_connection_for_key(&key, &self.env.credentials(), Validation::Validate).await;
        opened.map(drop).map_err(|error| error.kind())?;
        self.map.mapping_for_key(&key).await.map_err(|error| error.kind())
    }

    pub async fn assert_agree(&self, case: &str) {
        assert_consistent(self.env.backend(), &self.places(), case).await;
        for number in 0..3 {
            for differences in self.recovery().detect(&self.place(number)).await.unwrap() {
                assert!(differences.is_empty(), "{case}: {differences}");
            }
        }
    }

    /// The mappings of a shard in the global store, for short.
    pub async fn brief(&self, number: usize) -> Vec<Brief> {
        self.global(number).await.iter().map(brief).collect()
    }
}

pub fn brief(mapping: &MappingRecord) -> Brief {
    let range = KeyRange::<i64>::decode(&mapping.range());
    (*range.low(), range.high().copied().unwrap_or(i64::MAX), mapping.status)
}

pub fn record(map: &ShardMapInfo, shard: &Shard, (low, high, status): Brief) -> MappingRecord {
    let range = KeyRange::from(low..high).encode().unwrap();
    MappingRecord {
        id: MappingId::random(),
        map: map.id(),
        shard: shard.clone().into(),
        low: range.low,
        high: range.high,
        status,
        lock_owner: LockToken::NONE,
    }
}

pub fn at_version(shard: &Shard) -> Shard {
    Shard::new(shard.id(), ShardVersion::random(), shard.shard_map_id(), shard.location().clone(), shard.status())
}

/// The record behind a handle.
pub fn record_of<M: Mapping>(mapping: &M) -> MappingRecord {
    mapping.record().as_ref().clone()
}
