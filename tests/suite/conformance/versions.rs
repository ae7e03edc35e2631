//! Versions of stores, for environments where a test can write another one.

use shardlet::gsm::{
    Direction, GlobalOperation, GlobalSession, GlobalStore, LockChange, OperationCode, RecordFilter, ShardStep,
};
use shardlet::lsm::{LocalStep, LocalStore, Route, RouteTarget, ShardAction};
use shardlet::operation::LogRecord;
use shardlet::{
    CreateMode, Error, ErrorCode, ErrorKind, LockToken, MappingId, OperationId, Options, Place, Shard, ShardMapInfo,
    ShardMapKind, ShardMapManager, ShardMapName, StoreVersion, Validation,
};

use super::Access;
use super::fixture::{Fixture, at_new_version, key, local_change, map_named, on_shard, record};

pub async fn a_database_without_a_store_has_no_version<E: Access>() {
    let fixture = Fixture::<E>::new().await;
    let location = fixture.environment.location(0);
    fixture.environment.make_database(&location).await;
    assert_eq!(fixture.store().local_version(&location).await.unwrap(), None);
    let map = map_named("map", ShardMapKind::List);
    let route = |target| Route { location: location.clone(), map: map.id(), target };
    let mapping = RouteTarget::Mapping { mapping: MappingId::random(), kind: ShardMapKind::List, key: key(1) };
    let credentials = fixture.environment.credentials();
    let error = fixture.store().open_routed(&route(mapping), &credentials, Validation::Validate).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ShardMapDoesNotExist, "to routing it is a shard without the map: {error}");
}

pub async fn adding_a_shard_installs_the_store_in_its_database<E: Access>() {
    let fixture = Fixture::<E>::new().await;
    let location = fixture.environment.location(0);
    fixture.environment.make_database(&location).await;
    let _ = fixture.local_shard(&map_named("map", ShardMapKind::List), 0).await;
    assert_eq!(fixture.store().local_version(&location).await.unwrap(), Some(StoreVersion::CURRENT));
}

fn mismatch(about: &str, error: &Error, code: ErrorCode) {
    assert_eq!((error.kind(), error.code()), (ErrorKind::VersionMismatch, code), "{about}: {error}");
}

/// Every request to a global store with a map and a shard, and to a session for a pending operation of the map.
async fn global_requests<E: Access>(
    fixture: &Fixture<E>,
    map: &ShardMapInfo,
    shard: &Shard,
    pending: &GlobalOperation,
) -> Vec<(&'static str, Option<Error>)> {
    let store = fixture.store();
    let (name, id) = (ShardMapName::new(map.name()).unwrap(), MappingId::random());
    let lock = LockChange::UnlockAll(LockToken::random());
    let removing = on_shard(OperationCode::RemoveShard, map, ShardStep::Remove(shard.clone()));
    let mut session = store.lock_operation(pending.id).await.unwrap();
    vec![
        ("shard_maps", store.shard_maps().await.err()),
        ("find_shard_map", store.find_shard_map(&name).await.err()),
        ("add_shard_map", store.add_shard_map(&map_named("new", ShardMapKind::List)).await.err()),
        ("remove_shard_map", store.remove_shard_map(map.id()).await.err()),
        ("shards", store.shards(map.id()).await.err()),
        ("find_shard", store.find_shard(map.id(), shard.location()).await.err()),
        ("shard_locations", store.shard_locations().await.err()),
        ("mappings", store.mappings(map, &RecordFilter::default()).await.err()),
        ("find_mapping_by_key", store.find_mapping_by_key(map, &key(1)).await.err()),
        ("find_mapping_by_id", store.find_mapping_by_id(map, id).await.err()),
        ("load_all", store.load_all().await.err()),
        ("describe_shard", store.describe_shard(map.id(), shard.id(), "text").await.err()),
        ("shard_descriptions", store.shard_descriptions(map.id()).await.err()),
        ("schema_infos", store.schema_infos().await.err()),
        ("find_schema_info", store.find_schema_info("kept").await.err()),
        ("add_schema_info", store.add_schema_info("new", "<a/>").await.err()),
        ("update_schema_info", store.update_schema_info("kept", "<b/>").await.err()),
        ("remove_schema_info", store.remove_schema_info("kept").await.err()),
        ("detach_shard", store.detach_shard(map.id(), shard.id()).await.err()),
        ("change_lock", store.change_lock(map.id(), &lock).await.err()),
        ("pending_operations", store.pending_operations().await.err()),
        ("begin", session.begin(&removing, &LogRecord::write(&removing)).await.err()),
        ("end", session.end(pending, Direction::Do).await.err()),
        ("find_operation", session.find_operation(pending.id, 113).await.err()),
    ]
}

