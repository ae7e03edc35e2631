//! Stores that others have made: without our procedures, at other versions, half installed, and scripts that are run by hand.

use shardlet::gsm::GlobalStore;
use shardlet::lsm::LocalStore;
use shardlet::{
    ErrorKind, Options, Place, RangeShardMap, SchemaInfo, ShardMapManager, ShardedTable, SqlServer, SqlServerOptions,
    StoreUpgrade, StoreVersion, Validation,
};

use crate::conformance::{Access, Environment};
use crate::environment::Live;
use crate::server::{Databases, Direct, credentials};
use crate::support::consistency::assert_consistent;

trials! { upgrade {
    stores_without_our_procedures_get_them_when_needed,
    a_store_of_an_earlier_client_of_ours_gets_the_procedures_that_it_lacks,
    a_store_without_descriptions_gets_their_table_when_needed,
    the_table_of_descriptions_is_there_as_long_as_our_procedures,
    a_table_of_descriptions_that_went_missing_is_made_again,
    what_we_have_added_goes_before_the_schema,
    another_minor_version_works_and_version_1_0_is_refused,
    a_store_that_is_half_there_is_damaged,
    the_scripts_run_twice_and_by_two_clients_at_once,
    two_clients_upgrade_at_once,
    clients_wait_for_an_upgrade_and_go_on,
    a_step_that_fails_leaves_the_version_before_it,
    a_step_that_was_done_by_hand_is_not_done_again,
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

/// What a store has that the reference library or an earlier client of ours has made.
async fn forget_descriptions(database: &str) {
    let mut direct = Direct::to(database).await;
    direct.run("DROP TABLE __ShardManagement.ShardDescriptionsGlobal").await;
    for name in ["DescribeShard", "ListShardDescriptions"] {
        direct.run(&format!("DROP PROCEDURE __ShardManagement.shardlet1_{name}")).await;
    }
}

async fn a_store_without_descriptions_gets_their_table_when_needed() {
    let env = Live::new().await;
    let map = two_ranges(&env).await;
    let global = env.databases.global();
    let shard = map.shard(&env.location(0)).await.unwrap();
    forget_descriptions(&global).await;
    let report = ShardMapManager::upgrade(env.backend()).await.unwrap();
    assert!(report.is_complete() && !report.is_change(), "nothing is missing: {report}");
    assert!(map.shard_descriptions().await.unwrap().is_empty());
    forget_descriptions(&global).await;
    map.describe_shard(&shard, "north").await.unwrap();
    assert_eq!(map.shard_descriptions().await.unwrap()[&shard.id()], "north");
    // Those who come second leave what is there.
    drop_procedures(&global).await;
    assert_eq!(map.shard_descriptions().await.unwrap()[&shard.id()], "north");
    drop_procedures(&global).await;
    map.describe_shard(&shard, "south").await.unwrap();
    assert_eq!(map.shard_descriptions().await.unwrap()[&shard.id()], "south");
    assert_consistent(env.backend(), &env.places(), "after all").await;
}

/// What the login may see of the table.
async fn has_descriptions(database: &str) -> bool {
    let query =
        "SELECT CASE WHEN OBJECT_ID(N'__ShardManagement.ShardDescriptionsGlobal', N'U') IS NULL THEN 0 ELSE 1 END";
    Direct::to(database).await.rows(query, &[]).await[0].get::<i32, _>(0) == Some(1)
}

/// The reference library makes its tables again and knows neither ours nor our procedures.
async fn the_table_of_descriptions_is_there_as_long_as_our_procedures() {
    let env = Live::new().await;
    let map = two_ranges(&env).await;
    let shard = map.shard(&env.location(0)).await.unwrap();
    map.describe_shard(&shard, "north").await.unwrap();
    let global = env.databases.global();
    assert!(ShardMapManager::drop_store(env.backend()).await.unwrap());
    assert!(has_descriptions(&global).await, "with the procedures");
    let mut direct = Direct::to(&global).await;
    let left = direct.rows("SELECT COUNT(*) FROM __ShardManagement.ShardDescriptionsGlobal", &[]).await;
    assert_eq!(left[0].get::<i32, _>(0), Some(0), "of what is gone");
    assert!(!ShardMapManager::drop_store(env.backend()).await.unwrap(), "our table alone is no store");

    run_script(&global, include_str!("../../sql/sql_server/gsm/0102.sql")).await;
    let map: Range = env.manager().await.create_range_shard_map("ranges").await.unwrap();
    assert!(map.shard_descriptions().await.unwrap().is_empty());
    let shards = env.shards(&map, 1).await;
    map.describe_shard(&shards[0], "south").await.unwrap();
    assert_eq!(map.shard_descriptions().await.unwrap()[&shards[0].id()], "south");

    // It goes with the procedures, and comes back with them.
    run_script(&global, include_str!("../../sql/sql_server/drop_procedures.sql")).await;
    assert!(!has_descriptions(&global).await);
    assert!(map.shard_descriptions().await.unwrap().is_empty());
    assert!(has_descriptions(&global).await);
}

async fn a_table_of_descriptions_that_went_missing_is_made_again() {
    let env = Live::new().await;
    let map = two_ranges(&env).await;
    let shard = map.shard(&env.location(0)).await.unwrap();
    let global = env.databases.global();
    let mut direct = Direct::to(&global).await;
    let forget = "DROP TABLE __ShardManagement.ShardDescriptionsGlobal";
    direct.run(forget).await;
    assert!(map.shard_descriptions().await.unwrap().is_empty());
    assert!(has_descriptions(&global).await);
    direct.run(forget).await;
    map.describe_shard(&shard, "north").await.unwrap();
    assert_eq!(map.shard_descriptions().await.unwrap()[&shard.id()], "north");

    // One of another form is not ours to mend, nor is a store that lacks more.
    direct.run(forget).await;
    direct.run("CREATE TABLE __ShardManagement.ShardDescriptionsGlobal (ShardId uniqueidentifier)").await;
    let damaged = map.shard_descriptions().await.unwrap_err();
    assert_eq!(damaged.kind(), ErrorKind::StoreDamaged, "{damaged:?}");
    direct.run(forget).await;
    direct.run("DROP TABLE __ShardManagement.OperationsLogGlobal").await;
    let damaged = map.describe_shard(&shard, "south").await.unwrap_err();
    assert_eq!(damaged.kind(), ErrorKind::StoreDamaged, "{damaged:?}");
    assert!(damaged.to_string().contains("OperationsLogGlobal"), "{damaged}");
    assert!(!has_descriptions(&global).await);
}

/// The reference library drops its tables, and the schema with the last of them.
async fn what_we_have_added_goes_before_the_schema() {
    let env = Live::new().await;
    let map = two_ranges(&env).await;
    let shard = map.shard(&env.location(0)).await.unwrap();
    map.describe_shard(&shard, "north").await.unwrap();
    let global = env.databases.global();
    run_script(&global, include_str!("../../sql/sql_server/drop_procedures.sql")).await;
    let mut direct = Direct::to(&global).await;
    // As that library does: it knows no tables but its own.
    for table in [
        "ShardMappingsGlobal",
        "ShardsGlobal",
        "ShardMapsGlobal",
        "OperationsLogGlobal",
        "ShardedDatabaseSchemaInfosGlobal",
        "ShardMapManagerGlobal",
    ] {
        direct.run(&format!("DROP TABLE __ShardManagement.{table}")).await;
    }
    direct.run("DROP SCHEMA __ShardManagement").await;
    // Then there is room for another one.
    assert_eq!(env.backend().global_version().await.unwrap(), None);
    let manager = env.manager().await;
    assert!(manager.shard_maps().await.unwrap().is_empty());
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
        assert_eq!(refused.kind(), ErrorKind::VersionMismatch, "{refused:?}");
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

/// The batches of a script.
fn batches(script: &str) -> Vec<String> {
    let mut batches = vec![String::new()];
    for line in script.lines() {
        if line.trim().eq_ignore_ascii_case("go") {
            batches.push(String::new());
        } else {
            let batch = batches.last_mut().unwrap();
            batch.push_str(line);
            batch.push('\n');
        }
    }
    batches.retain(|batch| !batch.trim().is_empty());
    batches
}

/// Runs a script as an administrator would.
async fn run_script(database: &str, script: &str) {
    let mut direct = Direct::to(database).await;
    for batch in batches(script) {
        let done = direct.try_run(&batch).await;
        done.unwrap_or_else(|error| panic!("{error}\n{batch}"));
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

const STEPS: [[&str; 2]; 2] = [
    [
        include_str!("../../sql/sql_server/gsm/0100_to_0101.sql"),
        include_str!("../../sql/sql_server/gsm/0101_to_0102.sql"),
    ],
    [
        include_str!("../../sql/sql_server/lsm/0100_to_0101.sql"),
        include_str!("../../sql/sql_server/lsm/0101_to_0102.sql"),
    ],
];

/// Gives the stores of the map's shards, and the global one, an older version.
async fn make_older(env: &Live, minor: i32) {
    let places = [Place::Global, Place::Shard(env.location(0)), Place::Shard(env.location(1))];
    for place in &places {
        match minor {
            0 => env.set_version_1_0(place).await,
            _ => env.set_version(place, 1, minor).await,
        }
    }
}

async fn two_clients_upgrade_at_once() {
    let env = Live::new().await;
    let map = two_ranges(&env).await;
    for minor in [0, 1] {
        make_older(&env, minor).await;
        let [a, b] = [(), ()].map(|()| env.databases.backend(SqlServerOptions::default()));
        let (a, b) = tokio::join!(ShardMapManager::upgrade(&a), ShardMapManager::upgrade(&b));
        for report in [a.unwrap(), b.unwrap()] {
            assert!(report.is_complete() && report.shards.len() == 2, "{report}");
        }
        drop(map.open_connection_for_key(&5, &credentials(), Validation::Validate).await.unwrap());
        assert_consistent(env.backend(), &env.places(), "upgraded").await;
    }
}

/// Some requests on the connection, in which those of others reach the server.
async fn busy(direct: &mut Direct) {
    for _ in 0..100 {
        let _ = direct.rows("SELECT 1", &[]).await;
    }
}

async fn clients_wait_for_an_upgrade_and_go_on() {
    let env = Live::new().await;
    let (map, credentials) = (two_ranges(&env).await, credentials());
    for (minor, steps) in [(0, 2), (1, 1)] {
        make_older(&env, minor).await;
        // Another client has done all the steps of a store and not committed the last one.
        let upgrading = async |database: &str, scripts: [&str; 2]| {
            let mut direct = Direct::to(database).await;
            let mut all: Vec<_> = scripts.iter().skip(2 - steps).flat_map(|script| batches(script)).collect();
            let commit = all.pop().unwrap();
            for batch in &all {
                direct.run(batch).await;
            }
            (direct, commit)
        };
        let mut reading = std::pin::pin!(map.mapping_for_key(&5));
        let (mut direct, commit) = upgrading(&env.databases.global(), STEPS[0]).await;
        tokio::select! {
            biased;
            read = &mut reading => panic!("it did not wait: {read:?}"),
            () = busy(&mut direct) => {}
        }
        direct.run(&commit).await;
        let _ = reading.await.unwrap();

        let mut opening = std::pin::pin!(map.open_connection_for_key(&5, &credentials, Validation::Validate));
        let (mut direct, commit) = upgrading(&env.databases.shard(0), STEPS[1]).await;
        tokio::select! {
            biased;
            opened = &mut opening => panic!("it did not wait: {opened:?}"),
            () = busy(&mut direct) => {}
        }
        direct.run(&commit).await;
        drop(opening.await.unwrap());
        let report = ShardMapManager::upgrade(env.backend()).await.unwrap();
        assert!(report.is_complete(), "{report}");
    }
}

/// What a database says of a routine of the reference library.
async fn has(database: &str, routine: &str) -> bool {
    let sql = "SELECT 1 FROM INFORMATION_SCHEMA.ROUTINES WHERE LOWER(ROUTINE_NAME) = LOWER(@P1)";
    !Direct::to(database).await.rows(sql, &[&routine]).await.is_empty()
}

async fn a_step_that_fails_leaves_the_version_before_it() {
    let env = Live::new().await;
    let _ = two_ranges(&env).await;
    let backend = env.backend();
    let (database, place, at) = (env.databases.shard(0), Place::Shard(env.location(0)), env.location(0));
    let mut direct = Direct::to(&database).await;
    let table = "__ShardManagement.ShardMapManagerLocal";
    for (minor, hold, release) in [
        (
            0,
            format!("CREATE TABLE dbo.holds (v int NOT NULL REFERENCES {table} (StoreVersion))"),
            "DROP TABLE dbo.holds".to_owned(),
        ),
        (
            1,
            format!("ALTER TABLE {table} ADD CONSTRAINT held CHECK (StoreVersionMinor < 2)"),
            format!("ALTER TABLE {table} DROP CONSTRAINT held"),
        ),
    ] {
        match minor {
            0 => env.set_version_1_0(&place).await,
            _ => env.set_version(&place, 1, minor).await,
        }
        direct.run("CREATE PROCEDURE __ShardManagement.spUpdateShardLocal AS SELECT 1").await;
        direct.run(&hold).await;
        let from = StoreVersion { major: 1, minor };
        for _ in 0..2 {
            let error = backend.upgrade_local(&at).await.unwrap_err();
            assert_eq!((error.kind(), error.place()), (ErrorKind::StoreDamaged, Some(&place)), "{error:?}");
            assert_eq!(backend.local_version(&at).await.unwrap(), Some(from));
            assert!(has(&database, "spUpdateShardLocal").await, "the whole step was rolled back");
        }
        direct.run(&release).await;
        let done = backend.upgrade_local(&at).await.unwrap();
        assert_eq!(done, StoreUpgrade::new(from, StoreVersion::CURRENT));
        assert!(!has(&database, "spUpdateShardLocal").await);
    }
    assert_consistent(env.backend(), &env.places(), "after all").await;
}

async fn a_step_that_was_done_by_hand_is_not_done_again() {
    let env = Live::new().await;
    let _ = two_ranges(&env).await;
    make_older(&env, 0).await;
    run_script(&env.databases.global(), STEPS[0][0]).await;
    run_script(&env.databases.shard(0), STEPS[1][0]).await;
    let done = StoreUpgrade::new(StoreVersion { major: 1, minor: 1 }, StoreVersion::CURRENT);
    assert_eq!(env.backend().upgrade_global().await.unwrap(), done);
    assert_eq!(env.backend().upgrade_local(&env.location(0)).await.unwrap(), done);
    // Procedures that fit are not dropped by a script that comes late.
    for (database, scripts, routine) in [
        (env.databases.global(), STEPS[0], "spLockOrUnlockShardMappingsGlobal"),
        (env.databases.shard(0), STEPS[1], "spUpdateShardLocal"),
    ] {
        let mut direct = Direct::to(&database).await;
        direct.run(&format!("CREATE PROCEDURE __ShardManagement.{routine} AS SELECT 1")).await;
        for script in scripts {
            run_script(&database, script).await;
        }
        assert!(has(&database, routine).await);
    }
    assert_eq!(env.backend().global_version().await.unwrap(), Some(StoreVersion::CURRENT));
    let local = env.backend().local_version(&env.location(0)).await.unwrap();
    assert_eq!(local, Some(StoreVersion::CURRENT));
}
