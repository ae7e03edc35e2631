//! The backend as a client of the endpoint, and answers to the requests that every test of it meets.

use std::time::Duration;

use shardlet::lsm::{LocalStore, Route, RouteTarget};
use shardlet::{
    Result, ShardKey, ShardLocation, ShardMapKind, SqlCredentials, SqlServer, SqlServerConnection, SqlServerOptions,
    Timeouts, Validation,
};
use uuid::Uuid;

use crate::endpoint::{Answer, Call, Endpoint, Request, Type};

pub const MAP: Uuid = Uuid::from_u128(0xA1);
pub const MAPPING: Uuid = Uuid::from_u128(0xB1);
pub const SHARD: Uuid = Uuid::from_u128(0xC1);
pub const VERSION: Uuid = Uuid::from_u128(0xD1);

/// A statement whose answer is the value of its parameter.
pub const ECHO: &str = "SELECT @P1 AS echo";

/// The procedure that lets the server forget a user.
pub const RESET: &str = "sys.sp_reset_connection";

/// Part of the batch that follows each reset.
pub const SETTINGS: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// Part of the question for the tables that a store misses.
pub const MISSING_TABLES: &str = "OBJECT_ID(N'__ShardManagement.' + t.name";

/// Part of the statement that releases the lock of an operation.
pub const RELEASE: &str = "sp_releaseapplock";

/// The batch that ends what may be left of a transaction, before a reset.
pub const ROLLBACK: &str = "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION";

/// Part of the question for the engine, where the session context may have been used.
pub const ENGINE: &str = "SERVERPROPERTY('babelfish')";

/// The name of one of our procedures.
pub fn procedure(name: &str) -> String {
    format!("__ShardManagement.shardlet1_{name}")
}

/// An endpoint that answers what the backend asks of a shard that is well, and [`ECHO`].
pub async fn shard_server() -> Endpoint {
    let server = Endpoint::start().await;
    script(&server);
    server
}

pub fn script(server: &Endpoint) {
    for name in ["ValidateMapping", "ValidateShard"] {
        let _ = server.on_procedure(&procedure(name), |_| Answer::return_code(1));
    }
    let _ = server.on_procedure(&procedure("ListShardMaps"), |_| no_maps());
    let versions = [("StoreVersionMajor", Type::Int), ("StoreVersionMinor", Type::Int)];
    let _ = server.on_statement("ShardMapManager", move |_| Answer::rows(versions, [[1.into(), 2.into()]]));
    let _ = server.on_statement(MISSING_TABLES, |_| Answer::done().columns([("name", Type::Text)]));
    // As a server does, it says that it has rolled back what was open.
    let _ = server.on_procedure(RESET, |call| ended(&call));
    let _ = server.on_batch(ROLLBACK, |call| ended(&call));
    let _ = server.on_statement("@@TRANCOUNT", |call| number(i32::from(call.transaction() != 0)));
    let _ = server.on_statement("SET CONTEXT_INFO", |_| Answer::done());
    let _ = server.on_batch(SETTINGS, |call: Call| {
        Answer::rows([("", Type::Text)], [[call.connection().login().database.clone().into()]])
    });
    let _ = server.on_batch(ENGINE, |_| number(0));
    let _ = server.on_statement(RELEASE, |_| Answer::done());
    let _ = server.on_statement(ECHO, |call| echoed(&call));
    let _ = server.on_statement("sp_getapplock", |call| lock_given(&call));
}

/// What was open is rolled back.
fn ended(call: &Call) -> Answer {
    if call.transaction() == 0 { Answer::done() } else { Answer::done().rolled_back() }
}

/// The answer to [`ECHO`].
pub fn echoed(call: &Call) -> Answer {
    number(call.get("@P1"))
}

/// One row with one number.
pub fn number(value: i32) -> Answer {
    Answer::rows([("n", Type::Int)], [[value.into()]])
}

