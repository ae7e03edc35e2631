//! Beginning operations on mappings.

use shardlet::error::Refusal;
use shardlet::gsm::{Direction, GlobalStore, LockChange, MappingStep, OperationCode, ShardStep};
use shardlet::model::MappingRecord;
use shardlet::{LockToken, MappingStatus, Shard, ShardMapInfo, ShardMapKind, ShardStatus};

use super::Environment;
use super::fixture::{
    Fixture, add, add_beside, at_new_version, begun, map_named, offline, on_mappings, on_shard, pending, record,
    refused, remove, replace, update,
};

const NONE: LockToken = LockToken::NONE;

pub async fn a_missing_map_or_shard_is_refused<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let high = (kind == ShardMapKind::Range).then_some(10);
        let gone = map_named("gone", kind);
        let mapping = record(&fixture.new_shard(&gone, 0), 1, high);
        fixture.begin_refused(&add(&gone, &mapping), Refusal::ShardMapDoesNotExist, "a map that is gone").await;

        let map = fixture.map(&kind.to_string(), kind).await;
        let shard = fixture.shard(&map, 0).await;
        let unknown = fixture.new_shard(&map, 1);
        let mapping = offline(fixture.mapping(&map, record(&shard, 1, high)).await);
        for (about, operation) in [
            ("adding to an unknown shard", add(&map, &record(&unknown, 20, high.map(|_| 30)))),
            ("removing from an unknown shard", remove(&map, &record(&unknown, 1, high), NONE)),
            ("moving to an unknown shard", update(&map, &mapping, MappingStatus::Offline, &unknown, NONE).0),
        ] {
            fixture.begin_refused(&operation, Refusal::ShardDoesNotExist, about).await;
        }
    }
}

pub async fn adding_a_point<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (map, other) = (fixture.map("map", ShardMapKind::List).await, fixture.map("other", ShardMapKind::List).await);
    let (shard, second) = (fixture.shard(&map, 0).await, fixture.shard(&map, 1).await);
    let other_shard = fixture.shard(&other, 0).await;
    let _ = fixture.mapping(&map, record(&shard, 1, None)).await;
    for shard in [&shard, &second] {
        let operation = add(&map, &record(shard, 1, None));
        fixture.begin_refused(&operation, Refusal::MappingPointAlreadyMapped, "a key that is mapped").await;
    }
    // Another map has keys of its own.
    let _ = fixture.mapping(&other, record(&other_shard, 1, None)).await;

    let first = add(&map, &record(&shard, 2, None));
    begun(fixture.begin(&first).await, "first");
    begun(fixture.begin(&first).await, "again");
    let met = pending(fixture.begin(&add(&map, &record(&second, 2, None))).await, "the key is being mapped elsewhere");
    assert_eq!((met.id, met.code), (first.id, 4));
    let met = pending(fixture.begin(&add(&map, &record(&shard, 3, None))).await, "the shard is being changed");
    assert_eq!(met.id, first.id);
    fixture.perform(&add(&map, &record(&second, 3, None))).await;
    fixture.end(&first, Direction::Do).await.unwrap();
    fixture.assert_free(&map, "in the end").await;
}

