//! The connection that an application gets to a shard.
//!
//! Each use of it is a transaction that first looks whether the session has been ended, so that nothing is read from or
//! written to keys that have gone offline.

use std::sync::atomic::Ordering;

use rusqlite::{Connection, Params, Row, Statement, Transaction, TransactionBehavior};

use super::fault::store_fault;
use super::pooled::PooledConnection;
use super::sessions::{OpenSession, SessionKey, session_ended};
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::model::ShardLocation;

/// A connection to a shard's SQLite database, from its pool.
///
/// All work is done in transactions: [`read`](Self::read), [`write`](Self::write), and [`execute`](Self::execute) and
/// [`execute_batch`](Self::execute_batch) for single statements. When the mapping that routed the connection goes
/// offline, a statement that runs is interrupted, a transaction that has not committed is rolled back, and each later use
/// fails with kind [`Offline`](crate::ErrorKind::Offline); also when it was another process that took it offline.
///
/// The transaction is ours to end: `BEGIN`, `COMMIT` and `ROLLBACK` in the work are refused, savepoints are not.
///
/// The work runs on a blocking thread. Dropping one of its futures interrupts the statement that runs: the transaction is then
/// rolled back or committed as a whole, and the connection is closed. Dropping the connection gives it back to the pool,
/// unless its state was changed (an open transaction, a temporary table, a pragma).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> shardlet::Result<()> {
/// # use shardlet::{ListShardMap, NoCredentials, Options, ShardLocation, ShardMapManager, Sqlite, Validation};
/// # let manager = ShardMapManager::open_or_create(Sqlite::in_memory(), Options::default()).await?;
/// # let tenants: ListShardMap<i32, _> = manager.create_list_shard_map("tenants").await?;
/// # let shard = tenants.create_shard(&ShardLocation::new("server", "database")).await?;
/// # tenants.create_mapping(7, &shard).await?;
/// let mut connection = tenants.open_connection_for_key(&7, &NoCredentials, Validation::Validate).await?;
/// connection.execute_batch("CREATE TABLE items (tenant INTEGER, name TEXT)").await?;
/// connection.execute("INSERT INTO items VALUES (?1, ?2)", (7, "book")).await?;
/// let items: Vec<String> = connection
///     .read(|transaction| transaction.query_all("SELECT name FROM items WHERE tenant = ?1", [7], |row| row.get(0)))
///     .await?;
/// assert_eq!(items, ["book"]);
/// let renamed = connection
///     .write(|transaction| {
///         transaction.execute("UPDATE items SET name = 'pen' WHERE tenant = ?1", [7])?;
///         transaction.query_row("SELECT name FROM items WHERE tenant = ?1", [7], |row| row.get::<_, String>(0))
///     })
///     .await?;    // committed as a whole, or rolled back if the closure fails
/// assert_eq!(renamed, "pen");
/// # Ok(()) }
/// ```
pub struct SqliteConnection {
    /// Dropped before the connection, so that an ending of this session cannot interrupt the next user of it.
    session: Option<OpenSession>,
    connection: PooledConnection,
    location: ShardLocation,
    /// The newest ending when the session was opened; unknown for an unvalidated one until its first use.
    born: Option<i64>,
}

/// A transaction on a shard's database.
#[derive(Debug)]
pub struct SqliteTransaction<'c>(Transaction<'c>);

impl SqliteTransaction<'_> {
    /// Executes one statement and says how many rows it changed.
    ///
    /// # Errors
    /// The driver's.
    pub fn execute(&self, sql: &str, parameters: impl Params) -> rusqlite::Result<usize> {
        self.0.prepare_cached(sql)?.execute(parameters)
    }

    /// Executes several statements, separated by semicolons.
    ///
    /// # Errors
    /// The driver's.
    pub fn execute_batch(&self, sql: &str) -> rusqlite::Result<()> {
        self.0.execute_batch(sql)
    }

    /// The first row of a query, through `read`.
    ///
    /// # Errors
    /// The driver's; [`rusqlite::Error::QueryReturnedNoRows`] if there is none.
    pub fn query_row<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.0.prepare_cached(sql)?.query_row(parameters, read)
    }

    /// All rows of a query, each through `read`.
    ///
    /// # Errors
    /// The driver's.
    pub fn query_all<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.0.prepare_cached(sql)?.query_map(parameters, read)?.collect()
    }

    /// A prepared statement, for many executions or for reading rows one by one.
    ///
    /// # Errors
    /// The driver's.
    pub fn prepare(&self, sql: &str) -> rusqlite::Result<Statement<'_>> {
        self.0.prepare(sql)
    }

    /// The row id of the last row inserted.
    #[must_use]
    pub fn last_insert_rowid(&self) -> i64 {
        self.0.last_insert_rowid()
    }
}

impl SqliteConnection {
    pub(crate) fn new(
        session: Option<OpenSession>,
        connection: PooledConnection,
        location: ShardLocation,
        born: Option<i64>,
    ) -> Self {
        Self { session, connection, location, born }
    }

    /// The shard that it is connected to.
    #[must_use]
    pub fn location(&self) -> &ShardLocation {
        &self.location
    }

