//! Differences are found, whatever they are, and shown.

use std::collections::BTreeSet;

use shardlet::gsm::{OperationCode, ShardStep};
use shardlet::model::MappingRecord;
use shardlet::{
    DifferenceKind, ListShardMap, LockToken, MappingId, Protocol, Shard, ShardDifference, ShardDifferences, ShardId,
    ShardKey, ShardMapInfo, ShardMapName, ShardStatus, ShardVersion,
};

use super::fixture::{
    Brief, INF, OFF, ON, World, at_place, at_version, brief, change_global, look, point, put_global, put_local,
    put_local_beside, record,
};
use crate::conformance::Environment;
use crate::support::probe::{Call, Fault};
use DifferenceKind::{InBoth, InGlobalOnly, InLocalOnly};

/// What is found about a range map, for short.
fn found(differences: &ShardDifferences) -> Vec<(i64, i64, DifferenceKind)> {
    let short = |difference: &shardlet::MappingDifference| {
        let range = difference.range::<i64>().unwrap();
        (*range.low(), range.high().copied().unwrap_or(INF), difference.kind())
    };
    differences.of_mappings().iter().map(short).collect()
}

/// Every relation that two ranges can have: bounds are few, and each may have no end.
pub async fn two_ranges_are_compared_in_every_relative_position<E: Environment>() {
    let world = World::<E>::empty().await;
    let bounds = [10, 20, 30, INF];
    let ranges: Vec<Brief> =
        (0..3).flat_map(|low| (low + 1..4).map(move |high| (bounds[low], bounds[high], ON))).collect();
    for global in &ranges {
        let in_global = world.record(0, *global).await;
        world.set_global(0, vec![in_global.clone()]).await;
        for local in &ranges {
            for same_id in [false, true] {
                let mut in_local = world.record(0, *local).await;
                if same_id {
                    in_local.id = in_global.id;
                }
                world.set_local(0, vec![in_local]).await;
                let about = format!("{global:?} and {local:?}, same id: {same_id}");
                let differences = world.look(0).await;
                let holds = |range: &Brief, key: i64| range.0 <= key && key < range.1;
                let mut expected: Vec<(i64, i64, DifferenceKind)> = Vec::new();
                for (low, high) in bounds.iter().zip(&bounds[1..]) {
                    let kind = match (holds(global, *low), holds(local, *low)) {
                        (true, true) if same_id && global == local => continue,
                        (true, true) => InBoth,
                        (true, false) => InGlobalOnly,
                        (false, true) => InLocalOnly,
                        (false, false) => continue,
                    };
                    match expected.last_mut() {
                        Some(last) if last.1 == *low && last.2 == kind => last.1 = *high,
                        _ => expected.push((*low, *high, kind)),
                    }
                }
                assert_eq!(found(&differences), expected, "{about}");
                assert_eq!(differences.is_empty(), expected.is_empty() && differences.of_shard().is_empty());
            }
        }
    }
}

/// Mappings of other shards lie before, between and behind the shard's own; the reference library compares them out of order.
pub async fn mappings_of_several_shards_are_compared_in_the_order_of_their_keys<E: Environment>() {
    let world = World::<E>::empty().await;
    for (number, ranges) in
        [(0, [(20, 30, ON), (60, 70, ON)]), (1, [(0, 10, ON), (40, 55, ON)]), (2, [(10, 20, ON), (70, INF, ON)])]
    {
        world.set_global(number, world.records(number, &ranges).await).await;
    }
    world.set_local(0, world.records(0, &[(5, 45, ON), (60, 65, OFF), (80, 90, ON)]).await).await;
    let differences = world.look(0).await;
    let expected = [
        (5, 10, InBoth),
        (10, 20, InBoth),
        (20, 30, InBoth),
        (30, 40, InLocalOnly),
        (40, 45, InBoth),
        (60, 65, InBoth),
        (65, 70, InGlobalOnly),
        (80, 90, InBoth),
    ];
    assert_eq!(found(&differences), expected);
    let owners: Vec<_> =
        differences.of_mappings().iter().map(|it| it.global().map(|it| it.shard.location().clone())).collect();
    let at = |number| Some(world.place(number));
    assert_eq!(owners, [at(1), at(2), at(0), None, at(1), at(0), at(0), at(2)]);
    // What each side says is shown whole, beyond the keys in question.
    assert_eq!(differences.of_mappings()[0].local().map(brief), Some((5, 45, ON)));
    assert_eq!(differences.of_mappings()[0].global().map(brief), Some((0, 10, ON)));
}

