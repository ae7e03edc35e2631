//! What readers of a local store see, and which routes it vouches for.

use shardlet::error::Refusal;
use shardlet::lsm::{LocalStep, LocalStore, Route, RouteTarget, ShardAction};
use shardlet::model::MappingRecord;
use shardlet::{ErrorKind, MappingId, OperationId, Shard, ShardId, ShardMapId, ShardMapKind, StoreVersion, Validation};

use super::Environment;
use super::fixture::{Fixture, at_new_version, key, local_change, map_named, offline, record, refused};
use crate::support::consistency::{mapping_facts, shard_facts};

pub async fn a_shard_that_cannot_be_reached_is_an_error<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let nowhere = shardlet::ShardLocation::new("no-such-server.invalid", "no_such_database");
    let map = map_named("map", ShardMapKind::List).id();
    let errors = [
        fixture.store().local_version(&nowhere).await.unwrap_err(),
        fixture.store().local_shards(&nowhere).await.unwrap_err(),
        fixture.store().local_mappings(&nowhere, map).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!(error.place(), Some(&shardlet::Place::Shard(nowhere.clone())), "{error}");
    }
}

pub async fn a_local_store_knows_the_maps_that_it_is_part_of<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let location = fixture.environment.location(0);
    let mut expected = Vec::new();
    for (name, kind) in [("a", ShardMapKind::List), ("b '表' 😀", ShardMapKind::Range)] {
        let map = map_named(name, kind);
        let shard = fixture.local_shard(&map, 0).await;
        expected.push((map, shard_facts(&shard)));
        let rows = fixture.store().local_shards(&location).await.unwrap();
        let mut rows: Vec<_> = rows.into_iter().map(|(map, shard)| (map, shard_facts(&shard))).collect();
        rows.sort_by(|(a, _), (b, _)| a.name().cmp(b.name()));
        assert_eq!(rows, expected);
    }

    assert_eq!(fixture.store().local_version(&location).await.unwrap(), Some(StoreVersion::CURRENT));
}

pub async fn local_mappings_are_listed_in_the_order_of_their_keys<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let location = fixture.environment.location(0);
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let map = map_named(&kind.to_string(), kind);
        let unknown = fixture.local_shard(&map_named("other", kind), 0).await;
        let result = fixture.store().local_mappings(&location, map.id()).await;
        refused(result, Refusal::ShardMapDoesNotExist, "a map that the shard is not part of");
        let shard = fixture.local_shard(&map, 0).await;
        assert_eq!(fixture.store().local_mappings(&location, map.id()).await.unwrap(), []);

        let high = |value: Option<i32>| value.filter(|_| kind == ShardMapKind::Range);
        let mappings = [
            record(&shard, i32::MIN, high(Some(-5))),
            offline(record(&shard, -1, high(Some(7)))),
            record(&shard, 8, None),
        ];
        let steps = [2, 0, 1].map(|index: usize| LocalStep::Add(mappings[index].clone()));
        let new = at_new_version(&shard);
        fixture.send_mapping_change(&local_change(OperationId::random(), &new, steps.into())).await.unwrap();
        let read = fixture.store().local_mappings(&location, map.id()).await.unwrap();
        let lines = |mappings: &[MappingRecord]| mappings.iter().map(mapping_facts).collect::<Vec<_>>();
        assert_eq!(lines(&read), lines(&mappings), "{kind}");
        for mapping in read {
            assert_eq!(shard_facts(&mapping.shard), shard_facts(&new), "{kind}: its shard has the new version");
        }
        let _ = fixture.change_shard(&map_named("other", kind), &unknown, ShardAction::Remove).await.unwrap();
    }
}

/// Opens a route and says how it was refused.
async fn open<E: Environment>(fixture: &Fixture<E>, route: &Route, validation: Validation) -> shardlet::Result<()> {
    fixture.store().open_routed(route, &fixture.environment.credentials(), validation).await.map(drop)
}

pub async fn a_route_to_a_mapping_is_validated<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let map = map_named(&kind.to_string(), kind);
        let shard = fixture.local_shard(&map, 0).await;
        let high = |value| (kind == ShardMapKind::Range).then_some(value);
        let (online, off) = (record(&shard, 0, high(10)), offline(record(&shard, 10, high(20))));
        let steps = vec![LocalStep::Add(online.clone()), LocalStep::Add(off.clone())];
        let change = local_change(OperationId::random(), &at_new_version(&shard), steps);
        fixture.send_mapping_change(&change).await.unwrap();
        let route = |map: ShardMapId, mapping: MappingId, low: i32| Route {
            location: shard.location().clone(),
            map,
            target: RouteTarget::Mapping { mapping, kind, key: key(low) },
        };
        open(&fixture, &route(map.id(), online.id, 0), Validation::Validate).await.unwrap();
        for (about, route, refusal) in [
            ("offline", route(map.id(), off.id, 10), Refusal::MappingIsOffline),
            ("unknown", route(map.id(), MappingId::random(), 0), Refusal::MappingDoesNotExist),
            ("another map", route(ShardMapId::random(), online.id, 0), Refusal::ShardMapDoesNotExist),
        ] {
            let about = format!("{kind}, {about}");
            refused(open(&fixture, &route, Validation::Validate).await, refusal, &about);
            open(&fixture, &route, Validation::None).await.unwrap();
        }
    }
}

pub async fn a_route_to_a_shard_is_validated<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = map_named("map", ShardMapKind::List);
    let shard = fixture.local_shard(&map, 0).await;
    let route = |map: ShardMapId, id: ShardId, shard: &Shard| Route {
        location: shard.location().clone(),
        map,
        target: RouteTarget::Shard { shard: id, version: shard.version() },
    };
    open(&fixture, &route(map.id(), shard.id(), &shard), Validation::Validate).await.unwrap();
    let new = at_new_version(&shard);
    for (about, route, refusal) in [
        ("another version", route(map.id(), shard.id(), &new), Refusal::ShardVersionMismatch),
        ("unknown", route(map.id(), ShardId::random(), &shard), Refusal::ShardDoesNotExist),
        ("another map", route(ShardMapId::random(), shard.id(), &shard), Refusal::ShardMapDoesNotExist),
    ] {
        refused(open(&fixture, &route, Validation::Validate).await, refusal, about);
        open(&fixture, &route, Validation::None).await.unwrap();
    }
    // Any change of a mapping makes what was read before stale.
    fixture.send_mapping_change(&local_change(OperationId::random(), &new, vec![])).await.unwrap();
    let old = open(&fixture, &route(map.id(), shard.id(), &shard), Validation::Validate).await;
    refused(old, Refusal::ShardVersionMismatch, "after a change");
    open(&fixture, &route(map.id(), shard.id(), &new), Validation::Validate).await.unwrap();
}
