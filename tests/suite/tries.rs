//! How often, and after which pauses, a fault that passes is met with another try: by an operation, by the undo of one's own,
//! and by the undo of another client's. Time is paused: it stands still while anything is at work, and jumps from timer to timer.

use std::collections::HashSet;
use std::error::Error as _;
use std::pin::pin;
use std::time::Duration;

use shardlet::gsm::GlobalStore;
use shardlet::{
    Error, ErrorCode, ErrorKind, LockToken, Options, Place, RangeMapping, RangeShardMap, RetryPolicy, ShardMapManager,
    Sqlite,
};
use tokio::time::Instant;

use crate::support::consistency::assert_consistent;
use crate::support::probe::{Call, Fault, Probe};
use crate::support::{location, shards};

type Range = RangeShardMap<i64, Probe<Sqlite>>;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_millis(300);

/// The runtime's timers count in milliseconds.
const TICK: Duration = Duration::from_millis(1);

fn policy(attempts: u32) -> RetryPolicy {
    RetryPolicy::default().attempts(attempts).pauses(FIRST, LONGEST)
}

fn injected(kind: ErrorKind) -> Error {
    Error::new(kind, ErrorCode::StorageOperationFailure, "injected").at_shard(&location(0))
}

/// A client of a store, and its map of ranges.
async fn client(store: &Sqlite, retry: RetryPolicy) -> (Probe<Sqlite>, Range) {
    let probe = Probe::new(store.clone());
    let manager = ShardMapManager::open_or_create(probe.clone(), Options::default().retry(retry)).await.unwrap();
    let map = manager.range_shard_map_or_create("ranges").await.unwrap();
    probe.reset();
    (probe, map)
}

/// A store with `[0, 100)` on one shard.
async fn one_range() -> (Sqlite, RangeMapping<i64>) {
    let store = Sqlite::in_memory();
    let (_, map) = client(&store, RetryPolicy::default()).await;
    let shard = shards(&map, 1).await.remove(0);
    let mapping = map.create_mapping(0..100, &shard).await.unwrap();
    (store, mapping)
}

/// One that takes the range offline and leaves that unfinished, at the end of it.
async fn leave_unfinished(store: &Sqlite, mapping: &RangeMapping<i64>) {
    let (probe, map) = client(store, RetryPolicy::default()).await;
    probe.inject(Call::EndDo, 1, Fault::FailBefore(injected(ErrorKind::Unavailable)));
    probe.inject(Call::FindOperation, 1, Fault::FailBefore(injected(ErrorKind::Unavailable)));
    assert!(map.mark_mapping_offline(mapping.clone()).await.is_err());
    assert_eq!(store.pending_operations().await.unwrap().len(), 1);
}

/// Lets so many such requests fail, and says when each was made and how it all ended.
async fn moments<T>(
    probe: &Probe<Sqlite>,
    (call, times, kind): (&Call, usize, ErrorKind),
    running: impl Future<Output = T>,
) -> (Vec<Instant>, T) {
    probe.inject(call.clone(), times, Fault::FailOnRelease(injected(kind)));
    let mut running = pin!(running);
    let mut moments = Vec::new();
    loop {
        tokio::select! {
            done = &mut running => return (moments, done),
            () = probe.held() => {
                moments.push(Instant::now());
                probe.release();
            }
        }
    }
}

/// Between half of it and all of it is waited, and it doubles from try to try up to the longest.
#[track_caller]
fn assert_pauses(moments: &[Instant], case: &str) {
    let mut whole = FIRST;
    for (number, pair) in moments.windows(2).enumerate() {
        let pause = pair[1] - pair[0];
        assert!(pause >= whole / 2 && pause <= whole + TICK, "{case}: pause {number} was {pause:?}");
        whole = (whole * 2).min(LONGEST);
    }
}

