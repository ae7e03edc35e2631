//! Stores that tests fill and read row by row, behind the library's back, on any backend.
//!
//! A backend takes part by an implementation of [`RawStores`]. Rows have the form of the golden data: `varbinary` is
//! hexadecimal digits, `bit` a boolean, a GUID text in lower case, XML text. Databases go by their names in the golden data;
//! where they really are, [`RawStores::location`] says, and what rows and log documents say of server, database, protocol
//! and port is translated here, on the way into the stores and in what is expected of them.

use std::collections::{BTreeMap, BTreeSet};

use roxmltree::{Document, Node};
use serde_json::{Map, Value, json};
use shardlet::backend::Backend;
use shardlet::{ListShardMap, Options, ShardLocation, ShardMapManager, Stores};

use super::declared::Table;
use super::golden_files::{DATABASES, canonical, golden_location};

/// A row: column to value.
pub type Row = Map<String, Value>;

/// The tables of a global store, parents before children.
pub const GLOBAL_TABLES: [&str; 6] = [
    "ShardMapManagerGlobal",
    "ShardMapsGlobal",
    "ShardsGlobal",
    "ShardMappingsGlobal",
    "OperationsLogGlobal",
    "ShardedDatabaseSchemaInfosGlobal",
];

/// The tables of a local store, parents before children.
pub const LOCAL_TABLES: [&str; 4] = ["ShardMapManagerLocal", "ShardMapsLocal", "ShardsLocal", "ShardMappingsLocal"];

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Store {
    Global,
    /// Of the shard in the database that the golden data calls so.
    Local(&'static str),
}

impl Store {
    /// Every store.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Global).chain(DATABASES.map(Self::Local))
    }

    pub fn tables(self) -> &'static [&'static str] {
        match self {
            Self::Global => &GLOBAL_TABLES,
            Self::Local(_) => &LOCAL_TABLES,
        }
    }

    /// The tables of this store in a state; empty but for the version where the state does not have the store.
    fn of_state(self, state: &Value) -> Map<String, Value> {
        let tables = match self {
            Self::Global => &state["gsm"],
            Self::Local(database) => &state["lsm"][database],
        };
        let version = json!([{"StoreVersionMajor": 1, "StoreVersionMinor": 2}]);
        let empty = |table: &&str| {
            let rows = if table.starts_with("ShardMapManager") { version.clone() } else { json!([]) };
            ((*table).to_owned(), rows)
        };
        match tables.as_object() {
            Some(tables) => {
                let known: BTreeSet<_> = self.tables().iter().copied().collect();
                assert_eq!(tables.keys().map(String::as_str).collect::<BTreeSet<_>>(), known, "tables of {self:?}");
                tables.clone()
            }
            None => self.tables().iter().map(empty).collect(),
        }
    }
}

/// A place with a global store and local stores, of a test's own.
pub trait RawStores: Sized {
    type Backend: Stores;

    /// Whether stores are filled in milliseconds, so that tests may do it some hundred times.
    const IS_FAST: bool = true;

