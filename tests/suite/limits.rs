//! Limits on time: each is kept to the moment, says what was waited for and for how long, and may be nothing or for ever.
//! Time is paused: it stands still while anything is at work, and jumps from timer to timer.

use std::time::Duration;

use futures::poll;
use shardlet::gsm::GlobalStore;
use shardlet::{
    CacheOptions, Error, ErrorCode, ErrorKind, Limit, LockToken, NoCredentials, Options, RangeMapping, RangeShardMap,
    Result, RetryPolicy, SessionPolicy, ShardMapManager, Sqlite, SqliteConnection, SqliteOptions, Timeouts, Validation,
};
use tokio::time::{Instant, advance};

use crate::support::consistency::assert_consistent;
use crate::support::probe::{Call, Fault, Probe};
use crate::support::{directory, location, quick, shards};

type Range = RangeShardMap<i64, Probe<Sqlite>>;

/// The runtime's timers count in milliseconds.
const TICK: Duration = Duration::from_millis(1);

const HOUR: Duration = Duration::from_secs(3_600);

async fn client_with(store: &Sqlite, options: Options) -> (Probe<Sqlite>, Range) {
    let probe = Probe::new(store.clone());
    let manager = ShardMapManager::open_or_create(probe.clone(), options).await.unwrap();
    let map = manager.range_shard_map_or_create("ranges").await.unwrap();
    probe.reset();
    (probe, map)
}

async fn client(store: &Sqlite) -> (Probe<Sqlite>, Range) {
    client_with(store, Options::default()).await
}

/// `[0, 100)` on a shard.
async fn one_range(store: &Sqlite) -> RangeMapping<i64> {
    let (_, map) = client(store).await;
    let shard = shards(&map, 1).await.remove(0);
    map.create_mapping(0..100, &shard).await.unwrap()
}

async fn open(map: &Range, key: i64) -> Result<SqliteConnection> {
    map.open_connection_for_key(&key, &NoCredentials, Validation::Validate).await
}

fn lost() -> Fault {
    Fault::FailBefore(Error::new(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "lost"))
}

#[track_caller]
fn assert_lasted(begun: Instant, limit: Duration, case: &str) {
    let lasted = begun.elapsed();
    assert!(lasted >= limit && lasted <= limit + TICK, "{case}: {lasted:?} instead of {limit:?}");
}

#[track_caller]
fn assert_timed_out(error: &Error, limit: Limit, told: &str) {
    assert_eq!((error.kind(), error.limit()), (ErrorKind::TimedOut, Some(limit)), "{error:?}");
    assert!(error.to_string().contains(told), "{error}");
}

#[tokio::test(start_paused = true)]
async fn callers_that_share_a_load_wait_no_longer_than_was_set() {
    let store = Sqlite::in_memory();
    let _ = one_range(&store).await;
    let (probe, map) = client_with(&store, Options::default().load_timeout(Duration::from_secs(20))).await;
    probe.inject(Call::FindMappingByKey, 1, Fault::HoldBefore);
    let begun = Instant::now();
    let mut first = Box::pin(map.lookup_mapping(&7));
    assert!(poll!(&mut first).is_pending());
    probe.held().await;
    advance(Duration::from_secs(5)).await;
    // It joins the load that is under way, and ends with it.
    let mut second = Box::pin(open(&map, 7));
    assert!(poll!(&mut second).is_pending());
    assert_timed_out(&first.await.unwrap_err(), Limit::Load, "20s");
    assert_lasted(begun, Duration::from_secs(20), "the first");
    assert_timed_out(&second.await.unwrap_err(), Limit::Load, "20s");
    assert_lasted(begun, Duration::from_secs(20), "the second");
    assert_eq!(probe.count(&Call::FindMappingByKey), 1);
    assert!(map.lookup_mapping(&7).await.is_ok(), "the load that hung is gone");
}

/// A client that is held in an operation on `[0, 100)`, with its lock. It is let go when the future is dropped.
async fn held(probe: &Probe<Sqlite>, map: &Range) -> impl Future<Output = Result<RangeMapping<i64>>> + use<> {
    let mapping = map.mapping_for_key(&0).await.unwrap();
    probe.inject(Call::Begin, 1, Fault::HoldAfter);
    let mut running = map.mark_mapping_offline(mapping);
    tokio::select! {
        done = &mut running => panic!("not held: {done:?}"),
        () = probe.held() => running,
    }
}

