//! Half-done states of every operation, written into the stores row by row as the reference library's protocol leaves them,
//! the codes and phases included that no file in `tests/data/pending` has.
//!
//! Neither the library's operations nor their undo have a part in making a state: the rows are edited here, and only the log
//! document is the library's own. Each state is entered by the call that undoes what is pending, and by a caller that meets a
//! stamped row. Afterwards the rows are those from before the operation; only `LastOperationId` may tell of it.

mod edited;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};
use shardlet::gsm::{GlobalOperation, MappingStep, OperationCode, OperationSteps, ShardStep};
use shardlet::model::MappingRecord;
use shardlet::{
    EncodedKey, ErrorKind, ListShardMap, LockToken, Mapping, MappingId, MappingStatus, OperationId, Options,
    RangeShardMap, Shard, ShardId, ShardKey, ShardMap, ShardMapInfo, ShardMapKind, ShardMapManager, ShardStatus,
    ShardVersion, Stores,
};

use self::edited::Edited;
use crate::support::consistency::assert_consistent;
use crate::support::golden_files::DATABASES;
use crate::support::probe::{Call, Fault, Probe};
use crate::support::raw_stores::{RawStores, Rows, Store, lines, places, stored_rows};

/// How far a local store has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Local {
    Untouched,
    Done,
    Undone,
}

/// A phase: how far source and target have come, and from where an undo may have been noted to start then. The numbers are the
/// reference library's: 100 unless an undo of the owner's has failed, which noted how far the operation had come.
type Phase = (&'static str, Local, Local, &'static [i32]);

const WITH_TARGET: [Phase; 5] = [
    ("begun", Local::Untouched, Local::Untouched, &[100, 113]),
    ("source done", Local::Done, Local::Untouched, &[100, 110]),
    ("target done", Local::Done, Local::Done, &[100, 107]),
    ("target undone", Local::Done, Local::Undone, &[100, 107]),
    ("source undone", Local::Undone, Local::Undone, &[100, 107, 110]),
];

/// What has no target is noted as if it had one that was done.
const WITHOUT_TARGET: [Phase; 3] = [
    ("begun", Local::Untouched, Local::Untouched, &[100, 113]),
    ("source done", Local::Done, Local::Untouched, &[100, 107, 110]),
    ("source undone", Local::Undone, Local::Untouched, &[100, 107, 110]),
];

/// How many states an operation of each kind has.
const WITH_TARGET_STATES: usize = 11;
const WITHOUT_TARGET_STATES: usize = 8;

/// The databases of the shard that most operations work on, of another one, and of none.
const FIRST: &str = DATABASES[0];
const SECOND: &str = DATABASES[1];
const UNUSED: &str = DATABASES[2];

/// A map with two shards.
struct Base {
    info: ShardMapInfo,
    first: Shard,
    second: Shard,
    unused: Shard,
    /// On the first shard, in the order of their keys: online, online, offline, and offline with a lock.
    mappings: Vec<MappingRecord>,
    rows: Rows,
}

impl Base {
    async fn points<E: RawStores>(env: &E) -> Self {
        let manager = ShardMapManager::open(env.backend(), Options::default()).await.unwrap();
        let map: ListShardMap<i32, _> = manager.create_list_shard_map("points").await.unwrap();
        let (first, second) = two_shards(env, &map).await;
        for (key, status) in STATES {
            let _ = map.create_mapping_with(key, &first, status).await.unwrap();
        }
        let _ = map.create_mapping(100, &second).await.unwrap();
        Self::of(env, &map).await
    }

    async fn ranges<E: RawStores>(env: &E) -> Self {
        let manager = ShardMapManager::open(env.backend(), Options::default()).await.unwrap();
        let map: RangeShardMap<i32, _> = manager.create_range_shard_map("ranges").await.unwrap();
        let (first, second) = two_shards(env, &map).await;
        for (low, status) in STATES {
            let _ = map.create_mapping_with(low..low + 10, &first, status).await.unwrap();
        }
        let _ = map.create_mapping(100.., &second).await.unwrap();
        Self::of(env, &map).await
    }

