//! Ending the sessions of a mapping: what is looked for, what is ended, and when it is given up.

use std::time::Duration;

use shardlet::lsm::{LocalSession, LocalStore, SessionEnding};
use shardlet::{EncodedRange, ErrorCode, ErrorKind, OperationId, SessionPolicy, ShardKey, ShardMapKind, SqlServer};

use crate::backend::{MAP, MAPPING, SHORT, backend, count, patient, procedure, shard_at};
use crate::endpoint::{Answer, Endpoint};
use crate::store::{killed, sessions, store};

fn ending(policy: SessionPolicy) -> SessionEnding {
    let keys = EncodedRange { low: 0_i64.encode().unwrap(), high: Some(100_i64.encode().unwrap()) };
    SessionEnding { map: MAP.into(), kind: ShardMapKind::Range, mappings: vec![(MAPPING.into(), keys)], policy }
}

async fn end(server: &Endpoint, backend: &SqlServer, policy: SessionPolicy) -> shardlet::Result<usize> {
    let mut session = backend.lock_operation_at(&shard_at(server, "shard_0"), OperationId::random()).await.unwrap();
    session.end_sessions(&ending(policy)).await.map(|ended| ended.ended)
}

#[tokio::test]
async fn sessions_are_ended_by_their_number_and_login() {
    let server = store().await;
    sessions(&server, 1);
    let backend = backend(&server, patient());
    assert_eq!(end(&server, &backend, SessionPolicy::EndNow).await.unwrap(), 1);
    let killed = server.requests().into_iter().find(|call| call.text() == procedure("KillSessions")).unwrap();
    let list: serde_json::Value = serde_json::from_str(&killed.get::<String>("@sessions")).unwrap();
    let [session] = &list.as_array().unwrap()[..] else { panic!("one session: {list}") };
    assert_eq!((&session["id"], &session["login"]), (&51.into(), &"2020-01-01T00:00:00".into()));
    // What was listed is what may be killed: the stamp of this map, and no other that the session may carry by then.
    let stamp = session["stamp"].as_str().unwrap();
    assert!(stamp.starts_with(&format!("0x{}{}", "534c5431", MAP.simple())), "{stamp}");
    let looked = server.requests().into_iter().find(|call| call.text() == procedure("ListSessions")).unwrap();
    assert_eq!(looked.get::<String>("@program"), "", "the reference library's sessions are not looked for");

    assert_eq!(end(&server, &backend, SessionPolicy::EndNow).await.unwrap(), 0);
    let wide = crate::backend::backend(&server, patient().ends_reference_sessions(true));
    assert_eq!(end(&server, &wide, SessionPolicy::EndNow).await.unwrap(), 0);
    let looked = server.requests().into_iter().rfind(|call| call.text() == procedure("ListSessions")).unwrap();
    assert_eq!(looked.get::<String>("@program"), format!("ESC_SMMv2.0.0_User{MAP}"));
}

#[tokio::test]
async fn sessions_that_close_by_themselves_are_not_ended() {
    let server = store().await;
    sessions(&server, 3);
    let backend = backend(&server, patient());
    let patience = SessionPolicy::Drain(Duration::from_secs(60));
    assert_eq!(end(&server, &backend, patience).await.unwrap(), 0);
    assert_eq!((count(&server, &procedure("ListSessions")), count(&server, &procedure("KillSessions"))), (4, 0));
    sessions(&server, 3);
    assert_eq!(end(&server, &backend, SessionPolicy::Leave).await.unwrap(), 0);
    assert_eq!(count(&server, &procedure("ListSessions")), 4);
}

#[tokio::test]
async fn sessions_that_cannot_be_ended_are_told_with_the_servers_number() {
    let server = store().await;
    sessions(&server, usize::MAX);
    let _ = server.on_procedure(&procedure("KillSessions"), |_| killed(None, 6102));
    let limits = patient().timeouts.command(SHORT);
    let backend = backend(&server, patient().timeouts(limits));
    let error = end(&server, &backend, SessionPolicy::EndNow).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, ErrorCode::MappingsKillConnectionFailure));
    assert!(error.to_string().contains("6102"), "{error}");
}

#[tokio::test]
async fn a_login_that_may_not_see_sessions_is_told_so() {
    let server = store().await;
    let _ = server.on_procedure(&procedure("ListSessions"), |_| Answer::return_code(305));
    let backend = backend(&server, patient());
    let error = end(&server, &backend, SessionPolicy::EndNow).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, ErrorCode::MappingsKillConnectionFailure));
}
