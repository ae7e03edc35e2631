//! Stores that others have made: without our procedures, at other versions, half installed, and scripts that are run by hand.

use shardlet::{
    ErrorKind, Options, RangeShardMap, SchemaInfo, ShardMapManager, ShardedTable, SqlServer, SqlServerOptions,
    Validation,
};

use crate::conformance::Environment;
use crate::environment::Live;
use crate::server::{Databases, Direct, credentials};
use crate::support::consistency::assert_consistent;

trials! { upgrade {
    stores_without_our_procedures_get_them_when_needed,
    a_store_of_an_earlier_client_of_ours_gets_the_procedures_that_it_lacks,
    another_minor_version_works_and_version_1_0_is_refused,
    a_store_that_is_half_there_is_damaged,
    the_scripts_run_twice_and_by_two_clients_at_once,
} }

type Range = RangeShardMap<i64, SqlServer>;

/// `[0, 100)` on shard 0 and `[100, 200)` on shard 1.
async fn two_ranges(env: &Live) -> Range {
    let map: Range = env.manager().await.create_range_shard_map("ranges").await.unwrap();
    let shards = env.shards(&map, 2).await;
    let _ = map.create_mapping(0..100, &shards[0]).await.unwrap();
    let _ = map.create_mapping(100..200, &shards[1]).await.unwrap();
    map
}

/// Drops the procedures that this library has installed.
async fn drop_procedures(database: &str) {
    let mut direct = Direct::to(database).await;
    let ours = "SELECT ROUTINE_NAME FROM INFORMATION_SCHEMA.ROUTINES WHERE LOWER(ROUTINE_NAME) LIKE N'shardlet1[_]%'";
    let names: Vec<String> =
        direct.rows(ours, &[]).await.iter().map(|row| row.get::<&str, _>(0).unwrap().to_owned()).collect();
    assert!(names.len() >= 8, "{database} holds {names:?}");
    for name in names {
        direct.run(&format!("DROP PROCEDURE __ShardManagement.[{name}]")).await;
    }
    assert!(direct.rows(ours, &[]).await.is_empty());
}

async fn stores_without_our_procedures_get_them_when_needed() {
    let env = Live::new().await;
    let _ = two_ranges(&env).await;
    let databases = [env.databases.global(), env.databases.shard(0), env.databases.shard(1)];
    let open = async || -> Range { env.other_manager().await.range_shard_map("ranges").await.unwrap() };

    for database in &databases {
        drop_procedures(database).await;
    }
    // The first thing that each client does is another one.
    let map = open().await;
    for validation in [Validation::Validate, Validation::None] {
        let mut connection = map.open_connection_for_key(&5, &credentials(), validation).await.unwrap();
        assert_eq!(connection.execute("SELECT 1", &[]).await.unwrap(), 1);
    }
    for database in [&databases[0], &databases[1]] {
        drop_procedures(database).await;
    }
    let map = open().await;
    let shard = map.shard(&env.location(0)).await.unwrap();
    drop(map.open_connection_to_shard(&shard, &credentials(), Validation::Validate).await.unwrap());

    for database in [&databases[0], &databases[1]] {
        drop_procedures(database).await;
    }
    let map = open().await;
    let mapping = map.mappings().await.unwrap().remove(0);
    let (left, right) = map.split_mapping(mapping, 50).await.unwrap();
    for database in [&databases[0], &databases[1]] {
        drop_procedures(database).await;
    }
    // In the middle of a client's life.
    let left = map.mark_mapping_offline(left).await.unwrap();
    let target = map.shard(&env.location(1)).await.unwrap();
    let left = map.move_mapping(left, &target).await.unwrap();
    let _ = map.mark_mapping_online(left).await.unwrap();
    let _ = map.lock_mapping(right, shardlet::LockToken::random()).await.unwrap();
    assert_consistent(env.backend(), &env.places(), "after all").await;
}