pub async fn adding_a_range<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::Range).await;
    let (shard, second) = (fixture.shard(&map, 0).await, fixture.shard(&map, 1).await);
    for (low, high) in [(0, Some(10)), (20, Some(30)), (100, None)] {
        let _ = fixture.mapping(&map, record(&shard, low, high)).await;
    }
    for (low, high) in [
        (0, Some(10)),
        (5, Some(15)),
        (5, Some(7)),
        (-5, Some(5)),
        (-5, Some(15)),
        (9, Some(20)),
        (15, Some(21)),
        (29, None),
        (i32::MIN, None),
        (100, Some(101)),
        (i32::MAX, None),
    ] {
        let operation = add(&map, &record(&second, low, high));
        let about = format!("{low} to {high:?}");
        fixture.begin_refused(&operation, Refusal::MappingRangeAlreadyMapped, &about).await;
    }
    for (low, high) in [(10, Some(20)), (i32::MIN, Some(0)), (30, Some(100))] {
        let operation = add(&map, &record(&second, low, high));
        begun(fixture.begin(&operation).await, &format!("{low} to {high:?}"));
        begun(fixture.begin(&operation).await, &format!("{low} to {high:?}, again"));
        fixture.end(&operation, Direction::Undo).await.unwrap();
    }

    let first = add(&map, &record(&shard, 40, Some(50)));
    fixture.start(&first).await;
    for (low, high) in [(45, Some(47)), (35, Some(41)), (49, Some(60)), (30, Some(100)), (40, Some(50))] {
        let met = fixture.begin(&add(&map, &record(&second, low, high))).await;
        assert_eq!(pending(met, &format!("{low} to {high:?}")).id, first.id, "{low} to {high:?}");
    }
    // Undoing the other would not make room here.
    let operation = add(&map, &record(&second, 25, Some(45)));
    refused(fixture.begin(&operation).await, Refusal::MappingRangeAlreadyMapped, "a range that is mapped as well");
    begun(fixture.begin(&add(&map, &record(&second, 50, Some(60)))).await, "beside it");
}

/// Parts of the same keys are there twice, readable ones and those that may take their place.
pub async fn ranges_beside_a_replacement<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (whole, low, high) = ((0, Some(100)), (0, Some(50)), (50, Some(100)));
    for (about, code, old, new) in [
        ("split", OperationCode::SplitMapping, &[whole][..], &[low, high][..]),
        ("merge", OperationCode::MergeMappings, &[low, high], &[whole]),
        ("update", OperationCode::UpdateRangeMapping, &[whole], &[whole]),
    ] {
        let map = fixture.map(about, ShardMapKind::Range).await;
        let (shard, other) = (fixture.shard(&map, 0).await, fixture.shard(&map, 1).await);
        let mut sources = Vec::new();
        for (low, high) in old {
            sources.push(fixture.mapping(&map, record(&shard, *low, *high)).await);
        }
        let replacement = if code == OperationCode::UpdateRangeMapping {
            update(&map, &sources[0], MappingStatus::Online, &shard, NONE).0
        } else {
            let sources: Vec<_> = sources.iter().map(|source| (source, NONE)).collect();
            let parts: Vec<_> = new.iter().map(|(low, high)| record(&shard, *low, *high)).collect();
            replace(code, &map, &sources, &parts.iter().collect::<Vec<_>>())
        };
        fixture.start(&replacement).await;
        for (low, high) in [(-10, 5), (20, 30), (60, 70), (45, 55), (90, 130), (0, 100), (0, 50), (50, 100)] {
            let about = format!("{about}, {low} to {high}");
            let met = fixture.begin(&add(&map, &record(&other, low, Some(high)))).await;
            assert_eq!(pending(met, &about).id, replacement.id, "{about}");
        }
        for (low, high) in [(100, 110), (-10, 0)] {
            let operation = add(&map, &record(&other, low, Some(high)));
            begun(fixture.begin(&operation).await, &format!("{about}, {low} to {high}"));
            fixture.end(&operation, Direction::Undo).await.unwrap();
        }
        fixture.end(&replacement, Direction::Undo).await.unwrap();
        fixture.assert_free(&map, about).await;
    }
}

