//! Locks on mappings and the tokens that own them.

use shardlet::{
    ErrorCategory, ErrorCode, ErrorKind, LockToken, MappingStatus, MappingUpdate, NoCredentials, ShardMap, Sqlite,
    Validation,
};

use super::{Handle, refused};
use crate::support::contents::contents;
use crate::support::{manager, shards};

const WRONG_OWNER: (ErrorKind, ErrorCode) = (ErrorKind::Locked, ErrorCode::MappingLockOwnerIdDoesNotMatch);

async fn locking_and_unlocking<M: Handle>(map: &ShardMap<M, Sqlite>, mapping: M, key: &M::Key) {
    let (token, other) = (LockToken::random(), LockToken::random());
    assert_eq!(map.mapping_lock_owner(&mapping).await.unwrap(), LockToken::NONE);
    for (case, bad) in [("force unlock", LockToken::FORCE_UNLOCK), ("none", LockToken::NONE)] {
        let locked = map.lock_mapping(mapping.clone(), bad).await;
        let _ = refused(locked, ErrorKind::InvalidInput, ErrorCode::InvalidArgument, case);
    }
    let before = contents(map.manager()).await;
    let locked = map.lock_mapping(mapping.clone(), token).await.unwrap();
    assert_eq!(locked.state_id(), mapping.state_id(), "locking keeps the id");
    assert_eq!(map.mapping_for_key(key).await.unwrap().state_id(), mapping.state_id());
    assert_eq!(map.mapping_lock_owner(&mapping).await.unwrap(), token);
    let _ = map.open_connection_for_key(key, &NoCredentials, Validation::Validate).await.expect("locks do not route");

    for again in [token, other] {
        let twice = map.lock_mapping(mapping.clone(), again).await;
        let _ = refused(twice, ErrorKind::Locked, ErrorCode::MappingIsAlreadyLocked, "twice");
    }
    for (case, wrong) in [("none", LockToken::NONE), ("another", other)] {
        let unlocked = map.unlock_mapping(mapping.clone(), wrong).await;
        let _ = refused(unlocked, WRONG_OWNER.0, WRONG_OWNER.1, case);
    }
    assert_eq!(map.mapping_lock_owner(&mapping).await.unwrap(), token);
    let unlocked = map.unlock_mapping(locked, token).await.unwrap();
    assert_eq!(map.mapping_lock_owner(&unlocked).await.unwrap(), LockToken::NONE);
    assert_eq!(contents(map.manager()).await, before, "lock and unlock leave no trace");

    // An unlocked mapping: only the owner that it does not have, or force, may unlock it.
    let refusal = map.unlock_mapping(unlocked.clone(), token).await;
    let _ = refused(refusal, WRONG_OWNER.0, WRONG_OWNER.1, "unlock of what is not locked");
    let _ = map.unlock_mapping(unlocked.clone(), LockToken::FORCE_UNLOCK).await.unwrap();

    let locked = map.lock_mapping(unlocked, token).await.unwrap();
    let free = map.unlock_mapping(locked, LockToken::FORCE_UNLOCK).await.unwrap();
    assert_eq!(map.mapping_lock_owner(&free).await.unwrap(), LockToken::NONE);
    let _ = map.mark_mapping_offline(free).await.expect("what force unlocked is free");
}

#[tokio::test]
async fn points_are_locked_and_unlocked() {
    let map = manager().await.create_list_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 1).await;
    let mapping = map.create_mapping(1, &on[0]).await.unwrap();
    locking_and_unlocking(&map, mapping, &1).await;
}

#[tokio::test]
async fn ranges_are_locked_and_unlocked() {
    let map = manager().await.create_range_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 1).await;
    let mapping = map.create_mapping(1..5, &on[0]).await.unwrap();
    locking_and_unlocking(&map, mapping, &3).await;
}

