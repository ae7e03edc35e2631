//! Processes that are killed at every fault point of every operation, and of the undo of every operation.
//!
//! A child does the operation on a copy of a prepared directory and stops for good at its n-th fault point: between two steps,
//! inside a transaction that has not committed, just after one that has, while it takes or gives back a lock. It is killed there. Then
//! someone else comes, and all has to be in order, row by row. That is done with n from 1 on, until the operation is through.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use shardlet::OperationId;
use tempfile::TempDir;
use uuid::Uuid;

use super::case::Case;
use super::directories::{assert_clean, copy, runtime, stores};
use super::places;
use super::world::{Expected, Next, World};
use crate::support::child::{Process, say, stop_at, told};
use crate::support::directory;
use crate::support::probe::{Call, Fault};

const ROLE: &str = "SHARDLET_TEST_ROLE";
const CASE: &str = "SHARDLET_TEST_CASE";
const DIRECTORY: &str = "SHARDLET_TEST_DIRECTORY";
const POINT: &str = "SHARDLET_TEST_POINT";

/// Directories that are worked on at the same time.
const WORKERS: usize = 2;

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The operation.
    Does,
    /// The call that undoes the operation, which another process has left just before its end.
    Undoes,
    /// The operation, done again where another process has left it just before its end.
    Redoes,
}

impl Role {
    /// The points of it that can be told by name; each is killed at for some operation.
    fn points(self) -> BTreeSet<&'static str> {
        let anyone = [
            "lock: file made",
            "lock: file locked",
            "lock: file removed",
            "global store: written",
            "global store: committed",
            "local store: written",
            "local store: committed",
        ];
        let doer = [
            "do: locked",
            "do: locked at the source",
            "do: all locked",
            "do: begun",
            "do: source done",
            "do: target done",
            "do: sessions ended",
            "do: ended",
            "local store: database made",
        ];
        let undoer = [
            "undo: locked",
            "undo: found",
            "undo: locked at a shard",
            "undo: target undone",
            "undo: source undone",
            "undo: ended",
        ];
        let (does, undoes) = (self != Self::Undoes, self != Self::Does);
        let doer = doer.into_iter().filter(|_| does);
        anyone.into_iter().chain(doer).chain(undoer.into_iter().filter(|_| undoes)).collect()
    }
}

#[test]
#[ignore = "child process of the other tests in this file"]
fn child() {
    // Without a role it was not started by one of them.
    let Some(role) = told(ROLE) else { return };
    let case = Case::named(&told(CASE).unwrap());
    let directory = told(DIRECTORY).unwrap();
    let runtime = runtime();
    runtime.block_on(async {
        let stores = stores(directory.as_ref());
        let world = World::read(stores.clone(), stores, places(), case).await;
        let step = world.step(case);
        say(&step.id.to_string());
        stop_at(told(POINT).unwrap().parse().unwrap(), "");
        if role == format!("{:?}", Role::Undoes) {
            assert_eq!(world.manager().undo_pending_operations().await.unwrap(), 1);
        } else {
            step.run.await.unwrap();
        }
        // Locks are given back on blocking threads; a stop there is a stop as well. Once a later one has run, they have begun, and
        // the end of the runtime waits for them.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
    });
    drop(runtime);
    say("done");
}

/// A directory as it is before the operation, or with the operation left just before its end; nobody has it open.
fn prepared(case: Case, role: Role) -> (TempDir, Vec<OperationId>) {
    let directory = self::directory();
    let runtime = runtime();
    let left = runtime.block_on(async {
        let stores = stores(directory.path());
        let world = World::fill(stores.clone(), stores, places(), case).await;
        if role == Role::Does {
            return Vec::new();
        }
        world.probe.inject(Call::EndDo, 1, Fault::HoldBefore);
        let step = world.step(case);
        let id = step.id;
        assert!(world.run(step, true).await.is_none());
        vec![id]
    });
    (directory, left)
}

/// Kills at every point, and says which ones there were, in order. Locks are released in the background, so the numbers of points
/// may differ a little from run to run.
async fn kill_at_every_point(case: Case, role: Role, prepared: &TempDir, left: &[OperationId]) -> Vec<String> {
    let expected = Expected::of(case).await;
    let mut points = Vec::new();
    loop {
        let number = points.len() + 1;
        let copied = directory();
        copy(prepared.path(), copied.path());
        let stores = stores(copied.path());
        let world = World::read(stores.clone(), stores, places(), case).await;
        let before = world.facts().await;
        let variables = [
            (ROLE, &*format!("{role:?}")),
            (CASE, &*format!("{case:?}")),
            (DIRECTORY, copied.path().to_str().unwrap()),
            (POINT, &*number.to_string()),
        ];
        let arguments = ["--ignored", "--exact", "faults::killed::child", "--nocapture"];
        let mut child = Process::start(&arguments, &variables);
        let id = OperationId::from(Uuid::parse_str(&child.says().await).unwrap());
        let said = child.says().await;
        let about = format!("{role:?}, killed at point {number}, {said}");
        let through = said == "done";
        if through {
            child.ends_well().await;
        } else {
            child.kill().await;
        }

        let done = expected.outcome(&world, &before, &about).await;
        if through {
            assert_eq!(done, role != Role::Undoes, "{case:?}, {about}");
        }
        let ids = [left, &[id]].concat();
        expected.settle(&world, &before, &ids, done, Next::numbered(number), &about).await;
        assert_clean(copied.path(), &format!("{case:?}, {about}"));
        if through {
            return points;
        }
        points.push(said);
    }
}

/// Does that for all operations, several at a time.
fn kill_all(role: Role) {
    let next = AtomicUsize::new(0);
    let killed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            let _ = scope.spawn(|| {
                while let Some(&case) = Case::ALL.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let (directory, left) = prepared(case, role);
                    let points = runtime().block_on(kill_at_every_point(case, role, &directory, &left));
                    killed.lock().unwrap().extend(points);
                }
            });
        }
    });
    let killed = killed.into_inner().unwrap();
    println!("{role:?}: {} processes killed, {} operations", killed.len(), Case::ALL.len());
    let known: BTreeSet<_> = role.points().into_iter().map(ToOwned::to_owned).collect();
    assert_eq!(BTreeSet::from_iter(killed), known, "{role:?}: points that a process was killed at, then known ones");
}

#[test]
fn a_process_that_does_an_operation_is_killed_at_every_point() {
    kill_all(Role::Does);
}

#[test]
fn a_process_that_undoes_an_operation_is_killed_at_every_point() {
    kill_all(Role::Undoes);
}

#[test]
fn a_process_that_does_an_operation_again_is_killed_at_every_point() {
    kill_all(Role::Redoes);
}