    /// Runs `work` in one transaction that sees one moment of the database. It begins as a reader; a write in it may fail
    /// because another writer was faster, so use [`write`](Self::write) where you write.
    ///
    /// # Errors
    /// `Offline` if the session was ended; `Statement` with the driver's error as source if a statement was refused;
    /// `TimedOut`, `Unavailable`, `StoreDamaged` for the database itself.
    pub async fn read<T, F>(&mut self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&SqliteTransaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.transact(TransactionBehavior::Deferred, work).await
    }

    /// Runs `work` in one transaction that is the only writer of the database, and commits it if `work` succeeds.
    ///
    /// # Errors
    /// As [`read`](Self::read). Nothing is changed then, unless the kind is `OutcomeUnknown`.
    pub async fn write<T, F>(&mut self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&SqliteTransaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.transact(TransactionBehavior::Immediate, work).await
    }

    /// Executes one statement in a transaction of its own and says how many rows it changed.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn execute<P>(&mut self, sql: impl Into<String>, parameters: P) -> Result<usize>
    where
        P: Params + Send + 'static,
    {
        let sql = sql.into();
        self.write(move |transaction| transaction.execute(&sql, parameters)).await
    }

    /// Executes several statements, separated by semicolons, in one transaction.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn execute_batch(&mut self, sql: impl Into<String>) -> Result<()> {
        let sql = sql.into();
        self.write(move |transaction| transaction.execute_batch(&sql)).await
    }

    /// Takes the driver's connection out, for what transactions do not allow (`VACUUM`, pragmas, backups). It does not go
    /// back to the pool, does not count in its bounds any more, and is not ended when its mapping goes offline. Its calls
    /// block the thread.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn into_raw(mut self) -> Result<Connection> {
        self.read(|_| Ok(())).await?;
        self.connection.into_raw()
    }

    async fn transact<T, F>(&mut self, behavior: TransactionBehavior, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&SqliteTransaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let key = self.session.as_ref().map(|session| session.key().clone());
        let flag = self.session.as_ref().map(OpenSession::flag);
        let session = flag.clone();
        let is_ended = move || flag.as_ref().is_some_and(super::sessions::EndedFlag::is_set);
        let known = self.born;
        let ran = self
            .connection
            .run_in(session, move |connection, guarded| {
                if is_ended() {
                    return Err(session_ended());
                }
                // The end of a session interrupts statements of ours as well.
                let ours = |error: Error| if is_ended() { session_ended() } else { error };
                let begun = connection.transaction_with_behavior(behavior).map_err(store_fault);
                let transaction = begun.map_err(ours)?;
                let born = still_routed(&transaction, key.as_ref(), known).map_err(ours)?;
                let transaction = SqliteTransaction(transaction);
                guarded.store(true, Ordering::Relaxed);
                let worked = work(&transaction);
                guarded.store(false, Ordering::Relaxed);
                let value =
                    worked.map_err(|error| if is_ended() { session_ended() } else { statement_fault(error) })?;
                if is_ended() {
                    return Err(session_ended());
                }
                if transaction.0.is_autocommit() {
                    return Err(rolled_back());
                }
                let committed = transaction.0.commit().map_err(super::fault::commit_fault);
                committed.map_err(|error| if error.kind() == ErrorKind::Transient { ours(error) } else { error })?;
                Ok((value, born))
            })
            .await;
        match ran {
            Ok((value, born)) => {
                self.born = born;
                Ok(value)
            }
            Err(error) => {
                if let Some(session) = &self.session
                    && error.code() == ErrorCode::SessionEnded
                {
                    session.set_ended();
                }
                Err(error)
            }
        }
    }
}

/// Fails if the session has been ended, and says from which ending on the next look has to start.
fn still_routed(transaction: &Connection, key: Option<&SessionKey>, born: Option<i64>) -> Result<Option<i64>> {
    let Some(key) = key else { return Ok(None) };
    let newest = SessionKey::newest_ending(transaction).map_err(store_fault)?;
    match born {
        Some(born) if newest != Some(born) => {
            if key.ended_since(transaction, born).map_err(store_fault)? {
                Err(session_ended())
            } else {
                Ok(newest)
            }
        }
        Some(_) | None => Ok(newest),
    }
}

/// The error where a statement rolled the transaction back, and the application's code did not fail with it.
fn rolled_back() -> Error {
    let message = "a statement rolled the whole transaction back: nothing was changed";
    Error::new(ErrorKind::Statement, ErrorCode::StatementFailed, message)
}

/// The error of the application's own statement.
fn statement_fault(error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as Code;
    match error.sqlite_error_code() {
        Some(
            Code::DatabaseBusy
            | Code::DatabaseLocked
            | Code::DatabaseCorrupt
            | Code::NotADatabase
            | Code::DiskFull
            | Code::ReadOnly
            | Code::SystemIoFailure
            | Code::CannotOpen
            | Code::OutOfMemory
            | Code::OperationInterrupted,
        ) => store_fault(error),
        _ => Error::new(ErrorKind::Statement, ErrorCode::StatementFailed, "the database refused the statement")
            .with_source(error),
    }
}

impl std::fmt::Debug for SqliteConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ended = self.session.as_ref().is_some_and(OpenSession::is_ended);
        write!(f, "SqliteConnection({}{})", self.location, if ended { ", ended" } else { "" })
    }
}
