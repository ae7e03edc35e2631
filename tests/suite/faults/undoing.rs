//! Faults of the undo that follows a fault: by the client itself, and by the next one.

use shardlet::{Error, ErrorKind};

use super::{Expected, Kind, Next, Side, ways};
use crate::faults::case::Case;
use crate::faults::world::World;
use crate::support::location;
use crate::support::probe::Call;

fn position(case: Case, call: &Call) -> usize {
    case.calls().iter().position(|other| other == call).unwrap()
}

/// The first try fails just before its end, the second one at each request: what the first has done is undone.
pub async fn second_try_fails(case: Case) {
    let expected = Expected::of(case).await;
    for call in case.calls() {
        let about = format!("first try failed at its end, second at {call:?}");
        let world = World::new(case).await;
        let before = world.facts().await;
        let step = world.step(case);
        let id = step.id;
        world.inject_times(&Call::EndDo, Side::Before, Kind::Transient, 1);
        if call != Call::EndDo {
            world.pass(&call, 1);
        }
        world.inject(&call, Side::Before, Kind::Unavailable);
        let error = world.run(step, false).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{case:?}, {about}: {error}");
        assert_eq!(world.pending().await, [0; 0], "{case:?}, {about}: pending");
        assert_eq!(world.facts().await, before, "{case:?}, {about}");
        expected.settle(&world, &before, &[id], false, Next::Repeats, &about).await;
    }
}

pub async fn own_undo_fails(case: Case) {
    let expected = Expected::of(case).await;
    let source = Call::ChangeLocal { at: location(case.source()), undoing: false };
    let target = case.target().map(|at| Call::ChangeLocal { at: location(at), undoing: false });
    for call in case.calls().into_iter().skip(position(case, &source)) {
        // From where the undo starts, and what it asks of the stores then.
        let undo_calls = case.undo_calls();
        let (start, skipped) = match &target {
            _ if call == source => (113, undo_calls.len() - 2),
            Some(target) if call == *target => (110, 1),
            _ => (107, 0),
        };
        let undo_calls = undo_calls.iter().enumerate().filter(|(index, _)| !(1..=skipped).contains(index));
        for undo_call in std::iter::once(&Call::LockOperation).chain(undo_calls.map(|(_, call)| call)) {
            // With most to undo everything is tried; else only what leaves the undo where it is.
            for &(side, kind) in
                ways(undo_call).iter().filter(|(_, kind)| call == Call::EndDo || *kind == Kind::Dropped)
            {
                let undo = UndoFault { call: undo_call, side, kind };
                own_undo_fails_at(&expected, &call, start, undo).await;
            }
        }
    }
}

#[derive(Clone, Copy)]
struct UndoFault<'c> {
    call: &'c Call,
    side: Side,
    kind: Kind,
}

impl UndoFault<'_> {
    /// Whether the undo was completed all the same.
    fn is_harmless(&self) -> bool {
        (self.call, self.side) == (&Call::EndUndo, Side::After)
    }

    /// Whether the undo came to note from where it starts.
    fn is_noted(&self) -> bool {
        match self.call {
            Call::LockOperation => false,
            Call::FindOperation => self.side == Side::After,
            _ => true,
        }
    }
}

async fn own_undo_fails_at(expected: &Expected, call: &Call, start: i32, undo: UndoFault<'_>) {
    let case = expected.case;
    let about = format!("failed at {call:?}, undo {:?} {:?} {:?}", undo.kind, undo.side, undo.call);
    let world = World::new(case).await;
    let before = world.facts().await;
    let step = world.step(case);
    let id = step.id;
    world.inject(call, Side::Before, Kind::Unavailable);
    if *undo.call == Call::LockOperation {
        world.pass(undo.call, 1);
    }
    world.inject(undo.call, undo.side, undo.kind);
    let result = world.run(step, undo.kind == Kind::Dropped).await;
    let error = result.map(Result::unwrap_err);
    let expected_error = (undo.kind != Kind::Dropped).then_some(ErrorKind::Unavailable);
    assert_eq!(error.as_ref().map(Error::kind), expected_error, "{case:?}, {about}: {error:?}");

    let noted = if undo.is_noted() { start } else { 100 };
    let left = if undo.is_harmless() { vec![] } else { vec![noted] };
    assert_eq!(world.pending().await, left, "{case:?}, {about}: pending");
    assert_eq!(world.facts().await, before, "{case:?}, {about}: readers see the old state");
    let next = if undo.kind == Kind::Unavailable { Next::Neighbour } else { Next::Repeats };
    expected.settle(&world, &before, &[id], false, next, &about).await;
}

pub async fn foreign_undo_fails(case: Case) {
    let expected = Expected::of(case).await;
    let changes = [Some(case.source()), case.target()].into_iter().flatten().map(location);
    let died = std::iter::once(Call::Begin).chain(changes.map(|at| Call::ChangeLocal { at, undoing: false }));
    for call in died {
        let last = call == case.calls()[case.calls().len() - 2 - usize::from(case.ends_sessions())];
        // The next client takes these locks for its own operation before it undoes the other.
        let locks = [Call::LockOperation, Call::LockOperationAt(location(case.source()))].map(|call| (call, 1));
        let calls = locks.into_iter().chain(case.undo_calls().into_iter().map(|call| (call, 0)));
        for (undo_call, passes) in calls {
            // With most to undo everything is tried; else only what leaves the undo where it is.
            for &(side, kind) in ways(&undo_call).iter().filter(|(_, kind)| last || *kind == Kind::Dropped) {
                let undo = UndoFault { call: &undo_call, side, kind };
                foreign_undo_fails_at(&expected, &call, undo, passes).await;
            }
        }
    }
}

async fn foreign_undo_fails_at(expected: &Expected, call: &Call, undo: UndoFault<'_>, passes: usize) {
    let case = expected.case;
    let about = format!("died after {call:?}, undo {:?} {:?} {:?}", undo.kind, undo.side, undo.call);
    let world = World::new(case).await;
    let before = world.facts().await;
    let first = world.step(case);
    let first_id = first.id;
    world.inject(call, Side::After, Kind::Dropped);
    let dropped = world.run(first, true).await;
    assert!(dropped.is_none(), "{case:?}, {about}");

    world.probe.reset();
    world.pass(undo.call, passes);
    world.inject(undo.call, undo.side, undo.kind);
    let second = world.step(case);
    let second_id = second.id;
    let result = world.run(second, undo.kind == Kind::Dropped).await;
    let error = result.map(Result::unwrap_err);
    let expected_error = (undo.kind != Kind::Dropped).then_some(ErrorKind::PendingOperation);
    assert_eq!(error.as_ref().map(Error::kind), expected_error, "{case:?}, {about}: {error:?}");

    let left = if undo.is_harmless() { vec![] } else { vec![100] };
    assert_eq!(world.pending().await, left, "{case:?}, {about}: pending");
    assert_eq!(world.facts().await, before, "{case:?}, {about}: readers see the old state");
    expected.settle(&world, &before, &[first_id, second_id], false, Next::Repeats, &about).await;
}