/// Every request to the local store of a shard.
async fn local_requests<E: Access>(
    fixture: &Fixture<E>,
    map: &ShardMapInfo,
    shard: &Shard,
) -> Vec<(&'static str, Option<Error>)> {
    let (store, location) = (fixture.store(), shard.location());
    let other = map_named("other", ShardMapKind::List);
    let steps = vec![LocalStep::Add(record(shard, 1, None))];
    let change = local_change(OperationId::random(), &at_new_version(shard), steps);
    let route = |target| Route { location: location.clone(), map: map.id(), target };
    let to_shard = route(RouteTarget::Shard { shard: shard.id(), version: shard.version() });
    let mapping = RouteTarget::Mapping { mapping: MappingId::random(), kind: map.kind(), key: key(1) };
    let to_mapping = route(mapping);
    let credentials = fixture.environment.credentials();
    let open = async |route: &Route| store.open_routed(route, &credentials, Validation::Validate).await.err();
    vec![
        ("local_shards", store.local_shards(location).await.err()),
        ("local_mappings", store.local_mappings(location, map.id()).await.err()),
        ("open_routed to the shard", open(&to_shard).await),
        ("open_routed to a mapping", open(&to_mapping).await),
        ("add", fixture.change_shard(&other, &fixture.new_shard(&other, 0), ShardAction::Add).await.err()),
        ("update", fixture.change_shard(map, &at_new_version(shard), ShardAction::Update).await.err()),
        ("remove", fixture.change_shard(map, shard, ShardAction::Remove).await.err()),
        ("change_mappings", fixture.send_mapping_change(&change).await.err()),
    ]
}

