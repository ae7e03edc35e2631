//! A small store that the endpoint plays: one map of ranges, two shards, one mapping. It answers every procedure and changes
//! nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shardlet::ShardKey;
use uuid::Uuid;

use crate::backend::{
    MAP, MAP_COLUMNS, MAPPING, RELEASE, RESET, ROLLBACK, SETTINGS, VERSION, lock_given, procedure, script,
    takes_stamp_away,
};
use crate::endpoint::{Answer, Call, Endpoint, Request, Type, Value};

pub const SHARDS: [Uuid; 2] = [Uuid::from_u128(0xC1), Uuid::from_u128(0xC2)];
pub const DATABASES: [&str; 2] = ["shard_0", "shard_1"];

const SHARD_COLUMNS: [(&str, Type); 8] = [
    ("ShardId", Type::Uuid),
    ("Version", Type::Uuid),
    ("ShardMapId", Type::Uuid),
    ("Protocol", Type::Int),
    ("ServerName", Type::Text),
    ("Port", Type::Int),
    ("DatabaseName", Type::Text),
    ("Status", Type::Int),
];

const MAPPING_COLUMNS: [(&str, Type); 6] = [
    ("MappingId", Type::Uuid),
    ("ShardMapId", Type::Uuid),
    ("MinValue", Type::Bytes),
    ("MaxValue", Type::Bytes),
    ("Status", Type::Int),
    ("LockOwnerId", Type::Uuid),
];

fn map_row() -> Vec<Value> {
    vec![MAP.into(), "orders".into(), 2.into(), 2.into()]
}

fn shard_row(port: i32, number: usize) -> Vec<Value> {
    vec![
        SHARDS[number].into(),
        VERSION.into(),
        MAP.into(),
        0.into(),
        "127.0.0.1".into(),
        port.into(),
        DATABASES[number].into(),
        1.into(),
    ]
}

/// The mapping of `[0, 100)` to the first shard.
fn mapping_row(port: i32) -> Vec<Value> {
    let key = |key: i64| Value::from(key.encode().unwrap().as_bytes());
    let mut row = vec![MAPPING.into(), MAP.into(), key(0), key(100), 1.into(), Uuid::nil().into()];
    row.extend(shard_row(port, 0));
    row
}

fn mapping_columns() -> Vec<(&'static str, Type)> {
    [&MAPPING_COLUMNS[..], &SHARD_COLUMNS[..]].concat()
}

/// An endpoint that is the store.
pub async fn store() -> Endpoint {
    let server = Endpoint::start().await;
    script(&server);
    let port = i32::from(server.address().port());
    let on = |name: &str, answer: Answer| {
        let _ = server.on_procedure(&procedure(name), move |_| answer.clone());
    };
    let done = || Answer::return_code(1);
    for name in [
        "AddShardMap",
        "RemoveShardMap",
        "DescribeShard",
        "ListShardDescriptions",
        "ListSchemaInfos",
        "FindSchemaInfo",
        "AddSchemaInfo",
        "UpdateSchemaInfo",
        "RemoveSchemaInfo",
        "ListOperations",
        "FindOperation",
        "BeginShard",
        "BeginMappings",
        "AddLocalShard",
        "RemoveLocalShard",
        "UpdateLocalShard",
        "ChangeLocalMappings",
    ] {
        on(name, done());
    }
    on("ListShardMaps", Answer::rows(MAP_COLUMNS, [map_row()]).code(1));
    let _ = server.on_procedure(&procedure("FindShardMap"), |call| match &*call.get::<String>("@name") {
        "orders" => Answer::rows(MAP_COLUMNS, [map_row()]).code(1),
        _ => Answer::done().columns(MAP_COLUMNS).code(1),
    });
    on("ListShards", Answer::rows(SHARD_COLUMNS, [shard_row(port, 0), shard_row(port, 1)]).code(1));
    let _ = server.on_procedure(&procedure("FindShard"), move |call| {
        let database: String = call.get("@database");
        let found = DATABASES.iter().position(|known| *known == database);
        Answer::rows(SHARD_COLUMNS, found.map(|number| shard_row(port, number))).code(1)
    });
    let places = SHARD_COLUMNS[3..7].to_vec();
    on("ListShardLocations", Answer::rows(places, [0, 1].map(|number| shard_row(port, number)[3..7].to_vec())).code(1));
    for name in ["ListMappings", "FindMappingByKey", "FindMappingById"] {
        on(name, Answer::rows(mapping_columns(), [mapping_row(port)]).code(1));
    }
    let all = Answer::rows(MAP_COLUMNS, [map_row()]).columns(mapping_columns()).row(mapping_row(port));
    on("LoadAll", all.code(1));
    on("ChangeLock", Answer::rows([("", Type::Int)], [[1.into()]]).code(1));
    for name in ["EndShard", "EndMappings"] {
        on(name, Answer::rows([("", Type::Int)], [[0.into()]]).code(1));
    }
    on("KillSessions", killed(Some(51), 0));
    let _ = server.on_statement("sp_getapplock", |call| lock_given(&call));
    sessions(&server, 0);
    server
}

