//! Backends: how a kind of database is reached.
//!
//! [`Backend`] is what every layer above knows of one: its credentials, the connection that it hands to applications, and
//! that a shard can be forgotten. The contracts of its stores are [`GlobalStore`](crate::gsm::GlobalStore) and
//! [`LocalStore`](crate::lsm::LocalStore), implemented for the same type. Connecting, pools and transactions live below
//! here, a folder for each backend; SQL of the stores does not.

#[cfg(any(feature = "sqlite", feature = "sql-server"))]
mod pools;
#[cfg(feature = "sql-server")]
pub mod sql_server;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "sqlite", feature = "sql-server"))]
pub(crate) mod stored;

use std::fmt::Debug;
use std::time::Duration;

use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::model::ShardLocation;

/// A kind of database: a cheap, shared handle with its pools behind it.
pub trait Backend: Clone + Debug + Send + Sync + 'static {
    /// What an application gives to open a connection to a shard. It names no server and no database.
    type Credentials: Send + Sync;

    /// The connection that an application gets.
    type Connection: Debug + Send;

    /// Closes the idle connections to a shard that has left its map, and forgets what is known about it.
    fn forget_shard(&self, location: &ShardLocation);
}

/// How long a backend waits for what. Each is a bound on one wait; an error of kind
/// [`TimedOut`](crate::ErrorKind::TimedOut) names the one that ran out. Start from the default and set what differs.
///
/// ```
/// use std::time::Duration;
/// use shardlet::Timeouts;
/// let timeouts = Timeouts::default().command(Duration::from_secs(5));
/// assert_eq!(timeouts.connect, Duration::from_secs(15));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Opening a connection; waiting for a place and a turn to open it comes before that. 15 s unless set.
    pub connect: Duration,
    /// One request to a store, and in it each wait for a lock of the database. 30 s unless set. Statements of the application
    /// are not bounded, but on SQLite for those waits.
    pub command: Duration,
    /// A free connection of a pool. 30 s unless set.
    pub pool_wait: Duration,
    /// Another client's lock on an operation. 60 s unless set, as in the reference library.
    pub operation_lock: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            command: Duration::from_secs(30),
            pool_wait: Duration::from_secs(30),
            operation_lock: Duration::from_secs(60),
        }
    }
}

impl Timeouts {
    /// Sets [`Timeouts::connect`].
    #[must_use]
    pub fn connect(mut self, limit: Duration) -> Self {
        self.connect = limit;
        self
    }

    /// Sets [`Timeouts::command`].
    #[must_use]
    pub fn command(mut self, limit: Duration) -> Self {
        self.command = limit;
        self
    }

    /// Sets [`Timeouts::pool_wait`].
    #[must_use]
    pub fn pool_wait(mut self, limit: Duration) -> Self {
        self.pool_wait = limit;
        self
    }

    /// Sets [`Timeouts::operation_lock`].
    #[must_use]
    pub fn operation_lock(mut self, limit: Duration) -> Self {
        self.operation_lock = limit;
        self
    }
}

/// Does something that may block where it cannot be awaited, on a blocking thread if there is a runtime.
pub(crate) fn off_thread(work: impl FnOnce() + Send + 'static) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(work)),
        Err(_) => work(),
    }
}

/// Runs something on a blocking thread; a panic goes on in the caller.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => Ok(value),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::new(
                ErrorKind::Transient,
                ErrorCode::StorageOperationFailure,
                "the runtime is shutting down",
            )),
        },
    }
}
