//! Every operation of managers and maps, through the public API.

use shardlet::{
    BulkOptions, CreateMode, ErrorCode, ErrorKind, KeyRange, ListShardMap, LockToken, MappingFilter, MappingStatus,
    MappingUpdate, Options, PlanAction, RangeMapping, RangeShardMap, Shard, ShardMapKind, ShardMapManager, ShardStatus,
    SqlServer, SqlServerOptions, Validation,
};
use uuid::Uuid;

use crate::conformance::Environment;
use crate::environment::Live;
use crate::model::{list_map_does_what_the_model_does, range_map_does_what_the_model_does, some_sequences};
use crate::sample_keys::{Sample, for_each_key_type};
use crate::server::credentials;
use crate::support::consistency::assert_consistent;

trials! { operations {
    managers_and_maps,
    shards_are_created_updated_and_deleted,
    keys_of_every_type,
    ranges_of_every_type,
    many_mappings_at_once,
    stale_and_wrong_calls_are_refused,
    list_maps_do_what_the_model_does,
    range_maps_do_what_the_model_does,
} }

/// Names that test quoting and lengths.
fn names() -> Vec<String> {
    let odd = ["plain", "it's \"quoted\"", "[brackets]] and --", "\u{1f980} crab \u{4e2d}\u{6587}", "%_; --"];
    odd.iter().map(|name| (*name).to_owned()).chain(["n".repeat(50)]).collect()
}

async fn managers_and_maps() {
    let env = Live::new().await;
    let backend = || env.databases.backend(SqlServerOptions::default());
    assert!(ShardMapManager::try_open(backend(), Options::default()).await.unwrap().is_none());
    let missing = ShardMapManager::open(backend(), Options::default()).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let manager = ShardMapManager::create(backend(), CreateMode::Keep, Options::default()).await.unwrap();
    let twice = ShardMapManager::create(backend(), CreateMode::Keep, Options::default()).await.unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::AlreadyExists);
    assert!(ShardMapManager::try_open(backend(), Options::default()).await.unwrap().is_some());

    for (number, name) in names().iter().enumerate() {
        let number_of_maps = manager.shard_maps().await.unwrap().len();
        if number % 2 == 0 {
            let map: ListShardMap<i64, _> = manager.create_list_shard_map(name).await.unwrap();
            assert_eq!(map.name(), name);
            assert_eq!(manager.list_shard_map::<i64>(name).await.unwrap().id(), map.id(), "{name}");
            assert!(manager.find_range_shard_map::<i64>(name).await.is_err(), "{name}");
        } else {
            let map: RangeShardMap<i64, _> = manager.create_range_shard_map(name).await.unwrap();
            assert_eq!(manager.find_range_shard_map::<i64>(name).await.unwrap().unwrap().id(), map.id(), "{name}");
            let wrong = manager.range_shard_map::<i32>(name).await.unwrap_err();
            assert_eq!(wrong.kind(), ErrorKind::WrongKeyType, "{name}");
        }
        let twice = manager.create_list_shard_map::<i64>(&name.to_uppercase()).await.unwrap_err();
        assert_eq!(twice.kind(), ErrorKind::AlreadyExists, "{name}");
        let info = manager.shard_map(name).await.unwrap();
        let kind = if number % 2 == 0 { ShardMapKind::List } else { ShardMapKind::Range };
        assert_eq!((info.name(), info.kind()), (name.as_str(), kind));
        assert_eq!(manager.shard_maps().await.unwrap().len(), number_of_maps + 1);
    }
    let long = manager.create_list_shard_map::<i64>(&"n".repeat(51)).await.unwrap_err();
    assert_eq!(long.kind(), ErrorKind::InvalidInput);

    let map: ListShardMap<i64, _> = manager.list_shard_map_or_create("plain").await.unwrap();
    let shard = map.create_shard(&env.location(0)).await.unwrap();
    assert_eq!(manager.shard_locations().await.unwrap(), [env.location(0)]);
    assert_eq!(manager.delete_shard_map("plain").await.unwrap_err().kind(), ErrorKind::InUse);
    map.delete_shard(shard).await.unwrap();
    for name in names() {
        manager.delete_shard_map(&name).await.unwrap();
        assert!(manager.find_shard_map(&name).await.unwrap().is_none(), "{name}");
        // It may be gone already.
        manager.delete_shard_map(&name).await.unwrap();
    }
    assert_eq!(manager.undo_pending_operations().await.unwrap(), 0);
    let _ = manager.create_range_shard_map::<i32>("left").await.unwrap();
    let replaced = ShardMapManager::create(backend(), CreateMode::Replace, Options::default()).await.unwrap();
    assert!(replaced.shard_maps().await.unwrap().is_empty());
    assert_consistent(env.backend(), &env.places(), "after all").await;
}

