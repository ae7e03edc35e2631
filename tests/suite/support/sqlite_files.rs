//! Stores on SQLite that tests fill and read row by row, through connections of the driver's own to their files.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::path::PathBuf;

use serde_json::{Map, Value};
use shardlet::rusqlite::types::Value as Cell;
use shardlet::rusqlite::{Connection, ToSql};
use shardlet::{NoCredentials, ShardLocation, Sqlite};
use tempfile::TempDir;

use super::declared::{Column, Constraint, Table, statement};
use super::golden_files::{golden_location, unhex};
use super::raw_stores::{RawStores, Row, Store, install};
use super::{contents, directory, sqlite};

/// Where databases of the golden data are in a directory.
pub trait Names {
    fn location(database: &str) -> ShardLocation;
}

/// Where they were.
pub struct SameNames;

impl Names for SameNames {
    fn location(database: &str) -> ShardLocation {
        golden_location(database)
    }
}

/// Under names that differ in every part, as on a server that a run of tests shares with others.
pub struct OtherNames;

impl Names for OtherNames {
    fn location(database: &str) -> ShardLocation {
        let location = ShardLocation::new("db-7", format!("run_12_{database}"));
        if database == "gold_s0" { location.with_port(14330) } else { location }
    }
}

/// A directory with stores.
pub struct SqliteFiles<N> {
    directory: TempDir,
    names: PhantomData<N>,
}

impl<N: Names> SqliteFiles<N> {
    fn open(&self, store: Store) -> Connection {
        let file = match store {
            Store::Global => PathBuf::from("gsm.db"),
            Store::Local(database) => {
                let place = N::location(database);
                PathBuf::from(format!("shards/{}/{}.db", place.server(), place.database()))
            }
        };
        let file = self.directory.path().join(file);
        assert!(file.exists(), "{} is missing", file.display());
        let connection = contents::raw(&file);
        // What is loaded is held against the rules of the store.
        connection.execute_batch("PRAGMA foreign_keys = ON; PRAGMA ignore_check_constraints = OFF").unwrap();
        connection
    }
}

impl<N: Names> RawStores for SqliteFiles<N> {
    type Backend = Sqlite;

