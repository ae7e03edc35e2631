//! A real process that is stopped in the middle of an operation, and goes on later, or never.
//!
//! Its session stays open, and with it the locks of its operation: nobody but it can finish or undo that while it is stopped.

use std::pin::pin;
use std::time::Duration;

use shardlet::gsm::GlobalStore;
use shardlet::{
    Error, ErrorKind, Limit, LockToken, MappingStatus, Options, Result, ShardLocation, ShardMapManager, SqlServer,
    SqlServerOptions, Stores, Timeouts, Validation,
};

use crate::conformance::Environment;
use crate::environment::Live;
use crate::processes::{Ranges, start};
use crate::server::{credentials, place_of};
use crate::support::child::say;
use crate::support::consistency::assert_consistent;
use crate::support::probe::{Call, Fault, Probe};
use crate::support::signals::{go_on, stop};

trials! { stopped {
    a_stopped_process_that_goes_on_finishes_what_it_has_begun,
    what_a_stopped_process_held_is_free_when_it_is_killed,
} }

async fn ranges<B: Stores>(store: B, name: &str) -> Ranges<B> {
    let manager = ShardMapManager::open_or_create(store, Options::default()).await.unwrap();
    manager.range_shard_map_or_create(name).await.unwrap()
}

/// `[0, 10)` and `[10, 20)` online and `[20, 30)` offline, all on shard 0 of two.
async fn set_up(env: &Live, name: &str) -> Ranges {
    let map = ranges(env.backend().clone(), name).await;
    let shard = env.shards(&map, 2).await.remove(0);
    let _ = map.create_mapping(0..10, &shard).await.unwrap();
    let _ = map.create_mapping(10..20, &shard).await.unwrap();
    let _ = map.create_mapping_with(20..30, &shard, MappingStatus::Offline).await.unwrap();
    map
}

async fn operate<B: Stores>(map: &Ranges<B>, operation: &str, place: impl Fn(usize) -> ShardLocation) -> Result<()> {
    let of = async |key: i64| map.mapping_for_key(&key).await;
    match operation {
        "add shard" => map.create_shard(&place(2)).await.map(drop),
        "delete shard" => map.delete_shard(map.shard(&place(1)).await?).await,
        "create" => map.create_mapping(30..40, &map.shard(&place(1)).await?).await.map(drop),
        "split" => map.split_mapping(of(0).await?, 5).await.map(drop),
        "merge" => map.merge_mappings(of(0).await?, of(10).await?).await.map(drop),
        "take offline" => map.mark_mapping_offline(of(0).await?).await.map(drop),
        "move" => map.move_mapping(of(20).await?, &map.shard(&place(1)).await?).await.map(drop),
        "delete" => map.delete_mapping(of(20).await?).await,
        _ => panic!("no such operation: {operation}"),
    }
}

/// Begins an operation, pauses before a request of it until its input ends, and says how it ended.
pub async fn pause(store: SqlServer, prefix: &str, detail: &str) {
    let [map, operation, phase] = detail.split('/').collect::<Vec<_>>()[..] else { panic!("{detail}") };
    let probe = Probe::new(store);
    let map = ranges(probe.clone(), map).await;
    let place = |number| place_of(prefix, number);
    let source = usize::from(operation == "create");
    let call = match phase {
        "locks taken" => Call::Begin,
        "begun" => Call::ChangeLocal { at: place(source), undoing: false },
        "source done" => Call::ChangeLocal { at: place(1), undoing: false },
        "all but the end done" => Call::EndDo,
        _ => panic!("no such phase: {phase}"),
    };
    probe.inject(call, 1, Fault::SendOnRelease);
    let mut running = pin!(operate(&map, operation, place));
    tokio::select! {
        done = &mut running => panic!("{detail}: not paused: {done:?}"),
        () = probe.held() => say("paused"),
    }
    let told = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    let _ = told.await.unwrap().unwrap();
    probe.release();
    let ended = running.await;
    say(&ended.map_or_else(|error| format!("{:?}", error.kind()), |()| "done".to_owned()));
}

/// Everything that is not about the rows of the stopped one: `[100, 200)` on shard 2, and shard 3.
async fn work_beside(map: &Ranges, env: &Live) -> Result<()> {
    let (low, high) = map.split_mapping(map.mapping_for_key(&150).await?, 150).await?;
    let whole = map.merge_mappings(low, high).await?;
    let token = LockToken::random();
    let whole = map.unlock_mapping(map.lock_mapping(whole, token).await?, token).await?;
    let offline = map.mark_mapping_offline(whole).await?;
    let moved = map.move_mapping(offline, &map.shard(&env.location(3)).await?).await?;
    let back = map.move_mapping(moved, &map.shard(&env.location(2)).await?).await?;
    let _ = map.mark_mapping_online(back).await?;
    let created =
        map.create_mapping_with(300..400, &map.shard(&env.location(3)).await?, MappingStatus::Offline).await?;
    map.delete_mapping(created).await?;
    let shard = map.create_shard(&env.location(4)).await?;
    map.delete_shard(shard).await
}

