//! Differences are resolved: by one choice for all, or by one for each.

use std::collections::HashMap;

use shardlet::model::MappingRecord;
use shardlet::{
    BulkOptions, DifferenceKind, Error, ErrorCode, ErrorKind, KeyRange, ListShardMap, LockToken, MappingId, Options,
    Resolution, Shard, ShardDifference, ShardMapManager, ShardStatus,
};

use super::fixture::{
    Brief, OFF, ON, World, at_version, brief, local_contents, look, point, put_global, put_local, route,
};
use crate::conformance::Environment;
use crate::support::probe::{Call, Fault};
use Resolution::{KeepGlobal, KeepLocal, Leave};

pub async fn nothing_differs_in_a_sound_store<E: Environment>() {
    let world = World::<E>::new().await;
    world.assert_agree("as made").await;
    let differences = world.look(0).await;
    assert!(differences.is_empty() && differences.of_shard().is_empty());
    let before = world.contents().await;
    for resolution in [KeepGlobal, KeepLocal, Leave] {
        world.recovery().resolve(&differences, resolution).await.unwrap();
    }
    assert_eq!(world.contents().await, before, "there was nothing to do");
}

/// The store of shard 0 has lost `[50, 100)`, has `[100, 120)` of shard 1 and `[300, 310)` of nobody.
async fn disagreeing<E: Environment>() -> World<E> {
    let world = World::<E>::new().await;
    let local = world.records(0, &[(0, 50, ON), (100, 120, ON), (300, 310, OFF)]).await;
    world.set_local(0, local).await;
    world
}

pub async fn each_kind_of_difference_is_found<E: Environment>() {
    let world = disagreeing::<E>().await;
    let differences = world.look(0).await;
    let found: Vec<_> = differences
        .of_mappings()
        .iter()
        .map(|difference| {
            let range = difference.range::<i64>().unwrap();
            (*range.low(), *range.high().unwrap(), difference.kind())
        })
        .collect();
    use DifferenceKind::{InBoth, InGlobalOnly, InLocalOnly};
    assert_eq!(found, [(0, 50, InBoth), (50, 100, InGlobalOnly), (100, 120, InBoth), (300, 310, InLocalOnly)]);
    let text = differences.to_string();
    assert!(text.contains("[50:100): Online on") && text.contains("not known to the local store"), "{text}");
}

pub async fn the_global_store_is_kept<E: Environment>() {
    let world = disagreeing::<E>().await;
    let before = [world.brief(0).await, world.brief(1).await];
    world.recovery().resolve(&world.look(0).await, KeepGlobal).await.unwrap();
    assert_eq!([world.brief(0).await, world.brief(1).await], before);
    world.assert_agree("kept global").await;
    assert!(world.route(70).await.is_ok() && world.route(110).await.is_ok());
}

pub async fn the_local_store_is_kept<E: Environment>() {
    let world = disagreeing::<E>().await;
    world.recovery().resolve(&world.look(0).await, KeepLocal).await.unwrap();
    assert_eq!(world.brief(0).await, [(0, 50, ON), (100, 120, ON), (300, 310, OFF)]);
    assert_eq!(world.brief(1).await, [(120, 200, ON)]);
    world.assert_agree("kept local").await;
    assert_eq!(world.route(110).await.unwrap().shard().location(), &world.place(0));
    assert_eq!(world.route(150).await.unwrap().shard().location(), &world.place(1));
    assert_eq!(world.route(70).await.unwrap_err(), ErrorKind::NotFound);
    assert_eq!(world.route(305).await.unwrap_err(), ErrorKind::Offline);
}

