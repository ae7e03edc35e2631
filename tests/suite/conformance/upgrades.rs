//! Upgrades of stores to the current version.

use shardlet::gsm::{GlobalStore, OperationCode, ShardStep};
use shardlet::lsm::{LocalStep, LocalStore, ShardAction};
use shardlet::{
    ErrorCode, ErrorKind, OperationId, Place, Shard, ShardMapInfo, ShardMapKind, StoreUpgrade, StoreVersion,
};

use super::Access;
use super::fixture::{Fixture, at_new_version, local_change, map_named, on_shard, record};

fn version(major: i32, minor: i32) -> StoreVersion {
    StoreVersion { major, minor }
}

/// A global store with a shard, a mapping and a pending operation, and the shard's local store with the same.
async fn filled<E: Access>() -> (Fixture<E>, ShardMapInfo, Shard) {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let shard = fixture.shard(&map, 0).await;
    let mapping = fixture.mapping(&map, record(&shard, 1, None)).await;
    let _ = fixture.change_shard(&map, &shard, ShardAction::Add).await.unwrap();
    let change = local_change(OperationId::random(), &at_new_version(&shard), vec![LocalStep::Add(mapping)]);
    fixture.send_mapping_change(&change).await.unwrap();
    let adding = on_shard(OperationCode::AddShard, &map, ShardStep::Add(fixture.new_shard(&map, 1)));
    fixture.start(&adding).await;
    (fixture, map, shard)
}

/// Gives a store an older version.
async fn set<E: Access>(fixture: &Fixture<E>, place: &Place, older: StoreVersion) {
    match older.minor {
        0 => fixture.environment.set_version_1_0(place).await,
        minor => fixture.environment.set_version(place, 1, minor).await,
    }
}

pub async fn older_stores_get_the_current_version_and_keep_their_rows<E: Access>() {
    let (fixture, map, shard) = filled::<E>().await;
    let (store, location) = (fixture.store(), shard.location());
    let before = (fixture.state().await, fixture.local_state(0).await);
    for older in [version(1, 0), version(1, 1)] {
        set(&fixture, &Place::Global, older).await;
        set(&fixture, &Place::Shard(location.clone()), older).await;
        let done = StoreUpgrade::new(older, StoreVersion::CURRENT);
        assert_eq!(store.upgrade_global().await.unwrap(), done);
        assert_eq!(store.global_version().await.unwrap(), Some(StoreVersion::CURRENT));
        assert_eq!(store.upgrade_local(location).await.unwrap(), done);
        assert_eq!(store.local_version(location).await.unwrap(), Some(StoreVersion::CURRENT));
        assert_eq!((fixture.state().await, fixture.local_state(0).await), before, "{older}");
    }
    // They work on.
    let _ = fixture.shard(&map, 2).await;
    let _ = fixture.change_shard(&map, &at_new_version(&shard), ShardAction::Update).await.unwrap();
}

pub async fn stores_that_are_not_older_are_left_alone<E: Access>() {
    let (fixture, _, shard) = filled::<E>().await;
    let (store, location) = (fixture.store(), shard.location());
    let before = (fixture.state().await, fixture.local_state(0).await);
    for newer in [version(1, 2), version(1, 3), version(1, 77)] {
        for place in [Place::Global, Place::Shard(location.clone())] {
            fixture.environment.set_version(&place, newer.major, newer.minor).await;
        }
        let nothing = StoreUpgrade::new(newer, newer);
        assert!(!nothing.is_change());
        assert_eq!(store.upgrade_global().await.unwrap(), nothing);
        assert_eq!(store.upgrade_local(location).await.unwrap(), nothing);
        assert_eq!(store.global_version().await.unwrap(), Some(newer));
        assert_eq!(store.local_version(location).await.unwrap(), Some(newer));
        assert_eq!((fixture.state().await, fixture.local_state(0).await), before, "{newer}");
    }
}

pub async fn stores_of_another_major_version_are_not_upgraded<E: Access>() {
    let (fixture, _, shard) = filled::<E>().await;
    let (store, location) = (fixture.store(), shard.location());
    let before = (fixture.state().await, fixture.local_state(0).await);
    for other in [version(0, 9), version(2, 0)] {
        for place in [Place::Global, Place::Shard(location.clone())] {
            fixture.environment.set_version(&place, other.major, other.minor).await;
        }
        for (code, error) in [
            (ErrorCode::GlobalStoreVersionMismatch, store.upgrade_global().await.unwrap_err()),
            (ErrorCode::LocalStoreVersionMismatch, store.upgrade_local(location).await.unwrap_err()),
        ] {
            assert_eq!((error.kind(), error.code()), (ErrorKind::VersionMismatch, code), "{error}");
        }
        assert_eq!(store.global_version().await.unwrap(), Some(other), "nothing was changed");
        assert_eq!(store.local_version(location).await.unwrap(), Some(other), "nothing was changed");
    }
    for place in [Place::Global, Place::Shard(location.clone())] {
        fixture.environment.set_version(&place, 1, 2).await;
    }
    assert_eq!((fixture.state().await, fixture.local_state(0).await), before, "nothing was changed");
}

pub async fn where_there_is_no_store_there_is_no_upgrade<E: Access>() {
    let environment = E::fresh(shardlet::Timeouts::default()).await;
    let (store, location) = (environment.backend(), environment.location(0));
    let error = store.upgrade_global().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ShardMapManagerStoreDoesNotExist, "{error}");
    assert_eq!(store.global_version().await.unwrap(), None, "none was installed");
    environment.make_database(&location).await;
    let error = store.upgrade_local(&location).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist), "{error}");
    assert_eq!(error.place(), Some(&Place::Shard(location.clone())));
    assert_eq!(store.local_version(&location).await.unwrap(), None, "none was installed");
}

pub async fn many_clients_at_once_succeed<E: Access>() {
    let (fixture, _, shard) = filled::<E>().await;
    let (store, location) = (fixture.store(), shard.location());
    let before = (fixture.state().await, fixture.local_state(0).await);
    for older in [version(1, 0), version(1, 1)] {
        set(&fixture, &Place::Global, older).await;
        set(&fixture, &Place::Shard(location.clone()), older).await;
        let global = || store.upgrade_global();
        let local = || store.upgrade_local(location);
        let (a, b, c, d, e) = tokio::join!(global(), global(), local(), local(), global());
        for done in [a, b, c, d, e] {
            let done = done.unwrap();
            assert!(done.from >= older && done.to == StoreVersion::CURRENT, "{done}");
        }
        assert_eq!((fixture.state().await, fixture.local_state(0).await), before, "{older}");
    }
    let _ = fixture.local_shard(&map_named("other", ShardMapKind::List), 2).await;
}
