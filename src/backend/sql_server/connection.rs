//! The connection that an application gets to a shard.
//!
//! Invariant: before the first statement of its user a connection carries the stamp of the mapping that routed it, so that it
//! ends when the mapping goes offline.

use std::borrow::Cow;

use tiberius::{IsolationLevel, ToSql};

use super::SqlServer;
use super::bulk::SqlServerBulkInsert;
use super::connect::Client;
use super::fault::{Doing, fault};
use super::link::{Link, Pooled, Traces, TransactionState};
use super::pool::Database;
use super::row_stream::SqlServerRows;
use super::stamp::Stamp;
use super::transaction::SqlServerTransaction;
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::model::ShardLocation;

/// A connection to a shard's database, from its pool.
///
/// Parameters are `@P1`, `@P2` and so on. A connection is at its user's disposal until it is dropped; then the server resets
/// it (open transactions, temporary tables, settings, locks, session context; on Babelfish see [`close`](Self::close) for the
/// last) and it goes back to the pool. When the mapping
/// that routed it goes offline, the server ends it: what runs fails, and so does each later use; opening another one then
/// tells why.
///
/// Dropping one of its futures, or a stream before its end, leaves the answer of a request half read: the connection is then
/// of no more use, each later call fails, and it is closed, not pooled.
///
/// Statements are not bounded in time, so that long ones can run; put `tokio::time::timeout` around them where that is wished.
///
/// ```no_run
/// # async fn example(mut connection: shardlet::SqlServerConnection) -> shardlet::Result<()> {
/// let changed = connection.execute("UPDATE items SET price = @P1 WHERE id = @P2", &[&5_i32, &7_i32]).await?;
/// assert_eq!(changed, 1);
/// let mut transaction = connection.begin().await?;
/// transaction.execute("INSERT INTO items (id) VALUES (@P1)", &[&8_i32]).await?;
/// let rows = transaction.query("SELECT id FROM items", &[]).await?.into_first_result().await?;
/// transaction.commit().await?;
/// # let _ = rows;
/// # Ok(()) }
/// ```
pub struct SqlServerConnection {
    pooled: Pooled,
    backend: SqlServer,
    database: Database,
    location: ShardLocation,
    /// To be set before the first statement, where no validation has set it.
    stamp: Option<Stamp>,
}

impl SqlServerConnection {
    pub(super) fn new(
        pooled: Pooled,
        backend: SqlServer,
        (database, location): (Database, ShardLocation),
        stamp: Option<Stamp>,
    ) -> Self {
        Self { pooled, backend, database, location, stamp }
    }

    /// The shard that it is connected to.
    #[must_use]
    pub fn location(&self) -> &ShardLocation {
        &self.location
    }

