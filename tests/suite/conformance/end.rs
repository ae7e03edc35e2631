//! Ending operations, both ways, and the log.

use shardlet::error::Refusal;
use shardlet::gsm::{Direction, GlobalOperation, GlobalSession, GlobalStore, LockChange, OperationCode, ShardStep};
use shardlet::model::MappingRecord;
use shardlet::operation::LogRecord;
use shardlet::{LockToken, MappingStatus, OperationId, Shard, ShardMapInfo, ShardMapKind, ShardStatus, ShardVersion};

use super::Environment;
use super::fixture::{
    Fixture, add, add_beside, as_logged, at_new_version, map_named, offline, on_shard, record, refused, remove,
    replace, update,
};
use crate::support::consistency::Facts;

const NONE: LockToken = LockToken::NONE;

/// Begins and undoes an operation, then begins and does it, each end twice; gives what the store holds then.
async fn both_ways<E: Environment>(fixture: &Fixture<E>, operation: &GlobalOperation, about: &str) -> Facts {
    let before = fixture.state().await;
    for again in ["", ", again"] {
        if again.is_empty() {
            fixture.start(operation).await;
            assert_eq!(fixture.state().await, (before.0.clone(), vec![operation.id]), "{about}: begun");
        }
        fixture.end(operation, Direction::Undo).await.unwrap();
        assert_eq!(fixture.state().await, before, "{about}: undone{again}");
    }
    fixture.assert_free(&operation.map, about).await;
    fixture.start(operation).await;
    fixture.end(operation, Direction::Do).await.unwrap();
    let after = fixture.state().await;
    assert_ne!(after, before, "{about}: done");
    assert_eq!(after.1, [], "{about}: done");
    // Neither repeating the end nor an undo that comes too late changes anything.
    for direction in [Direction::Do, Direction::Undo] {
        fixture.end(operation, direction).await.unwrap();
        assert_eq!(fixture.state().await, after, "{about}: {direction:?} after the end");
    }
    fixture.assert_free(&operation.map, about).await;
    after.0
}

pub async fn operations_on_shards_are_done_and_undone<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let shard = fixture.new_shard(&map, 0);
    let add = on_shard(OperationCode::AddShard, &map, ShardStep::Add(shard.clone()));
    assert_eq!(both_ways(&fixture, &add, "add").await.exact.len(), 1);

    let location = shard.location().clone();
    let new = Shard::new(shard.id(), ShardVersion::random(), map.id(), location.clone(), ShardStatus::Offline);
    let update = on_shard(OperationCode::UpdateShard, &map, ShardStep::Update(shard, new.clone()));
    let _ = both_ways(&fixture, &update, "update").await;
    let found = fixture.store().find_shard(map.id(), &location).await.unwrap().unwrap();
    assert_eq!((found.version(), found.status()), (new.version(), ShardStatus::Offline));

    let remove = on_shard(OperationCode::RemoveShard, &map, ShardStep::Remove(new.clone()));
    assert_eq!(both_ways(&fixture, &remove, "remove").await.exact.len(), 0);
    let attach = on_shard(OperationCode::AttachShard, &map, ShardStep::Add(new));
    assert_eq!(both_ways(&fixture, &attach, "attach").await.exact.len(), 1);
}

/// The version of a shard now.
async fn version<E: Environment>(fixture: &Fixture<E>, map: &ShardMapInfo, shard: &Shard) -> ShardVersion {
    fixture.store().find_shard(map.id(), shard.location()).await.unwrap().unwrap().version()
}

fn new_versions(operation: &GlobalOperation) -> (ShardVersion, ShardVersion) {
    match &operation.steps {
        shardlet::gsm::OperationSteps::Mappings { removes, adds, .. } => (removes.version(), adds.version()),
        _ => panic!("no operation on mappings"),
    }
}

pub async fn adding_and_removing_mappings_is_done_and_undone<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let map = fixture.map(&kind.to_string(), kind).await;
        let shard = fixture.shard(&map, 0).await;
        let mapping = offline(record(&shard, 0, (kind == ShardMapKind::Range).then_some(10)));
        let adding = add(&map, &mapping);
        let _ = both_ways(&fixture, &adding, "add").await;
        assert_eq!(fixture.visible(&map).await, [(mapping.id, MappingStatus::Offline, shard.id())]);
        assert_eq!(version(&fixture, &map, &shard).await, new_versions(&adding).1);
        let removing = remove(&map, &mapping, NONE);
        let _ = both_ways(&fixture, &removing, "remove").await;
        assert_eq!(fixture.visible(&map).await, []);
        assert_eq!(version(&fixture, &map, &shard).await, new_versions(&removing).0);
    }
}

