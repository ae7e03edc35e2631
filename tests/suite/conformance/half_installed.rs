//! Stores of which something is missing: every request that meets it says what, and changes nothing.

use shardlet::gsm::{GlobalStore, RecordFilter};
use shardlet::lsm::{LocalStep, LocalStore, Route, RouteTarget, ShardAction};
use shardlet::{Error, ErrorKind, OperationId, Place, ShardMapKind, Validation};

use super::Access;
use super::fixture::{Fixture, at_new_version, key, local_change, record};

/// Fails unless the error says that something is wrong with this table of this store.
#[track_caller]
fn damaged(error: Option<Error>, place: &Place, table: &str, about: &str) {
    let error = error.unwrap_or_else(|| panic!("{about} worked without {table}"));
    assert_eq!((error.kind(), error.place()), (ErrorKind::StoreDamaged, Some(place)), "{about}: {error:?}");
    assert!(error.to_string().contains(table), "{about} does not name {table}: {error}");
}

pub async fn a_store_without_a_version_is_damaged<E: Access>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let shard = fixture.local_shard(&map, 0).await;
    let (store, location, environment) = (fixture.store(), shard.location(), &fixture.environment);
    let at_shard = Place::Shard(location.clone());
    let credentials = environment.credentials();
    let target = RouteTarget::Shard { shard: shard.id(), version: shard.version() };
    let route = Route { location: location.clone(), map: map.id(), target };
    for missing in [false, true] {
        for (place, table) in [(&Place::Global, "ShardMapManagerGlobal"), (&at_shard, "ShardMapManagerLocal")] {
            if missing {
                environment.drop_table(place, table).await;
            } else {
                environment.empty_table(place, table).await;
            }
        }
        for (about, error) in [
            ("global_version", store.global_version().await.err()),
            ("shard_maps", store.shard_maps().await.err()),
            ("add_shard_map", store.add_shard_map(&map).await.err()),
            ("upgrade_global", store.upgrade_global().await.err()),
            ("create_global", store.create_global(shardlet::CreateMode::Keep).await.err()),
        ] {
            damaged(error, &Place::Global, "ShardMapManagerGlobal", about);
        }
        let open = store.open_routed(&route, &credentials, Validation::Validate).await.err();
        for (about, error) in [
            ("local_version", store.local_version(location).await.err()),
            ("local_shards", store.local_shards(location).await.err()),
            ("open_routed", open),
            ("add", fixture.change_shard(&map, &shard, ShardAction::Add).await.err()),
            ("update", fixture.change_shard(&map, &shard, ShardAction::Update).await.err()),
            ("upgrade_local", store.upgrade_local(location).await.err()),
        ] {
            damaged(error, &at_shard, "ShardMapManagerLocal", about);
        }
    }
}

pub async fn a_global_store_with_tables_missing_is_damaged<E: Access>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let store = fixture.store();
    for table in [
        "ShardedDatabaseSchemaInfosGlobal",
        "OperationsLogGlobal",
        "ShardMappingsGlobal",
        "ShardsGlobal",
        "ShardMapsGlobal",
    ] {
        fixture.environment.drop_table(&Place::Global, table).await;
        let (about, error) = match table {
            "OperationsLogGlobal" => ("pending_operations", store.pending_operations().await.err()),
            "ShardMappingsGlobal" => ("mappings", store.mappings(&map, &RecordFilter::default()).await.err()),
            "ShardsGlobal" => ("shard_locations", store.shard_locations().await.err()),
            "ShardMapsGlobal" => ("shard_maps", store.shard_maps().await.err()),
            _ => ("upgrade_global", store.upgrade_global().await.err()),
        };
        damaged(error, &Place::Global, table, about);
        damaged(store.upgrade_global().await.err(), &Place::Global, table, "upgrade_global");
    }
}

pub async fn a_local_store_with_tables_missing_is_damaged<E: Access>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let shard = fixture.local_shard(&map, 0).await;
    let (store, location) = (fixture.store(), shard.location());
    let place = Place::Shard(location.clone());
    let credentials = fixture.environment.credentials();
    let mapping = record(&shard, 1, None);
    let target = RouteTarget::Mapping { mapping: mapping.id, kind: ShardMapKind::List, key: key(1) };
    let route = Route { location: location.clone(), map: map.id(), target };
    let change = local_change(OperationId::random(), &at_new_version(&shard), vec![LocalStep::Add(mapping)]);

    fixture.environment.drop_table(&place, "ShardMappingsLocal").await;
    let open = store.open_routed(&route, &credentials, Validation::Validate).await.err();
    for (about, error) in [
        ("local_mappings", store.local_mappings(location, map.id()).await.err()),
        ("change_mappings", fixture.send_mapping_change(&change).await.err()),
        ("open_routed", open),
        ("upgrade_local", store.upgrade_local(location).await.err()),
    ] {
        damaged(error, &place, "ShardMappingsLocal", about);
    }
    for table in ["ShardsLocal", "ShardMapsLocal"] {
        fixture.environment.drop_table(&place, table).await;
        for (about, error) in [
            ("local_shards", store.local_shards(location).await.err()),
            ("add", fixture.change_shard(&map, &shard, ShardAction::Add).await.err()),
        ] {
            // Of several it may name the first one that it meets.
            damaged(error, &place, "sLocal", about);
        }
        damaged(store.upgrade_local(location).await.err(), &place, table, "upgrade_local");
    }
}

pub async fn a_global_store_of_any_version_and_what_is_left_of_one_is_dropped<E: Access>() {
    let fixture = Fixture::<E>::new().await;
    let (store, environment) = (fixture.store(), &fixture.environment);
    let mut cases = vec!["at 1.0", "of the future", "without a version"];
    // In the order in which none refers to one that is gone.
    let tables =
        ["ShardMappingsGlobal", "ShardsGlobal", "ShardMapsGlobal", "OperationsLogGlobal", "ShardMapManagerGlobal"];
    cases.extend(tables);
    for case in cases {
        match case {
            "at 1.0" => environment.set_version_1_0(&Place::Global).await,
            "of the future" => environment.set_version(&Place::Global, 2, 0).await,
            "without a version" => environment.empty_table(&Place::Global, "ShardMapManagerGlobal").await,
            last => {
                for table in tables {
                    environment.drop_table(&Place::Global, table).await;
                    if table == last {
                        break;
                    }
                }
            }
        }
        assert!(store.drop_global().await.unwrap(), "{case}");
        assert_eq!(store.global_version().await.unwrap(), None, "{case}");
        assert!(!store.drop_global().await.unwrap(), "{case}");
        store.create_global(shardlet::CreateMode::Keep).await.unwrap();
        assert_eq!(store.shard_maps().await.unwrap(), [], "{case}");
        let map = fixture.map("map", ShardMapKind::List).await;
        let _ = fixture.shard(&map, 0).await;
    }
}