pub async fn ranges_beside_additions<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::Range).await;
    let shards = [fixture.shard(&map, 0).await, fixture.shard(&map, 1).await, fixture.shard(&map, 2).await];
    let on = |shard: usize, low, high| record(&shards[shard], low, Some(high));
    let kept = fixture.mapping(&map, on(0, 0, 10)).await;
    let _ = fixture.mapping(&map, on(2, 1_000, 1_010)).await;
    let one = add(&map, &on(1, 40, 50));
    fixture.start(&one).await;
    // With as much room between two as they take.
    let many: Vec<_> = (0..40).map(|number| on(0, 100 + 20 * number, 110 + 20 * number)).collect();
    let many = add_beside(&map, &kept, &shards[0], &many);
    fixture.start(&many).await;

    for (low, high) in [(50, 60), (30, 40), (10, 40), (50, 100), (110, 120), (490, 500), (890, 1_000), (1_010, 1_020)] {
        let operation = add(&map, &on(2, low, high));
        begun(fixture.begin(&operation).await, &format!("{low} to {high}"));
        fixture.end(&operation, Direction::Undo).await.unwrap();
    }
    for (low, high, operation) in [
        (45, 47, &one),
        (30, 60, &one),
        (105, 106, &many),
        (95, 101, &many),
        (110, 121, &many),
        (489, 491, &many),
        (60, 1_000, &many),
    ] {
        let met = fixture.begin(&add(&map, &on(2, low, high))).await;
        assert_eq!(pending(met, &format!("{low} to {high}")).id, operation.id, "{low} to {high}");
    }
    // Undoing them would not make room here.
    for (low, high) in [(9, 47), (9, 106), (5, 1_000), (889, 1_001), (45, 1_001), (1_005, 1_006)] {
        let about = format!("{low} to {high}");
        refused(fixture.begin(&add(&map, &on(2, low, high))).await, Refusal::MappingRangeAlreadyMapped, &about);
    }
    fixture.end(&one, Direction::Undo).await.unwrap();
    fixture.end(&many, Direction::Undo).await.unwrap();
    fixture.assert_free(&map, "in the end").await;
}

pub async fn removing_a_mapping<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let map = fixture.map(&kind.to_string(), kind).await;
        let shard = fixture.shard(&map, 0).await;
        let make = async |low: i32, status| {
            let high = (kind == ShardMapKind::Range).then_some(low + 10);
            fixture.mapping(&map, MappingRecord { status, ..record(&shard, low, high) }).await
        };
        let online = make(0, MappingStatus::Online).await;
        let off = make(10, MappingStatus::Offline).await;
        let locked = make(20, MappingStatus::Offline).await;
        let token = LockToken::random();
        let _ = fixture.store().change_lock(map.id(), &LockChange::Lock(locked.id, token)).await.unwrap();

        let unknown = offline(record(&shard, 10, off.high.as_ref().map(|_| 20)));
        let wrong_lock = Refusal::MappingLockOwnerIdDoesNotMatch;
        for (about, mapping, lock, refusal) in [
            ("unknown", &unknown, NONE, Refusal::MappingDoesNotExist),
            ("online", &online, NONE, Refusal::MappingIsNotOffline),
            ("free, with a token", &off, token, wrong_lock),
            ("locked, without a token", &locked, NONE, wrong_lock),
            ("locked, with another token", &locked, LockToken::random(), wrong_lock),
            ("locked, by force", &locked, LockToken::FORCE_UNLOCK, wrong_lock),
        ] {
            fixture.begin_refused(&remove(&map, mapping, lock), refusal, &format!("{kind}, {about}")).await;
        }
        for (mapping, lock) in [(&off, NONE), (&locked, token)] {
            let operation = remove(&map, mapping, lock);
            begun(fixture.begin(&operation).await, "first");
            begun(fixture.begin(&operation).await, "again");
            let met = pending(fixture.begin(&remove(&map, mapping, lock)).await, "being removed");
            assert_eq!(met.id, operation.id);
            fixture.end(&operation, Direction::Do).await.unwrap();
            let about = format!("{kind}, removed before");
            fixture.begin_refused(&remove(&map, mapping, lock), Refusal::MappingDoesNotExist, &about).await;
        }
    }
}