pub async fn points_are_compared_one_by_one<E: Environment>() {
    let world = World::<E>::new().await;
    let map: ListShardMap<i64, _> = world.map.manager().create_list_shard_map("points").await.unwrap();
    let mut shards = Vec::new();
    for number in 0..2 {
        shards.push(map.create_shard(&world.place(number)).await.unwrap());
    }
    let new = |shard: usize, key: i64, status| point(map.info(), &shards[shard], &key, status);
    let (agreed, status, id) = (new(0, 1, ON), new(0, 3, ON), new(0, 4, ON));
    let global = vec![agreed.clone(), new(0, 2, ON), status.clone(), id.clone(), new(0, i64::MIN, ON)];
    let local = vec![
        agreed,
        MappingRecord { status: OFF, ..status },
        MappingRecord { id: MappingId::random(), ..id },
        new(0, 5, ON),
        new(0, 6, OFF),
        new(0, i64::MAX, ON),
    ];
    put_global(world.backend(), map.info(), &shards[0], global).await;
    put_global(world.backend(), map.info(), &shards[1], vec![new(1, 5, ON), new(1, 7, ON)]).await;
    put_local(world.backend(), map.info(), &shards[0], &world.place(0), local).await;
    let both = world.recovery().detect(&world.place(0)).await.unwrap();
    let [points, ranges] = &both[..] else { panic!("{both:?}") };
    assert_eq!((points.shard_map().name(), ranges.shard_map().name()), ("points", "ranges"));
    assert!(ranges.is_empty(), "{ranges}");
    let found: Vec<_> = points.of_mappings().iter().map(|it| (*it.range::<i64>().unwrap().low(), it.kind())).collect();
    let expected = [
        (i64::MIN, InGlobalOnly),
        (2, InGlobalOnly),
        (3, InBoth),
        (4, InBoth),
        (5, InBoth),
        (6, InLocalOnly),
        (i64::MAX, InLocalOnly),
    ];
    assert_eq!(found, expected);
    let text = points.to_string();
    assert!(
        text.contains("\n  2: Online on ") && text.contains("6: not mapped in the global store, Offline in"),
        "{text}"
    );
}

/// The reference library compares ids alone.
pub async fn one_id_with_another_status_or_shard_is_a_difference<E: Environment>() {
    let world = World::<E>::new().await;
    let mapping = world.global(0).await.remove(0);
    world.set_local(0, vec![MappingRecord { status: OFF, ..mapping.clone() }]).await;
    let differences = world.look(0).await;
    assert_eq!(found(&differences), [(0, 100, InBoth)], "another status");
    let text = differences.to_string();
    assert!(text.contains("[0:100): Online on ") && text.contains(", Offline in the local store"), "{text}");

    world.set_local(0, Vec::new()).await;
    world.set_global(0, Vec::new()).await;
    let of_other = world.global(1).await.remove(0);
    world.set_local(0, vec![of_other]).await;
    let differences = world.look(0).await;
    assert_eq!(found(&differences), [(100, 200, InBoth)], "of another shard");
    assert_eq!(differences.of_mappings()[0].global().unwrap().shard.location(), &world.place(1));
    // And that shard has what it is to have.
    assert!(world.look(1).await.of_mappings().is_empty());
}

pub async fn locks_are_no_difference<E: Environment>() {
    let world = World::<E>::new().await;
    let mapping = world.map.lookup_mapping(&7).await.unwrap();
    let _ = world.map.lock_mapping(mapping, LockToken::random()).await.unwrap();
    world.assert_agree("locked").await;
}

