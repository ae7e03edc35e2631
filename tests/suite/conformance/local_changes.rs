//! Changes of a local store, and what becomes of sessions.

use std::time::Duration;

use shardlet::error::Refusal;
use shardlet::gsm::GlobalStore;
use shardlet::lsm::{
    LocalMappingChange, LocalSession, LocalShardChange, LocalStep, LocalStore, Route, RouteTarget, SessionEnding,
    ShardAction,
};
use shardlet::model::MappingRecord;
use shardlet::{
    ErrorKind, MappingStatus, OperationId, Protocol, SessionPolicy, Shard, ShardMapInfo, ShardMapKind, ShardStatus,
    ShardVersion, Validation,
};

use super::Environment;
use super::fixture::{Fixture, at_new_version, local_change, map_named, offline, record, refused};

pub async fn shards_are_added_removed_and_updated<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (map, other) = (map_named("map", ShardMapKind::List), map_named("other", ShardMapKind::Range));
    let (shard, neighbour) = (fixture.new_shard(&map, 0), fixture.new_shard(&other, 0));
    let _ = fixture.change_shard(&other, &neighbour, ShardAction::Add).await.unwrap();
    let with_neighbour = fixture.local_state(0).await;
    let send = async |shard: &Shard, action, about: &str| {
        let change = LocalShardChange {
            operation: OperationId::random(),
            map: map.clone(),
            shard: shard.clone(),
            action,
            undoing: false,
            known: None,
        };
        fixture.send_shard_change(&change).await.unwrap();
        let state = fixture.local_state(0).await;
        fixture.send_shard_change(&change).await.unwrap();
        assert_eq!(fixture.local_state(0).await, state, "{about}, again");
        state
    };
    let added = send(&shard, ShardAction::Add, "add").await;
    assert_eq!(added.len(), with_neighbour.len() + 1);

    // Version, location and status are written.
    let place = shard.location().clone().with_protocol(Protocol::Tcp);
    let new = Shard::new(shard.id(), ShardVersion::random(), map.id(), place, ShardStatus::Offline);
    let updated = send(&new, ShardAction::Update, "update").await;
    let written = format!("map: {}", crate::support::consistency::shard_facts(&new));
    assert!(updated.contains(&written) && updated.len() == added.len(), "{updated:?}");
    let unknown = fixture.new_shard(&map, 0);
    let result = fixture.change_shard(&map, &unknown, ShardAction::Update).await;
    refused(result, Refusal::ShardDoesNotExist, "updating an unknown shard");
    assert_eq!(fixture.local_state(0).await, updated);

    assert_eq!(send(&new, ShardAction::Remove, "remove").await, with_neighbour, "another map's rows are left alone");
    let gone = fixture.store().local_mappings(shard.location(), map.id()).await;
    refused(gone, Refusal::ShardMapDoesNotExist, "with its last shard the map is gone");
}

pub async fn adding_a_shard_is_refused_where_another_one_is<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = map_named("map", ShardMapKind::List);
    let _ = fixture.local_shard(&map, 0).await;
    let before = fixture.local_state(0).await;
    let result = fixture.change_shard(&map, &fixture.new_shard(&map, 0), ShardAction::Add).await;
    refused(result, Refusal::ShardLocationExists, "rows of an earlier shard");
    assert_eq!(fixture.local_state(0).await, before);
}

pub async fn undoing_leaves_alone_what_is_there<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = map_named("map", ShardMapKind::List);
    let shard = fixture.local_shard(&map, 0).await;
    let kept = record(&shard, 1, None);
    let steps = vec![LocalStep::Add(kept.clone())];
    fixture.send_mapping_change(&local_change(OperationId::random(), &shard, steps)).await.unwrap();
    let before = fixture.local_state(0).await;

    // Adding back a shard that was not removed, and a mapping that was not.
    let change = |shard: &Shard, action| LocalShardChange {
        operation: OperationId::random(),
        map: map.clone(),
        shard: shard.clone(),
        action,
        undoing: true,
        known: None,
    };
    fixture.send_shard_change(&change(&at_new_version(&shard), ShardAction::Add)).await.unwrap();
    assert_eq!(fixture.local_state(0).await, before, "a shard that is there");
    let back = LocalMappingChange {
        undoing: true,
        ..local_change(OperationId::random(), &shard, vec![LocalStep::Add(offline(kept.clone()))])
    };
    for again in ["", ", again"] {
        fixture.send_mapping_change(&back).await.unwrap();
        assert_eq!(fixture.local_state(0).await, before, "a mapping that is there{again}");
    }
    // Removing what was not added.
    fixture.send_shard_change(&change(&fixture.new_shard(&map, 0), ShardAction::Remove)).await.unwrap();
    let absent = LocalMappingChange {
        undoing: true,
        ..local_change(OperationId::random(), &shard, vec![LocalStep::Remove(record(&shard, 2, None).id)])
    };
    fixture.send_mapping_change(&absent).await.unwrap();
    assert_eq!(fixture.local_state(0).await, before, "what was never added");
}

