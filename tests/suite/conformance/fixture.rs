//! Stores with maps, shards and mappings in them, made through the contracts.

use std::sync::Arc;

use shardlet::error::Refusal;
use shardlet::gsm::{
    Begin, Direction, GlobalOperation, GlobalSession, GlobalStore, LogEntry, MappingStep, OperationCode,
    OperationSteps, ShardStep,
};
use shardlet::lsm::{LocalMappingChange, LocalSession, LocalShardChange, LocalStep, LocalStore, ShardAction};
use shardlet::model::MappingRecord;
use shardlet::operation::LogRecord;
use shardlet::{
    CreateMode, EncodedKey, KeyType, LockToken, MappingId, MappingStatus, OperationId, Result, Shard, ShardId,
    ShardKey, ShardMapId, ShardMapInfo, ShardMapKind, ShardMapName, ShardStatus, ShardVersion, Timeouts,
};

use super::Environment;
use crate::support::consistency::{Facts, facts};

/// An environment with an empty global store.
pub struct Fixture<E> {
    pub environment: E,
}

pub fn key(value: i32) -> EncodedKey {
    value.encode().unwrap()
}

pub fn map_named(name: &str, kind: ShardMapKind) -> ShardMapInfo {
    ShardMapInfo::new(ShardMapId::random(), ShardMapName::new(name).unwrap(), kind, KeyType::Int32)
}

/// A record of a mapping that is online and not locked. Without `high` it is a point, or reaches to +infinity.
pub fn record(shard: &Shard, low: i32, high: Option<i32>) -> MappingRecord {
    MappingRecord {
        id: MappingId::random(),
        map: shard.shard_map_id(),
        shard: Arc::new(shard.clone()),
        low: key(low),
        high: high.map(key),
        status: MappingStatus::Online,
        lock_owner: LockToken::NONE,
    }
}

pub fn offline(record: MappingRecord) -> MappingRecord {
    MappingRecord { status: MappingStatus::Offline, ..record }
}

/// The same shard at another version.
pub fn at_new_version(shard: &Shard) -> Shard {
    Shard::new(shard.id(), ShardVersion::random(), shard.shard_map_id(), shard.location().clone(), shard.status())
}

/// An operation on a shard.
pub fn on_shard(code: OperationCode, map: &ShardMapInfo, step: ShardStep) -> GlobalOperation {
    GlobalOperation { id: OperationId::random(), code, map: map.clone(), steps: OperationSteps::Shard(step) }
}

/// An operation on mappings of one or two shards, which get new versions.
pub fn on_mappings(
    code: OperationCode,
    map: &ShardMapInfo,
    (removes, adds): (&Shard, &Shard),
    steps: Vec<MappingStep>,
) -> GlobalOperation {
    let removed_from = at_new_version(removes);
    let added_to = if removes.id() == adds.id() { removed_from.clone() } else { at_new_version(adds) };
    let updates = steps.iter().any(|step| matches!(step, MappingStep::Update { .. }));
    let steps = OperationSteps::Mappings {
        removes: removed_from,
        adds: added_to,
        steps,
        ends_sessions: updates.then_some(true),
    };
    GlobalOperation { id: OperationId::random(), code, map: map.clone(), steps }
}

pub fn add(map: &ShardMapInfo, mapping: &MappingRecord) -> GlobalOperation {
    let code = match map.kind() {
        ShardMapKind::List => OperationCode::AddPointMapping,
        ShardMapKind::Range => OperationCode::AddRangeMapping,
    };
    let step = MappingStep::Add { mapping: mapping.clone(), validate: true };
    on_mappings(code, map, (&mapping.shard, &mapping.shard), vec![step])
}

pub fn remove(map: &ShardMapInfo, mapping: &MappingRecord, lock: LockToken) -> GlobalOperation {
    let code = match map.kind() {
        ShardMapKind::List => OperationCode::RemovePointMapping,
        ShardMapKind::Range => OperationCode::RemoveRangeMapping,
    };
    let step = MappingStep::Remove { mapping: mapping.clone(), lock };
    on_mappings(code, map, (&mapping.shard, &mapping.shard), vec![step])
}

/// An update of a mapping to a status and a shard, and the mapping after it.
pub fn update(
    map: &ShardMapInfo,
    mapping: &MappingRecord,
    status: MappingStatus,
    shard: &Shard,
    lock: LockToken,
) -> (GlobalOperation, MappingRecord) {
    let goes_offline = (mapping.status, status) == (MappingStatus::Online, MappingStatus::Offline);
    let code = match (map.kind(), goes_offline) {
        (ShardMapKind::List, false) => OperationCode::UpdatePointMapping,
        (ShardMapKind::List, true) => OperationCode::UpdatePointMappingWithOffline,
        (ShardMapKind::Range, false) => OperationCode::UpdateRangeMapping,
        (ShardMapKind::Range, true) => OperationCode::UpdateRangeMappingWithOffline,
    };
    let new = MappingRecord {
        id: MappingId::random(),
        shard: Arc::new(shard.clone()),
        status,
        lock_owner: lock,
        ..mapping.clone()
    };
    let step = MappingStep::Update { old: mapping.clone(), new: new.clone(), lock };
    (on_mappings(code, map, (&mapping.shard, shard), vec![step]), new)
}

