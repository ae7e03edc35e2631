//! Hostile names, and rows that no client writes, as far as the types and rules of the server's tables let them in.

use shardlet::gsm::GlobalStore;
use shardlet::lsm::LocalStore;
use shardlet::{
    Error, ErrorKind, ListShardMap, LoadPolicy, LockToken, Options, PointMapping, RangeMapping, RangeShardMap, Shard,
    ShardLocation, ShardMapManager, SqlServer, SqlServerOptions, Validation,
};

use crate::conformance::Environment;
use crate::environment::Live;
use crate::hostile_names::{names_of_places, names_of_shard_maps};
use crate::server::{Direct, credentials};

trials! { bad_input {
    hostile_names_of_shard_maps,
    hostile_names_of_places,
    hostile_names_of_databases,
    a_name_is_not_taken_for_its_beginning,
    spoilt_rows_of_the_global_store,
    spoilt_rows_of_a_local_store,
} }

async fn hostile_names_of_shard_maps() {
    let env = Live::new().await;
    names_of_shard_maps(env.backend().clone(), &credentials(), &env.location(0)).await;
}

async fn hostile_names_of_places() {
    names_of_places(Live::new().await.backend().clone()).await;
}

/// There are no such databases: each is unavailable, and nothing of the attempt is left.
async fn hostile_names_of_databases() {
    let env = Live::new().await;
    let map: ListShardMap<i32, _> = env.manager().await.list_shard_map_or_create("map").await.unwrap();
    let there = env.location(0);
    for name in ["master];--", "'; DROP DATABASE x;--", "[x]]", "\u{202e}😀", "e\u{301}", ";Database=master", "\"", "{"]
    {
        let mut place = ShardLocation::new(there.server(), name).with_protocol(there.protocol());
        place = place.with_port(there.port().unwrap_or_default());
        let error = map.create_shard(&place).await.unwrap_err();
        let expected = [ErrorKind::Unavailable, ErrorKind::Credentials];
        assert!(expected.contains(&error.kind()), "{name}: {error:?}");
        assert!(map.find_shard(&place).await.unwrap().is_none(), "{name}");
    }
    assert!(map.shards().await.unwrap().is_empty());
    assert!(env.backend().pending_operations().await.unwrap().is_empty());
}

/// A list map and a range map with a mapping each on one shard.
struct Stores {
    env: Live,
    manager: ShardMapManager<SqlServer>,
    list: ListShardMap<i32, SqlServer>,
    range: RangeShardMap<i32, SqlServer>,
    shard: Shard,
    point: PointMapping<i32>,
    ranged: RangeMapping<i32>,
}

impl Stores {
    async fn new() -> Self {
        let env = Live::new().await;
        let manager = env.manager().await;
        let list: ListShardMap<i32, _> = manager.create_list_shard_map("list").await.unwrap();
        let range: RangeShardMap<i32, _> = manager.create_range_shard_map("range").await.unwrap();
        let on = env.shards(&list, 1).await;
        let ranges_on = env.shards(&range, 1).await;
        let point = list.create_mapping(1, &on[0]).await.unwrap();
        let ranged = range.create_mapping(0..10, &ranges_on[0]).await.unwrap();
        let shard = list.shard(&env.location(0)).await.unwrap();
        Self { env, manager, list, range, shard, point, ranged }
    }