pub async fn updating_a_mapping<E: Environment>() {
    use MappingStatus::{Offline, Online};
    let fixture = Fixture::<E>::new().await;
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let map = fixture.map(&kind.to_string(), kind).await;
        let shard = fixture.shard(&map, 0).await;
        let high = (kind == ShardMapKind::Range).then_some(10);
        let mapping = fixture.mapping(&map, record(&shard, 0, high)).await;
        let token = LockToken::random();
        let unknown = record(&shard, 0, high);
        let (operation, _) = update(&map, &unknown, Offline, &shard, NONE);
        fixture.begin_refused(&operation, Refusal::MappingDoesNotExist, "unknown").await;
        let (operation, _) = update(&map, &mapping, Offline, &shard, token);
        fixture.begin_refused(&operation, Refusal::MappingLockOwnerIdDoesNotMatch, "a token for a free one").await;
        let _ = fixture.store().change_lock(map.id(), &LockChange::Lock(mapping.id, token)).await.unwrap();
        for wrong in [NONE, LockToken::random(), LockToken::FORCE_UNLOCK] {
            let (operation, _) = update(&map, &mapping, Offline, &shard, wrong);
            fixture.begin_refused(&operation, Refusal::MappingLockOwnerIdDoesNotMatch, "a wrong token").await;
        }
        let mut mapping = mapping;
        for status in [Online, Offline, Offline, Online] {
            let (operation, new) = update(&map, &mapping, status, &shard, token);
            begun(fixture.begin(&operation).await, &format!("{kind}, {status}"));
            begun(fixture.begin(&operation).await, &format!("{kind}, {status}, again"));
            let (other, _) = update(&map, &mapping, status, &shard, token);
            assert_eq!(pending(fixture.begin(&other).await, "being updated").id, operation.id);
            fixture.end(&operation, Direction::Do).await.unwrap();
            let (stale, _) = update(&map, &mapping, status, &shard, token);
            fixture.begin_refused(&stale, Refusal::MappingDoesNotExist, "by its old id").await;
            mapping = new;
        }
    }
}

pub async fn moving_a_mapping<E: Environment>() {
    use MappingStatus::{Offline, Online};
    let fixture = Fixture::<E>::new().await;
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let map = fixture.map(&kind.to_string(), kind).await;
        let shards = [fixture.shard(&map, 0).await, fixture.shard(&map, 1).await];
        let high = (kind == ShardMapKind::Range).then_some(10);
        for (from, to, allowed) in
            [(Online, Online, false), (Online, Offline, true), (Offline, Offline, true), (Offline, Online, true)]
        {
            let about = format!("{kind}, {from} to {to}");
            let mapping = MappingRecord { status: from, ..record(&shards[0], 0, high) };
            let adding = add(&map, &mapping);
            fixture.perform(&adding).await;
            let (operation, new) = update(&map, &mapping, to, &shards[1], NONE);
            let last = if allowed {
                begun(fixture.begin(&operation).await, &about);
                begun(fixture.begin(&operation).await, &format!("{about}, again"));
                for shard in &shards {
                    let other = add(&map, &record(shard, 50, high.map(|_| 60)));
                    assert_eq!(pending(fixture.begin(&other).await, &about).id, operation.id, "{about}: both shards");
                }
                fixture.end(&operation, Direction::Do).await.unwrap();
                new
            } else {
                fixture.begin_refused(&operation, Refusal::MappingIsNotOffline, &about).await;
                mapping
            };
            let (hiding, hidden) = update(&map, &last, Offline, &last.shard, NONE);
            fixture.perform(&hiding).await;
            fixture.perform(&remove(&map, &hidden, NONE)).await;
        }
    }
}