    async fn of<M: Mapping, E: RawStores>(env: &E, map: &ShardMap<M, E::Backend>) -> Self {
        let first = map.shard(&env.location(FIRST)).await.unwrap();
        let mut mappings = map.mappings().await.unwrap();
        mappings.retain(|mapping| mapping.record().shard.id() == first.id());
        let _ = map.lock_mapping(mappings[3].clone(), LockToken::random()).await.unwrap();
        // With their locks, and the shard at its version of now.
        mappings = map.mappings().await.unwrap();
        mappings.retain(|mapping| mapping.record().shard.id() == first.id());
        let unused =
            Shard::new(ShardId::random(), ShardVersion::random(), map.id(), env.location(UNUSED), ShardStatus::Online);
        Self {
            info: map.info().clone(),
            second: map.shard(&env.location(SECOND)).await.unwrap(),
            first,
            unused,
            mappings: mappings.iter().map(|mapping| mapping.record().as_ref().clone()).collect(),
            rows: stored_rows(env).await,
        }
    }

    fn operation(&self, code: OperationCode, steps: OperationSteps) -> GlobalOperation {
        GlobalOperation { id: OperationId::random(), code, map: self.info.clone(), steps }
    }

    fn on_shard(&self, code: OperationCode, step: ShardStep) -> GlobalOperation {
        self.operation(code, OperationSteps::Shard(step))
    }

    /// An operation that removes from the first shard and adds to it or to the second one. The steps get the shard that is added to.
    fn on_mappings(
        &self,
        code: OperationCode,
        moves: bool,
        ends_sessions: Option<bool>,
        steps: impl FnOnce(&Arc<Shard>) -> Vec<MappingStep>,
    ) -> GlobalOperation {
        let removes = renewed(&self.first);
        let adds = if moves { renewed(&self.second) } else { removes.clone() };
        let steps = steps(&Arc::new(adds.clone()));
        self.operation(code, OperationSteps::Mappings { removes, adds, steps, ends_sessions })
    }

    /// An update of one of the mappings.
    fn update(&self, code: OperationCode, mapping: usize, status: MappingStatus, moves: bool) -> GlobalOperation {
        let old = self.mappings[mapping].clone();
        self.on_mappings(code, moves, Some(true), |adds| {
            let new = MappingRecord { id: MappingId::random(), shard: Arc::clone(adds), status, ..old.clone() };
            vec![MappingStep::Update { lock: old.lock_owner, old, new }]
        })
    }

    fn remove(&self, code: OperationCode, mapping: usize) -> GlobalOperation {
        let mapping = self.mappings[mapping].clone();
        self.on_mappings(code, false, None, |_| vec![MappingStep::Remove { lock: mapping.lock_owner, mapping }])
    }

    /// One more mapping, like the last one, with keys that are free.
    fn add(&self, code: OperationCode, low: &MappingRecord) -> GlobalOperation {
        self.on_mappings(code, false, None, |adds| {
            let shard = Arc::clone(adds);
            let mapping = MappingRecord { id: MappingId::random(), shard, lock_owner: LockToken::NONE, ..low.clone() };
            vec![MappingStep::Add { mapping, validate: true }]
        })
    }
}

/// Low bounds or keys of the mappings, and how they are.
const STATES: [(i32, MappingStatus); 4] = [
    (0, MappingStatus::Online),
    (10, MappingStatus::Online),
    (20, MappingStatus::Offline),
    (30, MappingStatus::Offline),
];

async fn two_shards<M: Mapping, E: RawStores>(env: &E, map: &ShardMap<M, E::Backend>) -> (Shard, Shard) {
    let first = map.create_shard(&env.location(FIRST)).await.unwrap();
    (first, map.create_shard(&env.location(SECOND)).await.unwrap())
}

/// The shard at another version.
fn renewed(shard: &Shard) -> Shard {
    Shard::new(shard.id(), ShardVersion::random(), shard.shard_map_id(), shard.location().clone(), shard.status())
}