/// The procedures of schema information came later than the others.
async fn a_store_of_an_earlier_client_of_ours_gets_the_procedures_that_it_lacks() {
    let env = Live::new().await;
    let _ = two_ranges(&env).await;
    let global = env.databases.global();
    let forget = async || {
        let mut direct = Direct::to(&global).await;
        for name in ["ListSchemaInfos", "FindSchemaInfo", "AddSchemaInfo", "UpdateSchemaInfo", "RemoveSchemaInfo"] {
            direct.run(&format!("DROP PROCEDURE __ShardManagement.shardlet1_{name}")).await;
        }
    };
    let mut info = SchemaInfo::new();
    info.add_sharded_table(ShardedTable::new("customer", "id").unwrap()).unwrap();
    // In the middle of a client's life, each time with another first call.
    let manager = env.manager().await;
    forget().await;
    manager.create_schema_info("ranges", &info).await.unwrap();
    forget().await;
    assert_eq!(manager.schema_info("ranges").await.unwrap(), info);
    forget().await;
    assert_eq!(manager.schema_infos().await.unwrap(), [("ranges".to_owned(), info.clone())]);
    forget().await;
    manager.update_schema_info("ranges", &SchemaInfo::new()).await.unwrap();
    forget().await;
    manager.delete_schema_info("ranges").await.unwrap();
    // And as the first thing that a client does.
    forget().await;
    assert_eq!(env.other_manager().await.find_schema_info("ranges").await.unwrap(), None);
    assert_consistent(env.backend(), &env.places(), "after all").await;
}

async fn set_version(database: &str, table: &str, columns: &str, values: &str) {
    let mut direct = Direct::to(database).await;
    let columns: Vec<_> = columns.split(", ").collect();
    let declared: Vec<_> = columns.iter().map(|column| format!("{column} int NOT NULL")).collect();
    direct.run(&format!("DROP TABLE __ShardManagement.{table}")).await;
    direct.run(&format!("CREATE TABLE __ShardManagement.{table} ({})", declared.join(", "))).await;
    direct.run(&format!("INSERT INTO __ShardManagement.{table} ({}) VALUES ({values})", columns.join(", "))).await;
}

async fn another_minor_version_works_and_version_1_0_is_refused() {
    let env = Live::new().await;
    let _ = two_ranges(&env).await;
    let (global, local) = (env.databases.global(), env.databases.shard(0));
    for (database, table) in [(&global, "ShardMapManagerGlobal"), (&local, "ShardMapManagerLocal")] {
        set_version(database, table, "StoreVersionMajor, StoreVersionMinor", "1, 1").await;
    }
    drop_procedures(&global).await;
    drop_procedures(&local).await;
    let map: Range = env.other_manager().await.range_shard_map("ranges").await.unwrap();
    drop(map.open_connection_for_key(&5, &credentials(), Validation::Validate).await.unwrap());
    let (left, right) = map.split_mapping(map.mapping_for_key(&5).await.unwrap(), 50).await.unwrap();
    let _ = map.merge_mappings(left, right).await.unwrap();
    assert_consistent(env.backend(), &env.places(), "at 1.1").await;

    set_version(&local, "ShardMapManagerLocal", "StoreVersion", "1").await;
    let other: Range = env.other_manager().await.range_shard_map("ranges").await.unwrap();
    for map in [&map, &other] {
        let refused = map.split_mapping(map.mapping_for_key(&5).await.unwrap(), 50).await.unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::VersionMismatch | ErrorKind::StoreDamaged), "{refused:?}");
    }
    drop_procedures(&local).await;
    let open = other.open_connection_for_key(&5, &credentials(), Validation::Validate).await.unwrap_err();
    assert_eq!(open.kind(), ErrorKind::VersionMismatch, "{open:?}");

    set_version(&global, "ShardMapManagerGlobal", "StoreVersion", "1").await;
    drop_procedures(&global).await;
    let backend = env.databases.backend(SqlServerOptions::default());
    let refused = ShardMapManager::open(backend.clone(), Options::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::VersionMismatch, "{refused:?}");
    let refused = ShardMapManager::open_or_create(backend, Options::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::VersionMismatch, "{refused:?}");
}