pub async fn an_unfinished_operation_is_shown_until_it_is_undone<E: Environment>() {
    let world = World::<E>::new().await;
    let client = world.client().await;
    let mapping = client.map.lookup_mapping(&7).await.unwrap();
    let split = client.map.split_mapping(mapping, 50);
    let id = split.plan().unwrap().id();
    client.abandon(Call::EndDo, Fault::HoldBefore, split).await;

    let differences = world.look(0).await;
    assert_eq!(differences.unfinished_operations(), [id]);
    assert_eq!(found(&differences), [(0, 50, InBoth), (50, 100, InBoth)]);
    assert!(differences.to_string().contains(&format!("operation {id} is unfinished")), "{differences}");
    assert_eq!(world.look(1).await.unfinished_operations(), [], "it is another shard's");
    assert_eq!(world.map.manager().undo_pending_operations().await.unwrap(), 1);
    world.assert_agree("undone").await;
}

pub async fn a_place_without_a_shard_has_nothing_to_show<E: Environment>() {
    let world = World::<E>::new().await;
    let nowhere = world.place(2);
    world.map.delete_shard(world.shard(2).await).await.unwrap();
    assert!(world.recovery().detect(&nowhere).await.unwrap().is_empty());
    let blank = shardlet::ShardLocation::new(" ", "x");
    assert_eq!(world.recovery().detect(&blank).await.unwrap_err().kind(), shardlet::ErrorKind::InvalidInput);
}

/// Two shards of one map in one database, by different addresses. Each is looked at for itself.
pub async fn neighbours_in_one_database_are_not_mixed_up<E: Environment>() {
    let world = World::<E>::empty().await;
    let first = world.shard(0).await;
    let second = world.map.create_shard(&world.place(0).with_protocol(Protocol::Tcp)).await.unwrap();
    let _ = world.map.create_mapping(0..10, &first).await.unwrap();
    let _ = world.map.create_mapping(10..20, &second).await.unwrap();
    for shard in [&first, &second] {
        let differences = look(&world.recovery(), shard.location()).await;
        assert!(differences.is_empty(), "{differences}");
        assert_eq!(differences.shard().map(Shard::id), Some(shard.id()));
    }
    // One of them loses its mapping and gets another; the other's is as it was.
    let lost = vec![record(world.map.info(), &first, (5, 8, ON))];
    let row = at_version(&first);
    put_local_beside(world.backend(), world.map.info(), &row, first.location(), lost, &[second.id()]).await;
    let differences = look(&world.recovery(), first.location()).await;
    assert_eq!(found(&differences), [(0, 5, InGlobalOnly), (5, 8, InBoth), (8, 10, InGlobalOnly)]);
    assert!(look(&world.recovery(), second.location()).await.is_empty());
    world.recovery().resolve(&differences, shardlet::Resolution::KeepGlobal).await.unwrap();
    for shard in [&first, &second] {
        assert!(look(&world.recovery(), shard.location()).await.is_empty());
    }
    // Asked by an address that nobody registered, the database says nothing.
    let third = world.place(0).with_port(world.place(0).port().unwrap_or(0) + 1);
    if world.place(0).port().is_none() {
        assert!(world.recovery().detect(&third).await.unwrap().is_empty());
    }
}

async fn shown<E: Environment, K: ShardKey>(world: &World<E>, name: &str, key: K) -> String {
    let map: ListShardMap<K, _> = world.map.manager().create_list_shard_map(name).await.unwrap();
    let shard = map.create_shard(&world.place(2)).await.unwrap();
    let mappings = vec![point(map.info(), &shard, &key, ON)];
    put_local(world.backend(), map.info(), &shard, &world.place(2), mappings).await;
    let found = world.recovery().detect(&world.place(2)).await.unwrap();
    let differences = found.iter().find(|it| it.shard_map().name() == name).unwrap();
    assert_eq!(differences.of_mappings().len(), 1);
    let difference = &differences.of_mappings()[0];
    assert!(difference.range::<K>().is_some(), "{name}");
    let is_span = K::KEY_TYPE == shardlet::KeyType::TimeSpan;
    assert_eq!(difference.range::<chrono::TimeDelta>().is_some(), is_span, "{name}: another type");
    difference.to_string()
}