pub async fn nothing_is_touched_on_demand<E: Environment>() {
    let world = disagreeing::<E>().await;
    let before = world.contents().await;
    world.recovery().resolve(&world.look(0).await, Leave).await.unwrap();
    assert_eq!(world.contents().await, before);
    // Nor a shard of which nothing but the row differs.
    world.set_local(2, Vec::new()).await;
    let differences = world.look(2).await;
    assert_eq!(differences.of_shard(), [ShardDifference::Version]);
    let before = world.contents().await;
    world.recovery().resolve(&differences, Leave).await.unwrap();
    assert_eq!(world.contents().await, before);
    for resolution in [KeepGlobal, KeepLocal] {
        world.set_local(2, Vec::new()).await;
        world.recovery().resolve(&world.look(2).await, resolution).await.unwrap();
        assert!(world.look(2).await.is_empty(), "{resolution:?}");
    }
}

pub async fn each_difference_is_resolved_by_its_own_choice<E: Environment>() {
    let world = disagreeing::<E>().await;
    let mut asked = Vec::new();
    let (recovery, differences) = (world.recovery(), world.look(0).await);
    let chosen = recovery.resolve_each(&differences, |difference| {
        asked.push(difference.kind());
        match *difference.range::<i64>().unwrap().low() {
            0 => KeepLocal,
            50 => KeepGlobal,
            100 => Leave,
            _ => KeepGlobal,
        }
    });
    chosen.await.unwrap();
    assert_eq!(asked.len(), 4, "each is asked about once");
    assert_eq!(world.brief(0).await, [(0, 50, ON), (50, 100, ON)]);
    assert_eq!(world.brief(1).await, [(100, 200, ON)]);
    assert_eq!(world.local_brief(0).await, [(0, 50, ON), (50, 100, ON), (100, 120, ON)]);
    // What was left is all that is found again.
    let again = world.look(0).await;
    let left: Vec<_> = again.of_mappings().iter().map(|it| *it.range::<i64>().unwrap().low()).collect();
    assert_eq!((left, again.of_shard()), (vec![100], &[][..]));
    assert!(world.look(1).await.is_empty());
    world.recovery().resolve(&again, KeepGlobal).await.unwrap();
    world.assert_agree("all is resolved").await;
}

/// The row of the shard goes with the choice.
pub async fn the_mark_of_the_shard_is_resolved_too<E: Environment>() {
    let world = World::<E>::new().await;
    let shard = world.shard(0).await;
    let offline = Shard::new(
        shard.id(),
        at_version(&shard).version(),
        shard.shard_map_id(),
        shard.location().clone(),
        ShardStatus::Offline,
    );
    for (resolution, expected) in [(KeepGlobal, ShardStatus::Online), (KeepLocal, ShardStatus::Offline)] {
        for with_mappings in [true, false] {
            put_global(world.backend(), world.map.info(), &world.shard(0).await, world.records(0, &[(0, 9, ON)]).await)
                .await;
            let now = world.shard(0).await;
            if now.status() != ShardStatus::Online {
                let _ = world.map.update_shard(now, ShardStatus::Online).await.unwrap();
            }
            let mappings = if with_mappings { world.records(0, &[(0, 7, ON)]).await } else { world.global(0).await };
            put_local(world.backend(), world.map.info(), &offline, &world.place(0), mappings).await;
            let differences = world.look(0).await;
            assert_eq!(differences.of_mappings().is_empty(), !with_mappings);
            world.recovery().resolve(&differences, resolution).await.unwrap();
            assert_eq!(world.shard(0).await.status(), expected, "{resolution:?}, {with_mappings}");
            world.assert_agree(&format!("{resolution:?}, {with_mappings}")).await;
        }
    }
}

