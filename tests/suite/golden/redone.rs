//! Operations that clients of the reference library left pending are done anew by ours, to their end.
//!
//! Someone repeats the call that did not return: our client meets what was left of it, undoes that, and does the operation. Then
//! the shard and the mappings have to be as the log document of the first attempt said, and all stores have to agree. So
//! every phase in `tests/data/pending` ends completed, too. The undo itself, row by row, is in `pending`.
//!
//! A pending attach (code 16) is not among them: we undo it, and have no call that attaches.

use serde_json::Value;
use shardlet::gsm::{GlobalOperation, GlobalStore, MappingStep, OperationSteps, ShardStep};
use shardlet::model::MappingRecord;
use shardlet::operation::LogRecord;
use shardlet::{
    ListShardMap, LockToken, Mapping, MappingUpdate, Options, PointMapping, RangeMapping, RangeShardMap, Result,
    ShardKey, ShardMap, ShardMapManager, Stores,
};

use super::view::Handle;
use crate::support::consistency::{assert_consistent, mapping_shape};
use crate::support::golden_files::{DATABASES, pending_files};
use crate::support::probe::{Call, Probe};
use crate::support::raw_stores::{RawStores, load_state, places};

/// What list and range maps do differently.
trait Redone: Handle + Sized {
    /// Adds a mapping as the first attempt was to.
    async fn add<B: Stores>(map: &ShardMap<Self, B>, mapping: &MappingRecord) -> Result<()>;

    /// Splits a mapping.
    async fn split<B: Stores>(map: &ShardMap<Self, B>, mapping: Self, at: Self::Key) -> Result<()>;
}

impl<K: ShardKey> Redone for PointMapping<K> {
    async fn add<B: Stores>(map: &ListShardMap<K, B>, mapping: &MappingRecord) -> Result<()> {
        let shard = map.shard(mapping.shard.location()).await?;
        map.create_mapping_with(K::decode(&mapping.low), &shard, mapping.status).await.map(drop)
    }

    async fn split<B: Stores>(_: &ListShardMap<K, B>, mapping: Self, _: K) -> Result<()> {
        panic!("{mapping} cannot be split")
    }
}

impl<K: ShardKey> Redone for RangeMapping<K> {
    async fn add<B: Stores>(map: &RangeShardMap<K, B>, mapping: &MappingRecord) -> Result<()> {
        let shard = map.shard(mapping.shard.location()).await?;
        let range = shardlet::KeyRange::decode(&mapping.range());
        map.create_mapping_with(range, &shard, mapping.status).await.map(drop)
    }

    async fn split<B: Stores>(map: &RangeShardMap<K, B>, mapping: Self, at: K) -> Result<()> {
        map.split_mapping(mapping, at).await.map(drop)
    }
}

/// The mapping that an operation was to change, with the token that it presented.
async fn current<M: Redone, B: Stores>(map: &ShardMap<M, B>, mapping: &MappingRecord, lock: LockToken) -> Result<M> {
    let all = map.mappings().await?;
    Ok(all.into_iter().find(|found| found.record().id == mapping.id).unwrap().presenting(lock))
}

/// Does an operation by the call that it is the operation of.
async fn redo<M: Redone, B: Stores>(map: &ShardMap<M, B>, operation: &GlobalOperation) -> Result<()> {
    match &operation.steps {
        OperationSteps::Shard(ShardStep::Add(shard)) => map.create_shard(shard.location()).await.map(drop),
        OperationSteps::Shard(ShardStep::Remove(shard)) => map.delete_shard(map.shard(shard.location()).await?).await,
        OperationSteps::Shard(ShardStep::Update(old, new)) => {
            map.update_shard(map.shard(old.location()).await?, new.status()).await.map(drop)
        }
        OperationSteps::Mappings { steps, .. } => match &steps[..] {
            [MappingStep::Add { mapping, .. }] => M::add(map, mapping).await,
            [MappingStep::Remove { mapping, lock }] => map.delete_mapping(current(map, mapping, *lock).await?).await,
            [MappingStep::Update { old, new, lock }] => {
                let mut update = MappingUpdate::new();
                if new.status != old.status {
                    update = update.status(new.status);
                }
                if new.shard.id() != old.shard.id() {
                    update = update.shard(&map.shard(new.shard.location()).await?);
                }
                map.update_mapping(current(map, old, *lock).await?, &update).await.map(drop)
            }
            [
                MappingStep::Remove { mapping, lock },
                MappingStep::Add { .. },
                MappingStep::Add { mapping: right, .. },
            ] => M::split(map, current(map, mapping, *lock).await?, M::Key::decode(&right.low)).await,
            other => panic!("steps that this test does not know: {other:?}"),
        },
        other => panic!("steps that this test does not know: {other:?}"),
    }
}

