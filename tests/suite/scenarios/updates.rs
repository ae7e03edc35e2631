//! Changing status and shard of mappings, alike for list and range maps.

use std::time::Duration;

use shardlet::{
    ErrorCode, ErrorKind, MappingStatus, MappingUpdate, NoCredentials, SessionPolicy, Shard, ShardMap, Sqlite,
    Validation,
};

use super::{Handle, refused};
use crate::support::contents::contents;
use crate::support::{location, manager, shards};
use MappingStatus::{Offline, Online};

/// A change asked for, and whether it is to another shard.
struct Step {
    case: &'static str,
    status: MappingStatus,
    moves: bool,
}

async fn every_sequence_of_updates<M: Handle>(map: &ShardMap<M, Sqlite>, mapping: M, key: &M::Key, on: &[Shard]) {
    let step = |case, status, moves| Step { case, status, moves };
    let steps = [
        step("On -> Off", Offline, false),
        step("Off -> Off", Offline, false),
        step("Off -> Off and move", Offline, true),
        step("Off -> On", Online, false),
        step("On -> Off and move", Offline, true),
        step("Off -> On and move", Online, true),
        step("On -> On", Online, false),
    ];
    let mut current = mapping;
    let mut at = 0;
    for Step { case, status, moves } in steps {
        let mut update = MappingUpdate::new().status(status);
        if moves {
            at = 1 - at;
            update = update.shard(&on[at]);
        }
        let stale = current.clone();
        current = map.update_mapping(current, &update).await.unwrap_or_else(|error| panic!("{case}: {error:?}"));
        assert_eq!((current.marked(), current.is_on().id()), (status, on[at].id()), "{case}");
        assert_ne!(current.state_id(), stale.state_id(), "{case}: the change has an id of its own");
        let found = map.mapping_for_key(key).await.unwrap();
        assert_eq!(
            (found.state_id(), found.marked(), found.is_on()),
            (current.state_id(), status, current.is_on()),
            "{case}"
        );
        assert_eq!(map.cached_mapping(key).unwrap().state_id(), current.state_id(), "{case}: the cache follows");
        assert_eq!(*current.is_on(), map.shard(&location(at)).await.unwrap(), "{case}: the shard's new version");
        let opened = map.open_connection_for_key(key, &NoCredentials, Validation::Validate).await;
        match status {
            Online => assert_eq!(opened.unwrap().location(), &location(at), "{case}"),
            Offline => drop(refused(opened, ErrorKind::Offline, ErrorCode::MappingIsOffline, case)),
        }
        let before = contents(map.manager()).await;
        let outcome = map.update_mapping(stale, &update).await;
        let _ = refused(outcome, ErrorKind::Stale, ErrorCode::MappingDoesNotExist, case);
        assert_eq!(contents(map.manager()).await, before, "{case}");
    }
    let before = contents(map.manager()).await;
    let moved = MappingUpdate::new().status(Online).shard(&on[1 - at]);
    for (case, update) in
        [("On -> On and move", moved), ("move of an online one", MappingUpdate::new().shard(&on[1 - at]))]
    {
        let outcome = map.update_mapping(current.clone(), &update).await;
        let _ = refused(outcome, ErrorKind::NotOffline, ErrorCode::MappingIsNotOffline, case);
        assert_eq!(contents(map.manager()).await, before, "{case}");
    }
    // A move to the shard where it is, is an update in place; the version of the shard does not matter.
    let same = map.update_mapping(current.clone(), &MappingUpdate::new().shard(&on[at])).await.unwrap();
    assert_eq!((same.marked(), same.is_on().id()), (Online, on[at].id()));
    let _ = map.open_connection_for_key(key, &NoCredentials, Validation::Validate).await.unwrap();
}

#[tokio::test]
async fn every_sequence_of_updates_of_a_point() {
    let map = manager().await.create_list_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 2).await;
    let _neighbour = map.create_mapping(4, &on[1]).await.unwrap();
    let mapping = map.create_mapping(5, &on[0]).await.unwrap();
    every_sequence_of_updates(&map, mapping, &5, &on).await;
}

#[tokio::test]
async fn every_sequence_of_updates_of_a_range() {
    let map = manager().await.create_range_shard_map::<i64>("m").await.unwrap();
    let on = shards(&map, 2).await;
    let _below = map.create_mapping(..0, &on[1]).await.unwrap();
    let mapping = map.create_mapping(0..10, &on[0]).await.unwrap();
    let _above = map.create_mapping(10.., &on[1]).await.unwrap();
    every_sequence_of_updates(&map, mapping, &9, &on).await;
}

