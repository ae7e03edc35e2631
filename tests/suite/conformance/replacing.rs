//! Writing a local store anew, and undoing where the shard's history is another one.

use std::time::Duration;

use shardlet::error::Refusal;
use shardlet::gsm::GlobalStore;
use shardlet::lsm::{
    LocalContent, LocalMappingChange, LocalSession, LocalShardChange, LocalStep, LocalStore, SessionEnding, ShardAction,
};
use shardlet::model::MappingRecord;
use shardlet::{
    OperationId, Protocol, Result, SessionPolicy, Shard, ShardId, ShardMapInfo, ShardMapKind, ShardMapName,
    ShardStatus, ShardVersion, StoreVersion,
};

use super::fixture::{Fixture, at_new_version, local_change, map_named, offline, record, refused};
use super::{Access, Environment};
use crate::support::consistency::{mapping_facts, shard_facts};

fn content(map: &ShardMapInfo, shard: &Shard, mappings: &[MappingRecord]) -> LocalContent {
    LocalContent {
        operation: OperationId::random(),
        map: map.clone(),
        shard: shard.clone(),
        mappings: mappings.to_vec(),
        neighbours: Vec::new(),
        expected: None,
        ending: None,
    }
}

async fn send<E: Environment>(fixture: &Fixture<E>, content: &LocalContent) -> Result<()> {
    let _global = fixture.store().lock_operation(content.operation).await.unwrap();
    let place = content.shard.location();
    let mut session = fixture.store().lock_operation_at(place, content.operation).await.unwrap();
    session.replace(content).await
}

/// A row and mappings of a shard as [`Fixture::local_state`] gives them.
fn lines(map: &ShardMapInfo, shard: &Shard, mappings: &[MappingRecord]) -> Vec<String> {
    let of = |text: String| format!("{}: {text}", map.name());
    let mut lines = vec![of(shard_facts(shard))];
    lines.extend(mappings.iter().map(|mapping| of(mapping_facts(mapping))));
    lines.sort();
    lines
}

pub async fn a_store_holds_exactly_what_it_is_given<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (map, other) = (map_named("map", ShardMapKind::Range), map_named("other", ShardMapKind::List));
    let of_other_map = fixture.local_shard(&other, 0).await;
    let shard = fixture.local_shard(&map, 0).await;
    let old = [record(&shard, 0, Some(10)), record(&shard, 20, None)];
    let steps = old.iter().cloned().map(LocalStep::Add).collect();
    fixture.send_mapping_change(&local_change(OperationId::random(), &shard, steps)).await.unwrap();

    let place = shard.location().clone();
    let row = Shard::new(shard.id(), ShardVersion::random(), map.id(), place.clone(), ShardStatus::Offline);
    let new = [old[0].clone(), offline(record(&shard, 10, Some(15))), record(&shard, 15, None)];
    let first = content(&map, &row, &new);
    let expected = || {
        let mut all = lines(&map, &row, &new);
        all.extend(lines(&other, &of_other_map, &[]));
        all.sort();
        all
    };
    for again in ["", ", again"] {
        send(&fixture, &first).await.unwrap();
        assert_eq!(fixture.local_state(0).await, expected(), "replaced{again}");
    }
    // Another operation replaces the same by nothing, and by rows of another shard.
    send(&fixture, &content(&map, &at_new_version(&shard), &[])).await.unwrap();
    assert_eq!(fixture.store().local_mappings(&place, map.id()).await.unwrap(), []);
    let stranger = fixture.new_shard(&map, 0);
    let of_stranger = [record(&stranger, 5, None)];
    send(&fixture, &content(&map, &stranger, &of_stranger)).await.unwrap();
    let mut all = lines(&map, &stranger, &of_stranger);
    all.extend(lines(&other, &of_other_map, &[]));
    all.sort();
    assert_eq!(fixture.local_state(0).await, all, "nothing of the earlier shard is left");
}

pub async fn the_map_is_called_what_it_is_called<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = map_named("old name", ShardMapKind::Range);
    let shard = fixture.local_shard(&map, 0).await;
    let renamed = ShardMapInfo::new(map.id(), ShardMapName::new("new '表' 😀").unwrap(), map.kind(), map.key_type());
    send(&fixture, &content(&renamed, &at_new_version(&shard), &[])).await.unwrap();
    let rows = fixture.store().local_shards(shard.location()).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].0, renamed);
}

