//! Shards whose databases were renamed, or are on another server now.

use shardlet::{Error, ErrorCode, ErrorKind, ListShardMap, Resolution, ShardLocation};

use super::fixture::{Client, OFF, ON, World, copy_store, local_contents, look, put_local_beside};
use crate::conformance::Environment;
use crate::support::probe::{Call, Fault};

fn unreachable() -> Error {
    Error::new(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "injected by the test")
}

impl<E: Environment> World<E> {
    /// Nobody reaches the database at a place, as far as operations go.
    fn cut_off(client: &Client<E::Backend>, place: &ShardLocation) {
        client.probe.inject(Call::LockOperationAt(place.clone()), 1_000, Fault::FailBefore(unreachable()));
    }
}

pub async fn a_shard_of_several_maps_is_at_its_new_place<E: Environment>() {
    let world = World::<E>::new().await;
    let points: ListShardMap<i64, _> = world.map.manager().create_list_shard_map("points").await.unwrap();
    let shard = points.create_shard(&world.place(0)).await.unwrap();
    let _ = points.create_mapping(7, &shard).await.unwrap();
    let _ = points.create_shard(&world.place(1)).await.unwrap();
    world.make_store(3).await;
    world.copy_store(0, 3).await;
    copy_store(world.backend(), points.info(), &world.place(0), &world.place(3)).await;
    let ids = [world.global(0).await[0].id, points.mapping_for_key(&7).await.unwrap().id()];
    let old = local_contents(world.backend(), &world.place(0)).await;

    let client = world.client().await;
    World::<E>::cut_off(&client, &world.place(0));
    let mut moved = client.recovery().relocate(&world.place(0), &world.place(3)).await.unwrap();
    moved.sort_by_key(|shard| shard.shard_map_id() != world.map.id());
    assert_eq!(moved, [world.shard(3).await, points.shard(&world.place(3)).await.unwrap()]);
    assert_eq!(moved[1].id(), shard.id());
    assert!(world.map.find_shard(&world.place(0)).await.unwrap().is_none());
    for differences in world.recovery().detect(&world.place(3)).await.unwrap() {
        assert!(differences.is_empty(), "{differences}");
    }
    assert_eq!([world.global(3).await[0].id, points.mapping_for_key(&7).await.unwrap().id()], ids);
    assert_eq!(local_contents(world.backend(), &world.place(0)).await, old, "what is at the old place is not asked");
    // The old copy would vouch for what this process has in its cache.
    world.map.clear_cache();
    assert_eq!(world.route(7).await.unwrap().shard().location(), &world.place(3));
    assert_eq!(world.route(150).await.unwrap().shard().location(), &world.place(1));

    let error = world.recovery().relocate(&world.place(0), &world.place(3)).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, ErrorCode::ShardDoesNotExist), "{error}");
}

pub async fn a_shard_whose_database_is_older_is_relocated_and_then_resolved<E: Environment>() {
    let world = World::<E>::new().await;
    world.make_store(3).await;
    world.copy_store(0, 3).await;
    let mapping = world.map.lookup_mapping(&7).await.unwrap();
    let _ = world.map.split_mapping(mapping, 50).await.unwrap();
    let _ = world.recovery().relocate(&world.place(0), &world.place(3)).await.unwrap();
    let differences = look(&world.recovery(), &world.place(3)).await;
    assert_eq!((differences.of_shard().len(), differences.of_mappings().len()), (0, 2), "{differences}");
    world.recovery().resolve(&differences, Resolution::KeepGlobal).await.unwrap();
    assert!(look(&world.recovery(), &world.place(3)).await.is_empty());
    assert_eq!(world.brief(3).await, [(0, 50, ON), (50, 100, ON)]);
}

pub async fn a_database_of_another_shard_is_refused<E: Environment>() {
    let world = World::<E>::new().await;
    world.make_store(3).await;
    let nowhere = ShardLocation::new("no-such-server.invalid", "no_such_database");
    let cases = [
        (world.place(1), ErrorKind::AlreadyExists),
        (world.place(3), ErrorKind::NotFound),
        (nowhere, ErrorKind::Unavailable),
        (ShardLocation::new("", ""), ErrorKind::InvalidInput),
    ];
    for (place, kind) in cases {
        let before = world.contents().await;
        let error = world.recovery().relocate(&world.place(0), &place).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(world.contents().await, before, "{place}");
        assert!(world.is_at_rest().await, "{place}");
    }
    world.assert_agree("nothing was relocated").await;
}

