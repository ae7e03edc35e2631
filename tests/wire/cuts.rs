//! Connections that end: while they are idle, in the middle of an answer, and when a change has been sent.

use std::time::Duration;

use shardlet::gsm::GlobalStore;
use shardlet::lsm::LocalStore;
use shardlet::{ErrorKind, OperationId, ShardMapId, ShardMapInfo, ShardMapKind, ShardMapName, SqlServer, Validation};

use crate::backend::{
    ECHO, MAP, MAP_COLUMNS, backend, count, echo, echoed, later, lock_given, number, patient, procedure, releases,
    routed, shard_at, shard_server, soon, validated,
};
use crate::endpoint::{Answer, Endpoint};
use crate::gate::{End, Gate};
use crate::proxy::{Direction, Proxy, Traffic};

const ENDS: [End; 2] = [End::Close, End::Reset];

/// An endpoint and a backend that has idle connections to its global store and to the shard, all of which have ended.
async fn cut_while_idle(end: End) -> (Endpoint, SqlServer) {
    let server = shard_server().await;
    // Waits for a place that nobody makes end within the test's own limit.
    let limits = patient().timeouts.pool_wait(Duration::from_secs(5));
    let backend = backend(&server, patient().max_connections_per_shard(2).timeouts(limits));
    let both = tokio::join!(backend.shard_maps(), backend.shard_maps());
    assert!(both.0.is_ok() && both.1.is_ok());
    let locks = (OperationId::random(), OperationId::random());
    let place = shard_at(&server, "shard_0");
    let one = backend.lock_operation_at(&place, locks.0).await.unwrap();
    let two = backend.lock_operation_at(&place, locks.1).await.unwrap();
    drop((one, two));
    let one = backend.lock_operation_at(&place, locks.0).await.unwrap();
    let two = backend.lock_operation_at(&place, locks.1).await.unwrap();
    drop((one, two));
    let one = routed(&backend, &server, Validation::None).await.unwrap();
    let two = routed(&backend, &server, Validation::None).await.unwrap();
    drop((one, two));
    // What was locked goes back when it is released, which the next checkouts waited for the first time.
    releases(&server, 4).await;
    server.cut(end).await;
    (server, backend)
}

#[tokio::test]
async fn a_read_after_an_idle_connection_was_lost_succeeds() {
    for end in ENDS {
        let (server, backend) = cut_while_idle(end).await;
        assert_eq!(backend.shard_maps().await.unwrap(), [], "{end:?}");
        assert_eq!(backend.shard_maps().await.unwrap(), []);
        assert_eq!(server.open(), 1, "of the two dead connections neither was kept");
    }
}

#[tokio::test]
async fn a_version_is_read_after_an_idle_connection_was_lost() {
    let (server, backend) = cut_while_idle(End::Close).await;
    let _ = server.on_statement("ShardMapManagerGlobal", |_| version(1, 2));
    assert_eq!(backend.global_version().await.unwrap(), Some(shardlet::StoreVersion::CURRENT));
}

fn version(major: i32, minor: i32) -> Answer {
    use crate::endpoint::Type::Int;
    Answer::rows([("StoreVersionMajor", Int), ("StoreVersionMinor", Int)], [[major.into(), minor.into()]])
}

#[tokio::test]
async fn an_open_after_an_idle_connection_was_lost_succeeds() {
    for end in ENDS {
        let (server, backend) = cut_while_idle(end).await;
        let mut connection = validated(&backend, &server).await;
        assert_eq!(echo(&mut connection, 5).await.unwrap(), Some(5));
    }
}

#[tokio::test]
async fn the_first_use_after_an_idle_connection_was_lost_succeeds() {
    for end in ENDS {
        let (server, backend) = cut_while_idle(end).await;
        let mut connection = routed(&backend, &server, Validation::None).await.unwrap();
        assert_eq!(echo(&mut connection, 6).await.unwrap(), Some(6));
        assert_eq!(count(&server, ECHO), 1);
    }
}

#[tokio::test]
async fn first_uses_of_as_many_lost_connections_as_the_pool_may_hold_succeed() {
    // Each needs another connection, for which the lost one has to make room.
    let (server, backend) = cut_while_idle(End::Close).await;
    let mut one = routed(&backend, &server, Validation::None).await.unwrap();
    let mut two = routed(&backend, &server, Validation::None).await.unwrap();
    let (first, second) = soon(async { tokio::join!(echo(&mut one, 1), echo(&mut two, 2)) }).await;
    assert_eq!((first.unwrap(), second.unwrap()), (Some(1), Some(2)));
}

#[tokio::test]
async fn a_lock_is_taken_after_an_idle_connection_was_lost() {
    for end in ENDS {
        let (server, backend) = cut_while_idle(end).await;
        let _global = backend.lock_operation(OperationId::random()).await.unwrap();
        let place = shard_at(&server, "shard_0");
        let _local = backend.lock_operation_at(&place, OperationId::random()).await.unwrap();
    }
}

