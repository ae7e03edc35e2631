//! Operations that nobody meets on his way: shown, and undone, by the manager's own calls.

use shardlet::{
    Error, ErrorCode, ErrorKind, NoCredentials, OperationId, Options, RangeShardMap, ShardMapManager, Sqlite,
    Validation, rusqlite,
};

use crate::support::consistency::assert_consistent;
use crate::support::probe::{Call, Fault, Probe};
use crate::support::{directory, location, quick, shards};

/// A manager on a directory, whose map has one range on one shard and a split of it that nobody finished or undid.
async fn with_unfinished_split(directory: &tempfile::TempDir) -> RangeShardMap<i64, Probe<Sqlite>> {
    let probe = Probe::new(Sqlite::open_with(directory.path(), quick()).unwrap());
    let manager = ShardMapManager::open_or_create(probe.clone(), Options::default()).await.unwrap();
    let map: RangeShardMap<i64, _> = manager.create_range_shard_map("orders").await.unwrap();
    let shard = shards(&map, 1).await.remove(0);
    let range = map.create_mapping(0..100, &shard).await.unwrap();
    let lost = Error::new(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "lost");
    probe.inject(Call::EndDo, 1, Fault::FailBefore(lost.clone()));
    probe.inject(Call::FindOperation, 1, Fault::FailBefore(lost));
    let _ = map.split_mapping(range, 50).await.unwrap_err();
    map
}

#[tokio::test]
async fn what_a_client_left_is_undone_on_request_and_its_keys_are_served_again() {
    let directory = directory();
    let map = with_unfinished_split(&directory).await;
    let opened = map.open_connection_for_key(&70, &NoCredentials, Validation::Validate).await;
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::PendingOperation);

    assert_eq!(map.manager().undo_pending_operations().await.unwrap(), 1);
    assert_consistent(map.manager().backend(), &[location(0)], "after the undo").await;
    let opened = map.open_connection_for_key(&70, &NoCredentials, Validation::Validate).await;
    assert_eq!(opened.unwrap().location(), &location(0));
    assert_eq!(map.manager().undo_pending_operations().await.unwrap(), 0);
}

#[tokio::test]
async fn an_undo_start_that_no_client_writes_skips_no_step() {
    for start in [-1, 0, 99, 114, 116, 999, i32::MAX] {
        let directory = directory();
        let map = with_unfinished_split(&directory).await;
        let database = rusqlite::Connection::open(directory.path().join("gsm.db")).unwrap();
        let set = r#"UPDATE "__ShardManagement.OperationsLogGlobal" SET "UndoStartState" = ?1"#;
        assert_eq!(database.execute(set, [start]).unwrap(), 1);
        assert_eq!(map.manager().undo_pending_operations().await.unwrap(), 1, "{start}");
        assert_consistent(map.manager().backend(), &[location(0)], &format!("undone from {start}")).await;
    }
}

#[tokio::test]
async fn a_future_dropped_after_the_last_commit_leaves_nothing_old_in_the_cache() {
    let probe = Probe::new(Sqlite::in_memory());
    let manager = ShardMapManager::open_or_create(probe.clone(), Options::default()).await.unwrap();
    let map: RangeShardMap<i64, _> = manager.create_range_shard_map("orders").await.unwrap();
    let shards = shards(&map, 2).await;
    let range = map.create_mapping(0..100, &shards[0]).await.unwrap();
    let offline = map.mark_mapping_offline(range).await.unwrap();
    assert_eq!(map.cached_mapping(&7), Some(offline.clone()));

    probe.inject(Call::EndDo, 1, Fault::HoldAfter);
    let mut moving = map.move_mapping(offline, &shards[1]);
    tokio::select! {
        _ = &mut moving => panic!("it is held"),
        () = probe.held() => {}
    }
    drop(moving);
    assert_eq!(map.cached_mapping(&7), None);
    assert_eq!(map.lookup_mapping(&7).await.unwrap().shard().location(), &location(1));
}

