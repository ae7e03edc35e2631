//! Stores that disagree: what the tests change behind the library's back, and what they ask afterwards.

use shardlet::gsm::{
    Begin, Direction, GlobalOperation, GlobalSession, GlobalStore, OperationCode, OperationSteps, RecordFilter,
    ShardMending, ShardStep,
};
use shardlet::lsm::{LocalContent, LocalSession, LocalStore};
use shardlet::model::MappingRecord;
use shardlet::operation::LogRecord;
use shardlet::{
    Detector, ErrorKind, KeyRange, LockToken, Mapping, MappingId, MappingStatus, OperationId, Options, RangeMapping,
    RangeShardMap, RecoveryManager, Shard, ShardDifferences, ShardId, ShardKey, ShardLocation, ShardMapInfo,
    ShardMapManager, ShardVersion, Stores, Timeouts, Validation,
};

use crate::conformance::Environment;
use crate::support::consistency::assert_consistent;
use crate::support::probe::{Call, Fault, Probe};

/// A range map on shards 0 to 2: `[0, 100)` on 0, `[100, 200)` on 1, and 2 empty.
pub struct World<E: Environment> {
    pub env: E,
    pub map: RangeShardMap<i64, E::Backend>,
    /// Made when everything agreed.
    detector: Detector<E::Backend>,
}

/// A mapping for short: bounds, status. A range to `INF` has no end.
pub type Brief = (i64, i64, MappingStatus);

pub const ON: MappingStatus = MappingStatus::Online;
pub const OFF: MappingStatus = MappingStatus::Offline;
pub const INF: i64 = i64::MAX;

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
        let detector = manager.recovery().detector().await.unwrap();
        Self { env, map, detector }
    }

    /// With no mapping in any store.
    pub async fn empty() -> Self {
        let world = Self::new().await;
        world.clear().await;
        world
    }

    /// Takes all mappings out of all stores.
    pub async fn clear(&self) {
        for number in 0..3 {
            self.fill(number, &[]).await;
        }
    }

    pub fn backend(&self) -> &E::Backend {
        self.env.backend()
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
        let place = self.place(number);
        let shown = |found: Vec<ShardDifferences>| found.iter().map(|it| format!("{it} {it:?}")).collect::<Vec<_>>();
        let found = shown(self.recovery().detect(&place).await.unwrap());
        // However old a detector is, it finds the same.
        assert_eq!(shown(self.detector.detect(&place).await.unwrap()), found);
        assert_eq!(shown(self.recovery().detector().await.unwrap().detect(&place).await.unwrap()), found);
        look(&self.recovery(), &place).await
    }

    /// The differences of a map at a shard.
    pub async fn look_at(&self, number: usize, map: &str) -> ShardDifferences {
        let found = self.recovery().detect(&self.place(number)).await.unwrap();
        found.into_iter().find(|it| it.shard_map().name() == map).unwrap()
    }

    pub async fn local(&self, number: usize) -> Vec<MappingRecord> {
        self.backend().local_mappings(&self.place(number), self.map.id()).await.unwrap()
    }

    pub async fn global(&self, number: usize) -> Vec<MappingRecord> {
        global(self.backend(), self.map.info(), &self.shard(number).await).await
    }

    /// Makes the store of a shard hold these mappings, at a version of its own, without a word to the global store.
    pub async fn set_local(&self, number: usize, mappings: Vec<MappingRecord>) {
        let shard = at_version(&self.shard(number).await);
        put_local(self.backend(), self.map.info(), &shard, &self.place(number), mappings).await;
    }

    /// Makes the global store hold these mappings of a shard, without a word to it.
    pub async fn set_global(&self, number: usize, mappings: Vec<MappingRecord>) {
        put_global(self.backend(), self.map.info(), &self.shard(number).await, mappings).await;
    }

    /// Makes both stores hold these mappings of a shard, so that they agree.
    pub async fn fill(&self, number: usize, briefs: &[Brief]) {
        let mappings = self.records(number, briefs).await;
        self.set_global(number, mappings.clone()).await;
        put_local(self.backend(), self.map.info(), &self.shard(number).await, &self.place(number), mappings).await;
    }

    /// Makes the database at a place, with an empty local store.
    pub async fn make_store(&self, number: usize) {
        let shard = self.map.create_shard(&self.place(number)).await.unwrap();
        self.map.delete_shard(shard).await.unwrap();
    }

    /// Lets the database at one place hold what that at another one holds of the map, its row included: a copy of it.
    pub async fn copy_store(&self, from: usize, to: usize) {
        copy_store(self.backend(), self.map.info(), &self.place(from), &self.place(to)).await;
    }

    /// A mapping that no store holds.
    pub async fn record(&self, number: usize, brief: Brief) -> MappingRecord {
        record(self.map.info(), &self.shard(number).await, brief)
    }

    pub async fn records(&self, number: usize, briefs: &[Brief]) -> Vec<MappingRecord> {
        let shard = self.shard(number).await;
        briefs.iter().map(|brief| record(self.map.info(), &shard, *brief)).collect()
    }

    /// Where a validated open for a key leads, or how it is refused.
    pub async fn route(&self, key: i64) -> Result<RangeMapping<i64>, ErrorKind> {
        route::<E, _>(&self.env, &self.map, key).await
    }

    /// Fails unless nothing differs and nothing is unfinished.
    pub async fn assert_agree(&self, case: &str) {
        assert_consistent(self.backend(), &self.places(), case).await;
        for number in 0..3 {
            for differences in self.recovery().detect(&self.place(number)).await.unwrap() {
                assert!(differences.is_empty(), "{case}: {differences}");
                assert_eq!(differences.unfinished_operations(), [], "{case}");
            }
        }
    }

    /// The mappings of a shard in the global store, for short.
    pub async fn brief(&self, number: usize) -> Vec<Brief> {
        self.global(number).await.iter().map(brief).collect()
    }

    /// The mappings in the store of a shard, for short.
    pub async fn local_brief(&self, number: usize) -> Vec<Brief> {
        self.local(number).await.iter().map(brief).collect()
    }

    /// How many operations are unfinished.
    pub async fn unfinished(&self) -> usize {
        self.backend().pending_operations().await.unwrap().len()
    }

    pub async fn is_at_rest(&self) -> bool {
        self.unfinished().await == 0
    }

    /// A client of its own whose requests a test can hold and fail.
    pub async fn client(&self) -> Client<E::Backend> {
        let probe = Probe::new(self.backend().clone());
        let retry =
            shardlet::RetryPolicy::default().attempts(2).pauses(std::time::Duration::ZERO, std::time::Duration::ZERO);
        let manager = ShardMapManager::open(probe.clone(), Options::default().retry(retry)).await.unwrap();
        let map = manager.range_shard_map(self.map.name()).await.unwrap();
        probe.reset();
        Client { probe, map }
    }

    /// Everything that the three shards and the global store hold.
    pub async fn contents(&self) -> Vec<String> {
        let mut lines = crate::support::consistency::facts(self.backend()).await.exact;
        for place in self.places() {
            lines.extend(local_contents(self.backend(), &place).await);
        }
        lines
    }
}

