//! Mending a shard's rows in the global store, and taking a shard out of it.

use shardlet::error::Refusal;
use shardlet::gsm::{
    Begin, Detaching, Direction, GlobalOperation, GlobalStore, LockChange, LogEntry, OperationCode, ShardMending,
    ShardStep,
};
use shardlet::model::MappingRecord;
use shardlet::operation::LogRecord;
use shardlet::{
    ErrorKind, LockToken, Shard, ShardId, ShardMapId, ShardMapInfo, ShardMapKind, ShardStatus, ShardVersion,
};

use super::Environment;
use super::fixture::{Fixture, add, at_new_version, map_named, offline, on_shard, pending, record, refused, remove};

/// The shard that becomes another one.
fn mend(
    map: &ShardMapInfo,
    (before, after): (&Shard, &Shard),
    removed: &[&MappingRecord],
    added: &[&MappingRecord],
) -> GlobalOperation {
    let mending = ShardMending {
        before: before.clone(),
        after: after.clone(),
        removed: removed.iter().map(|mapping| mapping.id).collect(),
        added: added.iter().map(|mapping| (*mapping).clone()).collect(),
    };
    on_shard(OperationCode::UpdateShard, map, ShardStep::Mend(Box::new(mending)))
}

fn high(kind: ShardMapKind, value: i32) -> Option<i32> {
    (kind == ShardMapKind::Range).then_some(value)
}

pub async fn a_shards_rows_are_written_anew_or_left<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let map = fixture.map(&kind.to_string(), kind).await;
        let shard = fixture.shard(&map, 0).await;
        let kept = fixture.mapping(&map, record(&shard, 0, high(kind, 10))).await;
        let gone = fixture.mapping(&map, record(&shard, 10, high(kind, 20))).await;
        let token = LockToken::random();
        let _ = fixture.store().change_lock(map.id(), &LockChange::Lock(kept.id, token)).await.unwrap();
        let before = fixture.store().find_shard(map.id(), shard.location()).await.unwrap().unwrap();
        let place = fixture.environment.location(1);
        let after = Shard::new(shard.id(), ShardVersion::random(), map.id(), place.clone(), ShardStatus::Offline);
        let come = MappingRecord { lock_owner: token, ..offline(record(&shard, 10, high(kind, 15))) };
        let last = record(&shard, 30, None);
        let operation = mend(&map, (&before, &after), &[&gone], &[&come, &last]);
        let about = format!("{kind}");

        let state = fixture.state().await;
        fixture.start(&operation).await;
        assert_eq!(fixture.state().await, (state.0.clone(), vec![operation.id]), "{about}: begun");
        fixture.start(&operation).await;
        assert_eq!(fixture.state().await, (state.0.clone(), vec![operation.id]), "{about}: begun again");
        for again in ["", ", again"] {
            fixture.end(&operation, Direction::Undo).await.unwrap();
            assert_eq!(fixture.state().await, state, "{about}: undone{again}");
        }
        fixture.assert_free(&map, &about).await;

        fixture.start(&operation).await;
        fixture.end(&operation, Direction::Do).await.unwrap();
        let done = fixture.state().await;
        assert_eq!(done.1, [], "{about}");
        let found = fixture.store().find_shard(map.id(), &place).await.unwrap().unwrap();
        assert_eq!((found.id(), found.version(), found.status()), (after.id(), after.version(), ShardStatus::Offline));
        assert_eq!(fixture.store().find_shard(map.id(), shard.location()).await.unwrap(), None);
        let of_shard = |mapping: &MappingRecord| (mapping.id, mapping.status, shard.id());
        assert_eq!(fixture.visible(&map).await, [of_shard(&kept), of_shard(&come), of_shard(&last)], "{about}");
        for (mapping, owner) in [(&kept, token), (&come, token), (&last, LockToken::NONE)] {
            let found = fixture.store().find_mapping_by_id(&map, mapping.id).await.unwrap().unwrap();
            let expected = (&mapping.low, &mapping.high, owner, &place);
            assert_eq!((&found.low, &found.high, found.lock_owner, found.shard.location()), expected, "{about}");
        }
        for direction in [Direction::Do, Direction::Undo, Direction::Do] {
            fixture.end(&operation, direction).await.unwrap();
            assert_eq!(fixture.state().await, done, "{about}: {direction:?} after the end");
        }
        fixture.assert_free(&map, &about).await;
        let back = mend(&map, (&found, &shard), &[&kept, &come, &last], &[]);
        fixture.perform(&back).await;
        assert_eq!(fixture.visible(&map).await, []);
    }
}