pub async fn points_are_resolved<E: Environment>() {
    let world = World::<E>::new().await;
    let manager = world.map.manager();
    let map: ListShardMap<i64, _> = manager.create_list_shard_map("points").await.unwrap();
    let mut shards = Vec::new();
    for number in 0..2 {
        shards.push(map.create_shard(&world.place(number)).await.unwrap());
    }
    for resolution in [KeepLocal, KeepGlobal] {
        let fresh = async |number: usize| map.shard(&world.place(number)).await.unwrap();
        let new = |shard: usize, key: i64, status| point(map.info(), &shards[shard], &key, status);
        let agreed = new(0, 1, ON);
        for number in 0..2 {
            put_global(world.backend(), map.info(), &fresh(number).await, Vec::new()).await;
        }
        let of_second = vec![new(1, 5, ON), new(1, 7, ON)];
        put_global(world.backend(), map.info(), &fresh(1).await, of_second.clone()).await;
        put_local(world.backend(), map.info(), &fresh(1).await, &world.place(1), of_second.clone()).await;
        put_global(world.backend(), map.info(), &fresh(0).await, vec![agreed.clone(), new(0, 2, ON)]).await;
        let local = vec![agreed.clone(), new(0, 5, ON), new(0, 6, OFF)];
        put_local(world.backend(), map.info(), &fresh(0).await, &world.place(0), local).await;

        let found = world.recovery().detect(&world.place(0)).await.unwrap();
        world.recovery().resolve(&found[0], resolution).await.unwrap();
        let keys = async |number: usize| {
            let all = map.mappings().await.unwrap().into_iter();
            let place = world.place(number);
            all.filter(|it| it.shard().location() == &place).map(|it| (it.key(), it.status())).collect::<Vec<_>>()
        };
        let expected = match resolution {
            KeepLocal => (vec![(1, ON), (5, ON), (6, OFF)], vec![(7, ON)]),
            _ => (vec![(1, ON), (2, ON)], vec![(5, ON), (7, ON)]),
        };
        assert_eq!((keys(0).await, keys(1).await), expected, "{resolution:?}");
        let kept = map.mapping_for_key(&1).await.unwrap();
        assert_eq!(kept.id(), agreed.id, "what both stores said is as it was");
        if resolution == KeepLocal {
            assert_eq!(map.mapping_for_key(&7).await.unwrap().id(), of_second[1].id);
            assert_eq!(route::<E, _>(&world.env, &map, 5).await.unwrap().shard().location(), &world.place(0));
        }
        world.assert_agree(&format!("{resolution:?}")).await;
    }
}

/// Keys in the middle of another shard's range: it keeps both ends, in both stores, with its lock.
pub async fn another_shard_gives_up_exactly_the_claimed_keys<E: Environment>() {
    let world = World::<E>::new().await;
    let token = LockToken::random();
    let whole = world.map.lookup_mapping(&150).await.unwrap();
    let _ = world.map.lock_mapping(whole, token).await.unwrap();
    let mut local = world.local(0).await;
    local.extend(world.records(0, &[(110, 120, ON), (140, 160, OFF)]).await);
    world.set_local(0, local).await;
    world.recovery().resolve(&world.look(0).await, KeepLocal).await.unwrap();
    assert_eq!(world.brief(1).await, [(100, 110, ON), (120, 140, ON), (160, 200, ON)]);
    assert_eq!(world.brief(0).await, [(0, 100, ON), (110, 120, ON), (140, 160, OFF)]);
    assert!(world.global(1).await.iter().all(|mapping| mapping.lock_owner == token));
    world.assert_agree("three parts").await;
    for (key, number) in [(105, 1), (115, 0), (130, 1), (170, 1), (50, 0)] {
        assert_eq!(world.route(key).await.unwrap().shard().location(), &world.place(number), "{key}");
    }
}

/// Claims on keys of two other shards at once.
pub async fn several_shards_give_up_keys<E: Environment>() {
    let world = World::<E>::new().await;
    let third = world.shard(2).await;
    let _ = world.map.create_mapping(200..300, &third).await.unwrap();
    let claims = world.records(0, &[(0, 10, ON), (190, 210, ON), (290, 400, ON)]).await;
    world.set_local(0, claims).await;
    world.recovery().resolve(&world.look(0).await, KeepLocal).await.unwrap();
    assert_eq!(world.brief(0).await, [(0, 10, ON), (190, 210, ON), (290, 400, ON)]);
    assert_eq!(world.brief(1).await, [(100, 190, ON)]);
    assert_eq!(world.brief(2).await, [(210, 290, ON)]);
    world.assert_agree("both gave up").await;
}

