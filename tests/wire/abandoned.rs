//! Futures that are dropped while the server is still at work: the connection says at once that it is of no more use, and is
//! closed without waiting for the answer.

use std::future::Future;

use shardlet::gsm::GlobalStore;
use shardlet::lsm::LocalStore;
use shardlet::{ErrorKind, OperationId, SqlServer, SqlServerConnection, Validation};

use crate::backend::{
    ECHO, backend, echo, echoed, lock_given, patient, procedure, routed, shard_at, shard_server, soon,
};
use crate::endpoint::{Answer, Endpoint};
use crate::gate::Gate;

/// Drops a future when the server has its request and does not answer.
async fn abandon<T>(gate: &Gate, work: impl Future<Output = T>) {
    soon(async {
        tokio::select! {
            _ = work => panic!("nobody has answered"),
            () = gate.reached() => {}
        }
    })
    .await;
}

async fn opened(validation: Validation) -> (Endpoint, SqlServer, SqlServerConnection) {
    let server = shard_server().await;
    let backend = backend(&server, patient());
    let connection = routed(&backend, &server, validation).await.unwrap();
    (server, backend, connection)
}

/// The connection is of no more use, says so without asking, and is closed.
async fn is_lost(server: &Endpoint, mut connection: SqlServerConnection) {
    let before = server.requests().len();
    soon(async {
        assert_eq!(echo(&mut connection, 1).await.unwrap_err().kind(), ErrorKind::Transient);
        let executed = connection.execute(ECHO, &[&1_i32]).await;
        assert_eq!(executed.unwrap_err().kind(), ErrorKind::Transient);
        assert_eq!(connection.begin().await.unwrap_err().kind(), ErrorKind::Transient);
        assert_eq!(connection.simple_query("x").await.unwrap_err().kind(), ErrorKind::Transient);
        assert_eq!(connection.bulk_insert("x", &["y"]).await.unwrap_err().kind(), ErrorKind::Transient);
        assert_eq!(connection.into_raw().await.unwrap_err().kind(), ErrorKind::Transient);
        server.until(|server| server.open() == 0).await;
    })
    .await;
    assert_eq!(server.requests().len(), before);
}

#[tokio::test]
async fn statements() {
    for kind in 0..4 {
        let (server, _backend, mut connection) = opened(Validation::Validate).await;
        let gate = Gate::new();
        let (held, batch, begin) = (gate.clone(), gate.clone(), gate.clone());
        let _ = server.on_statement(ECHO, move |call| echoed(&call).held(&held));
        let _ = server.on_batch("batch", move |_| Answer::done().held(&batch));
        let _ = server.on_begin(move |call| call.usual().held(&begin));
        match kind {
            0 => abandon(&gate, connection.query(ECHO, &[&7_i32])).await,
            1 => abandon(&gate, connection.execute(ECHO, &[&7_i32])).await,
            2 => abandon(&gate, connection.simple_query("batch")).await,
            _ => abandon(&gate, connection.begin()).await,
        }
        is_lost(&server, connection).await;
    }
}

#[tokio::test]
async fn the_ends_of_transactions() {
    for commits in [true, false] {
        let (server, _backend, mut connection) = opened(Validation::Validate).await;
        let gate = Gate::new();
        let (commit, rollback) = (gate.clone(), gate.clone());
        let _ = server.on_commit(move |call| call.usual().held(&commit));
        let _ = server.on_rollback(move |call| call.usual().held(&rollback));
        let transaction = connection.begin().await.unwrap();
        if commits {
            abandon(&gate, transaction.commit()).await;
        } else {
            abandon(&gate, transaction.rollback()).await;
        }
        is_lost(&server, connection).await;
    }
}

#[tokio::test]
async fn the_stamp_before_the_first_statement() {
    let (server, _backend, mut connection) = opened(Validation::None).await;
    let gate = Gate::new();
    let held = gate.clone();
    let _ = server.on_statement("SET CONTEXT_INFO", move |_| Answer::done().held(&held));
    abandon(&gate, echo(&mut connection, 7)).await;
    is_lost(&server, connection).await;
}

#[tokio::test]
async fn requests_to_stores_and_locks() {
    for kind in 0..4 {
        let server = shard_server().await;
        let backend = backend(&server, patient());
        let gate = Gate::new();
        let (maps, lock, validation) = (gate.clone(), gate.clone(), gate.clone());
        let _ = server.on_procedure(&procedure("ListShardMaps"), move |_| Answer::return_code(1).held(&maps));
        let _ = server.on_procedure(&procedure("ValidateMapping"), move |_| Answer::return_code(1).held(&validation));
        let _ = server.on_statement("sp_getapplock", move |call| lock_given(&call).held(&lock));
        let place = shard_at(&server, "shard_0");
        match kind {
            0 => abandon(&gate, backend.shard_maps()).await,
            1 => abandon(&gate, backend.lock_operation(OperationId::random())).await,
            2 => abandon(&gate, backend.lock_operation_at(&place, OperationId::random())).await,
            _ => abandon(&gate, routed(&backend, &server, Validation::Validate)).await,
        }
        soon(server.until(|server| server.open() == 0)).await;
        assert_eq!(server.requests().len(), 1);
    }
}