#[tokio::test]
async fn a_change_after_an_idle_connection_was_lost_is_in_doubt_and_not_sent_again() {
    for end in ENDS {
        let (server, backend) = cut_while_idle(end).await;
        let _ = server.on_procedure(&procedure("RemoveShardMap"), |_| Answer::return_code(1));
        let error = backend.remove_shard_map(MAP.into()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}");
        assert_eq!(count(&server, &procedure("RemoveShardMap")), 0);
    }
}

#[tokio::test]
async fn a_change_on_a_connection_that_was_idle_for_long_is_sent_after_a_probe() {
    let (server, backend) = cut_while_idle(End::Close).await;
    let _ = server.on_procedure(&procedure("RemoveShardMap"), |_| Answer::return_code(1));
    let _ = server.on_statement("SELECT 1", |_| number(1));
    later(Duration::from_secs(6)).await;
    backend.remove_shard_map(MAP.into()).await.unwrap();
    assert_eq!(count(&server, &procedure("RemoveShardMap")), 1);
    // On a fresh connection, and on one that has just served, no probe is needed.
    backend.remove_shard_map(MAP.into()).await.unwrap();
    assert_eq!(count(&server, "SELECT 1"), 0);
    later(Duration::from_secs(6)).await;
    backend.remove_shard_map(MAP.into()).await.unwrap();
    assert_eq!(count(&server, "SELECT 1"), 1);
}

#[tokio::test]
async fn a_read_that_is_cut_anywhere_is_done_again_on_a_reused_connection_only() {
    let answer = || Answer::rows(MAP_COLUMNS, [[MAP.into(), "tenants".into(), 1.into(), 2.into()]]).code(1);
    let wanted = [ShardMapInfo::new(
        ShardMapId::from(MAP),
        ShardMapName::new("tenants").unwrap(),
        ShardMapKind::List,
        shardlet::KeyType::Int64,
    )];
    for at in (0..160).step_by(3) {
        let server = shard_server().await;
        let _ = server.on_procedure(&procedure("ListShardMaps"), move |_| answer());
        server.on_procedure(&procedure("ListShardMaps"), move |_| answer().cut_at(at, End::Close)).times(1);
        let backend = backend(&server, patient());
        let error = backend.shard_maps().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient, "{at}: {error:?}");
        assert_eq!(backend.shard_maps().await.unwrap(), wanted);

        server.on_procedure(&procedure("ListShardMaps"), move |_| answer().cut_at(at, End::Reset)).times(1);
        assert_eq!(backend.shard_maps().await.unwrap(), wanted, "{at}");
        assert_eq!(count(&server, &procedure("ListShardMaps")), 4);
    }
}

#[tokio::test]
async fn a_read_is_done_again_once() {
    let (server, backend) = cut_while_idle(End::Close).await;
    let _ = server.on_procedure(&procedure("ListShardMaps"), |_| Answer::done().cut_at(0, End::Close));
    let error = backend.shard_maps().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    // Twice by the first two, and by this one once, on its second connection.
    assert_eq!(count(&server, &procedure("ListShardMaps")), 3);
}

#[tokio::test]
async fn a_change_that_is_cut_anywhere_is_in_doubt() {
    for at in [0, 1, 4, 9, 15] {
        let server = shard_server().await;
        let _ =
            server.on_procedure(&procedure("RemoveShardMap"), move |_| Answer::return_code(1).cut_at(at, End::Close));
        let backend = backend(&server, patient());
        for times in 1..=2 {
            let error = backend.remove_shard_map(MAP.into()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{at}: {error:?}");
            assert_eq!(count(&server, &procedure("RemoveShardMap")), times);
        }
    }
}

#[tokio::test]
async fn a_statement_that_is_cut_anywhere_is_in_doubt_and_the_next_caller_is_well() {
    for at in 0..40 {
        for end in ENDS {
            let server = shard_server().await;
            server.on_statement(ECHO, move |call| echoed(&call).cut_at(at, end)).times(1);
            let backend = backend(&server, patient());
            let mut connection = validated(&backend, &server).await;
            let error = echo(&mut connection, 1).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{at}: {error:?}");
            let error = echo(&mut connection, 2).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Transient, "{at}: {error:?}");
            drop(connection);
            let mut connection = validated(&backend, &server).await;
            assert_eq!(echo(&mut connection, 3).await.unwrap(), Some(3), "{at}");
            assert_eq!(server.connections().len(), 2);
        }
    }
}