async fn shards_are_created_updated_and_deleted() {
    let env = Live::new().await;
    let manager = env.manager().await;
    for name in ["it's [one]", "two"] {
        let map: RangeShardMap<i64, _> = manager.create_range_shard_map(name).await.unwrap();
        let create = map.create_shard(&env.location(0));
        let plan = create.plan().unwrap();
        assert_eq!(plan.steps().len(), 3);
        assert!(matches!(plan.steps()[1].actions(), [PlanAction::AddShard(_)]));
        assert!(map.shards().await.unwrap().is_empty(), "a plan changes nothing");
        let shard = create.await.unwrap();
        let twice = map.create_shard(&env.location(0)).await.unwrap_err();
        assert_eq!(twice.kind(), ErrorKind::AlreadyExists);
        assert_eq!(map.shard_or_create(&env.location(0)).await.unwrap(), shard);
        let second = map.create_shard(&env.location(1)).await.unwrap();
        assert_eq!(map.find_shard(&env.location(1)).await.unwrap(), Some(second.clone()));
        assert_eq!(map.find_shard(&env.location(2)).await.unwrap(), None);
        assert_eq!(map.shards().await.unwrap().len(), 2);

        let offline = map.update_shard(shard.clone(), ShardStatus::Offline).await.unwrap();
        assert_eq!(offline.status(), ShardStatus::Offline);
        let disabled = map.create_mapping(0..10, &offline).await.unwrap_err();
        assert_eq!((disabled.kind(), disabled.code()), (ErrorKind::Disabled, ErrorCode::ShardIsDisabled));
        let stale = map.update_shard(shard.clone(), ShardStatus::Online).await.unwrap_err();
        assert_eq!(stale.kind(), ErrorKind::Stale);
        let stale = map.delete_shard(shard).await.unwrap_err();
        assert_eq!(stale.kind(), ErrorKind::Stale);
        let online = map.update_shard(offline, ShardStatus::Online).await.unwrap();
        let mapping = map.create_mapping(0..10, &online).await.unwrap();
        let online = map.shard(&env.location(0)).await.unwrap();
        assert_eq!(map.delete_shard(online.clone()).await.unwrap_err().kind(), ErrorKind::InUse);
        let mapping = map.mark_mapping_offline(mapping).await.unwrap();
        map.delete_mapping(mapping).await.unwrap();
        map.delete_shard(map.shard(&env.location(0)).await.unwrap()).await.unwrap();
        assert_eq!(map.delete_shard(online).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert_eq!(manager.shard_locations().await.unwrap(), [env.location(1)]);
    assert_consistent(env.backend(), &env.places(), "after all").await;
}

async fn points<K: Sample>(env: &Live, shards: usize) {
    let manager = env.manager().await;
    let name = &format!("points {}", Uuid::new_v4());
    let map: ListShardMap<K, SqlServer> = manager.create_list_shard_map(name).await.unwrap();
    let on = env.shards(&map, shards).await;
    let mut made = Vec::new();
    for (number, key) in K::ascending().into_iter().enumerate() {
        made.push(map.create_mapping(key.clone(), &on[number % shards]).await.unwrap());
        let twice = map.create_mapping(key, &on[0]).await.unwrap_err();
        assert_eq!(twice.kind(), ErrorKind::AlreadyExists);
    }
    assert_eq!(map.mappings().await.unwrap(), made, "{name}: in the order of the keys");
    for (number, mapping) in made.into_iter().enumerate() {
        let key = mapping.key();
        assert_eq!(map.mapping_for_key(&key).await.unwrap(), mapping, "{key:?}");
        let open = map.open_connection_for_key(&key, &credentials(), Validation::Validate).await.unwrap();
        assert_eq!(open.location(), on[number % shards].location(), "{key:?}");
        drop(open);
        let offline = map.mark_mapping_offline(mapping).await.unwrap();
        let moved = map.move_mapping(offline, &on[(number + 1) % shards]).await.unwrap();
        map.delete_mapping(moved).await.unwrap();
        assert!(map.find_mapping_for_key(&key).await.unwrap().is_none(), "{key:?}");
    }
    assert_consistent(env.backend(), &env.places(), name).await;
}

async fn keys_of_every_type() {
    let env = &Live::new().await;
    for_each_key_type!(points, env, 2);
}

async fn ranges<K: Sample>(env: &Live, shards: usize) {
    let manager = env.manager().await;
    let name = &format!("ranges {}", Uuid::new_v4());
    let map: RangeShardMap<K, SqlServer> = manager.create_range_shard_map(name).await.unwrap();
    let on: Vec<Shard> = env.shards(&map, shards).await;
    let mut rest: RangeMapping<K> = map.create_mapping(.., &on[0]).await.unwrap();
    let mut parts = Vec::new();
    for key in K::ascending().into_iter().skip(1) {
        let split = map.split_mapping(rest, key.clone());
        assert_eq!(split.plan().unwrap().steps().len(), 3);
        let (below, above) = split.await.unwrap();
        parts.push(below);
        rest = above;
        let overlapping = map.create_mapping(KeyRange::new(Some(key), None), &on[1]).await.unwrap_err();
        assert_eq!(overlapping.code(), ErrorCode::MappingRangeAlreadyMapped);
    }
    parts.push(rest);
    assert_eq!(map.mappings().await.unwrap(), parts, "{name}");
    // Every other one goes to another shard and back, and then all become one again.
    let mut whole: Option<RangeMapping<K>> = None;
    for (number, part) in parts.into_iter().enumerate() {
        let mut part = map.mark_mapping_offline(part).await.unwrap();
        if number % 2 == 1 {
            part = map.move_mapping(part, &on[1]).await.unwrap();
            assert_eq!(map.mappings_matching(&MappingFilter::all().on_shard(&on[1])).await.unwrap(), [part.clone()]);
            part = map.move_mapping(part, &on[0]).await.unwrap();
        }
        whole = Some(match whole {
            None => part,
            Some(left) => map.merge_mappings(left, part).await.unwrap(),
        });
    }
    let whole = map.mark_mapping_online(whole.unwrap()).await.unwrap();
    assert_eq!(whole.range(), KeyRange::from(..));
    for key in K::ascending() {
        let open = map.open_connection_for_key(&key, &credentials(), Validation::Validate).await.unwrap();
        assert_eq!(open.location(), on[0].location(), "{key:?}");
    }
    assert_consistent(env.backend(), &env.places(), name).await;
}

async fn ranges_of_every_type() {
    let env = &Live::new().await;
    for_each_key_type!(ranges, env, 2);
}

fn kind<T: std::fmt::Debug>(outcome: shardlet::Result<T>) -> ErrorKind {
    outcome.unwrap_err().kind()
}

async fn stale_and_wrong_calls_are_refused() {
    let env = Live::new().await;
    let manager = env.manager().await;
    let map: RangeShardMap<i64, _> = manager.create_range_shard_map("ranges").await.unwrap();
    let on = env.shards(&map, 2).await;
    let low = map.create_mapping(0..10, &on[0]).await.unwrap();
    let high = map.create_mapping_with(10..20, &on[0], MappingStatus::Offline).await.unwrap();
    let far = map.create_mapping(20..30, &on[1]).await.unwrap();
    assert_eq!(kind(map.delete_mapping(low.clone()).await), ErrorKind::NotOffline);
    assert_eq!(kind(map.move_mapping(low.clone(), &on[1]).await), ErrorKind::NotOffline);
    assert_eq!(kind(map.split_mapping(low.clone(), 10).await), ErrorKind::InvalidInput);
    assert_eq!(kind(map.merge_mappings(low.clone(), high.clone()).await), ErrorKind::InvalidInput);
    assert_eq!(kind(map.merge_mappings(high.clone(), far.clone()).await), ErrorKind::InvalidInput);
    assert_eq!(kind(map.create_mapping(5..15, &on[1]).await), ErrorKind::Overlaps);
    let update = MappingUpdate::new().status(MappingStatus::Offline).shard(&on[1]);
    let update = map.update_mapping(high.clone(), &update);
    assert_eq!(update.plan().unwrap().steps().len(), 4);
    let moved = update.await.unwrap();
    assert_eq!(moved.shard().location(), on[1].location());
    let stale = high;
    assert_eq!(kind(map.mark_mapping_online(stale.clone()).await), ErrorKind::Stale);
    assert_eq!(kind(map.delete_mapping(stale.clone()).await), ErrorKind::Stale);
    assert_eq!(kind(map.split_mapping(stale.clone(), 15).await), ErrorKind::Stale);
    assert_eq!(kind(map.lock_mapping(stale, LockToken::random()).await), ErrorKind::Stale);

    let token = LockToken::random();
    let locked = map.lock_mapping(far.clone(), token).await.unwrap();
    assert_eq!(map.mapping_lock_owner(&far).await.unwrap(), token);
    assert_eq!(kind(map.lock_mapping(far.clone(), LockToken::random()).await), ErrorKind::Locked);
    assert_eq!(kind(map.mark_mapping_offline(far.clone()).await), ErrorKind::Locked);
    assert_eq!(kind(map.unlock_mapping(far.clone(), LockToken::random()).await), ErrorKind::Locked);
    let offline = map.mark_mapping_offline(locked).await.unwrap();
    let free = map.unlock_mapping(offline, token).await.unwrap();
    let _ = map.lock_mapping(free, token).await.unwrap();
    let _ = map.lock_mapping(low, token).await.unwrap();
    assert_eq!(map.unlock_mappings(token).await.unwrap(), 2);
    assert_eq!(map.unlock_mappings(token).await.unwrap(), 0);
    assert_consistent(env.backend(), &env.places(), "after all").await;
}

const SEQUENCES: u32 = 6;
const LONGEST: usize = 45;

async fn list_maps_do_what_the_model_does() {
    let env = Live::new().await;
    for (number, steps) in some_sequences(SEQUENCES, LONGEST).iter().enumerate() {
        let verdict = list_map_does_what_the_model_does(&env, &format!("map {number}"), steps).await;
        verdict.unwrap_or_else(|failure| panic!("sequence {number}: {failure}\n{steps:#?}"));
    }
}

async fn range_maps_do_what_the_model_does() {
    let env = Live::new().await;
    for (number, steps) in some_sequences(SEQUENCES, LONGEST).iter().enumerate() {
        let verdict = range_map_does_what_the_model_does(&env, &format!("map {number}"), steps).await;
        verdict.unwrap_or_else(|failure| panic!("sequence {number}: {failure}\n{steps:#?}"));
    }
}

async fn many_mappings_at_once() {
    let env = Live::new().await;
    let manager =
        ShardMapManager::open_or_create(env.databases.backend(SqlServerOptions::default()), Options::default());
    let manager = manager.await.unwrap();
    let points: ListShardMap<i64, _> = manager.create_list_shard_map("points").await.unwrap();
    let ranges: RangeShardMap<i64, _> = manager.create_range_shard_map("ranges").await.unwrap();
    let options = BulkOptions::default().batch_size(BulkOptions::MAX_BATCH_SIZE);
    let wanted = |number: i64| usize::from(number >= 1_200);

    let on =
        [points.create_shard(&env.location(0)).await.unwrap(), points.create_shard(&env.location(1)).await.unwrap()];
    let taken = points.create_mapping(2_000, &on[0]).await.unwrap();
    let many = || (0..2_400).map(|key| (key, &on[wanted(key)]));
    let creation = points.create_mappings(many(), &options).unwrap();
    let error = creation.run(drop).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::AlreadyExists, Some("CreateMappings")));
    assert_eq!((creation.progress().created(), creation.progress().left()), (1_201, 1_199));
    assert_consistent(manager.backend(), &[], "refused").await;
    points.delete_mapping(points.mark_mapping_offline(taken).await.unwrap()).await.unwrap();
    let again = points.create_mappings(many(), &options).unwrap();
    assert_eq!(again.skip_existing().await.unwrap(), 1_201);
    assert_eq!(again.run(drop).await.unwrap().created(), 1_199);
    let made = points.mappings().await.unwrap();
    assert!(made.iter().map(|mapping| mapping.key()).eq(0..2_400));
    assert!(made.iter().all(|mapping| mapping.shard().id() == on[wanted(mapping.key())].id()));

    let on =
        [ranges.create_shard(&env.location(0)).await.unwrap(), ranges.create_shard(&env.location(1)).await.unwrap()];
    let creation = ranges.create_mappings(
        (0..2_400).map(|number| (10 * number..10 * number + 10, &on[wanted(number)])),
        &options.clone().status(MappingStatus::Offline),
    );
    let mut told = Vec::new();
    let _ = creation.unwrap().run(|progress| told.push(progress.created())).await.unwrap();
    assert_eq!(told, [1, 1_001, 1_200, 1_201, 2_201, 2_400]);
    let made = ranges.mappings().await.unwrap();
    assert!(made.iter().map(|mapping| *mapping.range().low()).eq((0..2_400).map(|number| 10 * number)));
    assert!(made.iter().all(|mapping| mapping.shard().id() == on[wanted(mapping.range().low() / 10)].id()));
    assert!(made.iter().all(|mapping| mapping.status() == MappingStatus::Offline));
    let overlapping =
        ranges.create_mappings([(-5..0, &on[0]), (-100..-50, &on[0]), (23_999..24_010, &on[0])], &options);
    let overlapping = overlapping.unwrap().beside(&made[0]);
    assert_eq!(overlapping.run(drop).await.unwrap_err().kind(), ErrorKind::Overlaps);
    assert_eq!(ranges.mappings().await.unwrap().len(), 2_400);
    assert_consistent(manager.backend(), &[], "many ranges").await;
}