/// Everything that a local store holds, or that there is none.
pub async fn local_contents<B: Stores>(backend: &B, place: &ShardLocation) -> Vec<String> {
    use crate::support::consistency::{mapping_facts, shard_facts};
    if !matches!(backend.local_version(place).await, Ok(Some(_))) {
        return vec![format!("{place}: no store")];
    }
    let mut lines = Vec::new();
    for (map, shard) in backend.local_shards(place).await.unwrap() {
        lines.push(format!("{place}: {} {}", map.name(), shard_facts(&shard)));
        for mapping in backend.local_mappings(place, map.id()).await.unwrap() {
            lines.push(format!("{place}: {} {}", map.name(), mapping_facts(&mapping)));
        }
    }
    lines.sort();
    lines.dedup();
    lines
}

pub struct Client<B: shardlet::backend::Backend> {
    pub probe: Probe<B>,
    pub map: RangeShardMap<i64, Probe<B>>,
}

impl<B: Stores> Client<B> {
    pub fn recovery(&self) -> RecoveryManager<Probe<B>> {
        self.map.manager().recovery()
    }

    /// Runs something until it makes this request, and leaves it there for ever.
    pub async fn abandon<T>(&self, call: Call, fault: Fault, doing: impl Future<Output = T>) {
        self.probe.inject(call.clone(), 1, fault);
        let mut doing = Box::pin(doing);
        tokio::select! {
            _ = &mut doing => panic!("{call:?} was not held"),
            () = self.probe.held() => {}
        }
        drop(doing);
        self.probe.reset();
    }
}

/// Where a validated open for a key leads, or how it is refused.
pub async fn route<E: Environment, M: Mapping<Key = i64>>(
    env: &E,
    map: &shardlet::ShardMap<M, E::Backend>,
    key: i64,
) -> Result<M, ErrorKind> {
    let opened = map.open_connection_for_key(&key, &env.credentials(), Validation::Validate).await;
    opened.map(drop).map_err(|error| error.kind())?;
    // What it was routed by.
    map.lookup_mapping(&key).await.map_err(|error| error.kind())
}