#[tokio::test]
async fn a_move_to_a_deleted_shard_is_refused() {
    let map = manager().await.create_list_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 2).await;
    let mapping = map.create_mapping_with(1, &on[0], Offline).await.unwrap();
    map.delete_shard(on[1].clone()).await.unwrap();
    let before = contents(map.manager()).await;
    let moved = map.move_mapping(mapping.clone(), &on[1]).await;
    let _ = refused(moved, ErrorKind::NotFound, ErrorCode::ShardDoesNotExist, "move");
    assert_eq!(contents(map.manager()).await, before);
    assert_eq!(map.mapping_for_key(&1).await.unwrap(), mapping);
}

#[tokio::test]
async fn a_mapping_begins_as_it_is_asked_to() {
    let manager = manager().await;
    let list = manager.create_list_shard_map::<i32>("list").await.unwrap();
    let range = manager.create_range_shard_map::<i32>("range").await.unwrap();
    let (point_shards, range_shards) = (shards(&list, 1).await, shards(&range, 1).await);
    for (key, status) in [(1, Online), (2, Offline)] {
        let point = list.create_mapping_with(key, &point_shards[0], status).await.unwrap();
        let ranged = range.create_mapping_with(key..key + 1, &range_shards[0], status).await.unwrap();
        assert_eq!((point.status(), ranged.status()), (status, status));
        for opened in [
            list.open_connection_for_key(&key, &NoCredentials, Validation::Validate).await,
            range.open_connection_for_key(&key, &NoCredentials, Validation::Validate).await,
            range.open_connection_for_key(&key, &NoCredentials, Validation::None).await,
        ] {
            match status {
                Online => drop(opened.unwrap()),
                Offline => drop(refused(opened, ErrorKind::Offline, ErrorCode::MappingIsOffline, "made offline")),
            }
        }
    }
}

async fn sessions_end_as_the_policy_says<M: Handle>(map: &ShardMap<M, Sqlite>, key: &M::Key, neighbour: &M::Key) {
    let open = |key: &M::Key| {
        let (map, key) = (map.clone(), key.clone());
        async move { map.open_connection_for_key(&key, &NoCredentials, Validation::Validate).await }
    };
    for policy in [SessionPolicy::EndNow, SessionPolicy::Drain(Duration::ZERO), SessionPolicy::Leave] {
        let mut routed = open(key).await.unwrap();
        let mut beside = open(neighbour).await.unwrap();
        let mapping = map.mapping_for_key(key).await.unwrap();
        let (offline, ended) = map.mark_mapping_offline_with(mapping, policy).await.unwrap();
        assert_eq!(offline.marked(), Offline);
        let case = format!("{policy:?}");
        let _ = refused(open(key).await, ErrorKind::Offline, ErrorCode::MappingIsOffline, &case);
        let used = routed.read(|transaction| transaction.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))).await;
        if policy == SessionPolicy::Leave {
            assert_eq!((used.unwrap(), ended.ended), (1, 0), "{case}");
        } else {
            let _ = refused(used, ErrorKind::Offline, ErrorCode::SessionEnded, &case);
            assert_eq!(ended.ended, 1, "{case}");
        }
        beside.read(|_| Ok(())).await.unwrap_or_else(|error| panic!("{case}: a neighbour's session: {error:?}"));
        let _ = map.mark_mapping_online(offline).await.unwrap();
        let mut again = open(key).await.unwrap_or_else(|error| panic!("{case}: online again: {error:?}"));
        again.read(|_| Ok(())).await.unwrap();
        let later = routed.read(|_| Ok(())).await;
        assert_eq!(later.is_ok(), policy == SessionPolicy::Leave, "{case}: an ended session stays ended");
    }
}

#[tokio::test]
async fn sessions_of_a_point_end_as_the_policy_says() {
    let map = manager().await.create_list_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 1).await;
    let _ = map.create_mapping(1, &on[0]).await.unwrap();
    let _ = map.create_mapping(2, &on[0]).await.unwrap();
    sessions_end_as_the_policy_says(&map, &1, &2).await;
}

#[tokio::test]
async fn sessions_of_a_range_end_as_the_policy_says() {
    let map = manager().await.create_range_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 1).await;
    let _ = map.create_mapping(0..10, &on[0]).await.unwrap();
    let _ = map.create_mapping(10..20, &on[0]).await.unwrap();
    sessions_end_as_the_policy_says(&map, &9, &10).await;
}
