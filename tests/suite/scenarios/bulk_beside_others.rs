//! Creating many mappings where others change the map as well, and where a client goes away in the middle.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use shardlet::{
    BulkCreation, ErrorCode, ErrorKind, LockToken, Mapping, MappingStatus, MappingUpdate, NoCredentials, Options,
    RangeMapping, Shard, ShardMap, ShardMapManager, Sqlite, Stores, Validation,
};

use super::bulk::{Many, all_on, batches_of, counted, for_points_and_ranges, numbers};
use super::refused;
use crate::support::consistency::{assert_consistent, facts};
use crate::support::probe::{Call, Fault};
use crate::support::{directory, location, shards, sqlite};

for_points_and_ranges! {
    a_key_that_is_mapped_refuses_its_batch_alone,
    what_is_there_is_skipped_if_it_is_the_same,
    a_shard_that_was_deleted,
    a_map_that_was_deleted,
    the_one_beside_which_others_are_created_changes,
    one_at_a_time_beside_one_that_was_deleted,
    a_batch_is_dropped_at_each_await,
    a_dropped_batch_is_not_cached,
    a_run_is_stopped_between_batches,
    two_operations_for_one_batch,
    a_batch_that_was_asked_for_before_others_were_skipped,
    clients_that_create_the_same,
    clients_that_create_some_of_the_same_elsewhere,
    another_manager_sees_all,
    a_failed_batch_comes_again,
}

fn maps_of<M: Mapping>(mappings: &[M]) -> Vec<shardlet::ShardId> {
    mappings.iter().map(|mapping| mapping.record().shard.id()).collect()
}

async fn a_key_that_is_mapped_refuses_its_batch_alone<M: Many>() {
    for there in 0..2 {
        let (probe, map, on) = counted::<M>(2).await;
        // In the third batch, which has 11 to 20.
        let taken = M::one(&map, 20, &on[there]).await.unwrap();
        let creation = M::many(&map, all_on(&on[0], 0..30), &batches_of(10)).unwrap();
        for size in [1, 10] {
            assert_eq!(creation.next_batch().unwrap().await.unwrap().len(), size);
        }
        let before = facts(&probe).await;
        for _ in 0..2 {
            let error = refused(creation.next_batch().unwrap().await, M::TAKEN.0, M::TAKEN.1, "mapped");
            assert_eq!((error.operation(), error.shard_map()), (Some("CreateMappings"), Some(map.name())));
            assert!(!error.to_string().contains("200"), "{error}");
            assert_eq!(facts(&probe).await, before);
            assert_consistent(probe.inner(), &[], "refused").await;
            assert_eq!(map.cached_mapping(&150), None, "nothing of it is believed");
        }
        let error = refused(creation.run(drop).await, M::TAKEN.0, M::TAKEN.1, "mapped");
        assert_eq!(error.operation(), Some("CreateMappings"));
        assert_eq!((creation.progress().created(), creation.progress().left()), (11, 19));

        let skipped = creation.skip_existing().await.unwrap();
        if there == 0 {
            assert_eq!(skipped, 1, "of the same shard, but none that it has created itself");
            assert_eq!(creation.run(drop).await.unwrap().created(), 29);
            assert_eq!(creation.progress().skipped(), 1);
            assert_eq!(map.mappings().await.unwrap().len(), 30);
        } else {
            assert_eq!(skipped, 0, "the key of another shard stays to be refused");
            let _ = refused(creation.run(drop).await, M::TAKEN.0, M::TAKEN.1, "of another shard");
            assert_eq!(creation.progress().left(), 19);
        }
        assert_eq!(map.mapping_for_key(&200).await.unwrap(), taken);
        assert_consistent(probe.inner(), &[], "gone on").await;
    }
}