/// What the shards say of the sessions that they were to end: the one that they ended, and the last error.
pub fn killed(session: Option<i32>, error: i32) -> Answer {
    let killed = session.map_or_else(String::new, |id| format!("{id} "));
    let columns = [("SessionIds", Type::Text), ("ErrorNumber", Type::Int)];
    Answer::rows(columns, [[killed.as_str().into(), error.into()]]).code(1)
}

/// The shards show a session of the mapping to that many looks, and then none.
pub fn sessions(server: &Endpoint, looks: usize) {
    let left = Arc::new(AtomicUsize::new(looks));
    let columns = [
        ("session_id", Type::Int),
        ("login_time", Type::Text),
        ("context_info", Type::Bytes),
        ("kind", Type::Int),
        ("request", Type::Text),
    ];
    let _ = server.on_procedure(&procedure("ListSessions"), move |call: Call| {
        let shown = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        let session = || {
            // What the stamp of a key's session begins with, the mapping, and the key.
            let mut stamp: Vec<u8> = call.get("@prefix");
            stamp.extend(MAPPING.as_bytes());
            let key = 7_i64.encode().unwrap();
            stamp.push(u8::try_from(key.as_bytes().len()).unwrap());
            stamp.extend(key.as_bytes());
            vec![51.into(), "2020-01-01T00:00:00".into(), stamp.into(), 0.into(), "".into()]
        };
        Answer::rows(columns, shown.then(session)).columns(columns).code(1)
    });
}

/// A request to the global store, to a shard, or what takes away the traces of a connection's user when it goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Global,
    Shard,
    Cleaning,
}

pub fn kind(call: &Call) -> Kind {
    match call.request() {
        Request::Procedure { name, .. } if name == RESET => Kind::Cleaning,
        Request::Batch(text) if text.starts_with(SETTINGS) || text == ROLLBACK => Kind::Cleaning,
        Request::Statement { text, .. } if text.contains(RELEASE) || takes_stamp_away(call) => Kind::Cleaning,
        _ if call.connection().login().database == "global" => Kind::Global,
        _ => Kind::Shard,
    }
}

/// From now on the mapping has another id, as after an update.
pub fn remapped(server: &Endpoint, id: Uuid) {
    let mut row = mapping_row(i32::from(server.address().port()));
    row[0] = id.into();
    let _ = server
        .on_procedure(&procedure("FindMappingByKey"), move |_| Answer::rows(mapping_columns(), [row.clone()]).code(1));
}

/// An unfinished operation, which was begun by that call, is in the way of the next one.
pub fn pending(server: &Endpoint, begun: &Call) {
    let row: Vec<Value> = vec![
        begun.get::<Uuid>("@operation").into(),
        begun.get::<i32>("@code").into(),
        begun.get::<String>("@data").into(),
        100.into(),
        VERSION.into(),
        VERSION.into(),
    ];
    let columns = [
        ("OperationId", Type::Uuid),
        ("OperationCode", Type::Int),
        ("Data", Type::LongText),
        ("UndoStartState", Type::Int),
        ("ShardVersionRemoves", Type::Uuid),
        ("ShardVersionAdds", Type::Uuid),
    ];
    for (name, code) in [("BeginMappings", 52), ("FindOperation", 1)] {
        let answer = Answer::rows(columns, [row.clone()]).code(code);
        server.on_procedure(&procedure(name), move |_| answer.clone()).times(1);
    }
}
