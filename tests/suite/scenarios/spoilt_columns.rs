//! Every column of every table of both stores, with values that no client writes, and every call that could meet them.
//!
//! Tables and columns are those that the stores have, so that a new one is met without being named here. A call gives
//! the right answer in spite of the value, or `StoreDamaged` with the column, its table and the store. Columns that
//! requests only compare with ([`COMPARED`]) may also make a row one that is not there. Nothing panics, and a call that
//! fails changes nothing.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use shardlet::gsm::GlobalStore;
use shardlet::lsm::LocalStore;
use shardlet::model::MappingRecord;
use shardlet::rusqlite::{Connection, types::ValueRef};
use shardlet::{
    Error, ErrorCode, ErrorKind, ListShardMap, LoadPolicy, LockToken, Mapping, MappingFilter, NoCredentials, Options,
    PointMapping, RangeMapping, RangeShardMap, Shard, ShardMapManager, ShardStatus, Sqlite, Validation,
};
use tempfile::TempDir;

use crate::support::contents::{closed, raw};
use crate::support::probe::{Call, Fault, Probe};
use crate::support::{directory, location, shards, sqlite};

/// The databases of a store, below its directory.
const FILES: [&str; 4] = ["gsm.db", "shards/server/shard_0.db", "shards/server/shard_1.db", "shards/server/shard_2.db"];

/// Columns by which requests find rows: a wrong value there is a row that is not found.
const COMPARED: [(&str, &[&str]); 11] = [
    ("ShardMapsGlobal", &["ShardMapId", "Name"]),
    ("ShardsGlobal", &["ShardId", "Readable", "ShardMapId", "Protocol", "ServerName", "Port", "DatabaseName"]),
    ("ShardMappingsGlobal", &["MappingId", "Readable", "ShardId", "ShardMapId", "MinValue", "MaxValue", "LockOwnerId"]),
    ("OperationsLogGlobal", &["OperationId"]),
    ("ShardDescriptionsGlobal", &["ShardId", "ShardMapId"]),
    ("ShardMapManagerGlobal", &[]),
    ("ShardMapManagerLocal", &[]),
    ("ShardMapsLocal", &["ShardMapId"]),
    ("ShardsLocal", &["ShardId", "ShardMapId", "LastOperationId", "Version"]),
    ("ShardMappingsLocal", &["MappingId", "ShardMapId", "MinValue"]),
    ("SessionsEndedLocal", &["Id", "ShardMapId", "MinValue", "MaxValue"]),
];

/// Values as SQL that are wrong in columns of a type: of each type that a cell can have, out of range, and hostile. The
/// first few are tried with calls that write, too.
fn values(data_type: &str) -> &'static [&'static str] {
    match data_type {
        "INTEGER" => &["NULL", "9223372036854775807", "7", "-1", "2147483648", "0.5", "'no number'", "x''"],
        "BLOB" => &["'no key'", "zeroblob(129)", "NULL", "7", "x''", "x'ff'"],
        "TEXT" => &[
            "NULL",
            "'no guid'",
            "char(1)",
            "'11111111-2222-3333-4444-555555555555'",
            "7",
            "''",
            "'   '",
            "CAST(x'ff00fe' AS TEXT)",
            "x''",
        ],
        other => panic!("a type that has no wrong values yet: {other}"),
    }
}
/// So many of them.
const WRITTEN: usize = 2;

/// A store with everything in it that calls can meet, and tables that take any value. Copied for each trial.
struct Template {
    directory: TempDir,
    handles: Handles,
    /// Of each of [`FILES`].
    columns: Vec<Vec<Column>>,
}

/// What a client has read before a row is spoilt.
#[derive(Clone)]
struct Handles {
    shard: Shard,
    other: Shard,
    unused: Shard,
    online: PointMapping<i32>,
    offline: PointMapping<i32>,
    left: RangeMapping<i32>,
    right: RangeMapping<i32>,
}