async fn what_is_there_is_skipped_if_it_is_the_same<M: Many>() {
    let (probe, map, on) = counted::<M>(3).await;
    let wanted: Vec<_> = (0..30).map(|number| (number, on[usize::from(number >= 15)].clone())).collect();
    let made = M::many(&map, wanted[..20].to_vec(), &batches_of(8)).unwrap();
    let _ = made.run(drop).await.unwrap();
    // One is offline, one locked, one elsewhere.
    let _ = map.mark_mapping_offline(map.mapping_for_key(&10).await.unwrap()).await.unwrap();
    let _ = map.lock_mapping(map.mapping_for_key(&20).await.unwrap(), LockToken::random()).await.unwrap();
    let moved = map.mark_mapping_offline(map.mapping_for_key(&30).await.unwrap()).await.unwrap();
    let _ = map.move_mapping(moved, &on[2]).await.unwrap();

    let again = M::many(&map, wanted, &batches_of(8)).unwrap();
    assert_eq!(again.skip_existing().await.unwrap(), 19);
    assert_eq!((again.progress().skipped(), again.progress().left(), again.progress().created()), (19, 11, 0));
    assert_eq!(again.skip_existing().await.unwrap(), 0);
    let _ = refused(again.run(drop).await, M::TAKEN.0, M::TAKEN.1, "moved elsewhere");
    let back = map.mapping_for_key(&30).await.unwrap();
    map.delete_mapping(back).await.unwrap();
    assert_eq!(again.run(drop).await.unwrap().created(), 11);
    let all = map.mappings().await.unwrap();
    assert_eq!(numbers(&all), (0..30).collect::<Vec<_>>());
    assert_eq!(maps_of(&all), [vec![on[0].id(); 15], vec![on[1].id(); 15]].concat());
    assert_consistent(probe.inner(), &[], "the rest").await;
}

#[tokio::test]
async fn ranges_of_other_bounds_are_not_skipped() {
    let (probe, map, on) = counted::<RangeMapping<i64>>(1).await;
    let _ = map.create_mapping(0..9, &on[0]).await.unwrap();
    let _ = map.create_mapping(10.., &on[0]).await.unwrap();
    for wanted in [0..10, 1..9, 10..20, 0..8] {
        let creation = map.create_mappings([(wanted.clone(), &on[0])], &batches_of(10)).unwrap();
        assert_eq!(creation.skip_existing().await.unwrap(), 0, "{wanted:?}");
        let result = creation.run(drop).await;
        let _ = refused(result, ErrorKind::Overlaps, ErrorCode::MappingRangeAlreadyMapped, &format!("{wanted:?}"));
    }
    let creation = map.create_mappings([(10.., &on[0])], &batches_of(10)).unwrap();
    assert_eq!(creation.skip_existing().await.unwrap(), 1);
    assert_consistent(probe.inner(), &[], "other bounds").await;
}

async fn a_shard_that_was_deleted<M: Many>() {
    let (probe, map, on) = counted::<M>(3).await;
    let wanted = (0..9).map(|number| (number, on[usize::try_from(number / 4).unwrap()].clone()));
    let creation = M::many(&map, wanted, &batches_of(3)).unwrap();
    for size in [1, 3] {
        assert_eq!(creation.next_batch().unwrap().await.unwrap().len(), size);
    }
    map.delete_shard(map.shard(&location(1)).await.unwrap()).await.unwrap();
    for _ in 0..2 {
        let result = creation.next_batch().unwrap().await;
        let error = refused(result, ErrorKind::NotFound, ErrorCode::ShardDoesNotExist, "deleted");
        assert_eq!(error.operation(), Some("CreateMappings"));
    }
    assert_eq!((creation.progress().created(), map.mappings().await.unwrap().len()), (4, 4));
    // Of several shards that are left, none has to be there.
    assert_eq!(creation.skip_existing().await.unwrap(), 0);
    let only = M::many(&map, all_on(&on[1], 4..8), &batches_of(3)).unwrap();
    let error =
        refused(only.skip_existing().await, ErrorKind::NotFound, ErrorCode::ShardDoesNotExist, "the only shard");
    assert_eq!(error.operation(), Some("CreateMappings"));
    // Another one at the place is another shard.
    let _ = map.create_shard(&location(1)).await.unwrap();
    let _ = refused(only.run(drop).await, ErrorKind::NotFound, ErrorCode::ShardDoesNotExist, "another at the place");
    assert_consistent(probe.inner(), &[], "deleted").await;
}

