//! A shard's store is written anew from the global store, and the global store from the shards' stores.

use shardlet::gsm::GlobalStore;
use shardlet::{Error, ErrorCode, ErrorKind, ListShardMap, Place, ShardLocation, ShardMapInfo, ShardMapName};

use super::fixture::{INF, OFF, ON, World, local_contents, put_local};
use crate::conformance::{Access, Environment};
use crate::support::probe::{Call, Fault};

/// What can be broken in a store that no request is working on.
pub trait Damage: Access {
    /// Runs a statement that changes a store. `{Table}` stands for a table of the store.
    async fn run(&self, place: &Place, sql: &str);
}

pub async fn a_store_of_another_shard_is_replaced<E: Environment>() {
    let world = World::<E>::new().await;
    put_local(world.backend(), world.map.info(), &world.shard(1).await, &world.place(0), world.local(1).await).await;
    let rebuilt = world.recovery().rebuild_shard(&world.place(0)).await.unwrap();
    assert_eq!(rebuilt, [world.map.info().clone()]);
    world.assert_agree("rebuilt").await;
    assert_eq!(local_contents(world.backend(), &world.place(0)).await.len(), 2, "nothing of the other is left");
}

pub async fn a_store_of_another_state_is_brought_up_to_date<E: Environment>() {
    let world = World::<E>::new().await;
    let before = [world.brief(0).await, world.brief(1).await];
    world.set_local(0, world.records(0, &[(-50, 20, OFF), (150, INF, ON)]).await).await;
    let other_name = ShardMapName::new("called otherwise").unwrap();
    let map = world.map.info();
    let renamed = ShardMapInfo::new(map.id(), other_name, map.kind(), map.key_type());
    put_local(world.backend(), &renamed, &world.shard(1).await, &world.place(1), Vec::new()).await;
    for number in 0..3 {
        assert_eq!(world.recovery().rebuild_shard(&world.place(number)).await.unwrap().len(), 1);
    }
    assert_eq!([world.brief(0).await, world.brief(1).await], before);
    world.assert_agree("rebuilt").await;
    assert!(world.route(150).await.is_ok());
    let agreed = world.contents().await;
    assert_eq!(world.recovery().rebuild_shard(&world.place(0)).await.unwrap().len(), 1);
    assert_eq!(world.contents().await, agreed, "a store that is right is left alone");
}

pub async fn every_map_at_the_place_is_rebuilt<E: Environment>() {
    let world = World::<E>::new().await;
    let points: ListShardMap<i64, _> = world.map.manager().create_list_shard_map("points").await.unwrap();
    let shard = points.create_shard(&world.place(0)).await.unwrap();
    let _ = points.create_mapping(7, &shard).await.unwrap();
    let row = world.backend().find_shard(points.id(), &world.place(0)).await.unwrap().unwrap();
    put_local(world.backend(), points.info(), &row, &world.place(0), Vec::new()).await;
    world.set_local(0, Vec::new()).await;
    let mut rebuilt = world.recovery().rebuild_shard(&world.place(0)).await.unwrap();
    rebuilt.sort_by_key(|map| map.name().to_owned());
    assert_eq!(rebuilt, [points.info().clone(), world.map.info().clone()]);
    world.assert_agree("rebuilt").await;
}

pub async fn a_place_that_is_no_shard_cannot_be_rebuilt<E: Environment>() {
    let world = World::<E>::new().await;
    world.map.delete_shard(world.shard(2).await).await.unwrap();
    let before = local_contents(world.backend(), &world.place(2)).await;
    let error = world.recovery().rebuild_shard(&world.place(2)).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, ErrorCode::ShardDoesNotExist), "{error}");
    assert_eq!(error.place(), Some(&Place::Shard(world.place(2))));
    assert_eq!(local_contents(world.backend(), &world.place(2)).await, before);
}

