//! Descriptions of shards.

use futures::future::join_all;
use shardlet::error::Refusal;
use shardlet::gsm::{Direction, GlobalStore, OperationCode, ShardStep};
use shardlet::{CreateMode, Shard, ShardMapId, ShardMapInfo, ShardMapKind, ShardStatus};

use super::Environment;
use super::fixture::{Fixture, at_new_version, map_named, on_shard, refused};

/// Texts that engines might make something else of.
const TEXTS: [&str; 6] =
    ["north", "'; DROP TABLE x; --\"]", " blanks around  ", "   ", "two\nlines\tand a tab", "Zürich 東京 😀 <&>"];

/// The descriptions of a map, ordered by their texts.
async fn described<E: Environment>(fixture: &Fixture<E>, map: &ShardMapInfo) -> Vec<(String, shardlet::ShardId)> {
    let all = fixture.store().shard_descriptions(map.id()).await.unwrap();
    let mut all: Vec<_> = all.into_iter().map(|(shard, text)| (text, shard)).collect();
    all.sort();
    all
}

fn expected(shards: &[(&Shard, &str)]) -> Vec<(String, shardlet::ShardId)> {
    let mut all: Vec<_> = shards.iter().map(|(shard, text)| ((*text).to_owned(), shard.id())).collect();
    all.sort();
    all
}

async fn describe<E: Environment>(fixture: &Fixture<E>, shard: &Shard, text: &str) {
    fixture.store().describe_shard(shard.shard_map_id(), shard.id(), text).await.unwrap();
}

/// Takes a shard out of its map and leaves its own store alone.
async fn detach<E: Environment>(fixture: &Fixture<E>, shard: &Shard) {
    let _ = fixture.store().detach_shard(shard.shard_map_id(), shard.id()).await.unwrap();
}

/// Puts a shard back that was taken out.
async fn attach<E: Environment>(fixture: &Fixture<E>, map: &ShardMapInfo, shard: &Shard) {
    fixture.perform(&on_shard(OperationCode::AttachShard, map, ShardStep::Add(shard.clone()))).await;
}

pub async fn shards_are_described_and_descriptions_listed<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (map, other) = (fixture.map("map", ShardMapKind::List).await, fixture.map("other", ShardMapKind::Range).await);
    assert_eq!(described(&fixture, &map).await, []);
    let (first, second) = (fixture.shard(&map, 0).await, fixture.shard(&map, 1).await);
    let elsewhere = fixture.shard(&other, 0).await;
    assert_eq!(described(&fixture, &map).await, []);
    let before = fixture.state().await;
    let longest = ["表".repeat(Shard::MAX_DESCRIPTION_LENGTH), "😀".repeat(Shard::MAX_DESCRIPTION_LENGTH / 2)];
    for text in TEXTS.into_iter().chain(longest.iter().map(String::as_str)) {
        describe(&fixture, &first, text).await;
        assert_eq!(described(&fixture, &map).await, expected(&[(&first, text)]), "{text:?}");
    }
    describe(&fixture, &second, "the second").await;
    describe(&fixture, &elsewhere, "the second").await;
    describe(&fixture, &first, "the first").await;
    describe(&fixture, &first, "the first").await;
    assert_eq!(described(&fixture, &map).await, expected(&[(&first, "the first"), (&second, "the second")]));
    assert_eq!(described(&fixture, &other).await, expected(&[(&elsewhere, "the second")]));
    // An empty one is none, whether there was one or not.
    for _ in 0..2 {
        describe(&fixture, &first, "").await;
        assert_eq!(described(&fixture, &map).await, expected(&[(&second, "the second")]));
    }
    describe(&fixture, &first, "again").await;
    assert_eq!(described(&fixture, &map).await, expected(&[(&first, "again"), (&second, "the second")]));
    assert_eq!(fixture.state().await, before, "a description is no part of a shard");
}