async fn a_map_that_was_deleted<M: Many>() {
    let (_, map, on) = counted::<M>(1).await;
    let creation = M::many(&map, all_on(&on[0], 0..8), &batches_of(3)).unwrap();
    map.delete_shard(on[0].clone()).await.unwrap();
    map.manager().delete_shard_map(map.name()).await.unwrap();
    let result = creation.next_batch().unwrap().await;
    let _ = refused(result, ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, "batch");
    let _ = refused(creation.skip_existing().await, ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, "skip");
}

/// What another client does to the mapping beside which others are created, and whether it has another id then or is elsewhere.
#[derive(Clone, Copy, Debug)]
enum Change {
    Deleted,
    Moved,
    Offline,
    Locked,
}

async fn change<M: Many, B: Stores>(map: &ShardMap<M, B>, mapping: M, to: &Shard, change: Change) {
    let offline = async |mapping| map.mark_mapping_offline(mapping).await.unwrap();
    match change {
        Change::Deleted => map.delete_mapping(offline(mapping).await).await.unwrap(),
        Change::Moved => {
            let update = MappingUpdate::new().status(MappingStatus::Offline).shard(to);
            let _ = map.update_mapping(mapping, &update).await.unwrap();
        }
        Change::Offline => drop(offline(mapping).await),
        Change::Locked => drop(map.lock_mapping(mapping, LockToken::random()).await.unwrap()),
    }
}

async fn the_one_beside_which_others_are_created_changes<M: Many>() {
    for (what, refusals) in [(Change::Deleted, 1), (Change::Moved, 1), (Change::Offline, 1), (Change::Locked, 0)] {
        let (probe, map, on) = counted::<M>(2).await;
        let other = ShardMapManager::open(probe.inner().clone(), Options::default()).await.unwrap();
        let other = M::map(&other).await;
        let creation = M::many(&map, all_on(&on[0], 0..20), &batches_of(5)).unwrap();
        let first = creation.next_batch().unwrap().await.unwrap().remove(0);
        let _ = creation.next_batch().unwrap().await.unwrap();
        change(&other, first, &on[1], what).await;
        let before = facts(&probe).await;
        probe.reset();
        // The begin is refused, and the first of the batch created alone.
        let next = creation.next_batch().unwrap().await.unwrap();
        assert_eq!(numbers(&next), if refusals > 0 { vec![6] } else { vec![6, 7, 8, 9, 10] }, "{what:?}");
        assert_eq!(probe.count(&Call::Begin), 1 + refusals, "{what:?}");
        assert_eq!(creation.run(drop).await.unwrap().created(), 20, "{what:?}");
        assert_eq!(probe.count(&Call::Begin), if refusals > 0 { 2 + 3 } else { 3 }, "{what:?}");
        let now = facts(&probe).await;
        let there: Vec<_> = before.exact.iter().filter(|line| line.contains(": mapping ")).collect();
        let lost: Vec<_> = there.iter().filter(|line| !now.exact.contains(line)).collect();
        // A line of a mapping names no version of its shard.
        assert!(lost.is_empty(), "{what:?}: {lost:?}");
        assert_eq!(
            now.exact.iter().filter(|line| line.contains(": mapping ")).count(),
            there.len() + 14,
            "{what:?}: {now:#?}"
        );
        assert_consistent(probe.inner(), &[], &format!("{what:?}")).await;
        // The client that created them is not led astray by what it has cached.
        if refusals > 0 {
            assert_eq!(map.cached_mapping(&0), None, "{what:?}: known to be stale");
        }
        let opened = map.open_connection_for_key(&0, &NoCredentials, Validation::Validate).await;
        let kind = match what {
            Change::Deleted => Some(ErrorKind::NotFound),
            Change::Moved | Change::Offline => Some(ErrorKind::Offline),
            Change::Locked => None,
        };
        assert_eq!(opened.as_ref().err().map(shardlet::Error::kind), kind, "{what:?}: {opened:?}");
    }
}