pub async fn splitting_and_merging<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::Range).await;
    let shard = fixture.shard(&map, 0).await;
    let token = LockToken::random();
    let whole = fixture.mapping(&map, record(&shard, 0, Some(10))).await;
    let part = |low, high, lock_owner| MappingRecord { lock_owner, ..record(&shard, low, Some(high)) };
    let (low, high) = (part(0, 5, NONE), part(5, 10, NONE));
    let split = |lock| replace(OperationCode::SplitMapping, &map, &[(&whole, lock)], &[&low, &high]);
    fixture.begin_refused(&split(token), Refusal::MappingLockOwnerIdDoesNotMatch, "a token for a free one").await;
    let unknown = record(&shard, 0, Some(10));
    let operation = replace(OperationCode::SplitMapping, &map, &[(&unknown, NONE)], &[&low, &high]);
    fixture.begin_refused(&operation, Refusal::MappingDoesNotExist, "unknown").await;

    // It may be online.
    let operation = split(NONE);
    begun(fixture.begin(&operation).await, "split");
    begun(fixture.begin(&operation).await, "split again");
    fixture.end(&operation, Direction::Do).await.unwrap();
    let merged = part(0, 10, token);
    let merge = |left, right| replace(OperationCode::MergeMappings, &map, &[(&low, left), (&high, right)], &[&merged]);
    let _ = fixture.store().change_lock(map.id(), &LockChange::Lock(high.id, token)).await.unwrap();
    for (left, right) in [(NONE, NONE), (token, token), (token, NONE)] {
        let about = format!("{left:?} {right:?}");
        fixture.begin_refused(&merge(left, right), Refusal::MappingLockOwnerIdDoesNotMatch, &about).await;
    }
    let operation = merge(NONE, token);
    begun(fixture.begin(&operation).await, "merge");
    begun(fixture.begin(&operation).await, "merge again");
    fixture.end(&operation, Direction::Do).await.unwrap();
    let found = fixture.store().find_mapping_by_id(&map, merged.id).await.unwrap().unwrap();
    assert_eq!(found.lock_owner, token, "a new mapping is owned as its record says");
}

/// Many mappings with keys from a hundred on, ten apart.
fn many(shard: &Shard, kind: ShardMapKind, count: i32) -> Vec<MappingRecord> {
    let one = |low: i32| record(shard, low, (kind == ShardMapKind::Range).then_some(low + 10));
    (0..count).map(|number| one(100 + 10 * number)).collect()
}

pub async fn adding_many_beside_one_that_is_kept<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let map = fixture.map(&kind.to_string(), kind).await;
        let shards = [fixture.shard(&map, 0).await, fixture.shard(&map, 1).await];
        let high = |low| (kind == ShardMapKind::Range).then_some(low + 10);
        let kept = fixture.mapping(&map, record(&shards[0], 0, high(0))).await;
        let elsewhere = fixture.mapping(&map, record(&shards[1], 10, high(10))).await;
        let new = many(&shards[0], kind, 40);
        // Not yet readable: of an operation of another shard, so that this one's shard is free.
        let hidden = add(&map, &record(&shards[1], 20, high(20)));
        let never = record(&shards[0], 30, high(30));
        for (about, other) in [("unknown", &never), ("of another shard", &elsewhere)] {
            let operation = add_beside(&map, other, &shards[0], &new);
            fixture.begin_refused(&operation, Refusal::MappingDoesNotExist, &format!("{kind}, {about}")).await;
        }
        let (leaving, moved) = update(&map, &kept, MappingStatus::Offline, &shards[0], NONE);
        fixture.perform(&leaving).await;
        let operation = add_beside(&map, &kept, &shards[0], &new);
        fixture.begin_refused(&operation, Refusal::MappingDoesNotExist, &format!("{kind}, by its old id")).await;
        fixture.start(&hidden).await;
        let shardlet::gsm::OperationSteps::Mappings { steps, .. } = &hidden.steps else { panic!("no mappings") };
        let MappingStep::Add { mapping: unreadable, .. } = &steps[0] else { panic!("nothing added") };
        let before = fixture.state().await;
        for shard in [&shards[0], &shards[1]] {
            let result = fixture.begin(&add_beside(&map, unreadable, shard, &new)).await;
            if shard.id() == shards[0].id() {
                refused(result, Refusal::MappingDoesNotExist, &format!("{kind}, not yet readable"));
            } else {
                assert_eq!(pending(result, "its shard is being changed").id, hidden.id);
            }
            assert_eq!(fixture.state().await, before, "{kind}");
        }
        fixture.end(&hidden, Direction::Undo).await.unwrap();

        // Offline and locked, it is kept as well: nothing is done to it.
        let token = LockToken::random();
        let _ = fixture.store().change_lock(map.id(), &LockChange::Lock(moved.id, token)).await.unwrap();
        let operation = add_beside(&map, &moved, &shards[0], &new);
        begun(fixture.begin(&operation).await, "many");
        begun(fixture.begin(&operation).await, "many, again");
        assert_eq!(fixture.visible(&map).await.len(), 2, "{kind}: nothing is readable before the end");
        // It is not stamped; so its lock may change meanwhile.
        let change = LockChange::Unlock(moved.id, token);
        let outcome = fixture.store().change_lock(map.id(), &change).await.unwrap();
        assert!(matches!(outcome, shardlet::gsm::LockOutcome::Changed(1)), "{kind}: {outcome:?}");
        let met = pending(fixture.begin(&add(&map, &new[39].clone())).await, "its shard");
        assert_eq!((met.id, met.code), (operation.id, 14), "{kind}");
        let on_other = |low| add(&map, &record(&shards[1], low, high(low)));
        for low in [100, 300, 490] {
            assert_eq!(pending(fixture.begin(&on_other(low)).await, "one of its keys").id, operation.id, "{kind}");
        }
        begun(fixture.begin(&on_other(500)).await, "beside its keys");
    }
}

