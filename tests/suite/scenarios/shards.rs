//! The shards of a map: registering, finding, marking, deleting, and opening connections to them by name.

use std::collections::HashMap;

use shardlet::{
    BulkOptions, ErrorCategory, ErrorCode, ErrorKind, MappingStatus, MappingUpdate, NoCredentials, Options, Place,
    PlanAction, Protocol, Shard, ShardId, ShardLocation, ShardMapManager, ShardStatus, Sqlite, Validation,
};

use super::refused;
use crate::support::contents::{closed, contents, global_file, raw};
use crate::support::polled::poll_times;
use crate::support::probe::{Call, Probe};
use crate::support::{directory, location, manager, shards, sqlite};

#[tokio::test]
async fn a_shard_is_registered_found_and_deleted() {
    let manager = manager().await;
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    assert!(map.find_shard(&location(0)).await.unwrap().is_none());
    let missing = map.shard(&location(0)).await;
    let error = refused(missing, ErrorKind::NotFound, ErrorCode::ShardDoesNotExist, "before");
    assert_eq!(error.place(), Some(&Place::Shard(location(0))));

    let shard = map.create_shard(&location(0)).await.unwrap();
    assert_eq!((shard.location(), shard.status(), shard.shard_map_id()), (&location(0), ShardStatus::Online, map.id()));
    assert_eq!(shard.to_string(), "[DataSource=server Database=shard_0]");
    assert_eq!(map.shard(&location(0)).await.unwrap(), shard);
    assert_eq!(map.find_shard(&location(0)).await.unwrap(), Some(shard.clone()));
    assert_eq!(map.shards().await.unwrap(), std::slice::from_ref(&shard));
    assert_eq!(map.shard_or_create(&location(0)).await.unwrap(), shard);

    map.delete_shard(shard).await.unwrap();
    assert!(map.find_shard(&location(0)).await.unwrap().is_none());
    assert_eq!(map.shards().await.unwrap(), []);
    assert_eq!(manager.shard_locations().await.unwrap(), []);
    // Its database stays, and can be registered again.
    let again = map.create_shard(&location(0)).await.unwrap();
    assert_eq!(map.shards().await.unwrap(), [again]);
}

#[tokio::test]
async fn a_location_is_registered_once_in_a_map() {
    let manager = manager().await;
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let _ = map.create_shard(&location(0)).await.unwrap();
    let before = contents(&manager).await;
    for same in [location(0), ShardLocation::new("SERVER", "Shard_0"), ShardLocation::new("server ", "shard_0  ")] {
        let twice = map.create_shard(&same).await;
        let error = refused(twice, ErrorKind::AlreadyExists, ErrorCode::ShardLocationAlreadyExists, &format!("{same}"));
        assert_eq!((error.operation(), error.shard_map()), (Some("CreateShard"), Some("m")));
        assert_eq!(contents(&manager).await, before);
    }
}

#[tokio::test]
async fn protocol_and_port_are_part_of_a_location() {
    let manager = manager().await;
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let base = location(0);
    let variants = [
        base.clone(),
        base.clone().with_port(1433),
        base.clone().with_port(65535),
        base.clone().with_protocol(Protocol::Tcp),
        base.clone().with_protocol(Protocol::Tcp).with_port(1433),
        base.clone().with_protocol(Protocol::NamedPipes),
        base.clone().with_protocol(Protocol::SharedMemory),
    ];
    let mut made = Vec::new();
    for variant in &variants {
        made.push(map.create_shard(variant).await.unwrap_or_else(|error| panic!("{variant}: {error}")));
    }
    for (variant, shard) in variants.iter().zip(&made) {
        let found = map.shard(variant).await.unwrap();
        // The local store is the same database, so ids tell them apart, not files.
        assert_eq!((found.id(), found.location()), (shard.id(), variant), "{variant}");
        assert_eq!((found.location().protocol(), found.location().port()), (variant.protocol(), variant.port()));
    }
    assert_eq!(map.shards().await.unwrap().len(), variants.len());
    assert!(map.find_shard(&base.clone().with_port(1434)).await.unwrap().is_none());
    let shown = map.shard(&variants[4]).await.unwrap().to_string();
    assert_eq!(shown, "[DataSource=tcp:server,1433 Database=shard_0]");
}