/// Operations of live clients on one shard queue up: each is waited for, and none of them counts as undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_live_clients_change_one_shard() {
    let manager = crate::support::manager().await;
    let map: shardlet::ListShardMap<i64, _> = manager.create_list_shard_map("many").await.unwrap();
    let shard = crate::support::shards(&map, 1).await.remove(0);
    let tasks: Vec<_> = (0..400)
        .map(|key| {
            let (map, shard) = (map.clone(), shard.clone());
            tokio::spawn(async move { map.create_mapping(key, &shard).await })
        })
        .collect();
    for task in tasks {
        let _ = task.await.unwrap().unwrap();
    }
    assert_eq!(map.mappings().await.unwrap().len(), 400);
}

#[tokio::test]
async fn one_that_cannot_be_undone_does_not_keep_the_others() {
    let directory = directory();
    let map = with_unfinished_split(&directory).await;
    let database = rusqlite::Connection::open(directory.path().join("gsm.db")).unwrap();
    // Read before the split, whatever its id is, and after it.
    for id in ["00000000-0000-0000-0000-000000000001", "ffffffff-ffff-ffff-ffff-fffffffffffe"] {
        let spoilt = r#"INSERT INTO "__ShardManagement.OperationsLogGlobal" ("OperationId", "OperationCode", "Data")
                        VALUES (?1, 99, '<nonsense/>')"#;
        assert_eq!(database.execute(spoilt, [id]).unwrap(), 1);
    }
    database
        .execute_batch(
            r#"CREATE TABLE saved AS SELECT * FROM "__ShardManagement.OperationsLogGlobal";
               DELETE FROM "__ShardManagement.OperationsLogGlobal";
               INSERT INTO "__ShardManagement.OperationsLogGlobal" SELECT * FROM saved ORDER BY "OperationId";
               DROP TABLE saved"#,
        )
        .unwrap();
    let error = map.manager().undo_pending_operations().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{error:?}");
    let opened = map.open_connection_for_key(&70, &NoCredentials, Validation::Validate).await;
    assert!(opened.is_ok(), "{opened:?}");
}

#[tokio::test]
async fn an_unfinished_operation_is_shown_and_undone_by_its_id() {
    let directory = directory();
    let map = with_unfinished_split(&directory).await;
    let manager = map.manager();
    let pending = manager.pending_operations().await.unwrap();
    let [split] = &pending[..] else { panic!("{pending:?}") };
    assert_eq!((&*split.name, split.shard_map.as_ref().unwrap().name()), ("SplitMapping", "orders"));
    assert_eq!((&split.locations[..], split.undo_started), (&[location(0)][..], false));
    assert!(split.unreadable.is_none());
    assert_eq!(split.to_string(), format!("{}: SplitMapping, shard map \"orders\", {}", split.id, location(0)));
    for text in [format!("{split:?}"), split.to_string()] {
        // 50 and 100 in the store's form.
        assert!(!text.contains("000032") && !text.contains("000064"), "a key: {text}");
    }

    assert!(!manager.undo_operation(OperationId::random()).await.unwrap(), "there is none of that id");
    assert_eq!(manager.pending_operations().await.unwrap().len(), 1);
    assert!(manager.undo_operation(split.id).await.unwrap());
    assert_consistent(manager.backend(), &[location(0)], "after the undo").await;
    assert!(manager.pending_operations().await.unwrap().is_empty());
    assert!(!manager.undo_operation(split.id).await.unwrap(), "it is gone");
}