pub async fn what_is_not_there_is_not_described<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (map, other) = (fixture.map("map", ShardMapKind::List).await, fixture.map("other", ShardMapKind::List).await);
    let shard = fixture.shard(&map, 0).await;
    let store = fixture.store();
    let gone = map_named("gone", ShardMapKind::List).id();
    let of = |map: ShardMapId, shard: &Shard| store.describe_shard(map, shard.id(), "text");
    refused(of(gone, &shard).await, Refusal::ShardMapDoesNotExist, "a map that is gone");
    refused(store.shard_descriptions(gone).await, Refusal::ShardMapDoesNotExist, "those of a map that is gone");
    let unknown = fixture.new_shard(&map, 1);
    refused(of(map.id(), &unknown).await, Refusal::ShardDoesNotExist, "a shard that is gone");
    refused(of(other.id(), &shard).await, Refusal::ShardDoesNotExist, "a shard of another map");
    let adding = on_shard(OperationCode::AddShard, &map, ShardStep::Add(unknown.clone()));
    fixture.start(&adding).await;
    refused(of(map.id(), &unknown).await, Refusal::ShardDoesNotExist, "a shard that is being added");
    refused(store.describe_shard(map.id(), unknown.id(), "").await, Refusal::ShardDoesNotExist, "with no text");
    assert_eq!(described(&fixture, &map).await, []);
    assert_eq!(described(&fixture, &other).await, []);
}

pub async fn an_operation_on_a_shard_and_its_description_do_not_mind_each_other<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let shard = fixture.shard(&map, 0).await;
    describe(&fixture, &shard, "before").await;
    let new = at_new_version(&shard);
    let new = Shard::new(new.id(), new.version(), map.id(), new.location().clone(), ShardStatus::Offline);
    let update = on_shard(OperationCode::UpdateShard, &map, ShardStep::Update(shard.clone(), new.clone()));
    fixture.start(&update).await;
    assert_eq!(described(&fixture, &map).await, expected(&[(&shard, "before")]));
    describe(&fixture, &shard, "meanwhile").await;
    fixture.end(&update, Direction::Do).await.unwrap();
    assert_eq!(described(&fixture, &map).await, expected(&[(&shard, "meanwhile")]));
    let removal = on_shard(OperationCode::RemoveShard, &map, ShardStep::Remove(new));
    fixture.start(&removal).await;
    assert_eq!(described(&fixture, &map).await, expected(&[(&shard, "meanwhile")]), "it is still there");
    fixture.end(&removal, Direction::Undo).await.unwrap();
    assert_eq!(described(&fixture, &map).await, expected(&[(&shard, "meanwhile")]));
    fixture.perform(&removal).await;
    assert_eq!(described(&fixture, &map).await, []);
    fixture.store().remove_shard_map(map.id()).await.expect("a description keeps no map");
}

pub async fn descriptions_of_shards_that_are_gone_are_forgotten_with_the_next<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (map, other) = (fixture.map("map", ShardMapKind::List).await, fixture.map("other", ShardMapKind::List).await);
    let (shard, elsewhere) = (fixture.shard(&map, 0).await, fixture.shard(&other, 1).await);
    describe(&fixture, &shard, "north").await;
    detach(&fixture, &shard).await;
    assert_eq!(described(&fixture, &map).await, []);
    attach(&fixture, &map, &shard).await;
    assert_eq!(described(&fixture, &map).await, expected(&[(&shard, "north")]), "attached again");

    // One that is being attached is there.
    detach(&fixture, &shard).await;
    let attaching = on_shard(OperationCode::AttachShard, &map, ShardStep::Add(shard.clone()));
    fixture.start(&attaching).await;
    assert_eq!(described(&fixture, &map).await, []);
    describe(&fixture, &elsewhere, "south").await;
    fixture.end(&attaching, Direction::Do).await.unwrap();
    assert_eq!(described(&fixture, &map).await, expected(&[(&shard, "north")]), "attached meanwhile");

    // Whether the next one is a text or none at all. One of another map does not look at what others may be at work on.
    let beside = fixture.shard(&map, 2).await;
    for text in ["south", ""] {
        describe(&fixture, &shard, "north").await;
        detach(&fixture, &shard).await;
        describe(&fixture, &elsewhere, text).await;
        attach(&fixture, &map, &shard).await;
        assert_eq!(described(&fixture, &map).await, expected(&[(&shard, "north")]), "after {text:?} elsewhere");
        detach(&fixture, &shard).await;
        describe(&fixture, &beside, text).await;
        describe(&fixture, &beside, "").await;
        attach(&fixture, &map, &shard).await;
        assert_eq!(described(&fixture, &map).await, [], "after {text:?}");
    }
    // What was refused forgets nothing.
    describe(&fixture, &shard, "north").await;
    detach(&fixture, &shard).await;
    let of_none = fixture.store().describe_shard(map.id(), shard.id(), "text").await;
    refused(of_none, Refusal::ShardDoesNotExist, "detached");
    attach(&fixture, &map, &shard).await;
    assert_eq!(described(&fixture, &map).await, expected(&[(&shard, "north")]), "after a refusal");
}

