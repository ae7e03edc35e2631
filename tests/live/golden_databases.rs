//! Databases on the server that tests of golden data fill and read row by row.
//!
//! What Babelfish cannot tell: it folds the names of constraints to lower case, so they are compared without regard to case, and
//! it has one collation for what SQL Server calls `SQL_Latin1_General_CP1_CI_AS` and some others.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};
use shardlet::tiberius::{self, ToSql};
use shardlet::{ShardLocation, SqlCredentials, SqlServer, SqlServerOptions};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::server::{Databases, Direct, credentials, is_babelfish};
use crate::support::declared::{Column, Constraint, Table, statement};
use crate::support::golden_files::{DATABASES, golden_file, rows, text, unhex};
use crate::support::raw_stores::{RawStores, Row, Store, install};

pub struct GoldenDatabases {
    /// One for all that ask, as the first calls on a new connection are slow on Babelfish, and there are hundreds of states.
    client: SqlServer,
    /// Past the library, one to each store. Before the databases, so that they close first.
    direct: Mutex<BTreeMap<Store, Direct>>,
    databases: Databases,
    /// What stores are like at each version, by kind of store.
    golden: Value,
}

impl GoldenDatabases {
    fn database(&self, store: Store) -> String {
        match store {
            Store::Global => self.databases.global(),
            Store::Local(database) => self.databases.shard(number(database)),
        }
    }

    async fn with<T>(&self, store: Store, ask: impl AsyncFnOnce(&mut Direct) -> T) -> T {
        let mut direct = self.direct.lock().await;
        let direct = match direct.entry(store) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => place.insert(Direct::to(&self.database(store)).await),
        };
        ask(direct).await
    }

    /// Name and type of the columns of a table.
    fn columns(&self, store: Store, table: &str) -> Vec<(&str, &str)> {
        let columns = rows(&self.declared_there(store)[table], "columns");
        columns.iter().map(|column| (text(column, "name"), text(column, "type").split('(').next().unwrap())).collect()
    }

    fn declared_there(&self, store: Store) -> &Value {
        let kind = if store == Store::Global { "gsm" } else { "lsm" };
        &self.golden[kind]["1.2"]["declared"]
    }

    /// A name as it was declared, where the engine has folded it.
    fn unfolded(&self, store: Store, name: &str, folds: bool) -> String {
        let kind = if store == Store::Global { "gsm" } else { "lsm" };
        let versions = ["1.2", "1.0"].map(|version| self.golden[kind][version]["declared"].as_object().unwrap());
        let known = versions.into_iter().flatten().flat_map(|(table, declared)| {
            let named = ["columns", "constraints"].into_iter().flat_map(|kind| rows(declared, kind));
            std::iter::once(table.as_str()).chain(named.map(|it| text(it, "name")))
        });
        let mut same = known.filter(|known| folds && known.eq_ignore_ascii_case(name));
        same.next().unwrap_or(name).to_owned()
    }
}

fn number(database: &str) -> usize {
    DATABASES.iter().position(|known| *known == database).unwrap()
}

impl RawStores for GoldenDatabases {
    type Backend = SqlServer;

    const IS_FAST: bool = false;