/// Routing: what the stopped one does not change is routed, and what it changes has an answer.
async fn routes(map: &Ranges, case: &str) {
    for validation in [Validation::Validate, Validation::None] {
        let opened = map.open_connection_for_key(&150, &credentials(), validation).await;
        assert!(opened.is_ok(), "{case}: beside it: {opened:?}");
        for key in [5, 15, 25] {
            if let Err(error) = map.open_connection_for_key(&key, &credentials(), validation).await {
                let known = matches!(error.kind(), ErrorKind::Offline | ErrorKind::PendingOperation);
                assert!(known, "{case}: {key}: {error:?}");
            }
        }
    }
}

async fn stopped_in(env: &Live, number: usize, (operation, phase): (&str, &str), killed: bool) {
    let name = format!("map {number}");
    let case = format!("{operation}/{phase}");
    let map = set_up(env, &name).await;
    let shard = env.shards(&map, 4).await.swap_remove(2);
    let _ = map.create_mapping(100..200, &shard).await.unwrap();
    let place = |number| env.location(number);
    let begun = phase != "locks taken";
    let mut child = start("pause", env.databases.prefix(), &format!("{name}/{case}"));
    assert_eq!(child.says().await, "paused", "{case}");
    stop(child.id()).await;
    // It does not hear this before it goes on.
    child.end_input();

    let hurried = SqlServerOptions::default().timeouts(Timeouts::default().operation_lock(Duration::ZERO));
    let next = ranges(env.databases.backend(hurried), &name).await;
    for client in [&map, &next] {
        routes(client, &case).await;
    }
    work_beside(&next, env).await.unwrap_or_else(|error| panic!("{case}: beside it: {error:?}"));
    let pending = env.backend().pending_operations().await.unwrap();
    assert_eq!(pending.len(), usize::from(begun), "{case}");
    if begun {
        for refused in
            [operate(&next, operation, place).await, next.manager().undo_pending_operations().await.map(drop)]
        {
            let error = refused.unwrap_err();
            let what = (error.kind(), error.limit());
            assert_eq!(what, (ErrorKind::TimedOut, Some(Limit::OperationLock)), "{case}: {error:?}");
        }
        // One with patience waits until the lock is free, and no longer.
        let patient = Probe::new(env.databases.backend(SqlServerOptions::default()));
        let waiter = ranges(patient.clone(), &name).await;
        patient.reset();
        let mut waiting = Box::pin(operate(&waiter, operation, place));
        while patient.count(&Call::LockOperation) < 2 {
            tokio::select! {
                biased;
                done = &mut waiting => panic!("{case}: done without waiting: {done:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(env.backend().pending_operations().await.unwrap(), pending, "{case}: not undone");
        if killed {
            child.kill().await;
            let done = waiting.await;
            assert!(done.is_ok(), "{case}: the dead one's is undone: {done:?}");
        } else {
            go_on(child.id());
            let (said, waited) = tokio::join!(child.says(), waiting);
            assert_eq!(said, "done", "{case}");
            // What the stopped one has done cannot be done again.
            let kind = waited.as_ref().err().map(Error::kind);
            let known = matches!(kind, Some(ErrorKind::Stale | ErrorKind::NotFound | ErrorKind::Overlaps));
            assert!(known, "{case}: {waited:?}");
            child.ends_well().await;
        }
    } else {
        // Nobody can know of it yet: its rows are free, and it comes too late.
        operate(&next, operation, place).await.unwrap_or_else(|error| panic!("{case}: before it: {error:?}"));
        if killed {
            child.kill().await;
        } else {
            go_on(child.id());
            let said = child.says().await;
            assert!(["Stale", "Overlaps"].contains(&&*said), "{case}: {said}");
            child.ends_well().await;
        }
    }
    assert_consistent(env.backend(), &env.places(), &case).await;
}

async fn a_stopped_process_that_goes_on_finishes_what_it_has_begun() {
    let env = Live::new().await;
    let cases = [
        ("create", "locks taken"),
        ("create", "begun"),
        ("split", "begun"),
        ("split", "all but the end done"),
        ("take offline", "all but the end done"),
        ("move", "begun"),
        ("move", "source done"),
        ("move", "all but the end done"),
    ];
    for (number, case) in cases.into_iter().enumerate() {
        Box::pin(stopped_in(&env, number, case, false)).await;
    }
}

async fn what_a_stopped_process_held_is_free_when_it_is_killed() {
    let env = Live::new().await;
    let cases = [
        ("split", "locks taken"),
        ("create", "begun"),
        ("move", "source done"),
        ("take offline", "all but the end done"),
    ];
    for (number, case) in cases.into_iter().enumerate() {
        Box::pin(stopped_in(&env, number, case, true)).await;
    }
}