/// The shard that gives up keys differs itself: it loses them in both stores, and what else differs stays.
pub async fn a_shard_that_differs_itself_gives_up_keys_in_both_stores<E: Environment>() {
    let world = World::<E>::new().await;
    // The other shard's own store has the keys cut otherwise, and one of nobody.
    let of_other = world.records(1, &[(100, 130, ON), (130, 170, OFF), (500, 600, ON)]).await;
    world.set_local(1, of_other).await;
    let mut local = world.local(0).await;
    local.extend(world.records(0, &[(120, 140, ON)]).await);
    world.set_local(0, local).await;
    world.recovery().resolve(&world.look(0).await, KeepLocal).await.unwrap();
    assert_eq!(world.brief(1).await, [(100, 120, ON), (140, 200, ON)]);
    assert_eq!(world.local_brief(1).await, [(100, 120, ON), (140, 170, OFF), (500, 600, ON)]);
    assert!(world.look(0).await.is_empty());
    // The rest is that shard's own affair, and as it was.
    world.recovery().resolve(&world.look(1).await, KeepGlobal).await.unwrap();
    world.assert_agree("both resolved").await;
}

/// An id names one state of a mapping for ever: it never gets other bounds, and what both stores said keeps it.
pub async fn ids_never_get_other_bounds<E: Environment>() {
    for resolution in [KeepGlobal, KeepLocal] {
        let world = World::<E>::empty().await;
        let global = world.records(0, &[(0, 10, ON), (10, 20, ON), (20, 30, ON), (40, 50, ON)]).await;
        world.set_global(0, global.clone()).await;
        let range = |low: i64, high: i64| KeyRange::from(low..high).encode().unwrap();
        let (cut, grown) = (range(12, 18), range(20, 35));
        let local = vec![
            global[0].clone(),
            MappingRecord { low: cut.low, high: cut.high, ..global[1].clone() },
            MappingRecord { low: grown.low, high: grown.high, ..global[2].clone() },
            MappingRecord { status: OFF, ..global[3].clone() },
        ];
        world.set_local(0, local.clone()).await;
        let mut known: HashMap<MappingId, Vec<Brief>> = HashMap::new();
        for mapping in global.iter().chain(&local) {
            known.entry(mapping.id).or_default().push(brief(mapping));
        }
        world.recovery().resolve(&world.look(0).await, resolution).await.unwrap();
        let expected = match resolution {
            KeepGlobal => vec![(0, 10, ON), (10, 20, ON), (20, 30, ON), (40, 50, ON)],
            _ => vec![(0, 10, ON), (12, 18, ON), (20, 35, ON), (40, 50, OFF)],
        };
        assert_eq!(world.brief(0).await, expected, "{resolution:?}");
        for mapping in world.global(0).await {
            let Some(before) = known.get(&mapping.id) else { continue };
            let now = brief(&mapping);
            let same = before.iter().all(|old| (old.0, old.1) == (now.0, now.1));
            assert!(same, "{resolution:?}: {now:?} under an id that was {before:?}");
        }
        assert_eq!(world.global(0).await[0].id, global[0].id, "both stores had it");
        world.assert_agree(&format!("{resolution:?}")).await;
    }
}

pub async fn what_stays_as_it_is_keeps_its_lock<E: Environment>() {
    for resolution in [KeepGlobal, KeepLocal] {
        let world = World::<E>::new().await;
        let shard = world.shard(0).await;
        let token = LockToken::random();
        for low in [200, 300] {
            let mapping = world.map.create_mapping(low..low + 10, &shard).await.unwrap();
            let _ = world.map.lock_mapping(mapping, token).await.unwrap();
        }
        let mut local = world.local(0).await;
        local.retain(|mapping| brief(mapping).0 != 300);
        local.extend(world.records(0, &[(400, 410, ON)]).await);
        world.set_local(0, local).await;
        world.recovery().resolve(&world.look(0).await, resolution).await.unwrap();
        let locked: Vec<_> =
            world.global(0).await.iter().filter(|it| it.lock_owner == token).map(|it| brief(it).0).collect();
        let expected = if resolution == KeepGlobal { vec![200, 300] } else { vec![200] };
        assert_eq!(locked, expected, "{resolution:?}");
        world.assert_agree(&format!("{resolution:?}")).await;
    }
}