pub async fn neighbours_keep_what_they_have<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = map_named("map", ShardMapKind::Range);
    let shard = fixture.local_shard(&map, 0).await;
    let at = shard.location().clone().with_protocol(Protocol::Tcp);
    let beside = Shard::new(ShardId::random(), ShardVersion::random(), map.id(), at, ShardStatus::Online);
    let _ = fixture.change_shard(&map, &beside, ShardAction::Add).await.unwrap();
    let of_beside = record(&beside, 100, None);
    let steps = vec![LocalStep::Add(of_beside.clone())];
    fixture.send_mapping_change(&local_change(OperationId::random(), &beside, steps)).await.unwrap();

    let row = at_new_version(&shard);
    let new = [record(&shard, 0, Some(10))];
    // One of the neighbours is not there, which does not matter.
    let neighbours = vec![beside.id(), ShardId::random()];
    send(&fixture, &LocalContent { neighbours, ..content(&map, &row, &new) }).await.unwrap();
    let mut all = lines(&map, &row, &new);
    all.extend(lines(&map, &beside, &[of_beside]));
    all.sort();
    assert_eq!(fixture.local_state(0).await, all);
    send(&fixture, &content(&map, &at_new_version(&row), &[])).await.unwrap();
    assert_eq!(fixture.local_state(0).await.len(), 1, "who is not named does not stay");
}

/// A row that the shard cannot have beside another one's is no success.
pub async fn a_place_that_a_neighbour_has_is_refused<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = map_named("map", ShardMapKind::Range);
    let there = fixture.local_shard(&map, 0).await;
    let before = fixture.local_state(0).await;
    let shard = fixture.new_shard(&map, 0);
    let replaced = LocalContent { neighbours: vec![there.id()], ..content(&map, &shard, &[]) };
    refused(send(&fixture, &replaced).await, Refusal::ShardLocationExists, "a neighbour's place");
    assert_eq!(fixture.local_state(0).await, before);
}

pub async fn another_version_than_the_expected_is_refused<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = map_named("map", ShardMapKind::Range);
    let shard = fixture.local_shard(&map, 0).await;
    let before = fixture.local_state(0).await;
    let next = at_new_version(&shard);
    let expecting = |expected| LocalContent { expected, ..content(&map, &next, &[]) };
    let result = send(&fixture, &expecting(Some(ShardVersion::random()))).await;
    refused(result, Refusal::ShardVersionMismatch, "another version");
    let stranger = fixture.new_shard(&map, 0);
    let absent = LocalContent { expected: Some(stranger.version()), ..content(&map, &stranger, &[]) };
    refused(send(&fixture, &absent).await, Refusal::ShardVersionMismatch, "no row");
    assert_eq!(fixture.local_state(0).await, before);
    let right = expecting(Some(shard.version()));
    for _ in 0..2 {
        // The second time the row has the new version, written by this operation.
        send(&fixture, &right).await.unwrap();
        assert_eq!(fixture.local_state(0).await, lines(&map, &next, &[]));
    }
}

pub async fn a_missing_store_is_installed<E: Access>() {
    let fixture = Fixture::<E>::new().await;
    let map = map_named("map", ShardMapKind::Range);
    let shard = fixture.new_shard(&map, 0);
    fixture.environment.make_database(shard.location()).await;
    let mappings = [record(&shard, 0, None)];
    let first = content(&map, &shard, &mappings);
    // With an expectation nothing comes true, but the store may be there.
    let expecting = LocalContent { expected: Some(shard.version()), ..first.clone() };
    refused(send(&fixture, &expecting).await, Refusal::ShardVersionMismatch, "no store");
    send(&fixture, &first).await.unwrap();
    assert_eq!(fixture.local_state(0).await, lines(&map, &shard, &mappings));
    assert_eq!(fixture.store().local_version(shard.location()).await.unwrap(), Some(StoreVersion::CURRENT));
}

