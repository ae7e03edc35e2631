//! Rows that no client writes, in every column that is read: each is a typed error that names the column, and nothing
//! changes.
//!
//! Columns that are only compared (`LastOperationId`, `SessionsEndedLocal`, the map id of a mapping) are not here: a wrong
//! value there is a row that is not found.

use std::path::PathBuf;

use shardlet::gsm::GlobalStore;
use shardlet::lsm::LocalStore;
use shardlet::{
    Error, ErrorCode, ErrorKind, ListShardMap, LoadPolicy, LockToken, NoCredentials, Options, PointMapping,
    RangeMapping, RangeShardMap, SchemaInfo, Shard, ShardMapManager, Sqlite, Validation,
};
use tempfile::TempDir;

use crate::support::contents::{global_file, rows, shard_file, spoil};
use crate::support::probe::{Call, Fault, Probe};
use crate::support::{directory, location, shards, sqlite};

/// A store with a list map and a range map. The rows of the list map, its first shard and its mapping are the first of
/// their tables.
struct Store {
    directory: TempDir,
    manager: ShardMapManager<Sqlite>,
    list: ListShardMap<i32, Sqlite>,
    range: RangeShardMap<i32, Sqlite>,
    shard: Shard,
    point: PointMapping<i32>,
    ranged: RangeMapping<i32>,
}

impl Store {
    async fn new() -> Self {
        let directory = directory();
        let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
        let list = manager.create_list_shard_map::<i32>("list").await.unwrap();
        let range = manager.create_range_shard_map::<i32>("range").await.unwrap();
        let on = shards(&list, 2).await;
        let ranges_on = shards(&range, 1).await;
        let point = list.create_mapping(1, &on[0]).await.unwrap();
        let ranged = range.create_mapping(0..10, &ranges_on[0]).await.unwrap();
        let shard = list.shard(&location(0)).await.unwrap();
        manager.create_schema_info("list", &SchemaInfo::new()).await.unwrap();
        Self { directory, manager, list, range, shard, point, ranged }
    }

    fn global(&self) -> PathBuf {
        global_file(self.directory.path())
    }

    fn local(&self) -> PathBuf {
        shard_file(self.directory.path(), 0)
    }

    async fn call(&self, name: &str) -> Result<(), Error> {
        let (list, range) = (&self.list, &self.range);
        let stores = self.manager.backend();
        list.clear_cache();
        range.clear_cache();
        match name {
            "maps" => self.manager.shard_maps().await.map(|_| ()),
            "map" => self.manager.find_shard_map("list").await.map(|_| ()),
            "eager" => {
                let eager = Options::default().load_policy(LoadPolicy::Eager);
                ShardMapManager::open(sqlite(&self.directory), eager).await.map(|_| ())
            }
            "locations" => self.manager.shard_locations().await.map(|_| ()),
            "shards" => list.shards().await.map(|_| ()),
            "find shard" => list.find_shard(&location(0)).await.map(|_| ()),
            "delete shard" => list.delete_shard(self.shard.clone()).await,
            "mapping" => list.mapping_for_key(&1).await.map(|_| ()),
            "mappings" => list.mappings().await.map(|_| ()),
            "look up" => list.lookup_mapping(&1).await.map(|_| ()),
            "range mapping" => range.mapping_for_key(&5).await.map(|_| ()),
            "range mappings" => range.mappings().await.map(|_| ()),
            "create" => list.create_mapping(2, &self.shard).await.map(|_| ()),
            "create again" => list.create_mapping(1, &self.shard).await.map(|_| ()),
            "offline" => list.mark_mapping_offline(self.point.clone()).await.map(|_| ()),
            "split" => range.split_mapping(self.ranged.clone(), 5).await.map(|_| ()),
            "lock" => list.lock_mapping(self.point.clone(), LockToken::random()).await.map(|_| ()),
            "owner" => list.mapping_lock_owner(&self.point).await.map(|_| ()),
            "open" => list.open_connection_for_key(&1, &NoCredentials, Validation::Validate).await.map(|_| ()),
            "open shard" => {
                list.open_connection_to_shard(&self.shard, &NoCredentials, Validation::Validate).await.map(|_| ())
            }
            "local shards" => stores.local_shards(&location(0)).await.map(|_| ()),
            "local mappings" => stores.local_mappings(&location(0), list.id()).await.map(|_| ()),
            "local range mappings" => stores.local_mappings(&location(0), range.id()).await.map(|_| ()),
            "schema infos" => self.manager.schema_infos().await.map(|_| ()),
            "schema info" => self.manager.schema_info("list").await.map(|_| ()),
            "pending" => stores.pending_operations().await.map(|_| ()),
            other => panic!("no call of the name {other}"),
        }
    }

