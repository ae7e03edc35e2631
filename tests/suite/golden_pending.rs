//! Operations that clients of the reference library left pending are undone by ours, to the same rows.
//!
//! The rows of each file in `tests/data/pending` are put into SQLite stores. Then a client of ours meets the stamped
//! rows; it is dropped right after it has undone the pending operation, and the stores are compared, row by row, with what
//! the reference library's undo left. Then the operation that met them is done to its end.
//!
//! Every column is compared, `LastOperationId` too, which an undo sets as the reference library's does. A pending attach
//! (code 16) blocks clients of the reference library; we undo it, so the stores have to be as they were before it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use shardlet::gsm::GlobalStore;
use shardlet::rusqlite::{Connection, ToSql, types::Value as Cell};
use shardlet::{
    ErrorKind, ListShardMap, LockToken, Mapping, Operation, Options, Protocol, RangeShardMap, Result, Shard, ShardId,
    ShardLocation, ShardMap, ShardMapManager, ShardStatus, ShardVersion, Sqlite, Stores,
};
use tempfile::TempDir;
use uuid::Uuid;

use crate::log_records::pending_files;
use crate::support::consistency::assert_consistent;
use crate::support::probe::{Call, Fault, Probe};
use crate::support::{directory, quick, sqlite};

const DATABASES: [&str; 3] = ["gold_s0", "gold_s1", "gold_s2"];

/// Where the reference library had registered a database.
fn golden_location(database: &str) -> ShardLocation {
    let location = ShardLocation::new("127.0.0.1", database);
    if database == "gold_s1" { location.with_protocol(Protocol::Tcp).with_port(1433) } else { location }
}

fn global_file(directory: &TempDir) -> PathBuf {
    directory.path().join("gsm.db")
}

fn local_file(directory: &TempDir, database: &str) -> PathBuf {
    directory.path().join(format!("shards/127.0.0.1/{database}.db"))
}

fn open(file: &Path) -> Connection {
    let connection = Connection::open(file).unwrap();
    connection
        .create_collation("SQL_Latin1_General_CP1_CI_AS", |a: &str, b: &str| a.to_lowercase().cmp(&b.to_lowercase()))
        .unwrap();
    connection
}

/// Makes empty stores in a directory: a global one and three local ones.
async fn empty_stores(directory: &TempDir) {
    let manager = ShardMapManager::open_or_create(sqlite(directory), Options::default()).await.unwrap();
    let map: ListShardMap<i32, _> = manager.create_list_shard_map("map").await.unwrap();
    for database in DATABASES {
        let shard = map.create_shard(&golden_location(database)).await.unwrap();
        map.delete_shard(shard).await.unwrap();
    }
    manager.delete_shard_map("map").await.unwrap();
}