pub async fn one_of_many_that_collides_refuses_all<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let map = fixture.map(&kind.to_string(), kind).await;
        let shards = [fixture.shard(&map, 0).await, fixture.shard(&map, 1).await, fixture.shard(&map, 2).await];
        let high = |low| (kind == ShardMapKind::Range).then_some(low + 10);
        let refusal = match kind {
            ShardMapKind::List => Refusal::MappingPointAlreadyMapped,
            ShardMapKind::Range => Refusal::MappingRangeAlreadyMapped,
        };
        let kept = fixture.mapping(&map, record(&shards[0], 0, high(0))).await;
        let new = many(&shards[0], kind, 30);
        for (shard, low) in [(0, 100), (1, 250), (2, 390)] {
            let taken = fixture.mapping(&map, offline(record(&shards[shard], low, high(low)))).await;
            let about = format!("{kind}, {low} is on shard {shard}");
            fixture.begin_refused(&add_beside(&map, &kept, &shards[0], &new), refusal, &about).await;
            fixture.perform(&remove(&map, &taken, NONE)).await;
        }
        let itself = [new.clone(), vec![record(&shards[0], 0, high(0))]].concat();
        let operation = add_beside(&map, &kept, &shards[0], &itself);
        fixture.begin_refused(&operation, refusal, &format!("{kind}, the keys of the kept one")).await;

        // What an unfinished operation holds can get free; what none holds decides, wherever it stands.
        let _ = fixture.mapping(&map, record(&shards[1], 390, high(390))).await;
        let other = add(&map, &record(&shards[2], 100, high(100)));
        fixture.start(&other).await;
        let before = fixture.state().await;
        let operation = add_beside(&map, &kept, &shards[0], &new);
        refused(fixture.begin(&operation).await, refusal, &format!("{kind}, one held and one mapped"));
        let operation = add_beside(&map, &kept, &shards[0], &new[..29]);
        assert_eq!(pending(fixture.begin(&operation).await, "one held").id, other.id, "{kind}");
        assert_eq!(fixture.state().await, before, "{kind}");
        fixture.end(&other, Direction::Undo).await.unwrap();
        begun(fixture.begin(&operation).await, "after the undo");
    }
}

pub async fn a_refused_step_takes_back_those_before_it<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::Range).await;
    let shard = fixture.shard(&map, 0).await;
    let mapping = fixture.mapping(&map, record(&shard, 0, Some(10))).await;
    let unknown = record(&shard, 10, Some(20));
    let merged = record(&shard, 0, Some(20));
    let merge = replace(OperationCode::MergeMappings, &map, &[(&mapping, NONE), (&unknown, NONE)], &[&merged]);
    fixture.begin_refused(&merge, Refusal::MappingDoesNotExist, "the second source").await;
    let step = |mapping: &MappingRecord| MappingStep::Add { mapping: mapping.clone(), validate: true };
    let steps = vec![step(&record(&shard, 50, Some(60))), step(&record(&shard, 5, Some(6)))];
    let adds = on_mappings(OperationCode::AddRangeMapping, &map, (&shard, &shard), steps);
    fixture.begin_refused(&adds, Refusal::MappingRangeAlreadyMapped, "the second addition").await;
    assert_eq!(fixture.visible(&map).await.len(), 1);
    fixture.perform(&add(&map, &record(&shard, 50, Some(60)))).await;
}

