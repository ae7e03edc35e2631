//! The server as an environment of the conformance suite.

use shardlet::{
    Mapping, Options, Place, Shard, ShardLocation, ShardMap, ShardMapManager, SqlCredentials, SqlServer,
    SqlServerConnection, SqlServerOptions, Stores, Timeouts,
};

use crate::conformance::{Access, Environment};
use crate::model::Ground;
use crate::recovery::rebuilding::Damage;
use crate::server::{Databases, Direct, credentials};

/// As many databases as the cases use.
const SHARDS: usize = 6;

pub struct Live {
    /// Before the databases, so that its pools close first.
    backend: SqlServer,
    pub databases: Databases,
}

impl Live {
    pub async fn new() -> Self {
        Self::fresh(Timeouts::default()).await
    }

    /// A new store, or that which is there.
    pub async fn manager(&self) -> ShardMapManager<SqlServer> {
        ShardMapManager::open_or_create(self.backend.clone(), Options::default()).await.unwrap()
    }

    /// A manager with pools and a cache of its own.
    pub async fn other_manager(&self) -> ShardMapManager<SqlServer> {
        let backend = self.databases.backend(SqlServerOptions::default());
        ShardMapManager::open_or_create(backend, Options::default()).await.unwrap()
    }

    /// That many shards in a map.
    pub async fn shards<M: Mapping, B: Stores>(&self, map: &ShardMap<M, B>, count: usize) -> Vec<Shard> {
        let mut shards = Vec::new();
        for number in 0..count {
            shards.push(map.shard_or_create(&self.location(number)).await.unwrap());
        }
        shards
    }

    /// The database of a place, and the table of its store's version.
    fn version_table(&self, place: &Place) -> (String, &'static str) {
        match place {
            Place::Shard(location) => (location.database().to_owned(), "ShardMapManagerLocal"),
            _ => (self.databases.global(), "ShardMapManagerGlobal"),
        }
    }

    /// Every place that may be a shard.
    pub fn places(&self) -> Vec<ShardLocation> {
        (0..SHARDS).map(|number| self.location(number)).collect()
    }
}

impl Environment for Live {
    type Backend = SqlServer;

    async fn fresh(timeouts: Timeouts) -> Self {
        let databases = Databases::create(SHARDS).await;
        Self { backend: databases.backend(SqlServerOptions::default().timeouts(timeouts)), databases }
    }

    fn backend(&self) -> &SqlServer {
        &self.backend
    }

    fn credentials(&self) -> SqlCredentials {
        credentials()
    }

    fn location(&self, number: usize) -> ShardLocation {
        assert!(number < SHARDS, "there are {SHARDS} databases only");
        self.databases.location(number)
    }
}

impl Access for Live {
    async fn make_database(&self, location: &ShardLocation) {
        Direct::to(location.database()).await.run("CREATE TABLE dbo.orders (id int NOT NULL PRIMARY KEY)").await;
    }

    async fn set_version(&self, place: &Place, major: i32, minor: i32) {
        let (database, table) = self.version_table(place);
        let sql = format!("UPDATE __ShardManagement.{table} SET StoreVersionMajor = @P1, StoreVersionMinor = @P2");
        assert_eq!(Direct::to(&database).await.execute(&sql, &[&major, &minor]).await, 1);
    }

    async fn set_version_1_0(&self, place: &Place) {
        let (database, table) = self.version_table(place);
        let mut direct = Direct::to(&database).await;
        direct.run(&format!("DROP TABLE __ShardManagement.{table}")).await;
        let key = format!("CONSTRAINT pk{table}_StoreVersion PRIMARY KEY (StoreVersion)");
        direct.run(&format!("CREATE TABLE __ShardManagement.{table} (StoreVersion int NOT NULL, {key})")).await;
        direct.run(&format!("INSERT INTO __ShardManagement.{table} (StoreVersion) VALUES (1)")).await;
    }

    async fn empty_table(&self, place: &Place, table: &str) {
        let (database, _) = self.version_table(place);
        Direct::to(&database).await.run(&format!("DELETE FROM __ShardManagement.{table}")).await;
    }

    async fn drop_table(&self, place: &Place, table: &str) {
        let (database, _) = self.version_table(place);
        Direct::to(&database).await.run(&format!("DROP TABLE __ShardManagement.{table}")).await;
    }
}

impl Damage for Live {
    async fn run(&self, place: &Place, sql: &str) {
        let database = match place {
            Place::Shard(location) => location.database().to_owned(),
            _ => self.databases.global(),
        };
        let mut direct = Direct::to(&database).await;
        if sql.contains("SET ShardId") {
            // The engine keeps a row from naming a shard that is not there.
            let key = "ALTER TABLE __ShardManagement.ShardMappingsLocal DROP CONSTRAINT fkShardMappingsLocal_ShardId";
            direct.run(key).await;
        }
        direct.run(&sql.replace('{', "__ShardManagement.").replace('}', "")).await;
    }
}

impl Ground for Live {
    fn place(connection: &SqlServerConnection) -> ShardLocation {
        connection.location().clone()
    }
}