#[tokio::test]
async fn names_of_locations_are_checked_before_anything_is_sent() {
    let manager = manager().await;
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let long = "x".repeat(129);
    let before = contents(&manager).await;
    for (server, database) in
        [("", "d"), ("s", ""), (" ", "d"), ("s", "\t"), (&long, "d"), ("s", &long), ("s\0", "d"), ("s", "d\u{1}")]
    {
        let operation = map.create_shard(&ShardLocation::new(server, database));
        let case = format!("{server:?} {database:?}");
        let _ = refused(operation.plan(), ErrorKind::InvalidInput, ErrorCode::InvalidArgument, &case);
        let error = refused(operation.await, ErrorKind::InvalidInput, ErrorCode::InvalidArgument, &case);
        assert_eq!(error.operation(), Some("CreateShard"), "{case}");
        assert_eq!(contents(&manager).await, before, "{case}");
    }
    let longest = ShardLocation::new("s".repeat(128), "😀".repeat(64));
    let shard = map.create_shard(&longest).await.unwrap();
    assert_eq!(map.shard(&longest).await.unwrap(), shard);
}

#[tokio::test]
async fn a_shard_is_deleted_once() {
    let manager = manager().await;
    let map = manager.create_range_shard_map::<i32>("m").await.unwrap();
    let shard = map.create_shard(&location(0)).await.unwrap();
    map.delete_shard(shard.clone()).await.unwrap();
    let before = contents(&manager).await;
    let twice = map.delete_shard(shard.clone()).await;
    let error = refused(twice, ErrorKind::NotFound, ErrorCode::ShardDoesNotExist, "twice");
    assert_eq!(error.operation(), Some("DeleteShard"));
    let updated = map.update_shard(shard.clone(), ShardStatus::Offline).await;
    let _ = refused(updated, ErrorKind::NotFound, ErrorCode::ShardDoesNotExist, "update of a deleted one");
    let mapped = map.create_mapping(0..1, &shard).await;
    let _ = refused(mapped, ErrorKind::NotFound, ErrorCode::ShardDoesNotExist, "mapping on a deleted one");
    assert_eq!(contents(&manager).await, before);
    // A new shard at the old place is another one.
    let again = map.create_shard(&location(0)).await.unwrap();
    let old = map.delete_shard(shard).await;
    let _ = refused(old, ErrorKind::NotFound, ErrorCode::ShardDoesNotExist, "the old handle");
    map.delete_shard(again).await.unwrap();
}

#[tokio::test]
async fn every_change_makes_older_handles_stale() {
    let manager = manager().await;
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let first = map.create_shard(&location(0)).await.unwrap();
    let offline = map.update_shard(first.clone(), ShardStatus::Offline).await.unwrap();
    assert_eq!((offline.status(), offline.id()), (ShardStatus::Offline, first.id()));
    assert_ne!(offline, first, "equality minds the version");
    assert_eq!(map.shard(&location(0)).await.unwrap(), offline);
    let online = map.update_shard(offline.clone(), ShardStatus::Online).await.unwrap();

    let _ = map.create_mapping(1, &first).await.expect("mappings do not mind the version");
    let current = map.shard(&location(0)).await.unwrap();
    assert_ne!(current, online, "an operation on a mapping changes its shard");
    let before = contents(&manager).await;
    for (case, stale) in [("before both updates", first), ("between", offline), ("before the mapping", online)] {
        let deleted = map.delete_shard(stale.clone()).await;
        let _ = refused(deleted, ErrorKind::Stale, ErrorCode::ShardVersionMismatch, case);
        let updated = map.update_shard(stale, ShardStatus::Offline).await;
        let _ = refused(updated, ErrorKind::Stale, ErrorCode::ShardVersionMismatch, case);
        assert_eq!(contents(&manager).await, before, "{case}");
    }
    let _ = map.update_shard(current, ShardStatus::Offline).await.unwrap();
}