/// What replaces some mappings of a shard by others on it.
pub fn replace(
    code: OperationCode,
    map: &ShardMapInfo,
    old: &[(&MappingRecord, LockToken)],
    new: &[&MappingRecord],
) -> GlobalOperation {
    let removes = old.iter().map(|(mapping, lock)| MappingStep::Remove { mapping: (*mapping).clone(), lock: *lock });
    let adds = new.iter().map(|mapping| MappingStep::Add { mapping: (*mapping).clone(), validate: false });
    let shard = &old[0].0.shard;
    on_mappings(code, map, (shard, shard), removes.chain(adds).collect())
}

/// What adds many mappings to the shard of one that stays as it is.
pub fn add_beside(map: &ShardMapInfo, kept: &MappingRecord, shard: &Shard, new: &[MappingRecord]) -> GlobalOperation {
    let keeps = MappingStep::Keep { mapping: kept.clone() };
    let adds = new.iter().map(|mapping| MappingStep::Add { mapping: mapping.clone(), validate: true });
    let steps = std::iter::once(keeps).chain(adds).collect();
    on_mappings(OperationCode::SplitMapping, map, (shard, shard), steps)
}

/// An operation as another client reads it from the log.
pub fn as_logged(operation: &GlobalOperation) -> GlobalOperation {
    let entry = LogEntry {
        id: operation.id,
        code: operation.code as i32,
        data: LogRecord::write(operation),
        undo_start: 100,
        version_removes: None,
        version_adds: None,
    };
    LogRecord::read(&entry).unwrap()
}

/// A change of one shard's mappings in its local store.
pub fn local_change(operation: OperationId, shard: &Shard, steps: Vec<LocalStep>) -> LocalMappingChange {
    LocalMappingChange {
        operation,
        map: shard.shard_map_id(),
        shard: shard.clone(),
        steps,
        undoing: false,
        known: None,
        ending: None,
    }
}

/// Fails unless the request was refused in this way.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T>, refusal: Refusal, about: &str) {
    let expected = refusal.into_error();
    match result {
        Ok(value) => panic!("{about}: not refused with {refusal:?}: {value:?}"),
        Err(error) => {
            assert_eq!((error.kind(), error.code()), (expected.kind(), expected.code()), "{about}: {error:?}");
        }
    }
}

/// Fails unless the operation has begun.
#[track_caller]
pub fn begun(result: Result<Begin>, about: &str) {
    assert!(matches!(result, Ok(Begin::Begun)), "{about}: {result:?}");
}

/// The operation that a begin met.
#[track_caller]
pub fn pending(result: Result<Begin>, about: &str) -> LogEntry {
    match result {
        Ok(Begin::Pending(entry)) => *entry,
        other => panic!("{about}: {other:?}"),
    }
}

impl<E: Environment> Fixture<E> {
    pub async fn new() -> Self {
        let environment = E::fresh(Timeouts::default()).await;
        environment.backend().create_global(CreateMode::Keep).await.unwrap();
        Self { environment }
    }

    pub fn store(&self) -> &E::Backend {
        self.environment.backend()
    }

    pub async fn map(&self, name: &str, kind: ShardMapKind) -> ShardMapInfo {
        let map = map_named(name, kind);
        self.store().add_shard_map(&map).await.unwrap();
        map
    }

    /// A shard that no store knows yet.
    pub fn new_shard(&self, map: &ShardMapInfo, number: usize) -> Shard {
        let location = self.environment.location(number);
        Shard::new(ShardId::random(), ShardVersion::random(), map.id(), location, ShardStatus::Online)
    }

    /// A shard in the global store.
    pub async fn shard(&self, map: &ShardMapInfo, number: usize) -> Shard {
        let shard = self.new_shard(map, number);
        self.perform(&on_shard(OperationCode::AddShard, map, ShardStep::Add(shard.clone()))).await;
        shard
    }

    /// A mapping in the global store.
    pub async fn mapping(&self, map: &ShardMapInfo, mapping: MappingRecord) -> MappingRecord {
        self.perform(&add(map, &mapping)).await;
        mapping
    }

    pub async fn begin(&self, operation: &GlobalOperation) -> Result<Begin> {
        let mut session = self.store().lock_operation(operation.id).await.unwrap();
        session.begin(operation, &LogRecord::write(operation)).await
    }