async fn load<E: RawStores>(env: &E, rows: &Rows) {
    for store in Store::all() {
        let tables = store.tables().iter().map(|table| {
            let rows = rows[&(store, *table)].iter().cloned().map(Value::Object).collect();
            ((*table).to_owned(), Value::Array(rows))
        });
        env.load(store, &tables.collect::<Map<_, _>>()).await;
    }
}

/// The rows without what an undo leaves behind.
fn comparable(rows: &Rows) -> BTreeSet<String> {
    let mut rows = rows.clone();
    for row in rows.values_mut().flatten() {
        drop(row.remove("LastOperationId"));
    }
    lines(&rows)
}

/// Takes a shard out of the global store without asking what is under way, as the reference library's `DetachShard` does.
fn detach(rows: &mut Rows, shard: &Shard) {
    let id = shard.id().to_string();
    for table in ["ShardsGlobal", "ShardMappingsGlobal"] {
        rows.get_mut(&(Store::Global, table)).unwrap().retain(|row| row["ShardId"] != id.as_str());
    }
}

/// Who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// The call that undoes what is pending.
    Call,
    /// A client that needs the stamped shard. It goes away as soon as it has undone what stood in its way.
    Touch,
}

async fn touch<M: Mapping, B: Stores>(map: ShardMap<M, B>, operation: &GlobalOperation) -> ErrorKind {
    let error = match &operation.steps {
        OperationSteps::Shard(ShardStep::Add(shard)) => map.create_shard(shard.location()).await.unwrap_err(),
        steps => {
            let shard = match steps {
                OperationSteps::Shard(step) => step.shard(),
                OperationSteps::Mappings { adds, .. } => adds,
                other => panic!("steps that this test does not know: {other:?}"),
            };
            // Refused once the undo is done, as the version is made up.
            map.update_shard(renewed(shard), ShardStatus::Online).await.unwrap_err()
        }
    };
    error.kind()
}

async fn enter<E: RawStores>(env: &E, entry: Entry, operation: &GlobalOperation, about: &str) {
    if entry == Entry::Call {
        let manager = ShardMapManager::open(env.backend(), Options::default()).await.unwrap();
        assert_eq!(manager.undo_pending_operations().await.unwrap(), 1, "{about}");
        return;
    }
    let probe = Probe::new(env.backend());
    let manager = ShardMapManager::open(probe.clone(), Options::default()).await.unwrap();
    probe.inject(Call::EndUndo, 1, Fault::HoldAfter);
    let name = operation.map.name();
    let touching = async {
        match operation.map.kind() {
            ShardMapKind::List => touch(manager.list_shard_map::<i32>(name).await.unwrap(), operation).await,
            ShardMapKind::Range => touch(manager.range_shard_map::<i32>(name).await.unwrap(), operation).await,
        }
    };
    tokio::select! {
        kind = touching => panic!("{about}: nothing was undone: {kind:?}"),
        () = probe.held() => {}
    }
}

/// Every phase of the operations, with every start of an undo that can have been noted, entered in every way.
async fn undo_all<E: RawStores>(env: &E, base: &Base, operations: &[GlobalOperation]) -> usize {
    undo_with(env, base, operations, |_| (), &[Entry::Call, Entry::Touch]).await
}

