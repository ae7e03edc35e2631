//! Shards and maps that only a shard's own store knows.

use shardlet::gsm::GlobalStore;
use shardlet::{
    CreateMode, ErrorCode, ErrorKind, ListShardMap, Options, RangeShardMap, Resolution, Shard, ShardId,
    ShardMapManager, ShardVersion,
};

use super::fixture::{ON, World, local_contents, look, put_local_beside};
use crate::conformance::Environment;

pub async fn a_detached_shard_is_attached_again<E: Environment>() {
    let world = World::<E>::new().await;
    let before = world.shard(1).await;
    let local = local_contents(world.backend(), &world.place(1)).await;
    let _ = world.recovery().detach(&world.place(1), "ranges").await.unwrap();
    // Names compare as everywhere.
    let shard = world.recovery().attach(&world.place(1), "Ranges ").await.unwrap();
    assert_eq!((shard.id(), shard.location(), shard.status()), (before.id(), before.location(), before.status()));
    assert_eq!(shard, world.shard(1).await);
    assert_eq!(local_contents(world.backend(), &world.place(1)).await, local, "the mappings are not taken along");
    assert_eq!(world.brief(1).await, []);
    let differences = world.look(1).await;
    assert_eq!((differences.of_shard().len(), differences.of_mappings().len()), (0, 1), "{differences}");
    world.recovery().resolve(&differences, Resolution::KeepLocal).await.unwrap();
    assert_eq!(world.brief(1).await, [(100, 200, ON)]);
    world.assert_agree("attached").await;
    assert!(world.route(150).await.is_ok());
}

pub async fn a_shard_is_attached_at_another_place<E: Environment>() {
    let world = World::<E>::new().await;
    world.make_store(3).await;
    world.copy_store(1, 3).await;
    let _ = world.recovery().detach(&world.place(1), "ranges").await.unwrap();
    let shard = world.recovery().attach(&world.place(3), "ranges").await.unwrap();
    assert_eq!(shard.location(), &world.place(3));
    let differences = look(&world.recovery(), &world.place(3)).await;
    assert!(differences.of_shard().is_empty(), "its own store knows the place: {differences}");
    world.recovery().resolve(&differences, Resolution::KeepLocal).await.unwrap();
    assert_eq!(world.route(150).await.unwrap().shard().location(), &world.place(3));
}

pub async fn only_the_named_map_is_attached<E: Environment>() {
    let world = World::<E>::new().await;
    let points: ListShardMap<i64, _> = world.map.manager().create_list_shard_map("points").await.unwrap();
    let shard = points.create_shard(&world.place(1)).await.unwrap();
    let _ = points.create_mapping(7, &shard).await.unwrap();
    for map in ["ranges", "points"] {
        assert_eq!(world.recovery().detach(&world.place(1), map).await.unwrap(), 1);
    }
    let attached = world.recovery().attach(&world.place(1), "points").await.unwrap();
    assert_eq!(attached.id(), shard.id());
    assert!(world.map.find_shard(&world.place(1)).await.unwrap().is_none());
}

pub async fn what_cannot_be_attached_is_refused<E: Environment>() {
    let world = World::<E>::new().await;
    let refused = async |number: usize, map: &str, kind: ErrorKind, code: ErrorCode| {
        let before = world.contents().await;
        let error = world.recovery().attach(&world.place(number), map).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, code), "{error}");
        assert!(error.to_string().starts_with("AttachShard: "), "{error}");
        assert_eq!(world.contents().await, before);
        assert!(world.is_at_rest().await);
        error
    };
    let error = refused(0, "ranges", ErrorKind::AlreadyExists, ErrorCode::ShardAlreadyExists).await;
    assert!(!error.to_string().contains("relocate"), "it is there already: {error}");
    let _ = refused(0, "no such map", ErrorKind::NotFound, ErrorCode::ShardNotValid).await;
    let error = world.recovery().attach(&world.place(0), " ").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");

    world.make_store(3).await;
    let _ = refused(3, "ranges", ErrorKind::NotFound, ErrorCode::ShardNotValid).await;
    // A copy of a shard that is registered where it was.
    world.copy_store(0, 3).await;
    let error = refused(3, "ranges", ErrorKind::AlreadyExists, ErrorCode::ShardAlreadyExists).await;
    assert!(error.to_string().contains("relocate"), "{error}");

    // The map has another shard at the place.
    let stranger = ShardId::random();
    let row = world.shard(1).await;
    let row = Shard::new(stranger, ShardVersion::random(), row.shard_map_id(), row.location().clone(), row.status());
    let _ = world.recovery().detach(&world.place(1), "ranges").await.unwrap();
    put_local_beside(world.backend(), world.map.info(), &row, &world.place(1), Vec::new(), &[]).await;
    let _ = world.recovery().attach(&world.place(1), "ranges").await.unwrap();
    let row =
        Shard::new(ShardId::random(), ShardVersion::random(), row.shard_map_id(), row.location().clone(), row.status());
    put_local_beside(world.backend(), world.map.info(), &row, &world.place(1), Vec::new(), &[]).await;
    let _ = refused(1, "ranges", ErrorKind::AlreadyExists, ErrorCode::ShardLocationAlreadyExists).await;
}