impl Template {
    async fn new(pending: bool) -> Self {
        let directory = directory();
        let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
        // Each map has the first row of one table only, so that other maps show what does not concern them.
        let list = manager.create_list_shard_map::<i32>("list").await.unwrap();
        let range = manager.create_range_shard_map::<i32>("range").await.unwrap();
        let _ = manager.create_list_shard_map::<i64>("empty").await.unwrap();
        let on = shards(&list, 3).await;
        let ranges_on = shards(&range, 1).await;
        let online = list.create_mapping(1, &on[0]).await.unwrap();
        let offline = list.create_mapping(2, &on[0]).await.unwrap();
        let offline = list.mark_mapping_offline(offline).await.unwrap();
        let left = range.create_mapping(0..10, &ranges_on[0]).await.unwrap();
        let right = range.create_mapping(10..20, &ranges_on[0]).await.unwrap();
        list.describe_shard(&on[0], "north").await.unwrap();
        let mut known = list.shards().await.unwrap();
        known.sort_by(|a, b| a.location().cmp(b.location()));
        let [shard, other, unused] = known.try_into().unwrap();
        if pending {
            leave_unfinished(&directory, &shard).await;
        }
        drop((list, range, manager));
        let schema_infos =
            r#"INSERT INTO "__ShardManagement.ShardedDatabaseSchemaInfosGlobal" VALUES ('kept', '<Schema/>')"#;
        raw(&directory.path().join(FILES[0])).execute_batch(schema_infos).unwrap();
        let files = FILES.map(|file| directory.path().join(file));
        let columns = files.iter().map(|file| columns(&raw(file))).collect();
        for file in &files {
            closed(file).await;
            loosen(file);
        }
        Self { directory, handles: Handles { shard, other, unused, online, offline, left, right }, columns }
    }
}

/// Another client begins a mapping on the list map's first shard and dies before the end.
async fn leave_unfinished(directory: &TempDir, shard: &Shard) {
    let probe = Probe::new(sqlite(directory));
    let manager = ShardMapManager::open(probe.clone(), Options::default()).await.unwrap();
    let list = manager.list_shard_map::<i32>("list").await.unwrap();
    let lost = || Fault::FailBefore(Error::new(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "lost"));
    probe.inject(Call::EndDo, 1, lost());
    probe.inject(Call::FindOperation, 1, lost());
    let _ = list.create_mapping(9, shard).await.unwrap_err();
    assert_eq!(probe.inner().pending_operations().await.unwrap().len(), 1);
}

/// Takes what refuses values out of the text of a database's tables, so that each column takes any. What is there stays
/// as it is; keys and indices do, too. (`INTEGER` refuses nothing, and some of these columns are row ids.)
fn loosen(file: &Path) {
    let connection = raw(file);
    connection
        .execute_batch(
            r#"PRAGMA journal_mode = DELETE;
               PRAGMA writable_schema = ON;
               UPDATE sqlite_schema
               SET sql = replace(replace(replace(replace(sql, ') STRICT', ')'), ' NOT NULL', ''), ' TEXT', ''), ' BLOB', '')
               WHERE type = 'table';
               PRAGMA writable_schema = RESET;
               PRAGMA journal_mode = WAL;"#,
        )
        .unwrap();
}

fn copy(template: &Path, into: &Path) {
    for file in FILES {
        let to = into.join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        let _ = std::fs::copy(template.join(file), to).unwrap();
    }
}

/// A copy of the template, opened before a row in it is spoilt.
struct Trial {
    directory: TempDir,
    manager: ShardMapManager<Sqlite>,
    list: ListShardMap<i32, Sqlite>,
    range: RangeShardMap<i32, Sqlite>,
    handles: Handles,
    /// Connections of the driver's own, one for each of [`FILES`].
    files: Vec<Connection>,
    /// Counts the shards that were created: each is at a place of its own.
    created: AtomicUsize,
    /// The commits to each of the files when it was put back.
    seen: Vec<i64>,
}

/// How a call ended: what it answered, or how it failed.
type Outcome = Result<String, Error>;

/// What two outcomes have in common if they are the same.
fn essence(outcome: &Outcome) -> Result<&str, (ErrorKind, ErrorCode)> {
    outcome.as_deref().map_err(|error| (error.kind(), error.code()))
}

const READS: [&str; 22] = [
    "open",
    "eager",
    "maps",
    "map",
    "locations",
    "shards",
    "find shard",
    "mapping",
    "mappings",
    "mappings on the shard",
    "look up",
    "range mapping",
    "range mappings",
    "range mappings within",
    "owner",
    "descriptions",
    "local shards",
    "local mappings",
    "route",
    "route by range",
    "route unvalidated",
    "route to the shard",
];
/// The last of them read local stores.
const LOCAL: usize = 6;

const WRITES: [&str; 22] = [
    "create map",
    "delete map",
    "create shard",
    "create shard again",
    "update shard",
    "delete shard",
    "delete shard in use",
    "describe",
    "describe no more",
    "create",
    "create again",
    "create range",
    "delete",
    "delete online",
    "online",
    "offline",
    "range offline",
    "move",
    "split",
    "merge",
    "lock",
    "undo pending",
];

