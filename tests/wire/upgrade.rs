//! Upgrades, and stores of another version or with something missing, as the wire shows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shardlet::gsm::GlobalStore;
use shardlet::lsm::LocalStore;
use shardlet::{Error, ErrorCode, ErrorKind, StoreUpgrade, StoreVersion, Validation};

use crate::backend::{MISSING_TABLES, backend, patient, procedure, routed, shard_at, shard_server};
use crate::endpoint::{Answer, Endpoint, Request, Type, Value};
use crate::gate::End;
use crate::store::{Kind, kind};

const NEW: [(&str, Type); 2] = [("StoreVersionMajor", Type::Int), ("StoreVersionMinor", Type::Int)];
const CURRENT: StoreVersion = StoreVersion::CURRENT;

fn version(minor: i32) -> StoreVersion {
    StoreVersion { major: 1, minor }
}

/// The version table at a version.
fn table(minor: i32) -> Answer {
    match minor {
        0 => Answer::rows([("StoreVersion", Type::Int)], [[1.into()]]),
        _ => Answer::rows(NEW, [[1.into(), minor.into()]]),
    }
}

/// A store of a version until a step was committed.
fn older(server: &Endpoint, minor: i32) {
    let _ = server.on_statement("ShardMapManager", |_| table(2));
    server.on_statement("ShardMapManager", move |_| table(minor)).times(1);
    let _ = server.on_batch("", |_| Answer::done());
}

/// The batches that came, in order.
fn batches(server: &Endpoint) -> Vec<String> {
    let mut calls = server.requests();
    calls.retain(|call| matches!(call.request(), Request::Batch(_)) && kind(call) != Kind::Cleaning);
    calls.iter().map(|call| call.text().trim().to_owned()).collect()
}

