//! Everything that the stores hold, as text to compare: through the contracts, or straight from the files.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shardlet::gsm::RecordFilter;
use shardlet::model::MappingRecord;
use shardlet::rusqlite::{Connection, types::ValueRef};
use shardlet::{ShardMapManager, Stores};

fn mapping(record: &MappingRecord) -> String {
    let high = record.high.as_ref().map_or_else(|| "+inf".to_owned(), ToString::to_string);
    format!(
        "{} [{}:{high}) {} on {} at {}, locked by {}",
        record.id,
        record.low,
        record.status,
        record.shard.id(),
        record.shard.version(),
        record.lock_owner
    )
}

/// The global store and the local stores of its shards. A line for each map, shard, mapping and unfinished operation.
pub async fn contents<B: Stores>(manager: &ShardMapManager<B>) -> String {
    let stores = manager.backend();
    let mut text = String::new();
    for map in manager.shard_maps().await.unwrap() {
        writeln!(text, "map {map:?}").unwrap();
        let mut shards = stores.shards(map.id()).await.unwrap();
        shards.sort_by(|a, b| a.location().cmp(b.location()));
        for shard in shards {
            writeln!(text, "  shard {shard:?}").unwrap();
        }
        for record in stores.mappings(&map, &RecordFilter::default()).await.unwrap() {
            writeln!(text, "  mapping {}", mapping(&record)).unwrap();
        }
    }
    let mut pending = stores.pending_operations().await.unwrap();
    pending.sort_by_key(|entry| entry.id);
    for entry in pending {
        writeln!(text, "pending {entry:?}").unwrap();
    }
    for location in manager.shard_locations().await.unwrap() {
        writeln!(text, "local {location}").unwrap();
        let mut shards = stores.local_shards(&location).await.unwrap();
        shards.sort_by_key(|(map, _)| map.id());
        for (map, shard) in shards {
            writeln!(text, "  shard {shard:?} of {map:?}").unwrap();
            for record in stores.local_mappings(&location, map.id()).await.unwrap() {
                writeln!(text, "  mapping {}", mapping(&record)).unwrap();
            }
        }
    }
    text
}

/// A connection of the driver's own to a file of a store, without the checks that keep a store whole.
pub fn raw(file: &Path) -> Connection {
    let connection = Connection::open(file).unwrap();
    // As the library compares names; statements on the tables need it.
    connection
        .create_collation("SQL_Latin1_General_CP1_CI_AS", |a: &str, b: &str| {
            let folded = |name: &str| name.trim_end_matches(' ').to_lowercase();
            folded(a).cmp(&folded(b))
        })
        .unwrap();
    connection.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON").unwrap();
    connection
}

/// Waits until nobody has a database open: pools that were dropped close their connections in the background.
pub async fn closed(file: &Path) {
    let last = async {
        // Who closes it last takes away what stands beside it.
        loop {
            let ours = raw(file);
            let _: i64 = ours.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
            drop(ours);
            if !parts(file)[1..].iter().any(|part| part.exists()) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let closed = tokio::time::timeout(Duration::from_secs(60), last).await;
    assert!(closed.is_ok(), "somebody has {} open", file.display());
}

/// A database with its log, as it lies in its directory.
pub fn parts(file: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{}{end}", file.display())))
}

/// Takes a database away, with its log. Who still has it open keeps it.
pub fn remove(file: &Path) {
    std::fs::remove_file(file).unwrap();
    for part in &parts(file)[1..] {
        // Its last connection may take it away meanwhile.
        let removed = std::fs::remove_file(part);
        assert!(removed.is_ok() || removed.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound));
    }
}

/// Writes into a file of a store what no client writes. Every statement has to change at least one row.
pub fn spoil(file: &Path, sql: &str) {
    let connection = raw(file);
    let changed = connection.execute(sql, []).unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert!(changed > 0, "{sql}: changed nothing");
}

/// The file of the global store below a directory.
pub fn global_file(directory: &Path) -> PathBuf {
    directory.join("gsm.db")
}

/// The file of the numbered test shard below a directory.
pub fn shard_file(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("shards/server/shard_{number}.db"))
}

/// The rows of all tables of all databases below a directory.
pub fn rows(directory: &Path) -> BTreeMap<PathBuf, Vec<String>> {
    databases(directory).into_iter().map(|file| (file.clone(), rows_of(&file))).collect()
}

fn databases(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(databases(&path));
        } else if path.extension().is_some_and(|extension| extension == "db") {
            found.push(path);
        }
    }
    found
}

fn rows_of(file: &Path) -> Vec<String> {
    let connection = raw(file);
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut lines = Vec::new();
    for table in tables {
        let mut statement = connection.prepare(&format!(r#"SELECT * FROM "{table}""#)).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        let begun = lines.len();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<String> = (0..columns)
                .map(|column| match row.get_ref(column).unwrap() {
                    ValueRef::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
                    other => format!("{other:?}"),
                })
                .collect();
            lines.push(format!("{table}: {}", values.join(", ")));
        }
        lines[begun..].sort();
    }
    lines
}