#[tokio::test(start_paused = true)]
async fn the_lock_of_an_operation_is_waited_for_as_long_as_was_set() {
    for limit in [Duration::ZERO, Duration::from_millis(70), Duration::from_secs(60)] {
        let timeouts = Timeouts::default().operation_lock(limit);
        let directory = directory();
        for (place, store) in [
            ("memory", Sqlite::in_memory_with(quick().timeouts(timeouts.clone()))),
            ("files", Sqlite::open_with(directory.path(), quick().timeouts(timeouts.clone())).unwrap()),
        ] {
            let case = format!("{place}, {limit:?}");
            let mapping = one_range(&store).await;
            let (probe, map) = client(&store).await;
            let owner = held(&probe, &map).await;
            let id = store.pending_operations().await.unwrap()[0].id;
            let told = format!("another client held the lock of operation {id} for {limit:?}");
            let (_, map) = client(&store).await;

            let begun = Instant::now();
            let refused = map.split_mapping(mapping.clone(), 50).await.unwrap_err();
            assert_timed_out(&refused, Limit::OperationLock, &told);
            assert_lasted(begun, limit, &case);
            let begun = Instant::now();
            let refused = map.lock_mapping(mapping.clone(), LockToken::random()).await.unwrap_err();
            assert_timed_out(&refused, Limit::OperationLock, &told);
            assert_lasted(begun, limit, &case);
            let begun = Instant::now();
            let refused = map.manager().undo_pending_operations().await.unwrap_err();
            assert_timed_out(&refused, Limit::OperationLock, &told);
            assert_lasted(begun, limit, &case);

            drop(owner);
            // Where it is a file it is let go in the background.
            let mut undone = map.manager().undo_pending_operations().await;
            while undone.as_ref().is_err_and(|error| error.limit() == Some(Limit::OperationLock)) {
                tokio::task::yield_now().await;
                undone = map.manager().undo_pending_operations().await;
            }
            assert_eq!(undone.unwrap(), 1, "{case}");
            assert_consistent(&store, &[], &case).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_becomes_free_within_the_limit_is_taken() {
    let store = Sqlite::in_memory();
    let _ = one_range(&store).await;
    let (probe, map) = client(&store).await;
    let owner = held(&probe, &map).await;
    let (_, next) = client(&store).await;
    let mapping = next.mapping_for_key(&0).await.unwrap();
    let mut waiting = next.split_mapping(mapping, 50);
    let begun = Instant::now();
    let waits = tokio::time::timeout(Duration::from_secs(59), &mut waiting).await;
    assert!(waits.is_err(), "{waits:?}");
    drop(owner);
    assert!(waiting.await.is_ok());
    assert_lasted(begun, Duration::from_secs(59), "until it was free");
}

#[tokio::test(start_paused = true)]
async fn sessions_are_drained_until_they_close_or_the_time_is_over() {
    let minute = Duration::from_secs(60);
    for (patience, closes_after, ended) in [
        (Duration::ZERO, None, 1),
        (minute, None, 1),
        (minute, Some(minute / 2), 0),
        (minute, Some(minute * 2), 1),
        (Duration::MAX, Some(HOUR), 0),
        (Duration::MAX / 2, Some(HOUR), 0),
    ] {
        let case = format!("{patience:?}, closed after {closes_after:?}");
        let store = Sqlite::in_memory();
        let mapping = one_range(&store).await;
        let (_, map) = client(&store).await;
        let session = open(&map, 7).await.unwrap();
        let begun = Instant::now();
        let user = tokio::spawn(async move {
            match closes_after {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
            drop(session);
        });
        let drained = map.mark_mapping_offline_with(mapping, SessionPolicy::Drain(patience)).await;
        let (_, sessions) = drained.unwrap();
        assert_eq!(sessions.ended, ended, "{case}");
        assert_lasted(begun, closes_after.map_or(patience, |time| time.min(patience)), &case);
        user.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_free_connection_is_waited_for_as_long_as_was_set() {
    for wait in [Duration::ZERO, Duration::from_secs(30)] {
        let timeouts = Timeouts::default().pool_wait(wait);
        let store = Sqlite::in_memory_with(quick().max_connections_per_database(1).timeouts(timeouts.clone()));
        let _ = one_range(&store).await;
        let (_, map) = client(&store).await;
        let user = open(&map, 7).await.unwrap();
        let begun = Instant::now();
        let told = format!("all 1 connections to the database stayed in use for {wait:?}");
        assert_timed_out(&open(&map, 8).await.unwrap_err(), Limit::PoolWait, &told);
        assert_lasted(begun, wait, "one database");
        drop(user);
        assert!(open(&map, 8).await.is_ok());

        // All places are taken by other databases.
        let directory = directory();
        let (_, map) = client(&Sqlite::open_with(directory.path(), quick()).unwrap()).await;
        for (number, shard) in (0..).zip(shards(&map, 5).await) {
            let _ = map.create_mapping(number * 10..number * 10 + 10, &shard).await.unwrap();
        }
        let four = quick().max_connections(4).timeouts(timeouts);
        let (_, map) = client(&Sqlite::open_with(directory.path(), four).unwrap()).await;
        let mut users = Vec::new();
        for key in [0, 10, 20, 30] {
            users.push(open(&map, key).await.unwrap());
        }
        let begun = Instant::now();
        let told = format!("all 4 connections stayed in use for {wait:?}");
        assert_timed_out(&open(&map, 40).await.unwrap_err(), Limit::PoolWait, &told);
        assert_lasted(begun, wait, "all databases");
        // To close one of them takes a moment.
        drop(users);
        assert!(wait.is_zero() || open(&map, 40).await.is_ok());
    }
}

// Operations of others in the way of one, one after another.

/// One that is met, and left unfinished by a client that is gone.
async fn leave_unfinished(store: &Sqlite) {
    let (probe, map) = client(store).await;
    probe.inject(Call::EndDo, 1, lost());
    probe.inject(Call::FindOperation, 1, lost());
    let shard = map.shard(&location(0)).await.unwrap();
    assert!(map.create_mapping(500..600, &shard).await.is_err());
}

/// Undoes what is unfinished, as its own client may while others wait for it.
async fn finish(store: &Sqlite) {
    let (_, map) = client(store).await;
    assert_eq!(map.manager().undo_pending_operations().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn others_that_live_are_waited_for_as_long_as_was_set() {
    for queue_time in [Duration::ZERO, Duration::from_secs(60), Duration::from_secs(70)] {
        let case = format!("{queue_time:?}");
        let store = Sqlite::in_memory();
        let _ = one_range(&store).await;
        let (probe, map) = client_with(&store, retrying(RetryPolicy::default().queue_time(queue_time))).await;
        let shard = map.shard(&location(0)).await.unwrap();
        leave_unfinished(&store).await;
        // It takes its own lock, meets another's operation, and waits for that one's lock; and so on.
        for _ in 0..10 {
            probe.inject(Call::LockOperation, 1, Fault::Pass);
            probe.inject(Call::LockOperation, 1, Fault::SendOnRelease);
        }
        let mut running = map.create_mapping(200..300, &shard);
        let (begun, mut waited_for) = (Instant::now(), 0);
        let error = loop {
            tokio::select! {
                done = &mut running => break done.unwrap_err(),
                () = probe.held() => {
                    // The one that was met is over 25 s later, and the next one has begun.
                    advance(Duration::from_secs(25)).await;
                    finish(&store).await;
                    leave_unfinished(&store).await;
                    waited_for += 1;
                    probe.release();
                }
            }
        };
        assert_eq!(waited_for, if queue_time.is_zero() { 1 } else { 3 }, "{case}");
        assert_eq!((error.kind(), error.code()), (ErrorKind::PendingOperation, ErrorCode::OperationPending), "{case}");
        let (id, waited) = (store.pending_operations().await.unwrap()[0].id, begun.elapsed());
        let told = format!(
            "operation {id} of another client is unfinished, after others had been met, one after another, for \
             {waited:?}: {waited_for} were waited for, 0 undone"
        );
        assert!(error.to_string().contains(&told), "{case}: {error}");
        assert_eq!(waited, Duration::from_secs(25) * waited_for, "{case}");
        finish(&store).await;
        assert_consistent(&store, &[], &case).await;
    }
}

#[tokio::test(start_paused = true)]
async fn others_that_are_gone_are_undone_as_often_as_was_set() {
    for limit in [0, 1, 3] {
        let store = Sqlite::in_memory();
        let _ = one_range(&store).await;
        let (probe, map) = client_with(&store, retrying(RetryPolicy::default().undone_operations(limit))).await;
        let shard = map.shard(&location(0)).await.unwrap();
        leave_unfinished(&store).await;
        probe.inject(Call::LockOperation, 1, Fault::Pass);
        for _ in 0..10 {
            probe.inject(Call::LockOperation, 1, Fault::Pass);
            probe.inject(Call::LockOperation, 1, Fault::SendOnRelease);
        }
        let mut running = map.create_mapping(200..300, &shard);
        let begun = Instant::now();
        let error = loop {
            tokio::select! {
                done = &mut running => break done.unwrap_err(),
                () = probe.held() => {
                    // It has undone one and is about to try again: the next one is there.
                    leave_unfinished(&store).await;
                    probe.release();
                }
            }
        };
        assert_eq!(error.kind(), ErrorKind::PendingOperation, "{limit}: {error:?}");
        assert!(error.to_string().contains(&format!("after {limit} others had been undone")), "{error}");
        assert_eq!(probe.count(&Call::EndUndo), usize::try_from(limit).unwrap());
        assert_eq!(begun.elapsed(), Duration::ZERO, "{limit}: the dead are not waited for");
    }
}

/// The pauses of one's own tries are no waits for others.
#[tokio::test(start_paused = true)]
async fn the_time_for_others_begins_with_the_first_that_is_met() {
    let store = Sqlite::in_memory();
    let _ = one_range(&store).await;
    let minute = Duration::from_secs(60);
    let retry = RetryPolicy::default().pauses(minute, minute).queue_time(Duration::from_secs(10));
    let (probe, map) = client_with(&store, retrying(retry)).await;
    let shard = map.shard(&location(0)).await.unwrap();
    leave_unfinished(&store).await;
    let passing = Error::new(ErrorKind::Transient, ErrorCode::StorageOperationFailure, "injected");
    probe.inject(Call::Begin, 2, Fault::FailBefore(passing));
    let begun = Instant::now();
    let created = map.create_mapping(200..300, &shard).await;
    assert!(created.is_ok(), "{created:?}");
    assert!(begun.elapsed() >= minute);
}

fn retrying(retry: RetryPolicy) -> Options {
    Options::default().retry(retry)
}

// Routing while a shard is down.

#[tokio::test(start_paused = true)]
async fn while_a_shard_is_down_the_global_store_is_asked_less_and_less() {
    let store = Sqlite::in_memory();
    let _ = one_range(&store).await;
    let (probe, map) = client(&store).await;
    assert!(map.lookup_mapping(&7).await.is_ok());
    probe.reset();
    let down = Error::new(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "down");
    probe.inject(Call::OpenRouted, usize::MAX, Fault::FailBefore(down));
    let (begun, mut asked) = (Instant::now(), Vec::new());
    for _ in 0..130 {
        let before = probe.count(&Call::FindMappingByKey);
        assert_eq!(open(&map, 7).await.unwrap_err().kind(), ErrorKind::Unavailable);
        if probe.count(&Call::FindMappingByKey) > before {
            asked.push(begun.elapsed().as_secs());
        }
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(asked, [0, 5, 15, 35, 65, 95, 125]);
    probe.reset();
    assert!(open(&map, 7).await.is_ok(), "it is up again");
    assert_eq!(probe.total(), 1);
}

// Nothing and for ever.

/// What an application does with a store; the limit that ran out, if one did.
async fn everything(store: Result<Sqlite>, options: Options, sessions: SessionPolicy) -> Option<Limit> {
    let running = async {
        let store = store?;
        let manager = ShardMapManager::open_or_create(store, options).await?;
        let map = manager.range_shard_map_or_create::<i64>("ranges").await?;
        let on = [map.shard_or_create(&location(0)).await?, map.shard_or_create(&location(1)).await?];
        let mapping = map.create_mapping(0..100, &on[0]).await?;
        let (low, high) = map.split_mapping(mapping, 50).await?;
        let mapping = map.merge_mappings(low, high).await?;
        for _ in 0..2 {
            let missing = map.lookup_mapping(&500).await.unwrap_err();
            if missing.kind() != ErrorKind::NotFound {
                return Err(missing);
            }
            map.clear_cache();
            let _ = map.lookup_mapping(&7).await?;
            let mut connection = map.open_connection_for_key(&7, &NoCredentials, Validation::Validate).await?;
            let one = |transaction: &shardlet::SqliteTransaction<'_>| {
                transaction.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))
            };
            assert_eq!(connection.read(one).await?, 1);
        }
        let token = LockToken::random();
        let mapping = map.lock_mapping(mapping, token).await?;
        let mapping = map.unlock_mapping(mapping, token).await?;
        let (offline, _) = map.mark_mapping_offline_with(mapping, sessions).await?;
        let moved = map.move_mapping(offline, &on[1]).await?;
        map.delete_mapping(moved).await?;
        assert_eq!(manager.undo_pending_operations().await?, 0);
        Ok::<_, Error>(())
    };
    // Nothing here waits for anybody, so that an hour would be a wait for nothing.
    let done = tokio::time::timeout(HOUR, Box::pin(running)).await.expect("it hangs");
    done.err().map(|error| {
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
        error.limit().unwrap()
    })
}

#[tokio::test(start_paused = true)]
async fn every_limit_of_the_embedded_backend_may_be_nothing_or_for_ever() {
    type Set = fn(&mut SqliteOptions, Duration);
    let set: [(&str, Set, &[Limit]); 7] = [
        ("connect", |options, time| options.timeouts.connect = time, &[]),
        // Short requests end before anybody looks at the clock.
        ("command", |options, time| options.timeouts.command = time, &[Limit::Command]),
        ("pool wait", |options, time| options.timeouts.pool_wait = time, &[]),
        ("operation lock", |options, time| options.timeouts.operation_lock = time, &[]),
        ("idle time", |options, time| options.idle_time = time, &[]),
        ("age", |options, time| options.max_age = time, &[]),
        (
            "all of them",
            |options, time| {
                let limits = Timeouts::default().connect(time).command(time).pool_wait(time).operation_lock(time);
                *options = quick().timeouts(limits).idle_time(time).max_age(time);
            },
            &[Limit::Connect, Limit::Command],
        ),
    ];
    for (name, set, may_run_out) in set {
        for time in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX / 2, Duration::MAX] {
            let mut options = quick();
            set(&mut options, time);
            let directory = directory();
            for (place, store) in [
                ("memory", Ok(Sqlite::in_memory_with(options.clone()))),
                ("files", Sqlite::open_with(directory.path(), options.clone())),
            ] {
                let ran_out = everything(store, Options::default(), SessionPolicy::EndNow).await;
                let expected = time <= Duration::from_nanos(1);
                assert!(
                    ran_out.is_none_or(|limit| expected && may_run_out.contains(&limit)),
                    "{name} of {time:?} in {place}: {ran_out:?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_limit_of_a_manager_may_be_nothing_or_for_ever() {
    for time in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX / 2, Duration::MAX] {
        let cache = CacheOptions::default();
        for (name, options) in [
            ("load", Options::default().load_timeout(time)),
            ("lifetime", Options::default().cache(cache.clone().time_to_live(time))),
            ("missing keys", Options::default().cache(cache.missing_key_time(time))),
            ("pauses", retrying(RetryPolicy::default().pauses(time, time))),
            ("queue", retrying(RetryPolicy::default().queue_time(time))),
        ] {
            let ran_out = everything(Ok(Sqlite::in_memory()), options, SessionPolicy::EndNow).await;
            let is_short = name == "load" && time <= Duration::from_nanos(1);
            assert!(ran_out.is_none_or(|limit| is_short && limit == Limit::Load), "{name} of {time:?}: {ran_out:?}");
            assert!(ran_out.is_some() || !(is_short && time.is_zero()), "{name} of {time:?} is no time at all");
        }
        let ran_out = everything(Ok(Sqlite::in_memory()), Options::default(), SessionPolicy::Drain(time)).await;
        assert_eq!(ran_out, None, "drain of {time:?}");
    }
}

/// The fields are public: what the setters keep is kept where they are passed by.
#[tokio::test(start_paused = true)]
async fn no_connections_at_all_are_as_many_as_are_needed() {
    let mut options = quick();
    (options.max_connections, options.max_connections_per_database) = (0, 0);
    let ran_out = everything(Ok(Sqlite::in_memory_with(options)), Options::default(), SessionPolicy::EndNow).await;
    assert_eq!(ran_out, None);
}