#[tokio::test]
async fn an_unfinished_move_names_both_shards_and_that_its_undo_has_begun() {
    let probe = Probe::new(Sqlite::in_memory());
    let manager = ShardMapManager::open_or_create(probe.clone(), Options::default()).await.unwrap();
    let map: RangeShardMap<i64, _> = manager.create_range_shard_map("orders").await.unwrap();
    let shards = shards(&map, 2).await;
    let range = map.create_mapping(0..100, &shards[0]).await.unwrap();
    let offline = map.mark_mapping_offline(range).await.unwrap();
    let lost = Error::new(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "lost");
    probe.inject(Call::EndDo, 1, Fault::FailBefore(lost.clone()));
    probe.inject(Call::EndUndo, 1, Fault::FailBefore(lost.clone()));
    let _ = map.move_mapping(offline, &shards[1]).await.unwrap_err();

    let moving = manager.pending_operations().await.unwrap().remove(0);
    assert_eq!((&*moving.name, moving.undo_started), ("UpdateRangeMapping", true));
    assert_eq!(moving.locations, [location(0), location(1)]);
    assert!(moving.to_string().ends_with(", being undone"), "{moving}");

    probe.inject(Call::EndUndo, 1, Fault::FailBefore(lost));
    let error = manager.undo_operation(moving.id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PendingOperation, "it cannot be undone now: {error:?}");
    assert!(manager.undo_operation(moving.id).await.unwrap());
    assert_consistent(&probe, &[location(0), location(1)], "after the undo").await;
}

#[tokio::test]
async fn an_operation_that_cannot_be_read_is_shown_and_keeps_no_other() {
    let directory = directory();
    let map = with_unfinished_split(&directory).await;
    let manager = map.manager();
    let database = rusqlite::Connection::open(directory.path().join("gsm.db")).unwrap();
    let ids = ["00000000-0000-0000-0000-000000000001", "ffffffff-ffff-ffff-ffff-fffffffffffe"];
    for (id, code) in ids.into_iter().zip([99, 14]) {
        let spoilt = r#"INSERT INTO "__ShardManagement.OperationsLogGlobal" ("OperationId", "OperationCode", "Data")
                        VALUES (?1, ?2, '<nonsense/>')"#;
        assert_eq!(database.execute(spoilt, rusqlite::params![id, code]).unwrap(), 1);
    }
    let pending = manager.pending_operations().await.unwrap();
    let shown: Vec<_> = pending.iter().map(|operation| (&*operation.name, operation.unreadable.is_some())).collect();
    assert_eq!(shown, [("99", true), ("SplitMapping", false), ("SplitMapping", true)], "in the order of ids");
    assert_eq!(pending[0].id.to_string(), ids[0]);
    assert!(pending[0].shard_map.is_none() && pending[0].locations.is_empty());
    assert!(pending[0].to_string().contains("99, cannot be read: column OperationCode"), "{}", pending[0]);

    for unreadable in [&pending[0], &pending[2]] {
        let error = manager.undo_operation(unreadable.id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{error:?}");
    }
    assert!(manager.undo_operation(pending[1].id).await.unwrap());
    assert_eq!(manager.pending_operations().await.unwrap().len(), 2, "what cannot be read stays");
}

#[tokio::test]
async fn an_operation_whose_client_lives_is_waited_for_and_not_undone() {
    let probe = Probe::new(Sqlite::in_memory());
    let manager = ShardMapManager::open_or_create(probe.clone(), Options::default()).await.unwrap();
    let map: RangeShardMap<i64, _> = manager.create_range_shard_map("orders").await.unwrap();
    let shard = shards(&map, 1).await.remove(0);
    probe.reset();
    probe.inject(Call::EndDo, 1, Fault::SendOnRelease);
    let creating = map.create_mapping(0..100, &shard);
    let meanwhile = async {
        probe.held().await;
        let id = manager.pending_operations().await.unwrap()[0].id;
        let release = async {
            while probe.count(&Call::LockOperation) < 2 {
                tokio::task::yield_now().await;
            }
            probe.release();
        };
        tokio::join!(manager.undo_operation(id), release).0
    };
    let (created, undone) = tokio::join!(creating.into_future(), meanwhile);
    assert!(!undone.unwrap(), "it was finished");
    assert_eq!(map.mappings().await.unwrap(), [created.unwrap()]);
}
