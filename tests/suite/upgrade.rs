//! Upgrades by the manager: places that fail, failures in the middle, clients that are cut off.

use std::time::Duration;

use shardlet::gsm::GlobalStore;
use shardlet::lsm::LocalStore;
use shardlet::{
    ErrorKind, ListShardMap, Options, Place, ShardLocation, ShardMapManager, ShardUpgrade, Sqlite, StoreUpgrade,
    StoreVersion, Timeouts,
};
use tempfile::TempDir;

use crate::support::contents::{closed, global_file, raw, rows, shard_file, spoil};
use crate::support::probe::{Call, Fault, Probe};
use crate::support::{directory, location, quick, shards, sqlite};

const OLDER: StoreVersion = StoreVersion { major: 1, minor: 1 };

fn done(from: StoreVersion) -> StoreUpgrade {
    StoreUpgrade::new(from, StoreVersion::CURRENT)
}

/// Gives a store the version table of 1.0.
fn make_1_0(directory: &TempDir, shard: Option<usize>) {
    let (file, kind) = match shard {
        None => (global_file(directory.path()), "Global"),
        Some(number) => (shard_file(directory.path(), number), "Local"),
    };
    let table = format!("\"__ShardManagement.ShardMapManager{kind}\"");
    let sql = format!(
        "DROP TABLE {table}; CREATE TABLE {table} (\"StoreVersion\" INTEGER NOT NULL PRIMARY KEY) STRICT; \
         INSERT INTO {table} VALUES (1)"
    );
    raw(&file).execute_batch(&sql).unwrap();
}

fn make_1_1(directory: &TempDir, shard: Option<usize>) {
    let (file, kind) = match shard {
        None => (global_file(directory.path()), "Global"),
        Some(number) => (shard_file(directory.path(), number), "Local"),
    };
    spoil(&file, &format!("UPDATE \"__ShardManagement.ShardMapManager{kind}\" SET \"StoreVersionMinor\" = 1"));
}

/// A store with so many shards in a map, and a mapping on each.
async fn filled(directory: &TempDir, count: usize) -> ListShardMap<i32, Sqlite> {
    let manager = ShardMapManager::open_or_create(sqlite(directory), Options::default()).await.unwrap();
    let map = manager.create_list_shard_map("map").await.unwrap();
    for (key, shard) in shards(&map, count).await.iter().enumerate() {
        let _ = map.create_mapping(i32::try_from(key).unwrap(), shard).await.unwrap();
    }
    map
}

