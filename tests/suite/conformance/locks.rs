//! Locks on mappings, and the lock of an operation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use shardlet::error::Refusal;
use shardlet::gsm::{Direction, GlobalSession, GlobalStore, LockChange, LockOutcome};
use shardlet::lsm::LocalStore;
use shardlet::model::MappingRecord;
use shardlet::{
    CreateMode, ErrorCode, ErrorKind, Limit, LockToken, MappingId, MappingStatus, OperationId, Result, ShardMapId,
    ShardMapInfo, ShardMapKind, Timeouts,
};

use super::Environment;
use super::fixture::{Fixture, add, map_named, record, refused, update};

async fn change<E: Environment>(fixture: &Fixture<E>, map: ShardMapId, change: LockChange) -> Result<usize> {
    match fixture.store().change_lock(map, &change).await? {
        LockOutcome::Changed(count) => Ok(count),
        outcome => panic!("{change:?}: {outcome:?}"),
    }
}

/// The owners of all mappings, in the order of keys.
async fn owners<E: Environment>(fixture: &Fixture<E>, map: &ShardMapInfo) -> Vec<LockToken> {
    let mappings = fixture.store().mappings(map, &Default::default()).await.unwrap();
    mappings.iter().map(|mapping| mapping.lock_owner).collect()
}

/// A list map with that many mappings on one shard.
async fn points<E: Environment>(fixture: &Fixture<E>, name: &str, count: i32) -> (ShardMapInfo, Vec<MappingRecord>) {
    let map = fixture.map(name, ShardMapKind::List).await;
    let shard = fixture.shard(&map, 0).await;
    let mut mappings = Vec::new();
    for point in 0..count {
        mappings.push(fixture.mapping(&map, record(&shard, point, None)).await);
    }
    (map, mappings)
}

pub async fn mappings_are_locked_and_unlocked<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (map, mappings) = points(&fixture, "map", 2).await;
    let (id, token) = (mappings[0].id, LockToken::random());
    let none = LockToken::NONE;
    for (about, step, expected) in [
        ("unlock a free one", LockChange::Unlock(id, none), none),
        ("force a free one", LockChange::Unlock(id, LockToken::FORCE_UNLOCK), none),
        ("lock", LockChange::Lock(id, token), token),
        ("unlock", LockChange::Unlock(id, token), none),
        ("lock again", LockChange::Lock(id, token), token),
        ("force", LockChange::Unlock(id, LockToken::FORCE_UNLOCK), none),
    ] {
        let before = fixture.visible(&map).await;
        assert_eq!(change(&fixture, map.id(), step).await.unwrap(), 1, "{about}");
        assert_eq!(owners(&fixture, &map).await, [expected, none], "{about}");
        assert_eq!(fixture.visible(&map).await, before, "{about}: ids do not change");
    }
}

pub async fn wrong_changes_of_locks_are_refused<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (map, mappings) = points(&fixture, "map", 2).await;
    let (other, _) = points(&fixture, "other", 1).await;
    let (id, token) = (mappings[0].id, LockToken::random());
    assert_eq!(change(&fixture, map.id(), LockChange::Lock(id, token)).await.unwrap(), 1);
    let gone = map_named("gone", ShardMapKind::List).id();
    let (stranger, unknown) = (LockToken::random(), MappingId::random());
    for (about, map, step, refusal) in [
        ("no map", gone, LockChange::Lock(id, token), Refusal::ShardMapDoesNotExist),
        ("no map", gone, LockChange::Unlock(id, token), Refusal::ShardMapDoesNotExist),
        ("no map", gone, LockChange::UnlockAll(token), Refusal::ShardMapDoesNotExist),
        ("unknown", map.id(), LockChange::Lock(unknown, token), Refusal::MappingDoesNotExist),
        ("unknown", map.id(), LockChange::Unlock(unknown, token), Refusal::MappingDoesNotExist),
        ("of another map", other.id(), LockChange::Lock(id, token), Refusal::MappingDoesNotExist),
        ("locked", map.id(), LockChange::Lock(id, stranger), Refusal::MappingIsAlreadyLocked),
        ("locked by this token", map.id(), LockChange::Lock(id, token), Refusal::MappingIsAlreadyLocked),
        ("another's", map.id(), LockChange::Unlock(id, stranger), Refusal::MappingLockOwnerIdDoesNotMatch),
        ("no token", map.id(), LockChange::Unlock(id, LockToken::NONE), Refusal::MappingLockOwnerIdDoesNotMatch),
        ("free", map.id(), LockChange::Unlock(mappings[1].id, token), Refusal::MappingLockOwnerIdDoesNotMatch),
    ] {
        refused(fixture.store().change_lock(map, &step).await, refusal, about);
    }
    assert_eq!(owners(&fixture, &map).await, [token, LockToken::NONE]);
}