/// As an undo of many additions asks for it that was read from the log.
pub async fn undoing_many_additions_leaves_the_kept_mapping<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    for (number, kind) in [ShardMapKind::List, ShardMapKind::Range].into_iter().enumerate() {
        let map = map_named(&kind.to_string(), kind);
        let shard = fixture.local_shard(&map, number).await;
        let mapping = |low: i32| record(&shard, low, (kind == ShardMapKind::Range).then_some(low + 10));
        let kept = offline(mapping(0));
        let first = local_change(OperationId::random(), &shard, vec![LocalStep::Add(kept.clone())]);
        fixture.send_mapping_change(&first).await.unwrap();
        let before = fixture.local_state(number).await;
        let new: Vec<_> = (1..=30).map(|number| mapping(10 * number)).collect();
        let later = at_new_version(&shard);
        let steps = new.iter().cloned().map(LocalStep::Add).collect();
        let adding = local_change(OperationId::random(), &later, steps);
        let removing = new.iter().map(|mapping| LocalStep::Remove(mapping.id));
        let back = LocalMappingChange {
            undoing: true,
            known: Some([shard.version(), later.version()]),
            ..local_change(adding.operation, &shard, removing.chain([LocalStep::Add(kept.clone())]).collect())
        };
        for (about, added) in [("of what was done", true), ("of what was not", false)] {
            if added {
                fixture.send_mapping_change(&adding).await.unwrap();
                let now = fixture.local_state(number).await;
                assert_eq!(now.len(), before.len() + 30, "{kind}: {now:#?}");
            }
            for again in ["", ", again"] {
                fixture.send_mapping_change(&back).await.unwrap();
                assert_eq!(fixture.local_state(number).await, before, "{kind}: undo {about}{again}");
            }
        }
    }
}

pub async fn undoing_installs_no_store<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = map_named("map", ShardMapKind::List);
    let shard = fixture.new_shard(&map, 0);
    for action in [ShardAction::Add, ShardAction::Remove, ShardAction::Update] {
        let operation = OperationId::random();
        let change =
            LocalShardChange { operation, map: map.clone(), shard: shard.clone(), action, undoing: true, known: None };
        fixture.send_shard_change(&change).await.unwrap();
        match fixture.store().local_version(shard.location()).await {
            Ok(version) => assert_eq!(version, None, "{action:?}"),
            // Nor has a database been made.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{action:?}: {error}"),
        }
    }
}

pub async fn mappings_are_changed_in_the_order_of_the_steps<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = map_named("map", ShardMapKind::Range);
    let shard = fixture.local_shard(&map, 0).await;
    let whole = record(&shard, 0, Some(10));
    let parts = [record(&shard, 0, Some(5)), record(&shard, 5, Some(10))];
    let ids = async || {
        let mappings = fixture.store().local_mappings(shard.location(), map.id()).await.unwrap();
        mappings.iter().map(|mapping| mapping.id).collect::<Vec<_>>()
    };
    let [low, high] = &parts;
    let steps = [
        (vec![LocalStep::Add(whole.clone())], vec![whole.id]),
        // The first part has the low bound of the whole, which has to go first.
        (
            vec![LocalStep::Remove(whole.id), LocalStep::Add(low.clone()), LocalStep::Add(high.clone())],
            vec![low.id, high.id],
        ),
        (vec![LocalStep::Remove(low.id), LocalStep::Remove(high.id), LocalStep::Add(whole.clone())], vec![whole.id]),
        (vec![LocalStep::Remove(low.id)], vec![whole.id]),
        (vec![LocalStep::Remove(whole.id)], vec![]),
    ];
    for (steps, expected) in steps {
        let new = at_new_version(&shard);
        let about = format!("{steps:?}");
        fixture.send_mapping_change(&local_change(OperationId::random(), &new, steps)).await.unwrap();
        assert_eq!(ids().await, expected, "{about}");
        let rows = fixture.store().local_shards(shard.location()).await.unwrap();
        assert_eq!(rows[0].1.version(), new.version(), "{about}");
    }
}