#[tokio::test]
async fn a_locked_mapping_is_changed_by_its_owner_only() {
    let map = manager().await.create_range_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 2).await;
    let mapping = map.create_mapping(1..20, &on[0]).await.unwrap();
    let beside = map.create_mapping(20..30, &on[0]).await.unwrap();
    let token = LockToken::random();
    let locked = map.lock_mapping(mapping.clone(), token).await.unwrap();
    let before = contents(map.manager()).await;
    for (case, presented) in
        [("none", LockToken::NONE), ("another", LockToken::random()), ("force", LockToken::FORCE_UNLOCK)]
    {
        let handle = || mapping.clone().holding(presented);
        let offline_and_move = MappingUpdate::new().status(MappingStatus::Offline).shard(&on[1]);
        for (call, outcome) in [
            ("offline", map.mark_mapping_offline(handle()).await.map(|_| ())),
            ("online", map.mark_mapping_online(handle()).await.map(|_| ())),
            ("move", map.update_mapping(handle(), &offline_and_move).await.map(|_| ())),
            ("delete", map.delete_mapping(handle()).await),
            ("split", map.split_mapping(handle(), 10).await.map(|_| ())),
            ("merge", map.merge_mappings(handle(), beside.clone()).await.map(|_| ())),
        ] {
            let error = refused(outcome, WRONG_OWNER.0, WRONG_OWNER.1, &format!("{call} with {case}"));
            assert_eq!(error.category(), ErrorCategory::RangeShardMap, "{call} with {case}");
        }
        assert_eq!(contents(map.manager()).await, before, "{case}");
    }
    // A token for a mapping that nobody has locked is as wrong.
    let refusal = map.mark_mapping_offline(beside.clone().holding(token)).await;
    let _ = refused(refusal, WRONG_OWNER.0, WRONG_OWNER.1, "a token for an unlocked mapping");

    let offline = map.mark_mapping_offline(locked).await.unwrap();
    assert_eq!(map.mapping_lock_owner(&offline).await.unwrap(), token, "an update keeps the lock");
    assert_ne!(offline, mapping);
    let moved = map.move_mapping(offline, &on[1]).await.unwrap();
    assert_eq!(map.mapping_lock_owner(&moved).await.unwrap(), token, "a move keeps the lock");
    let read_again = map.mapping_for_key(&5).await.unwrap();
    let refusal = map.delete_mapping(read_again).await;
    let _ = refused(refusal, WRONG_OWNER.0, WRONG_OWNER.1, "a handle that was read anew presents nothing");
    map.delete_mapping(moved).await.unwrap();
}

#[tokio::test]
async fn points_are_changed_by_their_owner_only() {
    let map = manager().await.create_list_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 1).await;
    let mapping = map.create_mapping(1, &on[0]).await.unwrap();
    let token = LockToken::random();
    let _ = map.lock_mapping(mapping.clone(), token).await.unwrap();
    let error = refused(map.mark_mapping_offline(mapping.clone()).await, WRONG_OWNER.0, WRONG_OWNER.1, "offline");
    assert_eq!(error.category(), ErrorCategory::ListShardMap);
    let offline = map.mark_mapping_offline(mapping.holding(token)).await.unwrap();
    let refusal = map.delete_mapping(offline.clone().holding(LockToken::NONE)).await;
    let _ = refused(refusal, WRONG_OWNER.0, WRONG_OWNER.1, "delete");
    map.delete_mapping(offline).await.unwrap();
}

#[tokio::test]
async fn split_and_merge_keep_locks() {
    let map = manager().await.create_range_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 1).await;
    let whole = map.create_mapping(1..20, &on[0]).await.unwrap();
    let (left_token, right_token) = (LockToken::random(), LockToken::random());
    let whole = map.lock_mapping(whole, left_token).await.unwrap();
    let (low, high) = map.split_mapping(whole, 10).await.unwrap();
    for part in [&low, &high] {
        assert_eq!(map.mapping_lock_owner(part).await.unwrap(), left_token, "{part}");
    }
    let high = map.unlock_mapping(high, left_token).await.unwrap();
    assert_eq!(map.mapping_lock_owner(&low).await.unwrap(), left_token, "each part has a lock of its own");
    let high = map.lock_mapping(high, right_token).await.unwrap();

    let before = contents(map.manager()).await;
    for (case, left, right) in [
        ("no tokens", LockToken::NONE, LockToken::NONE),
        ("left only", left_token, LockToken::NONE),
        ("right only", LockToken::NONE, right_token),
        ("exchanged", right_token, left_token),
        ("left for both", left_token, left_token),
    ] {
        let merged = map.merge_mappings(low.clone().holding(left), high.clone().holding(right)).await;
        let _ = refused(merged, WRONG_OWNER.0, WRONG_OWNER.1, case);
        assert_eq!(contents(map.manager()).await, before, "{case}");
    }
    let whole = map.merge_mappings(low, high).await.unwrap();
    assert_eq!(map.mapping_lock_owner(&whole).await.unwrap(), left_token, "the left one's lock");
    let whole = map.unlock_mapping(whole, left_token).await.unwrap();
    assert_eq!(map.mapping_lock_owner(&whole).await.unwrap(), LockToken::NONE);
}