/// The requests of taking a mapping offline.
fn calls() -> [Call; 6] {
    [
        Call::LockOperation,
        Call::LockOperationAt(location(0)),
        Call::Begin,
        Call::ChangeLocal { at: location(0), undoing: false },
        Call::EndSessions,
        Call::EndDo,
    ]
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_tried_as_often_as_was_set_with_pauses_that_grow() {
    for call in calls() {
        for attempts in [1_usize, 2, 6] {
            let case = format!("{call:?}, {attempts} tries");
            let (store, mapping) = one_range().await;
            let (probe, map) = client(&store, policy(u32::try_from(attempts).unwrap())).await;
            let begun = Instant::now();
            let fault = (&call, attempts, ErrorKind::Transient);
            let (moments, result) = moments(&probe, fault, map.mark_mapping_offline(mapping)).await;
            assert_eq!(moments.len(), attempts, "{case}");
            assert_pauses(&moments, &case);
            // One more try would have succeeded.
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Transient, "{case}: {error:?}");
            assert_eq!(error.place(), Some(&Place::Shard(location(0))), "{case}: where the fault was");
            let tries = if attempts == 1 { "1 try" } else { &format!("{attempts} tries") };
            let took = moments[attempts - 1] - begun;
            assert!(error.to_string().contains(&format!("gave up after {tries} in {took:?}: injected")), "{error}");
            assert_eq!(error.source().unwrap().to_string(), injected(ErrorKind::Transient).to_string(), "{case}");
            assert_consistent(&store, &[], &case).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_try_may_succeed() {
    for call in calls() {
        let case = format!("{call:?}");
        let (store, mapping) = one_range().await;
        let (probe, map) = client(&store, policy(6)).await;
        let fault = (&call, 5, ErrorKind::Transient);
        let (moments, result) = moments(&probe, fault, map.mark_mapping_offline(mapping)).await;
        assert!(result.is_ok(), "{case}: {result:?}");
        assert_eq!(moments.len(), 5, "{case}");
        assert_pauses(&moments, &case);
        assert!(Instant::now() - moments[4] >= LONGEST / 2, "{case}: the last pause");
        assert_consistent(&store, &[], &case).await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_passes_is_tried_again() {
    for kind in [ErrorKind::Unavailable, ErrorKind::TimedOut, ErrorKind::StoreDamaged, ErrorKind::OutcomeUnknown] {
        let (store, mapping) = one_range().await;
        let (probe, map) = client(&store, policy(6)).await;
        let begun = Instant::now();
        let (moments, result) = moments(&probe, (&Call::Begin, 6, kind), map.mark_mapping_offline(mapping)).await;
        let error = result.unwrap_err();
        // What may have happened was undone, so that the same call may be repeated.
        let told = if kind == ErrorKind::OutcomeUnknown { ErrorKind::Transient } else { kind };
        assert_eq!((error.kind(), error.place()), (told, Some(&Place::Shard(location(0)))), "{kind:?}: {error:?}");
        assert_eq!(moments, [begun], "{kind:?}: once, and without a pause before it");
        assert_eq!(begun.elapsed(), Duration::ZERO, "{kind:?}: nor after it");
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_fail_together_do_not_try_together_again() {
    let mut pauses = HashSet::new();
    for _ in 0..20 {
        let (store, mapping) = one_range().await;
        let (probe, map) = client(&store, policy(2)).await;
        let fault = (&Call::Begin, 2, ErrorKind::Transient);
        let (moments, result) = moments(&probe, fault, map.mark_mapping_offline(mapping)).await;
        assert!(result.is_err());
        let _ = pauses.insert(moments[1] - moments[0]);
    }
    // 256 pauses, of which the timers tell 50 apart.
    assert!(pauses.len() > 4, "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn pauses_of_nothing_are_no_pauses_and_those_of_for_ever_can_be_dropped() {
    let (store, mapping) = one_range().await;
    let (probe, map) = client(&store, policy(6).pauses(Duration::ZERO, Duration::ZERO)).await;
    let begun = Instant::now();
    let fault = (&Call::Begin, 5, ErrorKind::Transient);
    let (_, result) = moments(&probe, fault, map.mark_mapping_offline(mapping)).await;
    assert!(result.is_ok(), "{result:?}");
    assert!(begun.elapsed() <= TICK * 5, "{:?}", begun.elapsed());

    for (first, longest) in [(Duration::MAX, Duration::MAX), (Duration::MAX, LONGEST), (FIRST, Duration::MAX)] {
        let (store, mapping) = one_range().await;
        let (probe, map) = client(&store, policy(3).pauses(first, longest)).await;
        let fault = (&Call::Begin, 1, ErrorKind::Transient);
        let running = moments(&probe, fault, map.mark_mapping_offline(mapping));
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        let done = tokio::time::timeout(year, running).await;
        let waits = first.min(longest) == Duration::MAX;
        assert_eq!(done.is_err(), waits, "{first:?}, {longest:?}");
        assert_consistent(&store, &[], "a pause that was dropped").await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_tries_at_all_are_one_try() {
    let (store, mapping) = one_range().await;
    let mut retry = policy(1);
    // The field is public, and what is set in it past the setter means what the setter says.
    retry.attempts = 0;
    let (probe, map) = client(&store, retry).await;
    assert!(map.mark_mapping_offline(mapping.clone()).await.is_ok());
    let mapping = map.mapping_for_key(&0).await.unwrap();
    let fault = (&Call::Begin, 1, ErrorKind::Transient);
    let (_, result) = moments(&probe, fault, map.mark_mapping_online(mapping)).await;
    assert!(result.unwrap_err().to_string().contains("gave up after 1 try in 0ns"));
}

/// The requests of an undo.
fn undo_calls() -> [Call; 3] {
    [Call::FindOperation, Call::ChangeLocal { at: location(0), undoing: true }, Call::EndUndo]
}

#[tokio::test(start_paused = true)]
async fn the_undo_of_ones_own_operation_has_tries_of_its_own() {
    for call in undo_calls() {
        for (attempts, undone) in [(4, false), (3, true)] {
            let case = format!("{call:?}, {attempts} faults");
            let (store, mapping) = one_range().await;
            let (probe, map) = client(&store, policy(4)).await;
            let begun = Instant::now();
            probe.inject(Call::EndDo, 1, Fault::FailBefore(injected(ErrorKind::Unavailable)));
            let fault = (&call, attempts, ErrorKind::Transient);
            let (moments, result) = moments(&probe, fault, map.mark_mapping_offline(mapping)).await;
            // The error of the operation itself, whatever becomes of its undo.
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable, "{case}");
            assert_eq!((moments.len(), moments[0]), (attempts, begun), "{case}");
            assert_pauses(&moments, &case);
            let pending = store.pending_operations().await.unwrap();
            assert_eq!(pending.is_empty(), undone, "{case}");
            // What was left is the next one's, who does not have to wait.
            let (_, next) = client(&store, policy(1)).await;
            let mapping = next.mapping_for_key(&0).await.unwrap();
            let _ = next.mark_mapping_offline(mapping).await.unwrap();
            assert_consistent(&store, &[], &case).await;
        }
    }
}

/// What meets the operation of another client.
async fn meet(map: &Range, how: &str) -> shardlet::Result<()> {
    let mapping = map.mapping_for_key(&0).await?;
    match how {
        "operation" => map.mark_mapping_offline(mapping).await.map(drop),
        "lock" => map.lock_mapping(mapping, LockToken::random()).await.map(drop),
        "on request" => map.manager().undo_pending_operations().await.map(drop),
        _ => panic!("no such way: {how}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_undo_of_anothers_operation_is_tried_as_often_and_then_tells_of_it() {
    for how in ["operation", "lock", "on request"] {
        for call in undo_calls() {
            let case = format!("{how}, {call:?}");
            let (store, mapping) = one_range().await;
            leave_unfinished(&store, &mapping).await;
            let id = store.pending_operations().await.unwrap()[0].id;
            let (probe, map) = client(&store, policy(4)).await;
            let begun = Instant::now();
            let fault = (&call, 4, ErrorKind::Transient);
            let (failed_at, result) = moments(&probe, fault, meet(&map, how)).await;
            let error = result.unwrap_err();
            assert_eq!(
                (error.kind(), error.code()),
                (ErrorKind::PendingOperation, ErrorCode::OperationPending),
                "{case}: {error:?}"
            );
            assert_eq!(error.place(), Some(&Place::Shard(location(0))), "{case}");
            assert_eq!((failed_at.len(), failed_at[0]), (4, begun), "{case}");
            assert_pauses(&failed_at, &case);
            let took = failed_at[3] - begun;
            let told = format!(
                "operation {id} of another client is unfinished, and could not be undone: gave up after 4 tries in \
                 {took:?}: injected"
            );
            assert!(error.to_string().contains(&told), "{case}: {error}");
            let cause = error.source().unwrap().downcast_ref::<Error>().unwrap();
            assert_eq!(cause.kind(), ErrorKind::Transient, "{case}");
            assert_eq!(store.pending_operations().await.unwrap().len(), 1, "{case}: it is left as it was");

            let fault = (&call, 3, ErrorKind::Transient);
            let (failed_at, result) = moments(&probe, fault, meet(&map, how)).await;
            assert!(result.is_ok(), "{case}: {result:?}");
            assert_eq!(failed_at.len(), 3, "{case}");
            assert_pauses(&failed_at, &case);
            assert_consistent(&store, &[], &case).await;
        }
    }
}