/// What was unfinished is undone in the global store and at the other shard; the shard itself is written anew.
pub async fn unfinished_operations_are_undone_around_the_shard<E: Environment>() {
    let world = World::<E>::new().await;
    world.fill(0, &[(0, 50, ON), (50, 100, OFF)]).await;
    let client = world.client().await;
    let mapping = client.map.mapping_for_key(&70).await.unwrap();
    let other = client.map.shard(&world.place(1)).await.unwrap();
    client.abandon(Call::EndDo, Fault::HoldBefore, client.map.move_mapping(mapping, &other)).await;
    world.set_local(0, world.records(0, &[(7, 8, ON)]).await).await;

    // What its client has sent to the shard has to have ended first, or it could come after the new rows.
    let still_there = Error::new(ErrorKind::TimedOut, ErrorCode::LockNotAcquired, "injected by the test");
    client.probe.inject(Call::LockOperationAt(world.place(0)), 1, Fault::FailBefore(still_there));
    let error = client.recovery().rebuild_shard(&world.place(0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert_eq!(world.backend().pending_operations().await.unwrap().len(), 1, "nothing was undone");

    assert_eq!(world.recovery().rebuild_shard(&world.place(0)).await.unwrap().len(), 1);
    assert_eq!(world.brief(0).await, [(0, 50, ON), (50, 100, OFF)]);
    assert_eq!(world.brief(1).await, [(100, 200, ON)]);
    world.assert_agree("rebuilt").await;
}

/// Whatever is broken in a local store: looking says so, and rebuilding mends it.
pub async fn a_broken_store_is_shown_and_written_anew<E: Damage>() {
    let statements: [&[&str]; 6] = [
        &["DELETE FROM {ShardMapManagerLocal}"],
        &["DROP TABLE {ShardMappingsLocal}"],
        &["DROP TABLE {ShardMappingsLocal}", "DROP TABLE {ShardsLocal}", "DROP TABLE {ShardMapsLocal}"],
        &["UPDATE {ShardMappingsLocal} SET Status = 7"],
        &["UPDATE {ShardsLocal} SET Status = 7"],
        &["UPDATE {ShardMapsLocal} SET MapType = 7"],
    ];
    let world = World::<E>::new().await;
    let before = [world.brief(0).await, world.brief(1).await];
    for broken in statements {
        for statement in broken {
            world.env.run(&Place::Shard(world.place(0)), statement).await;
        }
        let differences = world.look(0).await;
        let [shardlet::ShardDifference::LocalStoreDamaged(what)] = differences.of_shard() else {
            panic!("{broken:?}: {differences}")
        };
        assert!(!what.is_empty());
        assert!(differences.to_string().contains("the local store is damaged: "), "{differences}");
        assert_eq!(world.recovery().rebuild_shard(&world.place(0)).await.unwrap().len(), 1, "{broken:?}");
        world.assert_agree(&format!("{broken:?}")).await;
        assert_eq!([world.brief(0).await, world.brief(1).await], before, "{broken:?}");
        assert!(world.route(7).await.is_ok(), "{broken:?}");
    }
}

/// Rows of a shard that the store does not know.
pub async fn rows_of_nobody_are_cleared_away<E: Damage>() {
    let world = World::<E>::new().await;
    let place = Place::Shard(world.place(0));
    world.env.run(&place, "UPDATE {ShardMappingsLocal} SET ShardId = '0d5ac59b-3ad5-4a4b-9b3b-0a3c4b1a2f10'").await;
    let differences = world.look(0).await;
    assert!(matches!(differences.of_shard(), [shardlet::ShardDifference::LocalStoreDamaged(_)]), "{differences}");
    assert_eq!(world.recovery().rebuild_shard(&world.place(0)).await.unwrap().len(), 1);
    world.assert_agree("rebuilt").await;
    assert!(world.route(7).await.is_ok());
}

pub async fn a_database_without_a_store_gets_one<E: Damage>() {
    let world = World::<E>::new().await;
    let new = world.place(3);
    world.env.make_database(&new).await;
    assert_eq!(world.recovery().detect(&new).await.unwrap().len(), 0, "nobody says that it is a shard");
    // It took the place of a shard's database that is lost.
    let shard = world.shard(0).await;
    world.make_store(4).await;
    world.copy_store(0, 4).await;
    let moved = world.recovery().relocate(&world.place(0), &world.place(4)).await.unwrap();
    assert_eq!(moved.len(), 1);
    world.env.run(&Place::Global, &place_statement(&new, &shard)).await;

    let differences = super::fixture::look(&world.recovery(), &new).await;
    assert_eq!(differences.of_shard(), [shardlet::ShardDifference::NoLocalStore]);
    assert_eq!(differences.of_mappings().len(), 1);
    assert!(differences.to_string().contains("the database has no local store"));
    let error = world.recovery().resolve(&differences, shardlet::Resolution::KeepLocal).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(world.recovery().rebuild_shard(&new).await.unwrap().len(), 1);
    assert!(super::fixture::look(&world.recovery(), &new).await.is_empty());
    let found = world.route(7).await.unwrap();
    assert_eq!(found.shard().location(), &new);
}

fn place_statement(place: &ShardLocation, shard: &shardlet::Shard) -> String {
    format!(
        "UPDATE {{ShardsGlobal}} SET DatabaseName = '{}', ServerName = '{}' WHERE ShardId = '{}'",
        place.database(),
        place.server(),
        shard.id()
    )
}

/// The global store was set back to a moment before a number of changes.
pub async fn a_shard_map_is_rebuilt_from_its_shards<E: Environment>() {
    let world = World::<E>::new().await;
    world.fill(2, &[(500, 600, ON)]).await;
    // As it was before a merge, a move, a mark and a deletion.
    for number in 0..3 {
        world.set_global(number, Vec::new()).await;
    }
    world.set_global(0, world.records(0, &[(0, 40, ON), (40, 200, OFF)]).await).await;
    world.set_global(1, world.records(1, &[(250, 300, ON)]).await).await;
    world.set_global(2, world.records(2, &[(500, 550, OFF), (550, 600, ON)]).await).await;
    let locals = [world.local_brief(0).await, world.local_brief(1).await, world.local_brief(2).await];
    for order in [[0, 1, 2], [2, 1, 0]] {
        let places = order.map(|number| world.place(number));
        world.recovery().rebuild_shard_map("ranges", &places).await.unwrap();
        assert_eq!([world.brief(0).await, world.brief(1).await, world.brief(2).await], locals, "{order:?}");
        world.assert_agree(&format!("{order:?}")).await;
    }
    assert_eq!(world.route(150).await.unwrap().shard().location(), &world.place(1));
}

pub async fn shards_that_are_not_named_stay_as_they_are<E: Environment>() {
    let world = World::<E>::new().await;
    world.set_global(0, Vec::new()).await;
    world.set_local(0, world.records(0, &[(0, 120, ON)]).await).await;
    world.set_local(1, world.records(1, &[(100, 200, ON), (700, 800, ON)]).await).await;
    world.recovery().rebuild_shard_map("ranges", &[world.place(0)]).await.unwrap();
    assert_eq!(world.brief(0).await, [(0, 120, ON)]);
    assert_eq!(world.brief(1).await, [(120, 200, ON)], "it gave up what was claimed");
    assert_eq!(world.local_brief(1).await, [(120, 200, ON), (700, 800, ON)]);
    assert!(world.look(0).await.is_empty());
    assert_eq!(world.look(1).await.of_mappings().len(), 1, "and is not looked at otherwise");
}

pub async fn shards_that_claim_the_same_keys_are_refused<E: Environment>() {
    let world = World::<E>::new().await;
    let claims = [
        (vec![(0, 101, ON)], vec![(100, 200, ON)]),
        (vec![(0, INF, ON)], vec![(300, 301, ON)]),
        (vec![(0, 10, ON), (400, 500, ON)], vec![(100, 200, OFF), (450, INF, ON)]),
        (vec![(0, 500, ON), (600, 700, ON)], vec![(20, 30, ON)]),
    ];
    for (first, second) in claims {
        world.set_local(0, world.records(0, &first).await).await;
        world.set_local(1, world.records(1, &second).await).await;
        let before = world.contents().await;
        for places in [[0, 1, 2], [1, 0, 2], [2, 1, 0]] {
            let places = places.map(|number| world.place(number));
            let error = world.recovery().rebuild_shard_map("ranges", &places).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Overlaps, "{first:?} {second:?}: {error}");
            let said = error.to_string();
            for number in 0..2 {
                assert!(said.contains(&world.place(number).to_string()), "{said}");
            }
        }
        assert_eq!(world.contents().await, before, "{first:?} {second:?}");
    }
    // Next to each other is not the same.
    world.set_local(0, world.records(0, &[(0, 100, ON), (200, INF, ON)]).await).await;
    world.set_local(1, world.records(1, &[(100, 200, ON)]).await).await;
    world.recovery().rebuild_shard_map("ranges", &world.places()).await.unwrap();
    world.assert_agree("rebuilt").await;
}

/// One of the named shards is unknown, or its store is: nothing is changed, whatever comes first.
pub async fn an_unknown_shard_among_the_named_changes_nothing<E: Environment>() {
    let world = World::<E>::new().await;
    world.set_global(0, Vec::new()).await;
    world.set_global(1, Vec::new()).await;
    // The global store does not have the shard, though its database knows it.
    let _ = world.recovery().detach(&world.place(1), "ranges").await.unwrap();
    let refused = async |places: &[ShardLocation], kind: ErrorKind| {
        let before = super::fixture::local_contents(world.backend(), &world.place(0)).await;
        let error = world.recovery().rebuild_shard_map("ranges", places).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(world.brief(0).await, []);
        assert_eq!(super::fixture::local_contents(world.backend(), &world.place(0)).await, before);
    };
    refused(&[world.place(0), world.place(1)], ErrorKind::NotFound).await;
    refused(&[world.place(1), world.place(0)], ErrorKind::NotFound).await;
    // Its database does not know it.
    put_local(world.backend(), world.map.info(), &world.shard(0).await, &world.place(2), Vec::new()).await;
    refused(&[world.place(0), world.place(2)], ErrorKind::NotFound).await;
    let error = world.recovery().rebuild_shard_map("no such map", &world.places()).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist));
    // Attached, it is known.
    let _ = world.recovery().attach(&world.place(1), "ranges").await.unwrap();
    world.recovery().rebuild_shard_map("ranges", &[world.place(0), world.place(1)]).await.unwrap();
    assert_eq!(world.brief(1).await, [(100, 200, ON)]);
}