    /// Runs a statement with parameters and gives its rows as they come. One round trip, and one more before the first
    /// statement of a connection that was opened without validation.
    ///
    /// # Errors
    /// `Statement` with the driver's error as source if the server refused it, now or while its rows are read, or
    /// `Credentials` for a missing right, `Transient` for a deadlock or throttling, `TimedOut` for a lock, `Unavailable` for a
    /// database that is full or cannot be written. `OutcomeUnknown` if the connection broke, `Transient` if it did so in a
    /// transaction, or if an earlier request was abandoned.
    pub async fn query<'a>(
        &'a mut self,
        sql: impl Into<Cow<'a, str>>,
        parameters: &'a [&'a dyn ToSql],
    ) -> Result<SqlServerRows<'a>> {
        let doing = self.ready(Traces::Session).await?;
        let (link, target) = (self.pooled.link()?, &self.database.target);
        let sql = sql.into();
        link.reads(&sql);
        let Link { client, condition, .. } = link;
        condition.sent();
        match client.query(sql, parameters).await {
            Ok(stream) => Ok(SqlServerRows::new(stream, condition, doing, target)),
            Err(error) => {
                condition.failed(&error);
                Err(target.blame(fault(error, doing)))
            }
        }
    }

    /// Runs a statement with parameters and says how many rows it changed. Costs what [`query`](Self::query) does.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn execute(&mut self, sql: impl Into<Cow<'_, str>>, parameters: &[&dyn ToSql]) -> Result<u64> {
        let doing = self.ready(Traces::Session).await?;
        let link = self.pooled.link()?;
        let sql = sql.into();
        link.reads(&sql);
        link.condition.sent();
        let done = link.client.execute(sql, parameters).await;
        link.condition.ended(&done);
        done.map(tiberius::ExecuteResult::total).map_err(|error| self.database.target.blame(fault(error, doing)))
    }

    /// Runs a batch without parameters, such as one that defines a procedure, and gives the rows of its results as they come.
    /// Never put a value into its text. What it sets on the session holds until the connection is dropped.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn simple_query<'a>(&'a mut self, sql: impl Into<Cow<'a, str>>) -> Result<SqlServerRows<'a>> {
        let doing = self.ready(Traces::Session).await?;
        let (link, target) = (self.pooled.link()?, &self.database.target);
        let sql = sql.into();
        link.reads(&sql);
        let Link { client, condition, .. } = link;
        condition.sent();
        match client.simple_query(sql).await {
            Ok(stream) => Ok(SqlServerRows::new(stream, condition, doing, target)),
            Err(error) => {
                condition.failed(&error);
                Err(target.blame(fault(error, doing)))
            }
        }
    }

    /// Begins to insert many rows into columns of a table. The names are part of SQL text: plain ones as they are, others by
    /// [`SqlServerBulkInsert::quoted`]; what is no name is refused. Nothing is inserted before
    /// [`finish`](SqlServerBulkInsert::finish). Two round trips.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn bulk_insert<'c>(
        &'c mut self,
        table: &'c str,
        columns: &'c [&'c str],
    ) -> Result<SqlServerBulkInsert<'c>> {
        let doing = self.ready(Traces::Session).await?;
        SqlServerBulkInsert::begin(self.pooled.link()?, table, columns, doing, &self.database.target).await
    }

    /// Begins a transaction at the server's default isolation level. One round trip. It is rolled back if the guard is dropped
    /// without a commit.
    ///
    /// # Errors
    /// As [`query`](Self::query); `InvalidInput` if one is open.
    pub async fn begin(&mut self) -> Result<SqlServerTransaction<'_>> {
        self.begin_with(IsolationLevel::Unspecified).await
    }

    /// Begins a transaction at an isolation level. As [`begin`](Self::begin).
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub async fn begin_with(&mut self, isolation: IsolationLevel) -> Result<SqlServerTransaction<'_>> {
        let doing = self.ready(Traces::Session).await?;
        if doing == Doing::InTransaction {
            return Err(Error::invalid_input("a transaction is open on this connection"));
        }
        let link = self.pooled.link()?;
        link.condition.sent();
        let begun = link.client.begin_transaction_with_isolation(isolation).await;
        link.condition.ended(&begun);
        // Nothing is changed by it, so a broken connection leaves nothing in doubt.
        begun.map_err(|error| self.database.target.blame(fault(error, Doing::InTransaction)))?;
        link.transaction = TransactionState::Open;
        Ok(SqlServerTransaction::new(self))
    }

    /// Closes the connection instead of giving it back, for what a reset does not take away: on Babelfish, what a procedure has put
    /// into the session context. Where a statement names the session context itself, that is done without asking.
    pub fn close(self) {
        self.pooled.close();
    }

    /// Takes the driver's connection out, for what this type does not offer. It does not go back to the pool and does not count
    /// in its bounds any more; it still ends when its mapping goes offline.
    ///
    /// # Errors
    /// As [`query`](Self::query), where the connection has to be stamped first.
    pub async fn into_raw(mut self) -> Result<Client> {
        let _ = self.ready(Traces::None).await?;
        self.pooled.into_client()
    }

    /// Makes the connection ready for a request of the application, which may leave traces.
    async fn ready(&mut self, traces: Traces) -> Result<Doing> {
        if let Some(stamp) = self.stamp.clone() {
            self.set_stamp(&stamp).await?;
            self.stamp = None;
        }
        if self.pooled.link()?.transaction == TransactionState::Abandoned {
            self.end_transaction(false).await.or_else(|error| {
                // The server had rolled it back already.
                if error.kind() == ErrorKind::Statement { Ok(()) } else { Err(error) }
            })?;
        }
        self.look_at_transaction().await?;
        let link = self.pooled.link()?;
        link.leaves(traces);
        match link.transaction {
            TransactionState::Open => Ok(Doing::InTransaction),
            TransactionState::RolledBack => Err(self.database.target.blame(rolled_back())),
            TransactionState::None | TransactionState::Abandoned => Ok(Doing::Statement),
        }
    }

    /// After an error in a transaction, finds out whether the server has rolled it back: it does so on deadlocks and severe
    /// errors, and each later statement would be committed alone.
    async fn look_at_transaction(&mut self) -> Result<()> {
        let link = self.pooled.link()?;
        if !std::mem::take(&mut link.condition.doubtful) || link.transaction != TransactionState::Open {
            return Ok(());
        }
        let Link { client, condition, .. } = link;
        condition.sent();
        let asked = async { client.query("SELECT @@TRANCOUNT", &[]).await?.into_row().await };
        let answer = asked.await;
        condition.ended(&answer);
        let row = answer.map_err(|error| self.database.target.blame(fault(error, Doing::InTransaction)))?;
        if row.and_then(|row| row.try_get::<i32, _>(0).ok().flatten()) == Some(0) {
            self.pooled.link()?.transaction = TransactionState::RolledBack;
        }
        Ok(())
    }

    /// Stamps the session. Nothing of its user has been sent, so a connection that was lost while it was idle is replaced.
    async fn set_stamp(&mut self, stamp: &Stamp) -> Result<()> {
        let mut lost_one = false;
        loop {
            let reused = self.pooled.served_before();
            let link = self.pooled.link()?;
            if *stamp == Stamp::none() && link.traces == Traces::None {
                return Ok(());
            }
            link.leaves(Traces::Stamp);
            link.condition.sent();
            let error = match link.stamp(stamp).await {
                Ok(()) => {
                    link.condition.answered();
                    return Ok(());
                }
                Err(error) => {
                    link.condition.failed(&error);
                    self.database.target.blame(fault(error, Doing::Reading))
                }
            };
            if !reused || lost_one || error.kind() != ErrorKind::Transient {
                return Err(error);
            }
            lost_one = true;
            // First, so that it does not keep the room that the other one needs.
            self.pooled.give_up();
            self.pooled = self.backend.checkout_again(&self.database).await?;
        }
    }

    /// Commits or rolls back.
    pub(super) async fn end_transaction(&mut self, commit: bool) -> Result<()> {
        self.look_at_transaction().await?;
        let link = self.pooled.link()?;
        let before = std::mem::replace(&mut link.transaction, TransactionState::None);
        if before == TransactionState::RolledBack {
            return if commit { Err(self.database.target.blame(rolled_back())) } else { Ok(()) };
        }
        link.condition.sent();
        let (ended, doing) = if commit {
            (link.client.commit_transaction().await, Doing::Statement)
        } else {
            (link.client.rollback_transaction().await, Doing::InTransaction)
        };
        link.condition.ended(&ended);
        ended.map_err(|error| self.database.target.blame(fault(error, doing)))
    }

    /// The guard of a transaction is gone, and nobody can await a rollback there.
    pub(super) fn abandon_transaction(&mut self) {
        if let Ok(link) = self.pooled.link() {
            link.transaction = match link.transaction {
                TransactionState::Open => TransactionState::Abandoned,
                TransactionState::Abandoned => TransactionState::Abandoned,
                TransactionState::RolledBack | TransactionState::None => TransactionState::None,
            };
        }
    }
}

/// The error of going on in a transaction that is none any more.
fn rolled_back() -> Error {
    let message = "the server has rolled the transaction back after an error: nothing was changed";
    Error::new(ErrorKind::Statement, ErrorCode::StatementFailed, message)
}

impl Pooled {
    /// Notes that the next request sets a stamp.
    pub(super) fn leaves_stamp(&mut self) -> Result<()> {
        self.link()?.leaves(Traces::Stamp);
        Ok(())
    }
}

impl std::fmt::Debug for SqlServerConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SqlServerConnection({})", self.location())
    }
}