fn told<M: Mapping>(mappings: &[M]) -> String {
    let line = |mapping: &M| {
        let record: &MappingRecord = mapping.record();
        let high = record.high.as_ref().map(ToString::to_string);
        format!("{mapping} {mapping:?} to {high:?} in {} by {}\n", record.map, record.lock_owner)
    };
    mappings.iter().map(line).collect()
}

impl Trial {
    async fn new(template: &Template) -> Self {
        let directory = directory();
        copy(template.directory.path(), directory.path());
        let manager = ShardMapManager::open(sqlite(&directory), Options::default()).await.unwrap();
        let list = manager.list_shard_map::<i32>("list").await.unwrap();
        let range = manager.range_shard_map::<i32>("range").await.unwrap();
        let files: Vec<_> = FILES.iter().map(|file| raw(&directory.path().join(file))).collect();
        let seen = files.iter().map(commits).collect();
        Self {
            directory,
            manager,
            list,
            range,
            handles: template.handles.clone(),
            files,
            created: AtomicUsize::new(FILES.len()),
            seen,
        }
    }

    async fn call(&self, name: &str) -> Outcome {
        let (list, range, to) = (&self.list, &self.range, self.handles.clone());
        let stores = self.manager.backend();
        list.clear_cache();
        range.clear_cache();
        let validate = Validation::Validate;
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines.join("\n")
        };
        let with = |policy| Options::default().load_policy(policy);
        match name {
            "open" => {
                let opened = ShardMapManager::try_open(sqlite(&self.directory), with(LoadPolicy::Lazy)).await?;
                Ok(opened.is_some().to_string())
            }
            "eager" => {
                let manager = ShardMapManager::open(sqlite(&self.directory), with(LoadPolicy::Eager)).await?;
                let list = manager.list_shard_map::<i32>("list").await?;
                Ok(told(&list.cached_mapping(&1).into_iter().collect::<Vec<_>>()))
            }
            "maps" => Ok(format!("{:?}", self.manager.shard_maps().await?)),
            "map" => Ok(format!("{:?}", self.manager.find_shard_map("list").await?)),
            "locations" => Ok(format!("{:?}", self.manager.shard_locations().await?)),
            "shards" => Ok(sorted(list.shards().await?.iter().map(|shard| format!("{shard:?}")).collect())),
            "find shard" => Ok(format!("{:?}", list.find_shard(&location(0)).await?)),
            "mapping" => Ok(told(&[list.mapping_for_key(&1).await?])),
            "mappings" => Ok(told(&list.mappings().await?)),
            "mappings on the shard" => {
                Ok(told(&list.mappings_matching(&MappingFilter::all().on_shard(&to.shard)).await?))
            }
            "look up" => Ok(told(&[list.lookup_mapping(&1).await?])),
            "range mapping" => Ok(told(&[range.mapping_for_key(&5).await?])),
            "range mappings" => Ok(told(&range.mappings().await?)),
            "range mappings within" => Ok(told(&range.mappings_matching(&MappingFilter::all().in_range(5..15)).await?)),
            "owner" => Ok(list.mapping_lock_owner(&to.online).await?.to_string()),
            "descriptions" => {
                let found = list.shard_descriptions().await?;
                Ok(sorted(found.iter().map(|(shard, text)| format!("{shard}: {text}")).collect()))
            }
            "route" | "route unvalidated" => {
                let validation = if name == "route" { validate } else { Validation::None };
                let mut open = list.open_connection_for_key(&1, &NoCredentials, validation).await?;
                let one: i64 = open.read(|tx| tx.query_row("SELECT 1", [], |row| row.get(0))).await?;
                Ok(one.to_string())
            }
            "route by range" => {
                let mut open = range.open_connection_for_key(&5, &NoCredentials, validate).await?;
                let one: i64 = open.read(|tx| tx.query_row("SELECT 1", [], |row| row.get(0))).await?;
                Ok(one.to_string())
            }
            "route to the shard" => {
                list.open_connection_to_shard(&to.shard, &NoCredentials, validate).await.map(|_| String::new())
            }
            "local shards" => {
                let found = stores.local_shards(&location(0)).await?;
                Ok(sorted(found.iter().map(|(map, shard)| format!("{shard:?} {map:?}")).collect()))
            }
            "local mappings" => {
                let mut found = stores.local_mappings(&location(0), list.id()).await?;
                found.extend(stores.local_mappings(&location(0), range.id()).await?);
                Ok(found.iter().map(|record| format!("{record:?} {} {:?}\n", record.low, record.high)).collect())
            }
            "create map" => self.manager.create_list_shard_map::<i32>("new").await.map(|_| String::new()),
            "delete map" => self.manager.delete_shard_map("empty").await.map(|()| String::new()),
            "create shard" => {
                let place = location(self.created.fetch_add(1, Ordering::Relaxed));
                list.create_shard(&place).await.map(|_| String::new())
            }
            "create shard again" => list.create_shard(&location(0)).await.map(|_| String::new()),
            "update shard" => list.update_shard(to.shard, ShardStatus::Offline).await.map(|_| String::new()),
            "describe" => list.describe_shard(&to.shard, "south").await.map(|()| String::new()),
            "describe no more" => list.describe_shard(&to.shard, "").await.map(|()| String::new()),
            "delete shard" => list.delete_shard(to.unused).await.map(|()| String::new()),
            "delete shard in use" => list.delete_shard(to.shard).await.map(|()| String::new()),
            "create" => list.create_mapping(5, &to.shard).await.map(|_| String::new()),
            "create again" => list.create_mapping(1, &to.other).await.map(|_| String::new()),
            "create range" => range.create_mapping(5..15, to.left.shard()).await.map(|_| String::new()),
            "delete" => list.delete_mapping(to.offline).await.map(|()| String::new()),
            "delete online" => list.delete_mapping(to.online).await.map(|()| String::new()),
            "online" => list.mark_mapping_online(to.offline).await.map(|_| String::new()),
            "offline" => list.mark_mapping_offline(to.online).await.map(|_| String::new()),
            "range offline" => range.mark_mapping_offline(to.left).await.map(|_| String::new()),
            "move" => list.move_mapping(to.offline, &to.other).await.map(|_| String::new()),
            "split" => range.split_mapping(to.left, 5).await.map(|_| String::new()),
            "merge" => range.merge_mappings(to.left, to.right).await.map(|_| String::new()),
            "lock" => list.lock_mapping(to.online, LockToken::random()).await.map(|_| String::new()),
            "undo pending" => self.manager.undo_pending_operations().await.map(|undone| undone.to_string()),
            other => panic!("no call of the name {other}"),
        }
    }

    /// How a call ends. A panic is a failure of the test, told by the call's name.
    async fn outcome(&self, name: &str, case: &str) -> Outcome {
        let caught = AssertUnwindSafe(self.call(name)).catch_unwind().await;
        caught.unwrap_or_else(|_| panic!("{case}: {name} panicked"))
    }

    /// True if others have committed something to one of the files since it was put back.
    fn is_changed(&self) -> bool {
        self.files.iter().map(commits).ne(self.seen.iter().copied())
    }

    /// Every row of every table of a file.
    fn rows(&self, file: usize) -> Vec<String> {
        rows_of(FILES[file], &self.files[file])
    }

    /// Puts the rows of another copy back where others have changed something.
    fn restore(&mut self, from: &Snapshot) {
        for file in 0..FILES.len() {
            if commits(&self.files[file]) != self.seen[file] {
                self.restore_file(file, &from.files[file]);
            }
        }
    }

    fn restore_file(&mut self, file: usize, from: &Path) {
        let connection = &self.files[file];
        let _ = connection.execute("ATTACH ?1 AS whole", [from.to_str().unwrap()]).unwrap();
        let mut sql = String::from("PRAGMA synchronous = OFF; BEGIN IMMEDIATE;");
        for table in tables(connection) {
            let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)").unwrap();
            let names =
                statement.query_map([&table], |row| Ok(format!(r#", "{}""#, row.get::<_, String>(0)?))).unwrap();
            // With their numbers, by which rows are chosen.
            let names: String = names.map(Result::unwrap).collect();
            sql += &format!(
                r#"DELETE FROM main."{table}";
                   INSERT INTO main."{table}" (rowid{names}) SELECT rowid{names} FROM whole."{table}";"#
            );
        }
        connection.execute_batch(&format!("{sql} COMMIT; DETACH whole;")).unwrap();
        self.seen[file] = commits(connection);
    }

    /// The template with one file as it is now.
    fn snapshot(&self, template: &Path, file: usize) -> Snapshot {
        let directory = directory();
        let now = directory.path().join("now.db");
        for (end, needed) in [("", true), ("-wal", false)] {
            let from = self.directory.path().join(format!("{}{end}", FILES[file]));
            if needed || from.exists() {
                let _ = std::fs::copy(from, format!("{}{end}", now.display())).unwrap();
            }
        }
        let files =
            (0..FILES.len()).map(|number| if number == file { now.clone() } else { template.join(FILES[number]) });
        Snapshot { files: files.collect(), _directory: directory }
    }
}

/// Files to put back, one for each of [`FILES`].
struct Snapshot {
    files: Vec<PathBuf>,
    _directory: TempDir,
}

/// Grows with every commit of others.
fn commits(file: &Connection) -> i64 {
    file.query_row("PRAGMA data_version", [], |row| row.get(0)).unwrap()
}

fn tables(file: &Connection) -> Vec<String> {
    let mut statement = file.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let tables = statement.query_map([], |row| row.get(0)).unwrap();
    tables.collect::<Result<_, _>>().unwrap()
}

fn rows_of(name: &str, file: &Connection) -> Vec<String> {
    let mut lines = Vec::new();
    for table in tables(file) {
        let mut statement = file.prepare(&format!(r#"SELECT rowid, * FROM "{table}" ORDER BY rowid"#)).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cell = |column| match row.get_ref(column).unwrap() {
                ValueRef::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
                other => format!("{other:?}"),
            };
            lines.push(format!("{name} {table}: {}", (0..columns).map(cell).collect::<Vec<_>>().join(", ")));
        }
    }
    lines
}

/// A column of a table, and rows of the table.
struct Column {
    table: String,
    name: String,
    data_type: String,
    rows: Vec<i64>,
}

/// The columns of the tables of a file that have rows.
fn columns(file: &Connection) -> Vec<Column> {
    let mut found = Vec::new();
    for table in tables(file).into_iter().filter(|table| table.starts_with("__ShardManagement.")) {
        let mut statement = file.prepare(&format!(r#"SELECT rowid FROM "{table}" ORDER BY rowid"#)).unwrap();
        let rows: Vec<i64> = statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { continue };
        // The first mapping is a point and the last one a range.
        let rows = if table.contains("ShardMappings") { vec![*first, *last] } else { vec![*first] };
        let mut statement = file.prepare("SELECT name, type FROM pragma_table_info(?1)").unwrap();
        let facts = statement.query_map([&table], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        found.extend(facts.map(|fact| {
            let (name, data_type) = fact.unwrap();
            Column { table: table.clone(), name, data_type, rows: rows.clone() }
        }));
    }
    found
}

/// The calls that may meet what a file holds.
fn calls(file: usize) -> (&'static [&'static str], &'static [&'static str]) {
    (if file == 0 { &READS } else { &READS[READS.len() - LOCAL..] }, &WRITES)
}

/// Spoils columns of a file, each with every value that is wrong in it.
async fn spoil_columns(pending: bool, file: usize, chosen: impl Fn(&Column) -> bool) {
    let template = Template::new(pending).await;
    let mut trial = Trial::new(&template).await;
    let whole = template.directory.path();
    let (reads, writes) = calls(file);
    let mut right = BTreeMap::new();
    let unspoilt = trial.snapshot(whole, file);
    for call in reads.iter().chain(writes) {
        drop(right.insert(*call, trial.outcome(call, "unspoilt").await));
        trial.restore(&unspoilt);
    }
    let rows = (0..FILES.len()).map(|file| trial.rows(file)).collect();
    let mut report = Report { right, rows, wrong: Vec::new(), met: 0 };
    for column in template.columns[file].iter().filter(|column| chosen(column)) {
        for row in &column.rows {
            spoil_column(&mut trial, whole, file, column, *row, &mut report).await;
            let _ = trial.files[file].execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        }
    }
    let Report { wrong, met, .. } = report;
    assert!(wrong.is_empty(), "{} of {met}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(met > 500, "{met} calls met a column");
}

struct Report<'c> {
    /// How each call ends where nothing is spoilt.
    right: BTreeMap<&'c str, Outcome>,
    /// The rows of each file where nothing is spoilt.
    rows: Vec<Vec<String>>,
    wrong: Vec<String>,
    met: usize,
}

async fn spoil_column(
    trial: &mut Trial,
    whole: &Path,
    file: usize,
    column: &Column,
    row: i64,
    report: &mut Report<'_>,
) {
    let Column { table, name, data_type, .. } = column;
    let plain = table.trim_start_matches("__ShardManagement.");
    let compared = COMPARED.iter().any(|(known, columns)| *known == plain && columns.contains(&name.as_str()));
    let (reads, writes) = calls(file);
    let mut absent = BTreeMap::new();
    if compared {
        let _ = trial.files[file].execute(&format!(r#"DELETE FROM "{table}" WHERE rowid = {row}"#), []).unwrap();
        let without = trial.snapshot(whole, file);
        for call in reads.iter().chain(writes) {
            drop(absent.insert(*call, trial.outcome(call, "without the row").await));
            trial.restore(&without);
        }
        trial.restore_file(file, &whole.join(FILES[file]));
    }
    for (number, value) in values(data_type).iter().enumerate() {
        let case = format!("{plain}.{name} = {value} in row {row}");
        let sql = format!(r#"UPDATE "{table}" SET "{name}" = {value} WHERE rowid = {row}"#);
        let plausible = is_plausible(plain, name, value);
        // The number of a row cannot be anything else than a number.
        match trial.files[file].execute(&sql, []) {
            Ok(changed) => assert_eq!(changed, 1, "{case}: not spoilt"),
            Err(_) => {
                assert!(["Id", "StoreVersionMajor"].contains(&name.as_str()), "{case}: not spoilt");
                continue;
            }
        }
        let spoilt = trial.snapshot(whole, file);
        let mut before = report.rows.clone();
        before[file] = trial.rows(file);
        for call in reads.iter().chain(writes.iter().filter(|_| number < WRITTEN)) {
            report.met += 1;
            let outcome = trial.outcome(call, &case).await;
            let changed = trial.is_changed() && (0..FILES.len()).any(|file| trial.rows(file) != before[file]);
            // Before it was refused, a call may have got an operation of another client out of its way.
            let undone = || {
                let is_logged = |rows: &[String]| rows.iter().any(|row| row.contains("OperationsLogGlobal"));
                is_logged(&before[0]) && !is_logged(&trial.rows(0))
            };
            let mut wrong = |what: &str| report.wrong.push(format!("{case}: {call}: {what}: {outcome:?}"));
            match &outcome {
                Err(_) if changed && !undone() => wrong("failed and changed something"),
                _ if changed && reads.contains(call) => wrong("changed something"),
                Err(error) if error.kind() == ErrorKind::Internal => wrong("blames the library"),
                _ if plausible => {}
                Err(error) if error.code() == ErrorCode::DamagedStore => {
                    let text = error.to_string();
                    if !text.contains(&format!("column {name} of ")) || !text.contains(plain) {
                        wrong("names no column");
                    }
                    if error.place().is_none() {
                        wrong("names no store");
                    }
                }
                outcome => {
                    let is = |other: &Outcome| essence(outcome) == essence(other);
                    if !is(&report.right[call]) && !absent.get(call).is_some_and(is) {
                        wrong("neither right nor damage");
                    }
                }
            }
            trial.restore(&spoilt);
        }
        trial.restore_file(file, &whole.join(FILES[file]));
    }
}

/// True for a value that a client may write into the column, though none has: it cannot be told from a right one, and
/// only that nothing panics and no failed call changes anything is looked at.
fn is_plausible(table: &str, column: &str, value: &str) -> bool {
    let guid = value.len() == 38 && value.starts_with("'1");
    match column {
        "StoreVersionMajor" | "StoreVersionMinor" => ["-1", "7"].contains(&value),
        "Name" | "ServerName" | "DatabaseName" => guid || value == "'no guid'",
        // People write it by hand, too: what no client would is shown as another character.
        "Description" => guid || ["'no guid'", "''", "'   '", "char(1)"].contains(&value),
        "Port" | "KeyType" => value == "7",
        "MinValue" | "MaxValue" => value == "x''" || (column, value) == ("MaxValue", "NULL"),
        "OperationCode" => value == "7",
        "UndoStartState" => ["-1", "7"].contains(&value),
        "ShardVersionRemoves" | "ShardVersionAdds" => guid || value == "NULL",
        "OperationId" => value == "NULL" && table != "OperationsLogGlobal",
        _ => guid && (column.ends_with("Id") || column == "Version"),
    }
}

#[tokio::test]
async fn of_the_global_store() {
    spoil_columns(false, 0, |_| true).await;
}

#[tokio::test]
async fn of_a_local_store() {
    spoil_columns(false, 1, |_| true).await;
}

#[tokio::test]
async fn of_an_unfinished_operation() {
    spoil_columns(true, 0, |column| column.table.ends_with("OperationsLogGlobal") || column.name == "OperationId")
        .await;
}