/// Replaces all rows of the tables of a store.
fn load(file: &Path, tables: &Map<String, Value>) {
    let mut connection = open(file);
    let transaction = connection.transaction().unwrap();
    transaction.pragma_update(None, "defer_foreign_keys", true).unwrap();
    for (table, rows) in tables {
        let _ = transaction.execute(&format!(r#"DELETE FROM "__ShardManagement.{table}""#), []).unwrap();
        for row in rows.as_array().unwrap() {
            let row = row.as_object().unwrap();
            let columns: Vec<_> = row.keys().map(|column| format!("\"{column}\"")).collect();
            let cells: Vec<_> = row.iter().map(|(column, value)| cell(column, value)).collect();
            let cells: Vec<&dyn ToSql> = cells.iter().map(|cell| cell as &dyn ToSql).collect();
            let places = vec!["?"; columns.len()].join(", ");
            let sql = format!(r#"INSERT INTO "__ShardManagement.{table}" ({}) VALUES ({places})"#, columns.join(", "));
            let _ = transaction.execute(&sql, &cells[..]).unwrap();
        }
    }
    transaction.commit().unwrap();
}

fn cell(column: &str, value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Bool(bit) => Cell::Integer(i64::from(*bit)),
        Value::Number(number) => Cell::Integer(number.as_i64().unwrap()),
        Value::String(hex) if ["MinValue", "MaxValue"].contains(&column) => {
            let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
            Cell::Blob(bytes.collect())
        }
        Value::String(text) => Cell::Text(text.clone()),
        Value::Array(_) | Value::Object(_) => panic!("column {column} is no value"),
    }
}

/// A row as a line.
fn line(place: &str, table: &str, row: &Map<String, Value>) -> String {
    let mut line = format!("{place} {table}:");
    let mut columns: Vec<_> = row.iter().collect();
    columns.sort_by_key(|(column, _)| *column);
    for (column, value) in columns {
        line.push_str(&format!(" {column}={:?}", cell(column, value)));
    }
    line
}

/// The rows of a state of both stores, as a file has them.
fn golden_rows(state: &Value) -> BTreeSet<String> {
    let global = std::iter::once(("gsm", &state["gsm"]));
    let local = state["lsm"].as_object().unwrap().iter().map(|(database, tables)| (database.as_str(), tables));
    let mut lines = BTreeSet::new();
    for (place, tables) in global.chain(local) {
        for (table, rows) in tables.as_object().unwrap() {
            for row in rows.as_array().unwrap() {
                assert!(lines.insert(line(place, table, row.as_object().unwrap())), "a row twice");
            }
        }
    }
    lines
}

/// The rows of the stores in a directory, for the tables and columns that the file has.
fn stored_rows(directory: &TempDir, file: &Value) -> BTreeSet<String> {
    let global = std::iter::once(("gsm", global_file(directory), &file["gsm"]));
    let local = file["lsm"].as_object().unwrap().iter();
    let local = local.map(|(database, tables)| (database.as_str(), local_file(directory, database), tables));
    let mut lines = BTreeSet::new();
    for (place, path, tables) in global.chain(local) {
        let connection = open(&path);
        for table in tables.as_object().unwrap().keys() {
            let mut statement = connection.prepare(&format!(r#"SELECT * FROM "__ShardManagement.{table}""#)).unwrap();
            let columns: Vec<String> = statement.column_names().map(ToOwned::to_owned).collect();
            let mut rows = statement.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let mut sorted: Vec<(&String, Cell)> =
                    columns.iter().enumerate().map(|(index, column)| (column, row.get(index).unwrap())).collect();
                sorted.sort_by_key(|(column, _)| *column);
                let cells: Vec<_> = sorted.iter().map(|(column, cell)| format!(" {column}={cell:?}")).collect();
                assert!(lines.insert(format!("{place} {table}:{}", cells.concat())), "a row twice");
            }
        }
    }
    lines
}

/// What the stores have to hold once the operation is undone.
fn rows_after_undo(file: &Value) -> BTreeSet<String> {
    let mut rows = golden_rows(&file["after_undo"]);
    if file["operation_code"] != 16 {
        return rows;
    }
    // The reference library undoes nothing here; it says how its stores differ from those before the operation.
    let difference = file["difference_of_after_undo_to_state_before_operation"].as_object().unwrap();
    for (table, difference) in difference {
        let (place, table) = table.rsplit_once('/').unwrap();
        let place = place.strip_prefix("lsm/").unwrap_or(place);
        // The local store's row differs in its LastOperationId only, which attaching sets and an undo leaves.
        if place != "gsm" {
            continue;
        }
        assert_eq!(difference["only_before"], Value::Array(vec![]));
        for row in difference["only_after"].as_array().unwrap() {
            assert!(rows.remove(&line(place, table, row.as_object().unwrap())), "{table}");
        }
    }
    rows
}

/// What a client does that meets the pending operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touch {
    /// Updates a stamped shard, presenting an old version, so that after the undo it is refused.
    StaleShard,
    /// Creates a shard where one is being added.
    CreateShard,
    /// Locks a stamped mapping.
    LockMapping,
}

/// How the touching client has to fare in the end.
async fn touch<M: Mapping, B: Stores>(map: ShardMap<M, B>, touch: Touch, stamped: Stamped) -> Result<()> {
    match touch {
        Touch::StaleShard => {
            let old =
                Shard::new(stamped.shard, ShardVersion::random(), map.id(), stamped.location, ShardStatus::Online);
            let update: Operation<Shard> = map.update_shard(old, ShardStatus::Online);
            update.await.map(drop)
        }
        Touch::CreateShard => map.create_shard(&stamped.location).await.map(drop),
        Touch::LockMapping => {
            let mappings = map.mappings().await?;
            let mapping =
                mappings.into_iter().find(|mapping| Some(mapping.record().id.to_string()) == stamped.mapping).unwrap();
            map.lock_mapping(mapping, LockToken::random()).await.map(drop)
        }
    }
}

/// What the pending operation has stamped.
#[derive(Clone)]
struct Stamped {
    shard: ShardId,
    location: ShardLocation,
    /// A mapping that is readable, and whether it is locked.
    mapping: Option<String>,
    locked: bool,
}

impl Stamped {
    fn of(file: &Value, operation: &str) -> Self {
        let rows = |table: &str| file["gsm"][table].as_array().unwrap().clone().into_iter();
        let stamped = |row: &Value| row["OperationId"] == operation;
        let shard = rows("ShardsGlobal").find(stamped).unwrap();
        let mapping = rows("ShardMappingsGlobal").find(|row| stamped(row) && row["Readable"] == true);
        Self {
            shard: ShardId::from(Uuid::parse_str(shard["ShardId"].as_str().unwrap()).unwrap()),
            location: golden_location(shard["DatabaseName"].as_str().unwrap()),
            locked: mapping.as_ref().is_some_and(|row| row["LockOwnerId"] != LockToken::NONE.to_string().as_str()),
            mapping: mapping.map(|row| row["MappingId"].as_str().unwrap().to_owned()),
        }
    }
}

async fn run<B: Stores>(backend: B, file: &Value, how: Touch, stamped: Stamped) -> Result<()> {
    let manager = ShardMapManager::open(backend, Options::default()).await?;
    if file["client_view"]["type"] == "List" {
        let map: ListShardMap<i32, _> = manager.list_shard_map("map").await?;
        touch(map, how, stamped).await
    } else {
        let map: RangeShardMap<i32, _> = manager.range_shard_map("map").await?;
        touch(map, how, stamped).await
    }
}

async fn undo(name: &str, file: &Value, how: Touch) {
    let about = format!("{name}, {how:?}");
    let directory = directory();
    empty_stores(&directory).await;
    load(&global_file(&directory), file["gsm"].as_object().unwrap());
    for (database, tables) in file["lsm"].as_object().unwrap() {
        load(&local_file(&directory, database), tables.as_object().unwrap());
    }
    let operation = file["gsm"]["OperationsLogGlobal"][0]["OperationId"].as_str().unwrap();
    assert_eq!(stored_rows(&directory, file), golden_rows(file), "{about}: rows as loaded");
    let stamped = Stamped::of(file, operation);

    // The client goes away between the undo and its own operation.
    let probe = Probe::new(Sqlite::open_with(directory.path(), quick()).unwrap());
    probe.inject(Call::EndUndo, 1, Fault::HoldAfter);
    tokio::select! {
        result = run(probe.clone(), file, how, stamped.clone()) => panic!("{about}: nothing was undone: {result:?}"),
        () = probe.held() => {}
    }
    let expected = rows_after_undo(file);
    let stored = stored_rows(&directory, file);
    let lost: Vec<_> = expected.difference(&stored).collect();
    let wrong: Vec<_> = stored.difference(&expected).collect();
    assert!(lost.is_empty() && wrong.is_empty(), "{about}: missing {lost:#?}, instead {wrong:#?}");
    assert!(probe.inner().pending_operations().await.unwrap().is_empty(), "{about}");

    let result = run(probe.inner().clone(), file, how, stamped.clone()).await;
    let attach = file["operation_code"] == 16;
    let refusal = match how {
        Touch::StaleShard => Some(ErrorKind::Stale),
        Touch::LockMapping => stamped.locked.then_some(ErrorKind::Locked),
        // The local store still knows the shard that was to be attached, with its mappings.
        Touch::CreateShard => attach.then_some(ErrorKind::AlreadyExists),
    };
    assert_eq!(result.as_ref().err().map(|error| error.kind()), refusal, "{about}: {result:?}");
    if !attach {
        assert_consistent(probe.inner(), &DATABASES.map(golden_location), &about).await;
    }
}

/// Undoes what was left pending with one of the codes, met in every way in which it can be met.
async fn undo_all(codes: &[i64]) {
    let mut count = 0;
    for (name, file) in pending_files() {
        let code = file["operation_code"].as_i64().unwrap();
        if !codes.contains(&code) {
            continue;
        }
        let operation = file["gsm"]["OperationsLogGlobal"][0]["OperationId"].as_str().unwrap();
        let adds_shard = [1, 16].contains(&code);
        undo(&name, &file, if adds_shard { Touch::CreateShard } else { Touch::StaleShard }).await;
        if Stamped::of(&file, operation).mapping.is_some() {
            undo(&name, &file, Touch::LockMapping).await;
        }
        count += 1;
    }
    assert!(count > 0, "no files of {codes:?}");
}

#[tokio::test]
async fn shards() {
    undo_all(&[1, 2, 3]).await;
}

#[tokio::test]
async fn a_pending_attach_is_undone_where_the_reference_library_fails() {
    undo_all(&[16]).await;
}

#[tokio::test]
async fn point_mappings() {
    undo_all(&[4, 6, 7]).await;
}

#[tokio::test]
async fn range_mappings() {
    undo_all(&[8, 9, 10]).await;
}

#[tokio::test]
async fn splits() {
    undo_all(&[14]).await;
}

#[test]
fn every_file_is_undone_by_one_of_these_tests() {
    let codes: BTreeSet<_> = pending_files().iter().map(|(_, file)| file["operation_code"].as_i64().unwrap()).collect();
    assert_eq!(codes, BTreeSet::from([1, 2, 3, 4, 6, 7, 8, 9, 10, 14, 16]));
}