    pub async fn end(&self, operation: &GlobalOperation, direction: Direction) -> Result<()> {
        self.store().lock_operation(operation.id).await.unwrap().end(operation, direction).await
    }

    /// Begins an operation on the global store and leaves it.
    pub async fn start(&self, operation: &GlobalOperation) {
        begun(self.begin(operation).await, "starting an operation");
    }

    /// Does an operation on the global store.
    pub async fn perform(&self, operation: &GlobalOperation) {
        self.start(operation).await;
        self.end(operation, Direction::Do).await.unwrap();
    }

    /// What the global store holds, and the ids of pending operations.
    pub async fn state(&self) -> (Facts, Vec<OperationId>) {
        let mut pending: Vec<_> =
            self.store().pending_operations().await.unwrap().iter().map(|entry| entry.id).collect();
        pending.sort();
        (facts(self.store()).await, pending)
    }

    /// Fails unless the begin is refused in this way and leaves nothing: no change, no log row, no stamp.
    pub async fn begin_refused(&self, operation: &GlobalOperation, refusal: Refusal, about: &str) {
        let before = self.state().await;
        refused(self.begin(operation).await, refusal, about);
        assert_eq!(self.state().await, before, "{about}");
        self.assert_free(&operation.map, about).await;
    }

    /// Fails unless no shard and no mapping of the map is stamped.
    pub async fn assert_free(&self, map: &ShardMapInfo, about: &str) {
        let Ok(shards) = self.store().shards(map.id()).await else { return };
        for shard in shards {
            let update = ShardStep::Update(shard.clone(), at_new_version(&shard));
            let operation = on_shard(OperationCode::UpdateShard, map, update);
            begun(self.begin(&operation).await, &format!("{about}: a shard is left stamped"));
            self.end(&operation, Direction::Undo).await.unwrap();
        }
        for mapping in self.store().mappings(map, &shardlet::gsm::RecordFilter::default()).await.unwrap() {
            // Without an effect: it unlocks what nobody owns.
            let change = shardlet::gsm::LockChange::Unlock(mapping.id, mapping.lock_owner);
            if mapping.lock_owner == LockToken::NONE {
                let outcome = self.store().change_lock(map.id(), &change).await.unwrap();
                let free = matches!(outcome, shardlet::gsm::LockOutcome::Changed(_));
                assert!(free, "{about}: a mapping is left stamped: {outcome:?}");
            }
        }
    }

    /// The mappings that readers of the global store see, by id, status and shard.
    pub async fn visible(&self, map: &ShardMapInfo) -> Vec<(MappingId, MappingStatus, ShardId)> {
        let mappings = self.store().mappings(map, &shardlet::gsm::RecordFilter::default()).await.unwrap();
        mappings.iter().map(|mapping| (mapping.id, mapping.status, mapping.shard.id())).collect()
    }

    /// Changes a shard's rows in its local store.
    pub async fn change_shard(&self, map: &ShardMapInfo, shard: &Shard, action: ShardAction) -> Result<OperationId> {
        let operation = OperationId::random();
        let (map, shard) = (map.clone(), shard.clone());
        let change = LocalShardChange { operation, map, shard, action, undoing: false, known: None };
        self.send_shard_change(&change).await.map(|()| operation)
    }

    pub async fn send_shard_change(&self, change: &LocalShardChange) -> Result<()> {
        let _global = self.store().lock_operation(change.operation).await.unwrap();
        let mut session = self.store().lock_operation_at(change.shard.location(), change.operation).await.unwrap();
        session.change_shard(change).await
    }

    pub async fn send_mapping_change(&self, change: &LocalMappingChange) -> Result<()> {
        let _global = self.store().lock_operation(change.operation).await.unwrap();
        let mut session = self.store().lock_operation_at(change.shard.location(), change.operation).await.unwrap();
        session.change_mappings(change).await
    }

    /// A shard in its local store.
    pub async fn local_shard(&self, map: &ShardMapInfo, number: usize) -> Shard {
        let shard = self.new_shard(map, number);
        let _ = self.change_shard(map, &shard, ShardAction::Add).await.unwrap();
        shard
    }

    /// What a local store holds, line by line.
    pub async fn local_state(&self, number: usize) -> Vec<String> {
        use crate::support::consistency::{mapping_facts, shard_facts};
        let location = self.environment.location(number);
        let mut lines = Vec::new();
        for (map, shard) in self.store().local_shards(&location).await.unwrap() {
            lines.push(format!("{}: {}", map.name(), shard_facts(&shard)));
            let mappings = self.store().local_mappings(&location, map.id()).await.unwrap();
            lines.extend(mappings.iter().map(|mapping| format!("{}: {}", map.name(), mapping_facts(mapping))));
        }
        lines.sort();
        lines.dedup();
        lines
    }
}