/// The differences of the only map at a place.
pub async fn look<B: Stores>(recovery: &RecoveryManager<B>, place: &ShardLocation) -> ShardDifferences {
    let mut found = recovery.detect(place).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// The mappings of a shard in the global store.
pub async fn global<B: Stores>(backend: &B, map: &ShardMapInfo, shard: &Shard) -> Vec<MappingRecord> {
    let filter = RecordFilter { range: None, shard: Some(shard.id()) };
    backend.mappings(map, &filter).await.unwrap()
}

/// Makes a local store hold a shard's row and mappings of a map and nothing else of it.
pub async fn put_local<B: Stores>(
    backend: &B,
    map: &ShardMapInfo,
    shard: &Shard,
    place: &ShardLocation,
    mappings: Vec<MappingRecord>,
) {
    put_local_beside(backend, map, shard, place, mappings, &[]).await;
}

/// The same, leaving the rows of some shards as they are.
pub async fn put_local_beside<B: Stores>(
    backend: &B,
    map: &ShardMapInfo,
    shard: &Shard,
    place: &ShardLocation,
    mappings: Vec<MappingRecord>,
    neighbours: &[ShardId],
) {
    let operation = OperationId::random();
    let content = LocalContent {
        operation,
        map: map.clone(),
        shard: shard.clone(),
        mappings,
        neighbours: neighbours.to_vec(),
        expected: None,
        ending: None,
    };
    let _lock = backend.lock_operation(operation).await.unwrap();
    let mut session = backend.lock_operation_at(place, operation).await.unwrap();
    session.replace(&content).await.unwrap();
}

/// Lets the database at one place hold what that at another one holds of a map.
pub async fn copy_store<B: Stores>(backend: &B, map: &ShardMapInfo, from: &ShardLocation, to: &ShardLocation) {
    let rows = backend.local_shards(from).await.unwrap();
    let (_, shard) = rows.into_iter().find(|(info, _)| info.id() == map.id()).unwrap();
    let mappings = backend.local_mappings(from, map.id()).await.unwrap();
    put_local(backend, map, &shard, to, mappings).await;
}

/// Makes the global store hold these mappings of a shard.
pub async fn put_global<B: Stores>(backend: &B, map: &ShardMapInfo, shard: &Shard, mappings: Vec<MappingRecord>) {
    let removed = global(backend, map, shard).await.iter().map(|mapping| mapping.id).collect();
    let mending = ShardMending { before: shard.clone(), after: at_version(shard), removed, added: mappings };
    change_global(backend, map, OperationCode::UpdateShard, ShardStep::Mend(Box::new(mending))).await;
}

/// Does an operation on a shard, in the global store only.
pub async fn change_global<B: Stores>(backend: &B, map: &ShardMapInfo, code: OperationCode, step: ShardStep) {
    let steps = OperationSteps::Shard(step);
    let operation = GlobalOperation { id: OperationId::random(), code, map: map.clone(), steps };
    let mut session = backend.lock_operation(operation.id).await.unwrap();
    assert!(matches!(session.begin(&operation, &LogRecord::write(&operation)).await.unwrap(), Begin::Begun));
    session.end(&operation, Direction::Do).await.unwrap();
}

pub fn brief(mapping: &MappingRecord) -> Brief {
    let range = KeyRange::<i64>::decode(&mapping.range());
    (*range.low(), range.high().copied().unwrap_or(INF), mapping.status)
}

pub fn record(map: &ShardMapInfo, shard: &Shard, (low, high, status): Brief) -> MappingRecord {
    let range = if high == INF { KeyRange::from(low..) } else { KeyRange::from(low..high) };
    let range = range.encode().unwrap();
    MappingRecord { low: range.low, high: range.high, ..point(map, shard, &low, status) }
}

/// A mapping of one key, as list maps have them.
pub fn point<K: ShardKey>(map: &ShardMapInfo, shard: &Shard, key: &K, status: MappingStatus) -> MappingRecord {
    MappingRecord {
        id: MappingId::random(),
        map: map.id(),
        shard: shard.clone().into(),
        low: key.encode().unwrap(),
        high: None,
        status,
        lock_owner: LockToken::NONE,
    }
}

pub fn at_version(shard: &Shard) -> Shard {
    Shard::new(shard.id(), ShardVersion::random(), shard.shard_map_id(), shard.location().clone(), shard.status())
}

pub fn at_place(shard: &Shard, place: &ShardLocation) -> Shard {
    Shard::new(shard.id(), shard.version(), shard.shard_map_id(), place.clone(), shard.status())
}