pub async fn changing_mappings_again_changes_nothing<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = map_named("map", ShardMapKind::List);
    let shard = fixture.local_shard(&map, 0).await;
    let mapping = record(&shard, 1, None);
    let operation = OperationId::random();
    let adding = local_change(operation, &at_new_version(&shard), vec![LocalStep::Add(mapping.clone())]);
    let undoing =
        LocalMappingChange { undoing: true, ..local_change(operation, &shard, vec![LocalStep::Remove(mapping.id)]) };
    // An operation may be done, undone, and done again by a later try.
    for round in 0..2 {
        for (change, count) in [(&adding, 1), (&undoing, 0)] {
            fixture.send_mapping_change(change).await.unwrap();
            let state = fixture.local_state(0).await;
            assert_eq!(state.len(), 1 + count, "round {round}: {state:?}");
            fixture.send_mapping_change(change).await.unwrap();
            assert_eq!(fixture.local_state(0).await, state, "round {round}, again");
        }
    }
}

pub async fn mappings_of_a_missing_shard_are_refused<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = map_named("map", ShardMapKind::List);
    let _ = fixture.local_shard(&map, 0).await;
    let before = fixture.local_state(0).await;
    let unknown = fixture.new_shard(&map, 0);
    let steps = vec![LocalStep::Add(record(&unknown, 1, None))];
    let change = local_change(OperationId::random(), &unknown, steps);
    refused(fixture.send_mapping_change(&change).await, Refusal::ShardDoesNotExist, "doing");
    fixture.send_mapping_change(&LocalMappingChange { undoing: true, ..change }).await.unwrap();
    assert_eq!(fixture.local_state(0).await, before);
}

/// A map with two mappings that are online, on one shard.
async fn two_mappings<E: Environment>(fixture: &Fixture<E>) -> (ShardMapInfo, Shard, [MappingRecord; 2]) {
    let map = map_named("map", ShardMapKind::Range);
    let shard = fixture.local_shard(&map, 0).await;
    let mappings = [record(&shard, 0, Some(10)), record(&shard, 10, Some(20))];
    let steps = mappings.clone().map(LocalStep::Add).into();
    let shard = at_new_version(&shard);
    fixture.send_mapping_change(&local_change(OperationId::random(), &shard, steps)).await.unwrap();
    (map, shard, mappings)
}

/// Opens a session for the low bound of a mapping.
async fn session<E: Environment>(
    fixture: &Fixture<E>,
    mapping: &MappingRecord,
) -> <E::Backend as shardlet::backend::Backend>::Connection {
    let route = Route {
        location: mapping.shard.location().clone(),
        map: mapping.map,
        target: RouteTarget::Mapping { mapping: mapping.id, kind: ShardMapKind::Range, key: mapping.low.clone() },
    };
    let credentials = fixture.environment.credentials();
    fixture.store().open_routed(&route, &credentials, Validation::Validate).await.unwrap()
}

/// Takes a mapping offline in the local store, and says how many sessions ended.
async fn take_offline<E: Environment>(
    fixture: &Fixture<E>,
    map: &ShardMapInfo,
    mapping: &MappingRecord,
    policy: SessionPolicy,
) -> usize {
    let ending =
        SessionEnding { map: map.id(), kind: map.kind(), mappings: vec![(mapping.id, mapping.range())], policy };
    let new = MappingRecord { id: shardlet::MappingId::random(), status: MappingStatus::Offline, ..mapping.clone() };
    let steps = vec![LocalStep::Remove(mapping.id), LocalStep::Add(new)];
    let id = OperationId::random();
    let change =
        LocalMappingChange { ending: Some(ending.clone()), ..local_change(id, &at_new_version(&mapping.shard), steps) };
    let _global = fixture.store().lock_operation(id).await.unwrap();
    let mut local = fixture.store().lock_operation_at(mapping.shard.location(), id).await.unwrap();
    local.change_mappings(&change).await.unwrap();
    local.end_sessions(&ending).await.unwrap().ended
}

pub async fn sessions_of_a_mapping_end_and_others_live<E: Environment>() {
    for policy in [SessionPolicy::EndNow, SessionPolicy::Drain(Duration::ZERO)] {
        let fixture = Fixture::<E>::new().await;
        let (map, _, [first, second]) = two_mappings(&fixture).await;
        let of_first = [session(&fixture, &first).await, session(&fixture, &first).await];
        let of_second = session(&fixture, &second).await;
        assert_eq!(take_offline(&fixture, &map, &first, policy).await, 2, "{policy:?}: those of the first mapping");
        drop(of_first);
        assert_eq!(take_offline(&fixture, &map, &second, policy).await, 1, "{policy:?}: the other had lived on");
        drop(of_second);
    }
}

pub async fn sessions_are_left_alone_on_demand<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (map, _, [first, second]) = two_mappings(&fixture).await;
    let open = session(&fixture, &first).await;
    assert_eq!(take_offline(&fixture, &map, &first, SessionPolicy::Leave).await, 0);
    drop(open);
    assert_eq!(take_offline(&fixture, &map, &second, SessionPolicy::EndNow).await, 0, "nobody was there");
}