/// One of the maps has another shard at the new place. None is relocated, in whichever order the maps come.
pub async fn a_place_that_is_taken_in_one_map_is_refused_for_all<E: Environment>() {
    for taken in ["ranges", "points"] {
        let world = World::<E>::new().await;
        let points: ListShardMap<i64, _> = world.map.manager().create_list_shard_map("points").await.unwrap();
        let _ = points.create_shard(&world.place(0)).await.unwrap();
        // The database at the new place knows the shard of each map, beside another one.
        let (old, new) = (world.place(0), world.place(1));
        if taken == "ranges" {
            let row = world.shard(0).await;
            let other = world.shard(1).await.id();
            put_local_beside(world.backend(), world.map.info(), &row, &new, world.local(0).await, &[other]).await;
            copy_store(world.backend(), points.info(), &old, &new).await;
        } else {
            let other = points.create_shard(&new).await.unwrap().id();
            let row = points.shard(&old).await.unwrap();
            put_local_beside(world.backend(), points.info(), &row, &new, Vec::new(), &[other]).await;
            let _ = world.recovery().detach(&new, "ranges").await.unwrap();
            copy_store(world.backend(), world.map.info(), &old, &new).await;
        }
        let before = world.contents().await;
        let error = world.recovery().relocate(&old, &new).await.unwrap_err();
        let expected = (ErrorKind::AlreadyExists, ErrorCode::ShardLocationAlreadyExists);
        assert_eq!((error.kind(), error.code()), expected, "{taken}: {error}");
        assert_eq!(world.contents().await, before, "{taken}");
        assert!(world.is_at_rest().await);
    }
}

/// The operation that was under way when the server died is undone where the database is now.
pub async fn what_was_unfinished_is_undone_at_the_new_place<E: Environment>() {
    for moves in [false, true] {
        let world = World::<E>::new().await;
        world.fill(0, &[(0, 50, ON), (50, 100, OFF)]).await;
        let client = world.client().await;
        let mapping = client.map.mapping_for_key(&70).await.unwrap();
        if moves {
            let other = world.shard(1).await;
            client.abandon(Call::EndDo, Fault::HoldBefore, client.map.move_mapping(mapping, &other)).await;
        } else {
            client.abandon(Call::EndDo, Fault::HoldBefore, client.map.split_mapping(mapping, 60)).await;
        }
        world.make_store(3).await;
        world.copy_store(0, 3).await;
        World::<E>::cut_off(&client, &world.place(0));
        let _ = client.recovery().relocate(&world.place(0), &world.place(3)).await.unwrap();
        assert_eq!(world.brief(3).await, [(0, 50, ON), (50, 100, OFF)], "moves: {moves}");
        assert!(world.is_at_rest().await);
        for place in [world.place(3), world.place(1)] {
            let differences = look(&world.recovery(), &place).await;
            assert!(differences.is_empty(), "moves: {moves}: {differences}");
        }
    }
}

/// The client dies in the middle, at the first map or at the second.
pub async fn it_goes_on_where_it_stopped<E: Environment>() {
    for passing in [0, 1] {
        let world = World::<E>::new().await;
        let points: ListShardMap<i64, _> = world.map.manager().create_list_shard_map("points").await.unwrap();
        let _ = points.create_shard(&world.place(0)).await.unwrap();
        world.make_store(3).await;
        world.copy_store(0, 3).await;
        copy_store(world.backend(), points.info(), &world.place(0), &world.place(3)).await;
        let client = world.client().await;
        client.probe.inject(Call::EndDo, passing, Fault::Pass);
        let (old, new) = (world.place(0), world.place(3));
        let recovery = client.recovery();
        client.abandon(Call::EndDo, Fault::HoldBefore, recovery.relocate(&old, &new)).await;
        let moved = world.recovery().relocate(&old, &new).await.unwrap();
        assert_eq!(moved.len(), 2 - passing, "those that were left");
        assert!(world.is_at_rest().await);
        for differences in world.recovery().detect(&new).await.unwrap() {
            assert!(differences.is_empty(), "{differences}");
        }
        world.map.clear_cache();
        assert_eq!(world.route(7).await.unwrap().shard().location(), &new);
    }
}

/// The new place dies in the middle: the shard can go to yet another one, or be given up.
pub async fn the_new_place_may_die_too<E: Environment>() {
    for given_up in [false, true] {
        let world = World::<E>::new().await;
        for number in [3, 4] {
            world.make_store(number).await;
            world.copy_store(0, number).await;
        }
        let client = world.client().await;
        let (old, new) = (world.place(0), world.place(3));
        let recovery = client.recovery();
        client.abandon(Call::EndDo, Fault::HoldBefore, recovery.relocate(&old, &new)).await;
        for place in [&old, &new] {
            World::<E>::cut_off(&client, place);
        }
        if given_up {
            assert_eq!(client.recovery().detach(&old, "ranges").await.unwrap(), 1);
        } else {
            let _ = client.recovery().relocate(&old, &world.place(4)).await.unwrap();
            world.map.clear_cache();
            assert_eq!(world.route(7).await.unwrap().shard().location(), &world.place(4));
            assert!(look(&world.recovery(), &world.place(4)).await.is_empty());
        }
        assert!(world.is_at_rest().await);
    }
}

/// The same database by another address.
pub async fn an_address_is_changed<E: Environment>() {
    let world = World::<E>::new().await;
    let new = world.place(0).with_protocol(shardlet::Protocol::Tcp);
    for (from, to) in [(world.place(0), new.clone()), (new.clone(), new.clone()), (new.clone(), world.place(0))] {
        let moved = world.recovery().relocate(&from, &to).await.unwrap();
        assert_eq!(moved[0].location(), &to);
        assert!(look(&world.recovery(), &to).await.is_empty());
        assert_eq!(world.route(7).await.unwrap().shard().location(), &to);
    }
    world.assert_agree("back again").await;
}