/// Another process has everything in its cache when the stores are mended.
pub async fn warm_caches_of_others_lead_to_the_right_shard<E: Environment>() {
    for resolution in [KeepGlobal, KeepLocal] {
        let world = World::<E>::new().await;
        let manager = ShardMapManager::open(world.backend().clone(), Options::default()).await.unwrap();
        let other: shardlet::RangeShardMap<i64, _> = manager.range_shard_map("ranges").await.unwrap();
        let keys = [10, 60, 110, 150, 305];
        for key in keys {
            let _ = route::<E, _>(&world.env, &other, key).await;
        }
        // As in `disagreeing`; the ids that the other has cached are now on one side only.
        let local = world.records(0, &[(0, 50, ON), (100, 120, ON), (300, 310, OFF)]).await;
        world.set_local(0, local).await;
        for key in keys {
            let _ = route::<E, _>(&world.env, &other, key).await;
        }
        world.recovery().resolve(&world.look(0).await, resolution).await.unwrap();
        for key in keys {
            let here = world.route(key).await.map(|mapping| mapping.shard().location().clone());
            let there = route::<E, _>(&world.env, &other, key).await.map(|mapping| mapping.shard().location().clone());
            assert_eq!(there, here, "{resolution:?}: {key}");
        }
        let place = route::<E, _>(&world.env, &other, 110).await.unwrap().shard().location().clone();
        assert_eq!(place, world.place(usize::from(resolution == KeepGlobal)));
    }
}

pub async fn stale_differences_change_nothing<E: Environment>() {
    let world = disagreeing::<E>().await;
    let old = world.look(0).await;
    world.recovery().resolve(&old, KeepGlobal).await.unwrap();
    let error = world.recovery().resolve(&old, KeepLocal).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stale, "{error:?}");
    assert!(world.is_at_rest().await);
    world.assert_agree("after a stale choice").await;
}

/// Whatever changed in the meantime, in either store or at another shard that is concerned.
pub async fn differences_are_stale_after_any_change<E: Environment>() {
    let world = disagreeing::<E>().await;
    let refused = async |world: &World<E>, old: &shardlet::ShardDifferences, about: &str| {
        let before = world.contents().await;
        for resolution in [KeepLocal, KeepGlobal] {
            let error = world.recovery().resolve(old, resolution).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Stale, "{about}: {error:?}");
            assert_eq!(error.place(), Some(&shardlet::Place::Shard(world.place(0))), "{about}");
            let said = error.to_string();
            assert!(said.starts_with("ResolveMappingDifferences: ") && said.contains("\"ranges\""), "{said}");
        }
        assert_eq!(world.contents().await, before, "{about}");
    };
    let old = world.look(0).await;
    let shard = world.shard(0).await;
    let _ = world.map.create_mapping(400..410, &shard).await.unwrap();
    refused(&world, &old, "a new mapping").await;

    let old = world.look(0).await;
    let mapping = world.map.mapping_for_key(&150).await.unwrap();
    let _ = world.map.split_mapping(mapping, 110).await.unwrap();
    refused(&world, &old, "another shard's mapping was split in the middle of the claimed keys").await;

    let old = world.look(0).await;
    world.set_local(0, world.local(0).await).await;
    refused(&world, &old, "the shard's row got another version").await;

    let old = world.look(0).await;
    let client = world.client().await;
    let mapping = client.map.mapping_for_key(&405).await.unwrap();
    client.abandon(Call::EndDo, Fault::HoldBefore, client.map.split_mapping(mapping, 404)).await;
    // The unfinished operation is undone first, and then the stores say the same again, but for the version.
    let error = world.recovery().resolve(&old, KeepGlobal).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stale, "{error:?}");
    assert!(world.is_at_rest().await);
    world.recovery().resolve(&world.look(0).await, KeepGlobal).await.unwrap();
    world.assert_agree("in the end").await;
}