    /// Makes a global store, and local stores for these databases, all empty. [`install`] does what is not special.
    async fn empty_stores(databases: &[&'static str]) -> Self;

    /// A new client, with pools of its own.
    fn backend(&self) -> Self::Backend;

    fn credentials(&self) -> <Self::Backend as Backend>::Credentials;

    /// Where the database is that the golden data calls so.
    fn location(&self, database: &str) -> ShardLocation;

    /// Replaces all rows of the tables given by theirs, in one transaction. Rows that refer to others may come before them:
    /// delete from the children up, insert from the parents down, as [`Store::tables`] has them.
    async fn load(&self, store: Store, tables: &Map<String, Value>);

    /// All rows of a table with all columns, in any order.
    async fn rows(&self, store: Store, table: &str) -> Vec<Row>;

    /// A table as the engine says that it was declared.
    async fn declared(&self, store: Store, table: &str) -> Table;

    /// Replaces the tables of a store by those given, as they are declared, and with what else the reference library has at
    /// that version: procedures and functions of these names, `procedure x` or `function x`, where the engine has such.
    async fn declare(&self, store: Store, tables: &BTreeMap<String, Table>, routines: &[&str]);

    /// Runs a statement past the library, in which `{table}` stands for the full name of a table of the store.
    async fn run(&self, store: Store, statement: &str, table: &str);

    /// The names of the procedures and functions that are in a store, in lower case; `None` where the engine has none.
    async fn routines(&self, store: Store) -> Option<BTreeSet<String>>;

    /// The engine's type for one of SQL Server's, in the words that [`declared`](Self::declared) uses.
    fn type_here(&self, type_there: &str) -> String {
        type_there.to_owned()
    }
}

/// Makes a global store and local stores at these places through the library, all empty.
pub async fn install<B: Stores>(backend: B, places: &[ShardLocation]) {
    let manager = ShardMapManager::open_or_create(backend, Options::default()).await.unwrap();
    let map: ListShardMap<i32, _> = manager.create_list_shard_map("map").await.unwrap();
    for place in places {
        let shard = map.create_shard(place).await.unwrap();
        map.delete_shard(shard).await.unwrap();
    }
    manager.delete_shard_map("map").await.unwrap();
}

/// The places of all databases of the golden data.
pub fn places<E: RawStores>(env: &E) -> [ShardLocation; 3] {
    DATABASES.map(|database| env.location(database))
}

/// Puts a state of the golden data into the stores. Those that it does not have become empty.
pub async fn load_state<E: RawStores>(env: &E, state: &Value) {
    for store in Store::all() {
        let mut tables = store.of_state(state);
        for (table, rows) in &mut tables {
            for row in rows.as_array_mut().unwrap() {
                translate(env, table, row.as_object_mut().unwrap());
            }
        }
        env.load(store, &tables).await;
    }
}

/// Rows by store and table.
pub type Rows = BTreeMap<(Store, &'static str), Vec<Row>>;

/// The rows that the stores hold once a state of the golden data is in them.
pub fn golden_rows<E: RawStores>(env: &E, state: &Value) -> Rows {
    let mut all = BTreeMap::new();
    for store in Store::all() {
        let tables = store.of_state(state);
        for table in store.tables() {
            let mut found: Vec<_> = rows_of(&tables[*table]).cloned().collect();
            found.iter_mut().for_each(|row| translate(env, table, row));
            drop(all.insert((store, *table), found));
        }
    }
    all
}

/// A row of the golden data as a line of [`lines`].
pub fn golden_line<E: RawStores>(env: &E, store: Store, table: &str, row: &Value) -> String {
    let mut row = row.as_object().unwrap().clone();
    translate(env, table, &mut row);
    line(store, table, &row)
}

/// The rows that the stores hold.
pub async fn stored_rows<E: RawStores>(env: &E) -> Rows {
    let mut all = BTreeMap::new();
    for store in Store::all() {
        for table in store.tables() {
            drop(all.insert((store, *table), env.rows(store, table).await));
        }
    }
    all
}

/// Rows as lines to compare.
pub fn lines(rows: &Rows) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for ((store, table), rows) in rows {
        for row in rows {
            assert!(lines.insert(line(*store, table, row)), "a row twice");
        }
    }
    lines
}

/// Fails unless the stores hold these rows and no others.
pub async fn assert_rows<E: RawStores>(env: &E, expected: &BTreeSet<String>, case: &str) {
    let stored = lines(&stored_rows(env).await);
    let missing: Vec<_> = expected.difference(&stored).collect();
    let instead: Vec<_> = stored.difference(expected).collect();
    assert!(missing.is_empty() && instead.is_empty(), "{case}: missing {missing:#?}, instead {instead:#?}");
}

fn rows_of(table: &Value) -> impl Iterator<Item = &Row> {
    table.as_array().unwrap().iter().map(|row| row.as_object().unwrap())
}

/// The columns of a row in the order of their names.
pub fn columns(row: &Row) -> BTreeMap<&str, &Value> {
    row.iter().map(|(column, value)| (column.as_str(), value)).collect()
}

/// A row as a line. Documents are compared as such: engines write them in their own ways.
fn line(store: Store, table: &str, row: &Row) -> String {
    let mut line = format!("{store:?} {table}:");
    for (column, value) in columns(row) {
        let value = match value {
            Value::String(document) if is_document(column) => canonical(document),
            other => other.to_string(),
        };
        line.push_str(&format!(" {column}={value}"));
    }
    line
}

fn is_document(column: &str) -> bool {
    ["Data", "SchemaInfo"].contains(&column)
}

/// Turns a row of the golden data into the row that it has to be here.
fn translate<E: RawStores>(env: &E, table: &str, row: &mut Row) {
    match table {
        "ShardsGlobal" | "ShardsLocal" => {
            let database = row["DatabaseName"].as_str().unwrap();
            let there = golden_location(database);
            assert_eq!(row["ServerName"], there.server(), "{row:?}");
            assert_eq!(row["Protocol"], there.protocol() as i32, "{row:?}");
            assert_eq!(row["Port"], there.port().unwrap_or(0), "{row:?}");
            let here = env.location(database);
            row["ServerName"] = here.server().into();
            row["DatabaseName"] = here.database().into();
            row["Protocol"] = (here.protocol() as i32).into();
            row["Port"] = here.port().unwrap_or(0).into();
        }
        "OperationsLogGlobal" => {
            let document = translate_document(row["Data"].as_str().unwrap(), |database| env.location(database));
            row["Data"] = document.into();
        }
        _ => {}
    }
}

/// Replaces the elements of a log document that say where a shard is. Leaves the text as it is where all stay the same.
pub fn translate_document(document: &str, here: impl Fn(&str) -> ShardLocation) -> String {
    let child = |location: Node<'_, '_>, name: &str| {
        location.children().find(|node| node.has_tag_name(name)).unwrap().text().unwrap().to_owned()
    };
    let parsed = Document::parse(document).unwrap();
    let locations = parsed.descendants().filter(|node| node.has_tag_name("Location"));
    let mut translated = document.to_owned();
    // From the end, so that ranges stay right.
    for location in locations.collect::<Vec<_>>().into_iter().rev() {
        let database = child(location, "DatabaseName");
        let there = golden_location(&database);
        assert_eq!(child(location, "ServerName"), there.server());
        assert_eq!(child(location, "Protocol"), (there.protocol() as i32).to_string());
        assert_eq!(child(location, "Port"), there.port().unwrap_or(0).to_string());
        let place = here(&database);
        if place.to_string() != there.to_string() {
            let element = format!(
                "<Location><Protocol>{}</Protocol><ServerName>{}</ServerName><Port>{}</Port><DatabaseName>{}</DatabaseName></Location>",
                place.protocol() as i32,
                escaped(place.server()),
                place.port().unwrap_or(0),
                escaped(place.database())
            );
            translated.replace_range(location.range(), &element);
        }
    }
    translated
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
