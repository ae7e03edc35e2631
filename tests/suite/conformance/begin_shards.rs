//! Beginning operations on shards.

use shardlet::error::Refusal;
use shardlet::gsm::{Direction, GlobalStore, OperationCode, ShardStep};
use shardlet::{Shard, ShardId, ShardLocation, ShardMapKind, ShardStatus, ShardVersion};

use super::Environment;
use super::fixture::{Fixture, add, at_new_version, begun, map_named, on_shard, pending, record};

fn adding(map: &shardlet::ShardMapInfo, shard: &Shard) -> shardlet::gsm::GlobalOperation {
    on_shard(OperationCode::AddShard, map, ShardStep::Add(shard.clone()))
}

pub async fn adding_a_shard<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (map, other) = (fixture.map("map", ShardMapKind::List).await, fixture.map("other", ShardMapKind::List).await);
    let gone = map_named("gone", ShardMapKind::List);
    let operation = adding(&gone, &fixture.new_shard(&gone, 0));
    fixture.begin_refused(&operation, Refusal::ShardMapDoesNotExist, "a map that is gone").await;

    let shard = fixture.shard(&map, 0).await;
    let elsewhere = fixture.environment.location(1);
    let same_id = Shard::new(shard.id(), ShardVersion::random(), map.id(), elsewhere.clone(), ShardStatus::Online);
    fixture.begin_refused(&adding(&map, &same_id), Refusal::ShardExists, "an id that is taken").await;
    let at = |location: &ShardLocation| {
        Shard::new(ShardId::random(), ShardVersion::random(), map.id(), location.clone(), ShardStatus::Online)
    };
    let upper = ShardLocation::new(shard.location().server().to_uppercase(), shard.location().database())
        .with_port(shard.location().port().unwrap_or_default());
    for location in [shard.location(), &upper] {
        let operation = adding(&map, &at(location));
        fixture.begin_refused(&operation, Refusal::ShardLocationExists, "a location that is taken").await;
    }
    // The same database in another map, and by another port, is another shard.
    let in_other = Shard::new(ShardId::random(), shard.version(), other.id(), shard.location().clone(), shard.status());
    fixture.perform(&adding(&other, &in_other)).await;
    fixture.perform(&adding(&map, &at(&shard.location().clone().with_port(2433)))).await;

    let new = at(&elsewhere);
    let first = adding(&map, &new);
    begun(fixture.begin(&first).await, "first");
    begun(fixture.begin(&first).await, "again");
    assert_eq!(fixture.store().pending_operations().await.unwrap().len(), 1);
    let met = pending(fixture.begin(&adding(&map, &at(&elsewhere))).await, "a location that is being taken");
    assert_eq!((met.id, met.code), (first.id, 1));
    let place = fixture.environment.location(2);
    let same_id = Shard::new(new.id(), ShardVersion::random(), map.id(), place, ShardStatus::Online);
    let met = pending(fixture.begin(&adding(&map, &same_id)).await, "an id that is being taken");
    assert_eq!(met.id, first.id);
    assert_eq!(fixture.store().pending_operations().await.unwrap().len(), 1, "what meets another leaves nothing");
    fixture.end(&first, Direction::Do).await.unwrap();
    fixture.assert_free(&map, "in the end").await;
}

pub async fn removing_a_shard<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let removing = |shard: &Shard| on_shard(OperationCode::RemoveShard, &map, ShardStep::Remove(shard.clone()));
    let (shard, used) = (fixture.shard(&map, 0).await, fixture.shard(&map, 1).await);
    let gone = map_named("gone", ShardMapKind::List);
    let operation = on_shard(OperationCode::RemoveShard, &gone, ShardStep::Remove(fixture.new_shard(&gone, 0)));
    fixture.begin_refused(&operation, Refusal::ShardMapDoesNotExist, "a map that is gone").await;
    let unknown = fixture.new_shard(&map, 2);
    fixture.begin_refused(&removing(&unknown), Refusal::ShardDoesNotExist, "unknown").await;
    fixture.begin_refused(&removing(&at_new_version(&shard)), Refusal::ShardVersionMismatch, "another version").await;

    let mapping = record(&used, 1, None);
    let adding = add(&map, &mapping);
    fixture.start(&adding).await;
    let met = pending(fixture.begin(&removing(&used)).await, "a shard that gets a mapping");
    assert_eq!(met.id, adding.id);
    fixture.end(&adding, Direction::Do).await.unwrap();
    let used = fixture.store().find_shard(map.id(), used.location()).await.unwrap().unwrap();
    fixture.begin_refused(&removing(&used), Refusal::ShardHasMappings, "with a mapping").await;

    let first = removing(&shard);
    begun(fixture.begin(&first).await, "first");
    begun(fixture.begin(&first).await, "again");
    assert_eq!(pending(fixture.begin(&removing(&shard)).await, "being removed").id, first.id);
    assert_eq!(pending(fixture.begin(&removing(&at_new_version(&shard))).await, "whatever version").id, first.id);

    let new = fixture.new_shard(&map, 3);
    fixture.start(&on_shard(OperationCode::AddShard, &map, ShardStep::Add(new.clone()))).await;
    let result = fixture.begin(&removing(&new)).await;
    super::fixture::refused(result, Refusal::ShardDoesNotExist, "one that is being added is not there yet");
}

pub async fn updating_a_shard<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let updating = |shard: &Shard| {
        on_shard(OperationCode::UpdateShard, &map, ShardStep::Update(shard.clone(), at_new_version(shard)))
    };
    let shard = fixture.shard(&map, 0).await;
    // It may have mappings.
    let _ = fixture.mapping(&map, record(&shard, 1, None)).await;
    fixture.begin_refused(&updating(&shard), Refusal::ShardVersionMismatch, "a mapping came").await;
    let shard = fixture.store().find_shard(map.id(), shard.location()).await.unwrap().unwrap();
    fixture.begin_refused(&updating(&fixture.new_shard(&map, 1)), Refusal::ShardDoesNotExist, "unknown").await;
    let gone = map_named("gone", ShardMapKind::List);
    let missing = fixture.new_shard(&gone, 0);
    let step = ShardStep::Update(missing.clone(), at_new_version(&missing));
    let operation = on_shard(OperationCode::UpdateShard, &gone, step);
    fixture.begin_refused(&operation, Refusal::ShardMapDoesNotExist, "a map that is gone").await;

    let first = updating(&shard);
    begun(fixture.begin(&first).await, "first");
    begun(fixture.begin(&first).await, "again");
    assert_eq!(pending(fixture.begin(&updating(&shard)).await, "being updated").id, first.id);
}

pub async fn attaching_a_shard<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let attaching = |shard: &Shard| on_shard(OperationCode::AttachShard, &map, ShardStep::Add(shard.clone()));
    let shard = fixture.shard(&map, 0).await;
    fixture.begin_refused(&attaching(&shard), Refusal::ShardExists, "a shard that is there").await;
    let first = attaching(&fixture.new_shard(&map, 1));
    begun(fixture.begin(&first).await, "first");
    begun(fixture.begin(&first).await, "again");
    let met = pending(fixture.begin(&adding(&map, &fixture.new_shard(&map, 1))).await, "adding it meanwhile");
    assert_eq!((met.id, met.code), (first.id, 16));
    fixture.end(&first, Direction::Do).await.unwrap();
    assert_eq!(fixture.store().shards(map.id()).await.unwrap().len(), 2);
}