#[tokio::test]
async fn places_that_fail_keep_no_others_and_are_done_the_next_time() {
    let directory = directory();
    let _ = filled(&directory, 5).await;
    make_1_0(&directory, None);
    for number in 0..5 {
        make_1_0(&directory, Some(number));
    }
    let file = |number| shard_file(directory.path(), number);
    for number in [1, 2] {
        closed(&file(number)).await;
    }
    let aside = directory.path().join("aside");
    std::fs::rename(file(1), &aside).unwrap();
    // Another database has taken the place of a shard.
    std::fs::remove_file(file(2)).unwrap();
    raw(&file(2)).execute_batch("CREATE TABLE orders (id INTEGER)").unwrap();
    spoil(&file(3), r#"UPDATE "__ShardManagement.ShardMapManagerLocal" SET "StoreVersion" = 7"#);

    let mut told = Vec::new();
    let backend = sqlite(&directory);
    let report = ShardMapManager::upgrade_with(&backend, |at, _| told.push(at.clone())).await.unwrap();
    assert_eq!(report.global, done(StoreVersion { major: 1, minor: 0 }));
    assert_eq!(told, (0..5).map(location).collect::<Vec<_>>());
    assert!(!report.is_complete() && report.is_change());
    let outcome = |number: usize| -> &ShardUpgrade {
        let (at, outcome) = &report.shards[number];
        assert_eq!(*at, location(number));
        outcome
    };
    for number in [0, 4] {
        assert!(matches!(outcome(number), ShardUpgrade::Done(one) if *one == report.global), "{report}");
    }
    assert!(matches!(outcome(2), ShardUpgrade::Absent), "{report}");
    for (number, kind) in [(1, ErrorKind::Unavailable), (3, ErrorKind::VersionMismatch)] {
        let ShardUpgrade::Failed(error) = outcome(number) else { panic!("{report}") };
        assert_eq!((error.kind(), error.operation()), (kind, Some("UpgradeLocalStore")), "{error:?}");
        assert_eq!(error.place(), Some(&Place::Shard(location(number))));
    }
    let text = report.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert_eq!(lines[0], "global store: upgraded from 1.0 to 1.2");
    assert_eq!(lines[1], format!("{}: upgraded from 1.0 to 1.2", location(0)));
    assert!(lines[2].starts_with(&format!("{}: failed: UpgradeLocalStore: there is no such", location(1))), "{text}");
    assert_eq!(lines[3], format!("{}: the database holds no local store", location(2)));
    assert!(lines[4].contains("version 7.0") && lines[4].contains("this library is older"), "{text}");

    std::fs::rename(&aside, file(1)).unwrap();
    spoil(&file(3), r#"UPDATE "__ShardManagement.ShardMapManagerLocal" SET "StoreVersion" = 1"#);
    let report = ShardMapManager::upgrade(&backend).await.unwrap();
    let changed: Vec<_> = report
        .shards
        .iter()
        .filter(|(_, outcome)| matches!(outcome, ShardUpgrade::Done(one) if one.is_change()))
        .map(|(at, _)| at.clone())
        .collect();
    assert_eq!(changed, [location(1), location(3)], "{report}");
    assert!(!report.global.is_change());
    let before = rows(directory.path());
    let report = ShardMapManager::upgrade(&backend).await.unwrap();
    assert!(!report.is_change(), "{report}");
    assert_eq!(rows(directory.path()), before, "nothing to do");
}

#[tokio::test]
async fn one_shard_is_upgraded_on_its_own() {
    let directory = directory();
    let map = filled(&directory, 2).await;
    make_1_1(&directory, Some(0));
    make_1_0(&directory, Some(1));
    let manager = map.manager();
    assert_eq!(manager.upgrade_shard(&location(0)).await.unwrap(), done(OLDER));
    assert_eq!(manager.upgrade_shard(&location(0)).await.unwrap(), done(StoreVersion::CURRENT));
    let stays = manager.backend().local_version(&location(1)).await.unwrap();
    assert_eq!(stays, Some(StoreVersion { major: 1, minor: 0 }));
    let error = manager.upgrade_shard(&location(7)).await.unwrap_err();
    assert_eq!((error.kind(), error.place()), (ErrorKind::Unavailable, Some(&Place::Shard(location(7)))), "{error:?}");
}

#[tokio::test]
async fn an_upgrade_without_a_usable_global_store_looks_at_no_shard() {
    let empty = directory();
    let error = ShardMapManager::upgrade(&sqlite(&empty)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unavailable), "{error:?}");
    assert_eq!((error.place(), error.operation()), (Some(&Place::Global), Some("UpgradeGlobalStore")));

    let directory = directory();
    let _ = filled(&directory, 1).await;
    make_1_0(&directory, Some(0));
    let sql = r#"UPDATE "__ShardManagement.ShardMapManagerGlobal" SET "StoreVersionMajor" = 2"#;
    spoil(&global_file(directory.path()), sql);
    let before = rows(directory.path());
    let error = ShardMapManager::upgrade(&sqlite(&directory)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VersionMismatch, "{error:?}");
    assert_eq!(rows(directory.path()), before, "nothing was changed");
}

#[tokio::test]
async fn what_fails_in_the_middle_leaves_the_old_version_whole() {
    for minor in [0, 1] {
        let directory = directory();
        let _ = filled(&directory, 1).await;
        let make = if minor == 0 { make_1_0 } else { make_1_1 };
        make(&directory, None);
        make(&directory, Some(0));
        let from = StoreVersion { major: 1, minor };
        let files = [
            (global_file(directory.path()), "Global", "ixShardMappingsGlobal_ShardId"),
            (shard_file(directory.path(), 0), "Local", "ixShardMappingsLocal_ShardId"),
        ];
        for (file, kind, index) in &files {
            // After the steps, where our indexes are made; and in the last step, where that does not take the trigger along.
            let sql = format!(
                "DROP INDEX \"__ShardManagement.{index}\"; CREATE TABLE \"__ShardManagement.{index}\" (x INTEGER)"
            );
            raw(file).execute_batch(&sql).unwrap();
            if minor == 1 {
                let sql = format!(
                    "CREATE TRIGGER held BEFORE UPDATE ON \"__ShardManagement.ShardMapManager{kind}\" \
                     BEGIN SELECT RAISE(ABORT, 'held'); END"
                );
                raw(file).execute_batch(&sql).unwrap();
            }
        }
        let backend = sqlite(&directory);
        let before = rows(directory.path());
        let upgrades = async || {
            let global = backend.upgrade_global().await.map_err(|error| error.kind());
            (global, backend.upgrade_local(&location(0)).await.map_err(|error| error.kind()))
        };
        for undo in ["DROP TRIGGER IF EXISTS held", ""] {
            let (global, local) = upgrades().await;
            assert_eq!((global, local), (Err(ErrorKind::StoreDamaged), Err(ErrorKind::StoreDamaged)), "from {from}");
            assert_eq!(rows(directory.path()), before, "from {from}");
            assert_eq!(backend.global_version().await.unwrap(), Some(from));
            assert_eq!(backend.local_version(&location(0)).await.unwrap(), Some(from));
            for (file, ..) in &files {
                raw(file).execute_batch(undo).unwrap();
            }
        }
        for (file, _, index) in &files {
            raw(file).execute_batch(&format!("DROP TABLE \"__ShardManagement.{index}\"")).unwrap();
        }
        let (global, local) = upgrades().await;
        assert_eq!((global, local), (Ok(done(from)), Ok(done(from))));
    }
}

#[tokio::test]
async fn a_store_that_another_client_keeps_locked_is_upgraded_when_it_is_free() {
    let directory = directory();
    let _ = filled(&directory, 1).await;
    make_1_0(&directory, Some(0));
    let writer = raw(&shard_file(directory.path(), 0));
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let impatient = quick().timeouts(Timeouts::default().command(Duration::from_millis(50)));
    let impatient = Sqlite::open_with(directory.path(), impatient).unwrap();
    let report = ShardMapManager::upgrade(&impatient).await.unwrap();
    let [(_, ShardUpgrade::Failed(error))] = &report.shards[..] else { panic!("{report}") };
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
    writer.execute_batch("COMMIT").unwrap();
    let report = ShardMapManager::upgrade(&impatient).await.unwrap();
    assert!(report.is_complete() && report.is_change(), "{report}");
}

#[tokio::test]
async fn an_upgrade_that_is_cut_off_goes_on_where_it_stopped() {
    for fault in [Fault::HoldBefore, Fault::HoldAfter] {
        let directory = directory();
        let _ = filled(&directory, 3).await;
        make_1_1(&directory, None);
        for number in 0..3 {
            make_1_0(&directory, Some(number));
        }
        let probe = Probe::new(sqlite(&directory));
        probe.inject(Call::UpgradeLocal(location(1)), 1, fault.clone());
        let mut told: Vec<ShardLocation> = Vec::new();
        tokio::select! {
            report = ShardMapManager::upgrade_with(&probe, |at, _| told.push(at.clone())) => panic!("{report:?}"),
            () = probe.held() => {}
        }
        assert_eq!(told, [location(0)]);
        let reached = matches!(fault, Fault::HoldAfter);
        let report = ShardMapManager::upgrade(probe.inner()).await.unwrap();
        let changed: Vec<_> = report
            .shards
            .iter()
            .map(|(_, outcome)| matches!(outcome, ShardUpgrade::Done(one) if one.is_change()))
            .collect();
        assert_eq!((report.global.is_change(), changed), (false, vec![false, !reached, true]), "{report}");
    }
}