/// Nothing is left but the databases of the shards.
pub async fn a_lost_global_store_is_made_again_from_the_shards<E: Environment>() {
    let world = World::<E>::new().await;
    let points: ListShardMap<i64, _> = world.map.manager().create_list_shard_map("points").await.unwrap();
    let shard = points.create_shard(&world.place(2)).await.unwrap();
    let _ = points.create_mapping(7, &shard).await.unwrap();
    world.fill(2, &[(900, 950, shardlet::MappingStatus::Offline)]).await;
    let before = [world.brief(0).await, world.brief(1).await, world.brief(2).await];

    let manager =
        ShardMapManager::create(world.backend().clone(), CreateMode::Replace, Options::default()).await.unwrap();
    let recovery = manager.recovery();
    let error = recovery.attach(&world.place(0), "ranges").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist), "{error}");
    for (number, map, id) in [(0, "ranges", world.map.id()), (2, "points", points.id()), (1, "ranges", world.map.id())]
    {
        for _ in 0..2 {
            let info = recovery.restore_shard_map(&world.place(number), map).await.unwrap();
            assert_eq!((info.name(), info.id()), (map, id));
        }
    }
    for number in 0..3 {
        let _ = recovery.attach(&world.place(number), "ranges").await.unwrap();
    }
    let _ = recovery.attach(&world.place(2), "points").await.unwrap();
    recovery.rebuild_shard_map("ranges", &world.places()).await.unwrap();
    recovery.rebuild_shard_map("points", &[world.place(2)]).await.unwrap();
    world.assert_agree("made again").await;
    assert_eq!([world.brief(0).await, world.brief(1).await, world.brief(2).await], before);
    // A process that ran all the time goes on.
    assert_eq!(world.route(150).await.unwrap().shard().location(), &world.place(1));
    assert_eq!(points.mapping_for_key(&7).await.unwrap().shard().location(), &world.place(2));
}

pub async fn a_map_whose_name_is_taken_is_not_restored<E: Environment>() {
    let world = World::<E>::new().await;
    let manager =
        ShardMapManager::create(world.backend().clone(), CreateMode::Replace, Options::default()).await.unwrap();
    let _other: RangeShardMap<i64, _> = manager.create_range_shard_map("ranges").await.unwrap();
    let error = manager.recovery().restore_shard_map(&world.place(0), "ranges").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::AlreadyExists, ErrorCode::ShardMapAlreadyExists), "{error}");
    let error = manager.recovery().attach(&world.place(0), "ranges").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist), "{error}");
    let error = manager.recovery().restore_shard_map(&world.place(0), "unknown").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, ErrorCode::ShardNotValid), "{error}");
    assert_eq!(world.backend().shard_maps().await.unwrap().len(), 1);
}

/// Two shards of one map in one database: each is attached by its own address.
pub async fn one_of_two_neighbours_is_attached<E: Environment>() {
    let world = World::<E>::new().await;
    let other_address = world.place(1).with_protocol(shardlet::Protocol::Tcp);
    let neighbour = world.map.create_shard(&other_address).await.unwrap();
    let _ = world.map.create_mapping(300..310, &neighbour).await.unwrap();
    for place in [&world.place(1), &other_address] {
        assert_eq!(world.recovery().detach(place, "ranges").await.unwrap(), 1);
    }
    let attached = world.recovery().attach(&other_address, "ranges").await.unwrap();
    assert_eq!((attached.id(), attached.location()), (neighbour.id(), &other_address));
    let attached = world.recovery().attach(&world.place(1), "ranges").await.unwrap();
    assert_eq!(attached.location(), &world.place(1));
    world.recovery().rebuild_shard_map("ranges", &[world.place(1), other_address.clone()]).await.unwrap();
    world.assert_agree("both").await;
    assert!(look(&world.recovery(), &other_address).await.is_empty());
}