pub async fn rows_of_another_operation_are_pending<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (map, other) = (fixture.map("map", ShardMapKind::Range).await, fixture.map("other", ShardMapKind::Range).await);
    let shards = [fixture.shard(&map, 0).await, fixture.shard(&map, 1).await];
    let other_shard = fixture.shard(&other, 0).await;
    let mapping = fixture.mapping(&map, offline(record(&shards[0], 0, Some(10)))).await;
    let first = remove(&map, &mapping, NONE);
    fixture.start(&first).await;
    let entry = fixture.store().pending_operations().await.unwrap().remove(0);

    let before = fixture.state().await;
    let on = |shard: &Shard, low: i32| record(shard, low, Some(low + 10));
    for (about, operation) in [
        ("an addition to the shard", add(&map, &on(&shards[0], 20))),
        ("the same removal", remove(&map, &mapping, NONE)),
        ("a move away", update(&map, &mapping, MappingStatus::Offline, &shards[1], NONE).0),
        ("a move to the shard", update(&map, &on(&shards[1], 30), MappingStatus::Offline, &shards[0], NONE).0),
        ("an addition of its keys elsewhere", add(&map, &on(&shards[1], 5))),
    ] {
        let met = pending(fixture.begin(&operation).await, about);
        assert_eq!(met, entry, "{about}");
        assert_eq!(fixture.state().await, before, "{about}");
    }
    begun(fixture.begin(&first).await, "the operation itself");
    begun(fixture.begin(&add(&map, &on(&shards[1], 20))).await, "another shard");
    begun(fixture.begin(&add(&other, &on(&other_shard, 0))).await, "another map");
    fixture.end(&first, Direction::Undo).await.unwrap();
    begun(fixture.begin(&remove(&map, &mapping, NONE)).await, "after the undo");
}

/// Marks a shard in the global store.
async fn mark<E: Environment>(fixture: &Fixture<E>, map: &ShardMapInfo, shard: &Shard, status: ShardStatus) {
    let step = ShardStep::Update(shard.clone(), marked(shard, status));
    fixture.perform(&on_shard(OperationCode::UpdateShard, map, step)).await;
}

fn marked(shard: &Shard, status: ShardStatus) -> Shard {
    let new = at_new_version(shard);
    Shard::new(new.id(), new.version(), new.shard_map_id(), new.location().clone(), status)
}

async fn current<E: Environment>(fixture: &Fixture<E>, map: &ShardMapInfo, shard: &Shard) -> Shard {
    fixture.store().find_shard(map.id(), shard.location()).await.unwrap().unwrap()
}