    async fn empty_stores(databases: &[&'static str]) -> Self {
        assert!(DATABASES.starts_with(databases));
        let made = Databases::create(DATABASES.len()).await;
        let places: Vec<_> = databases.iter().map(|database| made.location(number(database))).collect();
        let client = made.backend(SqlServerOptions::default());
        install(client.clone(), &places).await;
        Self { client, direct: Mutex::default(), databases: made, golden: golden_file("store-versions.json") }
    }

    fn backend(&self) -> SqlServer {
        self.client.clone()
    }

    fn credentials(&self) -> SqlCredentials {
        credentials()
    }

    fn location(&self, database: &str) -> ShardLocation {
        self.databases.location(number(database))
    }

    async fn load(&self, store: Store, tables: &Map<String, Value>) {
        let fill = async |direct: &mut Direct| {
            direct.run("BEGIN TRANSACTION").await;
            let given = || store.tables().iter().filter(|table| tables.contains_key(**table));
            for table in given().rev() {
                direct.run(&format!("DELETE FROM __ShardManagement.{table}")).await;
            }
            for table in given() {
                let types: HashMap<_, _> = self.columns(store, table).into_iter().collect();
                for row in tables[*table].as_array().unwrap() {
                    let cells = row.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
                    let (columns, values): (Vec<_>, Vec<_>) = cells
                        .map(|(column, value)| (format!("[{column}]"), cell(types[column.as_str()], value)))
                        .unzip();
                    let places: Vec<_> = (1..=values.len()).map(|number| format!("@P{number}")).collect();
                    let (columns, places) = (columns.join(", "), places.join(", "));
                    let sql = format!("INSERT INTO __ShardManagement.{table} ({columns}) VALUES ({places})");
                    let values: Vec<&dyn ToSql> = values.iter().map(|value| value.as_ref() as &dyn ToSql).collect();
                    assert_eq!(direct.execute(&sql, &values).await, 1);
                }
            }
            direct.run("COMMIT TRANSACTION").await;
        };
        self.with(store, fill).await;
    }

    async fn rows(&self, store: Store, table: &str) -> Vec<Row> {
        let columns = self.columns(store, table);
        let selected = columns.iter().map(|(column, data_type)| match *data_type {
            // Drivers may read xml as they like; the text is the same for all.
            "xml" => format!("CONVERT(nvarchar(max), [{column}])"),
            _ => format!("[{column}]"),
        });
        let sql = format!("SELECT {} FROM __ShardManagement.{table}", selected.collect::<Vec<_>>().join(", "));
        let found = self.with(store, async |direct| direct.rows(&sql, &[]).await).await;
        let value = |row: &tiberius::Row, at: usize, data_type: &str| match data_type {
            "uniqueidentifier" => row.get::<Uuid, _>(at).map(|id| id.to_string().into()),
            "int" => row.get::<i32, _>(at).map(Value::from),
            "bit" => row.get::<bool, _>(at).map(Value::from),
            "varbinary" => row.get::<&[u8], _>(at).map(|bytes| hex(bytes).into()),
            "nvarchar" | "xml" => row.get::<&str, _>(at).map(Value::from),
            other => panic!("no column is of type {other}"),
        };
        let read = |row: &tiberius::Row| {
            let cells = columns.iter().enumerate();
            cells
                .map(|(at, (column, kind))| ((*column).to_owned(), value(row, at, kind).unwrap_or(Value::Null)))
                .collect()
        };
        found.iter().map(read).collect()
    }

    async fn declared(&self, store: Store, table: &str) -> Table {
        let folds = is_babelfish().await;
        let name = |name: Option<&str>| self.unfolded(store, name.unwrap(), folds);
        let ask = async |sql: &str| self.with(store, async |direct| direct.rows(sql, &[&table]).await).await;
        let columns = ask("SELECT COLUMN_NAME, DATA_TYPE, CONVERT(int, CHARACTER_MAXIMUM_LENGTH), IS_NULLABLE, \
             COLLATION_NAME, COLUMN_DEFAULT FROM INFORMATION_SCHEMA.COLUMNS \
             WHERE TABLE_SCHEMA = '__ShardManagement' AND TABLE_NAME = @P1 ORDER BY ORDINAL_POSITION")
        .await;
        let columns = columns.iter().map(|row| {
            let length = row.get::<i32, _>(2).filter(|length| *length > 0);
            let collation = row.get::<&str, _>(4).map(|collation| match collation {
                "bbf_unicode_cp1_ci_as" => "SQL_Latin1_General_CP1_CI_AS".to_owned(),
                other => other.to_owned(),
            });
            // Babelfish adds the type to the value.
            let default = row.get::<&str, _>(5).map(|default| default.split("::").next().unwrap().to_owned());
            Column {
                name: name(row.get(0)),
                data_type: row.get::<&str, _>(1).unwrap().to_owned()
                    + &length.map(|length| format!("({length})")).unwrap_or_default(),
                nullable: row.get::<&str, _>(3) == Some("YES"),
                collation,
                default,
            }
        });
        let columns = columns.collect();
        let keys = ask("SELECT t.CONSTRAINT_NAME, t.CONSTRAINT_TYPE, k.COLUMN_NAME \
             FROM INFORMATION_SCHEMA.TABLE_CONSTRAINTS AS t JOIN INFORMATION_SCHEMA.KEY_COLUMN_USAGE AS k \
             ON k.CONSTRAINT_SCHEMA = t.CONSTRAINT_SCHEMA AND k.CONSTRAINT_NAME = t.CONSTRAINT_NAME \
             WHERE t.TABLE_SCHEMA = '__ShardManagement' AND LOWER(t.TABLE_NAME) = LOWER(@P1) \
             ORDER BY t.CONSTRAINT_NAME, k.ORDINAL_POSITION")
        .await;
        let foreign = ask("SELECT f.name, OBJECT_NAME(f.referenced_object_id), \
             COL_NAME(c.referenced_object_id, c.referenced_column_id) \
             FROM sys.foreign_keys AS f JOIN sys.foreign_key_columns AS c ON c.constraint_object_id = f.object_id \
             WHERE f.parent_object_id = OBJECT_ID('__ShardManagement.' + @P1) ORDER BY f.name, c.constraint_column_id")
        .await;
        let mut constraints: Vec<Constraint> = Vec::new();
        for row in &keys {
            let constraint = name(row.get(0));
            match constraints.last_mut().filter(|last| last.name == constraint) {
                Some(last) => last.columns.push(name(row.get(2))),
                None => constraints.push(Constraint {
                    name: constraint,
                    kind: row.get::<&str, _>(1).unwrap().to_lowercase(),
                    columns: vec![name(row.get(2))],
                    references: None,
                }),
            }
        }
        for constraint in &mut constraints {
            let references: Vec<_> = foreign.iter().filter(|row| name(row.get(0)) == constraint.name).collect();
            let columns: Vec<_> = references.iter().map(|row| name(row.get(2))).collect();
            constraint.references =
                references.first().map(|row| format!("{}({})", name(row.get(1)), columns.join(", ")));
        }
        Table { columns, constraints: BTreeSet::from_iter(constraints) }
    }

    async fn declare(&self, store: Store, tables: &BTreeMap<String, Table>, routines: &[&str]) {
        let declare = async |direct: &mut Direct| {
            for table in store.tables().iter().rev() {
                direct.run(&format!("DROP TABLE {}", full(table))).await;
            }
            for table in store.tables() {
                let sql = statement(table, &tables[*table], full, |name| format!("[{name}]"), false);
                direct.run(&sql).await;
            }
            for routine in routines {
                let (kind, name) = routine.split_once(' ').unwrap();
                let body = match kind {
                    "procedure" => "AS SELECT 1",
                    _ => "() RETURNS int AS BEGIN RETURN 1 END",
                };
                direct.run(&format!("DROP {kind} IF EXISTS {}", full(name))).await;
                direct.run(&format!("CREATE {kind} {} {body}", full(name))).await;
            }
        };
        self.with(store, declare).await;
    }

    async fn run(&self, store: Store, statement: &str, table: &str) {
        self.with(store, async |direct| direct.run(&statement.replace("{table}", &full(table))).await).await;
    }

    async fn routines(&self, store: Store) -> Option<BTreeSet<String>> {
        let sql = "SELECT LOWER(ROUTINE_NAME) FROM INFORMATION_SCHEMA.ROUTINES WHERE LOWER(ROUTINE_SCHEMA) = '__shardmanagement'";
        let rows = self.with(store, async |direct| direct.rows(sql, &[]).await).await;
        Some(rows.iter().map(|row| row.get::<&str, _>(0).unwrap().to_owned()).collect())
    }
}

/// The full name of a table or a routine.
fn full(name: &str) -> String {
    format!("__ShardManagement.[{name}]")
}

fn cell(data_type: &str, value: &Value) -> Box<dyn ToSql> {
    match (data_type, value) {
        ("uniqueidentifier", Value::String(id)) => Box::new(Uuid::parse_str(id).unwrap()),
        ("int", Value::Number(number)) => Box::new(i32::try_from(number.as_i64().unwrap()).unwrap()),
        ("bit", Value::Bool(bit)) => Box::new(*bit),
        ("varbinary", Value::String(digits)) => Box::new(unhex(digits)),
        ("nvarchar" | "xml", Value::String(text)) => Box::new(text.clone()),
        _ => panic!("{value} is no {data_type}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