/// Another client changes the shard after the stores were looked at again and before the operation begins.
pub async fn an_operation_that_was_faster_wins<E: Environment>() {
    let world = disagreeing::<E>().await;
    let client = world.client().await;
    let old = look(&client.recovery(), &world.place(0)).await;
    client.probe.reset();
    let passing = Error::new(ErrorKind::Transient, ErrorCode::StorageOperationFailure, "injected by the test");
    client.probe.inject(Call::Begin, 1, Fault::FailOnRelease(passing));
    let recovery = client.recovery();
    let mut resolving = Box::pin(recovery.resolve(&old, KeepGlobal));
    tokio::select! {
        done = &mut resolving => panic!("it was not held: {done:?}"),
        () = client.probe.held() => {}
    }
    let shard = world.shard(0).await;
    let _ = world.map.create_mapping(400..410, &shard).await.unwrap();
    let before = world.contents().await;
    client.probe.release();
    let error = resolving.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stale, "{error:?}");
    assert_eq!(world.contents().await, before);
    assert!(world.is_at_rest().await);
}

/// Keys that nobody had when the stores were looked at are mapped to another shard before the end.
pub async fn keys_that_others_got_in_the_meantime_are_not_taken<E: Environment>() {
    let world = disagreeing::<E>().await;
    let client = world.client().await;
    let old = look(&client.recovery(), &world.place(0)).await;
    client.probe.reset();
    let passing = Error::new(ErrorKind::Transient, ErrorCode::StorageOperationFailure, "injected by the test");
    // The first mending is that of the shard that gives up keys.
    client.probe.inject(Call::Begin, 1, Fault::Pass);
    client.probe.inject(Call::Begin, 1, Fault::FailOnRelease(passing));
    let recovery = client.recovery();
    let mut resolving = Box::pin(recovery.resolve(&old, KeepLocal));
    tokio::select! {
        done = &mut resolving => panic!("it was not held: {done:?}"),
        () = client.probe.held() => {}
    }
    let _ = world.map.create_mapping(305..400, &world.shard(2).await).await.unwrap();
    client.probe.release();
    let error = resolving.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlaps, "{error:?}");
    assert!(world.is_at_rest().await);
    assert_eq!(world.brief(2).await, [(305, 400, ON)]);
    assert_eq!(world.brief(0).await, [(0, 100, ON)], "nothing came");
    world.recovery().resolve(&world.look(0).await, KeepLocal).await.unwrap();
    assert_eq!(world.brief(2).await, [(310, 400, ON)], "who looks again, sees it, and it is given up");
    world.assert_agree("in the end").await;
}

/// An unfinished operation on a shard that cannot be reached is nothing to another shard.
pub async fn an_unfinished_operation_of_a_dead_shard_holds_up_no_other<E: Environment>() {
    let world = disagreeing::<E>().await;
    let client = world.client().await;
    let third = client.map.shard(&world.place(2)).await.unwrap();
    client.abandon(Call::EndDo, Fault::HoldBefore, client.map.create_mapping(700..800, &third)).await;
    let old = look(&client.recovery(), &world.place(0)).await;
    let gone = Error::new(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "injected by the test");
    client.probe.inject(Call::LockOperationAt(world.place(2)), 100, Fault::FailBefore(gone));
    client.recovery().resolve(&old, KeepLocal).await.unwrap();
    assert!(world.look(0).await.is_empty());
    assert_eq!(world.unfinished().await, 1, "it is left to who can reach the shard");
    assert_eq!(world.map.manager().undo_pending_operations().await.unwrap(), 1);
    world.assert_agree("in the end").await;
}