#[tokio::test]
async fn a_shard_that_is_marked_offline_takes_no_new_mappings() {
    let probe = Probe::new(Sqlite::in_memory());
    let manager = ShardMapManager::open_or_create(probe.clone(), Options::default()).await.unwrap();
    let map = manager.create_range_shard_map::<i32>("m").await.unwrap();
    let made = shards(&map, 2).await;
    let here = map.create_mapping(0..10, &made[0]).await.unwrap();
    let elsewhere = map.create_mapping(100..110, &made[1]).await.unwrap();
    let shard = map.shard(&location(0)).await.unwrap();
    let disabled = map.update_shard(shard.clone(), ShardStatus::Offline).await.unwrap();

    // Both the handle that says so and one that was read before.
    for handle in [&disabled, &shard] {
        let goes_offline = MappingUpdate::new().shard(handle).status(MappingStatus::Offline);
        let many = map.create_mappings((20..25).map(|low| (low..low + 1, handle)), &BulkOptions::default()).unwrap();
        let beside = map.create_mappings([(20..30, handle)], &BulkOptions::default()).unwrap().beside(&here);
        for (case, operation) in [
            ("one", map.create_mapping(20..30, handle)),
            ("one that is offline", map.create_mapping_with(20..30, handle, MappingStatus::Offline)),
            ("a move", map.update_mapping(elsewhere.clone(), &goes_offline)),
        ] {
            probe.reset();
            let error = refused(operation.await, ErrorKind::Disabled, ErrorCode::ShardIsDisabled, case);
            assert_eq!(
                (error.category(), error.place()),
                (ErrorCategory::RangeShardMap, Some(&Place::Global)),
                "{case}"
            );
            assert!(!error.is_transient(), "{case}");
            assert_eq!((probe.count(&Call::Begin), probe.count(&Call::EndUndo)), (1, 0), "{case}: tried once");
        }
        for (case, creation) in [("many", many), ("many beside one", beside)] {
            probe.reset();
            let outcome = creation.run(|_| ()).await;
            let _ = refused(outcome, ErrorKind::Disabled, ErrorCode::ShardIsDisabled, case);
            assert_eq!(creation.progress().created(), 0, "{case}");
            assert_eq!(probe.count(&Call::Begin), 1, "{case}: tried once");
        }
    }
    assert_eq!(map.mappings().await.unwrap(), [here.clone(), elsewhere.clone()]);

    // What is there is routed to, changed, and may go; so may the shard.
    for validation in [Validation::Validate, Validation::None] {
        let opened = map.open_connection_for_key(&5, &NoCredentials, validation).await.unwrap();
        assert_eq!(opened.location(), &location(0), "{validation:?}");
    }
    let (low, high) = map.split_mapping(here, 5).await.unwrap();
    let whole = map.merge_mappings(low, high).await.unwrap();
    let off = map.mark_mapping_offline(whole).await.unwrap();
    let on = map.mark_mapping_online(off).await.unwrap();
    let (low, high) = map.split_mapping(on, 5).await.unwrap();
    map.delete_mapping(map.mark_mapping_offline(low).await.unwrap()).await.unwrap();
    let away = map.move_mapping(map.mark_mapping_offline(high).await.unwrap(), &made[1]).await.unwrap();
    let back = map.move_mapping(away.clone(), &made[0]).await;
    let _ = refused(back, ErrorKind::Disabled, ErrorCode::ShardIsDisabled, "back");

    let current = map.shard(&location(0)).await.unwrap();
    let online = map.update_shard(current, ShardStatus::Online).await.unwrap();
    let back = map.move_mapping(away, &online).await.unwrap();
    let _ = map.create_mapping(20..30, &online).await.unwrap();
    map.delete_mapping(back).await.unwrap();
}

