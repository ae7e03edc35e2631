//! The embedded backend: SQLite files in one directory, or databases in memory.
//!
//! Here are opening, pools, operation locks between processes, sessions, and the connection that applications get. The SQL
//! of the global and local stores is in `gsm` and `lsm`.
//!
//! Invariant: whatever waits for SQLite runs on tokio's blocking threads, and a connection goes back to its pool only
//! when nothing runs on it and it is in the state in which it was opened.

mod connection;
mod fault;
mod file_identity;
mod layout;
#[cfg(feature = "fault-points")]
mod metered;
mod operation_lock;
mod options;
mod pool;
mod pooled;
mod rights;
mod rows;
mod sessions;
mod setup;
mod store;
mod upgrade;

use std::path::Path;
use std::sync::Arc;

pub use connection::{SqliteConnection, SqliteTransaction};
pub(crate) use fault::{StatementFault, store_fault};
pub(crate) use layout::DatabaseName;
pub(crate) use operation_lock::OperationLock;
pub use options::{Durability, SqliteOptions};
pub(crate) use pool::Database;
pub(crate) use sessions::{SessionKey, record_ending};
pub(crate) use store::{SHARD_DESCRIPTIONS, StoreKind};

use self::layout::Storage;
use self::operation_lock::OperationLocks;
use self::pool::Shared;
use self::sessions::Sessions;
use super::Backend;
use crate::error::Result;
use crate::model::{OperationId, ShardLocation};

/// The embedded backend: a global store and one database per shard, as files below a directory or in memory.
///
/// Cloning is cheap and shares pools and limits; use one per directory and process. Several processes may use one
/// directory at the same time, on one machine: SQLite does not work over network file systems.
///
/// The global store is `gsm.db`; the shard at server `s` and database `d` is `shards/s/d.db`, names in lower case
/// with everything but letters, digits, `-`, `_` and `.` escaped. Creating a shard makes its file if there is none.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> shardlet::Result<()> {
/// use std::time::Duration;
/// use shardlet::{Options, ShardMapManager, Sqlite, SqliteOptions, Timeouts};
///
/// let timeouts = Timeouts::default().command(Duration::from_secs(5)).pool_wait(Duration::from_secs(2));
/// let options = SqliteOptions::default().timeouts(timeouts).max_connections(64);
/// let backend = Sqlite::open_with("./data", options)?;
/// let manager = ShardMapManager::open_or_create(backend, Options::default()).await?;
/// # let _ = manager;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Sqlite {
    inner: Arc<Inner>,
}

struct Inner {
    options: SqliteOptions,
    shared: Arc<Shared>,
    locks: OperationLocks,
    sessions: Sessions,
}

/// The credentials of a backend that has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoCredentials;

impl Sqlite {
    /// Databases below a directory, with default options. Nothing is read or written until a store is opened; creating a
    /// store makes the directory.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the path is empty or the working directory is gone.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(directory, SqliteOptions::default())
    }

    /// Databases below a directory.
    ///
    /// # Errors
    /// As [`Sqlite::open`].
    pub fn open_with(directory: impl AsRef<Path>, options: SqliteOptions) -> Result<Self> {
        Ok(Self::on(Storage::directory(directory.as_ref())?, options))
    }

    /// Databases in the memory of this process, gone with the last clone of this value. For tests and examples.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::in_memory_with(SqliteOptions::default())
    }

    /// Databases in the memory of this process.
    #[must_use]
    pub fn in_memory_with(options: SqliteOptions) -> Self {
        Self::on(Storage::memory(), options)
    }

    fn on(storage: Storage, options: SqliteOptions) -> Self {
        let storage = Arc::new(storage);
        // The fields are public, so what the setters keep is kept here, too.
        let options = options
            .clone()
            .max_connections_per_database(options.max_connections_per_database)
            .max_connections(options.max_connections);
        let inner = Inner {
            locks: OperationLocks::new(Arc::clone(&storage), options.timeouts.operation_lock),
            shared: Shared::new(storage, options.clone()),
            sessions: Sessions::default(),
            options,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The options that it was opened with.
    #[must_use]
    pub fn options(&self) -> &SqliteOptions {
        &self.inner.options
    }

    /// The database of the global store.
    pub(crate) fn global(&self) -> Database {
        self.inner.shared.database(DatabaseName::Global)
    }

    /// The database of a shard.
    pub(crate) fn shard(&self, location: &ShardLocation) -> Database {
        self.inner.shared.database(DatabaseName::shard(location))
    }

    /// See [`GlobalStore::lock_operation`](crate::gsm::GlobalStore::lock_operation).
    pub(crate) async fn lock(&self, id: OperationId) -> Result<OperationLock> {
        self.inner.locks.take(id).await
    }

    /// The lock for work on a local store: that of the global store, which its holder shares. It is one file for every
    /// client of the directory, and everybody takes the global lock first.
    pub(crate) async fn shared_lock(&self, id: OperationId) -> Result<OperationLock> {
        match self.inner.locks.shared(id) {
            Some(lock) => Ok(lock),
            None => self.lock(id).await,
        }
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }
}

impl Backend for Sqlite {
    type Credentials = NoCredentials;
    type Connection = SqliteConnection;

    fn forget_shard(&self, location: &ShardLocation) {
        let forgotten = DatabaseName::shard(location);
        self.inner.shared.pools.forget(|name| *name == forgotten);
    }
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sqlite({})", self.inner.shared.storage)
    }
}
