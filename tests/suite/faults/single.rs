//! One fault, or a client that goes away, at one request of an operation.

use std::future::poll_fn;
use std::task::Poll;

use shardlet::{Error, ErrorKind};

use super::{Expected, Kind, Next, Side, ways};
use crate::faults::case::Case;
use crate::faults::world::World;
use crate::support::probe::Call;

pub async fn at_each_phase(case: Case) {
    let expected = Expected::of(case).await;
    for call in case.calls() {
        for &(side, kind) in ways(&call) {
            at(&expected, &call, side, kind, Next::Repeats).await;
            if kind == Kind::Dropped {
                // Only then there may be something to undo.
                at(&expected, &call, side, kind, Next::Neighbour).await;
            }
        }
    }
}

async fn at(expected: &Expected, call: &Call, side: Side, kind: Kind, next: Next) {
    let case = expected.case;
    let about = format!("{kind:?} {side:?} {call:?}");
    let world = World::new(case).await;
    let before = world.facts().await;
    let step = world.step(case);
    let id = step.id;
    world.inject(call, side, kind);
    let result = world.run(step, kind == Kind::Dropped).await;
    assert!(world.probe.count(call) > 0, "{case:?}, {about}: the request was never made");

    let calls = case.calls();
    let position = |call: &Call| calls.iter().position(|other| other == call).unwrap();
    let happened = position(call) + usize::from(side == Side::After);
    let begun = happened > position(&Call::Begin);
    let done = happened > position(&Call::EndDo);
    let expected_error = match kind {
        Kind::Transient => Some(ErrorKind::Transient),
        Kind::Unavailable => Some(ErrorKind::Unavailable),
        // It is found out by looking for the log row. Where that is gone, the end may have been ours or another's.
        Kind::Unknown if done => Some(ErrorKind::OutcomeUnknown),
        Kind::Unknown => Some(ErrorKind::Transient),
        Kind::Dropped => None,
    };
    let error = result.map(|result| result.expect_err(&format!("{case:?}, {about}")));
    assert_eq!(error.as_ref().map(Error::kind), expected_error, "{case:?}, {about}: {error:?}");

    // Only a client that is gone leaves something behind.
    let left = kind == Kind::Dropped && begun && !done;
    assert_eq!(world.pending().await, if left { vec![100] } else { vec![] }, "{case:?}, {about}: pending");
    let now = world.facts().await;
    if done {
        assert_eq!(now.shape, expected.new_shape, "{case:?}, {about}");
    } else {
        assert_eq!(now, before, "{case:?}, {about}: readers see the old state");
    }
    expected.settle(&world, &before, &[id], done, next, &about).await;
}

pub async fn transient_once(case: Case) {
    let expected = Expected::of(case).await;
    for call in case.calls() {
        for side in [Side::Before, Side::After] {
            if (&call, side) == (&Call::EndDo, Side::After) {
                // That an operation has ended cannot be told from its never having begun, so a store may not call this passing.
                continue;
            }
            let about = format!("{side:?} {call:?}");
            let world = World::new(case).await;
            let before = world.facts().await;
            let step = world.step(case);
            let id = step.id;
            world.inject_times(&call, side, Kind::Transient, 1);
            let result = world.run(step, false).await.unwrap();
            assert!(result.is_ok(), "{case:?}, {about}: {result:?}");
            assert_eq!(world.probe.count(&call), 2, "{case:?}, {about}: tries");
            assert_eq!(world.facts().await.shape, expected.new_shape, "{case:?}, {about}");
            expected.settle(&world, &before, &[id], true, Next::Repeats, &about).await;
        }
    }
}

/// More than any operation takes.
const MANY_POLLS: usize = 1_000;

/// Drops the operation at every await point that it has here, also while a request runs in the background.
pub async fn dropped_after_polls(case: Case) {
    let expected = Expected::of(case).await;
    for allowed in 0..MANY_POLLS {
        let about = format!("dropped after {allowed} polls");
        let world = World::new(case).await;
        let before = world.facts().await;
        let step = world.step(case);
        let (id, mut run) = (step.id, step.run);
        let mut polls = 0;
        let result = poll_fn(|context| {
            if polls == allowed {
                return Poll::Ready(None);
            }
            polls += 1;
            run.as_mut().poll(context).map(Some)
        })
        .await;
        drop(run);
        // The next client waits for the lock, so what is still running has ended when it goes on.
        world.assert_unlocked(case, id, &about).await;
        let done = world.pending().await.is_empty() && world.facts().await.shape == expected.new_shape;
        assert!(result.is_none() || done, "{case:?}, {about}: {result:?}");
        expected.settle(&world, &before, &[id], done, Next::Repeats, &about).await;
        if result.is_some() {
            return;
        }
    }
    panic!("{case:?}: not done after {MANY_POLLS} polls");
}
