//! Mappings of list maps: single keys of every type.

use shardlet::{
    ErrorCategory, ErrorCode, ErrorKind, ListShardMap, MappingFilter, MappingStatus, MappingUpdate, NoCredentials,
    Place, PlanAction, PointMapping, ShardKey, Sqlite, Validation,
};
use uuid::Uuid;

use super::keys::{Sample, for_each_key_type};
use super::refused;
use crate::support::contents::contents;
use crate::support::probe::{Call, Probe};
use crate::support::{location, manager, shards};

async fn list_of<K: ShardKey>() -> ListShardMap<K, Sqlite> {
    manager().await.create_list_shard_map::<K>("m").await.unwrap()
}

async fn keys_are_mapped_found_and_opened<K: Sample>() {
    let map = list_of::<K>().await;
    let on = shards(&map, 2).await;
    let keys = K::ascending();
    let mut made = Vec::new();
    for (index, key) in keys.iter().enumerate().rev() {
        let mapping = map.create_mapping(key.clone(), &on[index % 2]).await.unwrap();
        let case = format!("{} {key:?}", K::KEY_TYPE);
        assert_eq!(mapping.key().encode().unwrap(), key.encode().unwrap(), "{case}");
        assert_eq!((mapping.status(), mapping.shard().id()), (MappingStatus::Online, on[index % 2].id()), "{case}");
        assert_eq!(map.cached_mapping(key).as_ref(), Some(&mapping), "{case}: what is made is cached");
        made.insert(0, mapping);
    }
    assert_eq!(map.mappings().await.unwrap(), made, "{}: the order of the keys", K::KEY_TYPE);
    for (index, (key, mapping)) in keys.iter().zip(&made).enumerate() {
        let case = format!("{} {key:?}", K::KEY_TYPE);
        assert_eq!(map.mapping_for_key(key).await.unwrap(), *mapping, "{case}");
        map.clear_cache();
        assert_eq!(map.lookup_mapping(key).await.unwrap(), *mapping, "{case}");
        let connection = map.open_connection_for_key(key, &NoCredentials, Validation::Validate).await.unwrap();
        assert_eq!(*connection.location(), location(index % 2), "{case}");
        let twice = map.create_mapping(key.clone(), &on[0]).await;
        let _ = refused(twice, ErrorKind::AlreadyExists, ErrorCode::MappingPointAlreadyMapped, &case);
    }
    for mapping in map.mappings().await.unwrap() {
        map.delete_mapping(map.mark_mapping_offline(mapping).await.unwrap()).await.unwrap();
    }
    for key in &keys {
        let _ = refused(
            map.mapping_for_key(key).await,
            ErrorKind::NotFound,
            ErrorCode::MappingNotFoundForKey,
            &format!("{} {key:?} deleted", K::KEY_TYPE),
        );
    }
}

#[tokio::test]
async fn keys_of_every_type_are_mapped_found_and_opened() {
    for_each_key_type!(keys_are_mapped_found_and_opened);
}