    async fn empty_stores(databases: &[&'static str]) -> Self {
        let directory = directory();
        let places: Vec<_> = databases.iter().map(|database| N::location(database)).collect();
        install(sqlite(&directory), &places).await;
        Self { directory, names: PhantomData }
    }

    fn backend(&self) -> Sqlite {
        sqlite(&self.directory)
    }

    fn credentials(&self) -> NoCredentials {
        NoCredentials
    }

    fn location(&self, database: &str) -> ShardLocation {
        N::location(database)
    }

    async fn load(&self, store: Store, tables: &Map<String, Value>) {
        let mut connection = self.open(store);
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
                let columns = columns.join(", ");
                let sql = format!(r#"INSERT INTO "__ShardManagement.{table}" ({columns}) VALUES ({places})"#);
                let _ = transaction.execute(&sql, &cells[..]).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    async fn rows(&self, store: Store, table: &str) -> Vec<Row> {
        let connection = self.open(store);
        let mut statement = connection.prepare(&format!(r#"SELECT * FROM "__ShardManagement.{table}""#)).unwrap();
        let columns: Vec<String> = statement.column_names().map(ToOwned::to_owned).collect();
        let mut rows = statement.query([]).unwrap();
        let mut found = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let value = |(index, column): (usize, &String)| {
                let cell: Cell = row.get(index).unwrap();
                (column.clone(), value(column, cell))
            };
            found.push(columns.iter().enumerate().map(value).collect());
        }
        found
    }

    async fn declared(&self, store: Store, table: &str) -> Table {
        let connection = self.open(store);
        let table = format!("__ShardManagement.{table}");
        let sql: String = connection
            .query_row("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1", [&table], |row| row.get(0))
            .unwrap();
        let mut columns =
            connection.prepare(r#"SELECT name, type, "notnull", dflt_value FROM pragma_table_info(?1)"#).unwrap();
        let columns = columns.query_map([&table], |row| {
            let name: String = row.get(0)?;
            // SQLite names a collation in the text only.
            let declared = sql.lines().find(|line| line.trim_start().starts_with(&format!("\"{name}\" "))).unwrap();
            let collation = declared.split_once("COLLATE ").map(|(_, rest)| rest.trim_end_matches(',').to_owned());
            let not_null: bool = row.get(2)?;
            Ok(Column { name, data_type: row.get(1)?, nullable: !not_null, collation, default: row.get(3)? })
        });
        Table { columns: columns.unwrap().map(Result::unwrap).collect(), constraints: constraints(&sql).collect() }
    }

    async fn declare(&self, store: Store, tables: &BTreeMap<String, Table>, _routines: &[&str]) {
        let connection = self.open(store);
        connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        // Ours, too: the reference library's stores do not have them.
        let mut there = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '\\_\\_ShardManagement.%' ESCAPE '\\'")
            .unwrap();
        let there: Vec<String> = there.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert!(there.len() >= store.tables().len(), "{there:?}");
        for table in there {
            connection.execute_batch(&format!("DROP TABLE \"{table}\"")).unwrap();
        }
        for table in store.tables() {
            let sql = statement(table, &tables[*table], full, |name| format!("\"{name}\""), true);
            connection.execute_batch(&format!("{sql} STRICT")).unwrap();
        }
    }

    async fn run(&self, store: Store, statement: &str, table: &str) {
        self.open(store).execute_batch(&statement.replace("{table}", &full(table))).unwrap();
    }

    async fn routines(&self, _store: Store) -> Option<BTreeSet<String>> {
        None
    }

    fn type_here(&self, type_there: &str) -> String {
        let name = type_there.split('(').next().unwrap();
        match name {
            "uniqueidentifier" | "nvarchar" | "xml" => "TEXT",
            "int" | "bit" => "INTEGER",
            "varbinary" => "BLOB",
            other => panic!("a type that SQLite has no match for: {other}"),
        }
        .to_owned()
    }
}

/// The full name of a table.
fn full(table: &str) -> String {
    format!("\"__ShardManagement.{table}\"")
}

/// The named constraints in the text of a table, which is the only place where SQLite keeps their names.
fn constraints(sql: &str) -> impl Iterator<Item = Constraint> {
    let between = |text: &str, before: char, after: char| -> (String, String) {
        let (_, rest) = text.split_once(before).unwrap();
        let (inner, rest) = rest.split_once(after).unwrap();
        (inner.to_owned(), rest.to_owned())
    };
    let names = |list: String| -> Vec<String> {
        list.split(',').map(|name| name.trim().trim_matches('"').to_owned()).collect()
    };
    sql.split("CONSTRAINT ").skip(1).map(move |text| {
        let (name, rest) = between(text, '"', '"');
        let kind = rest.split('(').next().unwrap().trim().to_lowercase();
        let (columns, rest) = between(&rest, '(', ')');
        let references = rest.trim_start().starts_with("REFERENCES").then(|| {
            let (table, rest) = between(&rest, '"', '"');
            let (columns, _) = between(&rest, '(', ')');
            format!("{}({})", table.trim_start_matches("__ShardManagement."), names(columns).join(", "))
        });
        Constraint { name, kind, columns: names(columns), references }
    })
}

fn cell(column: &str, value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Bool(bit) => Cell::Integer(i64::from(*bit)),
        Value::Number(number) => Cell::Integer(number.as_i64().unwrap()),
        Value::String(hex) if ["MinValue", "MaxValue"].contains(&column) => Cell::Blob(unhex(hex)),
        Value::String(text) => Cell::Text(text.clone()),
        Value::Array(_) | Value::Object(_) => panic!("column {column} is no value"),
    }
}

fn value(column: &str, cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(bit) if column == "Readable" => Value::Bool(bit != 0),
        Cell::Integer(number) => number.into(),
        Cell::Text(text) => text.into(),
        Cell::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        Cell::Real(_) => panic!("column {column} holds a float"),
    }
}
