//! A real process that is stopped in the middle of an operation, and goes on later, or never.
//!
//! A stopped process keeps its locks, as one does whose machine sleeps or whose network is cut. Others must be able to go on
//! beside it, and wait for its own rows no longer than they want to.

use std::time::Duration;

use shardlet::gsm::GlobalStore;
use shardlet::{
    Error, ErrorKind, Limit, LockToken, MappingStatus, Result, Sqlite, SqliteOptions, Timeouts, Validation, rusqlite,
};
use tempfile::TempDir;

use crate::processes::{Ranges, assert_settled, open, operate, ranges, set_up, start};
use crate::support::child::{hear, say};
use crate::support::probe::{Call, Fault, Probe};
use crate::support::signals::{go_on, stop};
use crate::support::{directory, location, quick, shards};

/// A client with no patience for the operations of others.
async fn impatient(directory: &TempDir) -> Ranges {
    let options = quick().timeouts(Timeouts::default().operation_lock(Duration::ZERO));
    ranges(Sqlite::open_with(directory.path(), options).unwrap()).await
}

#[track_caller]
fn assert_waited<T: std::fmt::Debug>(outcome: Result<T>, case: &str) {
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.limit()), (ErrorKind::TimedOut, Some(Limit::OperationLock)), "{case}: {error:?}");
}

// Stopped in an operation.

/// Where it is stopped: before a request is sent. All of them hold the lock of the operation.
const PHASES: [&str; 5] = ["first lock taken", "all locks taken", "begun", "source done", "all but the end done"];

fn call_of(operation: &str, phase: &str) -> Call {
    let (source, target) = if operation == "create" { (1, None) } else { (0, (operation == "move").then_some(1)) };
    match (phase, target) {
        ("first lock taken", _) => Call::LockOperationAt(location(source)),
        ("all locks taken", _) => Call::Begin,
        ("begun", _) => Call::ChangeLocal { at: location(source), undoing: false },
        ("source done", Some(target)) => Call::ChangeLocal { at: location(target), undoing: false },
        ("source done", None) if operation == "take offline" => Call::EndSessions,
        ("source done" | "all but the end done", _) => Call::EndDo,
        _ => panic!("no such phase: {phase}"),
    }
}

/// Begins an operation, pauses before a request of it until it is told to go on, and says how it ended.
pub async fn pause(store: Sqlite, detail: &str) {
    let (operation, phase) = detail.split_once('/').unwrap();
    let probe = Probe::new(store);
    let map = ranges(probe.clone()).await;
    probe.inject(call_of(operation, phase), 1, Fault::SendOnRelease);
    let mut running = Box::pin(operate(&map, operation));
    tokio::select! {
        done = &mut running => panic!("{detail}: not paused: {done:?}"),
        () = probe.held() => say("paused"),
    }
    let _ = hear().await;
    probe.release();
    let ended = running.await;
    say(&ended.map_or_else(|error| format!("{:?}", error.kind()), |()| "done".to_owned()));
}

/// Everything that is not about the rows of the stopped one: `[100, 200)` on shard 2, and shard 3.
async fn work_beside(map: &Ranges, case: &str) -> Result<()> {
    assert!(open(map, 150).await.is_ok(), "{case}");
    let (low, high) = map.split_mapping(map.mapping_for_key(&150).await?, 150).await?;
    let whole = map.merge_mappings(low, high).await?;
    let offline = map.mark_mapping_offline(whole).await?;
    let moved = map.move_mapping(offline, &map.shard(&location(3)).await?).await?;
    let token = LockToken::random();
    let locked = map.lock_mapping(moved, token).await?;
    let free = map.unlock_mapping(locked, token).await?;
    let back = map.move_mapping(free, &map.shard(&location(2)).await?).await?;
    let _ = map.mark_mapping_online(back).await?;
    let created = map.create_mapping_with(300..400, &map.shard(&location(3)).await?, MappingStatus::Offline).await?;
    map.delete_mapping(created).await?;
    let created = map.create_shard(&location(4)).await?;
    map.delete_shard(created).await
}

/// Routing of the keys of the stopped one's shard: what it does not change is routed, and what it changes has an answer.
async fn routes(map: &Ranges, case: &str) {
    for validation in [Validation::Validate, Validation::None] {
        for key in [5, 15, 25] {
            let opened = map.open_connection_for_key(&key, &shardlet::NoCredentials, validation).await;
            if let Err(error) = opened {
                let known = matches!(error.kind(), ErrorKind::Offline | ErrorKind::PendingOperation);
                assert!(known, "{case}: {key}: {error:?}");
            }
        }
    }
    let shown = map.mappings().await.unwrap();
    assert!(shown.len() >= 4, "{case}: readers see the old state: {shown:?}");
}

/// As [`set_up`], with `[100, 200)` on shard 2, and shard 3.
async fn more_shards(directory: &TempDir) -> Ranges {
    let map = set_up(directory).await;
    let shard = shards(&map, 4).await.swap_remove(2);
    let _ = map.create_mapping(100..200, &shard).await.unwrap();
    map
}