#[tokio::test]
async fn shards_are_described() {
    let manager = manager().await;
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let other = manager.create_list_shard_map::<i32>("other").await.unwrap();
    let made = shards(&map, 3).await;
    let foreign = other.create_shard(&location(0)).await.unwrap();
    assert!(map.shard_descriptions().await.unwrap().is_empty());
    map.describe_shard(&made[0], "customers of the north\nnot for tests").await.unwrap();
    map.describe_shard(&made[1], "south").await.unwrap();
    other.describe_shard(&foreign, "other").await.unwrap();
    let expected = HashMap::from([
        (made[0].id(), "customers of the north\nnot for tests".to_owned()),
        (made[1].id(), "south".to_owned()),
    ]);
    assert_eq!(map.shard_descriptions().await.unwrap(), expected);
    assert_eq!(map.shards().await.unwrap(), made, "no version has changed");

    let long = "😀".repeat(Shard::MAX_DESCRIPTION_LENGTH / 2) + "x";
    for bad in [long.as_str(), "a\0", "a\u{1b}[2J", "a\r\nb", "\u{7}", "\u{7f}", "\u{85}", "a\u{9b}2J", "\u{ffff}"] {
        let outcome = map.describe_shard(&made[0], bad).await;
        let error = refused(outcome, ErrorKind::InvalidInput, ErrorCode::InvalidArgument, &format!("{bad:.9?}"));
        assert_eq!((error.operation(), error.shard_map()), (Some("DescribeShard"), Some("m")));
    }
    let outcome = map.describe_shard(&foreign, "foreign").await;
    let _ = refused(outcome, ErrorKind::InvalidInput, ErrorCode::ForeignObject, "of another map");
    assert_eq!(map.shard_descriptions().await.unwrap(), expected);

    // The version of the handle does not matter; whether the shard is there does.
    let updated = map.update_shard(made[0].clone(), ShardStatus::Offline).await.unwrap();
    map.describe_shard(&made[0], "east").await.unwrap();
    map.describe_shard(&made[1], "").await.unwrap();
    assert_eq!(map.shard_descriptions().await.unwrap(), HashMap::from([(made[0].id(), "east".to_owned())]));
    map.delete_shard(updated).await.unwrap();
    assert!(map.shard_descriptions().await.unwrap().is_empty());
    let outcome = map.describe_shard(&made[0], "gone").await;
    let error = refused(outcome, ErrorKind::NotFound, ErrorCode::ShardDoesNotExist, "gone");
    assert_eq!((error.category(), error.place()), (ErrorCategory::ShardMap, Some(&Place::Global)));
    let again = map.create_shard(&location(0)).await.unwrap();
    assert!(map.shard_descriptions().await.unwrap().is_empty(), "another shard at the same place");

    // A shard that is detached has its description back when it is attached.
    map.describe_shard(&again, "west").await.unwrap();
    let recovery = manager.recovery();
    let _ = recovery.detach(&location(0), "m").await.unwrap();
    let attached = recovery.attach(&location(0), "m").await.unwrap();
    assert_eq!(map.shard_descriptions().await.unwrap(), HashMap::from([(attached.id(), "west".to_owned())]));

    for shard in map.shards().await.unwrap() {
        map.delete_shard(shard).await.unwrap();
    }
    manager.delete_shard_map("m").await.unwrap();
    let outcome = map.shard_descriptions().await;
    let error = refused(outcome, ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, "of a map that is gone");
    assert_eq!(error.operation(), Some("GetShardDescriptions"));
    let outcome = map.describe_shard(&again, "gone").await;
    let _ = refused(outcome, ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, "in a map that is gone");
}

#[tokio::test]
async fn a_description_that_is_abandoned_is_the_old_one_or_the_new_one() {
    let directory = directory();
    let open = async || {
        let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
        manager.list_shard_map_or_create::<i32>("m").await.unwrap()
    };
    for polls in 0.. {
        let map = open().await;
        let shard = map.shard_or_create(&location(0)).await.unwrap();
        map.describe_shard(&shard, "old").await.unwrap();
        let result = poll_times(map.describe_shard(&shard, "new"), polls).await;
        drop(map);
        closed(&global_file(directory.path())).await;

        let map = open().await;
        let now = map.shard_descriptions().await.unwrap().remove(&shard.id());
        assert!(
            now.as_deref() == Some("new") || (now.as_deref() == Some("old") && result.is_none()),
            "{polls}: {now:?}"
        );
        assert!(polls > 0 || now.as_deref() == Some("old"), "it did nothing before it was awaited");
        map.describe_shard(&shard, "newer").await.unwrap();
        if let Some(result) = result {
            return result.unwrap();
        }
    }
}

