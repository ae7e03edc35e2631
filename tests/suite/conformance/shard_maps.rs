//! The global store itself, and its shard maps.

use shardlet::error::Refusal;
use shardlet::gsm::{GlobalStore, OperationCode, ShardStep};
use shardlet::lsm::ShardAction;
use shardlet::{CreateMode, ErrorCode, ErrorKind, ShardMapInfo, ShardMapKind, ShardMapName, StoreVersion, Timeouts};

use super::Environment;
use super::fixture::{Fixture, map_named, on_shard, record, refused};

pub async fn a_global_store_is_made_once_and_replaced_on_demand<E: Environment>() {
    let environment = E::fresh(Timeouts::default()).await;
    let store = environment.backend();
    assert_eq!(store.global_version().await.unwrap(), None);
    store.create_global(CreateMode::Keep).await.unwrap();
    assert_eq!(store.global_version().await.unwrap(), Some(StoreVersion::CURRENT));

    let map = map_named("map", ShardMapKind::List);
    store.add_shard_map(&map).await.unwrap();
    let error = store.create_global(CreateMode::Keep).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert_eq!(error.code(), ErrorCode::ShardMapManagerStoreAlreadyExists, "{error}");
    assert_eq!(store.shard_maps().await.unwrap(), [map]);

    store.create_global(CreateMode::Replace).await.unwrap();
    assert_eq!(store.global_version().await.unwrap(), Some(StoreVersion::CURRENT));
    assert_eq!(store.shard_maps().await.unwrap(), []);
}

pub async fn one_of_many_clients_makes_the_global_store<E: Environment>() {
    let environment = E::fresh(Timeouts::default()).await;
    let store = environment.backend();
    let made = futures::future::join_all((0..8).map(|_| store.create_global(CreateMode::Keep))).await;
    let kinds: Vec<_> = made.iter().filter_map(|made| made.as_ref().err()).map(shardlet::Error::kind).collect();
    assert_eq!(kinds, [ErrorKind::AlreadyExists; 7]);
    assert_eq!(store.global_version().await.unwrap(), Some(StoreVersion::CURRENT));
}

pub async fn a_global_store_is_dropped_with_everything_in_it<E: Environment>() {
    let environment = E::fresh(Timeouts::default()).await;
    assert!(!environment.backend().drop_global().await.unwrap(), "there is none yet");
    assert_eq!(environment.backend().global_version().await.unwrap(), None);

    let fixture = Fixture::<E>::new().await;
    let store = fixture.store();
    let map = fixture.map("map", ShardMapKind::List).await;
    let shard = fixture.shard(&map, 0).await;
    let _ = fixture.change_shard(&map, &shard, ShardAction::Add).await.unwrap();
    let _ = fixture.mapping(&map, record(&shard, 1, None)).await;
    fixture.start(&on_shard(OperationCode::AddShard, &map, ShardStep::Add(fixture.new_shard(&map, 1)))).await;
    store.add_schema_info("map", "<Schema/>").await.unwrap();
    let local = fixture.local_state(0).await;
    assert!(store.drop_global().await.unwrap());
    assert_eq!(store.global_version().await.unwrap(), None);
    assert!(!store.drop_global().await.unwrap(), "it is gone");
    let error = store.shard_maps().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ShardMapManagerStoreDoesNotExist, "{error}");
    assert_eq!(fixture.local_state(0).await, local, "shards keep their stores");

    store.create_global(CreateMode::Keep).await.unwrap();
    assert_eq!(store.shard_maps().await.unwrap(), []);
    assert_eq!(store.schema_infos().await.unwrap(), []);
    assert_eq!(store.pending_operations().await.unwrap(), []);
    let _ = fixture.map("map", ShardMapKind::Range).await;
}

pub async fn one_of_many_clients_drops_the_global_store<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let dropped = futures::future::join_all((0..8).map(|_| fixture.store().drop_global())).await;
    let mut dropped: Vec<_> = dropped.into_iter().map(|dropped| dropped.unwrap()).collect();
    dropped.sort_unstable();
    assert_eq!(dropped, [false, false, false, false, false, false, false, true]);
    assert_eq!(fixture.store().global_version().await.unwrap(), None);
}

