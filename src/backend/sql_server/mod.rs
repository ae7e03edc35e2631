//! The SQL Server backend: SQL Server 2016 and later, Azure SQL Database, Managed Instance, and Babelfish.
//!
//! Here are connecting, credentials, pools, locks of operations, installation, and the connection that applications get. The
//! requests to the global and local stores are in `gsm` and `lsm`, the procedures that they call in `sql/sql_server/`.
//!
//! Invariants: a connection of unknown state is closed, never pooled; no value becomes part of SQL text; nothing prints a
//! secret.

mod bulk;
mod call;
mod connect;
mod connection;
mod credentials;
mod fault;
mod install;
mod link;
mod options;
mod pool;
mod rights;
mod row_stream;
mod rows;
mod session;
mod stamp;
mod target;
mod transaction;
mod turns;
mod upgrade;

use std::sync::Arc;

pub use bulk::SqlServerBulkInsert;
pub(crate) use call::{Call, Reply};
pub use connection::SqlServerConnection;
pub use credentials::SqlCredentials;
pub(crate) use fault::Doing;
pub(crate) use install::{Creation, StoreKind};
pub use options::SqlServerOptions;
pub(crate) use pool::{Database, user_suffix};
pub use row_stream::SqlServerRows;
pub(crate) use session::LockedSession;
pub(crate) use stamp::{Stamp, is_stamped};
pub use transaction::SqlServerTransaction;

use self::install::Found;
use self::link::Pooled;
use self::pool::Shared;
use super::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{OperationId, ShardLocation, StoreRights, StoreUpgrade, StoreVersion};

/// The SQL Server backend.
///
/// The connection string names the database of the global store and holds the *management* or *access* credentials, with
/// which that store and those of the shards are reached; applications bring their own [`SqlCredentials`] to each open. Shards
/// are reached at the server, port and database of their location, by TCP, with the other settings of the string
/// (encryption, trust, application name).
///
/// Cloning is cheap and shares pools and limits; use one per global store and process. Databases are not created: make them
/// first, then [create the store](crate::ShardMapManager::create) and the shards, which installs what this library needs in
/// them. Where the login may not install, run the scripts of `sql/sql_server` by hand.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> shardlet::Result<()> {
/// use shardlet::{ListShardMap, Options, ShardLocation, ShardMapManager, SqlCredentials, SqlServer, Validation};
///
/// let backend = SqlServer::open("Server=tcp:db-1,1433;Database=shard_map;User ID=admin;Password=...;Encrypt=true")?;
/// let manager = ShardMapManager::open_or_create(backend, Options::default()).await?;
/// let tenants: ListShardMap<i64, _> = manager.list_shard_map_or_create("tenants").await?;
/// let shard = tenants.shard_or_create(&ShardLocation::new("db-1", "tenants_0")).await?;
/// tenants.create_mapping(7, &shard).await?;
///
/// let application = SqlCredentials::login("app", "...");
/// let mut connection = tenants.open_connection_for_key(&7, &application, Validation::Validate).await?;
/// let rows = connection.query("SELECT name FROM items WHERE tenant = @P1", &[&7_i64]).await?.into_first_result().await?;
/// # let _ = rows;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SqlServer {
    shared: Arc<Shared>,
}

impl SqlServer {
    /// The backend whose global store is at the server and database of an ADO-style connection string, with default options.
    /// Nothing is connected until a store is opened.
    ///
    /// # Errors
    /// `InvalidInput` if the string cannot be parsed, or names no server or no database. It is not quoted.
    pub fn open(connection_string: &str) -> Result<Self> {
        Self::open_with(connection_string, SqlServerOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`SqlServer::open`].
    pub fn open_with(connection_string: &str, options: SqlServerOptions) -> Result<Self> {
        Ok(Self { shared: Shared::new(SqlCredentials::of_backend(connection_string)?, options) })
    }

    /// The same, logging in to the stores with another login or a token. All other settings are those of the string.
    ///
    /// # Errors
    /// As [`SqlServer::open`].
    pub fn open_as(connection_string: &str, login: &SqlCredentials, options: SqlServerOptions) -> Result<Self> {
        let place = SqlCredentials::of_backend(connection_string)?;
        Ok(Self { shared: Shared::new(place.with_login_of(login), options) })
    }

    /// The login that it was opened with, as credentials of connections: for tools that look at shards in their own name.
    /// Applications have [others](SqlCredentials), with fewer rights.
    #[must_use]
    pub fn credentials(&self) -> SqlCredentials {
        self.shared.management().clone()
    }

    /// The options that it was opened with.
    #[must_use]
    pub fn options(&self) -> &SqlServerOptions {
        &self.shared.options
    }

    /// A request to a store outside of an operation.
    pub(crate) async fn request<'c>(
        &self,
        database: &Database,
        doing: Doing,
        call: impl Fn() -> Call<'c>,
    ) -> Result<Reply> {
        self.shared.request(database, doing, call).await
    }

    /// The version of a store, or `None` where the database has none.
    pub(crate) async fn version(&self, database: &Database, kind: StoreKind) -> Result<Option<StoreVersion>> {
        let (_, found) = self.look(database, kind).await?;
        Ok(found.map(|found| found.version))
    }

    /// What the version table of a store says, and the connection that it was read on.
    async fn look(&self, database: &Database, kind: StoreKind) -> Result<(Pooled, Option<Found>)> {
        let limit = self.shared.options.timeouts.command;
        let mut lost_one = false;
        loop {
            let mut pooled = self.shared.checkout(database).await?;
            let reused = pooled.served_before();
            match install::look(&mut pooled, kind, limit).await {
                Err(error) if reused && !lost_one && error.kind() == ErrorKind::Transient => {
                    lost_one = true;
                    self.shared.close_idle(database);
                }
                Err(error) => return Err(database.target.blame(error)),
                Ok(found) => return Ok((pooled, found)),
            }
        }
    }