#[tokio::test]
async fn stores_that_have_no_table_of_descriptions_get_it_with_the_first() {
    let directory = directory();
    let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let shard = map.create_shard(&location(0)).await.unwrap();
    let file = raw(&global_file(directory.path()));
    file.execute_batch(r#"DROP TABLE "__ShardManagement.ShardDescriptionsGlobal""#).unwrap();
    let has_table = || file.prepare(r#"SELECT 1 FROM "__ShardManagement.ShardDescriptionsGlobal""#).is_ok();

    assert!(map.shard_descriptions().await.unwrap().is_empty());
    let report = ShardMapManager::upgrade(manager.backend()).await.unwrap();
    assert!(report.is_complete() && !report.is_change(), "nothing is missing: {report}");
    let _ = map.update_shard(shard.clone(), ShardStatus::Offline).await.unwrap();
    let gone = map.describe_shard(&other_shard(&shard), "gone").await;
    let _ = refused(gone, ErrorKind::NotFound, ErrorCode::ShardDoesNotExist, "no shard");
    assert!(!has_table());

    map.describe_shard(&shard, "north").await.unwrap();
    assert!(has_table());
    assert_eq!(map.shard_descriptions().await.unwrap(), HashMap::from([(shard.id(), "north".to_owned())]));
    let reopened = ShardMapManager::open(sqlite(&directory), Options::default()).await.unwrap();
    let map = reopened.list_shard_map::<i32>("m").await.unwrap();
    assert_eq!(map.shard_descriptions().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_description_that_was_written_by_hand_is_shown_without_what_no_client_writes() {
    let directory = directory();
    let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let made = shards(&map, 2).await;
    for shard in &made {
        map.describe_shard(shard, "by a client").await.unwrap();
    }
    let file = raw(&global_file(directory.path()));
    let change = r#"UPDATE "__ShardManagement.ShardDescriptionsGlobal" SET "Description" = ?1 WHERE "ShardId" = ?2"#;
    let longer = "x".repeat(Shard::MAX_DESCRIPTION_LENGTH + 1);
    for (written, shown) in [
        ("north\r\nand\tsouth\r\n", "north\nand\tsouth\n"),
        ("\ra\r\r\n", "\u{fffd}a\u{fffd}\n"),
        ("\u{1b}[2J\0\u{7f}\u{85}\u{9b}\u{ffff}", "\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        (longer.as_str(), longer.as_str()),
        ("", ""),
    ] {
        assert_eq!(file.execute(change, [written, &made[0].id().to_string()]).unwrap(), 1);
        let expected = HashMap::from([(made[0].id(), shown.to_owned()), (made[1].id(), "by a client".to_owned())]);
        assert_eq!(map.shard_descriptions().await.unwrap(), expected);
    }
}

/// One that no store knows, in the same map.
fn other_shard(shard: &Shard) -> Shard {
    let location = shard.location().clone();
    Shard::new(ShardId::random(), shard.version(), shard.shard_map_id(), location, shard.status())
}

#[tokio::test]
async fn a_shard_with_mappings_is_not_deleted() {
    let manager = manager().await;
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let shard = map.create_shard(&location(0)).await.unwrap();
    let mapping = map.create_mapping_with(1, &shard, MappingStatus::Offline).await.unwrap();
    let before = contents(&manager).await;
    let refusal = map.delete_shard(map.shard(&location(0)).await.unwrap()).await;
    let _ = refused(refusal, ErrorKind::InUse, ErrorCode::ShardHasMappings, "with an offline mapping");
    assert_eq!(contents(&manager).await, before);
    map.delete_mapping(mapping).await.unwrap();
    map.delete_shard(map.shard(&location(0)).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn one_database_is_a_shard_of_several_maps() {
    let manager = manager().await;
    let list = manager.create_list_shard_map::<i32>("list").await.unwrap();
    let range = manager.create_range_shard_map::<i64>("range").await.unwrap();
    let in_list = shards(&list, 3).await;
    let in_range = [range.create_shard(&location(1)).await.unwrap(), range.create_shard(&location(3)).await.unwrap()];
    assert_ne!(in_list[1].id(), in_range[0].id());
    let locations = manager.shard_locations().await.unwrap();
    assert_eq!(locations, [location(0), location(1), location(2), location(3)]);

    let _ = list.create_mapping(7, &in_list[1]).await.unwrap();
    let mapping = range.create_mapping(0..10, &in_range[0]).await.unwrap();
    let open = || async {
        let a = list.open_connection_for_key(&7, &NoCredentials, Validation::Validate).await.unwrap();
        assert_eq!(a.location(), &location(1));
    };
    open().await;
    // Leaving one map leaves the other's rows alone.
    range.delete_mapping(range.mark_mapping_offline(mapping).await.unwrap()).await.unwrap();
    range.delete_shard(range.shard(&location(1)).await.unwrap()).await.unwrap();
    open().await;
    assert_eq!(manager.shard_locations().await.unwrap().len(), 4);
    range.delete_shard(in_range[1].clone()).await.unwrap();
    assert_eq!(manager.shard_locations().await.unwrap(), [location(0), location(1), location(2)]);
}

#[tokio::test]
async fn shards_are_listed_by_location() {
    let manager = manager().await;
    let map = manager.create_range_shard_map::<i32>("m").await.unwrap();
    for name in ["b", "C", "a"] {
        for server in ["two", "One"] {
            let _ = map.create_shard(&ShardLocation::new(server, name)).await.unwrap();
        }
    }
    let listed: Vec<_> = map.shards().await.unwrap().iter().map(ToString::to_string).collect();
    let expected = [("One", "a"), ("One", "b"), ("One", "C"), ("two", "a"), ("two", "b"), ("two", "C")]
        .map(|(server, database)| format!("[DataSource={server} Database={database}]"));
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn a_shard_of_another_map_is_refused_by_every_call() {
    let manager = manager().await;
    let list = manager.create_list_shard_map::<i32>("list").await.unwrap();
    let range = manager.create_range_shard_map::<i32>("range").await.unwrap();
    let own = shards(&list, 1).await.remove(0);
    let own_in_range = shards(&range, 1).await.remove(0);
    let foreign_to_list = own_in_range.clone();
    let foreign_to_range = own.clone();
    let point = list.create_mapping(1, &own).await.unwrap();
    let ranged = range.create_mapping(0..1, &own_in_range).await.unwrap();
    let before = contents(&manager).await;
    let move_to = |shard| shardlet::MappingUpdate::new().shard(shard).status(MappingStatus::Offline);
    let cases = [
        ("point mapping", list.create_mapping(2, &foreign_to_list).await.map(|_| ())),
        ("range mapping", range.create_mapping(5.., &foreign_to_range).await.map(|_| ())),
        ("move of a point", list.move_mapping(point.clone(), &foreign_to_list).await.map(|_| ())),
        ("update of a range", range.update_mapping(ranged, &move_to(&foreign_to_range)).await.map(|_| ())),
        ("delete", list.delete_shard(foreign_to_list.clone()).await),
        ("update", range.update_shard(foreign_to_range.clone(), ShardStatus::Offline).await.map(|_| ())),
        (
            "filter",
            list.mappings_matching(&shardlet::MappingFilter::all().on_shard(&foreign_to_list)).await.map(|_| ()),
        ),
        ("open", list.open_connection_to_shard(&foreign_to_list, &NoCredentials, Validation::None).await.map(|_| ())),
    ];
    for (case, outcome) in cases {
        let error = refused(outcome, ErrorKind::InvalidInput, ErrorCode::ForeignObject, case);
        assert!(error.shard_map().is_some() && error.operation().is_some(), "{case}: {error}");
    }
    assert_eq!(contents(&manager).await, before);
}

#[tokio::test]
async fn a_connection_to_a_shard_is_validated_by_its_version() {
    let manager = manager().await;
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let other_map = manager.create_list_shard_map::<i32>("other").await.unwrap();
    let _keeps_the_store = other_map.create_shard(&location(0)).await.unwrap();
    let fresh = map.create_shard(&location(0)).await.unwrap();
    let open = |shard: shardlet::Shard, validation| {
        let map = map.clone();
        async move { map.open_connection_to_shard(&shard, &NoCredentials, validation).await }
    };
    for validation in [Validation::Validate, Validation::None] {
        assert_eq!(open(fresh.clone(), validation).await.unwrap().location(), &location(0), "{validation:?}");
    }

    let stale = fresh;
    let fresh = map.update_shard(stale.clone(), ShardStatus::Offline).await.unwrap();
    let _ = open(fresh.clone(), Validation::Validate).await.expect("routing does not look at the mark of a shard");
    let error = refused(
        open(stale.clone(), Validation::Validate).await,
        ErrorKind::Stale,
        ErrorCode::ShardVersionMismatch,
        "after an update",
    );
    assert_eq!(error.place(), Some(&Place::Shard(location(0))));
    let _ = open(stale, Validation::None).await.unwrap();

    let fresh = map.update_shard(fresh, ShardStatus::Online).await.unwrap();
    let _ = map.create_mapping(1, &fresh).await.unwrap();
    let outcome = open(fresh, Validation::Validate).await;
    let _ = refused(outcome, ErrorKind::Stale, ErrorCode::ShardVersionMismatch, "after an operation on a mapping");
    let fresh = map.shard(&location(0)).await.unwrap();
    let mut connection = open(fresh.clone(), Validation::Validate).await.unwrap();

    // A connection by name does not end when a mapping goes offline.
    let mapping = map.mark_mapping_offline(map.mapping_for_key(&1).await.unwrap()).await.unwrap();
    connection.read(|_| Ok(())).await.unwrap();
    map.delete_mapping(mapping).await.unwrap();
    let shard = map.shard(&location(0)).await.unwrap();
    map.delete_shard(shard.clone()).await.unwrap();
    let outcome = open(shard.clone(), Validation::Validate).await;
    let _ = refused(outcome, ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, "after it left its map");
    let _ = open(shard.clone(), Validation::None).await.expect("its database is still there");

    // Another shard of the map on the same database keeps the map's rows there.
    let _ = map.create_shard(&location(0).with_port(1)).await.unwrap();
    let outcome = open(shard, Validation::Validate).await;
    let _ = refused(outcome, ErrorKind::NotFound, ErrorCode::ShardDoesNotExist, "with another shard there");
}

#[tokio::test]
async fn shards_survive_reopening() {
    let directory = directory();
    let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let made = shards(&map, 3).await;
    drop((map, manager));
    let manager = ShardMapManager::open(sqlite(&directory), Options::default()).await.unwrap();
    let map = manager.list_shard_map::<i32>("m").await.unwrap();
    assert_eq!(map.shards().await.unwrap(), made);
    let _ = map.open_connection_to_shard(&made[2], &NoCredentials, Validation::Validate).await.unwrap();
}

#[tokio::test]
async fn many_clients_register_one_shard_at_once() {
    let directory = directory();
    let first = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
    let _ = first.create_list_shard_map::<i32>("m").await.unwrap();
    let clients = (0..6).map(|_| {
        let backend: Sqlite = sqlite(&directory);
        tokio::spawn(async move {
            let manager = ShardMapManager::open(backend, Options::default()).await.unwrap();
            let map = manager.list_shard_map::<i32>("m").await.unwrap();
            map.shard_or_create(&location(0)).await.unwrap().id()
        })
    });
    let ids = futures::future::join_all(clients).await;
    let id = *ids[0].as_ref().unwrap();
    assert!(ids.iter().all(|other| *other.as_ref().unwrap() == id), "{ids:?}");
    assert_eq!(first.list_shard_map::<i32>("m").await.unwrap().shards().await.unwrap().len(), 1);
}

#[tokio::test]
async fn plans_show_the_steps_and_take_none() {
    let manager = manager().await;
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let at = |place: &shardlet::PlanStep| (place.place().clone(), place.actions().to_vec());
    let around = |action: PlanAction| {
        vec![
            (Place::Global, vec![PlanAction::BeginOperation]),
            (Place::Shard(location(0)), vec![action]),
            (Place::Global, vec![PlanAction::EndOperation]),
        ]
    };

    let before = contents(&manager).await;
    let create = map.create_shard(&location(0));
    let plan = create.plan().unwrap();
    assert_eq!(contents(&manager).await, before, "planning changed something");
    let shard = create.await.unwrap();
    assert_eq!(plan.operation(), "CreateShard");
    assert_eq!(plan.steps().iter().map(at).collect::<Vec<_>>(), around(PlanAction::AddShard(shard.id())));

    let before = contents(&manager).await;
    let update = map.update_shard(shard.clone(), ShardStatus::Offline);
    let plan = update.plan().unwrap();
    assert_eq!(plan.operation(), "UpdateShard");
    assert_eq!(plan.steps().iter().map(at).collect::<Vec<_>>(), around(PlanAction::UpdateShard(shard.id())));
    drop(update);
    let delete = map.delete_shard(shard.clone());
    let plan = delete.plan().unwrap();
    assert_eq!(plan.operation(), "DeleteShard");
    assert_eq!(plan.steps().iter().map(at).collect::<Vec<_>>(), around(PlanAction::RemoveShard(shard.id())));
    let text = format!(
        "DeleteShard\n1. the global shard map: begin the operation\n2. [DataSource=server Database=shard_0]: remove \
         shard {}\n3. the global shard map: end the operation",
        shard.id()
    );
    assert_eq!(plan.to_string(), text);
    drop(delete);
    assert_eq!(contents(&manager).await, before, "planning changed something");
}