/// Fails unless a map is as an operation was to leave it.
async fn assert_done<M: Mapping, B: Stores>(map: &ShardMap<M, B>, operation: &GlobalOperation, case: &str) {
    let shards = map.shards().await.unwrap();
    match &operation.steps {
        OperationSteps::Shard(ShardStep::Add(shard)) => {
            assert!(shards.iter().any(|now| now.location() == shard.location()), "{case}");
        }
        OperationSteps::Shard(ShardStep::Remove(shard)) => {
            assert!(shards.iter().all(|now| now.location() != shard.location()), "{case}");
        }
        OperationSteps::Shard(ShardStep::Update(_, new)) => {
            let now = shards.iter().find(|now| now.id() == new.id()).unwrap();
            assert_eq!(now.status(), new.status(), "{case}");
        }
        OperationSteps::Mappings { steps, .. } => {
            let shape = |mapping: &MappingRecord| {
                // Mappings on a shard that is locked or not, under new ids.
                format!("{} of {}, {}", mapping_shape(mapping), mapping.shard.id(), mapping.lock_owner)
            };
            let mappings = map.mappings().await.unwrap();
            let now: Vec<_> = mappings.iter().map(|mapping| shape(mapping.record())).collect();
            for step in steps {
                match step {
                    MappingStep::Add { mapping, .. } | MappingStep::Update { new: mapping, .. } => {
                        assert_eq!(now.iter().filter(|now| **now == shape(mapping)).count(), 1, "{case}: {now:#?}");
                    }
                    _ => {}
                }
                match step {
                    MappingStep::Remove { mapping, .. } | MappingStep::Update { old: mapping, .. } => {
                        assert!(mappings.iter().all(|now| now.record().id != mapping.id), "{case}: {now:#?}");
                    }
                    _ => {}
                }
            }
        }
        other => panic!("steps that this test does not know: {other:?}"),
    }
}

async fn redone<M: Redone, E: RawStores>(
    env: &E,
    map: ShardMap<M, Probe<E::Backend>>,
    fresh: ShardMap<M, E::Backend>,
    case: &str,
) {
    let probe = map.manager().backend();
    let [entry] = &probe.pending_operations().await.unwrap()[..] else { panic!("{case}: not one pending operation") };
    let operation = LogRecord::read(entry).unwrap();
    redo(&map, &operation).await.unwrap_or_else(|error| panic!("{case}: {error:?}"));
    assert_eq!((probe.count(&Call::EndUndo), probe.count(&Call::EndDo)), (1, 1), "{case}: undone once, done once");
    assert_done(&fresh, &operation, case).await;
    assert_consistent(fresh.manager().backend(), &places(env), case).await;
}

async fn redo_file<E: RawStores>(env: &E, name: &str, file: &Value) {
    load_state(env, file).await;
    let probe = ShardMapManager::open(Probe::new(env.backend()), Options::default()).await.unwrap();
    let fresh = ShardMapManager::open(env.backend(), Options::default()).await.unwrap();
    if file["client_view"]["type"] == "List" {
        let map: ListShardMap<i32, _> = probe.list_shard_map("map").await.unwrap();
        redone(env, map, fresh.list_shard_map("map").await.unwrap(), name).await;
    } else {
        let map: RangeShardMap<i32, _> = probe.range_shard_map("map").await.unwrap();
        redone(env, map, fresh.range_shard_map("map").await.unwrap(), name).await;
    }
}

async fn redo_all<E: RawStores>(codes: &[i64]) {
    let env = E::empty_stores(&DATABASES).await;
    let mut count = 0;
    for (name, file) in pending_files() {
        if codes.contains(&file["operation_code"].as_i64().unwrap()) {
            redo_file(&env, &name, &file).await;
            count += 1;
        }
    }
    assert!(count > 0, "no files of {codes:?}");
}

pub async fn shards<E: RawStores>() {
    redo_all::<E>(&[1, 2, 3]).await;
}

pub async fn point_mappings<E: RawStores>() {
    redo_all::<E>(&[4, 6, 7]).await;
}

pub async fn range_mappings<E: RawStores>() {
    redo_all::<E>(&[8, 9, 10]).await;
}

pub async fn splits<E: RawStores>() {
    redo_all::<E>(&[14]).await;
}