pub async fn keys_of_every_type_can_be_read<E: Environment>() {
    let world = World::<E>::new().await;
    let id = uuid::Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    let date = chrono::NaiveDate::from_ymd_opt(2024, 2, 29).unwrap().and_hms_opt(13, 5, 9).unwrap();
    let offset = chrono::FixedOffset::east_opt(3600).unwrap();
    let instant = chrono::TimeZone::from_utc_datetime(&offset, &date);
    let cases = [
        (shown(&world, "int32", -7_i32).await, "-7"),
        (shown(&world, "guid", id).await, "01234567-89ab-cdef-0123-456789abcdef"),
        (shown(&world, "binary", vec![0xab_u8, 1]).await, "ab01"),
        (shown(&world, "date", date).await, "2024-02-29"),
        (shown(&world, "span", chrono::TimeDelta::seconds(90)).await, "90"),
        (shown(&world, "instant", instant).await, "2024-02-29"),
    ];
    for (text, expected) in cases {
        let (key, rest) = text.split_once(": ").unwrap();
        assert!(key.to_lowercase().contains(expected), "{text}");
        assert_eq!(rest, "not mapped in the global store, Online in the local store");
    }
}

/// More than are looked up one by one.
pub async fn thousands_of_mappings_are_compared<E: Environment>() {
    let world = World::<E>::empty().await;
    const COUNT: i64 = 2_000;
    let step = |number: i64| (10 * number, 10 * number + 10, ON);
    let mut both = world.records(0, &(0..COUNT).map(step).collect::<Vec<_>>()).await;
    world.set_global(0, both.clone()).await;
    world.set_local(0, both.clone()).await;
    assert!(found(&world.look(0).await).is_empty());

    // All keys of the second half are unknown to the global store, but for a few that others have.
    let half = usize::try_from(COUNT / 2).unwrap();
    world.set_global(0, both.drain(..half).collect()).await;
    let others = [(12_345, 12_346), (15_000, 15_020), (19_995, 30_000)];
    let others: Vec<Brief> = others.iter().map(|(low, high)| (*low, *high, ON)).collect();
    world.set_global(1, world.records(1, &others).await).await;
    let differences = world.look(0).await;
    let in_both: Vec<_> = found(&differences).into_iter().filter(|(.., kind)| *kind == InBoth).collect();
    let expected =
        [(12_345, 12_346, InBoth), (15_000, 15_010, InBoth), (15_010, 15_020, InBoth), (19_995, 20_000, InBoth)];
    assert_eq!(in_both, expected);
    // Three mappings are cut by what others have.
    assert_eq!(found(&differences).len(), half + 3);
}

/// A store that claims keys twice is damaged, and what others hold of them is found all the same.
pub async fn mappings_that_overlap_in_a_damaged_store_hide_nothing<E: Environment>() {
    let world = World::<E>::empty().await;
    for small in [3, 60] {
        let mut claims = vec![(0, 10_000, ON)];
        claims.extend((0..small).map(|number| (10 * number + 1, 10 * number + 2, ON)));
        world.set_global(1, world.records(1, &[(2_000, 2_010, ON)]).await).await;
        world.set_local(0, world.records(0, &claims).await).await;
        let of_other: Vec<_> = found(&world.look(0).await).into_iter().filter(|(.., kind)| *kind == InBoth).collect();
        assert_eq!(of_other, [(2_000, 2_010, InBoth)], "beside {small} others");
    }
}

/// The only difference of a shard's row.
fn of_shard(differences: &ShardDifferences) -> &ShardDifference {
    let [difference] = differences.of_shard() else { panic!("{differences}") };
    assert!(differences.to_string().contains(&difference.to_string()));
    difference
}