    /// Each call fails because of this column, and changes nothing.
    async fn blames(&self, column: &str, calls: &[&str], case: &str) {
        let before = rows(self.directory.path());
        for call in calls {
            let error = self.call(call).await.err().unwrap_or_else(|| panic!("{case}: {call} succeeded"));
            let told = (error.kind(), error.code());
            assert_eq!(told, (ErrorKind::StoreDamaged, ErrorCode::DamagedStore), "{case}: {call}: {error:?}");
            assert!(error.to_string().contains(column), "{case}: {call} does not name the column: {error}");
            assert!(error.place().is_some(), "{case}: {call} does not name the store: {error}");
            assert_eq!(rows(self.directory.path()), before, "{case}: {call} changed something");
        }
    }
}

/// A wrong value in a column, and the calls that meet it.
type Case<'c> = (&'c str, i64, &'c str, &'c [&'c str], &'c [&'c str]);

/// `(table, row, column, values, calls)`: for each of the values a new store is spoilt.
async fn spoil_each(cases: &[Case<'_>], file: impl Fn(&Store) -> PathBuf) {
    for (table, row, column, values, calls) in cases {
        for value in *values {
            let store = Store::new().await;
            let sql = format!(r#"UPDATE "__ShardManagement.{table}" SET "{column}" = {value} WHERE rowid = {row}"#);
            spoil(&file(&store), &sql);
            store.blames(column, calls, &format!("{table}.{column} = {value}")).await;
        }
    }
}

const NO_GUID: &[&str] = &["'no guid'", "''", "'00000000-0000-0000-0000-00000000000'"];
const NO_ROW: &str = "'11111111-2222-3333-4444-555555555555'";
/// Over 128 characters, and none.
const NO_PLACE: &[&str] = &["printf('%0129d', 0)", "''"];

#[tokio::test]
async fn in_the_global_store() {
    let on_mappings: &[&str] = &["mapping", "look up", "mappings", "eager", "open"];
    spoil_each(
        &[
            ("ShardMapsGlobal", 1, "ShardMapId", NO_GUID, &["maps", "map", "eager"]),
            ("ShardMapsGlobal", 1, "Name", &["''", "printf('%051d', 0)", "char(1)"], &["maps", "eager"]),
            (
                "ShardMapsGlobal",
                1,
                "ShardMapType",
                &["0", "3", "-1"],
                &[
                    "maps",
                    "map",
                    "eager",
                    "shards",
                    "find shard",
                    "mapping",
                    "mappings",
                    "create",
                    "delete shard",
                    "lock",
                ],
            ),
            ("ShardMapsGlobal", 1, "KeyType", &["0", "8", "-1"], &["maps", "map", "eager"]),
            ("ShardsGlobal", 1, "ShardId", &["'no guid'"], &["shards", "find shard"]),
            ("ShardsGlobal", 1, "ShardId", &[NO_ROW], on_mappings),
            ("ShardsGlobal", 1, "Version", NO_GUID, &["shards", "find shard", "create", "delete shard", "offline"]),
            ("ShardsGlobal", 1, "Version", &["'no guid'"], on_mappings),
            ("ShardsGlobal", 1, "ShardMapId", NO_GUID, on_mappings),
            ("ShardsGlobal", 1, "OperationId", &["'no guid'", NO_ROW], &["create", "delete shard", "offline"]),
            ("ShardsGlobal", 1, "Protocol", &["4", "-1"], &["shards", "locations", "mapping", "eager", "open"]),
            ("ShardsGlobal", 1, "ServerName", NO_PLACE, &["shards", "locations", "mapping", "eager", "open"]),
            ("ShardsGlobal", 1, "DatabaseName", NO_PLACE, &["shards", "locations", "mapping", "eager", "open"]),
            ("ShardsGlobal", 1, "Port", &["-1", "65536"], &["shards", "locations", "mapping", "eager", "open"]),
            ("ShardsGlobal", 1, "Status", &["2", "-1"], &["shards", "find shard", "mapping", "eager", "open"]),
            ("ShardMappingsGlobal", 1, "MappingId", NO_GUID, on_mappings),
            ("ShardMappingsGlobal", 1, "ShardId", &["'no guid'", NO_ROW], on_mappings),
            ("ShardMappingsGlobal", 1, "OperationId", &["'no guid'", NO_ROW], &["lock", "create again"]),
            (
                "ShardMappingsGlobal",
                1,
                "MinValue",
                &["x'80'", "x'8000000000'", "zeroblob(129)"],
                &["mappings", "eager"],
            ),
            ("ShardMappingsGlobal", 1, "Status", &["2", "-1"], &["mapping", "mappings", "eager", "open", "offline"]),
            (
                "ShardMappingsGlobal",
                1,
                "LockOwnerId",
                NO_GUID,
                &["mapping", "mappings", "eager", "open", "offline", "lock", "owner"],
            ),
            (
                "ShardMappingsGlobal",
                2,
                "MinValue",
                &["x'80'", "zeroblob(129)"],
                &["range mapping", "range mappings", "eager"],
            ),
            // Of the wrong width; not above the low bound.
            (
                "ShardMappingsGlobal",
                2,
                "MaxValue",
                &["x'80'", "zeroblob(129)", "x'7fffffff'", "x'80000000'", "x''"],
                &["range mapping", "range mappings", "eager"],
            ),
        ],
        Store::global,
    )
    .await;
}

#[tokio::test]
async fn in_schema_information() {
    let documents =
        ["''", "'no document'", "'<a/>'", "'<Schema><ShardedTableSet><a/></ShardedTableSet></Schema>'", "char(65279)"];
    let table = "ShardedDatabaseSchemaInfosGlobal";
    spoil_each(&[(table, 1, "SchemaInfo", &documents, &["schema infos", "schema info"])], Store::global).await;
    let store = Store::new().await;
    spoil(&store.global(), &format!(r#"UPDATE "__ShardManagement.{table}" SET "SchemaInfo" = '<a/>'"#));
    store.blames(table, &["schema infos", "schema info"], "the table").await;
    store.blames(r#""list""#, &["schema infos", "schema info"], "the row").await;
    // It can be put right.
    store.manager.update_schema_info("list", &SchemaInfo::new()).await.unwrap();
    assert_eq!(store.manager.schema_info("list").await.unwrap(), SchemaInfo::new());
    spoil(&store.global(), &format!(r#"UPDATE "__ShardManagement.{table}" SET "SchemaInfo" = '<a/>'"#));
    store.manager.delete_schema_info("list").await.unwrap();
    assert_eq!(store.manager.schema_infos().await.unwrap(), []);
}

#[tokio::test]
async fn in_a_local_store() {
    let tables: &[&str] = &["local shards", "local mappings"];
    spoil_each(
        &[
            ("ShardMapsLocal", 1, "Name", &["''", "printf('%051d', 0)", "char(1)"], tables),
            ("ShardMapsLocal", 1, "MapType", &["0", "3"], tables),
            ("ShardMapsLocal", 1, "KeyType", &["0", "8"], tables),
            ("ShardsLocal", 1, "ShardId", NO_GUID, tables),
            ("ShardsLocal", 1, "Version", NO_GUID, &["local shards", "local mappings", "open shard"]),
            ("ShardsLocal", 1, "Protocol", &["4", "-1"], tables),
            ("ShardsLocal", 1, "ServerName", NO_PLACE, tables),
            ("ShardsLocal", 1, "DatabaseName", NO_PLACE, tables),
            ("ShardsLocal", 1, "Port", &["-1", "65536"], tables),
            ("ShardsLocal", 1, "Status", &["2", "-1"], tables),
            ("ShardMappingsLocal", 1, "MappingId", NO_GUID, &["local mappings"]),
            ("ShardMappingsLocal", 1, "ShardId", &["'no guid'", NO_ROW], &["local mappings"]),
            ("ShardMappingsLocal", 1, "MinValue", &["x'80'", "zeroblob(129)"], &["local mappings"]),
            ("ShardMappingsLocal", 1, "Status", &["2", "-1"], &["local mappings", "open"]),
            ("ShardMappingsLocal", 2, "MaxValue", &["x'80'", "x'7fffffff'", "x''"], &["local range mappings"]),
        ],
        Store::local,
    )
    .await;
}

#[tokio::test]
async fn in_the_log_of_operations() {
    let cases: [(&str, &[&str], &[&str]); 6] = [
        ("OperationId", &["'no guid'"], &["pending"]),
        ("OperationId", &[NO_ROW], &["create"]),
        ("OperationCode", &["0", "12", "99", "-1", "1099511627776"], &["create", "delete shard"]),
        ("Data", &["''", "'no document'", "'<a/>'", "'<a><ShardMap></a>'"], &["create", "delete shard"]),
        ("ShardVersionRemoves", &["'no guid'"], &["pending", "create"]),
        ("UndoStartState", &["1099511627776"], &["pending"]),
    ];
    for (column, values, calls) in cases {
        for value in values {
            let store = Store::new().await;
            leave_unfinished(&store).await;
            let sql = format!(r#"UPDATE "__ShardManagement.OperationsLogGlobal" SET "{column}" = {value}"#);
            spoil(&store.global(), &sql);
            let names = if column == "Data" && *value != "''" && *value != "'no document'" { "" } else { column };
            store.blames(names, calls, &format!("OperationsLogGlobal.{column} = {value}")).await;
        }
    }
    let store = Store::new().await;
    leave_unfinished(&store).await;
    assert_eq!(store.call("create").await.err().map(|error| error.to_string()), None, "unspoilt it is undone");
}

/// Another client begins a mapping on the list map's first shard and dies before the end.
async fn leave_unfinished(store: &Store) {
    let probe = Probe::new(sqlite(&store.directory));
    let manager = ShardMapManager::open(probe.clone(), Options::default()).await.unwrap();
    let list = manager.list_shard_map::<i32>("list").await.unwrap();
    let lost = || Fault::FailBefore(Error::new(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "lost"));
    probe.inject(Call::EndDo, 1, lost());
    probe.inject(Call::FindOperation, 1, lost());
    let _ = list.create_mapping(9, &store.shard).await.unwrap_err();
    assert_eq!(probe.inner().pending_operations().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_half_installed_store_is_damaged() {
    let store = Store::new().await;
    spoil(&store.local(), r#"DELETE FROM "__ShardManagement.ShardMapManagerLocal""#);
    store.blames("version table", &["open", "open shard", "local shards", "offline"], "no local version").await;
    spoil(&store.global(), r#"DELETE FROM "__ShardManagement.ShardMapManagerGlobal""#);
    store.blames("version table", &["maps", "eager", "shards", "mapping", "create", "lock"], "no global version").await;
}

#[tokio::test]
async fn a_missing_table_or_column_is_damage() {
    for (table, calls) in [
        ("ShardMapsGlobal", &["maps", "map", "eager", "shards", "mapping", "create"][..]),
        ("ShardsGlobal", &["shards", "locations", "mapping", "eager", "create"]),
        ("ShardMappingsGlobal", &["mapping", "mappings", "eager", "lock", "offline"]),
        ("OperationsLogGlobal", &["pending", "create", "split", "offline"]),
        ("ShardedDatabaseSchemaInfosGlobal", &["schema infos", "schema info"]),
    ] {
        for sql in [
            format!(r#"DROP TABLE "__ShardManagement.{table}""#),
            format!(r#"ALTER TABLE "__ShardManagement.{table}" RENAME TO "elsewhere""#),
        ] {
            let store = Store::new().await;
            crate::support::contents::raw(&store.global()).execute_batch(&sql).unwrap();
            store.blames(table, calls, &sql).await;
        }
    }
}