/// The same, where somebody has done something to the rows since.
async fn undo_with<E: RawStores>(
    env: &E,
    base: &Base,
    operations: &[GlobalOperation],
    since: impl Fn(&mut Rows),
    entries: &[Entry],
) -> usize {
    let mut states = 0;
    for operation in operations {
        let mut before = base.rows.clone();
        let attaches = operation.code == OperationCode::AttachShard;
        if attaches {
            // Its own store still knows it.
            detach(&mut before, &base.first);
        }
        let mut expected = before.clone();
        since(&mut expected);
        let (agree, expected) = (!attaches && expected == before, comparable(&expected));
        let moves =
            matches!(&operation.steps, OperationSteps::Mappings { removes, adds, .. } if removes.id() != adds.id());
        let phases: &[Phase] = if moves { &WITH_TARGET } else { &WITHOUT_TARGET };
        for (phase, source, target, starts) in phases {
            for start in *starts {
                let mut edited = Edited::new(before.clone(), operation);
                edited.begin(base, operation, *start);
                for (local, is_target) in [(*source, false), (*target, true)] {
                    match local {
                        Local::Untouched => {}
                        Local::Done => edited.local(base, operation, is_target),
                        Local::Undone => edited.undone(base, operation, is_target),
                    }
                }
                since(&mut edited.rows);
                let one = &entries[states % entries.len()..][..1];
                let entries = if E::IS_FAST { entries } else { one };
                for &entry in entries {
                    let about = format!("{:?}, moves: {moves}, {phase}, undo from {start}, {entry:?}", operation.code);
                    load(env, &edited.rows).await;
                    enter(env, entry, operation, &about).await;
                    let now = comparable(&stored_rows(env).await);
                    let missing: Vec<_> = expected.difference(&now).collect();
                    let instead: Vec<_> = now.difference(&expected).collect();
                    assert!(
                        missing.is_empty() && instead.is_empty(),
                        "{about}: missing {missing:#?}, instead {instead:#?}"
                    );
                    if agree {
                        assert_consistent(&env.backend(), &places(env), &about).await;
                    }
                }
                states += 1;
            }
        }
    }
    states
}

pub async fn shards<E: RawStores>() {
    use OperationCode::{AddShard, AttachShard, RemoveShard, UpdateShard};
    let env = E::empty_stores(&DATABASES).await;
    let mut base = Base::points(&env).await;
    let place = base.first.location().clone();
    let offline = Shard::new(base.first.id(), ShardVersion::random(), base.info.id(), place, ShardStatus::Offline);
    let states = [
        base.on_shard(AddShard, ShardStep::Add(base.unused.clone())),
        base.on_shard(UpdateShard, ShardStep::Update(base.first.clone(), offline)),
        base.on_shard(AttachShard, ShardStep::Add(base.first.clone())),
    ];
    let mut count = undo_all(&env, &base, &states).await;
    // A shard that is removed has no mappings.
    let second = base.second.id().to_string();
    for ((_, table), rows) in &mut base.rows {
        if ["ShardMappingsGlobal", "ShardMappingsLocal"].contains(table) {
            rows.retain(|row| row["ShardId"] != second.as_str());
        }
    }
    count += undo_all(&env, &base, &[base.on_shard(RemoveShard, ShardStep::Remove(base.second.clone()))]).await;
    assert_eq!(count, 4 * WITHOUT_TARGET_STATES);
}

/// The log row of an operation stays behind where its shard is detached, and the shard's own store as it was.
pub async fn shards_that_were_detached_since<E: RawStores>() {
    use OperationCode::{AddRangeMapping, AttachShard, RemoveRangeMapping, UpdateRangeMapping, UpdateShard};
    let env = E::empty_stores(&DATABASES).await;
    let base = Base::ranges(&env).await;
    let bound = |bound: i32| bound.encode().unwrap();
    let free = MappingRecord { low: bound(50), high: Some(bound(60)), ..base.mappings[0].clone() };
    let in_place = [
        base.on_shard(UpdateShard, ShardStep::Update(base.first.clone(), renewed(&base.first))),
        base.on_shard(AttachShard, ShardStep::Add(base.first.clone())),
        base.add(AddRangeMapping, &free),
        base.remove(RemoveRangeMapping, 2),
    ];
    let moving = [base.update(UpdateRangeMapping, 3, MappingStatus::Online, true)];
    let since = |rows: &mut Rows| detach(rows, &base.first);
    let mut count = undo_with(&env, &base, &in_place, since, &[Entry::Call]).await;
    count += undo_with(&env, &base, &moving, since, &[Entry::Call]).await;
    assert_eq!(count, 4 * WITHOUT_TARGET_STATES + WITH_TARGET_STATES);
}

