//! The roles of `sql/sql_server/permissions.sql`: each can do its part and no more. Only where procedures and tables of one
//! owner are a chain, which Babelfish does not have.

use libtest_mimic::Trial;
use shardlet::gsm::GlobalStore;
use shardlet::{
    ErrorKind, ListShardMap, Options, SchemaInfo, SessionPolicy, ShardMapManager, SqlCredentials, SqlServer,
    SqlServerOptions, Validation,
};

use crate::server::{Databases, Direct, address, connection_string};
use crate::trials::trial;

const SCRIPT: &str = include_str!("../../sql/sql_server/permissions.sql");
const PASSWORD: &str = "Shardlet-live-test-1!";

/// Logins for the three roles, dropped by [`Logins::drop_all`].
pub struct Logins {
    names: [String; 3],
}

pub const ROLES: [&str; 3] = ["shardlet_management", "shardlet_access", "shardlet_connection"];

impl Logins {
    pub async fn create(databases: &Databases, places: &[String]) -> Self {
        let prefix = databases.global().replace("_gsm", "");
        let names = ["m", "a", "c"].map(|role| format!("{prefix}_{role}"));
        let mut master = Direct::to("master").await;
        for name in &names {
            master.run(&format!("CREATE LOGIN [{name}] WITH PASSWORD = '{PASSWORD}'")).await;
        }
        // What ending sessions takes is a right of the server, which Babelfish does not grant.
        for right in ["VIEW SERVER STATE", "ALTER ANY CONNECTION"] {
            if !crate::server::is_babelfish().await {
                master.run(&format!("GRANT {right} TO [{}]", names[0])).await;
            }
        }
        Self::grant(places).await;
        for place in places {
            let mut direct = Direct::to(place).await;
            for (name, role) in names.iter().zip(ROLES) {
                direct.run(&format!("CREATE USER [{name}] FOR LOGIN [{name}]")).await;
                direct.run(&format!("ALTER ROLE {role} ADD MEMBER [{name}]")).await;
            }
        }
        Self { names }
    }

    /// Makes the roles, and gives them what they are for, as far as it is installed.
    pub async fn grant(places: &[String]) {
        for place in places {
            let mut direct = Direct::to(place).await;
            for batch in SCRIPT.split("\nGO\n").filter(|batch| !batch.trim().is_empty()) {
                direct.run(batch).await;
            }
        }
    }

    pub fn credentials(&self, role: usize) -> SqlCredentials {
        SqlCredentials::login(&self.names[role], PASSWORD)
    }

    pub async fn drop_all(self) {
        let mut master = Direct::to("master").await;
        for name in &self.names {
            let sessions = "SELECT CONVERT(int, session_id) FROM sys.dm_exec_sessions WHERE login_name = @P1";
            for row in master.rows(sessions, &[name]).await {
                let _ = master.try_run(&format!("KILL {}", row.get::<i32, _>(0).unwrap())).await;
            }
            master.run(&format!("DROP LOGIN [{name}]")).await;
        }
    }
}

pub fn backend(databases: &Databases, login: &SqlCredentials) -> SqlServer {
    SqlServer::open_as(&connection_string(&databases.global()), login, SqlServerOptions::default()).unwrap()
}

/// Ignored on an engine that has no chains, with that reason.
pub fn trials() -> Vec<Trial> {
    let name = "permissions::each_role_can_do_its_part_and_no_more".to_owned();
    if address().is_some() && is_babelfish() {
        let reason = "not testable on Babelfish, which does not chain ownership";
        return vec![Trial::test(name, || Ok(())).with_kind(reason).with_ignored_flag(true)];
    }
    vec![trial(name, each_role_can_do_its_part_and_no_more)]
}

fn is_babelfish() -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(async {
        let engine = "SELECT CASE WHEN SERVERPROPERTY('babelfish') IS NULL THEN 0 ELSE 1 END";
        Direct::to("master").await.rows(engine, &[]).await
    });
    rows[0].get::<i32, _>(0) == Some(1)
}

async fn each_role_can_do_its_part_and_no_more() {
    let databases = Databases::create(2).await;
    let owner = databases.backend(SqlServerOptions::default());
    let manager = ShardMapManager::open_or_create(owner, Options::default()).await.unwrap();
    let map: ListShardMap<i64, _> = manager.create_list_shard_map("tenants").await.unwrap();
    let shards = [
        map.create_shard(&databases.location(0)).await.unwrap(),
        map.create_shard(&databases.location(1)).await.unwrap(),
    ];
    let places = [databases.global(), databases.shard(0), databases.shard(1)];
    let logins = Logins::create(&databases, &places).await;

    // Management: every change, sessions included.
    let managing =
        ShardMapManager::open(backend(&databases, &logins.credentials(0)), Options::default()).await.unwrap();
    let tenants: ListShardMap<i64, _> = managing.list_shard_map("tenants").await.unwrap();
    let mapping = tenants.create_mapping(7, &shards[0]).await.unwrap();
    let info = SchemaInfo::new();
    managing.create_schema_info("tenants", &info).await.unwrap();
    managing.update_schema_info("tenants", &info).await.unwrap();
    assert_eq!(managing.schema_infos().await.unwrap().len(), 1);
    let report = ShardMapManager::upgrade(managing.backend()).await.unwrap();
    assert!(report.is_complete() && !report.is_change(), "what it cannot see is not missing: {report}");

    // Access to the global store, and the application's own login at the shard.
    let routing = ShardMapManager::open(backend(&databases, &logins.credentials(1)), Options::default()).await.unwrap();
    let routed: ListShardMap<i64, _> = routing.list_shard_map("tenants").await.unwrap();
    let application = logins.credentials(2);
    let mut connection = routed.open_connection_for_key(&7, &application, Validation::Validate).await.unwrap();
    let one = connection.query("SELECT 1", &[]).await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(one.get::<i32, _>(0), Some(1));

    // No more than that.
    let refused = connection.execute("DELETE FROM __ShardManagement.ShardMappingsLocal", &[]).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Credentials, "an application reads no store");
    let refused = routed.create_mapping(8, &shards[0]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Credentials, "who routes changes nothing: {refused}");
    let refused = routing.create_list_shard_map::<i64>("other").await.map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Credentials, "{refused}");
    assert_eq!(routing.schema_info("tenants").await.unwrap(), info);
    assert_eq!(routing.schema_infos().await.unwrap().len(), 1);
    for refused in [
        routing.create_schema_info("other", &info).await,
        routing.update_schema_info("tenants", &info).await,
        routing.delete_schema_info("tenants").await,
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Credentials, "who routes changes no schema information");
    }
    managing.delete_schema_info("tenants").await.unwrap();
    tenants.describe_shard(&shards[0], "north").await.unwrap();
    assert_eq!(tenants.shard_descriptions().await.unwrap().len(), 1);
    assert_eq!(routed.shard_descriptions().await.unwrap()[&shards[0].id()], "north");
    let refused = routed.describe_shard(&shards[0], "south").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Credentials, "who routes describes no shard: {refused}");
    let refused = backend(&databases, &application).shard_maps().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Credentials, "an application's login reads no global store: {refused}");

    let (offline, ended) = tenants.mark_mapping_offline_with(mapping, SessionPolicy::EndNow).await.unwrap();
    assert_eq!(ended.ended, 1);
    let moved = tenants.move_mapping(offline, &shards[1]).await.unwrap();
    tenants.delete_mapping(moved).await.unwrap();
    drop((connection, tenants, managing, routed, routing));
    logins.drop_all().await;
}
