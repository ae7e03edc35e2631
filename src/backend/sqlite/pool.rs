//! Pools: one per database, all under one bound.
//!
//! Invariants: no more than `max_connections` to shards are open, in use, idle or still busy with an abandoned request, and
//! nobody waits for one while another is idle. Connections to the global store do not count, so that shards cannot starve
//! it.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{self, PoolError, TimeoutType, Timeouts};
use rusqlite::Connection;
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore};

use super::layout::{DatabaseName, Storage};
use super::options::SqliteOptions;
use super::pooled::{Connector, PooledConnection, Slot};
use super::setup::{configure, use_wal};
use crate::backend::blocking;
use crate::error::{Error, Limit, Result};
use crate::model::Place;

/// Idle connections are looked for at most this often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The most connections to one database, whatever is asked for: a pool sets aside room for all that it may hold.
const LARGEST_POOL: usize = 4_096;

/// All pools of a backend.
pub(super) struct Pools {
    shared: Arc<Shared>,
}

/// What the pools of a backend share.
pub(super) struct Shared {
    pub(super) storage: Arc<Storage>,
    pub(super) options: SqliteOptions,
    permits: Arc<Semaphore>,
    /// Told when a connection has gone back to its pool, where whoever waits for a permit may close it.
    pub(super) returned: Notify,
    pools: Mutex<HashMap<DatabaseName, Entry>>,
    swept: Mutex<Instant>,
}

struct Entry {
    pool: managed::Pool<Connector>,
    used: Instant,
}

impl Pools {
    pub(super) fn new(storage: Arc<Storage>, options: SqliteOptions) -> Self {
        let permits = Arc::new(Semaphore::new(options.max_connections.min(Semaphore::MAX_PERMITS)));
        let swept = Mutex::new(Instant::now());
        Self {
            shared: Arc::new(Shared {
                storage,
                options,
                permits,
                returned: Notify::new(),
                pools: Mutex::default(),
                swept,
            }),
        }
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.shared.storage
    }

    pub(super) fn database(&self, name: DatabaseName) -> Database {
        Database { name, shared: Arc::clone(&self.shared) }
    }

    pub(super) fn close_idle(&self, name: &DatabaseName) {
        let entry = self.shared.pools.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(entry) = entry {
            entry.pool.close();
        }
    }
}

impl Shared {
    /// The pool of a database, made if there is none.
    fn pool(self: &Arc<Self>, name: &DatabaseName) -> Result<managed::Pool<Connector>> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = pools.get_mut(name) {
            entry.used = Instant::now();
            return Ok(entry.pool.clone());
        }
        let limits = &self.options.timeouts;
        let pool = managed::Pool::builder(Connector::new(name.clone(), self))
            .max_size(self.options.max_connections_per_database.min(LARGEST_POOL))
            .timeouts(Timeouts {
                wait: Some(limits.pool_wait),
                create: Some(limits.pool_wait.saturating_add(limits.connect)),
                recycle: None,
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| Error::internal("a connection pool could not be built").with_source(error))?;
        drop(pools.insert(name.clone(), Entry { pool: pool.clone(), used: Instant::now() }));
        Ok(pool)
    }

    /// Closes connections that have been idle for long. Called when one is asked for, so that no task of ours has to run.
    fn sweep(&self) {
        {
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            if swept.elapsed() < SWEEP_INTERVAL {
                return;
            }
            *swept = Instant::now();
        }
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in pools.values() {
            drop(entry.pool.retain(|_, metrics| metrics.last_used() < self.options.idle_time));
        }
    }

    /// A permit for one more connection, taken from idle ones of other databases if need be.
    pub(super) async fn permit(&self, name: &DatabaseName) -> Result<Option<OwnedSemaphorePermit>> {
        if *name == DatabaseName::Global {
            return Ok(None);
        }
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(Some(permit));
        }
        let wait = self.options.timeouts.pool_wait;
        match tokio::time::timeout(wait, self.permit_of_idle()).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            Ok(Err(_)) => Err(Error::internal("the bound on connections was closed")),
            Err(_) => Err(Error::timed_out(
                Limit::PoolWait,
                format!("all {} connections stayed in use for {wait:?}", self.options.max_connections),
            )),
        }
    }

    /// Waits for a permit, and closes idle connections for it whenever there are some.
    async fn permit_of_idle(&self) -> std::result::Result<OwnedSemaphorePermit, AcquireError> {
        let mut permit = pin!(Arc::clone(&self.permits).acquire_owned());
        loop {
            let mut returned = pin!(self.returned.notified());
            // Before the look at the idle ones, so that none goes back unseen in between.
            let _ = returned.as_mut().enable();
            self.close_least_used();
            let acquired = poll_fn(|context| match permit.as_mut().poll(context) {
                Poll::Ready(acquired) => Poll::Ready(Some(acquired)),
                Poll::Pending => returned.as_mut().poll(context).map(|()| None),
            });
            if let Some(acquired) = acquired.await {
                return acquired;
            }
        }
    }

    /// Closes the idle connections of the shard that was used longest ago. What only looks idle frees nothing: a place in a
    /// pool whose connection went with an abandoned request.
    fn close_least_used(&self) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let mut idle: Vec<_> = pools
            .iter()
            .filter(|(name, entry)| **name != DatabaseName::Global && entry.pool.status().available > 0)
            .map(|(_, entry)| entry)
            .collect();
        idle.sort_by_key(|entry| entry.used);
        for entry in idle {
            let closed = entry.pool.retain(|_, _| false).removed;
            if closed.iter().any(Slot::is_open) {
                return;
            }
        }
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
            configure(&connection, &this.shared.options)?;
            use_wal(&connection, this.shared.options.timeouts.command)?;
            request(&mut connection)
        })
        .await?
        .map_err(|error| self.blame(error))
    }

    pub(super) async fn checkout(&self) -> Result<managed::Object<Connector>> {
        self.shared.sweep();
        let wait = self.shared.options.timeouts.pool_wait;
        loop {
            return match self.shared.pool(&self.name)?.get().await {
                Ok(object) => Ok(object),
                // The shard was forgotten in between; the next round makes a new pool.
                Err(PoolError::Closed) => continue,
                Err(PoolError::Backend(error)) => Err(error),
                Err(PoolError::Timeout(TimeoutType::Wait)) => Err(Error::timed_out(
                    Limit::PoolWait,
                    format!(
                        "all {} connections to the database stayed in use for {wait:?}",
                        self.shared.options.max_connections_per_database
                    ),
                )),
                Err(PoolError::Timeout(_)) => {
                    Err(Error::timed_out(Limit::Connect, "the database took too long to open"))
                }
                Err(PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_)) => {
                    Err(Error::internal("the connection pool is not set up"))
                }
            };
        }
    }
}