async fn a_store_that_is_half_there_is_damaged() {
    let env = Live::new().await;
    let map = two_ranges(&env).await;
    let mapping = map.mapping_for_key(&5).await.unwrap();
    Direct::to(&env.databases.shard(0)).await.run("DROP TABLE __ShardManagement.ShardMappingsLocal").await;
    let refused = map.split_mapping(mapping, 50).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StoreDamaged, "{refused:?}");
    let refused = map.open_connection_for_key(&5, &credentials(), Validation::Validate).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StoreDamaged, "{refused:?}");
    drop(map.open_connection_for_key(&150, &credentials(), Validation::Validate).await.unwrap());

    Direct::to(&env.databases.global()).await.run("DROP TABLE __ShardManagement.ShardMappingsGlobal").await;
    let refused = map.mappings().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StoreDamaged, "{refused:?}");
    let refused = map.create_mapping(500..600, &map.shard(&env.location(1)).await.unwrap()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StoreDamaged, "{refused:?}");

    let mut global = Direct::to(&env.databases.global()).await;
    global.run("DELETE FROM __ShardManagement.ShardMapManagerGlobal").await;
    let backend = env.databases.backend(SqlServerOptions::default());
    let refused = ShardMapManager::open(backend, Options::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StoreDamaged, "{refused:?}");
}

/// Runs a script as an administrator would.
async fn run_script(database: &str, script: &str) {
    let mut direct = Direct::to(database).await;
    let mut batch = String::new();
    for line in script.lines().chain(["GO"]) {
        if line.trim().eq_ignore_ascii_case("go") {
            if !batch.trim().is_empty() {
                let done = direct.try_run(&batch).await;
                done.unwrap_or_else(|error| panic!("{error}\n{batch}"));
            }
            batch.clear();
        } else {
            batch.push_str(line);
            batch.push('\n');
        }
    }
    assert_eq!(direct.rows("SELECT @@TRANCOUNT", &[]).await[0].get::<i32, _>(0), Some(0));
}

async fn the_scripts_run_twice_and_by_two_clients_at_once() {
    const GLOBAL: [&str; 2] =
        [include_str!("../../sql/sql_server/gsm/0102.sql"), include_str!("../../sql/sql_server/gsm/procedures.sql")];
    const LOCAL: [&str; 2] =
        [include_str!("../../sql/sql_server/lsm/0102.sql"), include_str!("../../sql/sql_server/lsm/procedures.sql")];
    let databases = Databases::create(1).await;
    let install = async |database: String, scripts: [&str; 2]| {
        for script in scripts {
            run_script(&database, script).await;
        }
    };
    for (database, scripts) in [(databases.global(), GLOBAL), (databases.shard(0), LOCAL)] {
        let _: ((), ()) = tokio::join!(install(database.clone(), scripts), install(database.clone(), scripts));
        install(database, scripts).await;
    }
    // What they installed is all that a client needs.
    let backend = databases.backend(SqlServerOptions::default());
    let manager = ShardMapManager::open(backend, Options::default()).await.unwrap();
    let map: Range = manager.create_range_shard_map("ranges").await.unwrap();
    let shard = map.create_shard(&databases.location(0)).await.unwrap();
    let _ = map.create_mapping(0..10, &shard).await.unwrap();
    drop(map.open_connection_for_key(&5, &credentials(), Validation::Validate).await.unwrap());
    // And again, with a client at work and rows in the tables.
    install(databases.global(), GLOBAL).await;
    install(databases.shard(0), LOCAL).await;
    drop(map.open_connection_for_key(&5, &credentials(), Validation::Validate).await.unwrap());
    assert_consistent(map.manager().backend(), &[databases.location(0)], "after all").await;
}