pub async fn updating_mappings_is_done_and_undone<E: Environment>() {
    use MappingStatus::{Offline, Online};
    let fixture = Fixture::<E>::new().await;
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let map = fixture.map(&kind.to_string(), kind).await;
        let shards = [fixture.shard(&map, 0).await, fixture.shard(&map, 1).await];
        let high = (kind == ShardMapKind::Range).then_some(10);
        let mut mapping = fixture.mapping(&map, record(&shards[0], 0, high)).await;
        let token = LockToken::random();
        let _ = fixture.store().change_lock(map.id(), &LockChange::Lock(mapping.id, token)).await.unwrap();
        for (status, shard) in [(Offline, 0), (Offline, 1), (Online, 0), (Online, 0), (Offline, 1), (Online, 1)] {
            let about = format!("{kind}, {status} on {shard}");
            let (operation, new) = update(&map, &mapping, status, &shards[shard], token);
            let _ = both_ways(&fixture, &operation, &about).await;
            assert_eq!(fixture.visible(&map).await, [(new.id, status, shards[shard].id())], "{about}");
            let found = fixture.store().find_mapping_by_id(&map, new.id).await.unwrap().unwrap();
            assert_eq!((&found.low, &found.high, found.lock_owner), (&new.low, &new.high, token), "{about}");
            let versions = new_versions(&operation);
            assert_eq!(version(&fixture, &map, &mapping.shard).await, versions.0, "{about}");
            assert_eq!(version(&fixture, &map, &new.shard).await, versions.1, "{about}");
            mapping = new;
        }
    }
}

pub async fn splitting_and_merging_is_done_and_undone<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::Range).await;
    let shard = fixture.shard(&map, 0).await;
    let whole = fixture.mapping(&map, record(&shard, 0, None)).await;
    let (low, high) = (record(&shard, 0, Some(5)), record(&shard, 5, None));
    let splitting = replace(OperationCode::SplitMapping, &map, &[(&whole, NONE)], &[&low, &high]);
    let _ = both_ways(&fixture, &splitting, "split").await;
    let ids = async || fixture.visible(&map).await.iter().map(|(id, ..)| *id).collect::<Vec<_>>();
    assert_eq!(ids().await, [low.id, high.id]);
    assert_eq!(version(&fixture, &map, &shard).await, new_versions(&splitting).1);
    let merged = MappingRecord { lock_owner: LockToken::random(), ..record(&shard, 0, None) };
    let merging = replace(OperationCode::MergeMappings, &map, &[(&low, NONE), (&high, NONE)], &[&merged]);
    let _ = both_ways(&fixture, &merging, "merge").await;
    assert_eq!(ids().await, [merged.id]);
}

pub async fn adding_many_is_done_and_undone<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let map = fixture.map(&kind.to_string(), kind).await;
        let shard = fixture.shard(&map, 0).await;
        let high = |low| (kind == ShardMapKind::Range).then_some(low + 10);
        let kept = fixture.mapping(&map, record(&shard, 0, high(0))).await;
        let token = LockToken::random();
        let _ = fixture.store().change_lock(map.id(), &LockChange::Lock(kept.id, token)).await.unwrap();
        let new: Vec<_> = (1..=30).map(|number| offline(record(&shard, 10 * number, high(10 * number)))).collect();
        let adding = add_beside(&map, &kept, &shard, &new);

        // Who finds it in the log takes the kept one for one that is removed; an undo does nothing to it either.
        let logged = as_logged(&adding);
        let before = fixture.state().await;
        for (about, undone) in [("as it was begun", &adding), ("as it is in the log", &logged)] {
            fixture.start(&adding).await;
            for again in ["", ", again"] {
                fixture.end(undone, Direction::Undo).await.unwrap();
                assert_eq!(fixture.state().await, before, "{kind}, undone {about}{again}");
            }
            fixture.assert_free(&map, about).await;
        }
        let _ = both_ways(&fixture, &adding, "add many").await;
        // It comes too late.
        fixture.end(&logged, Direction::Undo).await.unwrap();
        let expected = std::iter::once(&kept).chain(&new).map(|mapping| (mapping.id, mapping.status, shard.id()));
        assert_eq!(fixture.visible(&map).await, expected.collect::<Vec<_>>(), "{kind}");
        assert_eq!(version(&fixture, &map, &shard).await, new_versions(&adding).1, "{kind}");
        let found = fixture.store().find_mapping_by_id(&map, kept.id).await.unwrap().unwrap();
        assert_eq!((found.lock_owner, found.status), (token, MappingStatus::Online), "{kind}: the kept one");
        let change = LockChange::Unlock(kept.id, token);
        let outcome = fixture.store().change_lock(map.id(), &change).await.unwrap();
        assert!(matches!(outcome, shardlet::gsm::LockOutcome::Changed(1)), "{kind}: {outcome:?}");
    }
}