/// Fails unless each was refused because of the version, with words of what to do.
fn all_refused(errors: Vec<(&'static str, Option<Error>)>, code: ErrorCode, advice: &str) {
    for (about, error) in errors {
        let error = error.unwrap_or_else(|| panic!("{about} worked"));
        mismatch(about, &error, code);
        assert!(error.to_string().contains(advice), "{about}: {error}");
    }
}

const ADVICE: [(i32, &str); 2] = [(0, "older than any that this library can upgrade"), (2, "this library is older")];

pub async fn a_global_store_of_another_major_version_is_refused<E: Access>() {
    for (major, advice) in ADVICE {
        let fixture = Fixture::<E>::new().await;
        let map = fixture.map("map", ShardMapKind::List).await;
        let shard = fixture.shard(&map, 0).await;
        let adding = on_shard(OperationCode::AddShard, &map, ShardStep::Add(fixture.new_shard(&map, 1)));
        fixture.start(&adding).await;
        fixture.store().add_schema_info("kept", "<a/>").await.unwrap();
        let infos = fixture.store().schema_infos().await.unwrap();
        let before = fixture.state().await;
        fixture.environment.set_version(&Place::Global, major, 9).await;
        let store = fixture.store();
        assert_eq!(store.global_version().await.unwrap(), Some(StoreVersion { major, minor: 9 }));
        let errors = global_requests(&fixture, &map, &shard, &adding).await;
        all_refused(errors, ErrorCode::GlobalStoreVersionMismatch, advice);
        fixture.environment.set_version(&Place::Global, 1, 2).await;
        assert_eq!(fixture.state().await, before, "nothing was changed");
        assert_eq!(fixture.store().schema_infos().await.unwrap(), infos, "nothing was changed");
        let undo_start = fixture.store().pending_operations().await.unwrap()[0].undo_start;
        assert_eq!(undo_start, 100, "nothing was changed");
    }
}

pub async fn a_local_store_of_another_major_version_is_refused<E: Access>() {
    for (major, advice) in ADVICE {
        let fixture = Fixture::<E>::new().await;
        let map = map_named("map", ShardMapKind::List);
        let shard = fixture.local_shard(&map, 0).await;
        let before = fixture.local_state(0).await;
        let place = Place::Shard(shard.location().clone());
        fixture.environment.set_version(&place, major, 0).await;
        let version = fixture.store().local_version(shard.location()).await.unwrap();
        assert_eq!(version, Some(StoreVersion { major, minor: 0 }));
        let errors = local_requests(&fixture, &map, &shard).await;
        all_refused(errors, ErrorCode::LocalStoreVersionMismatch, advice);
        fixture.environment.set_version(&place, 1, 2).await;
        assert_eq!(fixture.local_state(0).await, before, "nothing was changed");
    }
}

pub async fn stores_of_version_1_0_are_refused_by_all_but_an_upgrade<E: Access>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let shard = fixture.shard(&map, 0).await;
    let _ = fixture.change_shard(&map, &shard, ShardAction::Add).await.unwrap();
    let adding = on_shard(OperationCode::AddShard, &map, ShardStep::Add(fixture.new_shard(&map, 1)));
    fixture.start(&adding).await;
    let before = (fixture.state().await, fixture.local_state(0).await);
    let (store, location) = (fixture.store(), shard.location());
    let oldest = Some(StoreVersion { major: 1, minor: 0 });
    let advice = "has to be upgraded, by ShardMapManager::upgrade";

    fixture.environment.set_version_1_0(&Place::Global).await;
    assert_eq!(store.global_version().await.unwrap(), oldest);
    let errors = global_requests(&fixture, &map, &shard, &adding).await;
    all_refused(errors, ErrorCode::GlobalStoreVersionMismatch, advice);
    let opened = ShardMapManager::open(store.clone(), Options::default()).await.err();
    let tried = ShardMapManager::try_open(store.clone(), Options::default()).await.err();
    let made = ShardMapManager::open_or_create(store.clone(), Options::default()).await.err();
    let errors = vec![("open", opened), ("try_open", tried), ("open_or_create", made)];
    all_refused(errors, ErrorCode::GlobalStoreVersionMismatch, advice);
    let kept = store.create_global(CreateMode::Keep).await.unwrap_err();
    assert_eq!(kept.code(), ErrorCode::ShardMapManagerStoreAlreadyExists, "{kept}");
    assert_eq!(store.global_version().await.unwrap(), oldest, "nothing was changed");
    let _ = store.upgrade_global().await.unwrap();

    fixture.environment.set_version_1_0(&Place::Shard(location.clone())).await;
    assert_eq!(store.local_version(location).await.unwrap(), oldest);
    let errors = local_requests(&fixture, &map, &shard).await;
    all_refused(errors, ErrorCode::LocalStoreVersionMismatch, advice);
    assert_eq!(store.local_version(location).await.unwrap(), oldest, "nothing was changed");
    let _ = store.upgrade_local(location).await.unwrap();
    assert_eq!((fixture.state().await, fixture.local_state(0).await), before, "nothing was changed");
    assert_eq!(store.pending_operations().await.unwrap()[0].undo_start, 100, "nothing was changed");
}

pub async fn another_minor_version_does_not_matter<E: Access>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let shard = fixture.local_shard(&map, 0).await;
    for minor in [1, 3] {
        fixture.environment.set_version(&Place::Global, 1, minor).await;
        fixture.environment.set_version(&Place::Shard(shard.location().clone()), 1, minor).await;
        assert_eq!(fixture.store().shard_maps().await.unwrap().len(), 1);
        let _ = fixture.shard(&map, usize::try_from(minor).unwrap()).await;
        let _ = fixture.change_shard(&map, &at_new_version(&shard), ShardAction::Update).await.unwrap();
    }
}