pub async fn point_mappings<E: RawStores>() {
    use MappingStatus::{Offline, Online};
    use OperationCode::{AddPointMapping, RemovePointMapping, UpdatePointMapping, UpdatePointMappingWithOffline};
    let env = E::empty_stores(&DATABASES).await;
    let base = Base::points(&env).await;
    let free = MappingRecord { low: 50_i32.encode().unwrap(), ..base.mappings[0].clone() };
    let in_place = [
        base.add(AddPointMapping, &free),
        base.remove(RemovePointMapping, 2),
        base.remove(RemovePointMapping, 3),
        base.update(UpdatePointMapping, 3, Online, false),
        base.update(UpdatePointMappingWithOffline, 0, Offline, false),
    ];
    assert_eq!(undo_all(&env, &base, &in_place).await, 5 * WITHOUT_TARGET_STATES);
    let moving = [
        base.update(UpdatePointMapping, 2, Offline, true),
        base.update(UpdatePointMapping, 3, Online, true),
        base.update(UpdatePointMappingWithOffline, 1, Offline, true),
    ];
    assert_eq!(undo_all(&env, &base, &moving).await, 3 * WITH_TARGET_STATES);
}

pub async fn range_mappings<E: RawStores>() {
    use MappingStatus::{Offline, Online};
    use OperationCode::{AddRangeMapping, RemoveRangeMapping, UpdateRangeMapping, UpdateRangeMappingWithOffline};
    let env = E::empty_stores(&DATABASES).await;
    let base = Base::ranges(&env).await;
    let bound = |bound: i32| bound.encode().unwrap();
    let free = MappingRecord { low: bound(50), high: Some(bound(60)), ..base.mappings[0].clone() };
    let in_place = [
        base.add(AddRangeMapping, &free),
        base.remove(RemoveRangeMapping, 2),
        base.remove(RemoveRangeMapping, 3),
        base.update(UpdateRangeMapping, 3, Online, false),
        base.update(UpdateRangeMappingWithOffline, 0, Offline, false),
    ];
    assert_eq!(undo_all(&env, &base, &in_place).await, 5 * WITHOUT_TARGET_STATES);
    let moving = [
        base.update(UpdateRangeMapping, 2, Offline, true),
        base.update(UpdateRangeMapping, 3, Online, true),
        base.update(UpdateRangeMappingWithOffline, 1, Offline, true),
    ];
    assert_eq!(undo_all(&env, &base, &moving).await, 3 * WITH_TARGET_STATES);
}

pub async fn splits_and_merges<E: RawStores>() {
    use OperationCode::{MergeMappings, SplitMapping};
    let env = E::empty_stores(&DATABASES).await;
    let base = Base::ranges(&env).await;
    let part = |adds: &Arc<Shard>, like: &MappingRecord, low, high| MappingStep::Add {
        mapping: MappingRecord { id: MappingId::random(), shard: Arc::clone(adds), low, high, ..like.clone() },
        validate: false,
    };
    let removed = |mapping: &MappingRecord| MappingStep::Remove { mapping: mapping.clone(), lock: mapping.lock_owner };
    let split = |mapping: &MappingRecord, at: i32| {
        let at: EncodedKey = at.encode().unwrap();
        base.on_mappings(SplitMapping, false, None, |adds| {
            let (low, high) = (mapping.low.clone(), mapping.high.clone());
            vec![removed(mapping), part(adds, mapping, low, Some(at.clone())), part(adds, mapping, at, high)]
        })
    };
    let merge = |left: &MappingRecord, right: &MappingRecord| {
        base.on_mappings(MergeMappings, false, None, |adds| {
            vec![removed(left), removed(right), part(adds, left, left.low.clone(), right.high.clone())]
        })
    };
    let [first, second, third, locked] = &base.mappings[..] else { panic!("{:?}", base.mappings) };
    let operations = [split(first, 5), split(locked, 31), merge(first, second), merge(third, locked)];
    assert_eq!(undo_all(&env, &base, &operations).await, 4 * WITHOUT_TARGET_STATES);
}