/// Who reads the log row sees an update of the shard, and undoes it as such.
pub async fn a_mending_is_undone_as_an_update<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::Range).await;
    let shard = fixture.shard(&map, 0).await;
    let gone = fixture.mapping(&map, record(&shard, 0, Some(10))).await;
    let before = fixture.store().find_shard(map.id(), shard.location()).await.unwrap().unwrap();
    let state = fixture.state().await;
    let after = at_new_version(&before);
    let operation = mend(&map, (&before, &after), &[&gone], &[&record(&shard, 5, None)]);
    fixture.start(&operation).await;
    let entries = fixture.store().pending_operations().await.unwrap();
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    let read = LogRecord::read(entry).unwrap();
    assert_eq!(read.code, OperationCode::UpdateShard);
    let shardlet::gsm::OperationSteps::Shard(ShardStep::Update(old, new)) = &read.steps else { panic!("{read:?}") };
    assert_eq!((old, new), (&before, &after));
    fixture.end(&read, Direction::Undo).await.unwrap();
    assert_eq!(fixture.state().await, state);
    fixture.assert_free(&map, "undone").await;
}

pub async fn a_mending_is_refused<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::Range).await;
    let shard = fixture.shard(&map, 0).await;
    let after = at_new_version(&shard);
    let unknown = map_named("unknown", ShardMapKind::Range);
    let missing = mend(&unknown, (&shard, &after), &[], &[]);
    fixture.begin_refused(&missing, Refusal::ShardMapDoesNotExist, "map").await;
    refused(fixture.end(&missing, Direction::Do).await, Refusal::ShardMapDoesNotExist, "end in a missing map");
    let stranger = fixture.new_shard(&map, 1);
    let operation = mend(&map, (&stranger, &stranger), &[], &[]);
    fixture.begin_refused(&operation, Refusal::ShardDoesNotExist, "shard").await;
    let operation = mend(&map, (&at_new_version(&shard), &after), &[], &[]);
    fixture.begin_refused(&operation, Refusal::ShardVersionMismatch, "version").await;

    let holder = mend(&map, (&shard, &after), &[], &[]);
    fixture.start(&holder).await;
    let operation = mend(&map, (&shard, &at_new_version(&shard)), &[], &[]);
    assert_eq!(pending(fixture.begin(&operation).await, "stamped").id, holder.id);
    fixture.end(&holder, Direction::Undo).await.unwrap();
    // Ending what was never begun changes nothing.
    let state = fixture.state().await;
    fixture.end(&operation, Direction::Do).await.unwrap();
    assert_eq!(fixture.state().await, state);
}

/// Fails unless the last step is refused and everything is as it was after the first.
async fn end_refused<E: Environment>(fixture: &Fixture<E>, operation: &GlobalOperation, refusal: Refusal, about: &str) {
    fixture.start(operation).await;
    let state = fixture.state().await;
    refused(fixture.end(operation, Direction::Do).await, refusal, about);
    assert_eq!(fixture.state().await, state, "{about}");
    fixture.end(operation, Direction::Undo).await.unwrap();
}

pub async fn the_end_of_a_mending_is_refused_where_it_collides<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let map = fixture.map(&kind.to_string(), kind).await;
        let (shard, other) = (fixture.shard(&map, 0).await, fixture.shard(&map, 1).await);
        let third = fixture.shard(&map, 2).await;
        let of_other = fixture.mapping(&map, record(&other, 10, high(kind, 20))).await;
        let own = fixture.mapping(&map, record(&shard, 30, high(kind, 40))).await;
        let shard = fixture.store().find_shard(map.id(), shard.location()).await.unwrap().unwrap();
        let after = at_new_version(&shard);
        let taken = Shard::new(shard.id(), after.version(), map.id(), other.location().clone(), shard.status());
        let operation = mend(&map, (&shard, &taken), &[], &[]);
        end_refused(&fixture, &operation, Refusal::ShardLocationExists, "a place that is taken").await;

        let refusal = match kind {
            ShardMapKind::List => Refusal::MappingPointAlreadyMapped,
            ShardMapKind::Range => Refusal::MappingRangeAlreadyMapped,
        };
        let fits = record(&shard, 0, high(kind, 10));
        for (collides, about) in [
            (record(&shard, 10, high(kind, 11)), "a mapping of another shard"),
            (record(&shard, 30, high(kind, 31)), "one of its own that stays"),
        ] {
            let operation = mend(&map, (&shard, &after), &[], &[&fits, &collides]);
            end_refused(&fixture, &operation, refusal, about).await;
        }
        if kind == ShardMapKind::Range {
            for (low, high) in [(5, Some(11)), (19, None), (i32::MIN, None), (12, Some(13))] {
                let operation = mend(&map, (&shard, &after), &[&own], &[&record(&shard, low, high)]);
                end_refused(&fixture, &operation, refusal, &format!("{low} to {high:?}")).await;
            }
        }
        // A mapping of another shard does not leave it, whatever is asked.
        let operation = mend(&map, (&shard, &after), &[&of_other], &[]);
        fixture.perform(&operation).await;
        assert!(fixture.store().find_mapping_by_id(&map, of_other.id).await.unwrap().is_some());
        let shard = after;
        let after = at_new_version(&shard);

        // What an unfinished operation adds, or takes away, decides nothing yet.
        let comes = record(&third, 50, high(kind, 60));
        let adding = add(&map, &comes);
        fixture.start(&adding).await;
        let operation = mend(&map, (&shard, &after), &[], &[&record(&shard, 50, high(kind, 51))]);
        end_refused(&fixture, &operation, Refusal::PendingOperation, "what is being added").await;
        fixture.end(&adding, Direction::Do).await.unwrap();
        let comes = fixture.store().find_mapping_by_id(&map, comes.id).await.unwrap().unwrap();
        let (offline, _) =
            super::fixture::update(&map, &comes, shardlet::MappingStatus::Offline, &comes.shard, LockToken::NONE);
        fixture.perform(&offline).await;
        let comes = fixture.store().find_mapping_by_key(&map, &comes.low).await.unwrap().unwrap();
        let removing = remove(&map, &comes, LockToken::NONE);
        fixture.start(&removing).await;
        end_refused(&fixture, &operation, Refusal::PendingOperation, "what is being removed").await;
        fixture.end(&removing, Direction::Do).await.unwrap();
        fixture.perform(&operation).await;
    }
}