pub async fn each_difference_of_a_shards_row_is_found<E: Environment>() {
    let world = World::<E>::new().await;
    let (backend, map, place) = (world.backend(), world.map.info(), world.place(0));
    let (shard, mappings) = (world.shard(0).await, world.global(0).await);
    let put = async |shard: Shard| put_local(backend, map, &shard, &place, mappings.clone()).await;
    let row = |version, at, status| Shard::new(shard.id(), version, shard.shard_map_id(), at, status);
    let (version, other) = (shard.version(), ShardVersion::random());

    put(row(other, place.clone(), shard.status())).await;
    assert_eq!(of_shard(&world.look(0).await), &ShardDifference::Version);
    put(row(other, place.clone(), ShardStatus::Offline)).await;
    assert_eq!(of_shard(&world.look(0).await), &ShardDifference::Status(ShardStatus::Online, ShardStatus::Offline));
    put(row(version, world.place(2), shard.status())).await;
    assert_eq!(of_shard(&world.look(0).await), &ShardDifference::Location(world.place(2)));
    put(row(version, place.clone(), shard.status())).await;
    assert!(world.look(0).await.is_empty());

    let renamed = ShardMapInfo::new(map.id(), ShardMapName::new("renamed").unwrap(), map.kind(), map.key_type());
    put_local(backend, &renamed, &shard, &place, mappings.clone()).await;
    assert_eq!(of_shard(&world.look(0).await), &ShardDifference::MapName("renamed".to_owned()));
    put(shard.clone()).await;
    assert!(world.look(0).await.is_empty());
}

pub async fn a_shard_that_only_one_store_knows_is_found<E: Environment>() {
    let world = World::<E>::new().await;
    let (backend, map) = (world.backend(), world.map.info());
    // The global store forgets one.
    assert_eq!(world.recovery().detach(&world.place(1), map.name()).await.unwrap(), 1);
    let differences = world.look(1).await;
    assert_eq!(of_shard(&differences), &ShardDifference::NotInGlobal);
    assert_eq!(found(&differences), [(100, 200, InLocalOnly)]);
    assert_eq!(differences.shard(), None);

    // It has one that its database does not know: there are those of another, as after a copy.
    let stranger = Shard::new(ShardId::random(), ShardVersion::random(), map.id(), world.place(0), ShardStatus::Online);
    let mappings = world.local(0).await;
    put_local(backend, map, &stranger, &world.place(0), mappings).await;
    let differences = world.look(0).await;
    let expected = [ShardDifference::NotInLocal, ShardDifference::OtherShard(stranger.id())];
    assert_eq!(differences.of_shard(), expected);
    assert_eq!(found(&differences), [], "the mappings themselves are those of the global store");
    // Nor anything at all.
    put_local(backend, map, &world.shard(2).await, &world.place(0), Vec::new()).await;
    let differences = world.look(0).await;
    assert_eq!(differences.of_shard(), [ShardDifference::NotInLocal]);
    assert_eq!(found(&differences), [(0, 100, InGlobalOnly)]);
}

pub async fn a_shard_that_is_elsewhere_by_the_global_store_is_found<E: Environment>() {
    let world = World::<E>::new().await;
    let (backend, map) = (world.backend(), world.map.info());
    let shard = world.shard(0).await;
    world.map.delete_shard(world.shard(2).await).await.unwrap();
    // The database was copied, or renamed.
    put_local(backend, map, &shard, &world.place(2), world.local(0).await).await;
    let differences = world.look(2).await;
    assert_eq!(of_shard(&differences), &ShardDifference::Elsewhere(world.place(0)));
    assert_eq!(found(&differences), []);
    assert_eq!(differences.shard().map(Shard::id), Some(shard.id()));
    let error = world.recovery().resolve(&differences, shardlet::Resolution::KeepLocal).await.unwrap_err();
    assert_eq!(error.kind(), shardlet::ErrorKind::NotFound, "{error}");
    assert!(world.look(0).await.is_empty());
}

pub async fn a_map_that_the_global_store_does_not_have_is_found<E: Environment>() {
    let world = World::<E>::new().await;
    let (backend, place) = (world.backend(), world.place(2));
    let name = ShardMapName::new("a lost one").unwrap();
    let lost =
        ShardMapInfo::new(shardlet::ShardMapId::random(), name, world.map.info().kind(), world.map.info().key_type());
    let shard = Shard::new(ShardId::random(), ShardVersion::random(), lost.id(), place.clone(), ShardStatus::Online);
    put_local(backend, &lost, &shard, &place, vec![record(&lost, &shard, (0, INF, ON))]).await;
    let all = world.recovery().detect(&place).await.unwrap();
    let names: BTreeSet<_> = all.iter().map(|it| it.shard_map().name()).collect();
    assert_eq!(names, BTreeSet::from(["a lost one", "ranges"]));
    let differences = &all[0];
    assert_eq!(of_shard(differences), &ShardDifference::MapNotInGlobal);
    assert_eq!(found(differences), [(0, INF, InLocalOnly)]);
    assert!(differences.to_string().contains("[0:+inf): not mapped in the global store"), "{differences}");
    let error = world.recovery().resolve(differences, shardlet::Resolution::KeepGlobal).await.unwrap_err();
    assert_eq!(error.kind(), shardlet::ErrorKind::NotFound, "{error}");
}