/// Sessions of what the shard does not serve any more.
pub async fn sessions_end_with_what_is_replaced<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = map_named("map", ShardMapKind::Range);
    let shard = fixture.local_shard(&map, 0).await;
    let mappings = [record(&shard, 0, Some(10)), record(&shard, 10, Some(20))];
    send(&fixture, &content(&map, &at_new_version(&shard), &mappings)).await.unwrap();
    let open = async |mapping: &MappingRecord| {
        let target = shardlet::lsm::RouteTarget::Mapping {
            mapping: mapping.id,
            kind: ShardMapKind::Range,
            key: mapping.low.clone(),
        };
        let route = shardlet::lsm::Route { location: shard.location().clone(), map: map.id(), target };
        let credentials = fixture.environment.credentials();
        fixture.store().open_routed(&route, &credentials, shardlet::Validation::Validate).await.unwrap()
    };
    let sessions = [open(&mappings[0]).await, open(&mappings[0]).await, open(&mappings[1]).await];
    let ends = |mapping: &MappingRecord| SessionEnding {
        map: map.id(),
        kind: map.kind(),
        mappings: vec![(mapping.id, mapping.range())],
        policy: SessionPolicy::EndNow,
    };
    for (mapping, left, count) in [(&mappings[0], &mappings[1..], 2), (&mappings[1], &mappings[..0], 1)] {
        let ending = ends(mapping);
        let replaced = LocalContent { ending: Some(ending.clone()), ..content(&map, &at_new_version(&shard), left) };
        let _global = fixture.store().lock_operation(replaced.operation).await.unwrap();
        let mut session = fixture.store().lock_operation_at(shard.location(), replaced.operation).await.unwrap();
        session.replace(&replaced).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(60), session.end_sessions(&ending)).await.unwrap();
        assert_eq!(ended.unwrap().ended, count);
    }
    drop(sessions);
}

/// Undoing knows the versions before and after the operation; a row of another one is not touched.
pub async fn an_undo_leaves_another_history_alone<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = map_named("map", ShardMapKind::Range);
    let shard = fixture.local_shard(&map, 0).await;
    let held = record(&shard, 0, Some(10));
    let [before, after] = [at_new_version(&shard), at_new_version(&shard)];
    let other = at_new_version(&shard);
    let known = Some([before.version(), after.version()]);
    for (now, touched) in [(&before, true), (&after, true), (&other, false)] {
        for action in [ShardAction::Update, ShardAction::Remove] {
            send(&fixture, &content(&map, now, &[])).await.unwrap();
            let state = fixture.local_state(0).await;
            let to = Shard::new(shard.id(), before.version(), map.id(), shard.location().clone(), ShardStatus::Offline);
            let undoing = LocalShardChange {
                operation: OperationId::random(),
                map: map.clone(),
                shard: to.clone(),
                action,
                undoing: true,
                known,
            };
            for again in ["", ", again"] {
                fixture.send_shard_change(&undoing).await.unwrap();
                let expected = match (touched, action) {
                    (false, _) => state.clone(),
                    (true, ShardAction::Remove) => Vec::new(),
                    (true, _) => lines(&map, &to, &[]),
                };
                assert_eq!(fixture.local_state(0).await, expected, "{action:?}, touched: {touched}{again}");
            }
        }
        send(&fixture, &content(&map, now, std::slice::from_ref(&held))).await.unwrap();
        let state = fixture.local_state(0).await;
        let back = record(&shard, 20, None);
        let undoing = LocalMappingChange {
            undoing: true,
            known,
            ..local_change(
                OperationId::random(),
                &before,
                vec![LocalStep::Remove(held.id), LocalStep::Add(back.clone())],
            )
        };
        let expected = if touched { lines(&map, &before, &[back]) } else { state };
        for again in ["", ", again"] {
            fixture.send_mapping_change(&undoing).await.unwrap();
            assert_eq!(fixture.local_state(0).await, expected, "mappings, touched: {touched}{again}");
        }
    }
    // Where nothing is known, nothing is compared.
    send(&fixture, &content(&map, &other, std::slice::from_ref(&held))).await.unwrap();
    let undoing = LocalMappingChange {
        undoing: true,
        ..local_change(OperationId::random(), &before, vec![LocalStep::Remove(held.id)])
    };
    fixture.send_mapping_change(&undoing).await.unwrap();
    assert_eq!(fixture.local_state(0).await, lines(&map, &before, &[]));
}