#[tokio::test]
async fn a_procedure_that_misses_something_says_why() {
    let (mismatch, damaged) = (ErrorKind::VersionMismatch, ErrorKind::StoreDamaged);
    let none = || Answer::done().columns([("name", Type::Text)]);
    let two = || Answer::rows([("name", Type::Text)], [["ShardsX".into()], [Value::from("MapsX")]]);
    let no_table = || Answer::rows([("NoVersionTable", Type::Int)], [[1.into()]]);
    for (number, text) in [
        (207, "Invalid column name 'StoreVersionMajor'."),
        (208, "Invalid object name '__ShardManagement.ShardsX'."),
        (33_557_097, "relation \"db___shardmanagement.shardsx\" does not exist"),
        (33_557_097, "column \"storeversionmajor\" does not exist"),
    ] {
        for (version, missing, kind, told) in [
            (table(0), none(), mismatch, "has version 1.0"),
            (table(2), two(), damaged, "tables ShardsX, MapsX of the store are missing"),
            (table(2), none(), damaged, "not as this library installs them"),
            (Answer::done().columns(NEW), none(), damaged, "is empty or has other columns"),
            (no_table(), none(), damaged, "table ShardMapManager"),
            (Answer::done(), none(), ErrorKind::NotFound, "the database holds no"),
            (Answer::failed(50_000, "no"), none(), damaged, "not as this library installs them"),
        ] {
            let server = shard_server().await;
            let _ = server.on_statement("ShardMapManager", move |_| version.clone());
            let _ = server.on_statement(MISSING_TABLES, move |_| missing.clone());
            for name in ["ListShardMaps", "RemoveShardMap", "ValidateMapping"] {
                let _ = server.on_procedure(&procedure(name), move |_| Answer::failed(number, text));
            }
            let backend = backend(&server, patient());
            let errors: [Error; 3] = [
                backend.shard_maps().await.unwrap_err(),
                backend.remove_shard_map(crate::backend::MAP.into()).await.unwrap_err(),
                routed(&backend, &server, Validation::Validate).await.map(drop).unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.kind(), kind, "{number}: {error:?}");
                assert!(error.to_string().contains(told), "{number}: {error}");
                assert!(error.place().is_some(), "{number}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn an_upgrade_is_a_script_for_each_step_and_what_an_installation_adds() {
    for (minor, scripts) in [(0, 4), (1, 3)] {
        let server = shard_server().await;
        older(&server, minor);
        let backend = backend(&server, patient());
        assert_eq!(backend.upgrade_global().await.unwrap(), StoreUpgrade::new(version(minor), CURRENT));
        let global = batches(&server);
        older(&server, minor);
        let place = shard_at(&server, "shard_0");
        assert_eq!(backend.upgrade_local(&place).await.unwrap(), StoreUpgrade::new(version(minor), CURRENT));
        let local = batches(&server).split_off(global.len());
        println!("from 1.{minor}: {} batches for a global store, {} for a local one", global.len(), local.len());
        for (batches, kind) in [(global, "Global"), (local, "Local")] {
            let at = |text: &str| -> Vec<usize> {
                batches.iter().enumerate().filter(|(_, batch)| batch.contains(text)).map(|(at, _)| at).collect()
            };
            let (begins, commits) = (at("BEGIN TRANSACTION;\nDECLARE @got"), at("COMMIT TRANSACTION;"));
            let commits: Vec<_> = commits.into_iter().filter(|at| batches[*at] == "COMMIT TRANSACTION;").collect();
            assert_eq!((begins.len(), commits.len()), (scripts, scripts), "{kind} from 1.{minor}");
            assert!(begins.iter().zip(&commits).all(|(begin, commit)| begin < commit), "one after another");
            // Whoever reads the version waits before anything else is done.
            let waits = at("ADD UpgradeLock int NULL");
            assert_eq!(waits.len(), scripts - 2);
            assert!(waits[0] == 2 && at("DROP PROCEDURE __ShardManagement.sp")[0] > 2, "{waits:?}");
            assert_eq!(at(&format!("DROP TABLE __ShardManagement.ShardMapManager{kind}")).len(), scripts - 3);
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_to_a_store_that_is_not_older() {
    let server = shard_server().await;
    let backend = backend(&server, patient());
    for minor in [2, 3] {
        let _ = server.on_statement("ShardMapManager", move |_| table(minor));
        let done = backend.upgrade_global().await.unwrap();
        assert_eq!(done, StoreUpgrade::new(version(minor), version(minor)));
    }
    let _ = server.on_statement("ShardMapManager", |_| Answer::rows(NEW, [[2.into(), 0.into()]]));
    let error = backend.upgrade_global().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::VersionMismatch, ErrorCode::GlobalStoreVersionMismatch));
    let _ = server.on_statement("ShardMapManager", |_| Answer::done());
    let error = backend.upgrade_global().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ShardMapManagerStoreDoesNotExist);
    let names = Answer::rows([("name", Type::Text)], [["ShardsGlobal".into()]]);
    let _ = server.on_statement(MISSING_TABLES, move |_| names.clone());
    let _ = server.on_statement("ShardMapManager", |_| table(1));
    let error = backend.upgrade_global().await.unwrap_err();
    assert!(error.kind() == ErrorKind::StoreDamaged && error.to_string().contains("ShardsGlobal"), "{error}");
    assert_eq!(batches(&server), Vec::<String>::new());
}

#[tokio::test]
async fn what_an_interrupted_upgrade_left_is_taken_away() {
    let server = shard_server().await;
    let columns = [NEW[0], NEW[1], ("UpgradeLock", Type::Int)];
    let _ = server.on_statement("ShardMapManager", move |_| Answer::rows(columns, [[1.into(), 2.into(), Value::Null]]));
    let _ = server.on_batch("", |_| Answer::done());
    let backend = backend(&server, patient());
    assert_eq!(backend.global_version().await.unwrap(), Some(CURRENT));
    assert_eq!(backend.upgrade_global().await.unwrap(), StoreUpgrade::new(CURRENT, CURRENT));
    assert!(batches(&server).iter().any(|batch| batch.contains("DROP COLUMN UpgradeLock")));
}

#[tokio::test]
async fn a_store_that_stays_old_is_no_success() {
    let server = shard_server().await;
    let _ = server.on_statement("ShardMapManager", |_| table(1));
    let _ = server.on_batch("", |_| Answer::done());
    let error = backend(&server, patient()).upgrade_global().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{error:?}");
}

#[tokio::test]
async fn a_connection_that_breaks_in_an_upgrade_leaves_doubt_at_a_commit_only() {
    let all = {
        let server = shard_server().await;
        older(&server, 0);
        let _ = backend(&server, patient()).upgrade_local(&shard_at(&server, "shard_0")).await.unwrap();
        batches(&server)
    };
    assert!(all.len() > 30, "{}", all.len());
    let mut doubts = 0;
    for (at, text) in all.iter().enumerate() {
        let server = shard_server().await;
        older(&server, 0);
        let seen = Arc::new(AtomicUsize::new(0));
        let _ = server.on_batch("", move |_| {
            let broken = seen.fetch_add(1, Ordering::Relaxed) == at;
            if broken { Answer::done().cut(End::Close) } else { Answer::done() }
        });
        let backend = backend(&server, patient());
        let place = shard_at(&server, "shard_0");
        let error = backend.upgrade_local(&place).await.unwrap_err();
        let commit = text == "COMMIT TRANSACTION;";
        doubts += usize::from(commit);
        let expected = if commit { ErrorKind::OutcomeUnknown } else { ErrorKind::Transient };
        assert_eq!(error.kind(), expected, "at {text}: {error:?}");
        assert_eq!(backend.upgrade_local(&place).await.unwrap().to, CURRENT, "again after {text}");
    }
    assert_eq!(doubts, 4);
}
