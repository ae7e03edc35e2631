//! Pools: one per database, all under one bound.
//!
//! Invariants: no more than `max_connections` to shards are open, in use, idle or still busy with an abandoned request, and
//! nobody waits for one while another is idle; connections to the global store do not count, so that shards cannot
//! starve it; a
//! connection is in its pool only while nothing runs on it; one that has an open transaction, a temporary table, an
//! attached database or a changed setting is closed instead; so is one whose file was replaced under it.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{self, Metrics as Usage, PoolError, RecycleError, RecycleResult, TimeoutType, Timeouts};
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fault::store_fault;
use super::layout::{DatabaseName, Storage};
use super::options::{Durability, SqliteOptions};
use super::sessions::InterruptHandle;
use crate::backend::off_thread;
use crate::error::{Error, ErrorCode, ErrorKind, Limit, Result};
use crate::model::{Place, folded};

/// Names compare by this collation, as the columns of the reference library's store do on SQL Server.
const COLLATION: &str = "SQL_Latin1_General_CP1_CI_AS";
/// Idle connections are looked for at most this often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Prepared statements kept per connection.
const STATEMENTS: usize = 64;

/// All pools of a backend.
pub(super) struct Pools {
    shared: Arc<Shared>,
}

struct Shared {
    storage: Arc<Storage>,
    options: SqliteOptions,
    permits: Arc<Semaphore>,
    /// How many wait for a permit. Connections that come back are closed for them.
    waiting: AtomicUsize,
    pools: Mutex<HashMap<DatabaseName, Entry>>,
    swept: Mutex<Instant>,
}

struct Entry {
    pool: managed::Pool<Connector>,
    used: Instant,
}

impl Pools {
    pub(super) fn new(storage: Arc<Storage>, options: SqliteOptions) -> Self {
        let permits = Arc::new(Semaphore::new(options.max_connections));
        let swept = Mutex::new(Instant::now());
        let pools = Mutex::default();
        Self { shared: Arc::new(Shared { storage, options, permits, waiting: AtomicUsize::new(0), pools, swept }) }
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
        let pool = managed::Pool::builder(Connector { name: name.clone(), shared: Arc::downgrade(self) })
            .max_size(self.options.max_connections_per_database)
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
    async fn permit(&self, name: &DatabaseName) -> Result<Option<OwnedSemaphorePermit>> {
        if *name == DatabaseName::Global {
            return Ok(None);
        }
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(Some(permit));
        }
        let _waiting = Waiting::begin(&self.waiting);
        self.close_least_used();
        let wait = self.options.timeouts.pool_wait;
        match tokio::time::timeout(wait, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            Ok(Err(_)) => Err(Error::internal("the bound on connections was closed")),
            Err(_) => Err(Error::timed_out(
                Limit::PoolWait,
                format!("all {} connections stayed in use for {wait:?}", self.options.max_connections),
            )),
        }
    }

