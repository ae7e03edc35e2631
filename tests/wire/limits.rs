//! Limits on time that are nothing, or for ever, and those who wait for the lock of an operation.

use std::time::Duration;

use futures::future::join_all;
use shardlet::gsm::GlobalStore;
use shardlet::{
    Error, ErrorKind, Limit, OperationId, Options, RangeShardMap, SessionPolicy, ShardMapManager, SqlServerOptions,
    Timeouts, Validation,
};

use crate::backend::{application, backend, count, later, lock_given, no_maps, patient, procedure, shard_server, soon};
use crate::endpoint::Type;
use crate::endpoint::{Answer, Endpoint};
use crate::gate::Gate;
use crate::store::{sessions, store};

/// What an application does with a store; the limit that ran out, if one did.
async fn everything(server: &Endpoint, options: SqlServerOptions, policy: SessionPolicy) -> Option<Limit> {
    let running = async {
        let manager = ShardMapManager::open(backend(server, options), Options::default()).await?;
        let map: RangeShardMap<i64, _> = manager.range_shard_map("orders").await?;
        for validation in [Validation::Validate, Validation::None] {
            let mut connection = map.open_connection_for_key(&7, &application(), validation).await?;
            assert_eq!(crate::backend::echo(&mut connection, 5).await?, Some(5));
        }
        let mapping = map.mapping_for_key(&7).await?;
        let _ = map.mark_mapping_offline_with(mapping, policy).await?;
        Ok::<_, Error>(())
    };
    let done = soon(Box::pin(running)).await;
    done.err().map(|error| match error.kind() {
        ErrorKind::TimedOut => error.limit().unwrap(),
        // A commit that was not answered in time is in doubt, or undone.
        ErrorKind::Transient | ErrorKind::OutcomeUnknown => Limit::Command,
        _ => panic!("{error:?}"),
    })
}

type Set = fn(&mut SqlServerOptions, Duration);

/// Every option of time, and what runs out where it is nothing.
const OPTIONS: [(&str, Set, Option<Limit>); 7] = [
    ("connect", |options, time| options.timeouts.connect = time, Some(Limit::Connect)),
    ("command", |options, time| options.timeouts.command = time, Some(Limit::Command)),
    ("pool wait", |options, time| options.timeouts.pool_wait = time, None),
    ("operation lock", |options, time| options.timeouts.operation_lock = time, None),
    ("idle time", |options, time| options.idle_time = time, None),
    ("age", |options, time| options.max_age = time, None),
    (
        "all of them",
        |options, time| {
            let limits = Timeouts::default().connect(time).command(time).pool_wait(time).operation_lock(time);
            *options = patient().timeouts(limits).idle_time(time).max_age(time);
        },
        Some(Limit::Connect),
    ),
];

#[tokio::test]
async fn every_limit_may_be_for_ever() {
    for (name, set, _) in OPTIONS {
        for time in [Duration::MAX / 2, Duration::MAX] {
            let server = store().await;
            sessions(&server, 3);
            let mut options = patient();
            set(&mut options, time);
            let ran_out = everything(&server, options, SessionPolicy::Drain(time)).await;
            assert_eq!(ran_out, None, "{name} of {time:?}");
            assert_eq!(count(&server, &procedure("KillSessions")), 0, "{name} of {time:?}: they close by themselves");
        }
    }
}

#[tokio::test]
async fn every_limit_may_be_nothing() {
    for (name, set, runs_out) in OPTIONS {
        let server = store().await;
        let mut options = patient();
        set(&mut options, Duration::ZERO);
        let ran_out = everything(&server, options, SessionPolicy::Drain(Duration::ZERO)).await;
        // An answer that is there at once is in time.
        let expected = ran_out == runs_out || (ran_out.is_some() && name == "all of them");
        assert!(ran_out.is_none() || expected, "{name}: {ran_out:?}");
    }
}

/// A server of which the lock of one operation is held by a client that does not go on.
async fn held(id: OperationId, gate: &Gate) -> Endpoint {
    let server = shard_server().await;
    let gate = gate.clone();
    let _ = server.on_statement("sp_getapplock", move |call| {
        if call.get::<String>("@P1") == id.to_string() {
            Answer::rows([("got", Type::Int), ("resource", Type::Text)], [[0.into(), "x".into()]]).held(&gate)
        } else {
            lock_given(&call)
        }
    });
    let _ = server.on_procedure(&procedure("ListShardMaps"), |_| no_maps());
    server
}

/// However many wait for the rows of a client that is stopped, others are served beside them.
#[tokio::test]
async fn those_who_wait_for_one_lock_leave_the_connections_to_others() {
    let (id, gate) = (OperationId::random(), Gate::new());
    let server = held(id, &gate).await;
    let backend = backend(&server, patient().max_connections_per_shard(2));
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let backend = backend.clone();
            tokio::spawn(async move { backend.lock_operation(id).await.map(drop) })
        })
        .collect();
    gate.reached().await;
    for _ in 0..3 {
        assert_eq!(soon(backend.shard_maps()).await.unwrap(), []);
        assert!(soon(backend.lock_operation(OperationId::random())).await.is_ok());
    }
    gate.open();
    for waiter in soon(join_all(waiting)).await {
        assert!(waiter.unwrap().is_ok());
    }
}

#[tokio::test]
async fn those_who_wait_for_one_lock_wait_no_longer_for_being_many() {
    let (id, gate) = (OperationId::random(), Gate::new());
    let server = held(id, &gate).await;
    let minute = Duration::from_secs(60);
    let limits = Timeouts::default().operation_lock(minute).command(minute);
    let backend = backend(&server, patient().timeouts(limits));
    let lock = || {
        let backend = backend.clone();
        tokio::spawn(async move { backend.lock_operation(id).await.map(drop) })
    };
    let first = lock();
    gate.reached().await;
    let second = lock();
    tokio::task::yield_now().await;
    later(minute).await;
    // The server is given the time of a command more to say that the lock was not free; this one does not come to that.
    let error = soon(second).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.limit()), (ErrorKind::TimedOut, Some(Limit::OperationLock)), "{error:?}");
    assert!(error.to_string().contains(&format!("held the lock of operation {id} for 60s")), "{error}");
    assert_eq!(count(&server, "sp_getapplock"), 1);
    gate.open();
    assert!(soon(first).await.unwrap().is_ok());
}