    async fn call(&self, name: &str) -> Result<(), Error> {
        let (list, range, at) = (&self.list, &self.range, self.env.location(0));
        list.clear_cache();
        range.clear_cache();
        match name {
            "maps" => self.manager.shard_maps().await.map(drop),
            "map" => self.manager.find_shard_map("list").await.map(drop),
            "eager" => {
                let backend = self.env.databases.backend(SqlServerOptions::default());
                let eager = Options::default().load_policy(LoadPolicy::Eager);
                ShardMapManager::open(backend, eager).await.map(drop)
            }
            "locations" => self.manager.shard_locations().await.map(drop),
            "shards" => list.shards().await.map(drop),
            "mapping" => list.mapping_for_key(&1).await.map(drop),
            "mappings" => list.mappings().await.map(drop),
            "range mapping" => range.mapping_for_key(&5).await.map(drop),
            "range mappings" => range.mappings().await.map(drop),
            "route" => list.open_connection_for_key(&1, &credentials(), Validation::Validate).await.map(drop),
            "create" => list.create_mapping(2, &self.shard).await.map(drop),
            "offline" => list.mark_mapping_offline(self.point.clone()).await.map(drop),
            "split" => range.split_mapping(self.ranged.clone(), 5).await.map(drop),
            "lock" => list.lock_mapping(self.point.clone(), LockToken::random()).await.map(drop),
            "pending" => self.manager.backend().pending_operations().await.map(drop),
            "local shards" => self.manager.backend().local_shards(&at).await.map(drop),
            "local mappings" => self.manager.backend().local_mappings(&at, list.id()).await.map(drop),
            "local range mappings" => self.manager.backend().local_mappings(&at, range.id()).await.map(drop),
            other => panic!("no call of the name {other}"),
        }
    }

    /// The rows of the tables that operations change.
    async fn rows(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (database, tables) in [
            (self.env.databases.global(), ["ShardMapsGlobal", "ShardsGlobal", "ShardMappingsGlobal"]),
            (self.env.databases.shard(0), ["ShardMapsLocal", "ShardsLocal", "ShardMappingsLocal"]),
        ] {
            let mut direct = Direct::to(&database).await;
            for table in tables {
                let rows = direct.rows(&format!("SELECT * FROM __ShardManagement.{table} ORDER BY 1"), &[]).await;
                found.extend(rows.iter().map(|row| format!("{table} {row:?}")));
            }
        }
        found
    }

    /// Spoils the rows of the list or of the range map in one column and looks at calls that meet it: each fails because
    /// of the column and changes nothing. Then puts the column back.
    async fn spoil(&self, database: &str, (table, column, range): (&str, &str, bool), value: &str, calls: &[&str]) {
        let case = format!("{table}.{column} = {value}");
        let map = if range { self.range.id() } else { self.list.id() };
        let mut direct = Direct::to(database).await;
        let whole = format!("__ShardManagement.{table}");
        direct.run(&format!("SELECT {column} AS Was INTO dbo.was FROM {whole} WHERE ShardMapId = '{map}'")).await;
        direct.run(&format!("UPDATE {whole} SET {column} = {value} WHERE ShardMapId = '{map}'")).await;
        let before = self.rows().await;
        for call in calls {
            let error = self.call(call).await.err().unwrap_or_else(|| panic!("{case}: {call} succeeded"));
            assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{case}: {call}: {error:?}");
            let column = format!("column {column} of {table} ");
            assert!(error.to_string().contains(&column), "{case}: {call} names no column: {error}");
            assert!(error.place().is_some(), "{case}: {call} names no store: {error}");
        }
        assert_eq!(self.rows().await, before, "{case}");
        let back = format!("UPDATE {whole} SET {column} = (SELECT TOP 1 Was FROM dbo.was) WHERE ShardMapId = '{map}'");
        direct.run(&format!("{back}; DROP TABLE dbo.was")).await;
    }
}