    /// Closes the idle connections of the database that was used longest ago.
    fn close_least_used(&self) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let mut idle: Vec<&Entry> = pools.values().filter(|entry| entry.pool.status().available > 0).collect();
        idle.sort_by_key(|entry| entry.used);
        if let Some(entry) = idle.first() {
            drop(entry.pool.retain(|_, _| false));
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
        Ok(PooledConnection { database: self.clone(), object, fresh: true })
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

    async fn checkout(&self) -> Result<managed::Object<Connector>> {
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

/// A connection taken from its pool. It goes back when this is dropped, if it is in a known state.
pub(crate) struct PooledConnection {
    database: Database,
    object: managed::Object<Connector>,
    /// True until the first request since it was taken.
    fresh: bool,
}

impl PooledConnection {
    /// Runs a request on a blocking thread.
    ///
    /// If the returned future is dropped, the request is interrupted and the connection is closed when it has ended.
    pub(crate) async fn run<T, F>(&mut self, request: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    {
        let mut request = request;
        loop {
            let Some(mut open) = self.object.open.take() else {
                // A request before this one was abandoned or panicked, or found its file replaced.
                self.object = self.database.checkout().await.map_err(|error| self.database.blame(error))?;
                self.fresh = true;
                continue;
            };
            let fresh = std::mem::replace(&mut self.fresh, false);
            let mut abandoned = InterruptOnDrop(Some(open.interrupt.clone()));
            let file = self.database.shared.storage.file(&self.database.name);
            let done = blocking(move || {
                if fresh && open.identity != FileIdentity::of(file.as_deref()) {
                    return Err(request);
                }
                let result = request(&mut open.connection);
                if !open.connection.is_autocommit() {
                    open.tainted.store(true, Ordering::Relaxed);
                }
                Ok((open, result))
            })
            .await;
            abandoned.0 = None;
            match done? {
                Ok((open, result)) => {
                    self.object.open = Some(open);
                    return result.map_err(|error| self.database.blame(error));
                }
                Err(unused) => request = unused,
            }
        }
    }

    /// Takes the connection out of the pool for good.
    pub(crate) async fn into_raw(mut self) -> Result<Connection> {
        self.run(|_| Ok(())).await?;
        // The slot goes back empty, and the pool discards it.
        let open = self.object.open.take();
        open.map(|open| open.connection).ok_or_else(|| Error::internal("the connection is gone"))
    }

    /// Interrupts whatever runs on this connection.
    pub(crate) fn interrupt_handle(&self) -> Option<InterruptHandle> {
        self.object.open.as_ref().map(|open| open.interrupt.clone())
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        if self.database.shared.waiting.load(Ordering::SeqCst) > 0 {
            // Somebody waits for a connection to another shard; idle in its pool this one would be in the way.
            self.object.close();
        }
    }
}

/// Counts one who waits, for as long as it lives.
struct Waiting<'w>(&'w AtomicUsize);

impl<'w> Waiting<'w> {
    fn begin(count: &'w AtomicUsize) -> Self {
        let _ = count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let _ = self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct InterruptOnDrop(Option<InterruptHandle>);

impl Drop for InterruptOnDrop {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.interrupt();
        }
    }
}

/// Runs something on a blocking thread; a panic goes on in the caller.
pub(super) async fn blocking<T, F>(work: F) -> Result<T>
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

/// Opens connections for one pool and judges those that come back.
struct Connector {
    name: DatabaseName,
    shared: Weak<Shared>,
}

/// What a pool holds: a connection, or nothing where a request took it and did not bring it back.
struct Slot {
    open: Option<Open>,
}

struct Open {
    connection: Connection,
    interrupt: InterruptHandle,
    /// Set when a statement has been prepared that leaves traces on the connection.
    tainted: Arc<AtomicBool>,
    identity: FileIdentity,
    born: Instant,
    /// Counts this connection until it is closed.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Slot {
    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            // Closing the last connection to a file copies its WAL back.
            off_thread(move || drop(open));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.close();
    }
}

impl managed::Manager for Connector {
    type Type = Slot;
    type Error = Error;

    async fn create(&self) -> Result<Slot> {
        let shared = self.shared.upgrade().ok_or_else(|| Error::internal("the backend is gone"))?;
        let permit = shared.permit(&self.name).await?;
        let name = self.name.clone();
        let open = blocking(move || open(&shared, &name, permit)).await??;
        Ok(Slot { open: Some(open) })
    }

    async fn recycle(&self, slot: &mut Slot, metrics: &Usage) -> RecycleResult<Error> {
        let shared = self.shared.upgrade().ok_or(RecycleError::Message("the backend is gone".into()))?;
        let refuse = |why: &'static str| {
            tracing::debug!(why, "a pooled connection is closed instead of used again");
            Err(RecycleError::Message(why.into()))
        };
        match &slot.open {
            None => refuse("a request on it was abandoned"),
            Some(open) if open.tainted.load(Ordering::Relaxed) => refuse("it was left in another state"),
            Some(open) if open.born.elapsed() > shared.options.max_age => refuse("it is old"),
            Some(_) if metrics.last_used() > shared.options.idle_time => refuse("it was idle for long"),
            Some(_) => Ok(()),
        }
    }
}

/// Opens a connection. Blocking.
fn open(shared: &Shared, name: &DatabaseName, permit: Option<OwnedSemaphorePermit>) -> Result<Open> {
    let identity = FileIdentity::of(shared.storage.file(name).as_deref());
    let mut connection = shared.storage.open(name)?;
    configure(&connection, &shared.options)?;
    let tainted = Arc::new(AtomicBool::new(false));
    let watch = Arc::clone(&tainted);
    connection
        .authorizer(Some(move |context: AuthContext<'_>| {
            if leaves_traces(&context) {
                watch.store(true, Ordering::Relaxed);
            }
            Authorization::Allow
        }))
        .map_err(store_fault)?;
    let interrupt = InterruptHandle::of(&connection);
    Ok(Open { connection, interrupt, tainted, identity, born: Instant::now(), _permit: permit })
}

/// True for statements whose effect on the connection outlives their transaction.
fn leaves_traces(context: &AuthContext<'_>) -> bool {
    // Not every way to make a temporary object has an action of its own (`CREATE TABLE temp.t`, virtual tables), but all
    // of them touch that database.
    context.database_name == Some("temp")
        || matches!(context.action, AuthAction::Pragma { .. } | AuthAction::Attach { .. } | AuthAction::Detach { .. })
}

/// Puts a new connection into the state that every request may rely on.
fn configure(connection: &Connection, options: &SqliteOptions) -> Result<()> {
    let settle = || -> rusqlite::Result<()> {
        connection.busy_timeout(options.timeouts.command)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.create_collation(COLLATION, |a: &str, b: &str| folded(a).cmp(&folded(b)))?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let synchronous = match options.durability {
            Durability::Full => "FULL",
            Durability::Process => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        if let Some(pages) = options.max_pages {
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
        }
        Ok(())
    };
    settle().map_err(store_fault)
}

/// Switches a database to write-ahead logging, so that readers and a writer do not wait for each other.
///
/// SQLite does not wait for others here, so we do. Blocking.
#[expect(clippy::disallowed_methods, reason = "runs on a blocking thread, where there is no timer to await")]
fn use_wal(connection: &Connection, patience: Duration) -> Result<()> {
    let begun = Instant::now();
    loop {
        // In memory the answer is `memory`, and no log is needed.
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
            Ok(()) => return Ok(()),
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
                    && begun.elapsed() < patience =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(store_fault(error)),
        }
    }
}

/// Tells a file from another that took its path. Never opens the file: closing it again would drop the locks that
/// SQLite holds on it in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileIdentity(Option<(u64, u64)>);

impl FileIdentity {
    fn of(file: Option<&Path>) -> Self {
        file.and_then(|file| std::fs::metadata(file).ok()).map_or(Self(None), |data| Self::from(&data))
    }
}

impl From<&Metadata> for FileIdentity {
    #[cfg(unix)]
    fn from(data: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(Some((data.dev(), data.ino())))
    }

    /// Elsewhere a file that is open cannot be replaced, so that all are the same.
    #[cfg(not(unix))]
    fn from(_: &Metadata) -> Self {
        Self(None)
    }
}

/// True if an open file is still the one of its path.
pub(super) fn is_current(open: &File, path: &Path) -> bool {
    open.metadata().is_ok_and(|data| FileIdentity::from(&data) == FileIdentity::of(Some(path)))
}