/// The lock of an operation is free.
pub fn lock_given(call: &Call) -> Answer {
    let name: String = call.get("@P1");
    Answer::rows([("got", Type::Int), ("resource", Type::Text)], [[0.into(), name.into()]])
}

pub const MAP_COLUMNS: [(&str, Type); 4] =
    [("ShardMapId", Type::Uuid), ("Name", Type::Text), ("ShardMapType", Type::Int), ("KeyType", Type::Int)];

/// The answer of `ListShardMaps` where there are none.
pub fn no_maps() -> Answer {
    Answer::done().columns(MAP_COLUMNS).code(1)
}

/// Limits that no test reaches by itself.
pub fn patient() -> SqlServerOptions {
    let long = Duration::from_secs(60);
    let limits = Timeouts::default().connect(long).command(long).pool_wait(long).operation_lock(long);
    SqlServerOptions::default().timeouts(limits)
}

/// A limit that tests wait for, and in which a busy machine still answers.
pub const SHORT: Duration = Duration::from_millis(500);

/// A backend whose global store is at the endpoint.
pub fn backend(server: &Endpoint, options: SqlServerOptions) -> SqlServer {
    SqlServer::open_with(&server.connection_string("global"), options).unwrap()
}

pub fn application() -> SqlCredentials {
    SqlCredentials::login("application", "of its own")
}

/// A shard at the endpoint.
pub fn shard_at(server: &Endpoint, database: &str) -> ShardLocation {
    ShardLocation::new(server.address().ip().to_string(), database).with_port(server.address().port())
}

/// The route of a key to a shard.
pub fn route(location: ShardLocation) -> Route {
    let target =
        RouteTarget::Mapping { mapping: MAPPING.into(), kind: ShardMapKind::List, key: 7_i64.encode().unwrap() };
    Route { location, map: MAP.into(), target }
}

/// Opens a connection for the key to the shard `shard_0`.
pub async fn routed(backend: &SqlServer, server: &Endpoint, validation: Validation) -> Result<SqlServerConnection> {
    backend.open_routed(&route(shard_at(server, "shard_0")), &application(), validation).await
}

pub async fn validated(backend: &SqlServer, server: &Endpoint) -> SqlServerConnection {
    routed(backend, server, Validation::Validate).await.unwrap()
}

/// Asks for a number and gives what came back.
pub async fn echo(connection: &mut SqlServerConnection, value: i32) -> Result<Option<i32>> {
    let row = connection.query(ECHO, &[&value]).await?.into_row().await?;
    Ok(row.and_then(|row| row.get(0)))
}

/// A call that a test makes by name: how often it came.
pub fn count(server: &Endpoint, name: &str) -> usize {
    server.requests().iter().filter(|call| called(call, name)).count()
}

/// True if a call is that of the procedure, or the text of a statement or batch contains this.
pub fn called(call: &Call, name: &str) -> bool {
    match call.request() {
        Request::Procedure { name: procedure, .. } => procedure == name,
        _ => !name.starts_with("__ShardManagement") && call.text().contains(name),
    }
}

/// Waits until so many resets have come, and what follows each.
pub async fn resets(server: &Endpoint, wanted: usize) {
    soon(server.until(|server| count(server, RESET) >= wanted && count(server, SETTINGS) >= wanted)).await;
}

/// Waits until so many releases of locks have come.
pub async fn releases(server: &Endpoint, wanted: usize) {
    soon(server.until(|server| count(server, RELEASE) >= wanted)).await;
}

/// True if a call takes the stamp of its session away.
pub fn takes_stamp_away(call: &Call) -> bool {
    called(call, "SET CONTEXT_INFO @stamp") && call.get::<Vec<u8>>("@P1").is_empty()
}

/// What has to happen by itself; where it does not, the test fails instead of hanging.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("what was waited for did not happen")
}

/// Lets the clock of the runtime go on by so much at once. Limits that it passes run out.
pub async fn later(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}