/// In the log they are a split of a mapping that the shard has, which stays as it is whatever becomes of them.
pub async fn many_additions_that_were_left_are_kept_or_undone<E: Environment>() {
    let world = World::<E>::new().await;
    let change = Call::ChangeLocal { at: world.place(0), undoing: false };
    for (call, done) in [(Call::Begin, false), (change, true)] {
        for way in ["resolved", "rebuilt", "map rebuilt", "undone"] {
            let about = format!("{call:?}, {way}");
            let client = world.client().await;
            let kept = client.map.mapping_for_key(&7).await.unwrap();
            let token = LockToken::random();
            let _ = world.map.lock_mapping(world.map.mapping_for_key(&7).await.unwrap(), token).await.unwrap();
            let shard = world.shard(0).await;
            let many = (0..20).map(|number| (200 + number..201 + number, &shard));
            let creation = client.map.create_mappings(many, &BulkOptions::default()).unwrap().beside(&kept);
            client.abandon(call.clone(), Fault::HoldAfter, creation.next_batch().unwrap()).await;

            let differences = world.look(0).await;
            assert_eq!(differences.unfinished_operations().len(), 1, "{about}");
            assert_eq!(differences.of_mappings().len(), if done { 20 } else { 0 }, "{about}: {differences}");
            let recovery = world.recovery();
            match way {
                "resolved" => match recovery.resolve(&differences, KeepLocal).await {
                    // They were undone first, and then nothing is as it was seen.
                    Err(error) => assert!(done && error.kind() == ErrorKind::Stale, "{about}: {error}"),
                    // Where nothing differs there is nothing to resolve.
                    Ok(()) => assert_eq!(world.map.manager().undo_pending_operations().await.unwrap(), 1, "{about}"),
                },
                "rebuilt" => drop(recovery.rebuild_shard(&world.place(0)).await.unwrap()),
                "map rebuilt" => recovery.rebuild_shard_map("ranges", &world.places()).await.unwrap(),
                _ => assert_eq!(world.map.manager().undo_pending_operations().await.unwrap(), 1, "{about}"),
            }
            let stays = done && way == "map rebuilt";
            assert_eq!(world.brief(0).await.len(), if stays { 21 } else { 1 }, "{about}");
            world.assert_agree(&about).await;
            assert_eq!(world.map.mapping_for_key(&7).await.unwrap().id(), kept.id(), "{about}");
            assert_eq!(world.map.mapping_lock_owner(&kept).await.unwrap(), token, "{about}");
            assert_eq!(world.route(7).await.unwrap().shard().location(), &world.place(0), "{about}");
            assert_eq!(world.route(210).await.map(drop).err(), (!stays).then_some(ErrorKind::NotFound), "{about}");
            assert_eq!(world.brief(1).await, [(100, 200, ON)], "{about}");
            let _ = world.map.unlock_mappings(token).await.unwrap();
            for mapping in world.map.mappings().await.unwrap().into_iter().skip(2) {
                world.map.delete_mapping(world.map.mark_mapping_offline(mapping).await.unwrap()).await.unwrap();
            }
        }
    }
}

pub async fn what_cannot_be_kept_is_refused<E: Environment>() {
    let world = World::<E>::new().await;
    // The database of another shard was copied over that of this one.
    put_local(world.backend(), world.map.info(), &world.shard(1).await, &world.place(0), world.local(1).await).await;
    let differences = world.look(0).await;
    let before = world.contents().await;
    let error = world.recovery().resolve(&differences, KeepLocal).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert_eq!(world.contents().await, before);
    world.recovery().resolve(&differences, KeepGlobal).await.unwrap();
    world.assert_agree("kept global").await;
    assert_eq!(local_contents(world.backend(), &world.place(0)).await.len(), 2);
}
