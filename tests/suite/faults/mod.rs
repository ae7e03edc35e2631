//! Fault handling at each phase: every operation, every request it makes, every way in which that can go wrong. Whatever
//! happened, readers see the old state or the new one, the next client goes on, and then all stores agree again.
//!
//! `case` has the operations and `world` what they work on, for any backend. `single` is one fault, `undoing` faults of the undo
//! that follows, both in memory; `killed` has processes that die at every fault point, `files` databases
//! that are taken away or full, both in `directories`.

mod case;
mod directories;
mod files;
mod killed;
mod single;
mod undoing;
mod world;

use std::time::Duration;

use shardlet::{
    Error, ErrorCode, ErrorKind, NoCredentials, Result, ShardLocation, Sqlite, SqliteConnection, SqliteOptions,
    Timeouts,
};

use self::case::{Case, Step};
use self::world::{ATTEMPTS, Expected, Ground, Next, World};
use crate::support::location;
use crate::support::probe::{Call, Fault};

/// Whether a request that goes wrong has reached the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// How a request goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Passing faults until the client gives up.
    Transient,
    Unavailable,
    Unknown,
    /// The client is gone while it waits for the answer.
    Dropped,
}

/// What can go wrong with a request. A store that has committed a change never says that it failed, only that it may have.
fn ways(call: &Call) -> &'static [(Side, Kind)] {
    use Kind::{Dropped, Transient, Unavailable, Unknown};
    use Side::{After, Before};
    match call {
        Call::LockOperation | Call::LockOperationAt(_) | Call::EndSessions => &[
            (Before, Transient),
            (Before, Unavailable),
            (Before, Dropped),
            (After, Transient),
            (After, Unavailable),
            (After, Dropped),
        ],
        _ => &[
            (Before, Transient),
            (Before, Unavailable),
            (Before, Unknown),
            (Before, Dropped),
            (After, Unknown),
            (After, Dropped),
        ],
    }
}

fn error(kind: Kind) -> Error {
    let (kind, code) = match kind {
        Kind::Transient => (ErrorKind::Transient, ErrorCode::StorageOperationFailure),
        Kind::Unavailable => (ErrorKind::Unavailable, ErrorCode::StorageOperationFailure),
        Kind::Unknown => (ErrorKind::OutcomeUnknown, ErrorCode::CommitInDoubt),
        Kind::Dropped => unreachable!("a dropped client gets no error"),
    };
    Error::new(kind, code, "injected by the test")
}

impl Ground for Sqlite {
    fn credentials() -> NoCredentials {
        NoCredentials
    }

    fn place(connection: &SqliteConnection) -> ShardLocation {
        connection.location().clone()
    }
}

/// The places of the shards.
fn places() -> Vec<ShardLocation> {
    (0..=case::NEW_SHARD).map(location).collect()
}

impl World<Sqlite> {
    /// In memory.
    async fn new(case: Case) -> Self {
        // A lock that is left behind fails the test in seconds.
        let timeouts = Timeouts::default().operation_lock(Duration::from_secs(5));
        let stores = Sqlite::in_memory_with(SqliteOptions::default().timeouts(timeouts));
        Self::fill(stores.clone(), stores, places(), case).await
    }

    fn inject(&self, call: &Call, side: Side, kind: Kind) {
        let times = if kind == Kind::Transient { ATTEMPTS } else { 1 };
        self.inject_times(call, side, kind, times);
    }

    fn inject_times(&self, call: &Call, side: Side, kind: Kind, times: usize) {
        let fault = match (kind, side) {
            (Kind::Dropped, Side::Before) => Fault::HoldBefore,
            (Kind::Dropped, Side::After) => Fault::HoldAfter,
            (_, Side::Before) => Fault::FailBefore(error(kind)),
            (_, Side::After) => Fault::FailAfter(error(kind)),
        };
        self.probe.inject(call.clone(), times, fault);
    }

    /// Lets that many such requests pass before the fault that is injected next.
    fn pass(&self, call: &Call, times: usize) {
        self.probe.inject(call.clone(), times, Fault::Pass);
    }