pub async fn all_mappings_of_a_token_are_unlocked<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (map, mappings) = points(&fixture, "map", 5).await;
    let (other, others) = points(&fixture, "other", 1).await;
    let (mine, yours) = (LockToken::random(), LockToken::random());
    for (index, token) in [(0, mine), (1, yours), (3, mine)] {
        assert_eq!(change(&fixture, map.id(), LockChange::Lock(mappings[index].id, token)).await.unwrap(), 1);
    }
    assert_eq!(change(&fixture, other.id(), LockChange::Lock(others[0].id, mine)).await.unwrap(), 1);
    let none = LockToken::NONE;
    for (token, count, expected) in [
        (LockToken::random(), 0, [mine, yours, none, mine, none]),
        (LockToken::FORCE_UNLOCK, 0, [mine, yours, none, mine, none]),
        (mine, 2, [none, yours, none, none, none]),
        (mine, 0, [none, yours, none, none, none]),
        (yours, 1, [none; 5]),
    ] {
        assert_eq!(change(&fixture, map.id(), LockChange::UnlockAll(token)).await.unwrap(), count, "{token:?}");
        assert_eq!(owners(&fixture, &map).await, expected, "{token:?}");
    }
    assert_eq!(owners(&fixture, &other).await, [mine], "another map is left alone");
}

pub async fn an_unfinished_operation_holds_the_lock_of_its_mappings<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (map, mappings) = points(&fixture, "map", 1).await;
    let second = fixture.shard(&map, 1).await;
    let token = LockToken::random();
    assert_eq!(change(&fixture, map.id(), LockChange::Lock(mappings[0].id, token)).await.unwrap(), 1);
    let hiding = update(&map, &mappings[0], MappingStatus::Offline, &mappings[0].shard, token).0;
    let new = record(&second, 9, None);
    let adding = add(&map, &new);
    for (operation, id) in [(&hiding, mappings[0].id), (&adding, new.id)] {
        fixture.start(operation).await;
        for step in [
            LockChange::Lock(id, token),
            LockChange::Unlock(id, token),
            LockChange::Unlock(id, LockToken::FORCE_UNLOCK),
        ] {
            match fixture.store().change_lock(map.id(), &step).await.unwrap() {
                LockOutcome::Pending(entry) => assert_eq!(entry.id, operation.id, "{step:?}"),
                outcome => panic!("{step:?}: {outcome:?}"),
            }
        }
        assert_eq!(owners(&fixture, &map).await, [token]);
    }
    assert_eq!(
        change(&fixture, map.id(), LockChange::UnlockAll(token)).await.unwrap(),
        1,
        "does not look at operations"
    );
    fixture.end(&hiding, Direction::Undo).await.unwrap();
    assert_eq!(change(&fixture, map.id(), LockChange::Lock(mappings[0].id, token)).await.unwrap(), 1);
}

pub async fn the_lock_of_an_operation_keeps_others_off<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    for number in 0..2 {
        let _ = fixture.local_shard(&map, number).await;
    }
    let id = OperationId::random();
    let mut global = fixture.store().lock_operation(id).await.unwrap();
    // Whoever holds it works at the shards too; other operations go on.
    let source = fixture.store().lock_operation_at(&fixture.environment.location(0), id).await.unwrap();
    let target = fixture.store().lock_operation_at(&fixture.environment.location(1), id).await.unwrap();
    drop(fixture.store().lock_operation(OperationId::random()).await.unwrap());

    let held = Arc::new(AtomicBool::new(true));
    let (store, seen) = (fixture.store().clone(), Arc::clone(&held));
    let (waits, waiting) = tokio::sync::oneshot::channel();
    let waiter = tokio::spawn(async move {
        let mut lock = Box::pin(store.lock_operation(id));
        let first = futures::poll!(&mut lock);
        waits.send(()).unwrap();
        let lock = match first {
            Poll::Ready(lock) => lock,
            Poll::Pending => lock.await,
        };
        assert!(!seen.load(Ordering::SeqCst), "two hold it");
        lock.map(drop)
    });
    waiting.await.unwrap();
    drop((target, source));
    assert_eq!(global.find_operation(id, 100).await.unwrap(), None);
    held.store(false, Ordering::SeqCst);
    drop(global);
    waiter.await.unwrap().unwrap();
}

pub async fn the_lock_of_an_operation_is_waited_for_within_a_bound<E: Environment>() {
    let mut timeouts = Timeouts::default();
    timeouts.operation_lock = Duration::from_millis(1);
    let environment = E::fresh(timeouts).await;
    environment.backend().create_global(CreateMode::Keep).await.unwrap();
    let id = OperationId::random();
    let _held = environment.backend().lock_operation(id).await.unwrap();
    let error = environment.backend().lock_operation(id).await.unwrap_err();
    assert_eq!((error.kind(), error.limit()), (ErrorKind::TimedOut, Some(Limit::OperationLock)), "{error}");
    assert_eq!(error.code(), ErrorCode::LockNotAcquired, "{error}");
    assert!(environment.backend().lock_operation(OperationId::random()).await.is_ok(), "another operation's is free");
}