pub async fn points_are_rebuilt_and_claimed_twice<E: Environment>() {
    let world = World::<E>::new().await;
    let map: ListShardMap<i64, _> = world.map.manager().create_list_shard_map("points").await.unwrap();
    for number in 0..2 {
        let shard = map.create_shard(&world.place(number)).await.unwrap();
        let low = i64::try_from(number).unwrap() * 10;
        for key in low..low + 3 {
            let _ = map.create_mapping(key, &shard).await.unwrap();
        }
    }
    let keys = async || {
        let all = map.mappings().await.unwrap();
        let mut keys: Vec<_> = all.iter().map(|it| (it.key(), it.shard().location().clone())).collect();
        keys.sort();
        keys
    };
    let before = keys().await;
    let places = [world.place(0), world.place(1)];
    let shard = |number: usize| map.shard(&places[number]);
    // The global store has one key at the wrong shard, one too many, and lacks the others.
    let wrong = |shard: &shardlet::Shard, key: i64| super::fixture::point(map.info(), shard, &key, ON);
    let (first, second) = (shard(0).await.unwrap(), shard(1).await.unwrap());
    super::fixture::put_global(world.backend(), map.info(), &second, Vec::new()).await;
    super::fixture::put_global(world.backend(), map.info(), &first, vec![wrong(&first, 11), wrong(&first, 99)]).await;
    world.recovery().rebuild_shard_map("points", &places).await.unwrap();
    assert_eq!(keys().await, before);
    world.assert_agree("rebuilt").await;

    let first = shard(0).await.unwrap();
    let claims = vec![wrong(&first, 1), wrong(&first, 12)];
    put_local(world.backend(), map.info(), &first, &places[0], claims).await;
    let error = world.recovery().rebuild_shard_map("points", &places).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlaps, "{error}");
    assert_eq!(keys().await, before);
}

/// What an unreachable shard leaves unfinished keeps its map from being rebuilt only if that shard is named.
pub async fn a_dead_shard_that_is_not_named_does_not_matter<E: Environment>() {
    let world = World::<E>::new().await;
    let client = world.client().await;
    let third = client.map.shard(&world.place(2)).await.unwrap();
    client.abandon(Call::EndDo, Fault::HoldBefore, client.map.create_mapping(700..800, &third)).await;
    world.set_global(0, Vec::new()).await;
    let gone = Error::new(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "injected by the test");
    client.probe.inject(Call::LockOperationAt(world.place(2)), 100, Fault::FailBefore(gone));
    client.recovery().rebuild_shard_map("ranges", &[world.place(0), world.place(1)]).await.unwrap();
    assert_eq!(world.brief(0).await, [(0, 100, ON)]);
    assert_eq!(world.map.manager().undo_pending_operations().await.unwrap(), 1);
    world.assert_agree("in the end").await;
}