    /// Runs an operation; one that is dropped is dropped when its request is held, and has no result.
    async fn run(&self, step: Step, dropped: bool) -> Option<Result<()>> {
        let mut run = step.run;
        if !dropped {
            return Some(run.await);
        }
        tokio::select! {
            result = &mut run => panic!("it was not held: {result:?}"),
            () = self.probe.held() => None,
        }
    }
}

impl Case {
    /// The requests of the operation, in order.
    fn calls(self) -> Vec<Call> {
        let (source, target) = (location(self.source()), self.target().map(location));
        let mut calls = vec![Call::LockOperation, Call::LockOperationAt(source.clone())];
        calls.extend(target.clone().map(Call::LockOperationAt));
        calls.push(Call::Begin);
        calls.push(Call::ChangeLocal { at: source, undoing: false });
        calls.extend(target.map(|at| Call::ChangeLocal { at, undoing: false }));
        calls.extend(self.ends_sessions().then_some(Call::EndSessions));
        calls.push(Call::EndDo);
        calls
    }

    /// The requests of undoing all of it, in order; the lock on the global store is the first, and is not among them.
    fn undo_calls(self) -> Vec<Call> {
        let mut calls = vec![Call::FindOperation];
        calls.extend(self.target().map(|at| Call::ChangeLocal { at: location(at), undoing: true }));
        calls.push(Call::ChangeLocal { at: location(self.source()), undoing: true });
        calls.push(Call::EndUndo);
        calls
    }
}

impl Expected {
    async fn of(case: Case) -> Self {
        let world = World::new(case).await;
        let before = world.facts().await;
        let step = world.step(case);
        let id = step.id;
        world.run(step, false).await.unwrap().unwrap();
        let calls = case.calls();
        let made: usize = calls.iter().map(|call| world.probe.count(call)).sum();
        assert_eq!((made, world.probe.total()), (calls.len(), calls.len()), "{case:?}: requests");
        let new_shape = world.facts().await.shape;
        assert_ne!(new_shape, before.shape, "{case:?}: the operation changes something");
        let expected = Self { case, new_shape };
        expected.settle(&world, &before, &[id], true, Next::Repeats, "without a fault").await;
        expected
    }
}

macro_rules! for_every_case {
    ($($name:ident: $case:ident,)*) => {
        /// A case that is not listed here would not be tested.
        const LISTED: &[Case] = &[$(Case::$case),*];

        $(mod $name {
            use super::{Case, single, undoing};

            #[tokio::test]
            async fn one_fault_at_each_phase() {
                single::at_each_phase(Case::$case).await;
            }

            #[tokio::test]
            async fn one_transient_fault_at_each_phase_is_absorbed() {
                single::transient_once(Case::$case).await;
            }

            #[tokio::test]
            async fn dropped_after_any_number_of_polls() {
                single::dropped_after_polls(Case::$case).await;
            }

            #[tokio::test]
            async fn a_fault_of_the_second_try_undoes_the_first() {
                undoing::second_try_fails(Case::$case).await;
            }

            #[tokio::test]
            async fn the_undo_of_the_owner_fails_too() {
                undoing::own_undo_fails(Case::$case).await;
            }

            #[tokio::test]
            async fn the_undo_by_the_next_client_fails_too() {
                undoing::foreign_undo_fails(Case::$case).await;
            }
        })*
    };
}

for_every_case! {
    create_shard: CreateShard,
    delete_shard: DeleteShard,
    update_shard: UpdateShard,
    add_point: AddPoint,
    add_points: AddPoints,
    delete_point: DeletePoint,
    point_offline: PointOffline,
    point_online: PointOnline,
    move_point: MovePoint,
    move_point_offline: MovePointOffline,
    add_range: AddRange,
    add_ranges: AddRanges,
    delete_range: DeleteRange,
    range_offline: RangeOffline,
    range_online: RangeOnline,
    move_range: MoveRange,
    move_locked_range_online: MoveLockedRangeOnline,
    split: Split,
    merge: Merge,
    merge_locked: MergeLocked,
}

#[test]
fn every_case_is_listed() {
    assert_eq!(LISTED, &Case::ALL);
}
