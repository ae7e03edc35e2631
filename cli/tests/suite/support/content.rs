//! All that is in the databases below a directory, read past the library, to tell whether anything was changed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use shardlet::rusqlite::Connection;
use shardlet::rusqlite::types::Value;

/// The databases below a directory.
fn databases(directory: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            databases(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "db") {
            into.push(path);
        }
    }
}

/// The rows of every table of every database below a directory, by the database's path and the table's name.
pub fn content(directory: &Path) -> BTreeMap<String, Vec<String>> {
    let mut files = Vec::new();
    databases(directory, &mut files);
    let mut content = BTreeMap::new();
    for file in files {
        let name = file.strip_prefix(directory).unwrap().to_str().unwrap();
        for (table, rows) in tables(&file) {
            let _ = content.insert(format!("{name} {table}"), rows);
        }
    }
    content
}

fn tables(file: &Path) -> Vec<(String, Vec<String>)> {
    let connection = Connection::open(file).unwrap();
    // The tables compare text as SQL Server does; sorting is done here.
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table'";
    let names: Vec<String> =
        connection.prepare(names).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    names.into_iter().map(|name| (name.clone(), rows(&connection, &name))).collect()
}

fn rows(connection: &Connection, table: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
    let columns = statement.column_count();
    let mut found = statement.query([]).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = found.next().unwrap() {
        let mut text = String::new();
        for column in 0..columns {
            write!(text, "{:?} ", row.get::<_, Value>(column).unwrap()).unwrap();
        }
        rows.push(text);
    }
    rows.sort();
    rows
}