    /// What the login may do at a store, in one round trip.
    pub(crate) async fn rights(&self, database: &Database, kind: StoreKind) -> Result<StoreRights> {
        let limit = self.shared.options.timeouts.command;
        let mut pooled = self.shared.checkout(database).await?;
        let reused = pooled.served_before();
        let mut rights = rights::look(&mut pooled, kind, limit).await;
        if reused && rights.as_ref().is_err_and(|error| error.kind() == ErrorKind::Transient) {
            pooled = self.checkout_again(database).await?;
            rights = rights::look(&mut pooled, kind, limit).await;
        }
        rights.map_err(|error| database.target.blame(error))
    }

    /// Installs a store.
    pub(crate) async fn create(&self, database: &Database, kind: StoreKind, mode: Creation) -> Result<()> {
        let limit = self.shared.options.timeouts.command;
        let mut pooled = self.probed(database).await?;
        install::create(&mut pooled, kind, mode, limit).await.map_err(|error| database.target.blame(error))
    }

    /// Drops the global store, and says whether there was one.
    pub(crate) async fn drop_global_store(&self) -> Result<bool> {
        let database = Database::global();
        let mut pooled = self.probed(&database).await?;
        let dropped = install::drop_global(&mut pooled, self.shared.options.timeouts.command).await;
        dropped.map_err(|error| database.target.blame(error))
    }

    /// A connection for a script. One that served before is asked first whether it still does.
    async fn probed(&self, database: &Database) -> Result<Pooled> {
        let mut pooled = self.shared.checkout(database).await?;
        if pooled.served_before() && pooled.probe(self.shared.options.timeouts.command).await.is_err() {
            return self.checkout_again(database).await;
        }
        Ok(pooled)
    }

    /// Brings a store to the current version.
    pub(crate) async fn upgrade(&self, database: &Database, kind: StoreKind) -> Result<StoreUpgrade> {
        let (mut pooled, found) = self.look(database, kind).await?;
        let limit = self.shared.options.timeouts.command;
        upgrade::upgrade(&mut pooled, kind, found, limit).await.map_err(|error| database.target.blame(error))
    }

    /// Takes the lock of an operation at a store.
    pub(crate) async fn lock(&self, database: Database, kind: StoreKind, id: OperationId) -> Result<LockedSession> {
        LockedSession::take(&self.shared, database, kind, id).await
    }

    /// A connection for an application, and with a call one that the shard has vouched for by answering it.
    pub(crate) async fn routed<'c>(
        &self,
        database: &Database,
        location: &ShardLocation,
        stamp: &Stamp,
        validation: Option<impl Fn() -> Call<'c>>,
    ) -> Result<SqlServerConnection> {
        let place = || (database.clone(), location.clone());
        let limit = self.shared.options.timeouts.command;
        let (mut lost_one, mut installed) = (false, false);
        loop {
            let mut pooled = self.shared.checkout(database).await?;
            let Some(call) = &validation else {
                return Ok(SqlServerConnection::new(pooled, self.clone(), place(), Some(stamp.clone())));
            };
            let reused = pooled.served_before();
            pooled.leaves_stamp()?;
            match pooled.call(call(), Doing::Reading, limit).await {
                Ok(reply) => {
                    let _ = reply.accepted().map_err(|error| database.target.blame(error))?;
                    return Ok(SqlServerConnection::new(pooled, self.clone(), place(), None));
                }
                Err(error) if error.missing_procedure && !installed => {
                    installed = true;
                    // Back first: where many opens meet this, those that wait for a place must not hold them all.
                    drop(pooled);
                    self.install_local_procedures(database).await?;
                }
                Err(error) if reused && !lost_one && error.error.kind() == ErrorKind::Transient => {
                    lost_one = true;
                    self.shared.close_idle(database);
                }
                Err(error) if error.other_structure => {
                    drop(pooled);
                    return Err(self.explained(database, error.error).await);
                }
                Err(error) => return Err(database.target.blame(error.error)),
            }
        }
    }

    /// Why a shard's procedure did not find what it needs. Applications may not read the tables that tell.
    async fn explained(&self, database: &Database, error: Error) -> Error {
        let store = database.of_backend();
        let limit = self.shared.options.timeouts.command;
        let error = match self.shared.checkout(&store).await {
            Ok(mut pooled) => install::explain(&mut pooled, StoreKind::Local, limit, error).await,
            Err(_) => error,
        };
        database.target.blame(error)
    }

    /// A shard that the reference library has set up has none of our procedures; applications may not install them.
    async fn install_local_procedures(&self, database: &Database) -> Result<()> {
        let store = database.of_backend();
        let limit = self.shared.options.timeouts.command;
        let mut pooled = self.shared.checkout(&store).await?;
        install::procedures(&mut pooled, StoreKind::Local, limit).await.map_err(|error| store.target.blame(error))
    }

    /// Another connection in place of one that was lost before its user sent anything.
    pub(crate) async fn checkout_again(&self, database: &Database) -> Result<Pooled> {
        self.shared.close_idle(database);
        self.shared.checkout(database).await
    }
}

impl Backend for SqlServer {
    type Credentials = SqlCredentials;
    type Connection = SqlServerConnection;

    fn forget_shard(&self, location: &ShardLocation) {
        self.shared.forget(location);
    }
}

impl std::fmt::Debug for SqlServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqlServer")
    }
}
