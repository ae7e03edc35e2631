//! The server as an environment of the conformance suite.

use shardlet::{Place, ShardLocation, SqlCredentials, SqlServer, SqlServerOptions, Timeouts};

use crate::conformance::{Access, Environment};
use crate::server::{Databases, Direct, credentials};

/// As many databases as the cases use.
const SHARDS: usize = 6;

pub struct Live {
    /// Before the databases, so that its pools close first.
    backend: SqlServer,
    databases: Databases,
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
        let (database, table) = match place {
            Place::Shard(location) => (location.database().to_owned(), "ShardMapManagerLocal"),
            _ => (self.databases.global(), "ShardMapManagerGlobal"),
        };
        let sql = format!("UPDATE __ShardManagement.{table} SET StoreVersionMajor = @P1, StoreVersionMinor = @P2");
        assert_eq!(Direct::to(&database).await.execute(&sql, &[&major, &minor]).await, 1);
    }
}