async fn one_at_a_time_beside_one_that_was_deleted<M: Many>() {
    let (probe, map, on) = counted::<M>(1).await;
    let creation = M::many(&map, all_on(&on[0], 0..6), &batches_of(1)).unwrap();
    let first = creation.next_batch().unwrap().await.unwrap().remove(0);
    change(&map, first, &on[0], Change::Deleted).await;
    probe.reset();
    assert_eq!(creation.run(drop).await.unwrap().created(), 6);
    assert_eq!(probe.count(&Call::Begin), 6, "the first of five batches is refused, and no other");
}

/// Goes on until nothing is left, skipping what is there where that helps; how often it was refused.
async fn finish<M: Many, B: Stores>(creation: &BulkCreation<M, B>) -> usize {
    for refusals in 0..100 {
        match creation.run(drop).await {
            Ok(progress) => {
                assert_eq!((progress.left(), progress.created() + progress.skipped()), (0, progress.total()));
                return refusals;
            }
            Err(error) => {
                assert_eq!((error.kind(), error.code()), M::TAKEN, "{error:?}");
                let _ = creation.skip_existing().await.unwrap();
            }
        }
    }
    panic!("refused again and again: {:?}", creation.progress());
}

/// Polls a future so many times and drops it then; what it has given.
async fn poll_only<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|context| {
        if polls == times {
            return Poll::Ready(None);
        }
        polls += 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

async fn a_batch_is_dropped_at_each_await<M: Many>() {
    for polls in 0..1_000 {
        let about = format!("dropped after {polls} polls");
        let (probe, map, on) = counted::<M>(1).await;
        let creation = M::many(&map, all_on(&on[0], 0..10), &batches_of(4)).unwrap();
        let _ = creation.next_batch().unwrap().await.unwrap();
        let result = poll_only(creation.next_batch().unwrap(), polls).await;
        assert_eq!(creation.progress().created(), if result.is_some() { 5 } else { 1 }, "{about}");
        let _ = finish(&creation).await;
        assert_eq!(numbers(&map.mappings().await.unwrap()), (0..10).collect::<Vec<_>>(), "{about}");
        assert_consistent(probe.inner(), &[], &about).await;
        if result.is_some() {
            assert!(polls > 0);
            return;
        }
    }
    panic!("not done");
}

async fn a_dropped_batch_is_not_cached<M: Many>() {
    let (probe, map, on) = counted::<M>(1).await;
    let creation = M::many(&map, all_on(&on[0], 0..10), &batches_of(20)).unwrap();
    let _ = creation.next_batch().unwrap().await.unwrap();
    for (call, done) in
        [(Call::Begin, false), (Call::ChangeLocal { at: location(0), undoing: false }, false), (Call::EndDo, true)]
    {
        probe.inject(call.clone(), 1, Fault::HoldAfter);
        tokio::select! {
            result = creation.next_batch().unwrap() => panic!("not held: {result:?}"),
            () = probe.held() => {}
        }
        assert_eq!(creation.progress().created(), 1);
        assert_eq!(map.cached_mapping(&50), None, "{call:?}");
        let opened = map.open_connection_for_key(&50, &NoCredentials, Validation::Validate).await;
        assert_eq!(opened.is_ok(), done, "{call:?}: {opened:?}");
        if !done {
            assert_eq!(opened.unwrap_err().kind(), ErrorKind::NotFound, "{call:?}");
        }
    }
    let _ = refused(creation.run(drop).await, M::TAKEN.0, M::TAKEN.1, "it was done");
    assert_eq!(creation.skip_existing().await.unwrap(), 9);
    assert!(creation.next_batch().is_none());
    assert_consistent(probe.inner(), &[], "dropped").await;
}

async fn a_run_is_stopped_between_batches<M: Many>() {
    let (probe, map, on) = counted::<M>(1).await;
    let creation = M::many(&map, all_on(&on[0], 0..30), &batches_of(4)).unwrap();
    let run = creation.run(|progress| {
        if progress.created() == 9 {
            probe.inject(Call::LockOperation, 1, Fault::HoldBefore);
        }
    });
    tokio::select! {
        result = run => panic!("not stopped: {result:?}"),
        () = probe.held() => {}
    }
    assert_eq!((creation.progress().created(), creation.progress().left()), (9, 21));
    assert_consistent(probe.inner(), &[], "stopped").await;
    assert_eq!(creation.run(drop).await.unwrap().created(), 30);
    assert_consistent(probe.inner(), &[], "gone on").await;
}

async fn two_operations_for_one_batch<M: Many>() {
    for together in [false, true] {
        let (probe, map, on) = counted::<M>(2).await;
        let wanted = (0..10).map(|number| (number, on[usize::from(number == 9)].clone()));
        let creation = M::many(&map, wanted, &batches_of(8)).unwrap();
        let mut sizes = Vec::new();
        while let (Some(first), Some(second)) = (creation.next_batch(), creation.next_batch()) {
            let results = if together {
                let (first, second) = tokio::join!(first, second);
                [first, second]
            } else {
                [first.await, second.await]
            };
            let (done, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
            let [(Ok(made), Err(error))] = &done.into_iter().zip(failed).collect::<Vec<_>>()[..] else {
                panic!("together: {together}: not one of them was done")
            };
            assert_eq!((error.kind(), error.code()), M::TAKEN, "{error:?}");
            sizes.push(made.len());
            assert_eq!(creation.progress().created(), sizes.iter().sum::<usize>(), "it counts once");
        }
        assert_eq!((sizes, creation.progress().left()), (vec![1, 8, 1], 0));
        assert_consistent(probe.inner(), &[], "twice").await;
    }
}

/// What an operation has created is not asked for again, whatever happened since it was asked for.
async fn a_batch_that_was_asked_for_before_others_were_skipped<M: Many>() {
    let (probe, map, on) = counted::<M>(2).await;
    let _ = M::one(&map, 7, &on[0]).await.unwrap();
    let wanted = (0..10).map(|number| (number, on[usize::from(number == 9)].clone()));
    let creation = M::many(&map, wanted, &batches_of(4)).unwrap();
    let early = creation.next_batch().unwrap();
    assert_eq!(creation.skip_existing().await.unwrap(), 1);
    let late = creation.next_batch().unwrap();
    assert_eq!(numbers(&early.await.unwrap()), [0]);
    assert_eq!(creation.progress().created(), 1);
    let _ = refused(late.await, M::TAKEN.0, M::TAKEN.1, "it has the first one too");
    assert_eq!(creation.run(drop).await.unwrap().created(), 9);
    assert_consistent(probe.inner(), &[], "early and late").await;
}

async fn clients_that_create_the_same<M: Many>() {
    let directory = directory();
    let mut creations = Vec::new();
    let mut made = None;
    for _ in 0..3 {
        let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
        let map = M::map(&manager).await;
        let on = shards(&map, 2).await;
        let wanted = (0..60).map(|number| (number, on[usize::from(number % 2 == 0)].clone()));
        creations.push(M::many(&map, wanted, &batches_of(7)).unwrap());
        made = Some((map, on));
    }
    let (map, on) = made.unwrap();
    let _ = tokio::join!(finish(&creations[0]), finish(&creations[1]), finish(&creations[2]));
    let created: usize = creations.iter().map(|creation| creation.progress().created()).sum();
    assert_eq!(created, 60, "each by one of them");
    let all = map.mappings().await.unwrap();
    assert_eq!(numbers(&all), (0..60).collect::<Vec<_>>());
    let expected: Vec<_> = (0..60).map(|number| on[usize::from(number % 2 == 0)].id()).collect();
    assert_eq!(maps_of(&all), expected);
    assert_consistent(map.manager().backend(), &[], "three clients").await;
}

async fn clients_that_create_some_of_the_same_elsewhere<M: Many>() {
    let (probe, map, on) = counted::<M>(2).await;
    let other = ShardMapManager::open(probe.inner().clone(), Options::default()).await.unwrap();
    let other = M::map(&other).await;
    // 20 to 39 are wanted by both, on different shards.
    let creations = [
        M::many(&map, all_on(&on[0], 0..40), &batches_of(6)).unwrap(),
        M::many(&map, all_on(&on[1], 20..60), &batches_of(6)).unwrap(),
    ];
    let other_creation = M::many(&other, all_on(&on[1], 20..60), &batches_of(6)).unwrap();
    let (first, second) = tokio::join!(creations[0].run(drop), other_creation.run(drop));
    for (result, creation) in [(first, creations[0].progress()), (second, other_creation.progress())] {
        if let Err(error) = result {
            assert_eq!((error.kind(), error.code()), M::TAKEN, "{error:?}");
            assert!(creation.left() > 0);
        }
    }
    let all = map.mappings().await.unwrap();
    let by = |shard: &Shard| all.iter().filter(|mapping| mapping.is_on().id() == shard.id()).count();
    assert_eq!(by(&on[0]), creations[0].progress().created());
    assert_eq!(by(&on[1]), other_creation.progress().created());
    assert!(creations[0].progress().left() + other_creation.progress().left() >= 20, "no key has two shards");
    let mut sorted = numbers(&all);
    sorted.dedup();
    assert_eq!(sorted.len(), all.len());
    assert_consistent(probe.inner(), &[], "two clients").await;
    // None of them is taken for one of its own by who wants it elsewhere.
    assert_eq!(creations[1].skip_existing().await.unwrap(), by(&on[1]));
}

async fn another_manager_sees_all<M: Many>() {
    let directory = directory();
    let open = async || ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
    let (first, second): (ShardMapManager<Sqlite>, _) = (open().await, open().await);
    let map = M::map(&first).await;
    let on = shards(&map, 2).await;
    let there = M::map(&second).await;
    // It has been told that there is nothing.
    assert!(there.find_mapping_for_key(&10).await.unwrap().is_none());
    let wanted = (0..20).map(|number| (number, on[usize::from(number % 2 == 0)].clone()));
    let _ = M::many(&map, wanted, &batches_of(50)).unwrap().run(drop).await.unwrap();
    for number in 0..20 {
        let opened = there.open_connection_for_key(&(10 * number), &NoCredentials, Validation::Validate).await.unwrap();
        assert_eq!(opened.location(), on[usize::from(number % 2 == 0)].location());
    }
    assert_eq!(there.mappings().await.unwrap(), map.mappings().await.unwrap());
}

async fn a_failed_batch_comes_again<M: Many>() {
    let (probe, map, on) = counted::<M>(1).await;
    let creation = M::many(&map, all_on(&on[0], 0..10), &batches_of(4)).unwrap();
    let _ = creation.next_batch().unwrap().await.unwrap();
    let lost = || shardlet::Error::new(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "lost");
    for call in [Call::LockOperation, Call::Begin, Call::ChangeLocal { at: location(0), undoing: false }, Call::EndDo] {
        let before = facts(&probe).await;
        probe.inject(call.clone(), 1, Fault::FailBefore(lost()));
        let result = creation.next_batch().unwrap().await;
        let error = refused(result, ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, &format!("{call:?}"));
        assert_eq!(error.operation(), Some("CreateMappings"), "{call:?}");
        assert_eq!((creation.progress().created(), facts(&probe).await), (1, before), "{call:?}");
        assert_consistent(probe.inner(), &[], "failed").await;
    }
    assert_eq!(creation.run(drop).await.unwrap().created(), 10);
    assert_consistent(probe.inner(), &[], "done").await;
}