pub async fn requests_to_a_missing_global_store_fail<E: Environment>() {
    let environment = E::fresh(Timeouts::default()).await;
    let store = environment.backend();
    let map = map_named("map", ShardMapKind::List);
    let errors = [
        store.shard_maps().await.unwrap_err(),
        store.add_shard_map(&map).await.unwrap_err(),
        store.load_all().await.unwrap_err(),
        store.pending_operations().await.unwrap_err(),
        store.schema_infos().await.unwrap_err(),
        store.add_schema_info("map", "<Schema/>").await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.code(), ErrorCode::ShardMapManagerStoreDoesNotExist, "{error}");
    }
    assert_eq!(store.global_version().await.unwrap(), None, "none of them made it");
}

fn sorted(mut maps: Vec<ShardMapInfo>) -> Vec<ShardMapInfo> {
    maps.sort_by(|a, b| a.name().cmp(b.name()));
    maps
}

pub async fn shard_maps_are_added_found_and_listed<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let store = fixture.store();
    assert_eq!(store.shard_maps().await.unwrap(), []);
    let list = fixture.map("a list", ShardMapKind::List).await;
    let range = fixture.map("ranges: 'ß' \"表\" [😀]", ShardMapKind::Range).await;
    assert_eq!(sorted(store.shard_maps().await.unwrap()), [list.clone(), range.clone()]);
    for map in [list, range] {
        let name = ShardMapName::new(map.name()).unwrap();
        let found = store.find_shard_map(&name).await.unwrap();
        assert_eq!(found.as_ref(), Some(&map));
        assert_eq!(found.unwrap().name(), map.name(), "letter by letter");
    }
    let other = ShardMapName::new("another").unwrap();
    assert_eq!(store.find_shard_map(&other).await.unwrap(), None);
}

pub async fn names_of_shard_maps_compare_without_case_and_trailing_blanks<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("Ördér", ShardMapKind::List).await;
    for (name, found) in
        [("Ördér", true), ("öRDÉR", true), ("ördér  ", true), ("order", false), (" Ördér", false), ("Ördé", false)]
    {
        let answer = fixture.store().find_shard_map(&ShardMapName::new(name).unwrap()).await.unwrap();
        assert_eq!(answer, found.then(|| map.clone()), "{name:?}");
    }
}

pub async fn a_shard_map_is_refused_if_its_name_or_id_is_taken<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let same_id = ShardMapInfo::new(map.id(), ShardMapName::new("other").unwrap(), ShardMapKind::Range, map.key_type());
    for (about, other) in [
        ("name", map_named("map", ShardMapKind::Range)),
        ("name in other letters", map_named("MAP ", ShardMapKind::List)),
        ("id", same_id),
        ("both", map.clone()),
    ] {
        refused(fixture.store().add_shard_map(&other).await, Refusal::ShardMapExists, about);
        assert_eq!(fixture.store().shard_maps().await.unwrap(), std::slice::from_ref(&map), "{about}");
    }
}

pub async fn a_shard_map_is_removed_unless_it_has_shards<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let store = fixture.store();
    let (first, second) = (fixture.map("a", ShardMapKind::List).await, fixture.map("b", ShardMapKind::List).await);
    let shard = fixture.shard(&first, 0).await;
    refused(store.remove_shard_map(first.id()).await, Refusal::ShardMapHasShards, "a shard");
    store.remove_shard_map(second.id()).await.unwrap();
    refused(store.remove_shard_map(second.id()).await, Refusal::ShardMapDoesNotExist, "removed before");
    assert_eq!(store.shard_maps().await.unwrap(), std::slice::from_ref(&first));

    fixture.perform(&on_shard(OperationCode::RemoveShard, &first, ShardStep::Remove(shard))).await;
    let adding = on_shard(OperationCode::AddShard, &first, ShardStep::Add(fixture.new_shard(&first, 1)));
    fixture.start(&adding).await;
    refused(store.remove_shard_map(first.id()).await, Refusal::ShardMapHasShards, "a shard that is being added");
    fixture.end(&adding, shardlet::gsm::Direction::Undo).await.unwrap();
    store.remove_shard_map(first.id()).await.unwrap();
    assert_eq!(store.shard_maps().await.unwrap(), []);
}