#[tokio::test]
async fn a_key_is_mapped_once() {
    let map = list_of::<i32>().await;
    let on = shards(&map, 2).await;
    let mapping = map.create_mapping(1, &on[0]).await.unwrap();
    for status in [MappingStatus::Online, MappingStatus::Offline] {
        let before = contents(map.manager()).await;
        for (case, shard) in [("same shard", &on[0]), ("other shard", &on[1])] {
            let twice = map.create_mapping_with(1, shard, status).await;
            let error = refused(twice, ErrorKind::AlreadyExists, ErrorCode::MappingPointAlreadyMapped, case);
            assert_eq!(error.category(), ErrorCategory::ListShardMap, "{case}");
            assert_eq!((error.operation(), error.shard_map()), (Some("AddPointMapping"), Some("m")), "{case}");
        }
        assert_eq!(contents(map.manager()).await, before);
        if status == MappingStatus::Online {
            let _ = map.mark_mapping_offline(mapping.clone()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn trailing_zeros_do_not_make_another_key() {
    let map = list_of::<Vec<u8>>().await;
    let on = shards(&map, 1).await;
    let mapping = map.create_mapping(vec![1, 2, 0, 0], &on[0]).await.unwrap();
    assert_eq!(mapping.key(), [1, 2]);
    for same in [vec![1, 2], vec![1, 2, 0], [vec![1, 2], vec![0; 200]].concat()] {
        assert_eq!(map.mapping_for_key(&same).await.unwrap(), mapping, "{same:?}");
        assert_eq!(map.cached_mapping(&same), Some(mapping.clone()), "{same:?}");
        let _ = refused(
            map.create_mapping(same.clone(), &on[0]).await,
            ErrorKind::AlreadyExists,
            ErrorCode::MappingPointAlreadyMapped,
            &format!("{same:?}"),
        );
    }
    assert!(map.find_mapping_for_key(&vec![1, 2, 1]).await.unwrap().is_none());
}

#[tokio::test]
async fn mappings_are_listed_by_range_by_shard_and_by_both() {
    let map = list_of::<i32>().await;
    let on = shards(&map, 3).await;
    for (key, shard) in [(10, 0), (1, 0), (5, 1)] {
        let _ = map.create_mapping(key, &on[shard]).await.unwrap();
    }
    let all = MappingFilter::all;
    let cases = [
        ("all", all(), vec![1, 5, 10]),
        ("[5, 15)", all().in_range(5..15), vec![5, 10]),
        ("[5, 10)", all().in_range(5..10), vec![5]),
        ("[6, 10)", all().in_range(6..10), vec![]),
        ("from 5", all().in_range(5..), vec![5, 10]),
        ("below 5", all().in_range(..5), vec![1]),
        ("the full range", all().in_range(..), vec![1, 5, 10]),
        ("shard 0", all().on_shard(&on[0]), vec![1, 10]),
        ("shard 2", all().on_shard(&on[2]), vec![]),
        ("[5, 15) on shard 0", all().in_range(5..15).on_shard(&on[0]), vec![10]),
        ("[5, 15) on shard 2", all().in_range(5..15).on_shard(&on[2]), vec![]),
    ];
    for (case, filter, expected) in cases {
        let found = map.mappings_matching(&filter).await.unwrap();
        assert_eq!(found.iter().map(PointMapping::key).collect::<Vec<_>>(), expected, "{case}");
    }
    for (case, low) in [("empty", 5), ("inverted", 6)] {
        let found = map.mappings_matching(&all().in_range(low..5)).await;
        let _ = refused(found, ErrorKind::InvalidInput, ErrorCode::InvalidArgument, case);
    }
    map.delete_shard(on[2].clone()).await.unwrap();
    let found = map.mappings_matching(&all().on_shard(&on[2])).await;
    let _ = refused(found, ErrorKind::NotFound, ErrorCode::ShardDoesNotExist, "a deleted shard");
}

#[tokio::test]
async fn only_an_offline_mapping_is_deleted_and_only_once() {
    let map = list_of::<i32>().await;
    let on = shards(&map, 1).await;
    let online = map.create_mapping(1, &on[0]).await.unwrap();
    let before = contents(map.manager()).await;
    let error = refused(
        map.delete_mapping(online.clone()).await,
        ErrorKind::NotOffline,
        ErrorCode::MappingIsNotOffline,
        "online",
    );
    assert_eq!((error.operation(), error.category()), (Some("RemovePointMapping"), ErrorCategory::ListShardMap));
    assert_eq!(contents(map.manager()).await, before);

    let offline = map.mark_mapping_offline(online.clone()).await.unwrap();
    let before = contents(map.manager()).await;
    let stale = map.delete_mapping(online.clone()).await;
    let _ = refused(stale, ErrorKind::Stale, ErrorCode::MappingDoesNotExist, "the handle before the update");
    assert_eq!(contents(map.manager()).await, before);
    assert_eq!(map.mapping_for_key(&1).await.unwrap(), offline);

    map.delete_mapping(offline.clone()).await.unwrap();
    let _ = refused(map.mapping_for_key(&1).await, ErrorKind::NotFound, ErrorCode::MappingNotFoundForKey, "deleted");
    assert!(map.find_mapping_for_key(&1).await.unwrap().is_none());
    let before = contents(map.manager()).await;
    for (case, outcome) in [
        ("delete twice", map.delete_mapping(offline.clone()).await.map(|()| offline.clone())),
        ("online after delete", map.mark_mapping_online(offline.clone()).await),
        ("move after delete", map.move_mapping(offline, &on[0]).await),
    ] {
        let _ = refused(outcome, ErrorKind::Stale, ErrorCode::MappingDoesNotExist, case);
    }
    assert_eq!(contents(map.manager()).await, before);
    let again = map.create_mapping(1, &on[0]).await.unwrap();
    assert_ne!(again, online);
}

#[tokio::test]
async fn one_expression_deletes_the_mapping_of_a_key() {
    let map = list_of::<i32>().await;
    let on = shards(&map, 1).await;
    let _ = map.create_mapping(25, &on[0]).await.unwrap();
    map.delete_mapping(map.mark_mapping_offline(map.mapping_for_key(&25).await.unwrap()).await.unwrap()).await.unwrap();
    assert_eq!(map.mappings().await.unwrap(), []);
}

#[tokio::test]
async fn a_mapping_of_another_map_is_refused_by_every_call() {
    let manager = manager().await;
    let map = manager.create_list_shard_map::<i32>("one").await.unwrap();
    let other = manager.create_list_shard_map::<i32>("other").await.unwrap();
    let on = shards(&map, 1).await;
    let foreign_shards = shards(&other, 1).await;
    let foreign = other.create_mapping_with(1, &foreign_shards[0], MappingStatus::Offline).await.unwrap();
    let _ = map.create_mapping(1, &on[0]).await.unwrap();
    let before = contents(&manager).await;
    let token = shardlet::LockToken::random();
    for (case, outcome) in [
        ("delete", map.delete_mapping(foreign.clone()).await.map(|_| ())),
        ("update", map.update_mapping(foreign.clone(), &MappingUpdate::new()).await.map(|_| ())),
        ("offline", map.mark_mapping_offline(foreign.clone()).await.map(|_| ())),
        ("online", map.mark_mapping_online(foreign.clone()).await.map(|_| ())),
        ("move", map.move_mapping(foreign.clone(), &on[0]).await.map(|_| ())),
        ("lock", map.lock_mapping(foreign.clone(), token).await.map(|_| ())),
        ("unlock", map.unlock_mapping(foreign.clone(), token).await.map(|_| ())),
        ("lock owner", map.mapping_lock_owner(&foreign).await.map(|_| ())),
    ] {
        let error = refused(outcome, ErrorKind::InvalidInput, ErrorCode::ForeignObject, case);
        assert_eq!(error.shard_map(), Some("one"), "{case}");
        assert!(error.operation().is_some(), "{case}");
    }
    assert_eq!(contents(&manager).await, before);
}

#[tokio::test]
async fn handles_are_values() {
    /// Long enough not to stand in an id by chance.
    const KEY: i64 = 424_242_424_242;
    let map = list_of::<i64>().await;
    let on = shards(&map, 1).await;
    let online = map.create_mapping(KEY, &on[0]).await.unwrap();
    let copy = online.clone();
    let offline = map.mark_mapping_offline(online.clone()).await.unwrap();
    assert_eq!(copy, online);
    assert_eq!(
        (copy.status(), copy.id(), copy.key()),
        (MappingStatus::Online, online.id(), KEY),
        "a handle is immutable"
    );
    assert_ne!(offline, online, "every change has an id of its own");
    assert_eq!(offline.key(), KEY);
    assert_eq!(offline.to_string(), format!("P[{}:{KEY}]", offline.id()));
    let debug = format!("{offline:?}");
    assert!(debug.contains("Offline") && debug.contains("shard_0") && !debug.contains(&KEY.to_string()), "{debug}");

    let tenants = list_of::<Uuid>().await;
    let on = shards(&tenants, 1).await;
    let tenant = Uuid::from_u128(0xab);
    let mapping = tenants.create_mapping(tenant, &on[0]).await.unwrap();
    assert_eq!(mapping.to_string(), format!("P[{}:{tenant}]", mapping.id()));
    assert!(!format!("{mapping:?}").contains(&tenant.to_string()), "logs hold no key");
    let binary = list_of::<Vec<u8>>().await;
    let on = shards(&binary, 1).await;
    let mapping = binary.create_mapping(vec![0xde, 0xad, 0], &on[0]).await.unwrap();
    assert_eq!(mapping.to_string(), format!("P[{}:0xdead]", mapping.id()));
}

#[tokio::test]
async fn plans_show_the_steps_and_take_none() {
    let map = list_of::<i32>().await;
    let on = shards(&map, 2).await;
    let at = |number| Place::Shard(location(number));
    let global = |action| (Place::Global, vec![action]);
    let around = |steps: Vec<(Place, Vec<PlanAction>)>| {
        let mut all = vec![global(PlanAction::BeginOperation)];
        all.extend(steps);
        all.push(global(PlanAction::EndOperation));
        all
    };
    let shown = |plan: &shardlet::Plan| -> Vec<(Place, Vec<PlanAction>)> {
        plan.steps().iter().map(|step| (step.place().clone(), step.actions().to_vec())).collect()
    };

    let before = contents(map.manager()).await;
    let create = map.create_mapping(1, &on[0]);
    let plan = create.plan().unwrap();
    assert_eq!(contents(map.manager()).await, before);
    let mapping = create.await.unwrap();
    assert_eq!(plan.operation(), "AddPointMapping");
    assert_eq!(shown(&plan), around(vec![(at(0), vec![PlanAction::AddMapping(mapping.id())])]));

    let before = contents(map.manager()).await;
    let update = map.mark_mapping_offline(mapping.clone());
    let plan = update.plan().unwrap();
    assert_eq!(contents(map.manager()).await, before);
    let offline = update.await.unwrap();
    assert_eq!(plan.operation(), "UpdatePointMappingMarkOffline");
    let replaced = vec![PlanAction::RemoveMapping(mapping.id()), PlanAction::AddMapping(offline.id())];
    let ended = vec![PlanAction::EndSessions(mapping.id(), shardlet::SessionPolicy::EndNow)];
    assert_eq!(shown(&plan), around(vec![(at(0), replaced), (at(0), ended)]));

    let before = contents(map.manager()).await;
    let moving = map.move_mapping(offline.clone(), &on[1]);
    let plan = moving.plan().unwrap();
    assert_eq!(contents(map.manager()).await, before);
    let moved = moving.await.unwrap();
    assert_eq!(plan.operation(), "UpdatePointMapping");
    let expected = around(vec![
        (at(0), vec![PlanAction::RemoveMapping(offline.id())]),
        (at(1), vec![PlanAction::AddMapping(moved.id())]),
    ]);
    assert_eq!(shown(&plan), expected);
    assert_eq!(
        plan.to_string(),
        format!(
            "UpdatePointMapping\n1. the global shard map: begin the operation\n2. [DataSource=server \
             Database=shard_0]: remove mapping {}\n3. [DataSource=server Database=shard_1]: add mapping {}\n4. the \
             global shard map: end the operation",
            offline.id(),
            moved.id()
        )
    );

    let before = contents(map.manager()).await;
    let nothing = map.update_mapping(moved.clone(), &MappingUpdate::new());
    assert_eq!(nothing.plan().unwrap().to_string(), "UpdatePointMapping: nothing to do");
    let delete = map.delete_mapping(moved.clone());
    let plan = delete.plan().unwrap();
    assert_eq!(plan.operation(), "RemovePointMapping");
    assert_eq!(shown(&plan), around(vec![(at(1), vec![PlanAction::RemoveMapping(moved.id())])]));
    assert_ne!(plan.id(), map.delete_mapping(moved).plan().unwrap().id(), "each operation has an id of its own");
    drop(delete);
    assert_eq!(contents(map.manager()).await, before, "what is not awaited does not happen");
}

#[tokio::test]
async fn what_needs_no_store_makes_no_request() {
    let probe = Probe::new(Sqlite::in_memory());
    let manager = shardlet::ShardMapManager::open_or_create(probe.clone(), shardlet::Options::default()).await.unwrap();
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let other = manager.create_list_shard_map::<i32>("other").await.unwrap();
    let on = shards(&map, 1).await;
    let foreign = shards(&other, 1).await;
    let mapping = map.create_mapping(1, &on[0]).await.unwrap();
    probe.reset();
    let same = map.update_mapping(mapping.clone(), &MappingUpdate::new()).await.unwrap();
    assert_eq!(same, mapping);
    let sessions = MappingUpdate::new().sessions(shardlet::SessionPolicy::Leave);
    let _ = map.update_mapping(mapping.clone(), &sessions).await.unwrap();
    let _ = map.create_mapping(2, &foreign[0]).await.unwrap_err();
    let _ = map.move_mapping(mapping.clone(), &foreign[0]).await.unwrap_err();
    let _ = map.mark_mapping_offline(mapping).plan().unwrap();
    drop(map.create_mapping(3, &on[0]));
    assert_eq!(probe.total(), 0);
    assert_eq!(probe.count(&Call::Begin), 0);
}