#[tokio::test]
async fn a_statement_in_a_transaction_that_is_cut_is_not_in_doubt() {
    let server = shard_server().await;
    server.on_statement(ECHO, |call| echoed(&call).cut_at(17, End::Reset)).times(1);
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    let mut transaction = connection.begin().await.unwrap();
    let error = echo(&mut transaction, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
    assert!(transaction.commit().await.is_err());
    assert_eq!(server.requests().len(), 3, "validation, begin, statement: no commit went out");
}

#[tokio::test]
async fn a_commit_that_is_cut_is_in_doubt() {
    for at in [0, 5, 15] {
        let server = shard_server().await;
        let _ = server.on_commit(move |call| call.usual().cut_at(at, End::Close));
        let backend = backend(&server, patient());
        let mut connection = validated(&backend, &server).await;
        let mut transaction = connection.begin().await.unwrap();
        assert_eq!(echo(&mut transaction, 1).await.unwrap(), Some(1));
        let error = transaction.commit().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{at}: {error:?}");
        drop(connection);
        soon(server.until(|server| server.open() == 0)).await;
    }
}

#[tokio::test]
async fn a_rollback_or_a_begin_that_is_cut_leaves_nothing_in_doubt() {
    let server = shard_server().await;
    let _ = server.on_rollback(|call| call.usual().cut_at(0, End::Close));
    let backend = backend(&server, patient());
    let mut connection = validated(&backend, &server).await;
    let error = connection.begin().await.unwrap().rollback().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");

    let _ = server.on_begin(|call| call.usual().cut_at(3, End::Close));
    let mut connection = validated(&backend, &server).await;
    let error = connection.begin().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
}

#[tokio::test]
async fn a_lock_that_is_lost_takes_its_session_along() {
    let server = shard_server().await;
    let _ = server.on_statement("sp_getapplock", |call| lock_given(&call));
    let _ = server.on_procedure(&procedure("FindOperation"), |_| Answer::return_code(1));
    let backend = backend(&server, patient());
    let mut session = backend.lock_operation(OperationId::random()).await.unwrap();
    server.cut(End::Close).await;
    let id = OperationId::random();
    for _ in 0..2 {
        // The second does not reach a server, on whichever connection.
        let error = shardlet::gsm::GlobalSession::find_operation(&mut session, id, 100).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::OutcomeUnknown | ErrorKind::Transient), "{error:?}");
    }
    assert_eq!((count(&server, &procedure("FindOperation")), server.connections().len()), (0, 1));
}

/// A shard behind a proxy, and what is routed there.
#[tokio::test]
async fn a_network_that_swallows_an_answer_is_noticed_when_it_ends() {
    let server = shard_server().await;
    let proxy = Proxy::start(server.address()).await;
    let string = crate::endpoint::connection_string(proxy.address(), "global");
    let backend = SqlServer::open_with(&string, patient()).unwrap();
    let _ = server.on_procedure(&procedure("RemoveShardMap"), |_| Answer::return_code(1));
    assert_eq!(backend.shard_maps().await.unwrap(), []);
    proxy.set(Direction::ToClient, &Traffic::Swallow);
    let cut = async {
        soon(server.until(|server| count(server, &procedure("RemoveShardMap")) == 1)).await;
        proxy.cut(End::Reset).await;
        proxy.set(Direction::ToClient, &Traffic::Pass);
    };
    let (removed, ()) = tokio::join!(backend.remove_shard_map(MAP.into()), cut);
    assert_eq!(removed.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(backend.shard_maps().await.unwrap(), []);
    assert_eq!(proxy.links().len(), 2);
}

#[tokio::test]
async fn a_connect_that_is_cut_after_any_number_of_bytes_fails_and_the_next_succeeds() {
    let server = shard_server().await;
    let proxy = Proxy::start(server.address()).await;
    let string = crate::endpoint::connection_string(proxy.address(), "global");
    let backend = SqlServer::open_with(&string, patient()).unwrap();
    for (direction, most) in [(Direction::ToClient, 150), (Direction::ToServer, 250)] {
        for bytes in (1..most).step_by(7) {
            proxy.set(direction, &Traffic::CutAfter(bytes, End::Reset));
            let error = backend.shard_maps().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{direction:?} {bytes}: {error:?}");
        }
        proxy.set(direction, &Traffic::Pass);
    }
    assert_eq!(backend.shard_maps().await.unwrap(), []);
    soon(proxy.until(|proxy| proxy.open() == 1)).await;
}

#[tokio::test]
async fn a_network_that_is_slow_changes_nothing() {
    let server = shard_server().await;
    let proxy = Proxy::start(server.address()).await;
    let string = crate::endpoint::connection_string(proxy.address(), "global");
    let backend = SqlServer::open_with(&string, patient()).unwrap();
    let gates = [Gate::new(), Gate::new()];
    proxy.set(Direction::ToClient, &Traffic::Hold(gates[0].clone()));
    let connecting = async {
        gates[0].reached().await;
        gates[0].open();
    };
    let (maps, ()) = tokio::join!(backend.shard_maps(), connecting);
    assert_eq!(maps.unwrap(), []);
    proxy.set(Direction::ToServer, &Traffic::Hold(gates[1].clone()));
    let asking = async {
        gates[1].reached().await;
        gates[1].open();
    };
    let (maps, ()) = tokio::join!(backend.shard_maps(), asking);
    assert_eq!(maps.unwrap(), []);
    assert_eq!(proxy.links().len(), 1);
}