/// A shard that was registered in a map where its store is of another one.
pub async fn a_shard_added_to_the_global_store_only_is_found<E: Environment>() {
    let world = World::<E>::new().await;
    let (backend, map) = (world.backend(), world.map.info());
    let _ = world.recovery().detach(&world.place(2), map.name()).await.unwrap();
    let shard = at_place(&world.shard(0).await, &world.place(2));
    let shard = Shard::new(ShardId::random(), shard.version(), map.id(), shard.location().clone(), shard.status());
    change_global(backend, map, OperationCode::AddShard, ShardStep::Add(shard)).await;
    let differences = world.look(2).await;
    // The row that the earlier shard left is there.
    assert!(differences.of_shard().contains(&ShardDifference::NotInLocal), "{differences}");
    assert_eq!(world.recovery().rebuild_shard(&world.place(2)).await.unwrap().len(), 1);
    world.assert_agree("rebuilt").await;
}

/// The list of the shards is as long as there are shards: it must not be read at each of them.
pub async fn many_shards_are_looked_at_by_one_list_of_them<E: Environment>() {
    let world = World::<E>::new().await;
    let client = world.client().await;
    let detector = client.recovery().detector().await.unwrap();
    assert_eq!(client.probe.count(&Call::Shards), 1);
    client.probe.reset();
    for place in world.places() {
        let found = detector.detect(&place).await.unwrap();
        assert_eq!(found.len(), 1);
        assert!(found.iter().all(ShardDifferences::is_empty), "{}", found[0]);
    }
    assert_eq!(client.probe.count(&Call::Shards), 0);
    // Where something differs, it is looked at more closely.
    world.set_local(1, Vec::new()).await;
    let differing = detector.detect(&world.place(1)).await.unwrap();
    assert!(!differing[0].is_empty());
    assert_ne!(client.probe.count(&Call::Shards), 0);
}

/// Maps and shards that were added, taken away or changed since.
pub async fn a_detector_sees_what_came_after_it<E: Environment>() {
    let world = World::<E>::new().await;
    let manager = world.map.manager();
    let gone = manager.create_list_shard_map::<i64>("gone").await.unwrap();
    let shard = gone.create_shard(&world.place(0)).await.unwrap();
    let detector = manager.recovery().detector().await.unwrap();
    let maps = async |number: usize| {
        let found = detector.detect(&world.place(number)).await.unwrap();
        let empty = found.iter().all(ShardDifferences::is_empty);
        (found.iter().map(|found| found.shard_map().name().to_owned()).collect::<Vec<_>>(), empty)
    };
    assert_eq!(maps(0).await, (vec!["gone".to_owned(), "ranges".to_owned()], true));
    gone.delete_shard(shard).await.unwrap();
    assert_eq!(maps(0).await, (vec!["ranges".to_owned()], true));
    manager.delete_shard_map("gone").await.unwrap();
    assert_eq!(maps(0).await, (vec!["ranges".to_owned()], true));
    let new = manager.create_list_shard_map::<i64>("new").await.unwrap();
    let _ = new.create_shard(&world.place(0)).await.unwrap();
    assert_eq!(maps(0).await, (vec!["new".to_owned(), "ranges".to_owned()], true));
    let _ = new.create_shard(&world.place(3)).await.unwrap();
    assert_eq!(maps(3).await, (vec!["new".to_owned()], true));
    let mapping = world.map.mapping_for_key(&150).await.unwrap();
    let _ = world.map.split_mapping(mapping, 170).await.unwrap();
    assert_eq!(maps(1).await, (vec!["ranges".to_owned()], true));
    let _ = world.recovery().detach(&world.place(1), "ranges").await.unwrap();
    assert_eq!(maps(1).await, (vec!["ranges".to_owned()], false));
}
