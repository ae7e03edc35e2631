//! Databases of shards, or that of the global store, were renamed, restored or lost.

use shardlet::{
    DifferenceKind, ErrorKind, NoCredentials, RangeShardMap, Resolution, ShardDifference, ShardLocation, Sqlite,
    Validation,
};

use super::{Files, assert_agree, led_to, look, name_of, restore};
use crate::support::contents::{closed, remove};
use crate::support::location;

#[tokio::test]
async fn a_shards_file_was_renamed() {
    let files = Files::new().await;
    let old_process = files.process().await;
    assert_eq!(led_to(&old_process, 7).await, Ok(0));
    let renamed = ShardLocation::new("server", "renamed");
    let new_file = files.shard(0).with_file_name("renamed.db");
    std::fs::rename(files.backup(&files.shard(0)), &new_file).unwrap();
    remove(&files.shard(0));

    let operator = files.process().await;
    let recovery = operator.manager().recovery();
    assert_eq!(recovery.detect(&location(0)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(look(&operator, &renamed).await.of_shard(), [ShardDifference::Elsewhere(location(0))]);
    let moved = recovery.relocate(&location(0), &renamed).await.unwrap();
    assert_eq!(moved[0].location(), &renamed);
    assert_agree(&operator, "relocated").await;
    assert_eq!(led_to(&operator, 7).await, Ok(0));
    // A process that has the old place in its cache finds the way.
    assert_eq!(led_to(&old_process, 7).await, Ok(0));
    assert_eq!(old_process.cached_mapping(&7).unwrap().shard().location(), &renamed);
    assert!(!files.shard(0).exists(), "nobody has made a new database at the old place");
}

/// What happened on the map since the backup of shard 0: `[0, 100)` was split, `[50, 100)` went to shard 1, and `[200, 300)` came.
async fn changes(map: &RangeShardMap<i64, Sqlite>) {
    let mapping = map.mapping_for_key(&7).await.unwrap();
    let (_, upper) = map.split_mapping(mapping, 50).await.unwrap();
    let upper = map.mark_mapping_offline(upper).await.unwrap();
    let upper = map.move_mapping(upper, &map.shard(&location(1)).await.unwrap()).await.unwrap();
    let _ = map.mark_mapping_online(upper).await.unwrap();
    let _ = map.create_mapping(200..300, &map.shard(&location(0)).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_shards_database_was_restored_from_an_older_copy() {
    let files = Files::new().await;
    let backup = files.backup(&files.shard(0));
    changes(&files.process().await).await;
    restore(&backup, &files.shard(0)).await;

    let operator = files.process().await;
    let recovery = operator.manager().recovery();
    let differences = look(&operator, &location(0)).await;
    let found: Vec<_> = differences
        .of_mappings()
        .iter()
        .map(|difference| {
            let range = difference.range::<i64>().unwrap();
            (*range.low(), *range.high().unwrap(), difference.kind())
        })
        .collect();
    use DifferenceKind::{InBoth, InGlobalOnly};
    assert_eq!(found, [(0, 50, InBoth), (50, 100, InBoth), (200, 300, InGlobalOnly)]);
    // A person sees what this is about.
    let text = differences.to_string();
    let at = |number| location(number).to_string();
    let expected = [
        format!("{} in shard map \"orders\":", at(0)),
        "  the shard has different versions in the two stores".to_owned(),
        format!("  [0:50): Online on {} in the global store, Online in the local store", at(0)),
        format!("  [50:100): Online on {} in the global store, Online in the local store", at(1)),
        format!("  [200:300): Online on {} in the global store, not known to the local store", at(0)),
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);

    recovery.resolve(&differences, Resolution::KeepGlobal).await.unwrap();
    assert_agree(&operator, "kept global").await;
    for (key, shard) in [(7, 0), (70, 1), (150, 1), (250, 0)] {
        assert_eq!(led_to(&operator, key).await, Ok(shard), "{key}");
    }
}

/// Somebody works on keys that the restored shard believes to own, and loses them; a neighbour goes on.
#[tokio::test]
async fn sessions_of_lost_keys_end_and_others_live() {
    let files = Files::new().await;
    let backup = files.backup(&files.shard(0));
    // A process whose cache is as old as the backup.
    let old_process = files.process().await;
    let _ = old_process.lookup_mapping(&7).await.unwrap();
    changes(&files.process().await).await;
    restore(&backup, &files.shard(0)).await;
    let open =
        async |key: i64| old_process.open_connection_for_key(&key, &NoCredentials, Validation::Validate).await.unwrap();
    let (mut kept, mut lost) = (open(7).await, open(70).await);
    assert_eq!((name_of(&mut kept).await.unwrap(), name_of(&mut lost).await.unwrap()), (0, 0), "as before the changes");

    let operator = files.process().await;
    let differences = look(&operator, &location(0)).await;
    operator.manager().recovery().resolve(&differences, Resolution::KeepGlobal).await.unwrap();
    assert_eq!(name_of(&mut kept).await.unwrap(), 0, "its key is still there");
    let error = name_of(&mut lost).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Offline, "{error}");
    assert_eq!(led_to(&old_process, 70).await, Ok(1));
    assert_eq!(led_to(&old_process, 7).await, Ok(0));
}

#[tokio::test]
async fn the_global_store_was_restored_from_an_older_copy() {
    let files = Files::new().await;
    let backup = files.backup(&files.global());
    {
        let map = files.process().await;
        changes(&map).await;
        // A shard came, one went, and one was marked.
        let shard = map.create_shard(&location(3)).await.unwrap();
        let _ = map.create_mapping(300..400, &shard).await.unwrap();
        map.delete_shard(map.shard(&location(2)).await.unwrap()).await.unwrap();
        let first = map.shard(&location(0)).await.unwrap();
        let _ = map.update_shard(first, shardlet::ShardStatus::Offline).await.unwrap();
    }
    let before = files.process().await.mappings().await.unwrap();
    restore(&backup, &files.global()).await;

    let operator = files.process().await;
    let recovery = operator.manager().recovery();
    assert_eq!(look(&operator, &location(3)).await.of_shard(), [ShardDifference::NotInGlobal]);
    assert_eq!(look(&operator, &location(2)).await.of_shard(), [ShardDifference::NotInLocal]);
    let _ = recovery.attach(&location(3), "orders").await.unwrap();
    assert_eq!(recovery.detach(&location(2), "orders").await.unwrap(), 0);
    let places: Vec<_> = [0, 1, 3].into_iter().map(location).collect();
    recovery.rebuild_shard_map("orders", &places).await.unwrap();
    assert_agree(&operator, "rebuilt").await;
    let short = |mappings: &[shardlet::RangeMapping<i64>]| -> Vec<_> {
        let one = |it: &shardlet::RangeMapping<i64>| (it.range(), it.status(), it.shard().location().clone());
        mappings.iter().map(one).collect()
    };
    assert_eq!(short(&operator.mappings().await.unwrap()), short(&before));
    let marked = operator.shard(&location(0)).await.unwrap();
    assert_eq!(marked.status(), shardlet::ShardStatus::Offline, "the mark is that of the shard's own store");
    for (key, shard) in [(7, 0), (70, 1), (150, 1), (250, 0)] {
        assert_eq!(led_to(&operator, key).await, Ok(shard), "{key}");
    }
}

#[tokio::test]
async fn a_shards_file_was_deleted() {
    let files = Files::new().await;
    let operator = files.process().await;
    let recovery = operator.manager().recovery();
    remove(&files.shard(1));
    for error in [
        recovery.detect(&location(1)).await.unwrap_err(),
        recovery.rebuild_shard(&location(1)).await.unwrap_err(),
        recovery.attach(&location(1), "orders").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!(error.place(), Some(&shardlet::Place::Shard(location(1))), "{error}");
    }
    assert_eq!(recovery.detach(&location(1), "orders").await.unwrap(), 1);
    assert_agree(&operator, "detached").await;
    assert_eq!(led_to(&operator, 150).await, Err(ErrorKind::NotFound));
    assert_eq!(led_to(&operator, 7).await, Ok(0));
    let third = operator.shard(&location(2)).await.unwrap();
    let _ = operator.create_mapping(100..200, &third).await.unwrap();
    assert_eq!(led_to(&operator, 150).await, Ok(2));
    assert!(!files.shard(1).exists());
}

/// An empty database is in the place of one that is lost: its rows are gone, its mappings are written anew.
#[tokio::test]
async fn a_shard_starts_anew_on_an_empty_database() {
    let files = Files::new().await;
    closed(&files.shard(1)).await;
    remove(&files.shard(1));
    let empty = shardlet::rusqlite::Connection::open(files.shard(1)).unwrap();
    empty.execute_batch("CREATE TABLE name (shard INTEGER); INSERT INTO name VALUES (-1)").unwrap();
    drop(empty);
    let operator = files.process().await;
    assert_eq!(look(&operator, &location(1)).await.of_shard(), [ShardDifference::NoLocalStore]);
    assert_eq!(led_to(&operator, 150).await, Err(ErrorKind::StoreDamaged));
    assert_eq!(operator.manager().recovery().rebuild_shard(&location(1)).await.unwrap().len(), 1);
    assert_agree(&operator, "rebuilt").await;
    assert_eq!(led_to(&operator, 150).await, Ok(-1));
}

/// A shard's database was copied over that of another one.
#[tokio::test]
async fn a_shards_database_was_replaced_by_a_copy_of_another_one() {
    let files = Files::new().await;
    restore(&files.backup(&files.shard(0)), &files.shard(1)).await;
    let operator = files.process().await;
    let first = operator.shard(&location(0)).await.unwrap();
    let differences = look(&operator, &location(1)).await;
    let expected = [ShardDifference::NotInLocal, ShardDifference::OtherShard(first.id())];
    assert_eq!(differences.of_shard(), expected);
    // It is no place for either: neither its own keys nor those of the other one are served from there.
    assert!(led_to(&operator, 150).await.is_err());
    assert_eq!(led_to(&operator, 7).await, Ok(0));
    let recovery = operator.manager().recovery();
    assert_eq!(recovery.relocate(&location(0), &location(1)).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(recovery.rebuild_shard(&location(1)).await.unwrap().len(), 1);
    assert_agree(&operator, "rebuilt").await;
}