async fn unlocking_all_of_a_token<M: Handle>(map: &ShardMap<M, Sqlite>) {
    let mappings = map.mappings().await.unwrap();
    assert_eq!(mappings.len(), 10);
    let (ours, theirs) = (LockToken::random(), LockToken::random());
    for (index, mapping) in mappings.iter().enumerate() {
        let token = match index {
            0 | 3 | 4 | 9 => ours,
            5 | 6 => theirs,
            _ => continue,
        };
        let _ = map.lock_mapping(mapping.clone(), token).await.unwrap();
    }
    for (case, token) in
        [("none", LockToken::NONE), ("force", LockToken::FORCE_UNLOCK), ("unknown", LockToken::random())]
    {
        assert_eq!(map.unlock_mappings(token).await.unwrap(), 0, "{case}");
    }
    assert_eq!(map.unlock_mappings(ours).await.unwrap(), 4);
    for (index, mapping) in mappings.iter().enumerate() {
        let expected = if matches!(index, 5 | 6) { theirs } else { LockToken::NONE };
        assert_eq!(map.mapping_lock_owner(mapping).await.unwrap(), expected, "mapping {index}");
    }
    assert_eq!(map.unlock_mappings(ours).await.unwrap(), 0, "once more");
    assert_eq!(map.unlock_mappings(theirs).await.unwrap(), 2);
}

#[tokio::test]
async fn all_mappings_of_a_token_are_unlocked_and_no_others() {
    let manager = manager().await;
    let list = manager.create_list_shard_map::<i32>("list").await.unwrap();
    let range = manager.create_range_shard_map::<i32>("range").await.unwrap();
    let (point_shards, range_shards) = (shards(&list, 1).await, shards(&range, 1).await);
    for key in 0..10 {
        let _ = list.create_mapping(key, &point_shards[0]).await.unwrap();
        let _ = range.create_mapping(key..key + 1, &range_shards[0]).await.unwrap();
    }
    unlocking_all_of_a_token(&list).await;
    unlocking_all_of_a_token(&range).await;
    // A token that locks in two maps is freed in the one that is asked.
    let token = LockToken::random();
    let point = list.lock_mapping(list.mapping_for_key(&1).await.unwrap(), token).await.unwrap();
    let _ = range.lock_mapping(range.mapping_for_key(&1).await.unwrap(), token).await.unwrap();
    assert_eq!(range.unlock_mappings(token).await.unwrap(), 1);
    assert_eq!(list.mapping_lock_owner(&point).await.unwrap(), token);
}

#[tokio::test]
async fn stale_handles_neither_lock_nor_unlock() {
    let map = manager().await.create_list_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 1).await;
    let stale = map.create_mapping(1, &on[0]).await.unwrap();
    let current = map.mark_mapping_offline(stale.clone()).await.unwrap();
    let token = LockToken::random();
    for (case, outcome) in [
        ("lock", map.lock_mapping(stale.clone(), token).await.map(|_| ())),
        ("unlock", map.unlock_mapping(stale.clone(), LockToken::FORCE_UNLOCK).await.map(|_| ())),
        ("owner", map.mapping_lock_owner(&stale).await.map(|_| ())),
    ] {
        let error = refused(outcome, ErrorKind::Stale, ErrorCode::MappingDoesNotExist, case);
        assert_eq!(error.category(), ErrorCategory::ListShardMap, "{case}");
    }
    assert_eq!(map.mapping_lock_owner(&current).await.unwrap(), LockToken::NONE);
    assert_eq!(
        map.cached_mapping(&1),
        Some(current),
        "a stale handle does not drop the current mapping from the cache"
    );
}

#[tokio::test]
async fn of_many_that_lock_at_once_one_succeeds() {
    let map = manager().await.create_list_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 1).await;
    let mapping = map.create_mapping(1, &on[0]).await.unwrap();
    let attempts = (0..8).map(|_| {
        let (map, mapping, token) = (map.clone(), mapping.clone(), LockToken::random());
        tokio::spawn(async move { map.lock_mapping(mapping, token).await.map(|_| token) })
    });
    let mut owners = Vec::new();
    for outcome in futures::future::join_all(attempts).await {
        match outcome.unwrap() {
            Ok(token) => owners.push(token),
            Err(error) => assert_eq!(error.code(), ErrorCode::MappingIsAlreadyLocked, "{error:?}"),
        }
    }
    assert_eq!(owners, [map.mapping_lock_owner(&mapping).await.unwrap()]);
}

#[test]
fn tokens_are_values_that_can_be_kept() {
    let token = LockToken::random();
    assert_ne!(token, LockToken::random());
    assert_eq!(LockToken::from(*token.as_uuid()), token);
    assert_eq!(LockToken::NONE.to_string(), "00000000-0000-0000-0000-000000000000");
    assert_eq!(LockToken::FORCE_UNLOCK.to_string(), "ffffffff-ffff-ffff-ffff-ffffffffffff");
}