pub async fn ending_what_was_never_begun_changes_nothing<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::Range).await;
    let (shard, spare) = (fixture.shard(&map, 0).await, fixture.shard(&map, 1).await);
    let mapping = fixture.mapping(&map, offline(record(&shard, 0, Some(10)))).await;
    let holder = update(&map, &mapping, MappingStatus::Online, &shard, NONE).0;
    let before = fixture.state().await;
    let operations = [
        remove(&map, &mapping, NONE),
        update(&map, &mapping, MappingStatus::Online, &spare, NONE).0,
        add(&map, &record(&shard, 20, Some(30))),
        add_beside(&map, &mapping, &shard, &[record(&shard, 20, Some(30)), record(&shard, 30, Some(40))]),
        on_shard(OperationCode::RemoveShard, &map, ShardStep::Remove(spare.clone())),
        on_shard(OperationCode::UpdateShard, &map, ShardStep::Update(spare.clone(), at_new_version(&spare))),
        on_shard(OperationCode::AddShard, &map, ShardStep::Add(fixture.new_shard(&map, 2))),
    ];
    for held in [false, true] {
        // Rows that another operation has stamped are left to it.
        let before = if held {
            fixture.start(&holder).await;
            fixture.state().await
        } else {
            before.clone()
        };
        for operation in &operations {
            for direction in [Direction::Do, Direction::Undo] {
                fixture.end(operation, direction).await.unwrap();
                assert_eq!(fixture.state().await, before, "{:?} {direction:?}, held: {held}", operation.code);
            }
        }
    }
    fixture.end(&holder, Direction::Do).await.unwrap();
    assert_eq!(fixture.visible(&map).await[0].1, MappingStatus::Online, "the holder went on undisturbed");
}

pub async fn ending_in_a_missing_map_is_refused<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let gone = map_named("gone", ShardMapKind::List);
    let shard = fixture.new_shard(&gone, 0);
    let on_a_shard = on_shard(OperationCode::AddShard, &gone, ShardStep::Add(shard.clone()));
    for operation in [on_a_shard, add(&gone, &record(&shard, 1, None))] {
        for direction in [Direction::Do, Direction::Undo] {
            let about = format!("{:?} {direction:?}", operation.code);
            refused(fixture.end(&operation, direction).await, Refusal::ShardMapDoesNotExist, &about);
        }
    }
}

pub async fn the_log_row_is_kept_until_the_end<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let shards = [fixture.shard(&map, 0).await, fixture.shard(&map, 1).await, fixture.shard(&map, 2).await];
    let mapping = fixture.mapping(&map, offline(record(&shards[0], 1, None))).await;
    let before = [version(&fixture, &map, &shards[0]).await, version(&fixture, &map, &shards[1]).await];
    let moving = update(&map, &mapping, MappingStatus::Offline, &shards[1], NONE).0;
    let removing = on_shard(OperationCode::RemoveShard, &map, ShardStep::Remove(shards[2].clone()));
    let find = async |operation: OperationId, start| {
        let mut session = fixture.store().lock_operation(operation).await.unwrap();
        session.find_operation(operation, start).await.unwrap()
    };
    for (operation, versions) in [(&moving, (Some(before[0]), Some(before[1]))), (&removing, (None, None))] {
        assert_eq!(find(operation.id, 113).await, None, "not begun");
        fixture.start(operation).await;
        let pending = fixture.store().pending_operations().await.unwrap();
        let entry = pending.iter().find(|entry| entry.id == operation.id).unwrap();
        assert_eq!((entry.code, entry.undo_start), (operation.code as i32, 100));
        assert_eq!((entry.version_removes, entry.version_adds), versions, "versions before the operation");
        assert_eq!(LogRecord::write(&LogRecord::read(entry).unwrap()), LogRecord::write(operation));
        for start in [113, 107, 100] {
            let found = find(operation.id, start).await.unwrap();
            assert_eq!(found.undo_start, start);
            assert_eq!((found.code, &found.data), (entry.code, &entry.data));
            assert_eq!((found.version_removes, found.version_adds), versions);
        }
        let _ = find(operation.id, 110).await;
        // Beginning again does not begin the log row anew.
        fixture.start(operation).await;
        let pending = fixture.store().pending_operations().await.unwrap();
        assert!(pending.iter().any(|entry| (entry.id, entry.undo_start) == (operation.id, 110)), "{pending:?}");
    }
    assert_eq!(find(OperationId::random(), 100).await, None, "unknown");
    fixture.end(&moving, Direction::Do).await.unwrap();
    fixture.end(&removing, Direction::Undo).await.unwrap();
    assert_eq!(find(moving.id, 100).await, None, "done");
    assert_eq!(find(removing.id, 100).await, None, "undone");
    assert!(fixture.store().pending_operations().await.unwrap().is_empty());
}