pub async fn descriptions_of_a_map_that_is_gone_are_forgotten_with_the_next_of_any<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let (map, other) = (fixture.map("map", ShardMapKind::List).await, fixture.map("other", ShardMapKind::List).await);
    let (shard, elsewhere) = (fixture.shard(&map, 0).await, fixture.shard(&other, 1).await);
    let store = fixture.store();
    for (describes, left) in [(false, true), (true, false)] {
        describe(&fixture, &shard, "north").await;
        detach(&fixture, &shard).await;
        store.remove_shard_map(map.id()).await.unwrap();
        if describes {
            describe(&fixture, &elsewhere, "south").await;
        }
        store.add_shard_map(&map).await.unwrap();
        attach(&fixture, &map, &shard).await;
        let expected = if left { expected(&[(&shard, "north")]) } else { Vec::new() };
        assert_eq!(described(&fixture, &map).await, expected, "another was described: {describes}");
    }
}

pub async fn many_clients_describe_shards_at_once<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let mut shards = Vec::new();
    for name in ["one", "two"] {
        let map = fixture.map(name, ShardMapKind::List).await;
        for number in 0..2 {
            shards.push(fixture.shard(&map, number).await);
        }
        // Something for each of them to forget.
        let gone = fixture.shard(&map, 2).await;
        describe(&fixture, &gone, "gone").await;
        detach(&fixture, &gone).await;
    }
    let texts: Vec<_> = (0..16).map(|number| format!("text {number}")).collect();
    let (store, all) = (fixture.store(), texts.iter().zip(shards.iter().cycle()));
    let describing = all.clone().map(|(text, shard)| store.describe_shard(shard.shard_map_id(), shard.id(), text));
    for (outcome, text) in join_all(describing).await.into_iter().zip(&texts) {
        outcome.unwrap_or_else(|error| panic!("{text}: {error:?}"));
    }
    for map in store.shard_maps().await.unwrap() {
        let found = described(&fixture, &map).await;
        assert_eq!(found.len(), 2, "{found:?}");
        for (text, id) in found {
            assert!(all.clone().any(|(known, shard)| *known == text && shard.id() == id), "{text} is of another shard");
        }
    }
}

pub async fn a_store_that_is_replaced_has_no_descriptions<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let map = fixture.map("map", ShardMapKind::List).await;
    let shard = fixture.shard(&map, 0).await;
    describe(&fixture, &shard, "north").await;
    fixture.store().create_global(CreateMode::Replace).await.unwrap();
    fixture.store().add_shard_map(&map).await.unwrap();
    attach(&fixture, &map, &shard).await;
    assert_eq!(described(&fixture, &map).await, []);
    describe(&fixture, &shard, "south").await;
    assert_eq!(described(&fixture, &map).await, expected(&[(&shard, "south")]));
}
