//! Pools of SQLite connections: one per database. Connections to the global store do not count in the overall bound, so
//! that shards cannot starve it.

use std::sync::Arc;

use deadpool::managed;
use rusqlite::Connection;
use tokio::sync::OwnedSemaphorePermit;

use super::layout::{DatabaseName, Storage};
use super::options::SqliteOptions;
use super::pooled::{Connector, PooledConnection};
use super::rights;
use super::setup::{configure, use_wal};
use crate::backend::blocking;
use crate::backend::pools::{PoolLimits, PoolName, Pools};
use crate::error::{Error, Result};
use crate::model::{Place, StoreRights};

impl PoolName for DatabaseName {
    fn counts(&self) -> bool {
        *self != Self::Global
    }
}

/// What all databases of a backend share.
pub(super) struct Shared {
    pub(super) storage: Arc<Storage>,
    pub(super) options: SqliteOptions,
    pub(super) pools: Pools<DatabaseName, Connector>,
}

impl Shared {
    pub(super) fn new(storage: Arc<Storage>, options: SqliteOptions) -> Arc<Self> {
        let pools = Pools::new(PoolLimits {
            per_name: options.max_connections_per_database,
            overall: options.max_connections,
            idle_time: options.idle_time,
            wait: options.timeouts.pool_wait,
            connect: options.timeouts.connect,
        });
        Arc::new(Self { storage, options, pools })
    }

    pub(super) fn database(self: &Arc<Self>, name: DatabaseName) -> Database {
        Database { name, shared: Arc::clone(self) }
    }

    /// See [`Pools::permit`].
    pub(super) async fn permit(&self, name: &DatabaseName) -> Result<Option<OwnedSemaphorePermit>> {
        self.pools.permit(name).await
    }
}

/// A database: where connections to it come from.
#[derive(Clone)]
pub(crate) struct Database {
    name: DatabaseName,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database({})", self.name.place())
    }
}

impl Database {
    pub(crate) fn name(&self) -> &DatabaseName {
        &self.name
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Names this database in an error.
    pub(crate) fn blame(&self, error: Error) -> Error {
        match self.name.place() {
            Place::Global => error.at_global(),
            Place::Shard(location) => error.at_shard(&location),
        }
    }

    /// A connection from the pool, at most `pool_wait` after.
    pub(crate) async fn connection(&self) -> Result<PooledConnection> {
        let object = self.checkout().await.map_err(|error| self.blame(error))?;
        Ok(PooledConnection::new(self.clone(), object))
    }

    /// One request on a connection from the pool.
    #[tracing::instrument(level = "trace", skip_all, fields(database = ?self))]
    pub(crate) async fn run<T, F>(&self, request: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    {
        self.connection().await?.run(request).await
    }

    /// True if the database is there.
    pub(crate) async fn exists(&self) -> Result<bool> {
        let this = self.clone();
        blocking(move || this.shared.storage.exists(&this.name)).await?.map_err(|error| self.blame(error))
    }

    /// What this process may do with the database, there or not.
    pub(crate) async fn rights(&self) -> Result<StoreRights> {
        let this = self.clone();
        blocking(move || rights::of(&this.shared.storage, &this.name)).await
    }

    /// Makes the database if there is none, in WAL mode, and runs a request on it outside the pool.
    pub(crate) async fn create<T, F>(&self, request: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    {
        let permit = self.shared.permit(&self.name).await.map_err(|error| self.blame(error))?;
        let this = self.clone();
        blocking(move || {
            let _permit = permit;
            let mut connection = this.shared.storage.create(&this.name)?;
            configure(&mut connection, &this.name, &this.shared.options)?;
            use_wal(&connection, this.shared.options.timeouts.command)?;
            request(&mut connection)
        })
        .await?
        .map_err(|error| self.blame(error))
    }

    pub(super) async fn checkout(&self) -> Result<managed::Object<Connector>> {
        self.shared.pools.checkout(&self.name, || Connector::new(self.name.clone(), &self.shared)).await
    }
}