pub async fn a_shard_is_taken_out_with_its_mappings<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (map, other) = (fixture.map("map", ShardMapKind::List).await, fixture.map("other", ShardMapKind::List).await);
    let (shard, stays) = (fixture.shard(&map, 0).await, fixture.shard(&map, 1).await);
    let elsewhere = fixture.shard(&other, 0).await;
    let kept = [
        (map.clone(), fixture.mapping(&map, record(&stays, 7, None)).await),
        (other.clone(), fixture.mapping(&other, record(&elsewhere, 1, None)).await),
    ];
    let locked = fixture.mapping(&map, record(&shard, 1, None)).await;
    let _ = fixture.mapping(&map, offline(record(&shard, 2, None))).await;
    let _ = fixture.store().change_lock(map.id(), &LockChange::Lock(locked.id, LockToken::random())).await.unwrap();

    let detach = async |map: ShardMapId, shard: ShardId| fixture.store().detach_shard(map, shard).await;
    refused(detach(ShardMapId::random(), shard.id()).await, Refusal::ShardMapDoesNotExist, "map");
    refused(detach(map.id(), ShardId::random()).await, Refusal::ShardDoesNotExist, "shard");
    refused(detach(other.id(), shard.id()).await, Refusal::ShardDoesNotExist, "a shard of another map");
    assert!(matches!(detach(map.id(), shard.id()).await, Ok(Detaching::Detached(2))));
    refused(detach(map.id(), shard.id()).await, Refusal::ShardDoesNotExist, "gone");
    for (map, mapping) in &kept {
        let found = fixture.store().find_mapping_by_id(map, mapping.id).await.unwrap();
        assert!(found.is_some(), "{}", map.name());
    }
    assert_eq!(fixture.store().shards(map.id()).await.unwrap().len(), 1);
    assert_eq!(fixture.store().shards(other.id()).await.unwrap().len(), 1);
    let empty = fixture.shard(&map, 2).await;
    assert!(matches!(detach(map.id(), empty.id()).await, Ok(Detaching::Detached(0))));
}

pub async fn a_shard_with_an_unfinished_operation_is_not_taken_out<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let (shard, new) = (fixture.shard(&map, 0).await, fixture.new_shard(&map, 1));
    let operations = [
        add(&map, &record(&shard, 1, None)),
        on_shard(OperationCode::UpdateShard, &map, ShardStep::Update(shard.clone(), at_new_version(&shard))),
        on_shard(OperationCode::AddShard, &map, ShardStep::Add(new.clone())),
    ];
    for (operation, shard) in operations.iter().zip([&shard, &shard, &new]) {
        fixture.start(operation).await;
        let state = fixture.state().await;
        let found = fixture.store().detach_shard(map.id(), shard.id()).await.unwrap();
        let Detaching::Pending(entry) = found else { panic!("{found:?}") };
        let LogEntry { id, code, .. } = *entry;
        assert_eq!((id, code), (operation.id, operation.code as i32));
        let told = LogRecord::write(&LogRecord::read(&entry).unwrap());
        assert_eq!(told, LogRecord::write(operation), "it can be undone by what is told");
        assert_eq!(fixture.state().await, state);
        fixture.end(operation, Direction::Undo).await.unwrap();
    }
    assert!(matches!(fixture.store().detach_shard(map.id(), shard.id()).await, Ok(Detaching::Detached(0))));
    // And one that comes too late begins no more.
    let late = fixture.begin(&operations[0]).await;
    assert_eq!(late.map(|begin| matches!(begin, Begin::Begun)).unwrap_err().kind(), ErrorKind::NotFound);
}