/// Table, column, whether it is the range map's row, wrong values, and calls that meet them.
type Case<'c> = (&'c str, &'c str, bool, &'c [&'c str], &'c [&'c str]);

async fn spoilt_rows_of_the_global_store() {
    let stores = Stores::new().await;
    let database = stores.env.databases.global();
    let reads: &[&str] = &["mapping", "mappings", "eager", "route"];
    let places: &[&str] = &["shards", "locations", "mapping", "mappings", "eager", "route"];
    let ranges: &[&str] = &["range mapping", "range mappings", "eager"];
    let cases: [Case<'_>; 12] = [
        ("ShardMapsGlobal", "ShardMapType", false, &["0", "2147483647"], &["maps", "map", "eager"]),
        ("ShardMapsGlobal", "KeyType", false, &["8", "-1"], &["maps", "map", "eager"]),
        ("ShardMapsGlobal", "Name", false, &["N''", "NCHAR(1)"], &["maps", "eager"]),
        ("ShardsGlobal", "Protocol", false, &["4", "-1"], places),
        ("ShardsGlobal", "Port", false, &["-1", "65536", "2147483647"], places),
        ("ShardsGlobal", "ServerName", false, &["N''", "N'  '", "NCHAR(1)"], places),
        ("ShardsGlobal", "DatabaseName", false, &["N''", "NCHAR(13)"], places),
        ("ShardsGlobal", "Status", false, &["2", "-2147483648"], &["shards", "mapping", "eager"]),
        ("ShardMappingsGlobal", "Status", false, &["2", "-1"], reads),
        ("ShardMappingsGlobal", "MinValue", false, &["0x80", "0x800000000000"], &["mappings", "eager"]),
        ("ShardMappingsGlobal", "MaxValue", true, &["0x90", "0x7fffffff", "0x80000000"], ranges),
        // Where its log row should be there is none.
        ("ShardsGlobal", "OperationId", false, &["'11111111-2222-3333-4444-555555555555'"], &["create", "offline"]),
    ];
    for (table, column, range, values, calls) in cases {
        for value in values {
            stores.spoil(&database, (table, column, range), value, calls).await;
        }
    }
    // Put back, everything works.
    for call in ["maps", "eager", "route", "range mappings", "pending", "create", "split", "lock"] {
        stores.call(call).await.unwrap_or_else(|error| panic!("{call}: {error:?}"));
    }
}

/// The server cuts what is too long for a parameter.
async fn a_name_is_not_taken_for_its_beginning() {
    let stores = Stores::new().await;
    let named = |length: usize| {
        let there = stores.env.location(0);
        let place = ShardLocation::new(there.server(), "d".repeat(length)).with_protocol(there.protocol());
        place.with_port(there.port().unwrap_or_default())
    };
    let longest = "UPDATE __ShardManagement.ShardsGlobal SET DatabaseName = REPLICATE(N'd', 128)";
    Direct::to(&stores.env.databases.global()).await.run(longest).await;
    assert_eq!(stores.list.find_shard(&named(128)).await.unwrap(), Some(stores.shard.clone()));
    for length in [129, 4_000] {
        assert_eq!(stores.list.find_shard(&named(length)).await.unwrap(), None);
        assert_eq!(stores.list.shard_or_create(&named(length)).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

async fn spoilt_rows_of_a_local_store() {
    let stores = Stores::new().await;
    let database = stores.env.databases.shard(0);
    let all: &[&str] = &["local shards", "local mappings"];
    let cases: [Case<'_>; 9] = [
        ("ShardMapsLocal", "MapType", false, &["0", "3"], all),
        ("ShardMapsLocal", "KeyType", false, &["0", "8"], all),
        ("ShardMapsLocal", "Name", false, &["N''", "NCHAR(1)"], all),
        ("ShardsLocal", "Protocol", false, &["4", "-1"], all),
        ("ShardsLocal", "Port", false, &["-1", "65536"], all),
        ("ShardsLocal", "ServerName", false, &["N''", "NCHAR(1)"], all),
        ("ShardsLocal", "Status", false, &["2", "-1"], all),
        ("ShardMappingsLocal", "MinValue", false, &["0x80", "0x800000000000"], &["local mappings"]),
        ("ShardMappingsLocal", "MaxValue", true, &["0x90", "0x7fffffff"], &["local range mappings"]),
    ];
    for (table, column, range, values, calls) in cases {
        for value in values {
            stores.spoil(&database, (table, column, range), value, calls).await;
        }
    }
    for call in ["local shards", "local mappings", "local range mappings", "route", "offline"] {
        stores.call(call).await.unwrap_or_else(|error| panic!("{call}: {error:?}"));
    }
}