pub async fn a_shard_that_is_marked_offline_takes_no_new_mappings<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let high = |high| (kind == ShardMapKind::Range).then_some(high);
        let map = fixture.map(&kind.to_string(), kind).await;
        let (disabled, other) = (fixture.shard(&map, 0).await, fixture.shard(&map, 1).await);
        let kept = fixture.mapping(&map, record(&disabled, 0, high(10))).await;
        let away = fixture.mapping(&map, offline(record(&disabled, 10, high(20)))).await;
        let elsewhere = fixture.mapping(&map, offline(record(&other, 100, high(110)))).await;
        let online_elsewhere = fixture.mapping(&map, record(&other, 110, high(120))).await;
        // The handle that a caller presents may have been read before.
        let before = current(&fixture, &map, &disabled).await;
        mark(&fixture, &map, &before, ShardStatus::Offline).await;
        let many = [record(&disabled, 20, high(30)), record(&disabled, 30, high(40))];
        let moved = |mapping, status| update(&map, mapping, status, &disabled, NONE).0;
        for (about, operation) in [
            ("one", add(&map, &many[0])),
            ("one that is offline", add(&map, &offline(many[1].clone()))),
            ("many", add_beside(&map, &kept, &disabled, &many)),
            ("one that is mapped already", add(&map, &record(&disabled, 0, high(10)))),
            ("a move to it", moved(&elsewhere, MappingStatus::Offline)),
            ("a move to it that goes online", moved(&elsewhere, MappingStatus::Online)),
            ("a move to it that goes offline", moved(&online_elsewhere, MappingStatus::Offline)),
        ] {
            fixture.begin_refused(&operation, Refusal::ShardIsDisabled, &format!("{kind}: {about}")).await;
        }

        // What is there already is changed as ever, and may go.
        let (operation, went) = update(&map, &kept, MappingStatus::Offline, &disabled, NONE);
        fixture.perform(&operation).await;
        let (operation, back) = update(&map, &went, MappingStatus::Online, &disabled, NONE);
        fixture.perform(&operation).await;
        let (operation, moved) = update(&map, &away, MappingStatus::Offline, &other, NONE);
        fixture.perform(&operation).await;
        let back = if kind == ShardMapKind::Range {
            let (low, up) = (record(&disabled, 0, Some(5)), record(&disabled, 5, Some(10)));
            fixture.perform(&replace(OperationCode::SplitMapping, &map, &[(&back, NONE)], &[&low, &up])).await;
            let whole = offline(record(&disabled, 0, Some(10)));
            let merge = replace(OperationCode::MergeMappings, &map, &[(&low, NONE), (&up, NONE)], &[&whole]);
            fixture.perform(&merge).await;
            whole
        } else {
            let (operation, back) = update(&map, &back, MappingStatus::Offline, &disabled, NONE);
            fixture.perform(&operation).await;
            back
        };
        fixture.perform(&remove(&map, &back, NONE)).await;

        // Marked online again it takes them.
        let now = current(&fixture, &map, &disabled).await;
        assert_eq!(now.status(), ShardStatus::Offline);
        mark(&fixture, &map, &now, ShardStatus::Online).await;
        fixture.perform(&update(&map, &moved, MappingStatus::Offline, &disabled, NONE).0).await;
        let first = fixture.mapping(&map, record(&disabled, 20, high(30))).await;
        fixture.perform(&add_beside(&map, &first, &disabled, &many[1..])).await;
        fixture.assert_free(&map, "in the end").await;
    }
}

/// Marking a shard and adding to it exclude each other: what has begun is not refused by a mark that comes later, and who comes while
/// the mark is being set meets that operation.
pub async fn a_mark_and_an_addition_wait_for_each_other<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let (shard, other) = (fixture.shard(&map, 0).await, fixture.shard(&map, 1).await);
    let elsewhere = fixture.mapping(&map, offline(record(&other, 100, None))).await;
    let marking = |shard: &Shard, status| {
        on_shard(OperationCode::UpdateShard, &map, ShardStep::Update(shard.clone(), marked(shard, status)))
    };
    let adding = add(&map, &record(&shard, 1, None));
    fixture.start(&adding).await;
    let offline = marking(&shard, ShardStatus::Offline);
    assert_eq!(pending(fixture.begin(&offline).await, "an addition is under way").id, adding.id);
    fixture.end(&adding, Direction::Do).await.unwrap();

    let offline = marking(&current(&fixture, &map, &shard).await, ShardStatus::Offline);
    fixture.start(&offline).await;
    let moving = update(&map, &elsewhere, MappingStatus::Offline, &shard, NONE).0;
    for operation in [&add(&map, &record(&shard, 2, None)), &moving] {
        assert_eq!(pending(fixture.begin(operation).await, "the mark is being set").id, offline.id);
    }
    fixture.end(&offline, Direction::Do).await.unwrap();
    fixture.begin_refused(&moving, Refusal::ShardIsDisabled, "the mark is set").await;
    let online = marking(&current(&fixture, &map, &shard).await, ShardStatus::Online);
    fixture.start(&online).await;
    assert_eq!(pending(fixture.begin(&moving).await, "the mark is being taken away").id, online.id);
    fixture.end(&online, Direction::Do).await.unwrap();
    fixture.perform(&moving).await;
    fixture.assert_free(&map, "in the end").await;
}