async fn stopped_in(operation: &str, phase: &str, killed: bool) {
    let case = format!("{operation}/{phase}");
    let directory = directory();
    let map = more_shards(&directory).await;
    assert!(open(&map, 15).await.is_ok());
    let begun = !matches!(phase, "first lock taken" | "all locks taken");
    let mut child = start("pause", &directory, &case);
    child.expect("paused").await;
    stop(child.id()).await;
    // It does not hear this before it goes on.
    child.tell("go on").await;

    let next = impatient(&directory).await;
    for client in [&map, &next] {
        work_beside(client, &case).await.unwrap_or_else(|error| panic!("{case}: beside it: {error:?}"));
        routes(client, &case).await;
    }
    let pending = map.manager().backend().pending_operations().await.unwrap();
    assert_eq!(pending.len(), usize::from(begun), "{case}");
    let patient = Probe::new(Sqlite::open_with(directory.path(), quick()).unwrap());
    let waiter = ranges(patient.clone()).await;
    patient.reset();
    if begun {
        // Its own rows, and those beside them on its shard.
        assert_waited(operate(&next, operation).await, &case);
        let other_rows = next.mark_mapping_offline(next.mapping_for_key(&15).await.unwrap()).await;
        if operation == "create" {
            assert!(other_rows.is_ok(), "{case}")
        } else {
            assert_waited(other_rows, &case)
        }
        assert_waited(next.manager().undo_pending_operations().await, &case);

        // One with patience waits until the lock is free, and no longer.
        let mut waiting = Box::pin(operate(&waiter, operation));
        while patient.count(&Call::LockOperation) < 2 {
            assert!(futures::poll!(&mut waiting).is_pending(), "{case}: done without waiting");
            tokio::task::yield_now().await;
        }
        assert_eq!(map.manager().backend().pending_operations().await.unwrap(), pending, "{case}: not undone");
        if killed {
            child.kill().await;
            assert!(waiting.await.is_ok(), "{case}: the dead one's is undone");
        } else {
            go_on(child.id());
            let (said, waited) = tokio::join!(child.says(), waiting);
            assert_eq!(said, "done", "{case}");
            // What the stopped one has done cannot be done again.
            let kind = waited.as_ref().err().map(Error::kind);
            assert!(
                matches!(kind, Some(ErrorKind::Stale | ErrorKind::NotFound | ErrorKind::Overlaps)),
                "{case}: {waited:?}"
            );
            child.ends_well().await;
        }
    } else {
        // Nobody can know of it yet: its rows are free, and it comes too late.
        operate(&next, operation).await.unwrap_or_else(|error| panic!("{case}: before it: {error:?}"));
        if killed {
            child.kill().await;
        } else {
            go_on(child.id());
            let said = child.says().await;
            assert!(["Stale", "Overlaps"].contains(&&*said), "{case}: {said}");
            child.ends_well().await;
        }
    }
    assert_settled(&map, directory.path(), &case).await;
}

#[tokio::test]
async fn a_stopped_process_that_goes_on_finishes_what_it_has_begun() {
    for operation in ["create", "split", "take offline", "move"] {
        for phase in PHASES {
            stopped_in(operation, phase, false).await;
        }
    }
}

#[tokio::test]
async fn what_a_stopped_process_held_is_free_when_it_is_killed() {
    for (operation, phase) in [
        ("create", "first lock taken"),
        ("take offline", "all locks taken"),
        ("split", "begun"),
        ("move", "source done"),
        ("take offline", "all but the end done"),
    ] {
        stopped_in(operation, phase, true).await;
    }
}

// Stopped in a transaction.

/// Holds the write lock of a database, as in the middle of a request, until it is told to let go.
pub async fn write(file: &str) {
    let connection = rusqlite::Connection::open(file).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    say("writing");
    let _ = hear().await;
    connection.execute_batch("COMMIT").unwrap();
    say("written");
}

/// A client that gives a command little time. Longer than a request needs when nobody is in its way.
fn hurried() -> SqliteOptions {
    quick().timeouts(Timeouts::default().command(Duration::from_millis(300)))
}

#[tokio::test]
async fn a_process_that_is_stopped_while_it_writes_holds_up_those_who_write_there_for_as_long_as_they_wait() {
    for (place, file) in [("global", "gsm.db"), ("shard", "shards/server/shard_0.db")] {
        let directory = directory();
        let map = more_shards(&directory).await;
        let mut child = start("write", &directory, directory.path().join(file).to_str().unwrap());
        child.expect("writing").await;
        stop(child.id()).await;
        child.tell("let go").await;

        let next = ranges(Sqlite::open_with(directory.path(), hurried()).unwrap()).await;
        let late = operate(&next, "split").await.unwrap_err();
        assert_eq!((late.kind(), late.limit()), (ErrorKind::TimedOut, Some(Limit::Command)), "{place}: {late:?}");
        assert!(late.to_string().contains("300ms"), "{place}: {late}");
        if place == "shard" {
            // The step that could not be taken has changed nothing, so that the rest of it is undone; all others go on.
            assert_eq!(map.manager().backend().pending_operations().await.unwrap(), [], "{place}");
            work_beside(&map, place).await.unwrap_or_else(|error| panic!("{place}: beside it: {error:?}"));
        }
        // Readers are never in the way of a writer, nor it in theirs.
        for client in [&map, &next] {
            routes(client, place).await;
            assert!(open(client, 15).await.is_ok() && open(client, 150).await.is_ok(), "{place}");
        }

        go_on(child.id());
        child.expect("written").await;
        child.ends_well().await;
        operate(&map, "split").await.unwrap_or_else(|error| panic!("{place}: afterwards: {error:?}"));
        assert_settled(&map, directory.path(), place).await;
    }
}
